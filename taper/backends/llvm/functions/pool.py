"""Pooling on arrays: `m.max_pool`, `m.avg_pool` and their adjoints, by the kernels of pooling.py.

Kernels take float32 and float64, one or two spatial dimensions, windows of at most 64 positions.
What has no kernel goes to the reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.backends import pooling as reference
from taper.backends.llvm import build, call, pool
from taper.backends.llvm.functions.conv import convolution_transposed
from taper.backends.llvm.functions.gemm import Plans
from taper.backends.llvm.machine import host
from taper.backends.llvm.pooling import (
    MOST_POSITIONS,
    AvgPool,
    AvgPoolGrad,
    MaxPool,
    MaxPoolGrad,
    Windows,
)
from taper.backends.windows import widened

PUBLISHED = ("max_pool", "max_pool_grad", "avg_pool", "avg_pool_grad")

Sizes = tuple[int, ...]
Array = np.ndarray

_ELEMENTS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
# Ranges that planes are cut into at most; each has scratch of its own.
_RANGES = 32
_has_calls = call.has_fast_calls()


def _windows(
    size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, out: Sizes
) -> Windows | None:
    """The kernels' name of some windows, if they know them."""
    if len(size) > 2 or not _has_calls or 0 in size or 0 in out:
        return None
    if np.prod(kernel) > MOST_POSITIONS:
        return None
    fields: list[Any] = [size, out, kernel, stride, padding, dilation]
    if len(size) == 1:
        fields = [(n, *f) for n, f in zip((1, 1, 1, 1, 0, 1), fields, strict=True)]
    return Windows(*fields)


class _Run:
    """A kernel, ready to be called on arrays that end with its result."""

    __slots__ = ("entry", "library", "scratch", "spare")

    def __init__(self, spec: Any) -> None:
        self.library = build.library(spec)  # the code lives as long as it is held
        self.entry = call.builtin(type(spec).__name__, self.library.addresses["entry"])
        self.scratch = spec.scratch(host(), 1)
        self.spare = spec.scratch(host(), 2) - self.scratch

    def __call__(self, planes: int, *arrays: Array) -> Array:
        threads = pool.address()
        piece = -(-planes // _RANGES)
        ranges = -(-planes // piece)
        own = self.scratch + (ranges - 1) * self.spare if threads else self.scratch
        made = arrays[-1]
        self.entry(threads, *arrays, np.empty(own, made.dtype), piece, planes, ranges)
        return made


class _Overlapping:
    """Adjoint of a mean over windows that overlap: of a convolution with ones, plane by plane."""

    __slots__ = ("by", "geometry", "ones")

    def __init__(
        self,
        dtype: np.dtype,
        size: Sizes,
        kernel: Sizes,
        stride: Sizes,
        padding: Sizes,
        out: Sizes,
        whole: bool,
        override: int | None,
    ) -> None:
        divisor = reference.divisor(size, kernel, stride, padding, out, whole, override)
        self.by = np.asarray(divisor, dtype)
        self.ones = np.ones((1, 1, *kernel), dtype)
        self.geometry = (size, stride, padding, (1,) * len(kernel), 1)

    def __call__(self, planes: int, grad: Array, _: None, made: Array) -> Array:
        share = (grad / self.by).reshape(planes, 1, *grad.shape[grad.ndim - self.ones.ndim + 2 :])
        return convolution_transposed(share, self.ones, *self.geometry).reshape(made.shape)


def _new_maximum(
    kind: type[MaxPool] | type[MaxPoolGrad],
    size: Sizes,
    dtype: np.dtype,
    grad: np.dtype,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    out: Sizes,
) -> _Run | None:
    """The kernel of a maximum or its adjoint, or None."""
    windows = _windows(size, kernel, stride, padding, dilation, out)
    if windows is None or dtype not in _ELEMENTS or grad != dtype:
        return None
    return _Run(kind(windows, _ELEMENTS[dtype]))


_maxima = Plans(_new_maximum)


def max_pool(
    x: Array, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, out: Sizes
) -> Array:
    """Maximum of every window; nan where a window holds one."""
    rank, dtype = len(kernel), x.dtype
    key = (MaxPool, x.shape[-rank:], dtype, dtype, kernel, stride, padding, dilation, out)
    found = _maxima[key]
    if found is None or not x.size:
        if dtype.itemsize == 2 and dtype.kind in "fV":  # a maximum is not rounded
            return max_pool(widened(x), kernel, stride, padding, dilation, out).astype(dtype)
        return reference.max_pool(x, kernel, stride, padding, dilation, out)
    lead = x.shape[: x.ndim - rank]
    y = np.empty((*lead, *out), x.dtype)
    return found(_count(lead), np.ascontiguousarray(x), y)


def max_pool_grad(
    grad: Array,
    x: Array,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    out: Sizes,
) -> Array:
    """Each window's gradient at the position of its maximum, shaped as x."""
    rank = len(kernel)
    key = (
        MaxPoolGrad, x.shape[-rank:], x.dtype, grad.dtype, kernel, stride, padding, dilation, out,
    )  # fmt: skip
    found = _maxima[key]
    if found is None or not x.size:
        return reference.max_pool_grad(grad, x, kernel, stride, padding, dilation, out)
    given = np.ascontiguousarray(grad), np.ascontiguousarray(x)
    made = np.empty(x.shape, x.dtype)
    return found(_count(x.shape[: x.ndim - rank]), *given, made)


def _count(lead: Sizes) -> int:
    """How many planes: the product of the leading dimensions."""
    count = 1
    for n in lead:
        count *= n
    return count


def _new_mean(
    kind: type[AvgPool] | type[AvgPoolGrad],
    size: Sizes,
    dtype: np.dtype,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    out: Sizes,
    whole: bool,
    override: int | None,
) -> Any:
    """The kernel of a mean or its adjoint with its array of divisors, or None."""
    windows = _windows(size, kernel, stride, padding, (1,) * len(kernel), out)
    if windows is None or dtype not in _ELEMENTS:
        return None
    if kind is AvgPoolGrad and not windows.apart:
        return _Overlapping(dtype, size, kernel, stride, padding, out, whole, override), None
    divisor = reference.divisor(size, kernel, stride, padding, out, whole, override)
    same = np.ndim(divisor) == 0
    table = np.zeros(1, dtype) if same else np.array(np.broadcast_to(divisor, out), dtype)
    return _Run(kind(windows, _ELEMENTS[dtype], float(divisor) if same else 0.0)), table


_means = Plans(_new_mean)


def avg_pool(
    x: Array,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    out: Sizes,
    whole: bool,
    override: int | None,
) -> Array:
    """Mean of every window."""
    rank = len(kernel)
    size = x.shape[-rank:]
    key = (AvgPool, size, x.dtype, kernel, stride, padding, out, whole, override)
    found = _means[key]
    if found is None or not x.size:
        return reference.avg_pool(x, kernel, stride, padding, out, whole, override)
    run, table = found
    lead = x.shape[: x.ndim - rank]
    y = np.empty((*lead, *out), x.dtype)
    return run(_count(lead), np.ascontiguousarray(x), table, y)


def avg_pool_grad(
    grad: Array,
    size: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    out: Sizes,
    whole: bool,
    override: int | None,
) -> Array:
    """Each window's gradient, divided, at all its positions: adjoint of `avg_pool`."""
    key = (AvgPoolGrad, size, grad.dtype, kernel, stride, padding, out, whole, override)
    found = _means[key]
    if found is None or not grad.size:
        return reference.avg_pool_grad(grad, size, kernel, stride, padding, out, whole, override)
    run, table = found
    lead = grad.shape[: grad.ndim - len(kernel)]
    made = np.empty((*lead, *size), grad.dtype)
    return run(_count(lead), np.ascontiguousarray(grad), table, made)
