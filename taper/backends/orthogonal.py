"""Orthogonal polynomials of variable degree, on arrays: in float64, rounded once.

Degrees are truncated to integers; below zero the polynomial is 0. The recurrence runs over all
elements until the largest degree and keeps each element's value at its own. Inside of [-1, 1]
Chebyshev's polynomials of higher degrees are cosines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends.series import wide

Step = Callable[[int, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _recurrence(x: np.ndarray, n: np.ndarray, first: np.ndarray, step: Step) -> np.ndarray:
    """The polynomial of degree n from those of degrees 0 (which is 1) and 1, and the step up."""
    below, value = np.ones_like(x), first
    made = np.where(n == 0, 1.0, np.where(n >= 1, first, 0.0))
    highest = int(n.max(initial=0.0))
    for k in range(1, highest):
        below, value = value, step(k, x, value, below)
        made = np.where(n == k + 1, value, made)
        if k % 64 == 0 and np.isnan(value).all():  # overflow: it stays nan
            made = np.where(n > k, np.nan, made)
            break
    return np.where(np.isnan(n), 0.0, made)


def _doubled(k: int, x: np.ndarray, value: np.ndarray, below: np.ndarray) -> np.ndarray:
    return (x + x) * value - below


def _chebyshev(
    x: np.ndarray, n: np.ndarray, first: np.ndarray, closed: np.ndarray, ends: np.ndarray, low: int
) -> np.ndarray:
    """By the closed form inside (-1, 1) above degree `low`, `ends` at -1 and 1, else by steps."""
    at_end = np.abs(x) == 1
    inside = (np.abs(x) < 1) & (n > low)
    stepwise = _recurrence(x, np.where(at_end | inside, 0.0, n), first, _doubled)
    made = np.where(at_end, ends, np.where(inside, closed, stepwise))
    return np.where(n < 0, 0.0, made)


def _alternating(n: np.ndarray) -> np.ndarray:
    return np.where(n % 2 == 0, 1.0, -1.0)


def _angle(x: np.ndarray) -> np.ndarray:
    return np.arccos(np.clip(x, -1.0, 1.0))


def _t(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    ends = np.where(x > 0, 1.0, _alternating(n))
    return _chebyshev(x, n, x, np.cos(n * _angle(x)), ends, 6)


def _u(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    angle = _angle(x)
    ends = (n + 1) * np.where(x > 0, 1.0, _alternating(n))
    return _chebyshev(x, n, x + x, np.sin((n + 1) * angle) / np.sin(angle), ends, 8)


def _v(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    angle = _angle(x)
    ends = np.where(x > 0, 1.0, (n + n + 1) * _alternating(n))
    return _chebyshev(x, n, x + x - 1, np.cos((n + 0.5) * angle) / np.cos(angle / 2), ends, 8)


def _w(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    angle = _angle(x)
    ends = np.where(x > 0, n + n + 1, _alternating(n))
    return _chebyshev(x, n, x + x + 1, np.sin((n + 0.5) * angle) / np.sin(angle / 2), ends, 8)


def _hermite_h(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    def step(k: int, x: np.ndarray, value: np.ndarray, below: np.ndarray) -> np.ndarray:
        return (x + x) * value - 2 * k * below

    return _recurrence(x, n, x + x, step)


def _hermite_he(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    def step(k: int, x: np.ndarray, value: np.ndarray, below: np.ndarray) -> np.ndarray:
        return x * value - k * below

    return _recurrence(x, n, x, step)


def _laguerre(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    def step(k: int, x: np.ndarray, value: np.ndarray, below: np.ndarray) -> np.ndarray:
        return ((k + k + 1 - x) * value - k * below) / (k + 1)

    return np.where((x == 0) & (n >= 0), 1.0, _recurrence(x, n, 1 - x, step))


def _legendre(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    def step(k: int, x: np.ndarray, value: np.ndarray, below: np.ndarray) -> np.ndarray:
        return ((k + k + 1) * x * value - k * below) / (k + 1)

    ends = np.where(x > 0, 1.0, _alternating(n))
    return np.where((np.abs(x) == 1) & (n >= 0), ends, _recurrence(x, n, x, step))


def _of_degree(
    polynomial: Callable[[np.ndarray, np.ndarray], np.ndarray],
    shifted: bool = False,
    limits: tuple[int, int] | None = None,
) -> Callable[..., Any]:
    """The function of (x, n) for every dtype. `limits`, in float32 and float64, are the degrees
    above which Hermite's polynomials are nan.
    """

    @wide
    def rounded(x: np.ndarray, n: np.ndarray) -> np.ndarray:
        return polynomial(2 * x - 1 if shifted else x, np.trunc(n))

    if limits is None:
        return rounded

    def limited(x: Any, n: Any) -> Any:
        made = rounded(x, n)
        limit = limits[1] if made.dtype == np.float64 else limits[0]
        return np.where(np.asarray(n) > limit, made.dtype.type(np.nan), made)

    return limited


chebyshev_polynomial_t = _of_degree(_t)
chebyshev_polynomial_u = _of_degree(_u)
chebyshev_polynomial_v = _of_degree(_v)
chebyshev_polynomial_w = _of_degree(_w)
shifted_chebyshev_polynomial_t = _of_degree(_t, shifted=True)
shifted_chebyshev_polynomial_u = _of_degree(_u, shifted=True)
shifted_chebyshev_polynomial_v = _of_degree(_v, shifted=True)
shifted_chebyshev_polynomial_w = _of_degree(_w, shifted=True)
hermite_polynomial_h = _of_degree(_hermite_h, limits=(128, 512))
hermite_polynomial_he = _of_degree(_hermite_he, limits=(128, 512))
laguerre_polynomial_l = _of_degree(_laguerre)
legendre_polynomial_p = _of_degree(_legendre)
