"""Pools over uneven windows on arrays, and where maxima are, by the kernels of pooling_uneven.py.

Kernels take float32 and float64 and one or two spatial dimensions; the rest goes to the reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import numpy as np

from taper.backends import pooling as even
from taper.backends import pooling_uneven as reference
from taper.backends.llvm.functions.gather import gather
from taper.backends.llvm.functions.pointwise import kernel_of, threads
from taper.backends.llvm.pooling_uneven import SLACK, UnevenMaxIndex, UnevenMean, UnevenMeanGrad
from taper.backends.windows import Sizes

Array = np.ndarray

_ELEMENTS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
# Ranges that planes are cut into at most; each has scratch of its own.
_RANGES = 32


@cache
def _kernel(spec: type, dtype: np.dtype) -> Callable[..., Any]:
    return kernel_of(spec(_ELEMENTS[dtype]))


@lru_cache(maxsize=1024)
def _bounds(size: Sizes, out: Sizes, geometry: tuple[Sizes, Sizes, Sizes] | None) -> Array:
    """First and last rows, first and last columns of the windows: even ones, or of a geometry."""
    made: list[int] = []
    for axis in range(-2, 0):
        if -axis > len(size):
            made += [0, 1]
            continue
        n, o = size[axis], out[axis]
        if geometry is None:
            pairs = list(reference.uneven(n, o))
        else:
            kernel, stride, padding = (g[axis] for g in geometry)
            starts = [i * stride - padding for i in range(o)]
            pairs = [(max(s, 0), min(s + kernel, n)) for s in starts]
        made += [a for a, _ in pairs] + [b for _, b in pairs]
    return np.array(made, np.int64)


def _fits(x: Array, size: Sizes, out: Sizes) -> bool:
    return x.dtype in _ELEMENTS and len(out) <= 2 and x.size > 0 and 0 not in size and 0 not in out


def _run(spec: type, whole: Array, grid: Array, bounds: Array, rank: int) -> None:
    """Runs a kernel on arrays of planes and of grids of windows."""
    height, width = (1, *whole.shape[whole.ndim - rank :])[-2:]
    rows, columns = (1, *grid.shape[grid.ndim - rank :])[-2:]
    planes = math.prod(whole.shape[: whole.ndim - rank])
    pool = threads(whole.size)
    piece = -(-planes // _RANGES) if pool else planes
    ranges = -(-planes // piece)
    scratch = np.empty(ranges * 2 * (width + SLACK), np.int64)
    kernel = _kernel(spec, whole.dtype)
    kernel(pool, whole, grid, bounds, scratch, height, width, rows, columns, piece, planes, ranges)


def _max_index(x: Array, out: Sizes, geometry: Any) -> Array:
    rank = len(out)
    lead, size = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
    made = np.empty((*lead, *out), np.int64)
    _run(UnevenMaxIndex, np.ascontiguousarray(x), made, _bounds(size, out, geometry), rank)
    return made


def uneven_max_index(x: Array, out: Sizes) -> Array:
    """Position of the maximum of every window of `uneven` in the flattened last dimensions."""
    if not _fits(x, x.shape[x.ndim - len(out) :], out):
        return reference.uneven_max_index(x, out)
    return _max_index(x, out, None)


def max_index(
    x: Array, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, out: Sizes
) -> Array:
    """Position of every window's maximum in the flattened spatial dimensions, int64."""
    if set(dilation) != {1} or not _fits(x, x.shape[x.ndim - len(out) :], out):
        return even.max_index(x, kernel, stride, padding, dilation, out)
    return _max_index(x, out, (kernel, stride, padding))


def pick(x: Array, index: Array, rank: int) -> Array:
    """The elements of x at positions `index` of its flattened spatial dimensions."""
    lead = math.prod(x.shape[: x.ndim - rank])
    if not lead or not index.size:
        return even.pick(x, index, rank)
    return gather(x.reshape(lead, -1), index.reshape(lead, -1), 1).reshape(index.shape)


def uneven_mean(x: Array, out: Sizes) -> Array:
    """Mean of every window of `uneven`, in the last len(out) dimensions."""
    rank = len(out)
    lead, size = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
    if not _fits(x, size, out):
        return reference.uneven_mean(x, out)
    made = np.empty((*lead, *out), x.dtype)
    _run(UnevenMean, np.ascontiguousarray(x), made, _bounds(size, out, None), rank)
    return made


def uneven_mean_grad(grad: Array, size: Sizes) -> Array:
    """Adjoint of `uneven_mean`, for an input whose last dimensions are `size`."""
    rank = len(size)
    lead, out = grad.shape[: grad.ndim - rank], grad.shape[grad.ndim - rank :]
    if not _fits(grad, size, out):
        return reference.uneven_mean_grad(grad, size)
    made = np.zeros((*lead, *size), grad.dtype)
    _run(UnevenMeanGrad, made, np.ascontiguousarray(grad), _bounds(size, out, None), rank)
    return made
