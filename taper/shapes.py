"""Checks and arithmetic of dimensions and sizes, with PyTorch's error texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taper.errors import DimError, ShapeError


def canonical_dim(dim: Any, ndim: int, name: str | None = None) -> int:
    """`dim` counted from the front. A 0-d tensor takes -1 and 0.

    Raises: IndexError if out of range.
    """
    if type(dim) is not int:
        dim = _integer(dim, name)
    extent = ndim or 1
    if not -extent <= dim < extent:
        text = (
            f"Dimension out of range (expected to be in range of [{-extent}, {extent - 1}], "
            f"but got {dim})"
        )
        raise DimError(name, text) if name else DimError(text)
    return int(dim + extent) if dim < 0 else int(dim)


def _integer(value: Any, name: str | None) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name or 'op'}(): argument 'dim' must be int, not {type(value).__name__}")
    return int(value.__index__())


def canonical_dims(
    dim: Any, ndim: int, name: str | None = None, empty_is_all: bool = True
) -> tuple[int, ...]:
    """Dimensions as a sorted tuple; None (and an empty list, if so wanted) means all.

    Raises: IndexError if out of range, RuntimeError if one appears twice.
    """
    if type(dim) is int:  # the usual case; what follows takes as long as a small sum
        one = canonical_dim(dim, ndim, name)
        return (one,) if ndim else ()
    if dim is None or (
        empty_is_all and not isinstance(dim, int) and hasattr(dim, "__len__") and len(dim) == 0
    ):
        return tuple(range(ndim))
    if isinstance(dim, Iterable) and not hasattr(dim, "__index__"):
        dims = [canonical_dim(d, ndim, name) for d in dim]
        if len(set(dims)) != len(dims):
            repeated = next(d for d in dims if dims.count(d) > 1)
            raise ShapeError(
                name or "op", f"dim {repeated} appears multiple times in the list of dims"
            )
        return tuple(sorted(dims)) if ndim else ()
    one = canonical_dim(dim, ndim, name)
    return (one,) if ndim else ()


def sizes_of(args: tuple[Any, ...], name: str = "size") -> tuple[int, ...]:
    """Sizes given as f(2, 3), f((2, 3)) or f(Size)."""
    if len(args) == 1 and not hasattr(args[0], "__index__") and isinstance(args[0], Iterable):
        args = tuple(args[0])
    sizes = []
    for i, n in enumerate(args):
        if type(n) is int:
            sizes.append(n)
        elif hasattr(n, "__index__") and not isinstance(n, bool):
            sizes.append(int(n.__index__()))
        else:
            raise TypeError(
                f"{name}(): argument 'size' must be tuple of ints, but found element "
                f"of type {type(n).__name__} at pos {i}"
            )
    return tuple(sizes)


def sizes_for(tensor: Any, args: tuple[Any, ...], name: str) -> tuple[int, ...]:
    """Sizes, given as for `sizes_of`, of another shape of a tensor; one may be -1.

    Raises: RuntimeError if they do not fit, TypeError for sizes that are no integers.
    """
    if len(args) == 1 and isinstance(args[0], tuple):
        args = args[0]
    size = tensor._array.size
    known = 1
    for n in args:
        if type(n) is not int or n < 0:
            return infer_size(sizes_of(args, name), size)
        known *= n
    return args if known == size else infer_size(args, size)


def checked_sizes(args: tuple[Any, ...], name: str) -> tuple[int, ...]:
    """`sizes_of` that refuses negative sizes."""
    given = args[0] if len(args) == 1 and type(args[0]) is tuple else args
    for n in given:
        if type(n) is not int or n < 0:
            break
    else:  # the usual case
        return given
    sizes = sizes_of(args, name)
    for n in sizes:
        if n < 0:
            raise ShapeError(
                name, f"Trying to create tensor with negative dimension {n}: {list(sizes)}"
            )
    return sizes


def infer_size(sizes: tuple[int, ...], numel: int) -> tuple[int, ...]:
    """Sizes with a -1 replaced by what makes the number of elements right.

    Raises: RuntimeError if they do not fit.
    """
    known, unknown = 1, None
    for i, n in enumerate(sizes):
        if n == -1:
            if unknown is not None:
                raise ShapeError("only one dimension can be inferred")
            unknown = i
        elif n < 0:
            raise ShapeError(f"invalid shape dimension {n} at index {i} of shape {list(sizes)}")
        else:
            known *= n
    if unknown is None:
        if known != numel:
            raise ShapeError(f"shape '{list(sizes)}' is invalid for input of size {numel}")
        return sizes
    if known == 0:
        if numel == 0:
            raise ShapeError(
                f"cannot reshape tensor of 0 elements into shape {list(sizes)} "
                "because the unspecified dimension size -1 can be any value and is "
                "ambiguous"
            )
        raise ShapeError(f"shape '{list(sizes)}' is invalid for input of size {numel}")
    if numel % known:
        raise ShapeError(f"shape '{list(sizes)}' is invalid for input of size {numel}")
    return (*sizes[:unknown], numel // known, *sizes[unknown + 1 :])


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that all broadcast to. Raises: RuntimeError if they do not."""
    ndim = max((len(s) for s in shapes), default=0)
    result = [1] * ndim
    for shape in shapes:
        for back in range(1, len(shape) + 1):
            n = shape[-back]
            if n == 1:
                continue
            if n < 0:
                raise RuntimeError(f"Trying to create tensor with negative dimension ({n}): ({n})")
            if result[-back] == 1:
                result[-back] = n
            elif result[-back] != n:
                raise ShapeError(
                    "Shape mismatch: objects cannot be broadcast to a single shape: "
                    + ", ".join(str(list(s)) for s in shapes)
                )
    return tuple(result)
