"""What the special functions are made of: rounding, polynomials, Chebyshev series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_BLOCK = 1 << 14  # elements at a time, so that the intermediate arrays stay in the cache


def wide(function: Callable[..., np.ndarray]) -> Callable[..., Any]:
    """The function of float64 arrays, for every real dtype: rounded once to the input's.

    The function gets vectors of one length, new ones that it may use up, and masks work on them.
    """

    def rounded(*inputs: Any) -> Any:
        own = next((x.dtype for x in inputs if isinstance(x, np.ndarray)), np.dtype(np.float64))
        arrays = [np.asarray(x) for x in inputs]
        if len(arrays) > 1:
            arrays = list(np.broadcast_arrays(*arrays))
        shape = arrays[0].shape
        vectors = [a.reshape(-1) for a in arrays]
        made = np.empty(vectors[0].shape, own if own.kind in "fV" else np.float64)
        for start in range(0, made.size, _BLOCK):
            part = slice(start, start + _BLOCK)
            made[part] = function(*[v[part].astype(np.float64) for v in vectors])
        return made.reshape(shape)

    rounded.__name__ = rounded.__qualname__ = function.__name__
    rounded.__doc__ = function.__doc__
    rounded.__wrapped__ = function  # type: ignore[attr-defined]
    return rounded


def horner(x: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    """The polynomial with these coefficients, lowest first."""
    total = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total *= x
        total += c
    return total


def chebyshev(x: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    """The Chebyshev series with these coefficients, by Clenshaw's recurrence."""
    twice = 2 * x
    one, two = np.zeros_like(x), np.zeros_like(x)
    for c in coefficients[:0:-1]:
        one, two = twice * one - two + c, one
    return x * one - two + coefficients[0]
