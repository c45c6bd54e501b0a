"""Arithmetic as PyTorch's CPU kernels do it: fused multiply-adds, and log, sin and cos with them.

A fused multiply-add rounds a * b + c once. numpy has none, so it is built from float64: for
float32 operands the product is exact there, and only the sum has to be looked at. The logarithm
and the sine of the float32 normal numbers are the Cephes polynomials in that arithmetic. All other
transcendental functions are the C library's, through Python's `math`: numpy's own differ in the
last bit.

Source: S. Boldo and G. Melquiond, Emulation of FMA and correctly rounded sums, 2008;
    T. J. Dekker, A floating-point technique for extending the available precision, 1971;
    S. Moshier, Cephes mathematical library (logf, sinf, cosf).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from taper.backends.reference import restore, silence

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Array = np.ndarray
_single, _double, _bits = np.float32, np.float64, np.int64


def quiet(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The function without numpy's warnings: PyTorch gives inf and nan without comment."""

    @functools.wraps(function)
    def silenced(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        token = silence()
        try:
            return function(*args, **kwargs)
        finally:
            restore(token)

    return silenced


def _two_sum(a: Array, b: Any) -> tuple[Array, Array]:
    """The rounded sum and its error; together they are a + b exactly."""
    total = a + b
    seen = total - a
    return total, (a - (total - seen)) + (b - seen)


def _two_product(a: Array, b: Any) -> tuple[Array, Array]:
    """The rounded product and its error; together they are a * b exactly."""
    product = a * b
    split = a * 134217729.0  # 2**27 + 1 cuts a float64 into halves of 26 bits
    a_high = split - (split - a)
    a_low = a - a_high
    split = b * 134217729.0
    b_high = split - (split - b)
    b_low = b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _to_odd(total: Array, error: Array) -> Array:
    """total + error rounded to odd: a later rounding to fewer bits then falls on the right side."""
    bits = total.view(_bits).copy()
    inexact = (error != 0) & ((bits & 1) == 0)
    step = np.where((error > 0) == (total > 0), 1, -1)
    bits[inexact] += step[inexact]
    return bits.view(_double)


def multiply_add_single(x: Array, scale: float, shift: float) -> Array:
    """x * scale + shift in float32, rounded once. x is a float32 array."""
    factor, summand = float(_single(scale)), float(_single(shift))
    if factor == 1 and summand == 0:
        return x + _single(0)  # exact; the sum turns -0 into 0
    product = np.multiply(x, factor, dtype=_double)
    total = product + summand
    # Rounding twice errs only where the first result lies half-way between two float32; near the
    # smallest numbers half-way is elsewhere.
    risky = (total.view(_bits) & 0x1FFFFFFF) == 0x10000000
    risky |= np.abs(total) < 2.0**-120
    if risky.any():
        total[risky] = _to_odd(*_two_sum(product[risky], summand))
    return total.astype(_single)


def multiply_add_double(x: Array, scale: float, shift: float) -> Array:
    """x * scale + shift in float64, rounded once."""
    if scale == 1 and shift == 0:
        return x + 0.0
    high, low = _two_product(x, _double(scale))
    carry, rest = _two_sum(low, _double(shift))
    top, error = _two_sum(high, carry)
    fused = top + _to_odd(*_two_sum(error, rest))
    # Infinite and very large operands do not survive the splitting; there is nothing to round.
    return np.where(np.isfinite(fused), fused, x * scale + shift)


def mapped(function: Callable[[float], float], x: Array) -> Array:
    """A function of the C library, number by number."""
    return np.array([function(each) for each in x.ravel().tolist()], _double).reshape(x.shape)


def logarithm(x: Array) -> Array:
    """The C library's log; -inf at 0."""
    log = math.log
    values = [log(each) if each else -math.inf for each in x.ravel().tolist()]
    return np.array(values, _double).reshape(x.shape)


# ------------------------------------------------------------ float32 polynomials
#
# Below, a fused multiply-add is a product and a sum in float64, then one rounding to float32. That
# rounds the sum twice, but changes no result: all 2**24 arguments that a uniform number can give
# were compared (tests/random/test_fused.py repeats a part of it).


def _single_values(*numbers: float) -> list[float]:
    return [float(_single(x)) for x in numbers]


_LOG = _single_values(
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_LN2_LOW, _LN2_HIGH = _single_values(-2.12194440e-4, 0.693359375)
_ROOT_HALF = _single(0.707106781186547524)
# Pi / 4 in three parts, negated and doubled with the octant's number.
_QUARTER_PI = _single_values(-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8)
_OCTANTS = _single(1.27323954473516)
_COS = _single_values(2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_SIN = _single_values(-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)


def _fused(a: Array, b: Any, c: Any, wide: Array, out: Array) -> Array:
    """out = a * b + c; `wide` is float64 workspace."""
    np.multiply(a, b, out=wide, dtype=_double)
    return np.add(wide, c, out=out, dtype=_double, casting="same_kind")


def log_single(x: Array) -> Array:
    """log of float32 numbers in (0, 1]."""
    wide = np.empty(x.shape, _double)
    bits = x.view(np.int32)
    mantissa = ((bits & 0x007FFFFF) | 0x3F000000).view(_single)  # in [0.5, 1)
    small = mantissa < _ROOT_HALF
    scale = ((bits >> 23) - 126 - small).astype(_single)
    m = mantissa - _single(1)
    np.add(m, mantissa, out=m, where=small)
    z = m * m
    y = np.empty_like(m)
    _fused(m, _LOG[0], _LOG[1], wide, y)
    for coefficient in _LOG[2:]:
        _fused(y, m, coefficient, wide, y)
    y *= m
    _fused(y, z, scale * _single(_LN2_LOW), wide, y)
    _fused(z, -0.5, y, wide, y)
    m += y
    return _fused(scale, _LN2_HIGH, m, wide, y)


def sin_cos_single(x: Array) -> tuple[Array, Array]:
    """sin and cos of float32 numbers, at least 0."""
    wide = np.empty(x.shape, _double)
    octant = (x * _OCTANTS).astype(np.int32)
    octant += 1
    octant &= ~1
    y = octant.astype(_single)
    for part in _QUARTER_PI:
        x = _fused(y, part, x, wide, np.empty_like(y))
    z = x * x
    even = np.empty_like(z)
    _fused(z, _COS[0], _COS[1], wide, even)
    _fused(even, z, _COS[2], wide, even)
    even *= z
    _fused(even, z, z * _single(-0.5), wide, even)
    even += _single(1)
    odd = np.empty_like(z)
    _fused(z, _SIN[0], _SIN[1], wide, odd)
    _fused(odd, z, _SIN[2], wide, odd)
    odd *= z
    _fused(odd, x, x, wide, odd)
    swapped = (octant & 2) != 0
    sin = np.where(swapped, even, odd)
    cos = np.where(swapped, odd, even)
    np.negative(sin, out=sin, where=(octant & 4) != 0)
    np.negative(cos, out=cos, where=((octant - 2) & 4) == 0)
    return sin, cos
