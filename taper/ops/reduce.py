"""Reductions that fold dimensions away: sum, mean, prod, max, min, argmax, all, any.

Those of statistics (var, norm, median ...) are in statistics.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper import dtypes, return_types
from taper.dispatch import apply
from taper.errors import DimError, DtypeError, ShapeError
from taper.op import Opaque, Reduction, op, public
from taper.ops.arguments import refuse
from taper.ops.arithmetic import conj_of
from taper.ops.choose import maximum, minimum
from taper.ops.convert import cast
from taper.shapes import canonical_dim, canonical_dims
from taper.tensor import Tensor, wrap


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

    built_in = "sum_over"
    node_name = "SumBackward1"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        own = input.dtype
        dtype = wide(own)
        made = m.sum(input, axis, dtype or own, None, keepdims)
        return made if dtype is None else made.astype(own)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool
    ) -> Any:
        return m.broadcast_to(restore_dims(m, grad, axis, keepdims), input)


@op
class SumAll(Reduction):
    """Sum of all elements."""

    name = built_in = "sum"
    node_name = "SumBackward0"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any) -> Any:
        dtype = wide(input.dtype)
        return m.sum(input) if dtype is None else input.sum(dtype=dtype).astype(input.dtype)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.broadcast_to(grad, input)


@op
class Mean(Reduction):
    """Mean over `axis`."""

    built_in = "mean_over"
    node_name = "MeanBackward1"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        own = input.dtype
        dtype = wide(own)
        if dtype is None and input.size:
            return m.mean(input, axis, None, None, keepdims)
        made = m.sum(input, axis, dtype or own, None, keepdims) / count_of(input.shape, axis)
        return made if dtype is None else made.astype(own)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool
    ) -> Any:
        grad = restore_dims(m, grad, axis, keepdims)
        return m.broadcast_to(grad / count_of(input, axis), input)


@op
class MeanAll(Reduction):
    """Mean of all elements."""

    name = built_in = "mean"
    node_name = "MeanBackward0"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any) -> Any:
        dtype = wide(input.dtype)
        if dtype is None and input.size:
            return m.mean(input)
        return (input.sum(dtype=dtype) / input.size).astype(input.dtype)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.broadcast_to(m.astype(grad / math.prod(input), grad.dtype), input)


def count_of(shape: tuple[int, ...], axis: tuple[int, ...]) -> int:
    """How many elements each result is folded from."""
    count = 1
    for a in axis:
        count *= shape[a]
    return count


@public(method=True, out=True)
def sum(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None
) -> Tensor:
    """Sum of all elements, or over dimension(s) `dim`.

    Dtype: integers and bools are summed as int64 unless `dtype` says otherwise.
    """
    if dtype is not None:
        input = cast(input, dtype)
    elif input._array.dtype.kind in "iub":
        if dim is None and not keepdim and input._array.dtype.kind == "b":
            return wrap(np.asarray(np.count_nonzero(input._array), np.int64))
        input = cast(input, dtypes.int64)
    if dim is None and not keepdim:
        return apply(SumAll, input)
    return apply(Sum, input, axis=canonical_dims(dim, input._array.ndim), keepdims=keepdim)


@public(method=True, out=True)
def mean(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None
) -> Tensor:
    """Mean of all elements, or over dimension(s) `dim`.

    Raises: RuntimeError for integers and bools (cast first, or give `dtype`).
    """
    if dtype is not None:
        input = cast(input, dtype)
    if input._array.dtype.kind in "iub":
        which = "Input" if dtype is None else "Optional"
        raise DtypeError(
            f"mean(): could not infer output dtype. {which} dtype must be either a floating point or "
            f"complex dtype. Got: {dtypes.cpp_name(input.dtype)}"
        )
    if dim is None and not keepdim:
        return apply(MeanAll, input)
    return apply(Mean, input, axis=canonical_dims(dim, input._array.ndim), keepdims=keepdim)


# ---------------------------------------------------------------- product


def _product_vjp(m: Any, grad: Any, out: Any, input: Any, axis: int) -> Any:
    """Gradient of a product along `axis`; grad and out have that dimension with size 1."""
    zero = m.equal(input, 0)
    zeros = m.sum(zero, axis, keepdims=True)
    if not bool(m.sum(zeros)):
        return grad * conj_of(m, out / input)
    if m.on_arrays:
        # The product of the others: of all nonzero ones, at a slice's only zero; without its
        # own factor where there is no zero; 0 elsewhere.
        safe = m.where(zero, 1, input)
        rest = m.prod(safe, axis=axis, keepdims=True)
        others = np.where(zero, np.where(zeros == 1, rest, 0), np.where(zeros == 0, rest / safe, 0))
        return grad * conj_of(m, others.astype(input.dtype, copy=False))
    # The derivative of this derivative needs the others as products: one row for each element
    # left out.
    x = m.moveaxis(input, axis, -1)
    own = m.constant(np.eye(x.shape[-1], dtype=bool))
    rows = m.where(own, 1, m.expand_dims(x, -2))
    others = m.moveaxis(m.call(Prod, rows, axis=(rows.ndim - 1,), keepdims=False), -1, axis)
    return grad * conj_of(m, others)


@op
class Prod(Reduction):
    """Product over one dimension."""

    node_name = "ProdBackward1"
    saves = ("input", "out")

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        dtype = wide(input.dtype) or input.dtype
        made = m.prod(input, axis=axis, keepdims=keepdims, dtype=dtype)
        return made.astype(input.dtype, copy=False)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool
    ) -> Any:
        if not axis:
            return grad
        return _product_vjp(
            m,
            restore_dims(m, grad, axis, keepdims),
            restore_dims(m, out, axis, keepdims),
            input,
            axis[0],
        )


@op
class ProdAll(Reduction):
    """Product of all elements."""

    name = built_in = "prod"
    node_name = "ProdBackward0"
    saves = ("input", "out")

    def forward(self, m: Any, input: Any) -> Any:
        dtype = wide(input.dtype) or input.dtype
        return m.prod(input, dtype=dtype).astype(input.dtype, copy=False)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        if not len(input.shape):
            return grad
        made = _product_vjp(
            m, m.reshape(grad, (1,)), m.reshape(out, (1,)), m.reshape(input, (-1,)), 0
        )
        return m.reshape(made, tuple(input.shape))


@public(method=True, out=True)
def prod(
    input: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """Product of all elements, or over dimension `dim`.

    Dtype: integers and bools are multiplied as int64 unless `dtype` says otherwise.
    """
    if dtype is not None:
        input = cast(input, dtype)
    elif input._array.dtype.kind in "iub":
        input = cast(input, dtypes.int64)
    if dim is None:
        return apply(ProdAll, input)
    axis = (canonical_dim(dim, input._array.ndim),) if input._array.ndim else ()
    canonical_dim(dim, input._array.ndim)
    return apply(Prod, input, axis=axis, keepdims=keepdim)


# ---------------------------------------------------------------- places along a dimension


@op
class TakeAlong(Opaque):
    """input[..., index, ...] along `axis`; an index names no place of a slice twice."""

    saves = ("input.shape", "index")

    def forward(self, m: Any, input: Any, index: Any, *, axis: int) -> Any:
        return np.take_along_axis(input, index, axis) if input.ndim else input.copy()

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, index: Any, *, axis: int) -> Any:
        return m.call(PutAlong, grad, index, axis=axis, shape=input), None


@op
class PutAlong(Opaque):
    """Zeros of `shape` with `source` at `index` along `axis`: the adjoint of TakeAlong."""

    saves = ("index",)

    def forward(self, m: Any, source: Any, index: Any, *, axis: int, shape: tuple[int, ...]) -> Any:
        if not shape:
            return source.copy()
        made = np.zeros(shape, source.dtype)
        np.put_along_axis(made, index, source, axis)
        return made

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        source: Any,
        index: Any,
        *,
        axis: int,
        shape: tuple[int, ...],
    ) -> Any:
        return m.call(TakeAlong, grad, index, axis=axis), None


def picked_vjp(
    m: Any, grad: Any, index: Any, shape: tuple[int, ...], axis: int, keepdims: bool
) -> Any:
    """Gradient of values picked at `index`, one for each slice along `axis`."""
    if not keepdims and shape:
        grad, index = m.expand_dims(grad, axis), m.expand_dims(index, axis)
    return m.call(PutAlong, grad, index, axis=axis, shape=shape)


# ---------------------------------------------------------------- largest and smallest


def _evenly(m: Any, grad: Any, out: Any, input: Any, axis: tuple[int, ...]) -> Any:
    """The gradient shared by all elements equal to the extreme `out`."""
    hit = m.equal(input, out)
    return grad * m.astype(hit, grad.dtype) / m.astype(m.sum(hit, axis, keepdims=True), grad.dtype)


class _Extreme(Reduction):
    """The extremes over `axis`; equal ones share the gradient."""

    saves = ("input", "out")

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool
    ) -> Any:
        if not axis:
            return grad
        return _evenly(
            m,
            restore_dims(m, grad, axis, keepdims),
            restore_dims(m, out, axis, keepdims),
            input,
            axis,
        )


@op
class Amax(_Extreme):
    """Largest over `axis`."""

    built_in = "max_over"

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return m.max(input, axis=axis, keepdims=keepdims)


@op
class Amin(_Extreme):
    """Smallest over `axis`."""

    built_in = "min_over"

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return m.min(input, axis=axis, keepdims=keepdims)


class _ExtremeAll(Reduction):
    """The extreme of all elements; equal ones share the gradient."""

    saves = ("input", "out")

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        if not len(input.shape):
            return grad
        hit = m.equal(input, out)
        if bool(m.isnan(out)):
            hit = m.isnan(input)
        count = m.astype(m.sum(hit), grad.dtype)
        return m.where(hit, grad / count, 0)


@op
class MaxAll(_ExtremeAll):
    """Largest of all elements."""

    name = built_in = "max"
    node_name = "MaxBackward1"

    def forward(self, m: Any, input: Any) -> Any:
        return m.max(input)


@op
class MinAll(_ExtremeAll):
    """Smallest of all elements."""

    name = built_in = "min"
    node_name = "MinBackward1"

    def forward(self, m: Any, input: Any) -> Any:
        return m.min(input)


class _ExtremeDim(Reduction):
    """The extremes along one dimension and their places, the first among equals."""

    outputs = 2
    saved_from = 1
    differentiable = (True, False)
    saves = ("input.shape", "out")

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: int, keepdims: bool) -> Any:
        return picked_vjp(m, grad[0], out[0], input, axis, keepdims)


@op
class MaxDim(_ExtremeDim):
    """Largest along `axis`, and where."""

    name = "max"
    node_name = "MaxBackward0"

    def forward(self, m: Any, input: Any, *, axis: int, keepdims: bool) -> Any:
        return (
            m.max(input, axis=axis if input.ndim else None, keepdims=keepdims),
            input.argmax(axis=axis if input.ndim else None, keepdims=keepdims),
        )


@op
class MinDim(_ExtremeDim):
    """Smallest along `axis`, and where."""

    name = "min"
    node_name = "MinBackward0"

    def forward(self, m: Any, input: Any, *, axis: int, keepdims: bool) -> Any:
        return (
            m.min(input, axis=axis if input.ndim else None, keepdims=keepdims),
            input.argmin(axis=axis if input.ndim else None, keepdims=keepdims),
        )


def check_nonempty(name: str, shape: tuple[int, ...], axis: Any) -> None:
    """Raises: IndexError if one of the dimensions `axis` has size 0, RuntimeError if `axis` is
    None and there are no elements.
    """
    if axis is None:
        if 0 in shape:
            raise ShapeError(
                f"{name}(): Expected reduction dim to be specified for "
                "input.numel() == 0. Specify the reduction dim with the 'dim' "
                "argument."
            )
        return
    for a in axis:
        if shape and shape[a] == 0:
            raise DimError(f"{name}(): Expected reduction dim {a} to have non-zero size.")


def _refuse_complex(input: Tensor, name: str) -> None:
    if input._array.dtype.kind == "c":
        raise DtypeError(f"{name}(): does not support complex input")


def _extreme(input: Tensor, dim: Any, keepdim: bool, name: str, whole: Any, along: Any) -> Any:
    array = input._array
    if dim is None:
        if array.dtype.kind == "c" or not array.size:
            refuse(input, "c", name + "_all")
            check_nonempty(name, array.shape, None)
        return apply(whole, input)
    _refuse_complex(input, name)
    axis = canonical_dim(dim, array.ndim, name)
    check_nonempty(name, array.shape, (axis,))
    made = apply(along, input, axis=axis, keepdims=keepdim)
    return getattr(return_types, name)(made)


@public(method=True, out=True)
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The largest element; or (values, indices) along `dim`; or, of two tensors, maximum.

    Edges: nan counts as largest; of equal ones, the first gives the index. The largest of all
        shares its gradient among equals, the largest along `dim` does not.
    Raises: RuntimeError or IndexError where there is no element to choose from.
    """
    if other is None and isinstance(dim, Tensor):
        other = dim
    if other is not None:
        return maximum(input, other)
    return _extreme(input, dim, keepdim, "max", MaxAll, MaxDim)


@public(method=True, out=True)
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The smallest element; or (values, indices) along `dim`; or, of two tensors, minimum.

    Edges: nan counts as smallest; otherwise as max.
    """
    if other is None and isinstance(dim, Tensor):
        other = dim
    if other is not None:
        return minimum(input, other)
    return _extreme(input, dim, keepdim, "min", MinAll, MinDim)


def _over(input: Tensor, dim: Any, name: str) -> tuple[int, ...]:
    """The dimensions to fold, none of them empty."""
    refuse(input, "c", name[1:] + "_values_cpu")
    axis = canonical_dims(dim, input._array.ndim, name)
    whole = dim is None or (not isinstance(dim, int) and len(dim) == 0)
    check_nonempty(name, input._array.shape, None if whole else axis)
    return axis


@public(method=True, out=True)
def amax(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """Largest over dimension(s) `dim`, or of all. Equal ones share the gradient."""
    return apply(Amax, input, axis=_over(input, dim, "amax"), keepdims=keepdim)


@public(method=True, out=True)
def amin(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """Smallest over dimension(s) `dim`, or of all. Equal ones share the gradient."""
    return apply(Amin, input, axis=_over(input, dim, "amin"), keepdims=keepdim)


@op
class AMinMax(Reduction):
    """Smallest and largest over `axis`; equal ones share the gradient."""

    name = "aminmax"
    node_name = "AminmaxBackward0"
    outputs = 2
    saves = ("input", "out")

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        how = {"axis": axis, "keepdims": keepdims}
        return m.min(input, **how), m.max(input, **how)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool
    ) -> Any:
        shares = [
            _evenly(
                m,
                restore_dims(m, g, axis, keepdims),
                restore_dims(m, o, axis, keepdims),
                input,
                axis,
            )
            for g, o in zip(grad, out, strict=True)
            if g is not None
        ]
        return shares[0] + shares[1] if len(shares) == 2 else shares[0]


@public(method=True, out=True)
def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """(min, max) along `dim`, or of all. Equal ones share the gradient."""
    refuse(input, "c", "aminmax_cpu")
    array = input._array
    if dim is None:
        if not array.size:
            raise ShapeError(
                "aminmax(): cannot compute aminmax over an empty dimension as the "
                "operation has no identity."
            )
        axis = tuple(range(array.ndim))
    else:
        axis = (canonical_dim(dim, array.ndim),)
        if array.ndim and not array.shape[axis[0]]:
            raise DimError(f"aminmax: Expected reduction dim {axis[0]} to have non-zero size.")
        axis = axis if array.ndim else ()
    return return_types.aminmax(apply(AMinMax, input, axis=axis, keepdims=keepdim))


@op
class ArgMax(Reduction):
    """Place of the largest along `axis` (of the flattened input if None)."""

    def forward(self, m: Any, input: Any, *, axis: int | None, keepdims: bool) -> Any:
        return input.argmax(axis=axis, keepdims=keepdims)


@op
class ArgMin(Reduction):
    """Place of the smallest along `axis` (of the flattened input if None)."""

    def forward(self, m: Any, input: Any, *, axis: int | None, keepdims: bool) -> Any:
        return input.argmin(axis=axis, keepdims=keepdims)


def _place(op: Any, input: Tensor, dim: Any, keepdim: bool, name: str) -> Tensor:
    array = input._array
    _refuse_complex(input, name)
    if array.dtype.kind == "b":
        raise DtypeError(f"{name}(): does not support bool input")
    axis = None if dim is None else canonical_dim(dim, array.ndim)
    if axis is None and not array.size:
        raise DimError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
    if not array.size:
        check_nonempty(name, array.shape, () if axis is None else (axis,))
    if array.ndim == 0:
        axis = None
    return apply(op, input, axis=axis, keepdims=keepdim)


@public(method=True, out=True)
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the largest along `dim`, the first among equals; of the flattened input if None."""
    return _place(ArgMax, input, dim, keepdim, "argmax")


@public(method=True, out=True)
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the smallest along `dim`, the first among equals; of the flattened input if None."""
    return _place(ArgMin, input, dim, keepdim, "argmin")


# ---------------------------------------------------------------- all and any


@op
class AllTrue(Reduction):
    """Whether every element over `axis` is nonzero."""

    name = "all"

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        made = np.asarray(np.all(input, axis, keepdims=keepdims))
        return made.astype(np.uint8) if input.dtype == np.uint8 else made


@op
class AnyTrue(Reduction):
    """Whether some element over `axis` is nonzero."""

    name = "any"

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        made = np.asarray(np.any(input, axis, keepdims=keepdims))
        return made.astype(np.uint8) if input.dtype == np.uint8 else made


@public(method=True, out=True)
def all(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether every element (over dimension(s) `dim`; of an empty list, none) is nonzero.

    Dtype: bool; uint8 stays uint8.
    """
    axis = canonical_dims(dim, input._array.ndim, empty_is_all=False)
    return apply(AllTrue, input, axis=axis, keepdims=keepdim)


@public(method=True, out=True)
def any(input: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether some element (over dimension(s) `dim`; of an empty list, none) is nonzero.

    Dtype: bool; uint8 stays uint8.
    """
    axis = canonical_dims(dim, input._array.ndim, empty_is_all=False)
    return apply(AnyTrue, input, axis=axis, keepdims=keepdim)
