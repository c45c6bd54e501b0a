"""`taper study all`: every study with its defaults, and a page that lists them."""

from __future__ import annotations

import argparse
import html
import os
import time
from typing import Any

from taper.atomic import replacing
from taper.studies import NAMES


def run(options: argparse.Namespace) -> int:
    """Runs all studies into folders side by side; returns the exit status."""
    from taper.studies import command, engine

    folder = options.out or "results"
    shared = ["--seed", str(options.seed), "--engine", options.engine]
    if options.epochs is not None:
        shared += ["--epochs", str(options.epochs)]
    if options.threads is not None:
        shared += ["--threads", str(options.threads)]
    begin = time.perf_counter()
    entries = []
    for name in NAMES:
        print(f"\n\n### {name}")
        start = time.perf_counter()
        command.run(name, [*shared, "--out", os.path.join(folder, name)])
        title = engine.load(name, options.engine).TITLE
        entries.append((name, title, time.perf_counter() - start))
    seconds = time.perf_counter() - begin
    path = _write_index(folder, entries, options.engine)
    print(f"\n\nAll {len(NAMES)} studies took {seconds:.0f} s. Open {os.path.abspath(path)}")
    return 0


def _write_index(folder: str, entries: list[tuple[str, str, float]], engine: Any) -> str:
    from taper.studies.report import page

    rows = "\n".join(
        f'<tr><td><a href="{name}/report.html">{html.escape(title)}</a></td>'
        f'<td><a href="{name}/results.json">numbers</a></td>'
        f"<td class=number>{seconds:.1f} s</td></tr>"
        for name, title, seconds in entries
    )
    body = (
        "<p>Each study ran with its defaults; its report can be read on its own.</p>"
        f"<table><tbody>{rows}</tbody></table>"
    )
    path = os.path.join(folder, "index.html")
    with replacing(path) as file:
        file.write(page("The studies", body, f"taper study all, engine {engine}").encode())
    return path
