"""Tensors put together: cat, stack and what is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import ShapeError
from taper.op import Opaque, op, public
from taper.ops.convert import cast
from taper.shapes import canonical_dim
from taper.tensor import Tensor


class _Cat(Opaque):
    """The tensors one after the other along a dimension."""

    node_name = "CatBackward0"
    saves = ("tensors.shape",)

    def forward(self, m: Any, *tensors: Any, axis: int) -> Any:
        made = m.concatenate(tensors, axis)
        # Row-major like PyTorch's, or with the channels last if all are so.
        if made.flags.c_contiguous or made.ndim in (4, 5):
            return made
        return np.ascontiguousarray(made)

    def vjp(self, m: Any, grad: Any, out: Any, *tensors: Any, axis: int, needs: Any) -> Any:
        parts, start = [], 0
        lead = (slice(None),) * axis
        for shape, needed in zip(tensors, needs, strict=True):
            stop = start + shape[axis]
            parts.append(grad[(*lead, slice(start, stop))] if needed else None)
            start = stop
        return tuple(parts)


@op
class Stack(Opaque):
    """The tensors along a new dimension."""

    built_in = "stack"
    plain = True
    node_name = "StackBackward0"

    def forward(self, m: Any, *tensors: Any, axis: int) -> Any:
        # Five times as fast for many small arrays, such as the samples of a batch.
        many = axis == 0 and len(tensors) > 64 and tensors[0].size < 8192
        return np.array(tensors) if many else m.stack(tensors, axis)

    def vjp(self, m: Any, grad: Any, out: Any, *tensors: Any, axis: int, needs: Any) -> Any:
        lead = (slice(None),) * axis
        return tuple(grad[(*lead, i)] if needed else None for i, needed in enumerate(needs))


@op
class Cat(_Cat):
    """The tensors one after the other along a dimension."""

    built_in = "concatenate"


@op
class CatRagged(_Cat):
    """The tensors one after the other, those of shape (0,) passed over."""

    name = "cat"

    def forward(self, m: Any, *tensors: Any, axis: int) -> Any:
        kept = [x for x in tensors if x.shape != (0,)]
        return super().forward(m, *kept, axis=axis)

    def vjp(self, m: Any, grad: Any, out: Any, *tensors: Any, axis: int, needs: Any) -> Any:
        kept = [shape != (0,) for shape in tensors]
        full = [shape for shape, keep in zip(tensors, kept, strict=True) if keep]
        asked = [need for need, keep in zip(needs, kept, strict=True) if keep]
        parts = iter(super().vjp(m, grad, out, *full, axis=axis, needs=asked))
        return tuple(next(parts) if keep else m.zeros((0,), grad.dtype) for keep in kept)


def listed(tensors: Any, name: str) -> list[Tensor]:
    """The tensors of a list or tuple. Raises: TypeError for anything else."""
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(
            f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not "
            f"{type(tensors).__name__}"
        )
    for each in tensors:
        if type(each) is not Tensor and not isinstance(each, Tensor):
            place = [x is each for x in tensors].index(True)
            raise TypeError(
                f"expected Tensor as element {place} in argument 0, but got {type(each).__name__}"
            )
    return list(tensors)


def promoted(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors in their common dtype."""
    first = tensors[0]._array.dtype
    if all(x._array.dtype == first for x in tensors):
        return tensors
    common = dtypes.of_operands([x._array for x in tensors])
    return [cast(x, common) for x in tensors]


def _fit(tensors: list[Tensor], axis: int) -> bool:
    """Whether they are of one dtype and, but for the dimension `axis`, of one shape."""
    first = tensors[0]._array
    shape, dtype = first.shape, first.dtype
    for x in tensors:
        array = x._array
        if array.dtype is not dtype:
            return False
        own = array.shape
        if own != shape and (
            len(own) != len(shape)
            or own[:axis] != shape[:axis]
            or own[axis + 1 :] != shape[axis + 1 :]
        ):
            return False
    return True


@public(out=True, aliases=("concat", "concatenate"))
def cat(tensors: Any, dim: int = 0) -> Tensor:
    """The tensors one after the other along `dim`; their other sizes must agree.

    Dtype: the tensors' common one.
    Edges: tensors of shape (0,) are passed over, whatever the shapes of the others.
    Raises: RuntimeError if the sizes do not fit or a tensor is 0-d.
    """
    found = listed(tensors, "cat")
    if not found:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    if found[0]._array.ndim:
        axis = canonical_dim(dim, found[0]._array.ndim)
        if _fit(found, axis):
            return apply(Cat, *found, axis=axis)
    for place, each in enumerate(found):
        if each._array.ndim == 0:
            raise ShapeError(
                f"zero-dimensional tensor (at position {place}) cannot be concatenated"
            )
    found = promoted(found)
    real = [x for x in found if x._array.shape != (0,)] or found[:1]
    shape = real[0]._array.shape
    axis = canonical_dim(dim, len(shape)) if shape != (0,) else 0
    for place, each in enumerate(found):
        other = each._array.shape
        if other == (0,):
            continue
        if len(other) != len(shape):
            raise ShapeError(
                f"Tensors must have same number of dimensions: got {len(shape)} and {len(other)}"
            )
        for d, (n, k) in enumerate(zip(shape, other, strict=True)):
            if n != k and d != axis:
                raise ShapeError(
                    f"Sizes of tensors must match except in dimension {axis}. "
                    f"Expected size {n} but got size {k} for tensor number {place} "
                    "in the list."
                )
    ragged = len(real) != len(found) and shape != (0,)
    return apply(CatRagged, *found, axis=axis) if ragged else apply(Cat, *found, axis=axis)


@public(out=True)
def stack(tensors: Any, dim: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new dimension `dim`.

    Raises: RuntimeError if the shapes differ.
    """
    found = listed(tensors, "stack")
    if not found:
        raise ShapeError("stack expects a non-empty TensorList")
    shape = found[0]._array.shape
    axis = canonical_dim(dim, len(shape) + 1)
    for place, each in enumerate(found):
        if each._array.shape != shape:
            raise ShapeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} "
                f"at entry 0 and {list(each._array.shape)} at entry {place}"
            )
    return apply(Stack, *promoted(found), axis=axis)


def _at_least(x: Tensor, ndim: int) -> Tensor:
    """A view with dimensions of size 1 added, where numpy's atleast functions add them."""
    own = x._array.ndim
    if own >= ndim:
        return x
    shape = x._array.shape
    if own == 0:
        return x.reshape((1,) * ndim)
    if ndim == 2:
        return x.unsqueeze(0)
    return x.reshape((1, *shape, 1) if own == 1 else (*shape, 1))


def _each_at_least(ndim: int, tensors: tuple[Any, ...]) -> Any:
    if len(tensors) == 1:
        if isinstance(tensors[0], Tensor):
            return _at_least(tensors[0], ndim)
        tensors = tuple(tensors[0])
    return tuple(_at_least(x, ndim) for x in tensors)


@public()
def atleast_1d(*tensors: Any) -> Any:
    """0-d tensors as 1-d ones; others as they are. A tuple for several tensors."""
    return _each_at_least(1, tensors)


@public()
def atleast_2d(*tensors: Any) -> Any:
    """Tensors with leading dimensions of size 1 added up to two. A tuple for several tensors."""
    return _each_at_least(2, tensors)


@public()
def atleast_3d(*tensors: Any) -> Any:
    """Tensors with dimensions of size 1 added up to three. A tuple for several tensors."""
    return _each_at_least(3, tensors)


def _nonempty(tensors: Any, name: str) -> list[Tensor]:
    found = listed(tensors, name)
    if not found:
        raise ShapeError(f"{name} expects a non-empty TensorList")
    return found


@public(out=True)
def hstack(tensors: Any) -> Tensor:
    """Tensors beside each other: along dimension 1, or 0 if they have only one."""
    found = [_at_least(x, 1) for x in _nonempty(tensors, "hstack")]
    return cat(found, 0 if found[0]._array.ndim == 1 else 1)


@public(out=True, aliases=("row_stack",))
def vstack(tensors: Any) -> Tensor:
    """Tensors on top of each other: along dimension 0, vectors being rows."""
    return cat([_at_least(x, 2) for x in _nonempty(tensors, "vstack")], 0)


@public(out=True)
def dstack(tensors: Any) -> Tensor:
    """Tensors behind each other: along dimension 2."""
    return cat([_at_least(x, 3) for x in _nonempty(tensors, "dstack")], 2)


@public(out=True)
def column_stack(tensors: Any) -> Tensor:
    """Tensors beside each other, numbers and vectors being columns."""
    columns = [
        x.reshape(x._array.size, 1) if x._array.ndim <= 1 else x
        for x in _nonempty(tensors, "column_stack")
    ]
    return hstack(columns)


@public()
def block_diag(*tensors: Tensor) -> Tensor:
    """Matrices along the diagonal of a matrix of zeros; numbers and vectors count as rows."""
    from taper.ops.create import zeros

    for each in tensors:
        if each._array.ndim > 2:
            raise ShapeError(
                "torch.block_diag: Input tensors must have 2 or fewer dimensions. "
                f"Input {tensors.index(each)} has {each._array.ndim} dimensions"
            )
    blocks = promoted([_at_least(x, 2) for x in tensors]) if tensors else []
    if not blocks:
        return zeros(1, 0)
    width = sum(b._array.shape[1] for b in blocks)
    rows, before = [], 0
    for block in blocks:
        height, own = block._array.shape
        left = zeros(height, before, dtype=block.dtype)
        right = zeros(height, width - before - own, dtype=block.dtype)
        rows.append(cat([left, block, right], 1))
        before += own
    return cat(rows, 0)


@public()
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """Coordinates of a grid: view k has the values of tensor k along dimension k.

    `indexing` "xy" exchanges the first two dimensions, as numpy's default does.
    Raises: RuntimeError for tensors with more than one dimension or of unequal dtypes.
    """
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if not tensors:
        raise ShapeError("meshgrid expects a non-empty TensorList")
    if indexing is None:
        import warnings

        warnings.warn(
            "torch.meshgrid: in an upcoming release, it will be required to pass the "
            "indexing argument.",
            UserWarning,
            stacklevel=2,
        )
        indexing = "ij"
    if indexing not in ("ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    for each in tensors:
        if each._array.dtype != tensors[0]._array.dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
        if each._array.ndim > 1:
            raise ShapeError(
                "torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: "
                f"{list(each._array.shape)}"
            )
    swap = indexing == "xy" and len(tensors) >= 2
    order = [tensors[1], tensors[0], *tensors[2:]] if swap else list(tensors)
    shape = tuple(x._array.size for x in order)
    grids = []
    for k, each in enumerate(order):
        place = [1] * len(order)
        place[k] = shape[k]
        grids.append(each.reshape(place).expand(shape))
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@public()
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """All tuples of one element of each vector, as rows; of a single vector, the vector."""
    for each in tensors:
        if each._array.ndim != 1:
            raise ShapeError(f"Expect a 1D vector, but got shape {list(each._array.shape)}")
    if len(tensors) == 1:
        return tensors[0]
    grids = meshgrid(*tensors, indexing="ij")
    return stack([g.reshape(-1) for g in grids], 1)


@public()
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of `r` elements of a vector, as rows, in the order of their positions."""
    if input._array.ndim != 1:
        raise ShapeError(f"Expect a 1D vector, but got shape {list(input._array.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        from taper.ops.create import empty

        return empty(0, dtype=input.dtype)
    import itertools

    from taper.tensor import wrap

    choose: Any = (
        itertools.combinations_with_replacement if with_replacement else itertools.combinations
    )
    rows = np.array(list(choose(range(input._array.size), r)), np.int64).reshape(-1, r)
    return input[wrap(rows)]
