"""Running sums, products and extremes on kernels: the functions of backends/scans.py.

float32, float64 and int64, of any strides (a copy is made of what is not row-major). Other dtypes,
and small arrays, go to the reference.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import scans as reference
from taper.backends.llvm.loaded import kernel
from taper.backends.llvm.scan import RunningExtreme, Scan

Array = np.ndarray

# Elements below which numpy is as quick as the call.
LEAST = 128

_ELEMENTS = {
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
    np.dtype(np.int64): "i64",
}


@functools.cache
def _scan(dtype: np.dtype, product: bool) -> Callable[..., Any]:
    return kernel(Scan(_ELEMENTS[dtype], product))


def _running(x: Array, axis: int, reverse: bool, product: bool) -> Array | None:
    """None where the reference is to do it."""
    dtype = x.dtype
    if x.size < LEAST or dtype not in _ELEMENTS:
        return None
    if not x.flags.c_contiguous:
        x = np.ascontiguousarray(x)
    shape = x.shape
    count, inner = shape[axis], math.prod(shape[axis + 1 :])
    out = np.empty(shape, dtype)
    first, step = ((count - 1) * inner, -inner) if reverse else (0, inner)
    outer = x.size // (count * inner)
    _scan(dtype, product)(x, out, count, inner, first, step, 0, outer)
    return out


def running_sum(x: Array, axis: int, reverse: bool = False) -> Array:
    """Sums of all elements up to each along an axis; from the end if `reverse`."""
    made = _running(x, axis, reverse, False)
    return reference.running_sum(x, axis, reverse) if made is None else made


def running_product(x: Array, axis: int, reverse: bool = False) -> Array:
    """Products of all elements up to each along an axis; from the end if `reverse`."""
    made = _running(x, axis, reverse, True)
    return reference.running_product(x, axis, reverse) if made is None else made


@functools.cache
def _extreme(dtype: np.dtype, largest: bool) -> Callable[..., Any]:
    return kernel(RunningExtreme(_ELEMENTS[dtype], largest))


def running_extreme(x: Array, axis: int, largest: bool) -> tuple[Array, Array]:
    """The largest (or smallest) so far along an axis and its place; the last of equal ones."""
    if x.size < LEAST or x.dtype not in _ELEMENTS:
        return reference.running_extreme(x, axis, largest)
    x = np.ascontiguousarray(x)
    shape = x.shape
    values, places = np.empty(shape, x.dtype), np.empty(shape, np.int64)
    count, inner = shape[axis], math.prod(shape[axis + 1 :])
    outer = x.size // (count * inner)
    _extreme(x.dtype, largest)(x, values, places, count, inner, 0, outer)
    return values, places
