"""Powers: the small exponents are products and roots, with the rounding of PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import taper

EXPONENTS = [2, 3, 0.5, -0.5, -1, -2, 1.5, 4, -3]


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_a_power_and_its_derivative_are_those_of_float64(exponent):
    x = np.linspace(0.1, 3, 50, dtype=np.float32)
    y = taper.tensor(x, requires_grad=True)

    (y**exponent).sum().backward()

    wide = x.astype(np.float64)
    np.testing.assert_allclose((y.detach() ** exponent).numpy(), wide**exponent, rtol=3e-7)
    np.testing.assert_allclose(y.grad.numpy(), exponent * wide ** (exponent - 1), rtol=5e-7)


@pytest.mark.parametrize("exponent", [3, -0.5, -1, -2])
def test_halves_are_rounded_once(exponent):
    x = np.linspace(0.1, 3, 200).astype(np.float16)

    found = taper.tensor(x) ** exponent

    assert found.dtype == taper.float16
    expected = (x.astype(np.float64) ** exponent).astype(np.float16)
    assert (found.numpy() != expected).mean() < 0.01


@pytest.mark.parametrize("exponent", [3, -0.5, -1, -2])
def test_zeros_and_infinities_have_their_limits(exponent):
    x = taper.tensor([0.0, float("inf"), float("nan")])

    zero, infinite, missing = (x**exponent).tolist()

    assert (zero, infinite) == ((0.0, np.inf) if exponent > 0 else (np.inf, 0.0))
    assert missing != missing


def test_cubes_of_integers_wrap_as_products_do():
    assert (taper.tensor([7, 200], dtype=taper.uint8) ** 3).tolist() == [343 % 256, 200**3 % 256]
