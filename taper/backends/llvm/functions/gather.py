"""Slices and elements by index, on kernels: the functions of backends/gathering.py.

They take row-major arrays whose elements have four or eight bytes (slices: a multiple of four), and
int64 indices. Other arrays, and small sums, go to the reference, which also raises the error for an
index out of range.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.backends import gathering as reference
from taper.backends.llvm.gather import AddSlices, Gather, ScatterAdd, TakeSlices
from taper.backends.llvm.loaded import kernel

Array = np.ndarray
_empty = np.empty

# Elements below which numpy is as quick as the call.
LEAST = 256

_SUMS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double", np.dtype(np.int64): "i64"}
_INDEX = np.dtype(np.int64)


def _kernel(spec: Any) -> Any:
    """The kernel as a Python function, which tells whether an index was out of range."""
    return kernel(spec, "i64")


def _split(shape: tuple[int, ...], axis: int) -> tuple[int, int]:
    """Elements before and behind a dimension."""
    if axis == 0:
        return 1, math.prod(shape[1:])
    return math.prod(shape[:axis]), math.prod(shape[axis + 1 :])


# ---------------------------------------------------------------- whole slices


def take_slices(x: Array, index: Array, axis: int = 0) -> Array:
    """x's slices at the places of a dimension; an index of several dimensions for the first only."""
    if index.dtype is _INDEX and x.flags.c_contiguous and x.size and x.dtype.kind != "O":
        shape, count = x.shape, index.size
        extent = shape[axis]
        if axis:
            outer = math.prod(shape[:axis])
            made = (*shape[:axis], *index.shape, *shape[axis + 1 :])
        else:
            outer, made = 1, index.shape + shape[1:]
        width = x.nbytes // (outer * extent)
        unit = 8 if width % 8 == 0 else 4
        if width % unit == 0:
            if not index.flags.c_contiguous:
                index = np.ascontiguousarray(index)
            out = _empty(made, x.dtype)
            take = _takes.get(unit) or _take(unit)
            if not take(x, index, out, outer, extent, width // unit, count, 0, count):
                return out
    return reference.take_slices(x, index, axis)


_takes: dict[int, Any] = {}


def _take(unit: int) -> Any:
    """The kernel that moves units of four or eight bytes."""
    found = _takes[unit] = _kernel(TakeSlices("i64" if unit == 8 else "i32"))
    return found


def add_slices(x: Array, index: Array, source: Array, axis: int = 0) -> Array:
    """A copy of x with source's slices added, in order, at the places of a dimension."""
    element = _SUMS.get(x.dtype)
    if element is None or source.dtype != x.dtype or source.size < LEAST:
        return reference.add_slices(x, index, source, axis)
    made = np.array(x, order="C")
    if _added(made, index, source, axis, element):
        return made
    return reference.add_slices(x, index, source, axis)


def _added(made: Array, index: Array, source: Array, axis: int, element: str) -> bool:
    """Adds source's slices into `made`; False, and nothing done, for an index out of range."""
    index = np.ascontiguousarray(index, _INDEX)
    if not source.flags.c_contiguous:
        source = np.ascontiguousarray(source)
    outer, inner = _split(made.shape, axis)
    extent, count = made.shape[axis], index.size
    add = _kernel(AddSlices(element))
    return not add(made, index, source, outer, extent, inner, count, 0, inner)


def sum_rows(values: Array, index: Array, rows: int) -> Array:
    """The table whose row i is the sum, in order, of the values (n, D) whose index is i."""
    half = values.dtype.itemsize == 2 and values.dtype.kind in "fV"
    wide = values.astype(np.float32) if half else values
    element = _SUMS.get(wide.dtype)
    if element is not None and values.size >= LEAST:
        made = np.zeros((rows, values.shape[1]), wide.dtype)
        if _added(made, index, wide, 0, element):
            return made.astype(values.dtype, copy=False)
    return reference.sum_rows(values, index, rows)


# ---------------------------------------------------------------- single elements


def _fits(x: Array, index: Array, axis: int) -> bool:
    """Whether the kernels take an index: the other dimensions are whole."""
    shape, own = x.shape, index.shape
    return (
        index.dtype is _INDEX
        and index.size >= LEAST
        and len(shape) == len(own) > 0
        and shape[:axis] == own[:axis]
        and shape[axis + 1 :] == own[axis + 1 :]
    )


def gather(x: Array, index: Array, axis: int) -> Array:
    """out[i, j] = x[i, index[i, j]], for axis 1 of 2."""
    element = {4: "i32", 8: "i64"}.get(x.itemsize)
    if element is not None and _fits(x, index, axis) and x.flags.c_contiguous:
        if not index.flags.c_contiguous:
            index = np.ascontiguousarray(index)
        out = np.empty(index.shape, x.dtype)
        outer, inner = _split(x.shape, axis)
        extent, count = x.shape[axis], index.shape[axis]
        if not _kernel(Gather(element))(x, index, out, extent, inner, count, 0, outer):
            return out
    return reference.gather(x, index, axis)


def scatter_add(x: Array, index: Array, source: Array, axis: int) -> Array:
    """A copy of x with source[i, j] added at [i, index[i, j]] in order, for axis 1 of 2."""
    element = _SUMS.get(x.dtype)
    if element is not None and _fits(x, index, axis) and source.ndim:
        if source.shape != index.shape:
            source = source[tuple(map(slice, index.shape))]
        made = np.array(x, order="C")
        index, source = np.ascontiguousarray(index), np.ascontiguousarray(source)
        outer, inner = _split(x.shape, axis)
        extent, count = x.shape[axis], index.shape[axis]
        add = _kernel(ScatterAdd(element))
        if not add(made, index, source, extent, inner, count, 0, outer):
            return made
    return reference.scatter_add(x, index, source, axis)
