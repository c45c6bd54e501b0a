"""Section 5 of the learning path: fully connected layers and activation functions."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import taper as torch
import taper.nn.functional as F
from taper import nn

POINTS = np.linspace(-4, 4, 33)


def _erf(x: np.ndarray) -> np.ndarray:
    return np.array([math.erf(value) for value in x])


# Function, its value and its derivative in numpy.
ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], Any, Any]] = {
    "sigmoid": (
        torch.sigmoid,
        lambda x: 1 / (1 + np.exp(-x)),
        lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2,
    ),
    "tanh": (torch.tanh, np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "relu": (torch.relu, lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "elu": (
        F.elu,
        lambda x: np.where(x > 0, x, np.exp(x) - 1),
        lambda x: np.where(x > 0, 1, np.exp(x)),
    ),
    "leaky_relu": (
        F.leaky_relu,
        lambda x: np.where(x > 0, x, 0.01 * x),
        lambda x: np.where(x > 0, 1, 0.01),
    ),
    "gelu": (
        F.gelu,
        lambda x: x * (1 + _erf(x / 2**0.5)) / 2,
        lambda x: (1 + _erf(x / 2**0.5)) / 2 + x * np.exp(-x * x / 2) / (2 * np.pi) ** 0.5,
    ),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_and_its_derivative_follow_their_formulas(name: str):
    function, value, derivative = ACTIVATIONS[name]
    x = torch.tensor(POINTS, requires_grad=True)

    y = function(x)
    y.sum().backward()

    np.testing.assert_allclose(y.detach().numpy(), value(POINTS), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(x.grad.numpy(), derivative(POINTS), rtol=1e-12, atol=1e-14)


def test_tanh_is_a_scaled_sigmoid():
    x = torch.tensor(POINTS)

    np.testing.assert_allclose(
        torch.tanh(x).numpy(), (2 * torch.sigmoid(2 * x) - 1).numpy(), atol=1e-14
    )


def test_linear_has_the_signature_of_the_section():
    parameters = inspect.signature(nn.Linear).parameters

    assert list(parameters) == ["in_features", "out_features", "bias", "device", "dtype"]
    assert [p.default for p in parameters.values()][2:] == [True, None, None]


def test_linear_computes_x_times_the_transposed_weight_plus_bias():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    x = torch.randn(5, 3)

    expected = x.numpy() @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-6)


def test_linear_changes_only_the_last_dimension():
    layer = nn.Linear(3, 2, bias=False)

    assert layer(torch.zeros(3)).shape == (2,)
    assert layer(torch.zeros(4, 5, 3)).shape == (4, 5, 2)
    assert layer.bias is None


def test_linear_starts_uniformly_within_one_over_the_root_of_its_inputs():
    torch.manual_seed(0)

    layer = nn.Linear(400, 300)

    for parameter in (layer.weight, layer.bias):
        assert parameter.abs().max().item() <= 1 / 400**0.5
        assert parameter.abs().max().item() > 0.95 / 400**0.5
    assert abs(layer.weight.mean().item()) < 1e-3


def test_without_activations_three_layers_are_one():
    torch.manual_seed(0)
    deep = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)).to(torch.float64)
    weight, bias = torch.eye(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for layer in deep:
        weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
    x = torch.randn(6, 4, dtype=torch.float64)

    np.testing.assert_allclose(
        deep(x).detach().numpy(), (x @ weight.T + bias).detach().numpy(), rtol=1e-12
    )


def test_with_activations_a_network_approximates_a_function():
    torch.manual_seed(0)
    x = torch.linspace(-3, 3, 64).unsqueeze(1)
    y = torch.sin(x)
    model = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

    for _ in range(300):
        loss = F.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss.item() < 1e-3
