"""The gamma function and its kin, on arrays: in float64, rounded once to the dtype of the input.

The tables are expansions of our own, computed with 40 digits. The incomplete gamma functions are in
incomplete_gamma.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.backends.series import horner, wide

# lgamma(1 + t) / t and lgamma(2 + t) / t as polynomials in t, for |t| <= 0.5.
_LGAMMA1 = (
    -0.5772156649015329,
    0.8224670334241132,
    -0.40068563438653065,
    0.27058080842778026,
    -0.20738555102889636,
    0.16955717699821546,
    -0.14404989674293042,
    0.12550966945361255,
    -0.11133426744819344,
    0.10009946106870661,
    -0.09095395937948512,
    0.08335372852716888,
    -0.07693389168797567,
    0.07143531456613504,
    -0.06664634848826916,
    0.06246601996645537,
    -0.05907935115771443,
    0.055923603007143954,
    -0.05055361916461507,
    0.047207949581154034,
    -0.05967209611450288,
    0.06069988251670486,
    0.005627198134008818,
    -0.017221996443625896,
    -0.17545100195447957,
    0.1933124209110138,
    0.19662943603137412,
    -0.21990054046608104,
    -0.24134519253805736,
    0.25001640963788685,
)
_LGAMMA2 = (
    0.42278433509846713,
    0.3224670334241132,
    -0.0673523010531981,
    0.020580808427784546,
    -0.007385551028673986,
    0.0028905103307415234,
    -0.001192753911703261,
    0.0005096695247430425,
    -0.00022315475845357955,
    9.945751278180871e-05,
    -4.492623673812719e-05,
    2.0507212775665196e-05,
    -9.43948827541201e-06,
    4.374866790025289e-06,
    -2.0392157514280476e-06,
    9.55141211273503e-07,
    -4.4924694753656405e-07,
    2.1207186705104188e-07,
    -1.0043201738686813e-07,
    4.769795371608921e-08,
    -2.2712478388950626e-08,
    1.0839494892933035e-08,
    -5.177579304093259e-09,
    2.4802952625621582e-09,
    -1.2094954898714983e-09,
    5.826336879903397e-10,
)

_LOG_SQRT_2PI = 0.9189385332046727


def _stirling(x: np.ndarray) -> np.ndarray:
    """lgamma(x) for x >= 8, by Stirling's series."""
    inverse = 1 / x
    square = inverse * inverse
    # B(2n) / (2n (2n - 1))
    series = horner(square, (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360,
                             1 / 156, -3617 / 122400))  # fmt: skip
    return (x - 0.5) * np.log(x) - x + _LOG_SQRT_2PI + series * inverse


def _positive_lgamma(x: np.ndarray) -> np.ndarray:
    """lgamma(x) for x > 0."""
    large = _stirling(np.maximum(x, 8.0))
    # Down to [1.5, 2.5) by gamma(x) = (x - 1) gamma(x - 1), and below 0.5 up by the same.
    middle = np.clip(x, 5e-324, 8.0)
    factor = np.ones_like(middle)
    for _ in range(6):
        above = middle >= 2.5
        middle = np.where(above, middle - 1, middle)
        factor = np.where(above, factor * middle, factor)
    low = middle < 0.5
    reduced = np.where(low, middle + 1, middle)
    near_one = reduced < 1.5
    t = np.where(near_one, reduced - 1, reduced - 2)
    value = t * np.where(near_one, horner(t, _LGAMMA1), horner(t, _LGAMMA2))
    value = value + np.log(factor) - np.where(low, np.log(middle), 0.0)
    return np.where(x >= 8, large, value)


@wide
def lgamma(x: np.ndarray) -> np.ndarray:
    """Logarithm of the absolute value of the gamma function; infinite at 0, -1, -2 ..."""
    positive = _positive_lgamma(np.where(x > 0, x, 1.0))
    negative = x <= 0
    if negative.any():
        # Reflection: |gamma(x) gamma(1 - x)| = pi / |sin(pi x)|.
        sine = np.abs(np.sin(np.pi * (x - np.round(x))))
        mirrored = np.log(np.pi / sine) - _positive_lgamma(np.where(negative, 1 - x, 1.0))
        positive = np.where(negative, mirrored, positive)
        positive = np.where(negative & (x == np.floor(x)), np.inf, positive)
    positive = np.where(np.isinf(x), np.inf, positive)
    return np.where(np.isnan(x), np.nan, positive)


def lgamma_from_one(t: np.ndarray) -> np.ndarray:
    """lgamma(1 + t) for t > -0.5, exact near 0, where 1 + t would lose the digits of t."""
    near = np.abs(t) <= 0.5
    return np.where(near, t * horner(np.where(near, t, 0.0), _LGAMMA1), lgamma(1 + t))


@wide
def digamma(x: np.ndarray) -> np.ndarray:
    """Derivative of lgamma; nan at -1, -2 ..., and minus infinity at 0 (plus at -0.0)."""
    reflected = x < 0
    y = np.where(reflected, 1 - x, x)
    y = np.where(y > 0, y, 1.0)
    shift = np.zeros_like(y)
    for _ in range(10):  # up to where the asymptotic series holds
        low = y < 10
        shift = np.where(low, shift - 1 / y, shift)
        y = np.where(low, y + 1, y)
    inverse = 1 / y
    square = inverse * inverse
    series = horner(square, (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12))
    value = shift + np.log(y) - inverse / 2 - square * series
    if reflected.any():
        fraction = x - np.round(x)
        mirrored = value - np.pi / np.tan(np.pi * fraction)
        value = np.where(reflected, np.where(fraction == 0, np.nan, mirrored), value)
    value = np.where(x == 0, np.copysign(np.inf, -x), value)
    return np.where(np.isnan(x) | (x == -np.inf), np.nan, value)


# B(2n) / (2n)!, the coefficients of the Euler-Maclaurin formula
_EULER_MACLAURIN = (
    1 / 12,
    -1 / 720,
    1 / 30240,
    -1 / 1209600,
    1 / 47900160,
    -691 / 1307674368000,
    1 / 74724249600,
    -3617 / 10670622842880000,
    43867 / 5109094217170944000,
    -174611 / 802857662698291200000,
    77683 / 14101100039391805440000,
    -236364091 / 1693824136731743669452800000,
)
_SUMMED = 10  # terms summed one by one before it


def _positive_zeta(s: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The sum of (q + k) ** -s over k >= 0, for s > 1 and q > 0."""
    total = np.zeros_like(q)
    for k in range(_SUMMED):
        total += (q + k) ** -s
    end = q + _SUMMED
    term = end**-s
    total += term * (end / (s - 1) + 0.5)
    rising = s
    term = term / end
    for j, coefficient in enumerate(_EULER_MACLAURIN):
        total += coefficient * rising * term
        rising = rising * (s + 2 * j + 1) * (s + 2 * j + 2)
        term = term / (end * end)
    return total


@wide
def zeta(s: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Hurwitz's zeta function, the sum of (q + k) ** -s over k = 0, 1, 2 ...

    Edges: infinite at s = 1 and at q = 0, -1, -2 ...; nan below s = 1, and where q is negative and
    s no integer.
    """
    usual = (s > 1) & (q > 0)
    made = np.full_like(s, np.nan)
    made[usual] = _positive_zeta(s[usual], q[usual])
    made[usual & np.isinf(q)] = 0.0
    steep = usual & (s > 1e4)  # the first term is all there is
    made[steep] = q[steep] ** -s[steep]
    # At q <= 0 the first terms are those of negative numbers, whose powers exist for integer s.
    below = (s > 1) & (q < 0) & (s == np.floor(s)) & (q != np.floor(q)) & np.isfinite(s)
    if below.any():
        made[below] = _zeta_below_zero(s[below], q[below])
    made = np.where((s > 1) & (q <= 0) & (q == np.floor(q)), np.inf, made)
    return np.where((s == 1) & ~np.isnan(q), np.inf, made)


def _zeta_below_zero(s: np.ndarray, q: np.ndarray) -> np.ndarray:
    """zeta for integers s > 1 and q < 0, no integer: the terms up to the first positive one."""
    total = np.zeros_like(q)
    number = q.copy()
    open_ = number < 0
    while open_.any():
        term = np.where(open_, number, 1.0) ** -s
        total = np.where(open_, total + term, total)
        number = np.where(open_, number + 1, number)
        open_ = number < 0
    return total + _positive_zeta(s, number)


@wide
def trigamma(x: np.ndarray) -> np.ndarray:
    """Derivative of digamma; infinite at 0, -1, -2 ..."""
    below = x < 0.5
    y = np.where(below, 1 - x, x)
    value = _positive_zeta(np.full_like(y, 2.0), np.where(np.isfinite(y), y, 1.0))
    value = np.where(y == np.inf, 0.0, value)
    sine = np.sin(np.pi * (x - np.round(x)))
    reflected = np.where(x == -np.inf, np.nan, (np.pi / sine) ** 2 - value)
    return np.where(np.isnan(x), np.nan, np.where(below, reflected, value))


def polygamma(x: Any, n: int) -> Any:
    """The derivative of order n of digamma."""
    if n == 0:
        return digamma(x)
    if n == 1:
        return trigamma(x)
    made = _wide_polygamma(x, np.float64(n))
    return made.astype(x.dtype)


@wide
def _wide_polygamma(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    sign = np.where(n % 2 == 1, 1.0, -1.0)
    return sign * np.exp(lgamma(n + 1)) * zeta(n + 1, x)
