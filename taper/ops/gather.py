"""Elements chosen by index tensors and masks: gather, index_select, take, masked_select.

Their counterparts, which write where an index points, are in scatter.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.backends.gathering import highest
from taper.dispatch import apply
from taper.errors import DimError, DtypeError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.convert import cast
from taper.ops.index import IndexAdjoint
from taper.shapes import broadcast_shapes, canonical_dim
from taper.tensor import Tensor


@op
class Gather(Opaque):
    """out[i, j] = input[i, index[i, j]], for axis 1 of 2."""

    node_name = "GatherBackward0"
    saves = ("input.shape", "index")

    def forward(self, m: Any, input: Any, index: Any, *, axis: int) -> Any:
        return m.gather(input, index, axis)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, index: Any, *, axis: int) -> Any:
        from taper.ops.scatter import ScatterAdd

        return m.call(ScatterAdd, m.zeros(input, grad.dtype), grad, index, axis=axis), None


@op
class IndexSelect(Opaque):
    """The given places of one dimension."""

    plain = True
    name = "index_select"
    node_name = "IndexSelectBackward0"
    saves = ("input.shape", "index")

    def forward(self, m: Any, input: Any, index: Any, *, axis: int) -> Any:
        if input.ndim == 0:
            return input.reshape(1)[index].reshape(())
        return m.take_slices(input, index.reshape(-1), axis)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, index: Any, *, axis: int) -> Any:
        from taper.ops.index_write import IndexAdd

        return m.call(IndexAdd, m.zeros(input, grad.dtype), grad, index, axis=axis, alpha=1), None


@op
class Take(Opaque):
    """Elements at positions of the flattened input."""

    node_name = "TakeBackward0"
    saves = ("input.shape", "index")

    def forward(self, m: Any, input: Any, index: Any) -> Any:
        return input.reshape(-1)[index]

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, index: Any) -> Any:
        from taper.ops.index_write import Put

        return m.call(Put, m.zeros(input, grad.dtype), index, grad, accumulate=True), None


@op
class MaskedSelect(Opaque):
    """The elements where the mask is true, in order."""

    name = "masked_select"
    node_name = "MaskedSelectBackward0"
    saves = ("input.shape", "mask")

    def forward(self, m: Any, input: Any, mask: Any) -> Any:
        input, mask = np.broadcast_arrays(input, mask)
        return input[mask]

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, mask: Any) -> Any:
        shape = broadcast_shapes(input, mask.shape)
        whole = m.broadcast_to(mask, shape)
        spread = m.call(IndexAdjoint, grad, whole, spec=(0,), shape=shape)
        return m.sum_to(spread, input), None


def check_index(name: str, index: Tensor) -> None:
    """Raises: RuntimeError unless the index is int32 or int64."""
    if index._array.dtype not in (np.int64, np.int32):
        raise DtypeError(f"{name}(): Expected dtype int32/int64 for index")


def check_range(index: np.ndarray, extent: int, axis: int) -> None:
    """Raises: RuntimeError for an index below 0 or not below `extent`."""
    if index.size and highest(index) >= extent:
        bad = index[(index < 0) | (index >= extent)].flat[0]
        raise ShapeError(f"index {bad} is out of bounds for dimension {axis} with size {extent}")


@public(method=True, out=True)
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """Elements of `input` at the places `index` names along `dim`; the shape is the index's.

    out[i][j] = input[i][index[i][j]] for dim 1 of 2.
    Raises: RuntimeError if the index is out of range or its shape or dtype does not fit.
    """
    shape, wanted = input._array.shape, index._array.shape
    axis = canonical_dim(dim, len(shape))
    if index._array.size == 0:
        if index._array.dtype.kind not in "iu":
            check_index("gather", index)
        return apply(Gather, input, cast(index, dtypes.int64), axis=axis)
    check_index("gather", index)
    if max(len(wanted), 1) != max(len(shape), 1):
        raise ShapeError("Index tensor must have the same number of dimensions as input tensor")
    for d, (n, k) in enumerate(zip(shape, wanted, strict=False)):
        if d != axis and k > n:
            raise ShapeError(
                f"Size does not match at dimension {d} expected index {list(wanted)} "
                f"to be no larger than self {list(shape)} apart from dimension "
                f"{axis}"
            )
    try:
        return apply(Gather, input, index, axis=axis)
    except IndexError:
        pass  # found on the way; now that it must be named, it is looked for
    check_range(index._array, shape[axis] if shape else 1, axis)
    raise AssertionError("an index was out of range, and none is")


@public(method=True, out=True)
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The places that the vector `index` names along `dim`.

    Raises: IndexError for an index out of range, RuntimeError for an index that is no integer.
    """
    array, places = input._array, index._array
    if places.ndim > 1:
        raise DimError("index_select(): Index is supposed to be a vector")
    if places.dtype not in (np.int64, np.int32):
        raise DtypeError("index_select(): Expected dtype int32 or int64 for index")
    axis = canonical_dim(dim, array.ndim)
    if array.ndim == 0 and places.size != 1:
        raise ShapeError(
            f"index_select(): Index to scalar can have only 1 value, got {places.size} value(s)"
        )
    extent = array.shape[axis] if array.ndim else 1
    if places.size and highest(places) >= extent:
        raise DimError("index out of range in self")
    return apply(IndexSelect, input, index, axis=axis)


@public(method=True, out=True)
def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements at positions of the flattened input; the shape is the index's.

    Raises: IndexError for a position out of range.
    """
    check_positions("take", input, index)
    return apply(Take, input, index)


def check_positions(name: str, input: Tensor, index: Tensor) -> None:
    """The errors for an index that does not name elements of the flattened input."""
    places, count = index._array, input._array.size
    if places.dtype != np.int64:
        raise DtypeError(
            f"{name}(): Expected a long tensor for index, but got {dtypes.cpp_name(index.dtype)}"
        )
    if places.size == 0:
        return
    if count == 0:
        raise DimError(
            f"{name}(): tried to take from an empty tensor"
            if name == "take"
            else f"{name}(): tried to put elements into an empty tensor"
        )
    if places.min() < -count or places.max() >= count:
        bad = places[(places < -count) | (places >= count)].flat[0]
        raise DimError(
            f"out of range: tried to access index {bad} on a tensor of {count} elements."
        )


@public(method=True, out=True)
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """Like gather, but `input` and `indices` broadcast against each other; without `dim`, take
    from the flattened input.
    """
    if indices._array.dtype != np.int64:
        raise DtypeError(
            "torch.take_along_dim(): dtype of indices should be Long but got "
            f"{dtypes.cpp_name(indices.dtype)}"
        )
    if dim is None:
        input, indices, dim = input.reshape(-1), indices.reshape(-1), 0
    shape, wanted = input._array.shape, indices._array.shape
    if len(shape) != len(wanted):
        raise ShapeError(
            "torch.take_along_dim(): input and indices should have the same number of "
            f"dimensions, but got {len(shape)} dimensions for input, and "
            f"{len(wanted)} dimensions for indices"
        )
    axis = canonical_dim(dim, len(shape))
    rest = (
        broadcast_shapes(
            (*shape[:axis], 1, *shape[axis + 1 :]), (*wanted[:axis], 1, *wanted[axis + 1 :])
        )
        if shape
        else ()
    )
    if shape:
        input = input.expand(*rest[:axis], shape[axis], *rest[axis + 1 :])
        indices = indices.expand(*rest[:axis], wanted[axis], *rest[axis + 1 :])
    if indices._array.size and indices._array.min() < 0:  # counted from the end, as in indexing
        extent = shape[axis] if shape else 1
        indices = indices.where(indices.ge(0), indices + extent)
    return gather(input, axis, indices)


@public(method=True, out=True)
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where `mask` is true, as a vector; the two broadcast together.

    Raises: RuntimeError unless the mask is bool.
    """
    if mask._array.dtype.kind != "b":
        raise DtypeError("masked_select: expected BoolTensor for mask")
    fit_together(input, mask)
    return apply(MaskedSelect, input, mask)


def fit_together(input: Tensor, other: Tensor) -> None:
    """Raises: RuntimeError, as elementwise ops do, unless the shapes broadcast together."""
    from taper.dispatch import _clash

    one, two = input._array.shape, other._array.shape
    text = None if one == two else _clash(one, two)
    if text is not None:
        raise ShapeError(text.partition(" (shapes")[0])
