"""The same elements in another shape or order: reshape, permute, squeeze, expand and their kin.

They are views where strides allow it; only reshape and its relatives copy when they must.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import look, looked
from taper.errors import ShapeError
from taper.op import public
from taper.ops.view_ops import (
    Expand,
    Permute,
    Reshape,
    Squeeze,
    SqueezeDim,
    SqueezeDims,
    T,
    Transpose,
    Unsqueeze,
    view_of,
)
from taper.shapes import canonical_dim, canonical_dims, sizes_for, sizes_of
from taper.size import Size
from taper.storage import storage_of
from taper.tensor import Tensor, wrap

_ALL = slice(None)


@public(method=True, namespaces=())
def view(input: Tensor, *shape: Any, size: Any = None, dtype: dtypes.dtype | None = None) -> Tensor:
    """The same memory in another shape (one size may be -1) or as another dtype.

    Raises: RuntimeError if the number of elements differs or the strides do not allow it.
    """
    array = input._array
    if dtype is not None or (len(shape) == 1 and isinstance(shape[0], dtypes.dtype)):
        return _view_dtype(input, dtype or shape[0])
    if size is not None:
        shape = (size,)
    elif array.flags.c_contiguous:
        try:
            made = array.reshape(*shape)
        except (TypeError, ValueError):
            pass  # what is wrong is said below
        else:
            return looked(Reshape, input, made, {"shape": made.shape})
    return look(Reshape, input, shape=sizes_for(input, shape, "view"))


def _view_dtype(input: Tensor, dtype: dtypes.dtype) -> Tensor:
    array = input._array
    if array.dtype == dtype.numpy:
        return look(Reshape, input, shape=array.shape)
    if input.requires_grad and dtype.category < dtypes.FLOAT:
        input = input.detach()
    old, new = array.itemsize, dtype.itemsize
    if old != new:
        if array.ndim == 0:
            raise RuntimeError(
                "self.dim() cannot be 0 to view "
                f"{input.dtype!r} as {dtype!r} (different element sizes)"
            )
        if array.shape[-1] > 1 and array.strides[-1] != old:
            raise RuntimeError(
                f"self.stride(-1) must be 1 to view {input.dtype!r} as {dtype!r} "
                f"(different element sizes), but got {array.strides[-1] // old}"
            )
        if new > old:
            ratio = new // old
            if array.shape[-1] % ratio:
                raise RuntimeError(
                    f"self.size(-1) must be divisible by {ratio} to view {input.dtype!r} as "
                    f"{dtype!r} (different element sizes), but got {array.shape[-1]}"
                )
    made = wrap(array.view(dtype.numpy))
    made._storage = storage_of(input)
    made._base = input if input._base is None else input._base
    return made


@public(method=True, namespaces=())
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """A view in the shape of `other`."""
    return view(input, other._array.shape)


@public(method=True)
def reshape(input: Tensor, *sizes: Any, shape: Any = None) -> Tensor:
    """The elements in another shape (one size may be -1): a view if possible, else a copy.

    Raises: RuntimeError if the number of elements differs.
    """
    array = input._array
    if shape is None and array.flags.c_contiguous:
        try:
            made = array.reshape(*sizes)
        except (TypeError, ValueError):
            pass  # what is wrong is said below
        else:
            return looked(Reshape, input, made, {"shape": made.shape})
    wanted = sizes_for(input, sizes if shape is None else (shape,), "reshape")
    if not array.flags.c_contiguous and view_of(array, wanted) is None:
        input = input.clone(memory_format=_contiguous())
    return look(Reshape, input, shape=wanted)


def _contiguous() -> Any:
    from taper.devices import contiguous_format

    return contiguous_format


@public(method=True, namespaces=())
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """reshape to the shape of `other`."""
    return reshape(input, other._array.shape)


@public(method=True)
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The dimensions from start_dim to end_dim as one."""
    shape = input._array.shape
    if start_dim == 1 and end_dim == -1 and len(shape) > 2 and 0 not in shape:
        return reshape(input, shape[0], -1)  # as in front of a linear layer
    first = canonical_dim(start_dim, len(shape))
    last = canonical_dim(end_dim, len(shape))
    if first > last:
        raise ShapeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return reshape(input, 1)
    if first == last:
        return input
    joined = 1
    for n in shape[first : last + 1]:
        joined *= n
    return reshape(input, *shape[:first], joined, *shape[last + 1 :])


@public(method=True)
def ravel(input: Tensor) -> Tensor:
    """All elements in one contiguous dimension."""
    return reshape(input.contiguous(), -1)


@public(method=True)
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """One dimension split into several of the given sizes (one may be -1)."""
    shape = input._array.shape
    axis = canonical_dim(dim, len(shape))
    parts = sizes_of((sizes,))
    if not parts:
        raise RuntimeError("unflatten: sizes must be non-empty")
    product = 1
    for n in parts:
        if n != -1:
            product *= n
    if parts.count(-1) == 1 and product and shape[axis] % product == 0:
        parts = tuple(shape[axis] // product if n == -1 else n for n in parts)
    elif product != shape[axis] or -1 in parts:
        raise RuntimeError(
            f"unflatten: Provided sizes {list(parts)} don't multiply up to the size "
            f"of dim {axis} ({shape[axis]}) in the input tensor"
        )
    return view(input, (*shape[:axis], *parts, *shape[axis + 1 :]))


@public(method=True, inplace=False)
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A view with a new dimension of size 1 at `dim`."""
    array = input._array
    axis = canonical_dim(dim, array.ndim + 1)
    return looked(Unsqueeze, input, array[(_ALL,) * axis + (None,)], {"axis": axis})


@public(method=True)
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """A view without the dimensions of size 1 (or without `dim` if its size is 1)."""
    shape = input._array.shape
    dims = canonical_dims(dim, len(shape), empty_is_all=False)
    kind = Squeeze if dim is None else SqueezeDim if isinstance(dim, int) else SqueezeDims
    return look(kind, input, axis=tuple(d for d in dims if shape[d] == 1))


@public(method=True)
def permute(input: Tensor, *order_: Any, dims: Any = None) -> Tensor:
    """A view with the dimensions in the given order."""
    if dims is None:
        try:
            made = input._array.transpose(*order_)
        except (TypeError, ValueError):
            pass  # what is wrong is said below
        else:
            if len(order_) > 1 and min(order_) >= 0:
                return looked(Permute, input, made, {"axes": order_})
    order = sizes_of(order_ if dims is None else (dims,), "permute")
    ndim = input._array.ndim
    if len(order) != ndim:
        raise ShapeError(
            "permute",
            "permute(sparse_coo): number of dimensions in the tensor input does not "
            f"match the length of the desired ordering of dimensions i.e. input.dim() = {ndim} is "
            f"not equal to len(dims) = {len(order)}",
        )
    axes = tuple(canonical_dim(d, ndim) for d in order)
    if len(set(axes)) != ndim:
        raise ShapeError("permute", "duplicate dims are not allowed.")
    return look(Permute, input, axes=axes)


@public(method=True)
def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """transpose, under numpy's name."""
    return transpose(input, axis0, axis1)


@public(method=True, aliases=("swapdims",))
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two dimensions exchanged."""
    array = input._array
    if type(dim0) is int and type(dim1) is int:
        try:
            made = array.swapaxes(dim0, dim1)
        except ValueError:
            pass  # there are no dimensions, or not these
        else:
            return looked(Transpose, input, made, {"one": dim0, "other": dim1})
    ndim = array.ndim
    one, other = canonical_dim(dim0, ndim), canonical_dim(dim1, ndim)
    if not ndim:
        return look(Reshape, input, shape=())
    return look(Transpose, input, one=one, other=other)


@public(method=True)
def t(input: Tensor) -> Tensor:
    """A matrix transposed. Raises: RuntimeError beyond 2 dimensions."""
    if input._array.ndim > 2:
        raise ShapeError(
            f"t() expects a tensor with <= 2 dimensions, but self is {input._array.ndim}D"
        )
    return looked(T, input, input._array.T, {})


@public(method=True, aliases=("moveaxis",))
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Dimensions moved to other places, the rest in order."""
    ndim = input._array.ndim
    sources = [source] if isinstance(source, int) else list(source)
    targets = [destination] if isinstance(destination, int) else list(destination)
    if len(sources) != len(targets):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({sources} dims) "
            f"should contain the same number of dims as destination ({targets} "
            "dims)"
        )
    start = [canonical_dim(d, ndim) for d in sources]
    end = [canonical_dim(d, ndim) for d in targets]
    if len(set(start)) != len(start):
        raise RuntimeError(f"movedim: repeated dim in `source` ({sources})")
    if len(set(end)) != len(end):
        raise RuntimeError(f"movedim: repeated dim in `destination` ({targets})")
    if not ndim:
        return look(Reshape, input, shape=())
    order = [d for d in range(ndim) if d not in start]
    for place, d in sorted(zip(end, start, strict=True)):
        order.insert(place, d)
    return look(Permute, input, axes=tuple(order))


@public(method=True, namespaces=())
def expand(input: Tensor, *sizes: Any, size: Any = None, implicit: bool = False) -> Tensor:
    """A view with dimensions of size 1 repeated (and new ones in front); -1 keeps a size.

    Raises: RuntimeError if a size other than 1 would have to change.
    """
    wanted = sizes_of(sizes if size is None else (size,), "expand")
    shape = input._array.shape
    extra = len(wanted) - len(shape)
    if extra < 0:
        raise ShapeError(
            "expand",
            f"the number of sizes provided ({len(wanted)}) must be greater or equal to "
            f"the number of dimensions in the tensor ({len(shape)})",
        )
    result = []
    for i in range(len(wanted) - 1, -1, -1):  # from the last, which an error names first
        n = wanted[i]
        own = shape[i - extra] if i >= extra else None
        if n == -1:
            if own is None:
                raise ShapeError(
                    "expand",
                    f"The expanded size of the tensor ({n}) isn't allowed "
                    f"in a leading, non-existing dimension {i}",
                )
            result.append(own)
        elif own is None or own in (1, n):
            result.append(n)
        else:
            raise ShapeError(
                "expand",
                f"The expanded size of the tensor ({n}) must match the existing size "
                f"({own}) at non-singleton dimension {i}.  Target sizes: {list(wanted)}.  Tensor "
                f"sizes: {list(shape)}",
            )
    return look(Expand, input, shape=tuple(result[::-1]))


@public(method=True, namespaces=())
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """expand to the shape of `other`."""
    return expand(input, other._array.shape)


@public(method=True)
def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """expand, as a function."""
    return expand(input, size)


@public()
def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All tensors expanded to their common shape. Raises: RuntimeError if they have none."""
    from taper.dispatch import _clash

    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    shape: tuple[int, ...] = ()
    for x in tensors:
        clash = _clash(shape, x._array.shape)
        if clash is not None:
            raise ShapeError(clash)
        shape = np.broadcast_shapes(shape, x._array.shape)
    return tuple(expand(x, shape) for x in tensors)


@public(name="broadcast_shapes")
def _broadcast_shapes(*shapes: Any) -> Size:
    """The shape that all broadcast to; an int is a shape of one dimension.

    Raises: RuntimeError if they do not broadcast, ValueError for negative sizes.
    """
    result: list[int] = []
    for place, given in enumerate(shapes):
        shape = sizes_of((given,), "broadcast_shapes")
        result[:0] = [1] * (len(shape) - len(result))
        for back in range(1, len(shape) + 1):
            n = shape[-back]
            if n < 0:
                raise ValueError("Attempting to broadcast a dimension with negative length!")
            if n == 1 or n == result[-back]:
                continue
            if result[-back] != 1:
                raise ShapeError(
                    f"Attempting to broadcast a dimension of length {n} at {-back}! Mismatching "
                    f"argument at index {place} had {shape}; but expected shape should be "
                    f"broadcastable to {result}"
                )
            result[-back] = n
    return Size(result)


@public(method=True, namespaces=())
def sum_to_size(input: Tensor, *sizes: Any, size: Any = None) -> Tensor:
    """The sums over the dimensions in which the tensor could have been broadcast from `size`.

    Raises: RuntimeError if the tensor could not.
    """
    wanted = sizes_of(sizes if size is None else (size,), "sum_to_size")
    shape = input._array.shape
    extra = len(shape) - len(wanted)
    if extra < 0 or any(n not in (1, k) for n, k in zip(wanted, shape[extra:], strict=True)):
        raise ShapeError(f"size {{{list(wanted)}}} is not expandable to size {{{list(shape)}}}.")
    if not wanted:
        return input.sum()
    folded = [d for d in range(extra) if shape[d] != 1]
    folded += [d + extra for d, n in enumerate(wanted) if n == 1 != shape[d + extra]]
    made = input.sum(folded, keepdim=True) if folded else input
    return made if made._array.shape == wanted else reshape(made, wanted)
