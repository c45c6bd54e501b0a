"""Walks: a function whose code is shown piece by piece together with what each piece prints.

The function is a generator. Every `yield "..."` begins a piece: the words introduce the lines up to
the next yield. So a walk is ordinary code, checked and run as such, and the report cannot drift
away from it.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import textwrap
import warnings
from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeVar

from taper.studies.report import Report

Result = TypeVar("Result")


class Piece(NamedTuple):
    """One part of a walk: the introducing words, the lines of code, and their output."""

    words: str
    source: str
    output: str


def show(walk: Callable[[], Generator[str, None, Result]], report: Report) -> Result:
    """Runs the walk, adds its pieces to the report, and returns what the walk returns."""
    pieces, result = perform(walk)
    for piece in pieces:
        report.text(piece.words, say=True)
        report.code(piece.source, piece.output)
    return result


def perform(walk: Callable[[], Generator[str, None, Result]]) -> tuple[list[Piece], Result]:
    """Runs the walk; returns its pieces and what it returns."""
    sources = _sources(walk)
    steps = walk()
    words = next(steps)
    pieces: list[Piece] = []
    while True:
        printed = io.StringIO()
        following: str | None = None
        result: Any = None
        with contextlib.redirect_stdout(printed), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                following = next(steps)
            except StopIteration as stop:
                result = stop.value
        # One warning is enough to read, however many lines of the piece gave it.
        warned = dict.fromkeys(f"{w.category.__name__}: {w.message}\n" for w in caught)
        output = "".join(warned) + printed.getvalue()
        pieces.append(Piece(words, sources[len(pieces)], output))
        if following is None:
            return pieces, result
        words = following


def _sources(walk: Callable[..., Any]) -> list[str]:
    """The lines between the yields, without what only serves the walk (its return)."""
    text = textwrap.dedent(inspect.getsource(walk))
    lines = text.splitlines()
    function = ast.parse(text).body[0]
    assert isinstance(function, ast.FunctionDef), "a walk is a plain generator function"
    yields = [
        statement
        for statement in function.body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Yield)
    ]
    ends = [s.lineno - 1 for s in yields[1:]]
    last = function.body[-1]
    ends.append(last.lineno - 1 if isinstance(last, ast.Return) else len(lines))
    return [
        textwrap.dedent("\n".join(lines[start.end_lineno : end])).strip("\n")
        for start, end in zip(yields, ends, strict=True)
    ]
