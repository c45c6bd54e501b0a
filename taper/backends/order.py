"""Sorting with positions: the stable order along an axis, and the first few of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from taper.backends.windows import widened

Array = np.ndarray

# Elements of a row, and as multiple of what is wanted, from which the row is looked through first.
_LEAST, _MANY = 256, 16


def order(x: Array, axis: int, descending: bool = False) -> Array:
    """Positions that sort along the axis, equal elements in their order. nan is the largest."""
    if x.dtype.kind == "V":  # numpy's order of bfloat16 does not know nan
        x = widened(x)
    if not descending:
        return x.argsort(axis=axis, kind="stable")
    # Sorting the reversed array upward and reversing its order keeps equal elements in order.
    last = x.shape[axis] - 1
    reverse = np.flip(x, axis).argsort(axis=axis, kind="stable")
    return last - np.flip(reverse, axis)


def first_in_order(x: Array, k: int, axis: int, descending: bool) -> Array:
    """The first k positions of the order."""
    return first_of(x, k, axis, descending, order)


def first_of(x: Array, k: int, axis: int, descending: bool, order: Callable[..., Array]) -> Array:
    """The first k positions of an order.

    Of a row with many more elements than are wanted, only those are sorted that are not beyond the
    k-th extreme of the row's blocks: there are k at least, and seldom many more.
    """
    if x.dtype.kind == "V":
        x = widened(x)
    count = x.shape[axis]
    if not 0 < k * _MANY <= count or count < _LEAST or x.size == 0 or x.dtype.kind not in "fiu":
        made = order(x, axis, descending)[(slice(None),) * axis + (slice(0, k),)]
        return np.ascontiguousarray(made)
    rows = np.ascontiguousarray(np.moveaxis(x, axis, -1))
    flat = rows.reshape(-1, count)
    row, column = np.divmod(np.flatnonzero(_not_beyond(flat, k, descending)), count)
    chosen = order(flat[row, column], 0, descending)
    chosen = chosen[row[chosen].argsort(kind="stable")]  # by rows, in their order within
    begins = np.searchsorted(row, np.arange(len(flat)))
    made = column[chosen[begins[:, None] + np.arange(k)]]
    return np.ascontiguousarray(np.moveaxis(made.reshape(*rows.shape[:-1], k), -1, axis))


def _not_beyond(rows: Array, k: int, descending: bool) -> Array:
    """Where the first k elements of every row's order, and perhaps some more, are."""
    count = rows.shape[1]
    size = min(64, count // (2 * k))
    # A block is what stands at the same place of `size` stretches, as numpy folds that faster.
    blocks = rows[:, : count // size * size].reshape(len(rows), size, -1)
    if descending:  # nan is in the extremes, and comes last in the partition
        extremes = blocks.max(1)
        place = extremes.shape[1] - k
        return ~(rows < np.partition(extremes, place, 1)[:, place, None])
    extremes = np.fmin.reduce(blocks, 1)
    return ~(rows > np.partition(extremes, k - 1, 1)[:, k - 1, None])
