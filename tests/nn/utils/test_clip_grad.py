"""Clipping of gradients: norms of every order, in place, without touching what is small enough."""

from __future__ import annotations

import math

import pytest

import taper as torch
from taper import nn
from taper.nn import utils


def parameters(*gradients):
    made = []
    for gradient in gradients:
        parameter = nn.Parameter(torch.zeros(len(gradient)))
        parameter.grad = torch.tensor(gradient)
        made.append(parameter)
    return made


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (0, 1.0),  # a norm of norms: the second tensor's is 0
        (0.5, 17.1915),
        (1, 6.0),
        (2, math.sqrt(14)),
        (3, 36 ** (1 / 3)),
        (math.inf, 3.0),
        ("inf", 3.0),
        (-1.0, 0.0),
    ],
)
def test_the_total_norm_is_the_norm_of_the_norms(order, expected):
    total = utils.get_total_norm([torch.tensor([1.0, 2.0, 3.0]), torch.zeros(2)], order)

    assert total.shape == () and total.dtype is torch.float32
    assert float(total) == pytest.approx(expected, rel=1e-5)


def test_clipping_scales_all_gradients_by_one_factor_and_returns_the_norm_before():
    given = parameters([3.0, 0.0], [0.0, 4.0])

    total = utils.clip_grad_norm_(given, 1.0)

    assert float(total) == 5
    assert given[0].grad.tolist() == pytest.approx([0.6, 0])
    assert given[1].grad.tolist() == pytest.approx([0, 0.8])


def test_a_norm_below_the_limit_changes_nothing():
    (given,) = parameters([0.3, 0.4])
    before = given.grad._version

    utils.clip_grad_norm_(given, 1.0)

    assert given.grad.tolist() == pytest.approx([0.3, 0.4])
    assert given.grad._version == before


def test_clipping_counts_as_a_write():
    (given,) = parameters([3.0, 4.0])
    before = given.grad._version

    utils.clip_grad_norm_(given, 1.0)

    assert given.grad._version > before


def test_parameters_without_gradient_are_passed_over():
    given = [nn.Parameter(torch.ones(2)), *parameters([2.0])]

    assert float(utils.clip_grad_norm_(given, 1.0)) == 2
    assert given[0].grad is None
    assert float(utils.clip_grad_norm_(given[:1], 1.0)) == 0
    assert utils.clip_grad_norm_([], 1.0).shape == ()


def test_an_empty_generator_warns():
    with pytest.warns(UserWarning, match="empty generator"):
        utils.clip_grad_norm_((p for p in ()), 1.0)


def test_nan_spreads_and_is_an_error_if_asked_for():
    given = parameters([math.nan, 1.0], [2.0])

    with pytest.raises(RuntimeError, match=r"norm of order 2.0 .* is non-finite"):
        utils.clip_grad_norm_(given, 1.0, error_if_nonfinite=True)
    total = utils.clip_grad_norm_(given, 1.0)

    assert math.isnan(float(total)) and math.isnan(given[1].grad.item())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_other_dtypes_are_clipped_too(dtype):
    given = torch.ones(4).to(dtype).requires_grad_()
    given.grad = torch.tensor([3.0, 4.0, 0.0, 0.0]).to(dtype)

    total = utils.clip_grad_norm_([given], 1.0)

    assert total.dtype is (torch.float32 if dtype is torch.complex64 else dtype)
    assert given.grad.dtype is dtype
    assert float(given.grad.abs().float().max()) == pytest.approx(0.8, rel=0.01)


def test_transposed_gradients_are_clipped_in_their_own_memory():
    given = nn.Parameter(torch.zeros(2, 3))
    memory = torch.ones(3, 2)
    given.grad = memory.t()

    utils.clip_grad_norm_(given, 1.0)

    assert float((memory**2).sum()) == pytest.approx(1, rel=1e-4)


def test_clipping_with_a_given_norm():
    given = parameters([3.0], [4.0])

    assert utils.clip_grads_with_norm_(given, 1.0, torch.tensor(10.0)) is None

    assert [p.grad.item() for p in given] == pytest.approx([0.3, 0.4])


def test_values_are_moved_into_the_interval():
    (given,) = parameters([-3.0, 0.1, 5.0])

    utils.clip_grad_value_(given, 0.5)

    assert given.grad.tolist() == pytest.approx([-0.5, 0.1, 0.5])


def test_the_old_name_warns():
    with pytest.warns(FutureWarning, match="clip_grad_norm_"):
        utils.clip_grad_norm(parameters([3.0]), 1.0)


def test_parameters_become_a_vector_and_back():
    layer = nn.Linear(2, 2)

    vector = utils.parameters_to_vector(layer.parameters())
    utils.vector_to_parameters(torch.arange(6.0), layer.parameters())

    assert vector.shape == (6,)
    assert layer.weight.tolist() == [[0, 1], [2, 3]] and layer.bias.tolist() == [4, 5]
    with pytest.raises(TypeError, match=r"expected torch\.Tensor"):
        utils.vector_to_parameters([1.0], layer.parameters())
