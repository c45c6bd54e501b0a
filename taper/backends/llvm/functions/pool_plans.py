"""Kernels of pooling made ready to be called: from sizes and dtypes to the function that runs them.

functions/pool.py remembers what is made here, and imports this file when the first is needed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.backends import pooling as reference
from taper.backends.llvm import call
from taper.backends.llvm.functions.conv import ELEMENTS, convolution_transposed
from taper.backends.llvm.functions.gather import scatter_add
from taper.backends.llvm.functions.pool_uneven import max_index, pick
from taper.backends.llvm.functions.ranges import Ranged, cut
from taper.backends.llvm.pooling import (
    MOST_POSITIONS,
    AvgPool,
    AvgPoolGrad,
    MaxPool,
    MaxPoolGrad,
    Windows,
)

Sizes = tuple[int, ...]
Array = np.ndarray

# Windows in a row, and positions in a window, that leave most lanes of a vector of windows empty.
_FEW, _LARGE = 4, 16
# Elements of a batch from which on handing ranges to threads pays.
_PARALLEL = 100_000


def _windows(
    size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, out: Sizes
) -> Windows | None:
    """The kernels' name of some windows, if they know them."""
    if len(size) > 2 or not call.has_fast_calls() or 0 in size or 0 in out:
        return None
    if np.prod(kernel) > MOST_POSITIONS:
        return None
    fields: list[Any] = [size, out, kernel, stride, padding, dilation]
    if len(size) == 1:
        fields = [(n, *f) for n, f in zip((1, 1, 1, 1, 0, 1), fields, strict=True)]
    return Windows(*fields)


class _Run(Ranged):
    """A kernel, ready to be called on arrays that end with its result."""

    __slots__ = ()

    def __init__(self, spec: Any, dtype: np.dtype) -> None:
        super().__init__(spec, dtype, math.prod(spec.windows.size), _PARALLEL)

    def __call__(self, planes: int, *arrays: Array) -> Array:
        piece, ranges = cut(planes)
        threads, scratch = self.room(planes, ranges)
        self.entry(threads, *arrays, scratch, piece, planes, ranges)
        return arrays[-1]


class _ByIndex:
    """A maximum, or its adjoint, by the positions of the maxima: of windows so large that few are in a
    row, where vectors of windows would be empty.
    """

    __slots__ = ("geometry",)

    def __init__(self, *geometry: Sizes) -> None:
        self.geometry = geometry

    @staticmethod
    def suits(kernel: Sizes, dilation: Sizes, out: Sizes) -> bool:
        """Whether it is the quicker way."""
        positions = np.prod(kernel)
        large = positions > MOST_POSITIONS or (out[-1] < _FEW and positions >= _LARGE)
        return bool(large and len(kernel) <= 2 and set(dilation) == {1} and 0 not in out)

    def __call__(self, planes: int, *arrays: Array) -> Array:
        *grad, x, made = arrays
        index = max_index(x, *self.geometry)
        if not grad:
            return pick(x, index, len(self.geometry[0]))
        shape, flat = made.shape, index.reshape(planes, -1)
        zeros = np.zeros((planes, made.size // planes), made.dtype)
        return scatter_add(zeros, flat, grad[0].reshape(planes, -1), 1).reshape(shape)


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


def maximum(
    kind: str,
    size: Sizes,
    dtype: np.dtype,
    grad: np.dtype,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    out: Sizes,
) -> Any:
    """The kernel of a maximum or its adjoint, or None."""
    if dtype in ELEMENTS and grad == dtype and _ByIndex.suits(kernel, dilation, out):
        return _ByIndex(kernel, stride, padding, dilation, out)
    windows = _windows(size, kernel, stride, padding, dilation, out)
    if windows is None or dtype not in ELEMENTS or grad != dtype:
        return None
    spec = MaxPool if kind == "values" else MaxPoolGrad
    return _Run(spec(windows, ELEMENTS[dtype]), dtype)


def mean(
    kind: str,
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
    if windows is None or dtype not in ELEMENTS:
        return None
    if kind == "gradient" and not windows.apart:
        return _Overlapping(dtype, size, kernel, stride, padding, out, whole, override), None
    divisor = reference.divisor(size, kernel, stride, padding, out, whole, override)
    same = np.ndim(divisor) == 0
    table = np.zeros(1, dtype) if same else np.array(np.broadcast_to(divisor, out), dtype)
    spec = AvgPool if kind == "values" else AvgPoolGrad
    return _Run(spec(windows, ELEMENTS[dtype], float(divisor) if same else 0.0), dtype), table
