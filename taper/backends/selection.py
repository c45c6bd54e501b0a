"""Selecting elements of arrays by masks, without branches."""

from __future__ import annotations

from typing import Any

import numpy as np

# Selecting by random booleans costs up to ten times as much as arithmetic does, in mispredicted
# branches; bit masks have no branches. A product with the booleans would make nan of inf.


def _bits(mask: np.ndarray, dtype: Any) -> Any:
    """All bits set where the mask is true, none elsewhere."""
    return np.negative(mask.view(np.int8), dtype=dtype)


def kept(x: np.ndarray, mask: Any) -> Any:
    """x where the mask, shaped as x, is true, else 0."""
    if x.ndim == 0:
        return np.where(mask, x, x.dtype.type(0))
    bits = x.view(f"i{x.dtype.itemsize}")
    made = _bits(mask, bits.dtype)
    return np.bitwise_and(bits, made, out=made).view(x.dtype)


def either(mask: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """x where the mask is true, else y; all of one shape, x and y of one dtype."""
    if x.ndim == 0:
        return np.where(mask, x, y)
    first, second = (a.view(f"i{x.dtype.itemsize}") for a in (x, y))
    made = np.bitwise_xor(first, second)
    made &= _bits(mask, made.dtype)
    made ^= second
    return made.view(x.dtype)
