"""Elements in another order or number: flip, roll, repeat, tril, diag."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DimError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.view_ops import EmbedDiagonal
from taper.shapes import canonical_dim, canonical_dims, sizes_of
from taper.tensor import Tensor, wrap


@op
class Flip(Opaque):
    """The given dimensions backwards."""

    node_name = "FlipBackward0"

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...]) -> Any:
        return np.flip(input, axis).copy()

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: tuple[int, ...]) -> Any:
        return m.call(Flip, grad, axis=axis)


@op
class Roll(Opaque):
    """Elements moved along dimensions; what leaves at the end comes in at the beginning."""

    plain = True
    node_name = "RollBackward0"

    def forward(self, m: Any, input: Any, *, shifts: tuple[int, ...], axis: Any) -> Any:
        return np.roll(input, shifts if axis is not None else shifts[0], axis)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, shifts: Any, axis: Any) -> Any:
        return m.call(Roll, grad, shifts=tuple(-s for s in shifts), axis=axis)


@op
class Repeat(Opaque):
    """The tensor several times along each dimension; `times` has one count per dimension."""

    node_name = "RepeatBackward0"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, times: tuple[int, ...]) -> Any:
        return np.tile(input, times)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, times: tuple[int, ...]) -> Any:
        if 0 in times:
            return m.zeros(input, grad.dtype)
        shape = (1,) * (len(times) - len(input)) + input
        apart = tuple(n for pair in zip(times, shape, strict=True) for n in pair)
        folded = m.sum(m.reshape(grad, apart), axis=tuple(range(0, len(apart), 2)))
        return m.reshape(folded, input)


def _triangle_mask(shape: tuple[int, ...], diagonal: int) -> np.ndarray:
    """True on and below the diagonal of the last two dimensions."""
    return np.tri(shape[-2], shape[-1], diagonal, dtype=bool)


def _where_true(m: Any, mask: np.ndarray, x: np.ndarray) -> Any:
    """x, but zero where the mask is false."""
    return m.evaluate(_chosen, mask, x, np.zeros((), x.dtype))


def _chosen(m: Any, mask: Any, x: Any, y: Any) -> Any:
    return m.where(mask, x, y)


@op
class Tril(Opaque):
    """Zero above a diagonal."""

    plain = True
    node_name = "TrilBackward0"

    def forward(self, m: Any, input: Any, *, diagonal: int) -> Any:
        return _where_true(m, _triangle_mask(input.shape, diagonal), input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, diagonal: int) -> Any:
        return m.call(Tril, grad, diagonal=diagonal)


@op
class Triu(Opaque):
    """Zero below a diagonal."""

    plain = True
    node_name = "TriuBackward0"

    def forward(self, m: Any, input: Any, *, diagonal: int) -> Any:
        return _where_true(m, ~_triangle_mask(input.shape, diagonal - 1), input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, diagonal: int) -> Any:
        return m.call(Triu, grad, diagonal=diagonal)


# ---------------------------------------------------------------- flip and roll


@public(method=True)
def flip(input: Tensor, *axes: Any, dims: Any = None) -> Tensor:
    """A copy with the elements along each of `dims` in reverse order."""
    axis = canonical_dims(
        sizes_of(axes if dims is None else (dims,), "flip"), input._array.ndim, empty_is_all=False
    )
    return apply(Flip, input, axis=axis)


@public(method=True)
def fliplr(input: Tensor) -> Tensor:
    """A copy with the columns in reverse order."""
    if input._array.ndim < 2:
        raise ShapeError("Input must be >= 2-d.")
    return apply(Flip, input, axis=(1,))


@public(method=True)
def flipud(input: Tensor) -> Tensor:
    """A copy with the rows in reverse order."""
    if input._array.ndim < 1:
        raise ShapeError("Input must be >= 1-d.")
    return apply(Flip, input, axis=(0,))


@public(method=True)
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """The plane of two dimensions turned `k` times by 90 degrees, from the first to the second."""
    plane = sizes_of((dims,), "rot90")
    ndim = input._array.ndim
    if len(plane) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(plane)}")
    if ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {ndim}")
    if plane[0] == plane[1] or abs(plane[0] - plane[1]) == ndim:
        raise RuntimeError(
            "expected rotation dims to be different, but got dim0 = "
            f"{plane[0]} and dim1 = {plane[1]}"
        )
    if not -ndim <= plane[0] < ndim:
        raise RuntimeError(f"Rotation dim0 out of range, dim0 = {plane[0]}")
    one, other = (canonical_dim(d, ndim) for d in plane)
    turns = k % 4
    if turns == 1:
        return apply(Flip, input, axis=(other,)).transpose(one, other)
    if turns == 2:
        return apply(Flip, input, axis=tuple(sorted((one, other))))
    if turns == 3:
        return apply(Flip, input, axis=(one,)).transpose(one, other)
    return input.clone()


@public(method=True)
def roll(input: Tensor, shifts: Any, dims: Any = ()) -> Tensor:
    """Elements moved by `shifts` along `dims`, around the end; without `dims`, as one vector."""
    steps = sizes_of((shifts,), "roll")
    along = sizes_of((dims,), "roll")
    if not steps:
        raise RuntimeError("`shifts` required")
    if not along and len(steps) == 1:
        return apply(Roll, input, shifts=steps, axis=None)
    if len(steps) != len(along):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(steps)}, dims:{len(along)}"
        )
    axis = tuple(canonical_dim(d, input._array.ndim) for d in along)
    if not input._array.ndim:
        raise DimError("Dimension specified as 0 but tensor has no dimensions")
    return apply(Roll, input, shifts=steps, axis=axis)


# ---------------------------------------------------------------- repeat


@public(method=True, namespaces=())
def repeat(input: Tensor, *counts: Any, repeats: Any = None) -> Tensor:
    """The tensor several times along each dimension; extra counts make new leading dimensions.

    Raises: RuntimeError for fewer counts than dimensions.
    """
    times = sizes_of(counts if repeats is None else (repeats,), "repeat")
    shape = input._array.shape
    if len(times) < len(shape):
        raise ShapeError(
            "Number of dimensions of repeat dims can not be smaller than number of "
            "dimensions of tensor"
        )
    padded = (1,) * (len(times) - len(shape)) + shape
    made = [n * t for n, t in zip(padded, times, strict=True)]
    for n, t in zip(made, times, strict=True):
        if t < 0:
            raise ShapeError(f"Trying to create tensor with negative dimension {n}: {made}")
    return apply(Repeat, input, times=times)


@public(method=True)
def tile(input: Tensor, *counts: Any, dims: Any = None) -> Tensor:
    """repeat, with counts of 1 for leading dimensions that are not named."""
    times = sizes_of(counts if dims is None else (dims,), "tile")
    return repeat(input, (1,) * (input._array.ndim - len(times)) + times)


def _check_repeats(counts: np.ndarray, dtype: dtypes.dtype) -> None:
    if counts.ndim > 1:
        raise ShapeError("repeats must be 0-dim or 1-dim tensor")
    if counts.dtype not in (np.int64, np.int32):
        raise NotImplementedError(
            f"\"repeat_interleave_cpu\" not implemented for '{dtypes.cpp_name(dtype)}'"
        )
    if counts.size and counts.min() < 0:
        raise RuntimeError("repeats can not be negative")


@public(method=True)
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element (or each slice of `dim`) repeated, the copies beside each other.

    `repeats` is a count, or a tensor with one count per slice. Called with counts alone, gives the
    positions: position i as often as count i says.
    Raises: RuntimeError for negative counts or if their number does not fit.
    """
    if repeats is None:
        counts = input._array
        _check_repeats(counts, input.dtype)
        if counts.ndim != 1:
            raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
        _check_output_size(output_size, counts)
        return wrap(np.repeat(np.arange(counts.size), counts).astype(counts.dtype))
    if dim is None:
        input, dim = input.reshape(-1), 0
    elif input._array.ndim == 0:
        canonical_dim(dim, 0)
        input, dim = input.reshape(1), 0
    axis = canonical_dim(dim, input._array.ndim)
    extent = input._array.shape[axis]
    if not isinstance(repeats, Tensor):
        if isinstance(repeats, (list, tuple)):
            repeats = wrap(np.array(repeats, np.int64))
        else:
            if repeats < 0:
                raise RuntimeError("Repeats must be non-negative")
            return _beside(input, axis, int(repeats))
    counts = repeats._array
    _check_repeats(counts, repeats.dtype)
    if counts.size == 1:
        return _beside(input, axis, int(counts.reshape(())))
    if counts.size != extent:
        raise ShapeError(
            "repeats must have the same size as input along dim, but got "
            f"repeats.size(0) = {counts.size} and input.size({axis}) = {extent}"
        )
    _check_output_size(output_size, counts)
    places = wrap(np.repeat(np.arange(extent), counts))
    return input.index_select(axis, places)


def _check_output_size(wanted: int | None, counts: np.ndarray) -> None:
    if wanted is not None and wanted != counts.sum():
        raise RuntimeError("allocated size does not match required size")


def _beside(input: Tensor, axis: int, times: int) -> Tensor:
    """Every slice of the axis `times` times."""
    shape = input._array.shape
    apart = input.unsqueeze(axis + 1).expand(*shape[: axis + 1], times, *shape[axis + 1 :])
    return apart.clone().reshape((*shape[:axis], shape[axis] * times, *shape[axis + 1 :]))


# ---------------------------------------------------------------- triangles and diagonals


@public(method=True, inplace=True, out=True)
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The matrix (or batch) with zeros above the given diagonal."""
    if input._array.ndim < 2:
        raise ShapeError("tril: input tensor must have at least 2 dimensions")
    return apply(Tril, input, diagonal=int(diagonal))


@public(method=True, inplace=True, out=True)
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The matrix (or batch) with zeros below the given diagonal."""
    if input._array.ndim < 2:
        raise ShapeError("triu: input tensor must have at least 2 dimensions")
    return apply(Triu, input, diagonal=int(diagonal))


def _triangle(
    name: str,
    places: Any,
    row: int,
    col: int,
    offset: int,
    dtype: dtypes.dtype | None,
    device: Any,
    layout: Any,
) -> Tensor:
    from taper.ops.from_data import finish

    if row < 0:
        raise RuntimeError(f"row must be non-negative, got{row}")
    if col < 0:
        raise RuntimeError(f"col must be non-negative, got{col}")
    chosen = dtypes.int64 if dtype is None else dtype
    if chosen not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"\"{name}\" not implemented for '{dtypes.cpp_name(chosen)}'")
    return finish(np.stack(places(row, offset, col)).astype(chosen.numpy), False, device, layout)


@public()
def tril_indices(
    row: int,
    col: int,
    offset: int = 0,
    *,
    dtype: dtypes.dtype | None = None,
    device: Any = None,
    layout: Any = None,
) -> Tensor:
    """Rows and columns of the elements on and below a diagonal, as two rows of a matrix."""
    return _triangle("tril_indices", np.tril_indices, row, col, offset, dtype, device, layout)


@public()
def triu_indices(
    row: int,
    col: int,
    offset: int = 0,
    *,
    dtype: dtypes.dtype | None = None,
    device: Any = None,
    layout: Any = None,
) -> Tensor:
    """Rows and columns of the elements on and above a diagonal, as two rows of a matrix."""
    return _triangle("triu_indices", np.triu_indices, row, col, offset, dtype, device, layout)


@public(method=True, out=True)
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A vector as the diagonal of a matrix of zeros; of a matrix, a copy of its diagonal."""
    ndim = input._array.ndim
    if ndim not in (1, 2):
        raise ShapeError(f"diag(): Supports 1D or 2D tensors. Got {ndim}D")
    return diag_embed(input, diagonal) if ndim == 1 else input.diagonal(diagonal).clone()


@public(method=True)
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The last dimension as a diagonal of matrices of zeros, in dimensions dim1 and dim2."""
    shape = input._array.shape
    ndim = len(shape) + 1
    one, other = canonical_dim(dim1, ndim), canonical_dim(dim2, ndim)
    if one == other:
        raise ShapeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    canonical_dim(-1, len(shape))
    side = shape[-1] + abs(offset) if shape else 1 + abs(offset)
    whole = list(shape[:-1])
    for d in sorted((one, other)):
        whole.insert(d, side)
    return apply(EmbedDiagonal, input, shape=tuple(whole), offset=offset, axis1=one, axis2=other)


@public(method=True)
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The flattened elements as the diagonal of a matrix of zeros."""
    return diag_embed(input.contiguous().reshape(-1), offset)
