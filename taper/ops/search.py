"""Distinct elements and positions: unique, unique_consecutive, unravel_index, nonzero_static.

Finding places in sorted sequences (searchsorted, bucketize) is in histogram.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import backends
from taper.op import public
from taper.ops.arguments import refuse, widened
from taper.shapes import canonical_dim, sizes_of
from taper.tensor import Tensor, wrap

# ---------------------------------------------------------------- distinct elements


def _results(
    values: np.ndarray,
    inverse: np.ndarray,
    counts: np.ndarray,
    return_inverse: bool,
    return_counts: bool,
) -> Any:
    found = [wrap(values)]
    if return_inverse:
        found.append(wrap(inverse.astype(np.int64, copy=False)))
    if return_counts:
        found.append(wrap(counts.astype(np.int64, copy=False)))
    return tuple(found) if len(found) > 1 else found[0]


def _slices(name: str, array: np.ndarray, dim: int) -> tuple[np.ndarray, int]:
    """The slices of a dimension as rows, and the dimension."""
    axis = canonical_dim(dim, array.ndim)
    if array.ndim == 0:
        return array.reshape(1, 1), 0
    if array.shape[axis] == 0:
        if array.size == 0 and sum(n == 0 for n in array.shape) > 1:
            raise RuntimeError(
                f"{name}: There are 0 sized dimensions, and they aren't selected, so unique "
                "cannot be applied"
            )
        return np.moveaxis(array, axis, 0).reshape(0, 1), axis
    if array.size == 0:
        raise RuntimeError(
            "There are 0 sized dimensions, and they aren't selected, so unique cannot be applied"
        )
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1), axis


def _same_as_before(rows: np.ndarray) -> np.ndarray:
    """For every row but the first, whether it equals the one before; nan equals nothing."""
    return (rows[1:] == rows[:-1]).all(1)


def _grouped(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(first row, number, size) of each run of equal rows; the number is given for every row."""
    begins = np.ones(len(rows), bool)
    begins[1:] = ~_same_as_before(rows)
    first = np.flatnonzero(begins)
    return first, np.cumsum(begins) - 1, np.diff(np.append(first, len(rows)))


@public(method=True)
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements, or distinct slices of `dim`, in ascending order.

    With `return_inverse` also the place of each input element among them, with `return_counts`
    how often each occurs. They come sorted whether `sorted` is set or not. Every nan is distinct.
    Raises: RuntimeError for slices without elements, NotImplementedError for complex numbers.
    """
    array = input._array
    refuse(input, "c", "unique")
    if dim is None:
        flat = array.reshape(-1)
        order = backends.math().order(flat, 0)
        first, number, counts = _grouped(flat[order].reshape(-1, 1))
        inverse = np.empty(flat.size, np.int64)
        inverse[order] = number
        return _results(
            flat[order[first]], inverse.reshape(array.shape), counts, return_inverse, return_counts
        )
    rows, axis = _slices("unique", array, dim)
    # lexsort's last key counts most.
    order = np.lexsort(widened(rows).T[::-1]) if rows.size else np.arange(len(rows))
    first, number, counts = _grouped(rows[order])
    inverse = np.empty(len(rows), np.int64)
    inverse[order] = number
    values = np.take(array, order[first], axis) if array.ndim else array.reshape(1)
    return _results(values, inverse, counts, return_inverse, return_counts)


@public(method=True)
def unique_consecutive(
    input: Tensor,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The elements, or slices of `dim`, that differ from the one before.

    With `return_inverse` also the place of each input element among them, with `return_counts`
    the lengths of the runs.
    """
    array = input._array
    refuse(input, "c", "unique")
    if dim is None:
        flat = array.reshape(-1)
        first, number, counts = _grouped(flat.reshape(-1, 1))
        return _results(
            flat[first], number.reshape(array.shape), counts, return_inverse, return_counts
        )
    rows, axis = _slices("unique_consecutive", array, dim)
    first, number, counts = _grouped(rows)
    values = np.take(array, first, axis) if array.ndim else array.reshape(1)
    return _results(values, number, counts, return_inverse, return_counts)


# ---------------------------------------------------------------- positions


@public(method=True, out=True)
def nonzero_static(input: Tensor, *, size: int, fill_value: int = -1) -> Tensor:
    """The first `size` rows of nonzero; missing ones are filled with `fill_value`."""
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    array = input._array
    found = np.stack(np.atleast_1d(array).nonzero(), -1)[:size]
    made = np.full((size, array.ndim), fill_value, np.int64)
    made[: len(found)] = found[:, : array.ndim]
    return wrap(made)


@public()
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The coordinates, in a tensor of `shape`, of flat positions: one tensor for each dimension.

    Raises: ValueError for floating or negative positions or positions outside the shape.
    """
    array = indices._array
    if array.dtype.kind not in "iu":
        raise ValueError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    extents = sizes_of((shape,), "unravel_index")
    if any(n < 0 for n in extents):
        raise ValueError(f"'shape' cannot have negative values, but got {tuple(extents)}")
    count = int(np.prod(extents))
    made, rest = [], array.astype(np.int64)
    for n in reversed(extents):
        rest, place = np.divmod(rest, max(n, 1))
        made.append(wrap(np.asarray(place)))
    if array.size and (array.min() < 0 or array.max() >= count):
        bad = array.reshape(-1)[((array < 0) | (array >= count)).reshape(-1)][0]
        raise ValueError(f"index {int(bad)} is out of bounds for a tensor of {count} elements")
    return tuple(made[::-1])
