"""Running sums and products on kernels: the functions of backends/scans.py.

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
from taper.backends.llvm.scan import Scan

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
