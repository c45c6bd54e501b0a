"""Random tensors: arguments, gradients, errors. The numbers themselves are in test_golden.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

import taper as torch
from taper import tensor
from taper.generator import slopes

FILLS = {
    "uniform_": (),
    "normal_": (),
    "random_": (),
    "bernoulli_": (0.4,),
    "exponential_": (),
    "geometric_": (0.4,),
    "cauchy_": (),
    "log_normal_": (),
}


@pytest.mark.parametrize("name", FILLS)
def test_what_a_fill_replaces_gets_a_gradient_of_zero(name):
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    before = y._version
    getattr(y, name)(*FILLS[name])

    y.sum().backward()

    assert x.grad.tolist() == [0, 0, 0]
    assert y._version == before + 1
    assert y.grad_fn.name().removesuffix("Backward0").lower() == name.replace("_", "")


@pytest.mark.parametrize("name", FILLS)
def test_a_leaf_that_requires_a_gradient_is_not_filled_and_nothing_is_drawn(name):
    x = torch.ones(3, requires_grad=True)
    torch.manual_seed(0)
    state = torch.get_rng_state()

    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        getattr(x, name)(*FILLS[name])

    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        assert getattr(x, name)(*FILLS[name]) is x


@pytest.mark.parametrize("name", FILLS)
def test_memory_that_is_shared_by_elements_is_not_filled(name):
    x = torch.zeros(1, 3).expand(2, 3)

    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        getattr(x, name)(*FILLS[name])


@pytest.mark.parametrize("name", FILLS)
def test_a_fill_takes_a_generator_and_nothing_else_in_its_place(name):
    x = torch.empty(5)
    one = getattr(x, name)(*FILLS[name], generator=torch.Generator().manual_seed(1)).tolist()
    other = getattr(x, name)(*FILLS[name], generator=torch.Generator().manual_seed(1)).tolist()

    assert one == other
    with pytest.raises(TypeError, match=r"must be torch\.Generator, not int"):
        getattr(x, name)(*FILLS[name], generator=5)


def test_a_view_is_filled_through_its_base():
    x = torch.zeros(4, 3)
    x[1].uniform_(1, 2)

    assert (x[1] >= 1).all() and x.sum() == x[1].sum()


def test_sizes_are_given_as_numbers_a_tuple_or_by_name():
    for shape in ((), (0,), (2, 3)):
        assert torch.rand(shape).shape == torch.rand(size=shape).shape == shape
        assert torch.randn(*shape).shape == shape if shape else True
        assert torch.randint(5, shape).shape == torch.randint(high=5, size=shape).shape == shape
    assert torch.randint(low=3, high=4, size=(2,)).tolist() == [3, 3]
    assert torch.randint(3, 4, size=(2,)).tolist() == torch.randint(3, 4, (2,)).tolist()
    with pytest.raises(TypeError, match="invalid combination of arguments"):
        torch.rand()
    with pytest.raises(TypeError, match="invalid combination of arguments"):
        torch.randint(5)
    with pytest.raises(RuntimeError, match="negative dimension -1"):
        torch.rand(-1)


def test_out_takes_the_numbers_in_its_own_dtype_and_order():
    torch.manual_seed(4)
    wanted = torch.rand(2, 3, dtype=torch.float64)
    torch.manual_seed(4)
    out = torch.empty(0, dtype=torch.float64)
    assert torch.rand(2, 3, out=out) is out
    assert torch.equal(out, wanted)

    torch.manual_seed(4)
    transposed = torch.rand(3, 2, out=torch.empty(2, 3, dtype=torch.float64).t())
    assert torch.equal(transposed, wanted.t())
    with pytest.raises(RuntimeError, match="dtype Double does not match dtype of out parameter"):
        torch.rand(2, out=torch.empty(2), dtype=torch.float64)


def test_dtypes_that_cannot_hold_the_numbers_are_refused():
    with pytest.raises(NotImplementedError, match=r"check_uniform_bounds.*'Long'"):
        torch.rand(2, dtype=torch.int64)
    with pytest.raises(NotImplementedError, match=r"normal_kernel_cpu.*'Bool'"):
        torch.zeros(2, dtype=torch.bool).normal_()
    with pytest.raises(RuntimeError, match=r"continuous probability distribution.*Long"):
        torch.zeros(2, dtype=torch.int64).exponential_()
    with pytest.raises(NotImplementedError, match=r"randperm.*'ComplexFloat'"):
        torch.randperm(3, dtype=torch.complex64)
    with pytest.raises(RuntimeError, match="n cannot be greater than 2049 for Half type"):
        torch.randperm(3000, dtype=torch.float16)
    with pytest.raises(NotImplementedError, match=r"gamma_cpu.*'Half'"):
        torch._standard_gamma(torch.ones(2, dtype=torch.float16))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: x.uniform_(2, 1), r"found from=2 > to=1"),
        (lambda x: x.uniform_(-3e38, 3e38), "exceed the limit"),
        (lambda x: x.uniform_(math.nan, 1), "from is out of bounds for float"),
        (lambda x: x.normal_(0, -1), r"normal expects std >= 0\.0, but found std -1"),
        (lambda x: torch.normal(0.0, x - 1), r"normal expects all elements of std >= 0\.0"),
        (lambda x: x.bernoulli_(2), r"p to be in \[0, 1\], but got p=2"),
        (lambda x: torch.bernoulli(x + 2), "p_in >= 0 && p_in <= 1"),
        (lambda x: x.exponential_(0), r"lambda > 0\.0, but found lambda=0"),
        (lambda x: x.geometric_(1), r"p to be in \(0, 1\), but got p=1"),
        (lambda x: x.cauchy_(0, -1), r"sigma > 0\.0, but found sigma=-1"),
        (lambda x: x.log_normal_(0, 0), r"std > 0\.0, but found std=0"),
        (lambda x: x.random_(5, 3), "from=5 >= to=3"),
        (lambda x: x.half().random_(0, 10**5), "to - 1 is out of bounds for c10::Half"),
        (lambda x: torch.randint(500, (2,), dtype=torch.int8), "out of bounds for signed char"),
        (lambda x: torch.poisson(x - 1), "expected rate to be non-negative"),
        (lambda x: torch.multinomial(x, 1), "sum of probabilities <= 0"),
        (lambda x: torch.multinomial(x + 1, 9), "cannot sample n_sample > prob_dist"),
        (lambda x: torch.multinomial(x - 1, 1), "`inf`, `nan` or element < 0"),
        (lambda x: torch.multinomial(x - 1, 2, True), "probability entry < 0"),
        (lambda x: torch.multinomial(x / 0, 2, True), "entry"),
        (lambda x: torch.binomial(x, x.double()), "Found dtype Double but expected Float"),
    ],
)
def test_parameters_without_meaning_are_named(call, text):
    with pytest.raises(RuntimeError, match=text):
        call(torch.zeros(3))


def test_half_type_integers_beyond_exactness_are_warned_of():
    with pytest.warns(UserWarning, match=r"out of bounds \[-\(2\^11\), 2\^11\]"):
        torch.zeros(2, dtype=torch.float16).random_(0, 2**12)


def test_multinomial_draws_only_what_has_weight():
    weights = tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0]])

    assert torch.multinomial(weights, 3, replacement=True).tolist() == [[1] * 3, [0] * 3]
    assert torch.multinomial(weights, 1).tolist() == [[1], [0]]
    assert torch.multinomial(torch.ones(0, 3), 2).shape == (0, 2)


def test_draws_around_tensors_get_a_gradient_of_zero():
    mean = torch.ones(3, requires_grad=True)
    std = torch.ones(2, 1, requires_grad=True)
    (torch.normal(mean, std).sum() + torch.normal(mean, 2.0).sum()).backward()
    (torch.bernoulli(mean).sum() + torch.poisson(mean).sum()).backward()

    assert mean.grad.tolist() == [0, 0, 0]
    assert std.grad.tolist() == [[0], [0]]


def test_draws_without_a_derivative_say_so():
    x = torch.full((3,), 0.5, requires_grad=True)

    with pytest.raises(RuntimeError, match="derivative for aten::binomial is not implemented"):
        torch.binomial(torch.ones(3), x).sum().backward()
    with pytest.raises(RuntimeError, match="derivative for aten::_sample_dirichlet"):
        torch._sample_dirichlet(x).sum().backward()
    grad = torch._standard_gamma_grad(x, torch.ones(3))
    with pytest.raises(NotImplementedError, match="_standard_gamma_grad"):
        grad.sum().backward()


def test_exponential_draws_as_gamma_draws_move_like_the_closed_form():
    """Shape 1 is the exponential distribution. At its median, ln 2, the slope is known."""
    h, x = 1e-4, math.log(2.0)
    slope = slopes.gamma_slope(np.array([1.0]), np.array([x]))[0]

    def level(a: float) -> float:
        """P(a, x + slope (a - 1)) by the series of the incomplete gamma function."""
        at = x + slope * (a - 1)
        term = at**a * math.exp(-at) / math.gamma(a + 1)
        total = 0.0
        for n in range(60):
            total += term
            term *= at / (a + n + 1)
        return total

    assert level(1 + h) == pytest.approx(level(1 - h), abs=1e-12)


@pytest.mark.parametrize("shape", [0.1, 1.0, 7.0, 300.0])
def test_both_forms_of_the_gamma_slope_agree(shape):
    """The series converges everywhere, if slowly; the fraction above the mean."""
    a = np.full(3, shape)
    x = shape + 1 + np.array([0.0, 0.3, 1.0])

    one, other = slopes._gamma_by_series(a, x), slopes._gamma_by_fraction(a, x)

    np.testing.assert_allclose(one, other, rtol=1e-10)


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.7), (1.0, 1.0), (20.0, 3.0), (300.0, 500.0)])
def test_both_forms_of_the_beta_slope_agree(a, b):
    shape, total = np.full(3, a), np.full(3, a + b)
    x = a / (a + b) * np.array([0.95, 1.0, 1.0]) + np.array([0, 0, 0.02])

    one = slopes._beta_from_left(x, shape, total)
    other = slopes._beta_from_right(x, shape, total)

    np.testing.assert_allclose(one, other, rtol=1e-10)


def test_uniform_draws_as_beta_draws_move_like_the_closed_form():
    """With a = b = 1, x^a is the level: dx/da = -x ln x."""
    x = np.array([0.1, 0.5, 0.9])

    found = slopes.beta_slope(x, np.ones(3), np.full(3, 2.0))

    np.testing.assert_allclose(found * (1 - x), -x * np.log(x), rtol=1e-13)


def test_counts_of_extreme_parameters_are_drawn_without_an_error():
    far = tensor([math.inf, 1e19, 1e300], dtype=torch.float64)

    assert torch.binomial(far, torch.full_like(far, 0.5))[0] == math.inf
    assert torch.binomial(tensor([50.0]), tensor([1e-45])).item() == 0
    assert torch.binomial(tensor([50.0]).double(), tensor([5e-324]).double()).item() == 0
    assert torch.binomial(tensor([math.nan, 3.0]), tensor([0.5, math.nan])).isnan().all()
    assert torch.poisson(far).shape == (3,)
    assert torch._standard_gamma(tensor([-1.0, 0.0, math.nan, -0.5])).shape == (4,)
