"""The incomplete gamma functions, on arrays: in float64, rounded once to the dtype of the input.

Three ways, each where the others are slow or lose digits: the power series below x = a, the
continued fraction above, and Temme's uniform expansion around x = a where a is large. Source: NIST
Digital Library of Mathematical Functions, 8.7.1, 8.9.2 and 8.12.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numpy as np

from taper.backends.error_function import erfc
from taper.backends.gamma import lgamma, lgamma_from_one
from taper.backends.series import horner, wide

_EPSILON = 2.0**-53
_PATIENCE = 2000  # steps of the continued fraction; 200 are usual near its end
_LARGE = 40.0  # from this a on, Temme's expansion converges where |x - a| < 0.35 a
_NEAR = 0.35
_ORDERS = 16  # of the expansion in 1 / a
_POWERS = 30  # of each coefficient, a series in eta

# B(2n) / (2n (2n - 1))
_STIRLING = (
    Fraction(1, 12),
    Fraction(-1, 360),
    Fraction(1, 1260),
    Fraction(-1, 1680),
    Fraction(1, 1188),
    Fraction(-691, 360360),
    Fraction(1, 156),
    Fraction(-3617, 122400),
    Fraction(43867, 244188),
)


def _log1p_minus(t: np.ndarray) -> np.ndarray:
    """log(1 + t) - t for |t| < 0.5, without the cancellation."""
    u = t / (2 + t)  # log(1 + t) = 2 artanh(u), and 2 u - t = -t u
    square = u * u
    series = horner(square, tuple(2 / (2 * k + 3) for k in range(16)))
    return u * square * series - t * u


def _share(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """x ** a exp(-x) / gamma(a + 1), for finite a > 0 and x > 0."""
    small = np.minimum(a, 10.0)
    direct = np.exp(small * np.log(x) - x - lgamma(small + 1))
    large = np.maximum(a, 10.0)
    gap = (x - large) / large
    near = np.abs(gap) < _NEAR
    exponent = np.where(near, _log1p_minus(np.where(near, gap, 0.0)), np.log(x / large) - gap)
    inverse = 1 / large
    correction = inverse * horner(inverse * inverse, tuple(float(c) for c in _STIRLING))
    scaled = np.exp(large * exponent - correction) / np.sqrt(2 * np.pi * large)
    return np.where(a < 10, direct, scaled)


def _series(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The lower function, as a power series in x."""
    term = np.ones_like(x)
    total = np.ones_like(x)
    k = a.copy()
    while True:
        k += 1
        term = term * (x / k)
        total += term
        if not (term > _EPSILON * total).any():
            return total * _share(a, x)


def _fraction(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The upper function, as a continued fraction, by Lentz's method."""
    tiny = 1e-300
    b = x + 1 - a
    c = np.full_like(x, 1 / tiny)
    d = 1 / np.where(b == 0, tiny, b)
    made = d
    i = 0
    while True:
        i += 1
        numerator = i * (a - i)
        b = b + 2
        d = numerator * d + b
        d = 1 / np.where(np.abs(d) < tiny, tiny, d)
        c = b + numerator / c
        c = np.where(np.abs(c) < tiny, tiny, c)
        step = d * c
        made = made * step
        if not (np.abs(step - 1) > 4 * _EPSILON).any() or i == _PATIENCE:
            return made * a * _share(a, x)


def _small_upper(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The upper function for x < 1.1 and small a, where 1 less the lower one would cancel.

    It is 1 - x**a / gamma(a + 1) - x**a / gamma(a) sum over k >= 1 of (-x)**k / (k! (a + k)).
    """
    term = np.ones_like(x)
    total = np.zeros_like(x)
    for k in range(1, 30):
        term = term * (-x / k)
        total += term / (a + k)
    exponent = a * np.log(x) - lgamma_from_one(a)
    return -np.expm1(exponent) - a * np.exp(exponent) * total


@cache
def _uniform_coefficients() -> tuple[tuple[float, ...], ...]:
    """Of eta ** n / a ** k in Temme's expansion, by the recurrences of DLMF 8.12."""
    count = _POWERS + 2 * _ORDERS + 2
    alpha = [Fraction(0), Fraction(1)]
    for n in range(2, count + 3):
        products = sum(j * alpha[j] * alpha[n - j + 1] for j in range(2, n))
        alpha.append((alpha[n - 1] - products) / (n + 1))
    # Of 1 / a ** k in gamma(a) over its leading term: the exponential of Stirling's series.
    gamma = [Fraction(1)]
    for k in range(1, _ORDERS):
        total = Fraction(0)
        for j in range(1, (k + 1) // 2 + 1):
            total += (2 * j - 1) * _STIRLING[j - 1] * gamma[k - 2 * j + 1]
        gamma.append(total / k)
    rows = [[Fraction(-1, 3), *((n + 2) * alpha[n + 2] for n in range(1, count + 1))]]
    for k in range(1, _ORDERS):
        above = rows[-1]
        sign = -1 if k % 2 else 1
        rows.append(
            [sign * gamma[k] * rows[0][n] + (n + 2) * above[n + 2] for n in range(len(above) - 2)]
        )
    return tuple(tuple(float(c) for c in row[:_POWERS]) for row in rows)


def _uniform(a: np.ndarray, x: np.ndarray, upper: bool) -> np.ndarray:
    """Temme's expansion, for large a and x near it."""
    gap = (x - a) / a
    eta = np.copysign(np.sqrt(-2 * _log1p_minus(gap)), gap)
    inverse = 1 / a
    total = np.zeros_like(a)
    for row in _uniform_coefficients()[::-1]:
        total = total * inverse + horner(eta, row)
    rest = np.exp(-0.5 * a * eta * eta) / np.sqrt(2 * np.pi * a) * total
    sign = 1 if upper else -1
    return 0.5 * erfc(sign * eta * np.sqrt(a / 2)) + sign * rest


def _incomplete(a: np.ndarray, x: np.ndarray, upper: bool) -> np.ndarray:
    made = np.full_like(x, np.nan)

    def fill(where: np.ndarray, value: float) -> None:
        made[where] = value

    valid = (a >= 0) & (x >= 0)
    usual = valid & (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    near = usual & (a >= _LARGE) & (np.abs(x - a) < _NEAR * a)
    made[near] = _uniform(a[near], x[near], upper)
    rest = usual & ~near
    # The power series where x is below a, or small; for the upper function of small numbers its
    # own series, because it would be the difference of nearly equal ones.
    small = rest & (x <= 1.1) & (a < 1) if upper else np.zeros_like(rest)
    made[small] = _small_upper(a[small], x[small])
    low = rest & ~small & ((x < a) | (x <= 1))
    made[low] = _series(a[low], x[low])
    high = rest & ~small & ~low
    made[high] = _fraction(a[high], x[high])
    swapped = low if upper else high
    made[swapped] = 1 - made[swapped]
    # The ends: all of the mass is above x = 0, and at a = 0 all of it is at zero.
    zero, one = (1.0, 0.0) if upper else (0.0, 1.0)
    fill(valid & (a > 0) & (x == 0), zero)
    fill(valid & (a == 0) & (x > 0), one)
    fill(valid & np.isinf(a) & np.isfinite(x), zero)
    fill(valid & np.isfinite(a) & np.isinf(x), one)
    return made


@wide
def igamma(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The lower incomplete gamma function over gamma(a): from 0 at x = 0 to 1."""
    return _incomplete(a, x, upper=False)


@wide
def igammac(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The upper incomplete gamma function over gamma(a): 1 - igamma, without cancellation."""
    return _incomplete(a, x, upper=True)
