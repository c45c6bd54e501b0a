"""Running sums, products and extremes along a dimension, and differences."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.op import Opaque, op, public
from taper.ops.convert import cast
from taper.ops.reduce import wide
from taper.shapes import canonical_dim
from taper.tensor import Tensor


@op
class Cumsum(Opaque):
    """Running sum along `axis`, from the end if `reverse`."""

    def forward(self, m: Any, input: Any, *, axis: int, reverse: bool) -> Any:
        if not input.ndim:
            return input.copy()
        if reverse:
            input = np.flip(input, axis)
        made = input.cumsum(axis=axis, dtype=wide(input.dtype) or input.dtype)
        made = made.astype(input.dtype, copy=False)
        return np.flip(made, axis) if reverse else made

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: int, reverse: bool) -> Any:
        return m.call(Cumsum, grad, axis=axis, reverse=not reverse)


def _summable(input: Tensor, dtype: dtypes.dtype | None) -> Tensor:
    """In `dtype`; without one, integers and bools as int64."""
    if dtype is not None:
        return cast(input, dtype)
    return cast(input, dtypes.int64) if input._array.dtype.kind in "iub" else input


@public(method=True, inplace=True, out=True)
def cumsum(input: Tensor, dim: int, *, dtype: dtypes.dtype | None = None) -> Tensor:
    """Running sum along `dim`.

    Dtype: integers and bools are summed as int64 unless `dtype` says otherwise.
    """
    axis = canonical_dim(dim, input._array.ndim)
    return apply(Cumsum, _summable(input, dtype), axis=axis, reverse=False)
