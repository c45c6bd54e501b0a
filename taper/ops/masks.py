"""Writing where a mask is true: masked_fill and masked_scatter."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.gather import MaskedSelect, fit_together
from taper.ops.scatter import filling
from taper.ops.view_ops import Embed
from taper.tensor import Tensor


@op
class MaskedFill(Opaque):
    """`input` with one value where the mask is true."""

    name = "masked_fill"
    node_name = "MaskedFillBackward0"
    plain = True
    elements = True
    saves = ("input.shape", "mask")

    def forward(self, m: Any, input: Any, mask: Any, value: Any) -> Any:
        return m.where(mask, value, input)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        mask: Any,
        value: Any,
        *,
        needs: Any,
    ) -> Any:
        zero = m.zeros((), grad.dtype)
        rest = m.sum_to(m.call(MaskedFill, grad, mask, zero), input) if needs[0] else None
        return rest, None, m.sum(m.where(mask, grad, zero)) if needs[2] else None


@public(method=True, inplace=True, out=True)
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`input` with `value`, a number or a 0-d tensor, where `mask` is true.

    Shape: input and mask broadcast together.
    Raises: RuntimeError unless the mask is bool.
    """
    if mask._array.dtype.kind != "b":
        raise DtypeError(
            "masked_fill_ only supports boolean masks, but got mask with dtype "
            + dtypes.c_name(mask.dtype)
        )
    if isinstance(value, Tensor) and value._array.ndim:
        raise ShapeError(
            "masked_fill_ only supports a 0-dimensional value tensor, but got tensor "
            f"with {value._array.ndim} dimension(s)."
        )
    if (
        value.is_complex() if isinstance(value, Tensor) else isinstance(value, complex)
    ) and input._array.dtype.kind not in "cb":
        raise RuntimeError(
            f"value cannot be converted to type {dtypes.c_name(input.dtype)} without overflow"
        )
    fit_together(input, mask)
    return apply(MaskedFill, input, mask, filling(value, input.dtype))


@op
class MaskedScatter(Opaque):
    """`input` with the elements of `source`, in order, where the mask is true."""

    name = "masked_scatter"
    node_name = "MaskedScatterBackward0"
    saves = ("input.shape", "mask", "source.shape")

    def forward(self, m: Any, input: Any, mask: Any, source: Any) -> Any:
        shape = np.broadcast_shapes(input.shape, mask.shape)
        made = np.array(np.broadcast_to(input, shape), order="C")
        mask = np.broadcast_to(mask, shape)
        made[mask] = source.reshape(-1)[: np.count_nonzero(mask)]
        return made

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        mask: Any,
        source: Any,
        *,
        needs: Any,
    ) -> Any:
        rest = taken = None
        if needs[0]:
            rest = m.sum_to(m.call(MaskedFill, grad, mask, m.zeros((), grad.dtype)), input)
        if needs[2]:
            taken = m.call(MaskedSelect, grad, mask)
            count = int(np.prod(source))
            taken = m.reshape(
                m.call(Embed, taken, shape=(count,), key=(slice(0, taken.shape[0]),)),
                source,
            )
        return rest, None, taken


@public(method=True, inplace=True)
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """`input` with the elements of `source`, in order, where `mask` is true.

    Raises: RuntimeError unless the mask is bool, the dtypes agree, and `source` has enough elements.
    """
    if mask._array.dtype.kind != "b":
        raise DtypeError(
            "masked_scatter_ only supports boolean masks, but got mask with dtype "
            + dtypes.c_name(mask.dtype)
        )
    if source._array.dtype != input._array.dtype:
        raise DtypeError(
            f"masked_scatter: expected self and source to have same dtypes but got "
            f"{dtypes.cpp_name(input.dtype)} and {dtypes.cpp_name(source.dtype)}"
        )
    fit_together(input, mask)
    shape = np.broadcast_shapes(input._array.shape, mask._array.shape)
    if np.count_nonzero(np.broadcast_to(mask._array, shape)) > source._array.size:
        raise ShapeError("Number of elements of source < number of ones in mask")
    return apply(MaskedScatter, input, mask, source)
