"""Walks show the very code that ran, and the drawing shows the very graph that was recorded."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from typing import Any

import pytest

import taper as torch
from taper.studies import tape_drawing, walk


def example() -> Generator[str, None, dict[str, int]]:
    """A walk of two pieces."""
    yield ("The first piece has two lines.")
    x = 2
    print("x is", x)

    yield "The second warns, twice the same."
    for _ in range(2):
        warnings.warn("careful", UserWarning, stacklevel=1)
    # A comment stays.
    print(x + 1)

    return {"x": x}


def test_a_walk_is_cut_at_its_yields():
    pieces, result = walk.perform(example)

    assert [piece.words for piece in pieces] == [
        "The first piece has two lines.",
        "The second warns, twice the same.",
    ]
    assert pieces[0].source == 'x = 2\nprint("x is", x)'
    assert pieces[1].source.endswith("# A comment stays.\nprint(x + 1)")
    assert result == {"x": 2}


def test_each_piece_has_what_it_printed_and_each_warning_once():
    pieces, _ = walk.perform(example)

    assert pieces[0].output == "x is 2\n"
    assert pieces[1].output == "UserWarning: careful\n3\n"


def test_an_error_in_a_walk_is_not_hidden():
    def broken() -> Generator[str, None, None]:
        yield "This divides by zero."
        print(1 / 0)

    with pytest.raises(ZeroDivisionError):
        walk.perform(broken)


def _recorded() -> tuple[Any, dict[str, Any]]:
    w = torch.tensor(1.0, requires_grad=True)
    b = torch.tensor(0.0, requires_grad=True)
    y = w * 3 + b
    return -(y * y), {"w": w, "b": b}


def test_the_graph_is_layered_from_the_result_down_to_the_leaves():
    graph = tape_drawing.Graph(*_recorded())

    labels = [sorted(graph.labels[key] for key in level) for level in graph.levels]

    assert labels == [
        ["NegBackward0"],
        ["MulBackward0"],
        ["AddBackward0"],
        ["MulBackward0", "b\nAccumulateGrad"],
        ["w\nAccumulateGrad"],
    ]
    depth = {key: number for number, level in enumerate(graph.levels) for key in level}
    assert all(depth[source] < depth[target] for source, target in graph.edges)


def test_the_graph_is_drawn_with_a_box_for_each_node():
    pytest.importorskip("matplotlib")
    result, names = _recorded()

    drawing = tape_drawing.draw(result, names)

    texts = sorted(text.get_text() for text in drawing.axes[0].texts if text.get_text())
    assert texts == sorted(tape_drawing.Graph(result, names).labels.values())
