"""Tensors: what they are, three ways to make one, and what they can do.

Every piece of code in the report is a piece of `creation` and `features` below.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Generator
from typing import Any

import numpy as np

from taper.studies import plots, walk
from taper.studies.engine import nn, torch
from taper.studies.report import Report

TITLE = "Tensors: what they are and what they can do"
EPOCHS = None


def run(options: argparse.Namespace, report: Report) -> None:
    """Walks through creating tensors and through their features."""
    torch.manual_seed(options.seed)
    report.text(
        "A tensor is an array of any number of dimensions whose elements share one type. "
        "It is numpy's array with three additions: very many operations, a choice of where "
        "it is stored, and gradients."
    )
    report.figure(
        "dimensions",
        draw_dimensions(),
        "A scalar, a vector, a matrix and a tensor: zero, one, two and three dimensions.",
    )
    report.heading("Three ways to make a tensor")
    walk.show(creation, report)
    report.heading("What a tensor can do")
    report.metrics.update(walk.show(features, report))


def creation() -> Generator[str, None, None]:
    """From data, from random numbers, from a file."""
    yield (
        "From other data. The function `tensor` keeps the type of the data; the class `Tensor` "
        "is short for FloatTensor."
    )
    t = torch.tensor([1, 2])
    T = torch.Tensor([1, 2])
    print(t, T)
    print(t.dtype, T.dtype)

    yield (
        "Given a whole number, `tensor` makes a tensor of no dimensions that holds it, and "
        "`Tensor` makes a vector of that length, whose values are whatever the memory held."
    )
    t = torch.tensor(3)
    T = torch.Tensor(3)
    print(t, T.shape, T.dtype)

    yield (
        "`tensor` copies its data. `from_numpy` and `as_tensor` share the memory, so that a "
        "change of one is a change of the other."
    )
    a = np.array([1, 2], dtype=np.int32)
    b = np.array([1, 2], dtype=np.int32)
    t1 = torch.tensor(a)
    t2 = torch.from_numpy(b)
    print("t1:", t1)
    print("t2:", t2)
    t1[0] = 3
    t2[0] = 3
    print("a:", a)
    print("b:", b)

    yield "From nothing: ones, random numbers and others, each also in the shape of another tensor."
    print([name for name in dir(torch) if name.endswith("_like")])
    print(torch.ones_like(t1), torch.rand(2, 3).shape)

    yield (
        "A layer makes its parameters at random, too. They are to be trained, so they require "
        "a gradient."
    )
    linear = nn.Linear(2, 3)
    print(linear.weight.shape, linear.bias.shape, linear.weight.requires_grad)

    yield (
        "From a file. `save` and `load` undo each other, for tensors, for networks' states and "
        "for what Python has of lists and dictionaries."
    )
    x = torch.tensor([0, 1, 2, 3, 4])
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tensor.pkl")
        torch.save(x, path)
        print(torch.load(path))


def features() -> Generator[str, None, dict[str, Any]]:
    """Operations, types and devices, gradients."""
    yield "Many operations: so many names has a tensor that do not begin with an underscore."
    tensor = torch.tensor(3)
    names = [name for name in dir(tensor) if not name.startswith("_")]
    print(len(names))

    yield "Most come in two variants: `abs` gives a new tensor, `abs_` changes the tensor itself."
    in_place = [name for name in names if name.endswith("_")]
    print(in_place[:8], "...")
    x = torch.tensor([-1.0, 2.0])
    print(x.abs(), x)
    print(x.abs_(), x)

    yield "Every element has the same type, and `to` changes type and device."
    x = torch.tensor([1.5, -2.5])
    print(x.dtype, x.to(torch.float64).dtype, x.to(torch.int64))
    print(x.device, x.to("cpu").device, x.layout)

    yield (
        "A tensor that requires a gradient records what is done with it; `backward` sends the "
        "gradient back to it."
    )
    x = torch.tensor(3.0, requires_grad=True)
    y = x**2
    y.backward()
    print(y, x.grad)

    return {"names": len(names), "in_place_names": len(in_place)}


def draw_dimensions() -> Any:
    """A figure of a scalar, a vector, a matrix and a tensor of three dimensions."""
    drawing = plots.figure(8, 2.4)
    shapes = {"scalar": (), "vector": (3,), "matrix": (3, 3), "tensor": (3, 3, 3)}
    for place, (name, shape) in zip(drawing.subplots(1, 4), shapes.items(), strict=True):
        _draw_cells(place, torch.arange(int(np.prod(shape))).reshape(shape).tolist())
        place.set_title(f"{name}\nshape {shape}", fontsize=10)
        place.set(xlim=(-0.2, 4.2), ylim=(4.2, -0.2), aspect="equal")
        place.axis("off")
    return drawing


def _draw_cells(place: Any, values: Any) -> None:
    layers = _as_layers(values)
    # The rearmost layer is drawn first, shifted to the upper right.
    for depth in reversed(range(len(layers))):
        shift = 0.5 * depth
        for row, line in enumerate(layers[depth]):
            for column, value in enumerate(line):
                left, top = column + shift, row + 0.5 * (len(layers) - 1) - shift
                place.add_patch(_square(left, top, -2 * depth))
                place.text(
                    left + 0.5,
                    top + 0.5,
                    str(value),
                    ha="center",
                    va="center",
                    fontsize=8,
                    zorder=-2 * depth + 1,
                )


def _as_layers(values: Any) -> list[list[list[int]]]:
    """The values as layers of rows, whatever their number of dimensions."""
    while not (
        isinstance(values, list)
        and values
        and isinstance(values[0], list)
        and isinstance(values[0][0], list)
    ):
        values = [values]
        if isinstance(values[0], int):
            values = [[values]]
    return values


def _square(left: float, top: float, zorder: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((left, top), 1, 1, facecolor="#ebf4ff", edgecolor="#2b6cb0", zorder=zorder)
