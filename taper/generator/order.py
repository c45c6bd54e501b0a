"""The order in which a fill visits the elements of an array: that of memory, where it is dense."""

from __future__ import annotations

from typing import Any

import numpy as np


def dimensions(array: np.ndarray) -> list[int]:
    """The dimensions from the slowest to the fastest running.

    An insertion sort by stride that starts from row-major order; a stride of 0 says nothing, and
    of two equal strides the larger extent runs slower.
    """
    shape, strides = array.shape, array.strides

    def outside(one: int, other: int) -> int:
        """1 if `one` must run slower than `other`, -1 if faster, 0 if either will do."""
        first, second = strides[one], strides[other]
        if first == 0 or second == 0:
            return 0
        if first != second:
            return -1 if first < second else 1
        return 1 if shape[one] > shape[other] else 0

    order = list(range(array.ndim))[::-1]
    for place in range(1, array.ndim):
        held = place
        for before in range(place - 1, -1, -1):
            verdict = outside(order[before], order[held])
            if verdict > 0:
                order[before], order[held] = order[held], order[before]
                held = before
            elif verdict < 0:
                break
    return order[::-1]


def lay(array: np.ndarray, values: np.ndarray) -> None:
    """Writes values, drawn one after the other, into the array in its order."""
    if array.flags.c_contiguous:
        array.reshape(-1)[...] = values
    else:
        ordered = array.transpose(dimensions(array))
        ordered[...] = values.reshape(ordered.shape)


def shaped_like(array: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Flat values as a dense array of `array`'s shape whose memory order is `array`'s."""
    if array.flags.c_contiguous:
        return values.reshape(array.shape)
    order = dimensions(array)
    dense = values.reshape([array.shape[d] for d in order])
    back: Any = [0] * array.ndim
    for place, dim in enumerate(order):
        back[dim] = place
    return dense.transpose(back)
