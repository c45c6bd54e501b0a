"""Views of parts of a tensor: select, narrow, split, diagonal, unfold, as_strided."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from taper.dispatch import apply, join, look
from taper.errors import DimError, ShapeError
from taper.op import public
from taper.ops.arguments import invalid_combination
from taper.ops.view_ops import (
    Diagonal,
    Select,
    Slice,
    SplitSizes,
    SplitWithSizes,
    Unbind,
    Unfold,
    Unsqueeze,
)
from taper.shapes import canonical_dim, sizes_of
from taper.storage import memory_of, storage_of
from taper.tensor import Tensor, wrap


@public(method=True)
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """A view of one index of dimension `dim`. Raises: IndexError if out of range."""
    array = input._array
    if array.ndim == 0:
        raise DimError("select() cannot be applied to a 0-dim tensor.")
    axis = canonical_dim(dim, array.ndim)
    extent = array.shape[axis]
    at = int(index)
    if not -extent <= at < extent:
        raise DimError(
            f"select(): index {at} out of range for tensor of size {list(array.shape)} "
            f"at dimension {axis}"
        )
    return look(Select, input, axis=axis, index=at % extent)


@public(method=True)
def narrow(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """A view of `length` consecutive indices of dimension `dim`."""
    array = input._array
    if array.ndim == 0:
        raise ShapeError("narrow() cannot be applied to a 0-dim tensor.")
    axis = canonical_dim(dim, array.ndim)
    extent = array.shape[axis]
    if isinstance(start, Tensor) and (start._array.ndim or start._array.dtype.kind not in "iu"):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    begin = int(start)
    if length < 0:
        raise ShapeError("narrow(): length must be non-negative.")
    if not -extent <= begin <= extent:
        raise DimError(
            f"start out of range (expected to be in range of [{-extent}, {extent}], but "
            f"got {begin})"
        )
    if begin < 0:
        begin += extent
    if begin + length > extent:
        raise ShapeError(f"start ({begin}) + length ({length}) exceeds dimension size ({extent}).")
    key = (slice(None),) * axis + (slice(begin, begin + length),)
    return look(Slice, input, key=key)


@public(method=True)
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of all indices of dimension `dim`."""
    if input._array.ndim == 0:
        raise DimError("Dimension specified as 0 but tensor has no dimensions")
    axis = canonical_dim(dim, input._array.ndim)
    return apply(Unbind, input, axis=axis) if input._array.shape[axis] else ()


def _split(input: Tensor, sizes: tuple[int, ...], axis: int) -> tuple[Tensor, ...]:
    return apply(SplitSizes, input, sizes=sizes, axis=axis)


@public(method=True)
def split(
    tensor: Tensor, split_size_or_sections: Any, dim: int = 0, *, split_size: Any = None
) -> tuple[Tensor, ...]:
    """Views of consecutive pieces of dimension `dim`: of one size (the last may be smaller), or of
    the given sizes.
    """
    sections = split_size_or_sections if split_size is None else split_size
    if tensor._array.ndim == 0:
        raise ShapeError("split expects at least a 1-dimensional tensor")
    axis = canonical_dim(dim, tensor._array.ndim)
    extent = tensor._array.shape[axis]
    if hasattr(sections, "__index__"):
        size = int(sections)
        if size < 0:
            raise ShapeError(f"split expects split_size be non-negative, but got split_size={size}")
        if size == 0:
            if extent:
                raise ShapeError(
                    "split_size can only be 0 if dimension size is 0, but got "
                    f"dimension size of {extent}"
                )
            return _split(tensor, (0,), axis)
        count = max(1, -(-extent // size))
        sizes = tuple(min(size, extent - i * size) for i in range(count))
    else:
        sizes = sizes_of((sections,))
        if any(n < 0 for n in sizes):
            raise ShapeError(
                "split_with_sizes expects split_sizes have only non-negative entries, "
                f"but got split_sizes={list(sizes)}"
            )
        if sum(sizes) != extent:
            raise ShapeError(
                f"split_with_sizes expects split_sizes to sum exactly to {extent} "
                f"(input tensor's size at dimension {axis}), but got "
                f"split_sizes={list(sizes)}"
            )
        return apply(SplitWithSizes, tensor, sizes=sizes, axis=axis)
    return _split(tensor, sizes, axis)


@public(method=True, namespaces=("torch",))
def split_with_sizes(input: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of consecutive pieces of the given sizes."""
    return split(input, sizes_of((split_sizes,)), dim)


@public(method=True)
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` views of equal pieces of dimension `dim` (the last may be smaller)."""
    if input._array.ndim == 0:
        raise ShapeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise ShapeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    axis = canonical_dim(dim, input._array.ndim)
    extent = input._array.shape[axis]
    if extent == 0:
        return _split(input, (0,) * chunks, axis)
    return split(input, -(-extent // chunks), axis)


@public(method=True)
def tensor_split(
    input: Tensor,
    indices_or_sections: Any,
    dim: int = 0,
    *,
    indices: Any = None,
    sections: Any = None,
) -> tuple[Tensor, ...]:
    """Pieces of dimension `dim`: nearly equal ones, or cut at the given indices."""
    how = (
        next(v for v in (indices_or_sections, indices, sections) if v is not None)
        if indices_or_sections is None
        else indices_or_sections
    )
    if input._array.ndim == 0:
        raise ShapeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    axis = canonical_dim(dim, input._array.ndim)
    extent = input._array.shape[axis]
    if isinstance(how, Tensor):
        if how._array.dtype != np.int64:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to have dtype of long"
            )
        how = how.tolist()
    if isinstance(how, int):
        if how <= 0:
            raise ShapeError(f"number of sections must be larger than 0, got {how}")
        small, extra = divmod(extent, how)
        how = [i * small + min(i, extra) for i in range(1, how)]
    cuts = [0, *how, extent]
    pieces = []
    for begin, end in itertools.pairwise(cuts):
        piece = slice(begin, end)
        pieces.append(look(Slice, input, key=(slice(None),) * axis + (piece,)))
    return tuple(pieces)


def _dim_split(name: str, axis_of: Any, minimum: int) -> Any:
    def function(
        input: Tensor,
        indices_or_sections: Any = None,
        *,
        indices: Any = None,
        sections: Any = None,
    ) -> tuple[Tensor, ...]:
        ndim = input._array.ndim
        if ndim < minimum:
            raise ShapeError(
                f"torch.{name} requires a tensor with at least {minimum} dimension, but got a "
                f"tensor with {ndim} dimensions!"
            )
        axis = axis_of(ndim)
        if indices is not None or sections is not None:
            indices_or_sections = sections if indices is None else indices
        if isinstance(indices_or_sections, str) or indices_or_sections is None:
            raise invalid_combination(
                name,
                input,
                indices_or_sections,
                expected="(Tensor input, int sections), (Tensor input, tuple of ints indices)",
            )
        if isinstance(indices_or_sections, int):
            if indices_or_sections == 0 or input._array.shape[axis] % indices_or_sections:
                raise ShapeError(
                    f"torch.{name} attempted to split along dimension {axis}, but the size of the "
                    f"dimension {input._array.shape[axis]} is not divisible by the split_size "
                    f"{indices_or_sections}!"
                )
        return tensor_split(input, indices_or_sections, axis)

    function.__name__ = name
    function.__doc__ = f"tensor_split along the dimension that {name} is named for."
    return public(method=True)(function)


hsplit = _dim_split("hsplit", lambda ndim: 0 if ndim == 1 else 1, 1)
vsplit = _dim_split("vsplit", lambda ndim: 0, 2)
dsplit = _dim_split("dsplit", lambda ndim: 2, 3)


@public(method=True)
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A view of a diagonal of two dimensions, as the last dimension."""
    ndim = input._array.ndim
    one, other = canonical_dim(dim1, ndim), canonical_dim(dim2, ndim)
    if one == other:
        raise ShapeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return look(Diagonal, input, offset=offset, axis1=one, axis2=other)


@public(method=True, namespaces=())
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A view of all windows of `size` elements, `step` apart, as a new last dimension."""
    if input._array.ndim == 0:
        if size > 1:
            raise ShapeError(f"maximum size for tensor at dimension 0 is 1 but size is {size}")
        if step <= 0:
            raise ShapeError(f"step is {step} but must be > 0")
        return look(Unsqueeze, input, axis=0)[:size]
    axis = canonical_dim(dimension, input._array.ndim)
    extent = input._array.shape[axis]
    if size > extent:
        raise ShapeError(
            f"maximum size for tensor at dimension {axis} is {extent} but size is {size}"
        )
    if step <= 0:
        raise ShapeError(f"step is {step} but must be > 0")
    return look(Unfold, input, axis=axis, size=size, step=step)


@public(method=True)
def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view of the storage with any sizes and strides (elements).

    Raises: RuntimeError if it would reach outside the storage.
    """
    from taper.autograd.grad_mode import mode
    from taper.autograd.inplace import TakeFlat, positions
    from taper.dispatch import record

    shape, strides = sizes_of((size,)), sizes_of((stride,))
    if len(shape) != len(strides):
        raise ShapeError("mismatch in length of strides and shape")
    if any(s < 0 for s in strides):
        raise ShapeError(
            "as_strided: Negative strides are not supported at the moment, got "
            f"strides: {list(strides)}"
        )
    offset = input.storage_offset() if storage_offset is None else storage_offset
    storage = storage_of(input)
    memory = memory_of(storage.owner)
    span = (
        offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if 0 not in shape
        else 0
    )
    if span > memory.size:
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset {offset}, "
            f"and itemsize {memory.itemsize} requiring a storage size of {span * memory.itemsize} "
            f"are out of bounds for storage of size {memory.nbytes}"
        )
    item = memory.itemsize
    array = np.lib.stride_tricks.as_strided(memory[offset:], shape, [s * item for s in strides])
    made = wrap(array)
    join(made, input)
    if mode.grad and input.requires_grad:
        made._requires_grad = True
        made._grad_fn = record(TakeFlat, (input,), [], None, {"index": positions(made, input)})
    return made
