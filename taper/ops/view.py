"""Views: other looks at the same memory, and the reshapes that copy only when they must."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply, write_out
from taper.errors import DimError, MissingFeature, ShapeError
from taper.op import View, op, public
from taper.ops.arguments import invalid_combination, require_tensor
from taper.shapes import canonical_dim, canonical_dims, infer_size, sizes_of
from taper.size import Size
from taper.storage import memory_of, storage_of
from taper.tensor import Tensor, wrap

# ---------------------------------------------------------------- ops


@op
class Reshape(View):
    """The same elements in another shape; only where strides allow it without a copy."""

    name = "view"
    node_name = "ViewBackward0"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, shape: tuple[int, ...]) -> Any:
        found = view_of(input, shape)
        if found is None:
            raise ShapeError(
                "view size is not compatible with input tensor's size and stride (at "
                "least one dimension spans across two contiguous subspaces). Use "
                ".reshape(...) instead."
            )
        return found

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, shape: tuple[int, ...]) -> Any:
        return m.reshape(grad, input)


def view_of(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """`array` in another shape without copying; None where its strides do not allow that."""
    if array.flags.c_contiguous:
        return array.reshape(shape)
    made = array.view()
    try:
        # Setting the shape is numpy's one way to reshape or fail, never copy.
        made.shape = shape
    except AttributeError:
        return None
    return made


@op
class Permute(View):
    """The dimensions in another order."""

    node_name = "PermuteBackward0"

    def forward(self, m: Any, input: Any, *, axes: tuple[int, ...]) -> Any:
        return input.transpose(axes)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axes: tuple[int, ...]) -> Any:
        inverse = [0] * len(axes)
        for place, axis in enumerate(axes):
            inverse[axis] = place
        return m.transpose(grad, tuple(inverse))


@op
class Transpose(View):
    """Two dimensions exchanged."""

    node_name = "TransposeBackward0"

    def forward(self, m: Any, input: Any, *, one: int, other: int) -> Any:
        return input.swapaxes(one, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, one: int, other: int) -> Any:
        return m.swapaxes(grad, one, other)


@op
class T(View):
    """A matrix's rows and columns exchanged."""

    name = "t"
    node_name = "TBackward0"

    def forward(self, m: Any, input: Any) -> Any:
        return input.T

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.swapaxes(grad, 0, 1) if len(grad.shape) == 2 else grad


@op
class Expand(View):
    """Dimensions of size 1 repeated without copying."""

    node_name = "ExpandBackward0"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, shape: tuple[int, ...]) -> Any:
        made = np.broadcast_to(input, shape)
        # broadcast_to protects its result; tensors guard expanded memory themselves.
        return np.lib.stride_tricks.as_strided(input, made.shape, made.strides)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, shape: tuple[int, ...]) -> Any:
        return m.sum_to(grad, input)


@op
class Unsqueeze(View):
    """A new dimension of size 1."""

    node_name = "UnsqueezeBackward0"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, axis: int) -> Any:
        return np.expand_dims(input, axis)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: int) -> Any:
        return m.reshape(grad, input)


class _Squeezing(View):
    """Without the given dimensions, all of size 1."""

    name = "squeeze"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...]) -> Any:
        return input.squeeze(axis)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: tuple[int, ...]) -> Any:
        return m.reshape(grad, input)


@op
class Squeeze(_Squeezing):
    """Without the dimensions of size 1."""

    node_name = "SqueezeBackward0"


@op
class SqueezeDim(_Squeezing):
    """Without one dimension, if it is of size 1."""

    node_name = "SqueezeBackward1"


@op
class SqueezeDims(_Squeezing):
    """Without those of some dimensions that are of size 1."""

    node_name = "SqueezeBackward2"


@op
class Select(View):
    """One index of one dimension."""

    node_name = "SelectBackward0"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, axis: int, index: int) -> Any:
        return input[(slice(None),) * axis + (index, ...)]

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: int, index: int) -> Any:
        return m.call(Embed, grad, shape=input, key=(slice(None),) * axis + (index,))


class _Slicing(View):
    """Basic indexing with ints, slices and None."""

    name = "slice"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, key: tuple[Any, ...]) -> Any:
        return input[(*key, ...)]

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, key: tuple[Any, ...]) -> Any:
        return m.call(Embed, grad, shape=input, key=key)


@op
class Slice(_Slicing):
    """Basic indexing whose last step is a slice."""

    node_name = "SliceBackward0"


@op
class SliceSelect(_Slicing):
    """Basic indexing whose last step is an integer."""

    node_name = "SelectBackward0"


@op
class SliceUnsqueeze(_Slicing):
    """Basic indexing whose last step is None."""

    node_name = "UnsqueezeBackward0"


@op
class SliceAlias(_Slicing):
    """Basic indexing that selects everything."""

    node_name = "AliasBackward0"


def slicing(key: tuple[Any, ...]) -> Any:
    """The op of a basic key, named as PyTorch names the last step that does something."""
    for item in reversed(key):
        if type(item) is slice:
            if item.start is not None or item.stop is not None or item.step is not None:
                return Slice
        else:
            return SliceUnsqueeze if item is None else SliceSelect
    return SliceAlias


@op
class Embed(View):
    """Zeros of `shape` with `source` at basic index `key`: the adjoint of a slice."""

    view = False

    def forward(self, m: Any, source: Any, *, shape: tuple[int, ...], key: tuple[Any, ...]) -> Any:
        made = np.zeros(shape, source.dtype)
        made[(*key, ...)] = source
        return made

    def vjp(self, m: Any, grad: Any, out: Any, source: Any, *, shape: Any, key: Any) -> Any:
        return grad[(*key, ...)]


@op
class Unbind(View):
    """All indices of one dimension, one tensor each."""

    node_name = "UnbindBackward0"
    outputs = 0
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, axis: int) -> Any:
        return tuple(np.moveaxis(input, axis, 0)[i, ...] for i in range(input.shape[axis]))

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: int) -> Any:
        shape = input[:axis] + input[axis + 1 :]
        some = next(g for g in grad if g is not None)
        parts = [m.zeros(shape, some.dtype) if g is None else g for g in grad]
        return m.stack(parts, axis)


class _Splitting(View):
    """Consecutive pieces of one dimension."""

    name = "split"
    outputs = 0
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, sizes: tuple[int, ...], axis: int) -> Any:
        pieces, start = [], 0
        lead = (slice(None),) * axis
        for n in sizes:
            pieces.append(input[(*lead, slice(start, start + n))])
            start += n
        return tuple(pieces)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, sizes: Any, axis: int) -> Any:
        some = next(g for g in grad if g is not None)
        parts = [
            m.zeros((*input[:axis], n, *input[axis + 1 :]), some.dtype) if g is None else g
            for g, n in zip(grad, sizes, strict=False)
        ]
        return m.concatenate(parts, axis)


@op
class SplitSizes(_Splitting):
    """Pieces of one size."""

    node_name = "SplitBackward0"


@op
class SplitWithSizes(_Splitting):
    """Pieces of given sizes."""

    node_name = "SplitWithSizesBackward0"


def diagonal_of(array: np.ndarray, offset: int, axis1: int, axis2: int) -> np.ndarray:
    """A writable view of a diagonal; numpy's own is read-only."""
    rest = [a for a in range(array.ndim) if a not in (axis1, axis2)]
    lead = [0] * array.ndim
    lead[axis1 if offset < 0 else axis2] = abs(offset)
    count = max(0, min(array.shape[axis1] - lead[axis1], array.shape[axis2] - lead[axis2]))
    start = array[tuple(slice(n, None) for n in lead)]
    shape = [array.shape[a] for a in rest] + [count]
    strides = [array.strides[a] for a in rest] + [array.strides[axis1] + array.strides[axis2]]
    return np.lib.stride_tricks.as_strided(start, shape, strides)


@op
class Diagonal(View):
    """A diagonal of two dimensions, as the last dimension."""

    node_name = "DiagonalBackward0"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, offset: int, axis1: int, axis2: int) -> Any:
        return diagonal_of(input, offset, axis1, axis2)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, offset: int, axis1: int, axis2: int
    ) -> Any:
        return m.call(EmbedDiagonal, grad, shape=input, offset=offset, axis1=axis1, axis2=axis2)


@op
class EmbedDiagonal(View):
    """Zeros of `shape` with `source` on a diagonal: the adjoint of Diagonal."""

    view = False

    def forward(
        self, m: Any, source: Any, *, shape: Any, offset: int, axis1: int, axis2: int
    ) -> Any:
        made = np.zeros(shape, source.dtype)
        diagonal_of(made, offset, axis1, axis2)[...] = source
        return made

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        source: Any,
        *,
        shape: Any,
        offset: int,
        axis1: int,
        axis2: int,
    ) -> Any:
        return m.call(Diagonal, grad, offset=offset, axis1=axis1, axis2=axis2)


@op
class Unfold(View):
    """Windows of one dimension, as a new last dimension."""

    node_name = "UnfoldBackward0"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, axis: int, size: int, step: int) -> Any:
        count = (input.shape[axis] - size) // step + 1
        shape = (*input.shape[:axis], count, *input.shape[axis + 1 :], size)
        strides = list(input.strides)
        strides.append(strides[axis])
        strides[axis] *= step
        return np.lib.stride_tricks.as_strided(input, shape, strides)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, axis: int, size: int, step: int
    ) -> Any:
        return m.call(FoldWindows, grad, shape=input, axis=axis, size=size, step=step)


@op
class FoldWindows(View):
    """Sums overlapping windows back into place: the adjoint of Unfold."""

    view = False

    def forward(self, m: Any, source: Any, *, shape: Any, axis: int, size: int, step: int) -> Any:
        made = np.zeros(shape, source.dtype)
        lead = (slice(None),) * axis
        count = source.shape[axis]
        for k in range(size):
            made[(*lead, slice(k, k + (count - 1) * step + 1, step))] += source[..., k]
        return made

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        source: Any,
        *,
        shape: Any,
        axis: int,
        size: int,
        step: int,
    ) -> Any:
        return m.call(Unfold, grad, axis=axis, size=size, step=step)


@op
class RealPart(View):
    """The real parts of a complex tensor."""

    name = "real"
    node_name = "RealBackward0"

    def forward(self, m: Any, input: Any) -> Any:
        return input.real

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.call(ToComplex, grad)


@op
class ImagPart(View):
    """The imaginary parts of a complex tensor."""

    name = "imag"
    node_name = "ImagBackward0"

    def forward(self, m: Any, input: Any) -> Any:
        return input.imag

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.call(ToComplex, grad) * 1j


@op
class ToComplex(View):
    """A real tensor as a complex one."""

    view = False

    def forward(self, m: Any, input: Any) -> Any:
        return input.astype(np.complex128 if input.dtype == np.float64 else np.complex64)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.real(grad)


@op
class ViewAsReal(View):
    """A complex tensor as a real one with a last dimension of 2."""

    name = "view_as_real"
    node_name = "ViewAsRealBackward0"

    def forward(self, m: Any, input: Any) -> Any:
        part = input.real
        return np.lib.stride_tricks.as_strided(
            part, (*part.shape, 2), (*part.strides, part.itemsize)
        )

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.call(JoinComplex, grad[..., 0], grad[..., 1])


@op
class ViewAsComplex(View):
    """A real tensor with a last dimension of 2 as a complex one."""

    name = "view_as_complex"
    node_name = "ViewAsComplexBackward0"

    def forward(self, m: Any, input: Any) -> Any:
        _even_strides(input)
        wide = np.dtype(np.complex128 if input.dtype == np.float64 else np.complex64)
        flat = memory_of(input)
        whole = flat[: flat.size // 2 * 2].view(wide)
        return np.lib.stride_tricks.as_strided(whole, input.shape[:-1], input.strides[:-1])

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.stack([m.real(grad), m.imag(grad)], -1)


def _even_strides(array: np.ndarray) -> None:
    """The errors for memory that does not hold real and imaginary parts side by side."""
    steps = [s // array.itemsize for s in array.strides]
    if array.shape[-1] > 1 and steps[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % 2 for s, n in zip(steps[:-1], array.shape[:-1], strict=True) if n > 1):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")


@op
class JoinComplex(View):
    """real + 1j * imag."""

    name = "complex"
    node_name = "ComplexBackward0"
    view = False

    def forward(self, m: Any, real: Any, imag: Any) -> Any:
        real, imag = np.broadcast_arrays(real, imag)
        made = np.empty(real.shape, np.complex128 if real.dtype == np.float64 else np.complex64)
        made.real, made.imag = real, imag
        return made

    saves = ("real.shape", "imag.shape")

    def vjp(self, m: Any, grad: Any, out: Any, real: Any, imag: Any) -> Any:
        return m.sum_to(m.real(grad), real), m.sum_to(m.imag(grad), imag)


# ---------------------------------------------------------------- shape


@public(method=True, namespaces=())
def view(input: Tensor, *shape: Any, size: Any = None, dtype: dtypes.dtype | None = None) -> Tensor:
    """The same memory in another shape (one size may be -1) or as another dtype.

    Raises: RuntimeError if the number of elements differs or the strides do not allow it.
    """
    if dtype is not None or (len(shape) == 1 and isinstance(shape[0], dtypes.dtype)):
        return _view_dtype(input, dtype or shape[0])
    if size is not None:
        shape = (size,)
    if len(shape) == 1 and type(shape[0]) is tuple:
        shape = shape[0]
    wanted = infer_size(sizes_of(shape, "view"), input._array.size)
    return apply(Reshape, input, shape=wanted)


def _view_dtype(input: Tensor, dtype: dtypes.dtype) -> Tensor:
    array = input._array
    if array.dtype == dtype.numpy:
        return apply(Reshape, input, shape=array.shape)
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
    wanted = infer_size(
        sizes_of(sizes if shape is None else (shape,), "reshape"), input._array.size
    )
    if view_of(input._array, wanted) is None:
        input = input.clone(memory_format=_contiguous())
    return apply(Reshape, input, shape=wanted)


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
    axis = canonical_dim(dim, input._array.ndim + 1)
    return apply(Unsqueeze, input, axis=axis)


@public(method=True)
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """A view without the dimensions of size 1 (or without `dim` if its size is 1)."""
    shape = input._array.shape
    dims = canonical_dims(dim, len(shape), empty_is_all=False)
    kind = Squeeze if dim is None else SqueezeDim if isinstance(dim, int) else SqueezeDims
    return apply(kind, input, axis=tuple(d for d in dims if shape[d] == 1))


@public(method=True)
def permute(input: Tensor, *order_: Any, dims: Any = None) -> Tensor:
    """A view with the dimensions in the given order."""
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
    return apply(Permute, input, axes=axes)


@public(method=True)
def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """transpose, under numpy's name."""
    return transpose(input, axis0, axis1)


@public(method=True, aliases=("swapdims",))
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two dimensions exchanged."""
    ndim = input._array.ndim
    return (
        apply(Transpose, input, one=canonical_dim(dim0, ndim), other=canonical_dim(dim1, ndim))
        if ndim
        else apply(Reshape, input, shape=())
    )


@public(method=True)
def t(input: Tensor) -> Tensor:
    """A matrix transposed. Raises: RuntimeError beyond 2 dimensions."""
    if input._array.ndim > 2:
        raise ShapeError(
            f"t() expects a tensor with <= 2 dimensions, but self is {input._array.ndim}D"
        )
    return apply(T, input)


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
        return apply(Reshape, input, shape=())
    order = [d for d in range(ndim) if d not in start]
    for place, d in sorted(zip(end, start, strict=True)):
        order.insert(place, d)
    return apply(Permute, input, axes=tuple(order))


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
    return apply(Expand, input, shape=tuple(result[::-1]))


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


# ---------------------------------------------------------------- parts


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
    return apply(Select, input, axis=axis, index=at % extent)


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
    return apply(Slice, input, key=key)


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
        pieces.append(apply(Slice, input, key=(slice(None),) * axis + (piece,)))
    return tuple(pieces)


def _dim_split(name: str, axis_of: Any, minimum: int) -> Any:
    def function(
        input: Tensor, indices_or_sections: Any = None, *, indices: Any = None, sections: Any = None
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
    return apply(Diagonal, input, offset=offset, axis1=one, axis2=other)


@public(method=True, namespaces=())
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A view of all windows of `size` elements, `step` apart, as a new last dimension."""
    if input._array.ndim == 0:
        if size > 1:
            raise ShapeError(f"maximum size for tensor at dimension 0 is 1 but size is {size}")
        if step <= 0:
            raise ShapeError(f"step is {step} but must be > 0")
        return apply(Unsqueeze, input, axis=0)[:size]
    axis = canonical_dim(dimension, input._array.ndim)
    extent = input._array.shape[axis]
    if size > extent:
        raise ShapeError(
            f"maximum size for tensor at dimension {axis} is {extent} but size is {size}"
        )
    if step <= 0:
        raise ShapeError(f"step is {step} but must be > 0")
    return apply(Unfold, input, axis=axis, size=size, step=step)


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
    made._storage = storage
    made._base = input if input._base is None else input._base
    if mode.grad:
        made._view_version = storage.version
        if input.requires_grad:
            made._requires_grad = True
            made._grad_fn = record(TakeFlat, (input,), [], None, {"index": positions(made, input)})
    return made


@public(method=True)
def view_as_real(input: Tensor) -> Tensor:
    """A complex tensor as a real one whose last dimension holds real and imaginary part."""
    if input._array.dtype.kind != "c":
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return apply(ViewAsReal, input)


@public(method=True)
def view_as_complex(input: Tensor) -> Tensor:
    """A real tensor whose last dimension has size 2 as a complex one."""
    array = input._array
    if array.dtype == np.float16:
        raise MissingFeature("view_as_complex", "complex32 is not available; use float32")
    if array.dtype.kind != "f":
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, "
            f"but got a tensor of scalar type: {input.dtype.name}"
        )
    if array.ndim == 0:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if array.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    _even_strides(array)
    return apply(ViewAsComplex, input)


@public()
def real(input: Tensor) -> Tensor:
    """The real parts: a view of a complex tensor, a real one as it is."""
    return apply(RealPart, input) if input._array.dtype.kind == "c" else input


@public()
def imag(input: Tensor) -> Tensor:
    """The imaginary parts, a view. Raises: RuntimeError for real tensors."""
    if input._array.dtype.kind != "c":
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return apply(ImagPart, input)


@public()
def complex(real: Tensor, imag: Tensor, *, out: Tensor | None = None) -> Tensor:
    """real + 1j * imag from two float tensors of one dtype."""
    require_tensor("complex", "real", 1, real)
    require_tensor("complex", "imag", 2, imag)
    names = [dtypes.cpp_name(x.dtype) for x in (real, imag)]
    if any(x._array.dtype.kind != "f" for x in (real, imag)):
        raise RuntimeError(
            f"Expected both inputs to be Half, Float or Double tensors but got {names[0]} and "
            f"{names[1]}"
        )
    if names[0] == names[1] == "Half":
        raise MissingFeature("complex", "complex32 is not available; use float32")
    if names[0] != names[1]:
        raise RuntimeError(
            f"Expected object of scalar type {names[0]} but got scalar type {names[1]} for second "
            "argument"
        )
    made = apply(JoinComplex, real, imag)
    if out is None:
        return made
    if out.dtype is not made.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {dtypes.cpp_name(made.dtype)} but got scalar type "
            f"{dtypes.cpp_name(out.dtype)} for argument 'out'"
        )
    return write_out("complex", lambda *_: made, (real, imag), {}, out)


# ---------------------------------------------------------------- in place, on the metadata


def _restructure(target: Tensor, made: Tensor) -> Tensor:
    """Makes `target` be the view `made` of itself."""
    from taper.autograd.grad_mode import mode

    if mode.grad and target._requires_grad and target._grad_fn is None and target._base is None:
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )
    target._array = made._array
    target._storage = made._storage
    if made._requires_grad:
        target._grad_fn, target._output_nr = made._grad_fn, made._output_nr
        target._requires_grad = True
    return target


def _view_in_place(function: Any, name: str) -> None:
    def changed(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return _restructure(self, function(self, *args, **kwargs))

    changed.__name__ = name
    changed.__doc__ = f"{function.__name__} applied to the tensor itself."
    from taper.op import METHODS

    METHODS[name] = changed


for _function, _names in (
    (unsqueeze, "unsqueeze_"),
    (squeeze, "squeeze_"),
    (t, "t_"),
    (transpose, "transpose_ swapaxes_ swapdims_"),
    (as_strided, "as_strided_"),
):
    for _name in _names.split():
        _view_in_place(_function, _name)


def _transposed(self: Tensor) -> Tensor:
    """All dimensions in reverse order."""
    n = self._array.ndim
    return permute(self, *range(n)[::-1])


@public(method=True)
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged, and complex numbers conjugated."""
    if input._array.ndim == 1:
        raise RuntimeError(
            "tensor.adjoint() is only supported on matrices or batches of matrices. Got 1-D tensor."
        )
    return transpose(input, -2, -1).conj() if input._array.ndim else input.conj()


def _matrices_transposed(self: Tensor) -> Tensor:
    """The last two dimensions exchanged."""
    if self._array.ndim == 1:
        raise RuntimeError(
            "tensor.mT is only supported on matrices or batches of matrices. Got 1-D tensor."
        )
    if self._array.ndim == 0:
        return self
    return transpose(self, -2, -1)


def _conjugate_transposed(self: Tensor) -> Tensor:
    """A matrix transposed and conjugated."""
    if self._array.ndim not in (0, 2):
        raise RuntimeError(
            "tensor.H is only supported on matrices (2-D tensors). Got "
            f"{self._array.ndim}-D tensor."
        )
    return _transposed(self).conj() if self._array.ndim == 2 else self.conj()


def _set_part(name: str) -> Any:
    def setter(self: Tensor, value: Any) -> None:
        part = real(self) if name == "real" else imag(self)
        part.copy_(value if isinstance(value, Tensor) else wrap(np.asarray(value)))

    return setter


Tensor.T = property(_transposed)  # type: ignore[attr-defined]
Tensor.mT = property(_matrices_transposed)  # type: ignore[attr-defined]
Tensor.H = property(_conjugate_transposed)  # type: ignore[attr-defined]
Tensor.mH = property(  # type: ignore[attr-defined]
    lambda self: _matrices_transposed(self).conj(), doc="mT, conjugated."
)
Tensor.real = property(real, _set_part("real"))  # type: ignore[attr-defined]
Tensor.imag = property(imag, _set_part("imag"))  # type: ignore[attr-defined]


# ---------------------------------------------------------------- memory


@public(method=True, namespaces=())
def set_(
    input: Tensor, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None
) -> Tensor:
    """Makes the tensor look at other memory: a tensor's, or a storage's with sizes and strides."""
    if source is None:
        input._array = np.empty(0, input._array.dtype)
        input._storage = None
        return input
    if isinstance(source, Tensor) and size is None:
        input._array, input._storage = source._array, storage_of(source)
        return input
    storage = storage_of(source) if isinstance(source, Tensor) else source._storage
    memory = memory_of(storage.owner).view(np.uint8).view(input._array.dtype)
    shape = (memory.size - storage_offset,) if size is None else sizes_of((size,))
    item = memory.itemsize
    if stride is None:
        array = memory[storage_offset : storage_offset + int(np.prod(shape))].reshape(shape)
    else:
        array = np.lib.stride_tricks.as_strided(
            memory[storage_offset:], shape, [s * item for s in sizes_of((stride,))]
        )
    input._array, input._storage = array, storage
    return input


@public(method=True, namespaces=())
def resize_(input: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Changes the shape, keeping the elements in memory order; new ones are uninitialised."""
    if input.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    shape = sizes_of(sizes, "resize_")
    count = int(np.prod(shape))
    storage = storage_of(input)
    offset = input.storage_offset()
    memory = memory_of(storage.owner)
    if offset + count > memory.size:
        grown = np.empty(offset + count, memory.dtype)
        grown[: memory.size] = memory
        storage.owner = memory = grown
    input._array = memory[offset : offset + count].reshape(shape)
    return input


@public(method=True)
def resize_as_(input: Tensor, other: Tensor, memory_format: Any = None) -> Tensor:
    """resize_ to the shape of `other`."""
    return resize_(input, other._array.shape)
