"""Copies into row-major order, by a kernel where neighbours in memory do not stay neighbours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.backends import reference
from taper.backends.llvm.functions.pointwise import Kernel, kernel_of, threads
from taper.backends.llvm.transpose import ELEMENTS, STRIP, Transpose

Array = np.ndarray

# Elements from which a kernel pays, and rows and columns that it wants at least.
LEAST = 512
LEAST_SIDE = 8
# Layouts that are remembered.
MOST_LAYOUTS = 1024

_kernels: dict[tuple[str, int], Kernel] = {}
_layouts: dict[Any, Any] = {}


def row_major_copy(x: Array) -> Array:
    """The elements in row-major order, in memory of their own."""
    if x.size < LEAST or x.itemsize not in ELEMENTS or x.flags.c_contiguous or x.dtype.hasobject:
        return reference.math.row_major_copy(x)
    key = (x.shape, x.strides, x.itemsize)
    layout = _layouts.get(key, _layouts)
    if layout is _layouts:
        if len(_layouts) >= MOST_LAYOUTS:
            _layouts.clear()
        layout = _layouts[key] = _layout(x)
    if layout is None or not x.flags.aligned:
        return reference.math.row_major_copy(x)
    kernel, arguments = layout
    out = np.empty(x.shape, x.dtype)
    kernel(threads(x.size), x, out, *arguments)
    return out


def _layout(x: Array) -> tuple[Kernel, tuple[Any, ...]] | None:
    """The kernel and its last arguments; None where numpy copies rows, or the rows are short."""
    size = x.itemsize
    dims: list[list[int]] = []  # extent, step in x: those that go on from one to the next as one
    for extent, stride in zip(x.shape, x.strides, strict=True):
        if extent == 1:
            continue
        if stride < 0 or stride % size:
            return None
        step = stride // size
        if dims and dims[-1][1] == step * extent:
            dims[-1] = [dims[-1][0] * extent, step]
        else:
            dims.append([extent, step])
    steps = [math.prod(extent for extent, _ in dims[i + 1 :]) for i in range(len(dims))]
    rows_at = [i for i, (_, step) in enumerate(dims[:-1]) if step == 1]
    if not rows_at or dims[-1][1] <= 1:
        return None
    along = rows_at[0]
    (rows, _), (columns, x_step) = dims[along], dims[-1]
    if min(rows, columns) < LEAST_SIDE:
        return None
    outer = [i for i in range(len(dims) - 1) if i != along]
    geometry = [dims[i][0] for i in outer] + [dims[i][1] for i in outer] + [steps[i] for i in outer]
    strips = math.prod(dims[i][0] for i in outer) * -(-columns // STRIP)
    key = ELEMENTS[size], len(outer)
    kernel = _kernels.get(key)
    if kernel is None:
        kernel = _kernels[key] = kernel_of(Transpose(*key))
    places = np.array(geometry or [0], np.int64)
    return kernel, (places, rows, columns, x_step, steps[along], strips)
