"""Fused multiply-adds against exact arithmetic, and the float32 logarithm and sine built on them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from taper.generator import fused


def exactly_rounded(x: float, scale: float, shift: float, dtype: type) -> float:
    """x * scale + shift as a fraction, rounded once to the nearest number of the dtype."""
    exact = Fraction(x) * Fraction(scale) + Fraction(shift)
    near = dtype(float(exact))  # rounded twice for float32, so one of these three is nearest
    around = [np.nextafter(near, dtype(-np.inf)), near, np.nextafter(near, dtype(np.inf))]
    best = min(abs(Fraction(float(each)) - exact) for each in around)
    tied = [each for each in around if abs(Fraction(float(each)) - exact) == best]
    return float(min(tied, key=lambda each: int(each.view(f"u{each.itemsize}")) & 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(4))
def test_a_multiply_add_rounds_once(dtype, seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=200) * 10.0 ** rng.integers(-3, 4, 200)).astype(dtype)
    scale, shift = (float(dtype(value)) for value in rng.normal(size=2))
    function = fused.multiply_add_single if dtype is np.float32 else fused.multiply_add_double

    found = function(x, scale, shift)

    wanted = [exactly_rounded(float(each), scale, shift, dtype) for each in x]
    assert found.tolist() == wanted


def test_a_float64_sum_half_way_between_two_float32_is_looked_at_again():
    """x * scale is just above half a unit of the last place of 1, too little for float64 to show."""
    x = np.array([1 + 2.0**-23], np.float32)
    scale, shift = 2.0**-24, 1.0
    above = fused.multiply_add_single(x, scale, shift)
    at = fused.multiply_add_single(np.ones(1, np.float32), scale, shift)

    assert above[0] == np.float32(1 + 2.0**-23)
    assert at[0] == 1


def test_a_float32_result_too_small_to_be_normal_rounds_once():
    x = np.array([3 * 2.0**-75, 5 * 2.0**-75, 2.0**-75], np.float32)

    found = fused.multiply_add_single(x, 2.0**-75, 0.0)

    assert found.tolist() == [2 * 2.0**-149, 2 * 2.0**-149, 0.0]


def test_infinite_and_huge_operands_give_what_plain_arithmetic_gives():
    with np.errstate(all="ignore"):
        found = fused.multiply_add_double(np.array([1.0, 1e300, -np.inf]), 2.0, np.inf)
        large = fused.multiply_add_double(np.array([1e305]), 2.0, 1.0)

    assert found[0] == found[1] == np.inf and math.isnan(found[2])
    assert large[0] == 2e305


def test_the_float32_logarithm_is_within_an_ulp():
    u = (np.arange(1 << 24, step=1021).astype(np.float32)) * np.float32(2.0**-24)
    x = np.float32(1) - u

    found = fused.log_single(x)

    exact = np.log(x.astype(np.float64))
    assert (np.abs(found - exact) <= np.spacing(np.abs(exact).astype(np.float32))).all()


def test_the_float32_sine_and_cosine_are_within_an_ulp_of_one():
    u = (np.arange(1 << 24, step=1021).astype(np.float32)) * np.float32(2.0**-24)
    angle = np.float32(2 * math.pi) * u

    sin, cos = fused.sin_cos_single(angle)

    assert np.abs(sin - np.sin(angle.astype(np.float64))).max() < 1.2e-7
    assert np.abs(cos - np.cos(angle.astype(np.float64))).max() < 1.2e-7


def test_the_polynomials_multiply_add_in_one_rounding():
    """The short multiply-add of the polynomials against the careful one, over a part of all
    arguments.
    """
    u = (np.arange(1 << 24, step=509).astype(np.float32)) * np.float32(2.0**-24)
    x = np.float32(1) - u
    mantissa, exponent = np.frexp(x)
    small = mantissa < np.float32(0.707106781186547524)
    e = (exponent - small).astype(np.float32)
    m = np.where(small, (mantissa - np.float32(1)) + mantissa, mantissa - np.float32(1))
    y = np.full_like(m, fused._LOG[0])
    for coefficient in fused._LOG[1:]:
        y = _careful(y, m, np.full_like(m, coefficient))
    z = m * m
    y = _careful(y * m, z, e * np.float32(fused._LN2_LOW))
    y = _careful(z, np.full_like(z, -0.5), y)
    wanted = _careful(e, np.full_like(e, fused._LN2_HIGH), m + y)

    assert np.array_equal(fused.log_single(x), wanted)


def _careful(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c of float32 arrays, rounded once: by way of rounding to odd."""
    product = a.astype(np.float64) * b.astype(np.float64)
    total, error = fused._two_sum(product, c.astype(np.float64))
    return fused._to_odd(total, error).astype(np.float32)
