"""torch.special: names, dtypes, derivatives at particular points, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

import taper
from taper import special
from taper.autograd.gradcheck import gradcheck
from taper.errors import GradError

HALVES_REFUSED = [
    "airy_ai", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "erfcx", "log_ndtr",
    "modified_bessel_i0", "modified_bessel_i1", "modified_bessel_k0", "modified_bessel_k1", "ndtri",
    "scaled_modified_bessel_k0", "scaled_modified_bessel_k1", "spherical_bessel_j0",
]  # fmt: skip
COMPLEX_REFUSED = [*HALVES_REFUSED, "digamma", "entr", "gammaln", "i0", "i0e", "i1", "i1e", "logit"]
POLYNOMIALS = [n for n in dir(special) if "polynomial" in n]


def leaf(*values: float) -> taper.Tensor:
    return taper.tensor(values, dtype=taper.float64, requires_grad=True)


@pytest.mark.parametrize("name", HALVES_REFUSED)
@pytest.mark.parametrize("dtype", [taper.float16, taper.bfloat16])
def test_half_types_are_refused_where_pytorch_has_no_kernel(name, dtype):
    with pytest.raises(NotImplementedError, match="_cpu\" not implemented for '"):
        getattr(special, name)(taper.ones(2, dtype=dtype))


@pytest.mark.parametrize("name", COMPLEX_REFUSED)
def test_complex_numbers_are_refused(name):
    with pytest.raises(NotImplementedError, match="not implemented for 'ComplexFloat'"):
        getattr(special, name)(taper.ones(2, dtype=taper.complex64))


@pytest.mark.parametrize("name", sorted({*COMPLEX_REFUSED, "erf", "ndtr", "sinc", "psi"}))
def test_integers_become_the_default_dtype(name):
    assert getattr(special, name)(taper.tensor([0, 1])).dtype is taper.float32


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials_take_numbers_for_one_operand(name):
    function = getattr(special, name)
    both = function(taper.tensor([0.5, 0.25]), taper.tensor([3, 3]))

    assert taper.equal(function(taper.tensor([0.5, 0.25]), 3), both)
    assert taper.equal(function(0.5, taper.tensor([3.0])), both[:1])
    with pytest.raises(TypeError, match="invalid combination of arguments"):
        function(0.5, 3)


@pytest.mark.parametrize("name", ["bessel_j0", "airy_ai", "modified_bessel_i0"])
def test_functions_without_a_derivative_are_not_recorded(name):
    assert not getattr(special, name)(leaf(0.5)).requires_grad


def test_the_incomplete_gamma_functions_have_no_derivative_in_their_first_operand():
    x = taper.ones(1, dtype=taper.float64)

    for function in (special.gammainc, special.gammaincc):
        with pytest.raises(NotImplementedError, match=r"the derivative for 'igammac?: input'"):
            function(leaf(2.0), x).sum().backward()
        assert gradcheck(lambda v, f=function: f(2 * x, v), [leaf(0.7)])


def test_zeta_has_a_derivative_in_its_second_operand_only():
    with pytest.raises(NotImplementedError, match="the derivative for 'zeta'"):
        special.zeta(leaf(2.0), taper.ones(1)).sum().backward()
    assert gradcheck(lambda q: special.zeta(3.0, q), [leaf(0.7)])


@pytest.mark.parametrize("name, slope", [("i1", 0.5), ("i1e", 0.5), ("sinc", 0.0), ("i0", 0.0)])
def test_derivatives_at_zero_are_the_limits(name, slope):
    x = leaf(0.0)

    getattr(special, name)(x).backward(taper.ones(1, dtype=taper.float64))

    assert x.grad.tolist() == [slope]


def test_log_ndtr_has_a_derivative_where_the_distribution_vanishes():
    """There it is nearly -input: the density over the distribution, both of which are 0."""
    x = leaf(-100.0)

    special.log_ndtr(x).sum().backward()

    assert x.grad.item() == pytest.approx(100.01, rel=1e-5)


def test_xlogy_is_zero_for_zero_unless_the_other_is_nan():
    x = taper.tensor([0.0, 0.0, 0.0, 2.0])
    y = taper.tensor([0.0, math.inf, math.nan, 0.0])

    assert special.xlogy(x, y)[[0, 1, 3]].tolist() == [0, 0, -math.inf]
    assert special.xlogy(x, y)[2].isnan()
    assert special.xlog1py(x, y - 1)[0].item() == 0


def test_xlogy_of_two_zeros_has_no_derivative_in_the_first():
    x, y = leaf(0.0), leaf(0.0)

    special.xlogy(x, y).sum().backward()

    assert x.grad.item() == 0


def test_entr_is_minus_infinity_below_zero():
    found = special.entr(taper.tensor([-1.0, 0.0, 1.0, math.nan]))

    assert found[:3].tolist() == [-math.inf, 0, 0]
    assert found[3].isnan()


def test_logit_clamps_to_eps_and_has_no_derivative_beyond():
    x = leaf(-0.5, 0.2, 0.9999)

    special.logit(x, eps=1e-3).sum().backward()

    np.testing.assert_allclose(x.grad.tolist(), [0, 1 / (0.2 * 0.8), 0])
    assert special.logit(taper.tensor([2.0])).isnan().all()


def test_polygamma_takes_its_order_first_and_as_a_method_last():
    x = taper.tensor([1.0])

    assert taper.polygamma(1, x).item() == pytest.approx(math.pi**2 / 6)
    assert x.polygamma(1).item() == x.polygamma(n=1).item() == taper.polygamma(1, x).item()
    with pytest.raises(RuntimeError, match="does not support negative n"):
        special.polygamma(-1, x)
    with pytest.raises(TypeError, match="argument 'n' \\(position 1\\) must be int"):
        special.polygamma(1.5, x)


def test_mvlgamma_is_the_sum_of_the_lower_dimensions():
    x = taper.tensor([3.5], dtype=taper.float64)
    expected = 2 * 3 / 4 * math.log(math.pi) + sum(math.lgamma(3.5 - j / 2) for j in range(3))

    assert special.multigammaln(x, 3).item() == pytest.approx(expected, rel=1e-14)
    with pytest.raises(RuntimeError, match="p has to be greater than or equal to 1"):
        taper.mvlgamma(x, 0)


def test_special_functions_have_out_and_in_place_variants():
    x = taper.tensor([0.5])
    out = taper.empty(1)

    assert special.i0(x, out=out) is out
    assert x.clone().erf_().item() == taper.erf(x).item()
    with pytest.raises(GradError):
        special.erf(leaf(0.5), out=out)


@pytest.mark.parametrize("name", ["gammainc", "gammaincc"])
def test_the_incomplete_gamma_functions_refuse_integers(name):
    with pytest.raises(NotImplementedError, match=r"igammac?_cpu\" not implemented for 'Int'"):
        getattr(special, name)(taper.ones(2, dtype=taper.int32), taper.ones(2, dtype=taper.int32))


def test_a_missing_name_says_so():
    with pytest.raises(
        AttributeError, match=r"module 'torch\.special' has no attribute 'bessel_j7'"
    ):
        special.bessel_j7  # noqa: B018
