"""Running sums, products and extremes on arrays: `running_sum` and its like, of `m`.

A running sum meets every partial sum again, so it is carried in a wider dtype: float32 for the half
types, float64 for float32. One addition comes after the other, in the order of the dimension.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray

# By numpy's characters: float16, bfloat16, float32, complex64.
_CARRIED: dict[str, Any] = {"e": np.float32, "E": np.float32, "f": np.float64, "F": np.complex128}


def _running(ufunc: np.ufunc, x: Array, axis: int, reverse: bool) -> Array:
    if reverse:
        x = np.flip(x, axis)
    made = ufunc.accumulate(x, axis, dtype=_CARRIED.get(x.dtype.char, x.dtype))
    made = made.astype(x.dtype, copy=False)
    return np.flip(made, axis) if reverse else made


def running_sum(x: Array, axis: int, reverse: bool = False) -> Array:
    """Sums of all elements up to each along an axis; from the end if `reverse`."""
    return _running(np.add, x, axis, reverse)


def running_product(x: Array, axis: int, reverse: bool = False) -> Array:
    """Products of all elements up to each along an axis; from the end if `reverse`."""
    return _running(np.multiply, x, axis, reverse)


def running_extreme(x: Array, axis: int, largest: bool) -> tuple[Array, Array]:
    """The largest (or smallest) so far along an axis and its place; the last of equal ones.

    A nan stays to the end; a later nan takes over its place.
    """
    values = (np.maximum if largest else np.minimum).accumulate(x, axis)
    place = [1] * x.ndim
    place[axis] = -1
    reached = (x == values) | np.isnan(x)
    places = np.where(reached, np.arange(x.shape[axis]).reshape(place), 0)
    return values, np.maximum.accumulate(places, axis)
