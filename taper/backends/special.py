"""Special functions that numpy lacks, on arrays: `m.erf(x)` in a formula arrives here.

Everything is computed in float64 and rounded once to the dtype of the input, so a float32 result is
within half an ulp and a little, and a float64 one within a few ulp, as tests/special measures. The
tables are expansions of our own, computed with 40 digits; the comment above each says of what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# erf(x) / x as a polynomial in x**2, for |x| <= 1.
_ERF = (
    1.1283791670955126,
    -0.37612638903183754,
    0.1128379167095512,
    -0.026866170645129854,
    0.005223977625423455,
    -0.0008548327021945428,
    0.00012055332903350668,
    -1.4925647581008593e-05,
    1.6462045711013026e-06,
    -1.6364645854816389e-07,
    1.479243542696247e-08,
    -1.2164764337224506e-09,
    8.709755232851789e-11,
    -4.2320376764874594e-12,
)

# (1 + 2x) exp(x**2) erfc(x) as a Chebyshev series in (x - 3.75) / (x + 3.75), for x >= 0.
# Source of the form: Shepherd and Laframboise, Mathematics of Computation 36 (1981).
_ERFCX = (
    1.1775789345674017,
    -0.004590054580646478,
    -0.08424913336651792,
    0.05920993999819189,
    -0.026658668435305753,
    0.009074997670705265,
    -0.002413163540417608,
    0.0004907758365258086,
    -6.916973302501207e-05,
    4.13902798607301e-06,
    7.74038306619849e-07,
    -2.1886401049234397e-07,
    1.076499946567091e-08,
    4.521959811218287e-09,
    -7.754400208831351e-10,
    -6.318088340886684e-11,
    2.86879501093067e-11,
    1.9455868545777347e-13,
    -9.65469674843344e-13,
    3.25254814814874e-14,
    3.3478119482868056e-14,
    -1.864562880419313e-15,
    -1.2507950530688648e-15,
    7.418235256624044e-17,
    5.068148904796111e-17,
    -2.2370566594359995e-18,
    -2.187342944303018e-18,
    2.6766327399258762e-20,
)

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
_TWO_OVER_SQRT_PI = 1.1283791670955126


def wide(function: Callable[..., np.ndarray]) -> Callable[..., Any]:
    """The function of float64 arrays, for every real dtype: rounded once to the input's."""

    def rounded(*inputs: Any) -> Any:
        arrays = [np.asarray(x) for x in inputs]
        shape = arrays[0].shape
        own = np.result_type(*arrays) if len(arrays) > 1 else arrays[0].dtype
        result = function(*[np.atleast_1d(a.astype(np.float64)) for a in arrays])
        if len(arrays) == 1:
            result = result.reshape(shape)
        return result if own == np.float64 or own.kind not in "fV" else result.astype(own)

    rounded.__name__ = function.__name__
    rounded.__doc__ = function.__doc__
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


def _scaled_erfc(x: np.ndarray) -> np.ndarray:
    """exp(x**2) erfc(x) for x >= 0."""
    t = np.where(np.isinf(x), 1.0, (x - 3.75) / (x + 3.75))
    return chebyshev(t, _ERFCX) / (1 + 2 * x)


def _exp_minus_square(x: np.ndarray) -> np.ndarray:
    """exp(-x**2), with the rounding of the square put right: it would grow with x."""
    # 2**27 + 1 splits off the upper 26 bits, whose square is exact.
    shifted = np.minimum(x, 1e8) * 134217729.0
    upper = shifted - (shifted - np.minimum(x, 1e8))
    lower = np.minimum(x, 1e8) - upper
    return np.exp(-upper * upper) * np.exp(-lower * (upper + np.minimum(x, 1e8)))


@wide
def erf(x: np.ndarray) -> np.ndarray:
    """2/sqrt(pi) times the integral of exp(-t**2) from 0 to x."""
    result = x * horner(np.minimum(x * x, 1.0), _ERF)
    outside = np.abs(x) > 1
    if outside.any():  # the longer way only for the elements that need it
        size = np.abs(x[outside])
        tail = _exp_minus_square(size) * _scaled_erfc(size)
        result[outside] = np.copysign(1 - tail, x[outside])
    return result


@wide
def erfc(x: np.ndarray) -> np.ndarray:
    """1 - erf(x), without cancellation for large x."""
    size = np.abs(x)
    tail = _exp_minus_square(size) * _scaled_erfc(size)
    small = 1 - x * horner(np.minimum(size * size, 1.0), _ERF)
    return np.where(size < 0.5, small, np.where(x < 0, 2 - tail, tail))


@wide
def erfcx(x: np.ndarray) -> np.ndarray:
    """exp(x**2) erfc(x)."""
    size = np.abs(x)
    tail = _scaled_erfc(size)
    return np.where(x < 0, 2 / _exp_minus_square(size) - tail, tail)


@wide
def erfinv(x: np.ndarray) -> np.ndarray:
    """The y with erf(y) = x: infinite at 1 and -1, nan beyond."""
    size = np.abs(x)
    # A first guess by Winitzki's formula, 2e-3 near, then Newton's steps with Halley's correction,
    # each of which triples the digits; on erfc where erf has lost them.
    u = np.log((1 - size) * (1 + size))
    half = 4.330746750799873 + u / 2  # 2 / (0.147 pi)
    y = np.sqrt(np.sqrt(half * half - u / 0.147) - half)
    y = np.where(size < 1, y, 0.0)
    for _ in range(3):
        density = _TWO_OVER_SQRT_PI * _exp_minus_square(y)
        gap = np.where(size < 0.5, erf(y) - size, (1 - size) - erfc(y))
        step = gap / density
        y = y - step / (1 + y * step)
    y = np.where(size < 1, y, np.where(size == 1, np.inf, np.nan))
    return np.copysign(y, x)


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
    middle = np.clip(x, 1e-308, 8.0)
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
