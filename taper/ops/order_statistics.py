"""Values chosen by rank: median, kthvalue, mode, quantile."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes, return_types
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Reduction, op, public
from taper.ops.arguments import refuse, widened
from taper.ops.gather import Gather
from taper.ops.reduce import check_nonempty, picked_vjp
from taper.ops.sort import Sort
from taper.shapes import canonical_dim
from taper.tensor import Tensor, wrap


def _picked(input: np.ndarray, index: np.ndarray, axis: int, keepdims: bool) -> Any:
    """(values, indices) at `index`, which has size 1 along `axis`."""
    values = np.take_along_axis(input, index, axis)
    return (values, index) if keepdims else (values.squeeze(axis), index.squeeze(axis))


class _Picking(Reduction):
    """One element of each slice, and its place."""

    outputs = 2
    saved_from = 1
    differentiable = (True, False)
    saves = ("input.shape", "out")

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, axis: int, keepdims: bool, **attrs: Any
    ) -> Any:
        return picked_vjp(m, grad[0], out[0], input, axis, keepdims)


@op
class Kthvalue(_Picking):
    """The k-th smallest along `axis`, and where; nan counts as largest."""

    def forward(self, m: Any, input: Any, *, k: int, axis: int, keepdims: bool) -> Any:
        if not input.ndim:
            return input.copy(), np.zeros((), np.int64)
        order = m.first_in_order(input, k, axis, False)
        return _picked(input, np.take(order, [k - 1], axis), axis, keepdims)


def _median(m: Any, input: np.ndarray, axis: int, keepdims: bool, skip_nan: bool) -> Any:
    """(values, indices) of the lower medians along `axis`."""
    if not input.ndim:
        return input.copy(), np.zeros((), np.int64)
    order = m.order(input, axis)
    count = (~np.isnan(input)).sum(axis=axis, keepdims=True)
    # A slice of nothing but nan, or one that must not have any, gives its first nan.
    middle = np.where(count > 0, (count - 1) // 2, 0)
    if not skip_nan:
        middle = np.where(count < input.shape[axis], count, middle)
    return _picked(input, np.take_along_axis(order, middle, axis), axis, keepdims)


@op
class MedianDim(_Picking):
    """The lower median along `axis`, and where."""

    name = "median"
    node_name = "MedianBackward1"

    def forward(self, m: Any, input: Any, *, axis: int, keepdims: bool) -> Any:
        return _median(m, input, axis, keepdims, skip_nan=False)


@op
class NanmedianDim(_Picking):
    """The lower median along `axis` of what is not nan, and where."""

    name = "nanmedian"
    node_name = "NanmedianBackward1"

    def forward(self, m: Any, input: Any, *, axis: int, keepdims: bool) -> Any:
        return _median(m, input, axis, keepdims, skip_nan=True)


class _MedianOfAll(Reduction):
    """The lower median of all elements; equal ones share the gradient."""

    saves = ("input", "out")
    skip_nan = False

    def forward(self, m: Any, input: Any) -> Any:
        flat = widened(input.reshape(-1))
        missing = np.isnan(flat)
        count = flat.size - int(missing.sum())
        if input.dtype.kind in "fV" and (count == 0 or (count < flat.size and not self.skip_nan)):
            return np.asarray(np.nan, input.dtype)
        if not flat.size:
            return np.asarray(np.iinfo(input.dtype).min, input.dtype)
        middle = (count - 1) // 2
        return np.partition(flat, middle)[middle].astype(input.dtype)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        hit = m.isnan(input) if bool(m.isnan(out)) else m.equal(input, out)
        return m.where(hit, grad / m.astype(m.sum(hit), grad.dtype), 0)


@op
class Median(_MedianOfAll):
    """The lower median of all elements; nan if there is one."""


@op
class Nanmedian(_MedianOfAll):
    """The lower median of all elements that are not nan."""

    skip_nan = True


@public(method=True, out=True)
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median (the lower of two in the middle) of all elements, or (values, indices) along
    `dim`; nan where there is one.
    """
    refuse(input, "bc", "median_cpu")
    if dim is None:
        return apply(Median, input)
    axis = canonical_dim(dim, input._array.ndim)
    check_nonempty("median", input._array.shape, (axis,))
    return return_types.median(apply(MedianDim, input, axis=axis, keepdims=keepdim))


@public(method=True, out=True)
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of the elements that are not nan; see median."""
    refuse(input, "bc", "median_cpu")
    if dim is None:
        return apply(Nanmedian, input)
    axis = canonical_dim(dim, input._array.ndim)
    check_nonempty("median", input._array.shape, (axis,))
    return return_types.nanmedian(apply(NanmedianDim, input, axis=axis, keepdims=keepdim))


@public(method=True, out=True)
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """(values, indices) of the k-th smallest along `dim`, counted from 1.

    Raises: RuntimeError if k is larger than the dimension.
    """
    array = input._array
    axis = canonical_dim(dim, array.ndim)
    refuse(input, "bc", "kthvalue_cpu")
    check_nonempty("kthvalue", array.shape, (axis,))
    if not 1 <= k <= (array.shape[axis] if array.ndim else 1):
        raise ShapeError(f"kthvalue(): selected number k out of range for dimension {axis}")
    return return_types.kthvalue(apply(Kthvalue, input, k=int(k), axis=axis, keepdims=keepdim))


@op
class Mode(_Picking):
    """The most frequent along `axis` (the smallest of several), and its last place."""

    def forward(self, m: Any, input: Any, *, axis: int, keepdims: bool) -> Any:
        if not input.ndim:
            return input.copy(), np.zeros((), np.int64)
        rows = np.moveaxis(input, axis, -1)
        order = m.order(rows, rows.ndim - 1)
        sorted_ = np.take_along_axis(rows, order, -1)
        count = sorted_.shape[-1]
        place = np.arange(count)
        begins = np.ones(sorted_.shape, bool)
        begins[..., 1:] = sorted_[..., 1:] != sorted_[..., :-1]
        start = np.maximum.accumulate(np.where(begins, place, 0), -1)
        # Runs of equal elements: the longest, first of its kind, ends at the first maximum.
        end = (place - start).argmax(-1, keepdims=True)
        index = np.moveaxis(np.take_along_axis(order, end, -1), -1, axis)
        return _picked(input, index, axis, keepdims)


@public(method=True, out=True)
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """(values, indices) of the most frequent element along `dim`; the smallest of several.

    The index is that of its last occurrence.
    """
    axis = canonical_dim(dim, input._array.ndim)
    refuse(input, "c", "mode_cpu")
    check_nonempty("mode", input._array.shape, (axis,))
    return return_types.mode(apply(Mode, input, axis=axis, keepdims=keepdim))


# ---------------------------------------------------------------- quantiles

_WAYS = ("linear", "lower", "higher", "midpoint", "nearest")


@public(method=True, out=True)
def quantile(
    input: Tensor,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """The q-th quantiles of all elements or along `dim`; nan where there is one.

    Shape: q is a number or a 1-d tensor, whose size then comes first in the result.
    Raises: RuntimeError if q is outside of [0, 1], for other dtypes than float32 and float64.
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, skip_nan=False)


@public(method=True, out=True)
def nanquantile(
    input: Tensor,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """The q-th quantiles of what is not nan; see quantile."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, skip_nan=True)


def _check_quantile(name: str, input: Tensor, q: Any, interpolation: str) -> Tensor:
    """q as a tensor, after the checks."""
    if interpolation not in _WAYS:
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint "
            f"or nearest, but got {interpolation}"
        )
    if not input._array.size:
        raise ShapeError(f"{name}() input tensor must be non-empty")
    if input.dtype not in (dtypes.float32, dtypes.float64):
        raise DtypeError(f"{name}() input tensor must be either float or double dtype")
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q:g}")
        return wrap(np.asarray(q, input._array.dtype))
    if q._array.ndim > 1:
        raise ShapeError(f"{name}() q must be a scalar or 1D tensor")
    if q.dtype is not input.dtype:
        raise DtypeError(f"{name}() q tensor must be same dtype as the input tensor")
    if not ((q._array >= 0) & (q._array <= 1)).all():
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    return q


def _quantile(
    name: str,
    input: Tensor,
    q: Any,
    dim: int | None,
    keepdim: bool,
    interpolation: str,
    skip_nan: bool,
) -> Tensor:
    given = _check_quantile(name, input, q, interpolation)
    ndim = input._array.ndim
    axis = None if dim is None else canonical_dim(dim, ndim)
    if axis is None:
        rows = input.reshape(-1)
    else:
        rows = input.movedim(axis, -1) if ndim else input.reshape(1)
    sorted_ = apply(Sort, rows, axis=rows._array.ndim - 1, descending=False)[0]
    # ranks has the dimensions of a row's lead and, last, one entry for each q.
    last = sorted_._array.shape[-1] - 1
    missing = np.isnan(sorted_._array).sum(-1, keepdims=True)
    if skip_nan:
        limit = wrap(np.maximum(last - missing, 0).astype(given._array.dtype))
        ranks = given.reshape(-1) * limit
    else:
        ranks = given.reshape(-1) * last
        ranks = ranks.where(wrap(missing == 0), wrap(np.asarray(last, given._array.dtype)))
    made = _between_ranks(sorted_, ranks, interpolation)
    if axis is not None and keepdim:
        made = made.unsqueeze(axis if ndim else 0)
    elif keepdim:
        made = made.reshape(*[1] * ndim, -1)
    if not ndim and axis is not None and keepdim:
        made = made.squeeze(0)
    made = made.movedim(-1, 0)
    return made.squeeze(0) if given._array.ndim == 0 else made


def _between_ranks(sorted_: Tensor, ranks: Tensor, interpolation: str) -> Tensor:
    """The values at fractional ranks along the last dimension."""
    if interpolation == "lower":
        ranks = ranks.floor()
    elif interpolation == "higher":
        ranks = ranks.ceil()
    elif interpolation == "nearest":
        ranks = ranks.round()
    axis = sorted_._array.ndim - 1
    shape = (*sorted_._array.shape[:-1], ranks._array.shape[-1])
    ranks = ranks.expand(shape)
    below = apply(Gather, sorted_, ranks.detach().long(), axis=axis)
    if interpolation not in ("linear", "midpoint"):
        return below
    above = apply(Gather, sorted_, ranks.detach().ceil().long(), axis=axis)
    weight = (
        wrap(np.full((), 0.5, ranks._array.dtype)).expand(shape)
        if interpolation == "midpoint"
        else ranks - ranks.detach().floor()
    )
    return below.lerp(above, weight)
