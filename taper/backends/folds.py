"""Folds that numpy has no name for: sums of squares, and of squared distances from a centre."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray


def squares(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """Sum of x * x over the axes, of real numbers."""
    return np.asarray(np.sum(x * x, axis, keepdims=keepdims))


def spread(x: Array, centres: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """Sum of |x - centre| ** 2 over the axes; the centres have these with size 1."""
    gap = x - centres
    square = gap.real * gap.real + gap.imag * gap.imag if gap.dtype.kind == "c" else gap * gap
    return np.asarray(np.sum(square, axis, keepdims=keepdims))
