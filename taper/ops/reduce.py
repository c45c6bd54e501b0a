"""Reductions: sum, mean and the others that fold dimensions away."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DtypeError
from taper.op import Reduction, op, public
from taper.shapes import canonical_dims
from taper.tensor import Tensor


def restore_dims(m: Any, grad: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """The gradient with the folded dimensions back as size 1."""
    if keepdims or not axis:
        return grad
    return m.expand_dims(grad, axis)


def wide(dtype: np.dtype) -> Any:
    """The dtype to accumulate in: float32 for the half types, else the own."""
    return np.float32 if dtype.itemsize == 2 and dtype.kind in "fV" else None


@op
class Sum(Reduction):
    """Sum over `axis`."""

    node_name = "SumBackward1"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        made = input.sum(axis=axis, keepdims=keepdims, dtype=wide(input.dtype) or input.dtype)
        return made.astype(input.dtype, copy=False)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: tuple[int, ...],
            keepdims: bool) -> Any:
        return m.broadcast_to(restore_dims(m, grad, axis, keepdims), input)


@op
class Mean(Reduction):
    """Mean over `axis`."""

    node_name = "MeanBackward1"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        made = input.sum(axis=axis, keepdims=keepdims, dtype=wide(input.dtype) or input.dtype)
        return (made / count_of(input.shape, axis)).astype(input.dtype, copy=False)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: tuple[int, ...],
            keepdims: bool) -> Any:
        grad = restore_dims(m, grad, axis, keepdims)
        return m.broadcast_to(grad / count_of(input, axis), input)


def count_of(shape: tuple[int, ...], axis: tuple[int, ...]) -> int:
    """How many elements each result is folded from."""
    count = 1
    for a in axis:
        count *= shape[a]
    return count


@public(method=True, out=True)
def sum(input: Tensor, dim: Any = None, keepdim: bool = False, *,
        dtype: dtypes.dtype | None = None) -> Tensor:
    """Sum of all elements, or over dimension(s) `dim`.

    Dtype: integers and bools are summed as int64 unless `dtype` says otherwise.
    """
    axis = canonical_dims(dim, input._array.ndim)
    if dtype is None and input._array.dtype.kind in "iub":
        dtype = dtypes.int64
    if dtype is not None:
        input = input.to(dtype)
    return apply(Sum, input, axis=axis, keepdims=keepdim)


@public(method=True, out=True)
def mean(input: Tensor, dim: Any = None, keepdim: bool = False, *,
         dtype: dtypes.dtype | None = None) -> Tensor:
    """Mean of all elements, or over dimension(s) `dim`.

    Raises: RuntimeError for integers and bools (cast first, or give `dtype`).
    """
    if dtype is not None:
        input = input.to(dtype)
    if input._array.dtype.kind in "iub":
        raise DtypeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or "
            f"complex dtype. Got: {input.dtype.name.capitalize()}")
    return apply(Mean, input, axis=canonical_dims(dim, input._array.ndim), keepdims=keepdim)
