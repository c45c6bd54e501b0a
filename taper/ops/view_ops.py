"""The ops that give views: other shapes, orders, slices and diagonals of the same memory.

Beside each stands its adjoint, which puts a gradient back into place. The public functions are in
view.py, parts.py and complex_parts.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.errors import ShapeError
from taper.op import View, op

# ---------------------------------------------------------------- shape and order


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
        # np.broadcast_to protects its result; tensors guard expanded memory themselves.
        extra = len(shape) - input.ndim
        strides = [0] * extra
        for stride, extent, wanted in zip(input.strides, input.shape, shape[extra:], strict=True):
            strides.append(0 if wanted != extent else stride)
        return np.lib.stride_tricks.as_strided(input, shape, strides)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, shape: tuple[int, ...]) -> Any:
        return m.sum_to(grad, input)


@op
class Unsqueeze(View):
    """A new dimension of size 1."""

    node_name = "UnsqueezeBackward0"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, axis: int) -> Any:
        return input[(slice(None),) * axis + (None,)]

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
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        *,
        offset: int,
        axis1: int,
        axis2: int,
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
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        *,
        axis: int,
        size: int,
        step: int,
    ) -> Any:
        return m.call(FoldWindows, grad, shape=input, axis=axis, size=size, step=step)


@op
class FoldWindows(View):
    """Sums overlapping windows back into place: the adjoint of Unfold."""

    view = False

    def forward(self, m: Any, source: Any, *, shape: Any, axis: int, size: int, step: int) -> Any:
        # A place is in `deep` windows at most. In rows of `step` elements, the k-th row of every
        # window is added at once, each to the row after the one of the window before it.
        count, length = source.shape[axis], shape[axis]
        deep = -(-size // step)
        rows = max(count + deep - 1, -(-length // step))
        made = np.zeros((*shape[:axis], rows, step, *shape[axis + 1 :]), source.dtype)
        lead = (slice(None),) * axis
        windows = np.moveaxis(source, -1, axis + 1)
        for k in range(deep):
            width = min(step, size - k * step)
            part = windows[(*lead, slice(None), slice(k * step, k * step + width))]
            made[(*lead, slice(k, k + count), slice(width))] += part
        made = made.reshape(*shape[:axis], rows * step, *shape[axis + 1 :])
        return np.ascontiguousarray(made[(*lead, slice(length))])

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
