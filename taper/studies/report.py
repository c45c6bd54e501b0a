"""The report of a study: what it prints, its pages, pictures and figures in numbers.

A study adds texts, tables, code and figures in the order they are to be read. Tables and code are
printed at once; nothing is written before `write`, so a study that fails leaves no half a report.
"""

from __future__ import annotations

import base64
import html
import json
import math
import os
import platform
from collections.abc import Sequence
from typing import Any

from taper.atomic import replacing
from taper.studies import plots
from taper.studies.engine import StudyError

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ max-width: 54rem; margin: 2.5rem auto; padding: 0 1.25rem; color: #1a202c;
         font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }}
  h1 {{ font-size: 1.7rem; line-height: 1.25; margin-bottom: .5rem; }}
  h2 {{ font-size: 1.2rem; margin: 2.2rem 0 .5rem; }}
  p {{ margin: .6rem 0; }}
  table {{ border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }}
  caption {{ text-align: left; color: #4a5568; padding-bottom: .3rem; }}
  th, td {{ padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid #e2e8f0; }}
  th {{ border-bottom: 2px solid #a0aec0; }}
  td.number, th.number {{ text-align: right; }}
  pre {{ background: #f7fafc; border-left: 3px solid #2b6cb0; margin: .6rem 0 0;
        padding: .6rem .9rem; overflow-x: auto; font-size: .88rem; line-height: 1.45; }}
  pre.output {{ background: none; border-left-color: #cbd5e0; margin-top: 0; color: #4a5568; }}
  figure {{ margin: 1.4rem 0; }}
  figure img {{ max-width: 100%; height: auto; }}
  figcaption {{ color: #4a5568; font-size: .92rem; }}
  footer {{ margin-top: 3rem; border-top: 1px solid #e2e8f0; color: #4a5568; font-size: .88rem; }}
  a {{ color: #2b6cb0; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
<footer>{footer}</footer>
</body>
</html>
"""


def page(title: str, body: str, footer: str) -> str:
    """A whole HTML page that needs no other file."""
    return _PAGE.format(title=html.escape(title), body=body, footer=footer)


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table; columns whose cells all look like numbers are set flush right. Cells are escaped."""
    numeric = [all(_is_number(row[i]) for row in rows) for i in range(len(columns))]

    def line(tag: str, cells: Sequence[str]) -> str:
        made = (
            f"<{tag}{' class=number' if flush else ''}>{html.escape(cell)}</{tag}>"
            for flush, cell in zip(numeric, cells, strict=True)
        )
        return f"<tr>{''.join(made)}</tr>"

    head = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    body = "\n".join(line("td", row) for row in rows)
    return f"<table>{head}\n<thead>{line('th', columns)}</thead>\n<tbody>{body}</tbody></table>"


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same table for a terminal."""
    numeric = [all(_is_number(row[i]) for row in rows) for i in range(len(columns))]
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = []
    for row in (columns, ["-" * width for width in widths], *rows):
        cells = (
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, numeric, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _is_number(cell: str) -> bool:
    return bool(cell) and not set(cell) - set("0123456789.,+-e% s")


class Report:
    """Collects what a study found. `metrics`, `histories` and `timings` go into results.json."""

    def __init__(self, study: str, title: str, folder: str) -> None:
        self.study = study
        self.title = title
        self.folder = folder
        self.metrics: dict[str, Any] = {}
        self.histories: dict[str, Any] = {}
        self.timings: dict[str, float] = {}
        self._body: list[str] = []
        self._pictures: dict[str, bytes] = {}
        _check_folder(folder)

    def heading(self, words: str) -> None:
        """Begins a section."""
        print(f"\n{words}\n{'=' * len(words)}")
        self._body.append(f"<h2>{html.escape(words)}</h2>")

    def text(self, words: str, *, say: bool = False) -> None:
        """A paragraph; printed as well if `say`."""
        if say:
            print(f"\n{words}")
        self._body.append(f"<p>{html.escape(words)}</p>")

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = ""
    ) -> None:
        """A table, printed at once."""
        cells = [[str(cell) for cell in row] for row in rows]
        print(f"\n{caption}" if caption else "", text_table(columns, cells), sep="\n")
        self._body.append(html_table(columns, cells, caption))

    def code(self, source: str, output: str) -> None:
        """A piece of code and what it printed, printed at once."""
        print("\n" + "\n".join("    " + line for line in source.splitlines()))
        print(output, end="" if output.endswith("\n") or not output else "\n")
        self._body.append(f"<pre>{html.escape(source)}</pre>")
        if output:
            self._body.append(f'<pre class="output">{html.escape(output)}</pre>')

    def figure(self, name: str, drawing: Any, caption: str) -> None:
        """A figure, kept as `name`.png and shown inside the page."""
        picture = plots.png(drawing)
        self._pictures[name + ".png"] = picture
        data = base64.b64encode(picture).decode("ascii")
        words = html.escape(caption)
        self._body.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{words}">'
            f"<figcaption>{words}</figcaption></figure>"
        )

    def write(self, options: dict[str, Any], engine: Any) -> str:
        """Writes report.html, results.json and the pictures; returns the path of the page."""
        versions = _versions(engine)
        results = {
            "study": self.study,
            "engine": engine.__name__,
            "versions": versions,
            "seed": options["seed"],
            "epochs": options["epochs"],
            "threads": engine.get_num_threads(),
            "options": options,
            "metrics": self.metrics,
            "histories": self.histories,
            "timings": self.timings,
            "pictures": list(self._pictures),
        }
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        footer = html.escape(
            f"taper study {self.study}, seed {options['seed']}, {listed}, "
            f"{engine.get_num_threads()} thread(s). Numbers: results.json."
        )
        files = dict(self._pictures)
        files["results.json"] = json.dumps(_plain(results), indent=2, allow_nan=False).encode()
        # The page comes last: where it is new, everything it speaks of is new.
        files["report.html"] = page(self.title, "\n".join(self._body), footer).encode()
        try:
            os.makedirs(self.folder, exist_ok=True)
            for name, content in files.items():
                with replacing(os.path.join(self.folder, name)) as file:
                    file.write(content)
        except OSError as error:
            raise StudyError(f"cannot write the report into {self.folder!r}: {error}") from error
        return os.path.join(self.folder, "report.html")


def _check_folder(folder: str) -> None:
    """An error now, not after the training, if the report could not be written there."""
    standing = os.path.abspath(folder)
    while not os.path.lexists(standing):
        standing = os.path.dirname(standing)
    if not os.path.isdir(standing):
        raise StudyError(f"--out {folder!r}: {standing!r} is not a folder")
    if not os.access(standing, os.W_OK | os.X_OK):
        raise StudyError(f"--out {folder!r}: no permission to write in {standing!r}")


def _versions(engine: Any) -> dict[str, str]:
    import matplotlib
    import numpy as np

    return {
        engine.__name__: str(engine.__version__),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "matplotlib": matplotlib.__version__,
    }


def _plain(value: Any) -> Any:
    """The value in JSON's types; what is not finite becomes null, which JSON can hold."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    return _plain(value.item() if hasattr(value, "item") else str(value))
