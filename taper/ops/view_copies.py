"""Copies of views (permute_copy and its kin), and copies with a view written over: select_scatter.

A `name_copy` gives what `name` gives in memory of its own. The scatters give a copy of the whole
in which one view is replaced; they are the differentiable form of writing into a view.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply, write_out
from taper.errors import DimError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.complex_parts import view_as_complex, view_as_real
from taper.ops.convert import cast, detach
from taper.ops.parts import as_strided, diagonal, narrow, select, split, unbind, unfold
from taper.ops.view import expand, permute, squeeze, t, transpose, unsqueeze, view
from taper.ops.view_ops import Diagonal, Slice, diagonal_of
from taper.shapes import canonical_dim, sizes_of
from taper.tensor import Tensor

# ---------------------------------------------------------------- copies


@public(out=True)
def alias_copy(input: Tensor) -> Tensor:
    """A copy of the tensor."""
    return input.clone()


@public(out=True)
def as_strided_copy(
    input: Tensor, size: Any, stride: Any, storage_offset: int | None = None
) -> Tensor:
    """A copy of as_strided."""
    return as_strided(input, size, stride, storage_offset).clone()


@public(out=True)
def detach_copy(input: Tensor) -> Tensor:
    """A copy that is off the tape."""
    return detach(input).clone()


@public(out=True)
def diagonal_copy(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of diagonal."""
    return diagonal(input, offset, dim1, dim2).clone()


@public(out=True)
def expand_copy(input: Tensor, size: Any, *, implicit: bool = False) -> Tensor:
    """A copy of expand, with memory for every element."""
    return expand(input, size).contiguous()


@public(out=True, method=True)
def narrow_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A copy of narrow."""
    if length < 0 and input._array.ndim:
        extent = input._array.shape[canonical_dim(dim, input._array.ndim)]
        raise ShapeError(f"start ({start}) + length ({length}) exceeds dimension size ({extent}).")
    return narrow(input, dim, start, length).clone()


@public(out=True)
def permute_copy(input: Tensor, dims: Any) -> Tensor:
    """A copy of permute."""
    return permute(input, dims).clone()


@public(out=True)
def select_copy(input: Tensor, dim: int, index: int) -> Tensor:
    """A copy of select."""
    return select(input, dim, index).clone()


@public(out=True)
def slice_copy(
    input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy of input[start:end:step] along `dim`."""
    return apply(Slice, input, key=_slice_key(input, dim, start, end, step)).clone()


def _copied(views: tuple[Tensor, ...], out: Any, name: str) -> tuple[Tensor, ...] | None:
    """Copies of the views; None, as in PyTorch, where they are written into `out`."""
    if out is None:
        return tuple(x.clone() for x in views)
    write_out(name, lambda: views, (), {}, out)
    return None


@public()
def split_copy(input: Tensor, split_size: int, dim: int = 0, *, out: Any = None) -> Any:
    """Copies of split. Returns: None if they are written into the tensors `out`."""
    return _copied(split(input, split_size, dim), out, "split_copy")


@public()
def split_with_sizes_copy(input: Tensor, split_sizes: Any, dim: int = 0, *, out: Any = None) -> Any:
    """Copies of split_with_sizes. Returns: None if they are written into the tensors `out`."""
    return _copied(split(input, sizes_of((split_sizes,)), dim), out, "split_with_sizes_copy")


@public(out=True)
def squeeze_copy(input: Tensor, dim: Any = None) -> Tensor:
    """A copy of squeeze."""
    return squeeze(input, dim).clone()


@public(out=True)
def t_copy(input: Tensor) -> Tensor:
    """A copy of t."""
    return t(input).clone()


@public(out=True)
def transpose_copy(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A copy of transpose."""
    return transpose(input, dim0, dim1).clone()


@public()
def unbind_copy(input: Tensor, dim: int = 0, *, out: Any = None) -> Any:
    """Copies of unbind. Returns: None if they are written into the tensors `out`."""
    return _copied(unbind(input, dim), out, "unbind_copy")


@public(out=True)
def unfold_copy(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """A copy of unfold."""
    return unfold(input, dimension, size, step).contiguous()


@public(out=True)
def unsqueeze_copy(input: Tensor, dim: int) -> Tensor:
    """A copy of unsqueeze."""
    return unsqueeze(input, dim).clone()


@public(out=True)
def view_copy(input: Tensor, size: Any = None, dtype: dtypes.dtype | None = None) -> Tensor:
    """A copy of view."""
    if dtype is None and isinstance(size, dtypes.dtype):
        dtype = size
    return (view(input, dtype=dtype) if dtype is not None else view(input, size)).clone()


@public(out=True)
def view_as_real_copy(input: Tensor) -> Tensor:
    """A copy of view_as_real."""
    return view_as_real(input).clone()


@public(out=True)
def view_as_complex_copy(input: Tensor) -> Tensor:
    """A copy of view_as_complex."""
    return view_as_complex(input).clone()


# ---------------------------------------------------------------- a view replaced


class _Replacing(Opaque):
    """`input` with `src` at a basic index."""

    saves = ("src.shape",)

    def forward(self, m: Any, input: Any, src: Any, *, key: tuple[Any, ...]) -> Any:
        made = input.copy("K")
        made[(*key, ...)] = src
        return made

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, src: Any, *, key: Any, needs: Any
    ) -> Any:
        rest = None
        if needs[0]:
            rest = m.call(SliceScatter, grad, m.zeros(src, grad.dtype), key=key)
        return rest, grad[(*key, ...)]


@op
class SliceScatter(_Replacing):
    """`input` with `src` in place of a slice."""

    name = "slice_scatter"
    node_name = "SliceScatterBackward0"


@op
class SelectScatter(_Replacing):
    """`input` with `src` in place of one index of a dimension."""

    name = "select_scatter"
    node_name = "SelectScatterBackward0"


@op
class DiagonalScatter(Opaque):
    """`input` with `src` on a diagonal."""

    name = "diagonal_scatter"
    node_name = "DiagonalScatterBackward0"
    saves = ("src.shape",)

    def forward(self, m: Any, input: Any, src: Any, *, offset: int, axis1: int, axis2: int) -> Any:
        made = np.array(input)
        diagonal_of(made, offset, axis1, axis2)[...] = src
        return made

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        src: Any,
        *,
        offset: int,
        axis1: int,
        axis2: int,
        needs: Any,
    ) -> Any:
        place = {"offset": offset, "axis1": axis1, "axis2": axis2}
        rest = None
        if needs[0]:
            rest = m.call(DiagonalScatter, grad, m.zeros(src, grad.dtype), **place)
        return rest, m.call(Diagonal, grad, **place)


def _check_source(src: Tensor, shape: tuple[int, ...]) -> None:
    """Raises: RuntimeError unless the source has the shape of what it replaces."""
    if src._array.shape != shape:
        raise ShapeError(
            "expected src to have a size equal to the slice of self. src size = "
            f"{list(src._array.shape)}, slice size = {list(shape)}"
        )


def _slice_key(
    input: Tensor, dim: int, start: int | None, end: int | None, step: int
) -> tuple[Any, ...]:
    """The basic index of a slice of one dimension."""
    if input._array.ndim == 0:
        raise DimError("slice() cannot be applied to a 0-dim tensor.")
    axis = canonical_dim(dim, input._array.ndim)
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    return (slice(None),) * axis + (slice(start, end, step),)


@public(method=True)
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of `input` with `src` at one index of dimension `dim`."""
    _check_source(src, select(input, dim, index)._array.shape)
    axis = canonical_dim(dim, input._array.ndim)
    at = index % input._array.shape[axis]
    return apply(SelectScatter, input, cast(src, input.dtype), key=(slice(None),) * axis + (at,))


@public(method=True, out=True)
def slice_scatter(
    input: Tensor,
    src: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    """A copy of `input` with `src` in place of input[start:end:step] along `dim`."""
    key = _slice_key(input, dim, start, end, step)
    _check_source(src, input._array[key].shape)
    return apply(SliceScatter, input, cast(src, input.dtype), key=key)


@public(method=True)
def diagonal_scatter(
    input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """A copy of `input` with `src` on a diagonal of two dimensions."""
    _check_source(src, diagonal(input, offset, dim1, dim2)._array.shape)
    ndim = input._array.ndim
    return apply(
        DiagonalScatter,
        input,
        cast(src, input.dtype),
        offset=offset,
        axis1=canonical_dim(dim1, ndim),
        axis2=canonical_dim(dim2, ndim),
    )


@public(method=True)
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Any, stride: Any, storage_offset: int | None = None
) -> Tensor:
    """A copy of `input` with `src` written where as_strided looks."""
    made = input.clone()
    part = as_strided(made, size, stride, storage_offset)
    _check_source(src, part._array.shape)
    part.copy_(src)
    return made
