"""Activations: particular values, edges, in place, dtypes and errors.

The generic checks of every op (derivatives, strides, dtypes) are in test_every_op.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import taper as torch
import taper.nn.functional as F
from taper import nn

inf, nan = math.inf, math.nan

# at -2, -0.5, 0, 1 and 7, by PyTorch 2.13 in float64
GOLDEN = {
    "relu": [0, 0, 0, 1, 7],
    "relu6": [0, 0, 0, 1, 6],
    "elu": [-0.8646647167633873, -0.3934693402873666, 0, 1, 7],
    "selu": [-1.5201664686, -0.6917581878, 0, 1.0507009874, 7.3549069115],
    "celu": [-0.8646647167633873, -0.3934693402873666, 0, 1, 7],
    "silu": [-0.2384058440, -0.1887703344, 0, 0.7310585786, 6.9936226416],
    "mish": [-0.2525014827, -0.2207437747, 0, 0.8650983883, 6.9999883798],
    "hardtanh": [-1, -0.5, 0, 1, 1],
    "hardswish": [-1 / 3, -0.2083333333, 0, 2 / 3, 7],
    "hardsigmoid": [1 / 6, 0.4166666667, 0.5, 2 / 3, 1],
    "hardshrink": [-2, 0, 0, 1, 7],
    "softshrink": [-1.5, 0, 0, 0.5, 6.5],
    "tanhshrink": [-1.0359724199, -0.0378828427, 0, 0.2384058440, 6.0000016631],
    "leaky_relu": [-0.02, -0.005, 0, 1, 7],
    "rrelu": [-0.4583333333, -0.1145833333, 0, 1, 7],
    "logsigmoid": [-2.1269280110, -0.9740769842, -0.6931471806, -0.3132616875, -0.0009114665],
    "softsign": [-2 / 3, -1 / 3, 0, 0.5, 0.875],
    "softplus": [0.1269280110, 0.4740769842, 0.6931471806, 1.3132616875, 7.0009114665],
}


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_values(name):
    x = torch.tensor([-2.0, -0.5, 0, 1, 7], dtype=torch.float64)

    np.testing.assert_allclose(getattr(F, name)(x).tolist(), GOLDEN[name], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["none", "tanh"])
def test_gelu(name):
    expected = {
        "none": [-0.0455002639, -0.1542687694, 0, 0.8413447461, 6.9999999999910],
        "tanh": [-0.0454023059, -0.1542859903, 0, 0.8411919906, 7.0],
    }
    x = torch.tensor([-2.0, -0.5, 0, 1, 7], dtype=torch.float64)

    np.testing.assert_allclose(F.gelu(x, approximate=name).tolist(), expected[name], rtol=1e-8)


def test_gelu_of_float32_is_as_accurate_as_it_says():
    given = torch.linspace(-9, 9, 1801, requires_grad=True)
    out = F.gelu(given)
    out.sum().backward()
    for x, y, slope in zip(given.tolist(), out.tolist(), given.grad.tolist(), strict=True):
        share = math.erfc(-x / math.sqrt(2)) / 2
        bell = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

        assert abs(y - x * share) <= min(3e-7 * max(1, abs(x)), 5e-6 * abs(x * share))
        assert abs(slope - share - x * bell) < 5e-7


# ---------------------------------------------------------------- relu


def test_relu_keeps_nan_and_has_derivative_0_at_0():
    x = torch.tensor([-1.0, 0.0, 2.0, nan], requires_grad=True)
    y = torch.relu(x)
    y.backward(torch.ones(4))

    assert str(y.detach()) == "tensor([0., 0., 2., nan])"
    assert x.grad.tolist() == [0, 0, 1, 1]


def test_the_gradient_of_relu_is_0_even_where_infinity_arrives():
    x = torch.tensor([-1.0, 1.0], requires_grad=True)
    torch.relu(x).backward(torch.tensor([inf, inf]))

    assert x.grad.tolist() == [0, inf]


def test_relu_of_a_negative_zero_is_a_negative_zero():
    assert str(torch.relu(torch.tensor([-0.0]))) == "tensor([-0.])"


def test_relu_takes_integers_but_neither_bool_nor_complex():
    assert torch.relu(torch.tensor([-1, 2])).tolist() == [0, 2]
    with pytest.raises(RuntimeError, match="Boolean inputs not supported for relu"):
        torch.relu(torch.tensor([True]))
    with pytest.raises(NotImplementedError, match="not supported for complex types"):
        torch.relu(torch.tensor([1j]))


# ---------------------------------------------------------------- in place


@pytest.mark.parametrize(
    "name",
    [
        "relu",
        "relu6",
        "elu",
        "selu",
        "celu",
        "silu",
        "mish",
        "hardtanh",
        "hardswish",
        "hardsigmoid",
        "leaky_relu",
        "rrelu",
    ],
)
def test_in_place_gives_the_same_values_and_gradients(name):
    given = [-4.0, -2.0, -0.5, 0.3, 1.0, 7.0]
    function = getattr(F, name)
    one = torch.tensor(given, requires_grad=True)
    two = torch.tensor(given, requires_grad=True)
    function(one).sum().backward()
    copy = two * 1
    out = function(copy, inplace=True)
    out.sum().backward()

    assert out is copy
    assert out.tolist() == function(torch.tensor(given)).tolist()
    np.testing.assert_allclose(one.grad.tolist(), two.grad.tolist(), rtol=1e-6)


def test_in_place_variants_are_functions_and_methods():
    for name in ["relu_", "elu_", "selu_", "celu_", "hardtanh_", "leaky_relu_", "rrelu_"]:
        x = torch.tensor([-1.0, 1.0])
        assert getattr(F, name)(x) is x and x.tolist()[0] != -2
    x = torch.tensor([-1.0, 1.0])
    assert F.threshold_(x, 0, 5) is x and x.tolist() == [5, 1]
    assert x.relu_() is x and torch.relu_(x) is x and torch.selu_(x) is x


def test_a_leaf_that_requires_grad_cannot_be_overwritten():
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        F.relu(torch.ones(1, requires_grad=True), inplace=True)


# ---------------------------------------------------------------- half types, extremes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", sorted({*GOLDEN, "gelu"}))
def test_half_types_are_kept_and_rounded_once(name, dtype):
    given = [-2.0, -0.5, 0.0, 1.0, 7.0]
    x = torch.tensor(given, dtype=dtype, requires_grad=True)
    out = getattr(F, name)(x)
    out.sum().backward()
    exact = getattr(F, name)(torch.tensor(given, dtype=torch.float64))

    assert out.dtype is dtype and x.grad.dtype is dtype
    steps = 2 if name in ("softsign", "tanhshrink") else 0.5  # composites round every step
    unit = torch.finfo(dtype).eps
    np.testing.assert_allclose(
        out.tolist(), exact.tolist(), rtol=steps * unit, atol=steps * unit / 4
    )


@pytest.mark.parametrize("name", ["silu", "mish", "softplus", "elu", "selu", "hardswish", "gelu"])
def test_infinities_do_not_become_nan(name):
    top = getattr(F, name)(torch.tensor([inf, 1e30])).tolist()

    assert top[0] == inf and top[1] >= 1e30


@pytest.mark.parametrize("name", sorted({*GOLDEN, "gelu"}))
def test_nan_stays_nan(name):
    assert math.isnan(getattr(F, name)(torch.tensor(nan)).item())


def test_softplus_is_straight_above_its_threshold():
    x = torch.tensor([3.0, 2.0], dtype=torch.float64, requires_grad=True)
    y = F.softplus(x, beta=10, threshold=25)
    y.sum().backward()

    assert y.tolist()[0] == 3 and 2 < y.tolist()[1] < 2.1
    assert x.grad.tolist()[0] == 1 > x.grad.tolist()[1]


def test_logsigmoid_does_not_underflow():
    assert F.logsigmoid(torch.tensor([-1000.0, 1000.0])).tolist() == [-1000, 0]


# ---------------------------------------------------------------- parameters


def test_prelu_has_a_slope_for_each_channel():
    x = torch.full((2, 3, 2), -1.0)
    weight = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = F.prelu(x, weight)
    y.sum().backward()

    assert y[0, :, 0].tolist() == [-1, -2, -3]
    assert weight.grad.tolist() == [-4, -4, -4]


@pytest.mark.parametrize(
    ("shape", "weights", "message"),
    [
        ((2, 3), 2, "Found parameter numbers = 2 and channel size = 3"),
        ((), 2, "Not allow zero-dim input tensor"),
    ],
)
def test_prelu_checks_its_channels(shape, weights, message):
    with pytest.raises(RuntimeError, match=message):
        F.prelu(torch.ones(shape), torch.ones(weights))


def test_rrelu_draws_its_slopes_between_the_bounds():
    torch.manual_seed(0)
    x = torch.full((1000,), -1.0)
    slopes = -F.rrelu(x, 0.2, 0.4, training=True)

    assert 0.2 <= slopes.min() < 0.21 and 0.39 < slopes.max() <= 0.4
    # PyTorch's numbers for this seed
    np.testing.assert_allclose(
        slopes[:3].tolist(),
        [0.39401060342788696, 0.34156396985054016, 0.29187658429145813],
        rtol=1e-6,
    )


def test_glu_gates_one_half_with_the_other():
    x = torch.tensor([[1.0, 2.0, 0.0, 100.0]])

    assert F.glu(x).tolist() == [[0.5, 2.0]]
    with pytest.raises(RuntimeError, match="Halving dimension must be even, but dimension 1 is"):
        F.glu(torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="glu does not support scalars"):
        F.glu(torch.tensor(1.0))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: F.hardtanh(x, 2.0, 1.0), ValueError, "min_val cannot be greater than max_val"),
        (lambda x: F.gelu(x, approximate="x"), RuntimeError, "must be either none or tanh"),
        (lambda x: F.celu(x, 0.0), RuntimeError, "alpha cannot be 0 for CELU"),
        (lambda x: F.softshrink(x, -1.0), RuntimeError, "lambda must be in range"),
        (lambda x: F.rrelu(x, 0.5, 0.2), RuntimeError, "Lower bound should be less than"),
        (lambda x: F.elu(x.long()), NotImplementedError, "\"elu_cpu\" not implemented for 'Long'"),
        (lambda x: F.hardtanh(x.byte()), RuntimeError, "unsigned type with negative limits"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as raised:
        call(torch.ones(2))

    assert message in str(raised.value)


# ---------------------------------------------------------------- softmax


def test_softmax_adds_up_to_one_along_its_dimension():
    x = torch.arange(6.0).reshape(2, 3)

    np.testing.assert_allclose(F.softmax(x, 1).sum(1).tolist(), [1, 1], rtol=1e-6)
    np.testing.assert_allclose(x.softmax(0).sum(0).tolist(), [1, 1, 1], rtol=1e-6)


def test_softmax_neither_overflows_nor_underflows():
    x = torch.tensor([1000.0, 0.0, -inf])

    assert torch.softmax(x, 0).tolist() == [1, 0, 0]
    assert torch.log_softmax(x, 0).tolist() == [0, -1000, -inf]


def test_softmax_of_nothing_but_minus_infinity_is_nan():
    assert math.isnan(torch.softmax(torch.tensor([-inf, -inf]), 0)[0].item())


def test_softmax_casts_before_it_computes():
    x = torch.tensor([1, 2])

    assert F.softmax(x, 0, dtype=torch.float64).dtype is torch.float64
    with pytest.raises(NotImplementedError, match='"softmax_lastdim_kernel_impl" not impl'):
        F.softmax(x, 0)


def test_softmax_takes_empty_and_0_d_tensors():
    assert F.softmax(torch.ones(2, 0), 1).shape == (2, 0)
    assert F.softmax(torch.tensor(3.0), 0).item() == 1
    assert F.log_softmax(torch.tensor(3.0), -1).item() == 0


def test_a_missing_dimension_is_chosen_with_a_warning():
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        assert F.softmax(torch.zeros(2, 4)).tolist() == [[0.25] * 4] * 2


def test_softmin_prefers_the_smallest():
    assert F.softmin(torch.tensor([0.0, 1000.0]), 0).tolist() == [1, 0]


def test_hard_gumbel_softmax_is_one_hot_and_differentiable():
    logits = torch.zeros(4, 3, requires_grad=True)
    made = F.gumbel_softmax(logits, hard=True)
    (made * torch.arange(3.0)).sum().backward()

    assert made.sum(1).tolist() == [1, 1, 1, 1] and set(made.flatten().tolist()) == {0, 1}
    assert logits.grad.abs().sum() > 0


# ---------------------------------------------------------------- layers


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.ReLU(inplace=True), "ReLU(inplace=True)"),
        (nn.ELU(2.0), "ELU(alpha=2.0)"),
        (nn.GELU("tanh"), "GELU(approximate='tanh')"),
        (nn.Threshold(1, 2), "Threshold(threshold=1, value=2)"),
        (nn.LeakyReLU(0.1, True), "LeakyReLU(negative_slope=0.1, inplace=True)"),
        (nn.PReLU(3), "PReLU(num_parameters=3)"),
        (nn.Softmax(1), "Softmax(dim=1)"),
        (nn.Hardshrink(), "Hardshrink(0.5)"),
        (nn.ReLU6(), "ReLU6()"),
    ],
)
def test_texts_of_layers(layer, text):
    assert repr(layer) == text


def test_layers_that_overwrite_do():
    x = torch.tensor([-1.0, 2.0])

    assert nn.ReLU(inplace=True)(x) is x and x.tolist() == [0, 2]
