"""Writing slices at the places of a vector (index_add and its kin), and at flat positions (put)."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply, as_array
from taper.errors import DimError, DtypeError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.gather import IndexSelect, Take, check_positions
from taper.ops.scatter import REDUCTIONS, ScatterReduce, filling
from taper.shapes import canonical_dim
from taper.tensor import Tensor, wrap

# ---------------------------------------------------------------- a vector index


@op
class IndexAdd(Opaque):
    """`input` with alpha times the slices of `source` added at the places of a dimension."""

    name = "index_add"
    node_name = "IndexAddBackward0"
    saves = ("source.shape", "index")

    def forward(self, m: Any, input: Any, source: Any, index: Any, *, axis: int, alpha: Any) -> Any:
        if alpha != 1:
            source = source * as_array(alpha, input.dtype)
        index = index.reshape(-1)
        if input.ndim == 0:
            return m.add_slices(input.reshape(1), index, source.reshape(-1)).reshape(())
        return m.add_slices(input, index, source.reshape(-1) if source.ndim == 0 else source, axis)

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
            if name == "index_add_"
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
            if name != "index_add_"
            else f"{name}(): self ({dtypes.cpp_name(input.dtype)}) and source "
            f"({dtypes.cpp_name(source.dtype)}) must have the same scalar type"
        )
    count = given[axis] if given else 1
    if places.size != count and not (name == "index_copy" and not given):
        raise (ShapeError if name != "index_copy" else DimError)(
            f"{name}(): Number of indices ({places.size}) should be equal to "
            f"source.size(dim): ({count}), for dim: {axis}"
        )
    if (name == "index_add_" and len(given) != len(shape)) or (
        given
        and shape
        and (
            len(given) != len(shape)
            or any(n != k for d, (n, k) in enumerate(zip(shape, given, strict=True)) if d != axis)
        )
    ):
        if name == "index_add_":
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
    _check_slices("index_add_", input, axis, index, source)
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
    return apply(IndexCopy, input, filling(value, input.dtype), once, axis=axis)


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
    if reduce not in REDUCTIONS[1:]:
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
                Put,
                grad,
                index,
                m.zeros(tuple(index.shape), grad.dtype),
                accumulate=False,
            )
        return (
            rest,
            None,
            m.reshape(m.call(Take, grad, index), source) if needs[2] else None,
        )


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
