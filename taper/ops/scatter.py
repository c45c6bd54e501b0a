"""Writing where an index tensor points: scatter, scatter_add, scatter_reduce.

All ops here give a changed copy; the in-place methods follow from them. Slices at the places of a
vector are written in index_write.py, elements under a mask in masks.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.backends.gathering import scattered
from taper.dispatch import apply, as_array
from taper.errors import DtypeError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.arithmetic import conj_of
from taper.ops.convert import cast
from taper.ops.gather import Gather, check_index, check_range
from taper.shapes import canonical_dim
from taper.tensor import Tensor, wrap


def _set(flat: np.ndarray, places: np.ndarray, values: np.ndarray) -> None:
    flat[places] = values


# ---------------------------------------------------------------- scatter


@op
class Scatter(Opaque):
    """`input` with src[i, j] at [i, index[i, j]], for axis 1 of 2."""

    node_name = "ScatterBackward0"
    saves = ("src.shape", "index")

    def forward(self, m: Any, input: Any, src: Any, index: Any, *, axis: int) -> Any:
        return scattered(input, index, src, axis, _set)

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
        return m.scatter_add(input, index, src, axis)

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
            start = scattered(
                input,
                index,
                np.asarray(_neutral(reduce, input.dtype), input.dtype),
                axis,
                _set,
            )
        made = scattered(start, index, src, axis, _UFUNCS[reduce].at)
        if reduce == "mean":
            made = _divided(
                made,
                scattered(
                    np.full(input.shape, int(include_self)),
                    index,
                    np.asarray(1),
                    axis,
                    np.add.at,
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
            ScatterAdd,
            self.m.zeros(tuple(shape), x.dtype),
            x,
            self.index,
            axis=self.axis,
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
    m: Any,
    grad: Any,
    out: Any,
    input: Any,
    src: Any,
    include_self: bool,
    place: _Places,
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
    _check_shapes(name, input, axis, index, src)
    _check_places(input, axis, index)


def _check_places(input: Tensor, axis: int, index: Tensor) -> None:
    shape = input._array.shape
    check_range(index._array, shape[axis] if shape else 1, axis)


def _check_shapes(name: str, input: Tensor, axis: int, index: Tensor, src: Any) -> None:
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


def filling(value: Any, dtype: dtypes.dtype) -> Tensor:
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
        source = filling(given, input.dtype)
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
    _check_shapes("scatter", input, axis, index, src)
    try:
        return apply(ScatterAdd, input, src, index, axis=axis)
    except IndexError:
        pass  # found on the way; now that it must be named, it is looked for
    _check_places(input, axis, index)
    raise AssertionError("an index was out of range, and none is")


REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


@public(method=True, inplace=True, out=True)
def scatter_reduce(
    input: Tensor,
    dim: int,
    index: Tensor,
    src: Tensor,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """Each place of `input` reduced with the elements of `src` that the index sends there.

    `reduce` is sum, prod, mean, amax or amin; `include_self` says whether input's element counts.
    """
    if reduce not in REDUCTIONS:
        raise RuntimeError(
            f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}"
        )
    axis = canonical_dim(dim, input._array.ndim)
    _check_scatter("scatter", input, axis, index, src)
    return apply(
        ScatterReduce,
        input,
        src,
        index,
        axis=axis,
        reduce=reduce,
        include_self=bool(include_self),
    )
