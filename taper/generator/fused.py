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


def _is_exact(factor: float, summand: float, quantum: float) -> bool:
    """Whether float64 holds x * factor + summand exactly for all multiples x of quantum in [0, 1).

    All these numbers are multiples of the smaller of two units; 53 digits must do.
    """
    unit = min(
        float(np.spacing(_single(abs(factor)))) * quantum, float(np.spacing(_single(abs(summand))))
    )
    return abs(factor) + abs(summand) <= unit * 2.0**53


def multiply_add_single(x: Array, scale: float, shift: float, quantum: float = 0.0) -> Array:
    """x * scale + shift in float32, rounded once. x is a float32 array.

    If `quantum` is not 0, all x are multiples of it in [0, 1), which is usually quicker.
    """
    factor, summand = float(_single(scale)), float(_single(shift))
    if factor == 1 and summand == 0:
        return x + _single(0)  # exact; the sum turns -0 into 0
    product = np.multiply(x, factor, dtype=_double)
    total = product + summand
    if summand == 0 or _is_exact(factor, summand, quantum):
        return total.astype(_single)
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
# Below, arrays are float64 and hold float32 numbers: an operation is done in float64 and rounded. A
# fused multiply-add is thus rounded twice, which changes no result: all 2**24 arguments that a
# uniform number can give were compared (tests/random/test_fused.py repeats a part of it).


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
# Pi / 4 in three parts, negated: what is taken off for every octant.
_QUARTER_PI = _single_values(-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8)
_OCTANTS = _single(1.27323954473516)
_COS = _single_values(2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_SIN = _single_values(-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_SIN_COS = np.array([_SIN, _COS]).T[:, :, None]  # three steps, for both at once


class _Rounding:
    """Rounds arrays of one shape to float32, in place."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.narrow = np.empty(shape, _single)

    def __call__(self, x: Array) -> Array:
        np.copyto(self.narrow, x, casting="same_kind")
        np.copyto(x, self.narrow)
        return x


def log_single(x: Array) -> Array:
    """log of a flat array of float32 numbers in (0, 1]."""
    rounded = _Rounding(x.shape)
    bits = x.view(np.int32)
    mantissa = ((bits & 0x007FFFFF) | 0x3F000000).view(_single)  # in [0.5, 1)
    small = mantissa < _ROOT_HALF
    exponent = ((bits >> 23) - 126 - small).astype(_double)
    # Doubled where small, and less 1; both are exact.
    m = mantissa.astype(_double)
    m += m * small
    m -= 1
    z = rounded(m * m)
    y = m * _LOG[0]
    y += _LOG[1]
    rounded(y)
    for coefficient in _LOG[2:]:
        y *= m
        y += coefficient
        rounded(y)
    y *= m
    rounded(y)
    y *= z
    y += rounded(exponent * _LN2_LOW)
    rounded(y)
    z *= 0.5
    y -= z
    rounded(y)
    m += y
    rounded(m)
    exponent *= _LN2_HIGH
    exponent += m
    return exponent.astype(_single)


def sin_cos_single(angle: Array) -> tuple[Array, Array]:
    """sin and cos of a flat array of float32 numbers, at least 0."""
    rounded, both_rounded = _Rounding(angle.shape), _Rounding((2, *angle.shape))
    octant = (angle * _OCTANTS).astype(np.uint32)
    octant += 1
    octant &= ~np.uint32(1)
    turns = octant.astype(_double)
    x = angle.astype(_double)
    for part in _QUARTER_PI:
        x += turns * part
        rounded(x)
    z = rounded(x * x)
    both = both_rounded(z * _SIN_COS[0] + _SIN_COS[1])
    both *= z
    both += _SIN_COS[2]
    both_rounded(both)
    both *= z
    both_rounded(both)
    odd, even = both
    odd *= x
    odd += x
    even *= z
    z *= 0.5
    even -= z
    rounded(even)
    even += 1
    swapped = (octant & 2) != 0
    sin = np.where(swapped, even, odd).astype(_single)
    cos = np.where(swapped, odd, even).astype(_single)
    # The sign bits: of sin in the lower half plane, of cos in the left one.
    sin_bits, cos_bits = sin.view(np.uint32), cos.view(np.uint32)
    sin_bits ^= (octant & 4) << 29
    cos_bits ^= (~(octant - 2) & 4) << 29
    return sin, cos
