"""The stable order of elements by a radix sort: the functions of backends/order.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from taper.backends import order as reference
from taper.backends.llvm.functions.pointwise import kernel_of, threads
from taper.backends.llvm.order import Order
from taper.backends.windows import widened

Array = np.ndarray

# Elements of a row from which counting bytes pays.
LEAST = 64
# Ranges that rows are cut into at most; each has scratch of its own.
_RANGES = 16

_ELEMENTS = {
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
    np.dtype(np.int32): "i32",
    np.dtype(np.int64): "i64",
}


@cache
def _kernel(dtype: np.dtype, descending: bool) -> Callable[..., Any]:
    return kernel_of(Order(_ELEMENTS[dtype], descending))


def _fitting(x: Array) -> Array | None:
    """x in a dtype that has kernels, in the same order; None where there is none."""
    if x.dtype in _ELEMENTS:
        return x
    if x.dtype.kind in "iub" and x.itemsize <= 4:
        return x.astype(np.int32 if x.itemsize < 4 else np.int64)
    return widened(x) if x.itemsize == 2 and x.dtype.kind in "fV" else None


def order(x: Array, axis: int, descending: bool = False) -> Array:
    """Positions that sort along the axis, equal elements in their order. nan is the largest."""
    count = x.shape[axis]
    given = _fitting(x) if count >= LEAST and x.size else None
    if given is None:
        return reference.order(x, axis, descending)
    rows = np.ascontiguousarray(np.moveaxis(given, axis, -1))
    out = np.empty(rows.shape, np.int64)
    number = rows.size // count
    pool = threads(rows.size)
    piece = -(-number // _RANGES) if pool else number
    ranges = -(-number // piece)
    keys, places = np.empty(2 * ranges * count, f"i{rows.itemsize}"), np.empty(ranges * count, int)
    _kernel(rows.dtype, descending)(pool, rows, out, keys, places, count, piece, number, ranges)
    return np.ascontiguousarray(np.moveaxis(out, -1, axis))


def first_in_order(x: Array, k: int, axis: int, descending: bool) -> Array:
    """The first k positions of the order."""
    return reference.first_of(x, k, axis, descending, order)
