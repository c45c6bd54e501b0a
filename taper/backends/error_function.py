"""The error function and its kin, on arrays.

In float64, rounded once to the dtype of the input, except erf in float32, which has its own way
because training loops run it (GELU). The tables are expansions of our own, computed with 40 digits.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from taper.backends.series import chebyshev, horner, wide

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

_TWO_OVER_SQRT_PI = 1.1283791670955126


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
def _wide_erf(x: np.ndarray) -> np.ndarray:
    result = x * horner(np.minimum(x * x, 1.0), _ERF)
    outside = np.abs(x) > 1
    if outside.any():  # the longer way only for the elements that need it
        size = np.abs(x[outside])
        tail = _exp_minus_square(size) * _scaled_erfc(size)
        result[outside] = np.copysign(1 - tail, x[outside])
    return result


# float32: Taylor's expansion around the nearest of these points, 64 to the unit. At 4 erf is 1.
_STEPS = 64
_END = 4 * _STEPS
_BLOCK = 1 << 15  # elements at a time, so that the intermediate arrays stay in the cache


@cache
def _points() -> tuple[np.ndarray, np.ndarray]:
    """erf at the points, and its derivative there less 1, which is exact near zero."""
    x = np.arange(-_END, _END + 1) / _STEPS
    values = _wide_erf(x).astype(np.float32)
    values[_END] = -0.0  # so that the sum with a zero has the zero's sign
    slopes = _TWO_OVER_SQRT_PI * np.exp(-x * x) - 1
    return values, slopes.astype(np.float32)


def _short_erf(x: np.ndarray) -> np.ndarray:
    """erf of a vector of float32."""
    values, slopes = _points()
    gap = np.clip(x, -4.0, 4.0)
    point = gap * np.float32(_STEPS)
    np.rint(point, out=point)
    point += np.float32(_END)
    index = point.astype(np.intp)
    point -= np.float32(_END)
    point *= np.float32(1 / _STEPS)
    gap -= point
    # gap (1 - gap (point - gap (2 point**2 - 1) / 3)), the rest being below 1e-8
    rest = point * point
    rest *= np.float32(2 / 3)
    rest -= np.float32(1 / 3)
    rest *= gap
    point -= rest
    point *= gap
    np.subtract(np.float32(1), point, out=point)
    gap *= point
    # Out-of-range indices are those of nan, whose gap is nan. `take` without `out` is the fast one.
    step = slopes.take(index, mode="clip")
    step *= gap
    step += gap
    step += values.take(index, mode="clip")
    return step


def erf(x: Any) -> Any:
    """2/sqrt(pi) times the integral of exp(-t**2) from 0 to x.

    Error: 2 ulp in float32, 3 ulp in float64 (tests/special).
    """
    if x.dtype != np.float32:
        if x.dtype.itemsize == 2:  # float16 and bfloat16
            return erf(x.astype(np.float32)).astype(x.dtype)
        return _wide_erf(x)
    flat = x.reshape(-1)
    with np.errstate(invalid="ignore"):  # nan has no index
        if flat.size <= _BLOCK:
            return _short_erf(flat).reshape(x.shape)
        made = np.empty_like(flat)
        for start in range(0, flat.size, _BLOCK):
            made[start : start + _BLOCK] = _short_erf(flat[start : start + _BLOCK])
    return made.reshape(x.shape)


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
    # Near zero the root above cancels: there erf is linear.
    y = np.where(size < 1e-3, size / _TWO_OVER_SQRT_PI, y)
    for _ in range(3):
        density = _TWO_OVER_SQRT_PI * _exp_minus_square(y)
        gap = np.where(size < 0.5, _wide_erf(y) - size, (1 - size) - erfc(y))
        step = gap / density
        y = y - step / (1 + y * step)
    y = np.where(size < 1, y, np.where(size == 1, np.inf, np.nan))
    return np.copysign(y, x)


_SQRT_HALF = 0.7071067811865476


@wide
def ndtr(x: np.ndarray) -> np.ndarray:
    """The normal distribution function: the share of a standard normal variable below x."""
    scaled = x * _SQRT_HALF
    size = np.abs(scaled)
    small = 0.5 + 0.5 * scaled * horner(np.minimum(size * size, 1.0), _ERF)
    # exp(-x**2 / 2), not of the rounded product with sqrt(1/2)
    tail = 0.5 * _exp_minus_half_square(np.abs(x)) * _scaled_erfc(size)
    return np.where(size < 0.5, small, np.where(x < 0, tail, 1 - tail))


def _exp_minus_half_square(x: np.ndarray) -> np.ndarray:
    """exp(-x**2 / 2) for x >= 0, as _exp_minus_square."""
    bounded = np.minimum(x, 1e8)
    shifted = bounded * 134217729.0
    upper = shifted - (shifted - bounded)
    return np.exp(-0.5 * upper * upper) * np.exp(-0.5 * (bounded - upper) * (upper + bounded))


@wide
def log_ndtr(x: np.ndarray) -> np.ndarray:
    """Logarithm of the normal distribution function, finite however far x is below zero."""
    below = np.minimum(x, 0.0)
    tail = np.log(0.5 * _scaled_erfc(-below * _SQRT_HALF)) - 0.5 * below * below
    tail = np.where(below == -np.inf, -np.inf, tail)
    return np.where(x < -1, tail, np.log1p(-ndtr(-np.maximum(x, -1.0))))


@wide
def ndtri(p: np.ndarray) -> np.ndarray:
    """The x with ndtr(x) = p: minus infinity at 0, infinity at 1, nan outside."""
    upper = p > 0.5
    share = np.where(upper, 1 - p, p)
    share = np.where((share > 0) & (share <= 0.5), share, 0.5)
    # From x**2 = -2 log(share) less its own logarithm, by Newton's steps on log(ndtr), which is
    # concave and nearly a parabola.
    target = np.log(share)
    square = np.maximum(-2 * target - np.log(2 * np.pi), 0.0)
    x = -np.sqrt(np.maximum(square - np.log(np.maximum(square, 1.0)), 0.0))
    for _ in range(5):
        ratio = _scaled_erfc(-x * _SQRT_HALF)  # the share over the density, but for sqrt(pi / 2)
        gap = np.log(0.5 * ratio) - 0.5 * x * x - target
        x = np.minimum(x - gap * ratio * 1.2533141373155003, 0.0)
    # Around one half the logarithm has lost digits that the difference still has.
    middle = share > 0.1
    density = np.exp(-0.5 * x * x) * 0.3989422804014327
    gap = (share - 0.5) - 0.5 * _wide_erf(x * _SQRT_HALF)
    x = np.where(middle, x + gap / density, x)
    x = np.where(upper, -x, x)
    x = np.where(p == 0, -np.inf, np.where(p == 1, np.inf, x))
    return np.where((p >= 0) & (p <= 1), x, np.nan)
