"""Writing where an index or a mask points: scatter, index_add, masked_fill, put and their kin.

All ops here give a changed copy; the in-place methods follow from them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply, as_array
from taper.errors import DimError, DtypeError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.arithmetic import conj_of
from taper.ops.convert import cast
from taper.ops.gather import (
    Gather,
    IndexSelect,
    Take,
    along,
    check_index,
    check_positions,
    check_range,
    fit_together,
)
from taper.shapes import canonical_dim
from taper.tensor import Tensor, wrap

# ---------------------------------------------------------------- arrays


def _places(shape: tuple[int, ...], index: np.ndarray, axis: int) -> np.ndarray:
    """Flat positions, within a row-major array of `shape`, that `index` names along `axis`."""
    flat: Any = np.zeros((), np.int64)
    step = 1
    for d, each in reversed(list(enumerate(along(index, axis)))):
        flat = flat + each * step
        step *= shape[d]
    return flat


def _corner(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The elements at the front of every dimension."""
    return array if array.shape == shape else array[tuple(map(slice, shape))]


def _scattered(input: np.ndarray, index: np.ndarray, source: Any, axis: int, how: Any) -> Any:
    """A copy of `input` with `how(flat elements, flat positions, values)` done to it."""
    made = np.array(input, order="C")
    if not index.size:
        return made
    if index.ndim == 0 or made.ndim == 0:
        places = index.reshape(-1)
        values = source.reshape(-1)[: places.size]
    else:
        places = _places(made.shape, index, axis).reshape(-1)
        values = _corner(source, index.shape).reshape(-1) if source.ndim else source
    how(made.reshape(-1), places, values)
    return made


def _set(flat: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
    flat[places] = values


def add_rows(target: np.ndarray, index: np.ndarray, rows: np.ndarray) -> None:
    """target[index[i]] += rows[i], counting repeated indices.

    Sorted runs are summed by one reduceat: several times faster than np.add.at on rows.
    """
    if index.size == 0 or rows.size == 0:
        return
    if rows.ndim == 1:
        np.add.at(target, index, rows)
        return
    order = np.argsort(index, kind="stable")
    ordered = index[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    sums = np.add.reduceat(rows[order], starts, axis=0, dtype=rows.dtype)
    target[ordered[starts]] += sums


# ---------------------------------------------------------------- scatter


@op
class Scatter(Opaque):
    """`input` with src[i, j] at [i, index[i, j]], for axis 1 of 2."""

    node_name = "ScatterBackward0"
    saves = ("src.shape", "index")

    def forward(self, m: Any, input: Any, src: Any, index: Any, *, axis: int) -> Any:
        return _scattered(input, index, src, axis, _set)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        src: Any,
        index: Any,
        *,
        axis: int,
        needs: Any,
    ) -> Any:
        rest = taken = None
        if needs[0]:
            rest = m.call(Scatter, grad, m.zeros((), grad.dtype), index, axis=axis)
        if needs[1]:
            taken = _picked(m, grad, src, index, axis)
        return rest, taken, None


def _picked(m: Any, grad: Any, src: tuple[int, ...], index: Any, axis: int) -> Any:
    """The gradient of a scattered source; what lies outside the index's shape gets none."""
    taken = m.call(Gather, grad, index, axis=axis)
    shape = tuple(index.shape)
    if shape == src:
        return taken
    if src == ():
        return m.sum(taken)
    return _picked_back(m, taken, src)


def _picked_back(m: Any, part: Any, shape: tuple[int, ...]) -> Any:
    """`part` at the front of every dimension of zeros."""
    from taper.ops.view_ops import Embed

    return m.call(Embed, part, shape=shape, key=tuple(slice(0, n) for n in part.shape))


@op
class ScatterAdd(Opaque):
    """`input` with src[i, j] added at [i, index[i, j]], for axis 1 of 2."""

    name = "scatter_add"
    node_name = "ScatterAddBackward0"
    saves = ("src.shape", "index")

    def forward(self, m: Any, input: Any, src: Any, index: Any, *, axis: int) -> Any:
        return _scattered(input, index, src, axis, np.add.at)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        src: Any,
        index: Any,
        *,
        axis: int,
        needs: Any,
    ) -> Any:
        return grad, _picked(m, grad, src, index, axis) if needs[1] else None, None


_UFUNCS = {
    "sum": np.add,
    "add": np.add,
    "prod": np.multiply,
    "multiply": np.multiply,
    "mean": np.add,
    "amax": np.maximum,
    "amin": np.minimum,
}


def _neutral(reduce: str, dtype: np.dtype) -> Any:
    """What leaves the other operand of the reduction as it is."""
    if reduce in ("sum", "add", "mean"):
        return 0
    if reduce in ("prod", "multiply"):
        return 1
    if dtype.kind in "fV":
        return -np.inf if reduce == "amax" else np.inf
    if dtype.kind == "b":
        return reduce != "amax"
    info = np.iinfo(dtype)
    return info.min if reduce == "amax" else info.max


@op
class ScatterReduce(Opaque):
    """`input` reduced with what the index sends to each place."""

    name = "scatter_reduce"
    node_name = "ScatterReduceBackward0"
    saves = ("input", "src", "index", "out")

    def forward(
        self,
        m: Any,
        input: Any,
        src: Any,
        index: Any,
        *,
        axis: int,
        reduce: str,
        include_self: bool,
    ) -> Any:
        start = input
        if not include_self and index.size:
            start = _scattered(
                input, index, np.asarray(_neutral(reduce, input.dtype), input.dtype), axis, _set
            )
        made = _scattered(start, index, src, axis, _UFUNCS[reduce].at)
        if reduce == "mean":
            made = _divided(
                made,
                _scattered(
                    np.full(input.shape, int(include_self)), index, np.asarray(1), axis, np.add.at
                ),
            )
        return made

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        src: Any,
        index: Any,
        *,
        axis: int,
        reduce: str,
        include_self: bool,
        needs: Any,
    ) -> Any:
        place = _Places(m, index, axis)
        size = tuple(src.shape)
        whole = tuple(index.shape) == size
        source = src if whole else src[tuple(slice(0, n) for n in index.shape)]
        to_input, to_src = _reduce_vjp(m, grad, out, input, source, reduce, include_self, place)
        if not include_self and needs[0]:
            to_input = m.call(Scatter, to_input, m.zeros((), grad.dtype), index, axis=axis)
        return to_input, to_src if whole else _picked_back(m, to_src, size), None


class _Places:
    """What an index does along an axis: sums of a source into places, and the way back."""

    def __init__(self, m: Any, index: Any, axis: int) -> None:
        self.m, self.index, self.axis = m, index, axis

    def spread(self, x: Any, shape: Any) -> Any:
        return self.m.call(
            ScatterAdd, self.m.zeros(tuple(shape), x.dtype), x, self.index, axis=self.axis
        )

    def taken(self, x: Any) -> Any:
        return self.m.call(Gather, x, self.index, axis=self.axis)

    def product(self, start: Any, factors: Any) -> Any:
        return self.m.call(
            ScatterReduce,
            start,
            factors,
            self.index,
            axis=self.axis,
            reduce="prod",
            include_self=True,
        )


def _divided(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The mean from the sum; a place that nothing was sent to counts as one."""
    count = np.maximum(count, 1)
    if total.dtype.kind in "iu":
        return (total // count).astype(total.dtype)
    return total / count.astype(total.dtype)


def _reduce_vjp(
    m: Any,
    grad: Any,
    out: Any,
    input: Any,
    src: Any,
    reduce: str,
    include_self: bool,
    place: _Places,
) -> Any:
    """Gradients of input and source; input's is not yet zeroed where it was left out."""
    if reduce == "sum":
        return grad, place.taken(grad)
    if reduce == "mean":
        count = place.spread(m.astype(m.ones_like(src), grad.dtype), input.shape)
        count = count + int(include_self)
        share = grad / m.where(m.equal(count, 0), 1, count)
        return share, place.taken(share)
    if reduce == "prod":
        return _product_vjp(m, grad, out, input, src, include_self, place)
    # The gradient is shared evenly among all that equal the extreme value.
    chosen = m.astype(m.equal(src, place.taken(out)), grad.dtype)
    own = m.astype(m.equal(input, out), grad.dtype)
    ties = place.spread(chosen, input.shape)
    if include_self:
        ties = ties + own
    share = grad / m.where(m.equal(ties, 0), 1, ties)
    return (own * share if include_self else grad), chosen * place.taken(share)


def _product_vjp(
    m: Any, grad: Any, out: Any, input: Any, src: Any, include_self: bool, place: _Places
) -> Any:
    # A factor's derivative is the product of the others: out / factor, or, for the only zero of a
    # place, the product with that zero left out. Both can be differentiated again.
    zero, own_zero = m.equal(src, 0), m.equal(input, 0)
    zeros = place.taken(place.spread(m.astype(zero, grad.dtype), input.shape))
    if not m.on_arrays and bool(m.any(m.greater(m.real(zeros), 1))):
        raise NotImplementedError(
            "scatter_reduce(): Double backward is unsupported for src when >1 zeros in src are "
            "scattered to the same position in self"
        )
    single = m.logical_and(zero, m.equal(zeros, 1))
    start = input if include_self else m.ones_like(input)
    whole = m.where(
        single,
        place.taken(grad * conj_of(m, place.product(start, m.where(single, 1, src)))),
        place.taken(grad * conj_of(m, out)),
    )
    to_src = whole / conj_of(m, m.where(zero, 1, src))
    if not include_self:
        return grad, to_src
    others = m.where(own_zero, 1, input)
    return grad * conj_of(m, place.product(others, src) / others), to_src


def _check_scatter(name: str, input: Tensor, axis: int, index: Tensor, src: Any) -> None:
    shape, wanted = input._array.shape, index._array.shape
    check_index(name, index)
    if src is not None and src._array.dtype != input._array.dtype:
        raise DtypeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    if index._array.size == 0:
        return
    if max(len(wanted), 1) != max(len(shape), 1):
        raise ShapeError("Index tensor must have the same number of dimensions as self tensor")
    if src is not None and max(len(wanted), 1) != max(src._array.ndim, 1):
        raise ShapeError("Index tensor must have the same number of dimensions as src tensor")
    given = wanted if src is None else src._array.shape or (1,)
    if any(k > n for d, (n, k) in enumerate(zip(shape, wanted, strict=False)) if d != axis) or any(
        k > n for n, k in zip(given, wanted, strict=False)
    ):
        raise ShapeError(
            f"Expected index {list(wanted)} to be no larger than self {list(shape)} apart from "
            f"dimension {axis}"
            + (f" and to be no larger size than src {list(given)}" if src is not None else "")
        )
    check_range(index._array, shape[axis] if shape else 1, axis)


def _value(value: Any, dtype: dtypes.dtype) -> Tensor:
    """A number or 0-d tensor as a 0-d tensor of the dtype."""
    if isinstance(value, Tensor):
        return cast(value, dtype)
    if isinstance(value, float) and dtype.category == dtypes.INTEGER and value == value:
        value = int(value)
    return wrap(as_array(value, dtype.numpy))


@public(method=True, inplace=True, out=True)
def scatter(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Any = None,
    *,
    value: Any = None,
    reduce: str | None = None,
) -> Tensor:
    """`input` with src[i][j] at the place index[i][j] of dimension `dim` (or one number there).

    `reduce` "add" or "multiply" combines with what is there instead of replacing it.
    Raises: RuntimeError if the index is out of range or shapes or dtypes do not fit.
    """
    axis = canonical_dim(dim, input._array.ndim)
    given = value if src is None else src
    source = given if isinstance(given, Tensor) and src is not None else None
    _check_scatter("scatter", input, axis, index, source)
    if source is None:
        source = _value(given, input.dtype)
    if reduce is None:
        return apply(Scatter, input, source, index, axis=axis)
    if reduce not in ("add", "multiply"):
        raise RuntimeError("reduce argument must be either add or multiply.")
    if source._array.ndim == 0:
        source = source.expand(index._array.shape)
    if reduce == "add":
        return apply(ScatterAdd, input, source, index, axis=axis)
    return apply(ScatterReduce, input, source, index, axis=axis, reduce="prod", include_self=True)


@public(method=True, inplace=True, out=True)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """`input` with src[i][j] added at the place index[i][j] of dimension `dim`.

    Raises: RuntimeError if the index is out of range or shapes or dtypes do not fit.
    """
    axis = canonical_dim(dim, input._array.ndim)
    _check_scatter("scatter", input, axis, index, src)
    return apply(ScatterAdd, input, src, index, axis=axis)


_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


@public(method=True, inplace=True, out=True)
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """Each place of `input` reduced with the elements of `src` that the index sends there.

    `reduce` is sum, prod, mean, amax or amin; `include_self` says whether input's element counts.
    """
    if reduce not in _REDUCTIONS:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    axis = canonical_dim(dim, input._array.ndim)
    _check_scatter("scatter", input, axis, index, src)
    return apply(
        ScatterReduce, input, src, index, axis=axis, reduce=reduce, include_self=bool(include_self)
    )


# ---------------------------------------------------------------- a vector index


@op
class IndexAdd(Opaque):
    """`input` with alpha times the slices of `source` added at the places of a dimension."""

    name = "index_add"
    node_name = "IndexAddBackward0"
    saves = ("source.shape", "index")

    def forward(self, m: Any, input: Any, source: Any, index: Any, *, axis: int, alpha: Any) -> Any:
        made = np.array(input, order="C")
        if alpha != 1:
            source = source * as_array(alpha, input.dtype)
        index = index.reshape(-1)
        if input.ndim == 0:
            np.add.at(made.reshape(1), index, source.reshape(-1))
        else:
            add_rows(
                np.moveaxis(made, axis, 0),
                index,
                np.moveaxis(source.reshape(-1) if source.ndim == 0 else source, axis, 0),
            )
        return made

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        source: Any,
        index: Any,
        *,
        axis: int,
        alpha: Any,
        needs: Any,
    ) -> Any:
        taken = None
        if needs[1]:
            taken = m.reshape(m.call(IndexSelect, grad, index, axis=axis), source)
            if alpha != 1:
                taken = taken * (alpha.conjugate() if isinstance(alpha, complex) else alpha)
        return grad, taken, None


@op
class IndexCopy(Opaque):
    """`input` with the slices of `source` at the places of a dimension."""

    name = "index_copy"
    node_name = "IndexCopyBackward0"
    saves = ("source.shape", "index")

    def forward(self, m: Any, input: Any, source: Any, index: Any, *, axis: int) -> Any:
        made = np.array(input, order="C")
        index = index.reshape(-1)
        if input.ndim == 0:
            made.reshape(1)[index] = source.reshape(-1)
        else:
            made[(slice(None),) * axis + (index,)] = source
        return made

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        source: Any,
        index: Any,
        *,
        axis: int,
        needs: Any,
    ) -> Any:
        rest = taken = None
        if needs[0]:
            rest = m.call(IndexCopy, grad, m.zeros((), grad.dtype), index, axis=axis)
        if needs[1]:
            taken = m.call(IndexSelect, grad, index, axis=axis)
            taken = m.sum(taken) if source == () and taken.shape else m.reshape(taken, source)
        return rest, taken, None


def _check_slices(name: str, input: Tensor, axis: int, index: Tensor, source: Tensor) -> None:
    shape, given, places = input._array.shape, source._array.shape, index._array
    if places.ndim > 1:
        raise DimError(
            f"{name}(): Index is supposed to be a vector, but got dim: {places.ndim} "
            f"with type: {dtypes.cpp_name(index.dtype)} and size: {list(places.shape)}"
            if name == "index_add"
            else f"{name}(): Index should have dimension 1 or 0 (got {places.ndim})"
            if name == "index_copy"
            else f"{name}(): Index is supposed to be a vector"
        )
    if places.dtype not in (np.int64, np.int32) or (
        name == "index_copy" and places.dtype != np.int64
    ):
        raise DtypeError(
            f"{name}(): Expected a long tensor for index, but got {dtypes.cpp_name(index.dtype)}"
            if name == "index_copy"
            else f"{name}(): Expected dtype int32/int64 for index but got: "
            f"{dtypes.cpp_name(index.dtype)}"
        )
    if source._array.dtype != input._array.dtype:
        raise DtypeError(
            f"{name}(): self and source expected to have the same dtype, but got (self) "
            f"{dtypes.cpp_name(input.dtype)} and (source) {dtypes.cpp_name(source.dtype)}"
            if name != "index_add"
            else f"{name}(): self ({dtypes.cpp_name(input.dtype)}) and source "
            f"({dtypes.cpp_name(source.dtype)}) must have the same scalar type"
        )
    count = given[axis] if given else 1
    if places.size != count and not (name == "index_copy" and not given):
        raise (ShapeError if name != "index_copy" else DimError)(
            f"{name}(): Number of indices ({places.size}) should be equal to "
            f"source.size(dim): ({count}), for dim: {axis}"
        )
    if (
        given
        and shape
        and (
            len(given) != len(shape)
            or any(n != k for d, (n, k) in enumerate(zip(shape, given, strict=True)) if d != axis)
        )
    ):
        if name == "index_add":
            raise ShapeError(
                "source tensor shape must match self tensor shape, excluding the specified "
                f"dimension. Got self.shape = {list(shape)} source.shape = {list(given)}"
            )
        raise ShapeError(
            f"{name}(): Source/destination tensor must have same slice shapes. Destination slice "
            f"shape: {[n for d, n in enumerate(shape) if d != axis]} at dimension {axis} and "
            f"source slice shape: {[n for d, n in enumerate(given) if d != axis]} at dimension 0."
        )
    extent = shape[axis] if shape else 1
    if places.size and (places.min() < 0 or places.max() >= extent):
        raise DimError(
            "index out of range in self"
            if name != "index_copy"
            else f"index_copy_(): index {int(places.max())} is out of bounds for dimension "
            f"{axis} with size {extent}"
        )


@public(method=True, inplace=True, out=True)
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """`input` with alpha times the slices of `source` added at the places `index` of `dim`.

    Raises: RuntimeError if sizes or dtypes do not fit, IndexError for an index out of range.
    """
    axis = canonical_dim(dim, input._array.ndim)
    _check_slices("index_add", input, axis, index, source)
    return apply(IndexAdd, input, source, index, axis=axis, alpha=alpha)


@public(method=True, inplace=True, out=True)
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """`input` with the slices of `source` at the places `index` of `dim`.

    Raises: RuntimeError if sizes or dtypes do not fit, IndexError for an index out of range.
    """
    axis = canonical_dim(dim, input._array.ndim)
    _check_slices("index_copy", input, axis, index, source)
    return apply(IndexCopy, input, source, index, axis=axis)


@public(method=True, inplace=True)
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """`input` with one value at the places `index` of `dim`.

    Raises: IndexError for an index that is no int64 vector or is out of range.
    """
    axis = canonical_dim(dim, input._array.ndim)
    places = index._array
    if places.dtype != np.int64:
        raise DimError("index_fill_(): Expected dtype int64 for index.")
    if places.ndim > 1:
        raise DimError("Index has to be a vector/scalar")
    if isinstance(value, Tensor) and value._array.ndim:
        raise ShapeError(
            "index_fill_ only supports a 0-dimensional value tensor, but got tensor "
            f"with {value._array.ndim} dimension(s)."
        )
    if isinstance(value, complex) and not input.is_complex():
        raise RuntimeError(
            "index_fill_(): Converting complex Scalar to non-complex type is not supported"
        )
    extent = input._array.shape[axis] if input._array.ndim else 1
    if places.size and (places.min() < -extent or places.max() >= extent):
        raise DimError(
            f"index {int(places.max())} is out of bounds for dimension {axis} with size {extent}"
        )
    # A place that is named twice is filled once, and the value's gradient counts it once.
    once = wrap(np.unique(places % extent)) if places.size > 1 else index
    return apply(IndexCopy, input, _value(value, input.dtype), once, axis=axis)


@public(method=True, inplace=True, out=True)
def index_reduce(
    input: Tensor,
    dim: int,
    index: Tensor,
    source: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """Each slice of `input` reduced with the slices of `source` that the index sends there.

    `reduce` is prod, mean, amax or amin; `include_self` says whether input's slice counts.
    """
    if reduce not in _REDUCTIONS[1:]:
        raise RuntimeError(
            "index_reduce(): Expected reduce to be one of prod, mean, amax or amin "
            f"but got {reduce}."
        )
    axis = canonical_dim(dim, input._array.ndim)
    _check_slices("index_reduce", input, axis, index, source)
    given = source._array.shape
    place = [1] * len(given)
    if given:
        place[axis] = given[axis]
        index = index.reshape(place).expand(given)
    else:
        index = index.reshape(())
    return apply(
        ScatterReduce,
        input,
        source,
        index,
        axis=axis,
        reduce=reduce,
        include_self=bool(include_self),
    )


# ---------------------------------------------------------------- flat positions


@op
class Put(Opaque):
    """`input` with `source` at (or added at) positions of the flattened tensor."""

    node_name = "PutBackward0"
    saves = ("index", "source.shape")

    def forward(self, m: Any, input: Any, index: Any, source: Any, *, accumulate: bool) -> Any:
        made = np.array(input, order="C")
        flat, places = made.reshape(-1), index.reshape(-1)
        if accumulate:
            np.add.at(flat, places, source.reshape(-1))
        elif places.size:
            flat[places] = source.reshape(-1)
        return made

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        index: Any,
        source: Any,
        *,
        accumulate: bool,
        needs: Any,
    ) -> Any:
        rest = grad
        if needs[0] and not accumulate:
            rest = m.call(
                Put, grad, index, m.zeros(tuple(index.shape), grad.dtype), accumulate=False
            )
        return rest, None, m.reshape(m.call(Take, grad, index), source) if needs[2] else None


@public(method=True, inplace=True)
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """`input` with the elements of `source` at (or added at) positions of the flattened tensor.

    Raises: RuntimeError if index and source differ in number, IndexError if out of range.
    """
    if index._array.dtype != np.int64:
        raise DtypeError(
            f"put_(): Expected a long tensor for index, but got {dtypes.cpp_name(index.dtype)}"
        )
    if source._array.dtype != input._array.dtype:
        raise DtypeError(
            f"put_(): self and source expected to have the same dtype, but got "
            f"self.dtype = {dtypes.cpp_name(input.dtype)} and source.dtype = "
            f"{dtypes.cpp_name(source.dtype)}"
        )
    if index._array.size != source._array.size:
        raise ShapeError(
            "put_(): Expected source and index to have the same number of elements, "
            f"but got source.numel() = {source._array.size}, index.numel() = "
            f"{index._array.size}"
        )
    check_positions("put_", input, index)
    return apply(Put, input, index, source, accumulate=bool(accumulate))


# ---------------------------------------------------------------- masks


@op
class MaskedFill(Opaque):
    """`input` with one value where the mask is true."""

    name = "masked_fill"
    node_name = "MaskedFillBackward0"
    saves = ("input.shape", "mask")

    def forward(self, m: Any, input: Any, mask: Any, value: Any) -> Any:
        return np.where(mask, value, input)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, mask: Any, value: Any, *, needs: Any
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
            + _SPOKEN.get(mask.dtype.name, mask.dtype.name)
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
            f"value cannot be converted to type {_SPOKEN[input.dtype.name]} without overflow"
        )
    fit_together(input, mask)
    return apply(MaskedFill, input, mask, _value(value, input.dtype))


_SPOKEN = {
    "int64": "long int",
    "int32": "int",
    "int16": "short int",
    "int8": "signed char",
    "uint8": "unsigned char",
    "float32": "float",
    "float64": "double",
    "float16": "c10::Half",
    "bfloat16": "c10::BFloat16",
    "bool": "bool",
}


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
        self, m: Any, grad: Any, out: Any, input: Any, mask: Any, source: Any, *, needs: Any
    ) -> Any:
        from taper.ops.gather import MaskedSelect
        from taper.ops.view_ops import Embed

        rest = taken = None
        if needs[0]:
            rest = m.sum_to(m.call(MaskedFill, grad, mask, m.zeros((), grad.dtype)), input)
        if needs[2]:
            taken = m.call(MaskedSelect, grad, mask)
            count = int(np.prod(source))
            taken = m.reshape(
                m.call(Embed, taken, shape=(count,), key=(slice(0, taken.shape[0]),)), source
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
            + _SPOKEN.get(mask.dtype.name, mask.dtype.name)
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
