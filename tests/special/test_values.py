"""Special functions on arrays, against values with 40 digits, and at the ends of their domains."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from taper.backends import special

sys.path.insert(0, str(Path(__file__).parent))
from golden_values import OF_ONE, OF_TWO

inf, nan = math.inf, math.nan


@pytest.fixture(autouse=True)
def silence():
    """As when an op runs: numpy does not comment on infinities and nan."""
    with np.errstate(all="ignore"):
        yield


# Relative errors are allowed up to this many float64 epsilons: near a zero, or where the exponent
# is large, the last digits of the argument decide about more digits of the result.
EPSILONS = {
    "airy_ai": 1000,
    "digamma": 50,
    "erfcx": 20,
    "igamma": 1000,
    "igammac": 1000,
    "legendre_polynomial_p": 30,
    "modified_bessel_i0": 20,
    "modified_bessel_i1": 20,
    "bessel_j0": 200,
    "bessel_j1": 200,
    "bessel_y0": 200,
    "bessel_y1": 200,
    "chebyshev_polynomial_t": 100,
    "chebyshev_polynomial_u": 100,
    "zeta": 40,
}


def close(name: str, found: np.ndarray, wanted: np.ndarray) -> None:
    bound = EPSILONS.get(name, 10) * np.finfo(np.float64).eps
    np.testing.assert_allclose(found, wanted, rtol=bound, atol=0)


@pytest.mark.parametrize("name", OF_ONE)
def test_values_agree_with_forty_digits(name):
    points, values = np.array(OF_ONE[name]).T

    close(name, getattr(special, name)(points), values)


@pytest.mark.parametrize("name", [n for n in OF_TWO if n != "polygamma"])
def test_values_of_two_arguments_agree_with_forty_digits(name):
    first, second, values = np.array(OF_TWO[name]).T

    close(name, getattr(special, name)(first, second), values)


def test_polygamma_agrees_with_forty_digits():
    for x, n, value in OF_TWO["polygamma"]:
        close("polygamma", special.polygamma(np.array([x]), int(n)), np.array([value]))


@pytest.mark.parametrize("name", OF_ONE)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_other_dtypes_are_rounded_once(name, dtype):
    points = np.array(OF_ONE[name])[:, 0].astype(dtype)

    found = getattr(special, name)(points)
    exact = getattr(special, name)(points.astype(np.float64)).astype(dtype)

    assert found.dtype == dtype
    steps = 2 if name == "erf" else 0  # which has its own, fast way
    difference = np.abs(found.astype(np.float64) - exact.astype(np.float64))
    same = (found == exact) | (np.isnan(found) & np.isnan(exact))
    assert (same | (difference <= steps * np.spacing(np.abs(exact)).astype(np.float64))).all()


def test_erf_in_float32_is_within_two_units_of_the_last_place():
    """Everywhere it matters: 200 thousand points from the denormals to where erf is 1."""
    x = np.concatenate([np.linspace(-4.5, 4.5, 150_001), np.geomspace(1e-44, 4, 50_000)])
    x = x.astype(np.float32)
    exact = special.erf(x.astype(np.float64))

    found = special.erf(x)

    unit = np.spacing(np.minimum(np.abs(exact), 1 - 2.0**-24).astype(np.float32))
    assert (np.abs(found - exact) <= 2 * unit.astype(np.float64)).all()


def test_erf_in_float32_keeps_signs_of_zero_shapes_and_nan():
    x = np.array([[-0.0, 0.0], [inf, -inf], [nan, 3.0]], np.float32)

    found = special.erf(x)

    assert np.signbit(found[0]).tolist() == [True, False]
    assert found[1].tolist() == [1, -1]
    assert np.isnan(found[2, 0]) and found.shape == (3, 2)
    assert special.erf(np.float32([])).shape == (0,)
    assert special.erf(np.array(0.5, np.float32)).shape == ()


def test_erf_of_many_elements_is_that_of_their_blocks():
    x = np.linspace(-3, 3, 40_000, dtype=np.float32)

    np.testing.assert_array_equal(special.erf(x)[30_000:], special.erf(x[30_000:]))


@pytest.mark.parametrize(
    "name, points, values",
    [
        ("erf", [inf, -inf, nan], [1, -1, nan]),
        ("erfc", [inf, -inf, nan, 27.0], [0, 2, nan, 5.23704643935752e-319]),
        ("erfcx", [inf, -inf, nan, 1e300], [0, inf, nan, 5.641895835477563e-301]),
        ("erfinv", [1, -1, 1.5, nan, 0], [inf, -inf, nan, nan, 0]),
        ("ndtr", [inf, -inf, nan, 0], [1, 0, nan, 0.5]),
        ("log_ndtr", [inf, -inf, nan, -1e300], [0, -inf, nan, -inf]),
        ("ndtri", [0, 1, 0.5, -0.1, 1.1, nan], [-inf, inf, 0, nan, nan, nan]),
        ("lgamma", [0, -0.0, -1, -7, inf, -inf, nan, 1, 2], [inf] * 6 + [nan, 0, 0]),
        ("digamma", [0, -0.0, -1, -7, inf, -inf, nan], [-inf, inf, nan, nan, inf, nan, nan]),
        ("i0e", [inf, -inf, nan, 0], [0, 0, nan, 1]),
        ("i1e", [inf, -inf, nan, 0], [0, 0, nan, 0]),
        ("modified_bessel_k0", [0, -1, inf, nan], [inf, nan, 0, nan]),
        ("modified_bessel_k1", [0, -1, inf, nan], [inf, nan, 0, nan]),
        ("scaled_modified_bessel_k0", [0, -1, inf, nan], [inf, nan, 0, nan]),
        ("bessel_j0", [0, nan], [1, nan]),
        ("bessel_y0", [0, -1, nan], [-inf, nan, nan]),
        ("bessel_y1", [0, -1, nan], [-inf, nan, nan]),
        ("spherical_bessel_j0", [0, inf, nan], [1, 0, nan]),
    ],
)
def test_the_ends_of_the_domain(name, points, values):
    found = getattr(special, name)(np.array(points, np.float64))

    np.testing.assert_allclose(found, values, rtol=1e-14)


def test_the_incomplete_gamma_functions_at_their_ends():
    a = np.array([0.0, 0.0, 2.0, 2.0, inf, -1.0, 2.0, nan])
    x = np.array([0.0, 1.0, 0.0, inf, 1.0, 1.0, -1.0, 1.0])

    lower, upper = special.igamma(a, x), special.igammac(a, x)

    np.testing.assert_array_equal(lower, [nan, 1, 0, 1, 0, nan, nan, nan])
    np.testing.assert_array_equal(upper, [nan, 0, 1, 0, 1, nan, nan, nan])


def test_the_incomplete_gamma_functions_add_up_to_one():
    generator = np.random.default_rng(0)
    a = np.exp(generator.uniform(-5, 12, 2000))
    x = a * np.exp(0.3 * generator.standard_normal(2000))

    total = special.igamma(a, x) + special.igammac(a, x)

    np.testing.assert_allclose(total, 1, rtol=1e-12)


def test_zeta_at_its_ends():
    s = np.array([1.0, 0.5, 2.0, 2.0, 2.5, nan])
    q = np.array([3.0, 1.0, 0.0, -3.0, -0.5, 1.0])

    np.testing.assert_array_equal(special.zeta(s, q), [inf, nan, inf, inf, nan, nan])


def test_polynomials_of_negative_degree_are_zero_and_degrees_are_truncated():
    x = np.array([0.3, 0.3, 0.3])
    n = np.array([-2.0, 2.9, 0.5])

    np.testing.assert_allclose(special.chebyshev_polynomial_t(x, n), [0, 2 * 0.09 - 1, 1])
    np.testing.assert_allclose(special.legendre_polynomial_p(x, n), [0, (3 * 0.09 - 1) / 2, 1])


@pytest.mark.parametrize("kind, at_one", [("t", 1), ("u", 8), ("v", 1), ("w", 15)])
def test_chebyshev_polynomials_at_one_and_their_shifted_kind(kind, at_one):
    plain = getattr(special, f"chebyshev_polynomial_{kind}")
    shifted = getattr(special, f"shifted_chebyshev_polynomial_{kind}")
    x = np.linspace(0, 1, 7)

    assert plain(np.array([1.0]), np.array([7.0])).tolist() == [at_one]
    np.testing.assert_allclose(shifted(x, np.full(7, 9.0)), plain(2 * x - 1, np.full(7, 9.0)))


@pytest.mark.parametrize("kind", "tuvw")
def test_the_closed_form_of_chebyshev_polynomials_continues_the_recurrence(kind):
    function = getattr(special, f"chebyshev_polynomial_{kind}")
    x = np.linspace(-0.95, 0.95, 9)
    seven, eight, nine = (function(x, np.full(9, n)) for n in (11.0, 12.0, 13.0))

    np.testing.assert_allclose(nine, 2 * x * eight - seven, atol=1e-11)


def test_hermite_polynomials_of_very_high_degree_are_nan():
    x = np.array([0.5], np.float32)

    assert np.isnan(special.hermite_polynomial_h(x, np.float32([129])))[0]
    assert np.isnan(special.hermite_polynomial_he(x, np.float32([129])))[0]
