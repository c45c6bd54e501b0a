"""The pages in docs/ and the README: excerpts exist, examples run, links lead somewhere."""

from __future__ import annotations

import doctest
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
]
EXCERPT = re.compile(r"^`(taper/[\w/]+\.py)`\n```python\n(.*?)```", re.MULTILINE | re.DOTALL)


def _text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def _excerpts() -> list[tuple[str, str, str]]:
    """(page, file, piece) for every run of lines that a page quotes from a file."""
    return [
        (page, file, piece.strip("\n"))
        for page in PAGES
        for file, block in EXCERPT.findall(_text(page))
        for piece in re.split(r"^\.\.\.\n", block, flags=re.MULTILINE)
    ]


@pytest.mark.parametrize(("page", "file", "piece"), _excerpts())
def test_an_excerpt_stands_in_its_file(page: str, file: str, piece: str):
    assert piece in _text(file), f"{page} quotes lines that are no longer in {file}"


def test_the_tour_quotes_every_file_it_passes_through():
    quoted = {file for page, file, _ in _excerpts() if page == "docs/tour.md"}

    assert quoted == {
        "taper/tensor.py",
        "taper/autograd/engine.py",
        "taper/ops/arithmetic.py",
        "taper/dispatch.py",
        "taper/backends/reference.py",
    }


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_give_what_it_prints(page: str):
    examples = doctest.DocTestParser().get_doctest(_text(page), {}, page, page, 0)

    result = doctest.DocTestRunner(verbose=False).run(examples)

    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_to_files(page: str):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", _text(page)):
        if not target.startswith(("http:", "https:")):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"


def test_the_program_in_the_readme_runs_and_prints_what_it_says():
    program, printed = re.search(
        r"```python\n(import taper.*?)```\n+prints\n+```\n(.*?)```", _text("README.md"), re.DOTALL
    ).groups()

    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )

    assert done.stderr == ""
    assert done.stdout == printed
