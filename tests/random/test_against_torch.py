"""Sizes, strides and dtypes beyond the recorded cases, compared with an installed PyTorch."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import taper
import taper.nn.functional

torch: Any = pytest.importorskip("torch")

SIZES = (0, 1, 2, 15, 16, 17, 31, 33, 1000, 20003)
FLOATING = ("float32", "float64", "float16", "bfloat16")
INTEGERS = ("int64", "int32", "int16", "int8", "uint8", "bool")

# The call, given the package, a tensor to fill or to copy the look of, and its dtype.
FILLS = {
    "rand": lambda m, x: m.rand(x.numel(), dtype=x.dtype),
    "randn": lambda m, x: m.randn(x.numel(), dtype=x.dtype),
    "rand_like": lambda m, x: m.rand_like(x),
    "randn_like": lambda m, x: m.randn_like(x),
    "uniform_": lambda m, x: x.uniform_(-0.3, 0.71),
    "normal_": lambda m, x: x.normal_(0.3, 1.7),
    "log_normal_": lambda m, x: x.log_normal_(0.3, 0.7),
    "exponential_": lambda m, x: x.exponential_(1.3),
    "geometric_": lambda m, x: x.geometric_(0.3),
    "cauchy_": lambda m, x: x.cauchy_(0.7, 1.3),
    "random_": lambda m, x: x.random_(),
    "bernoulli_": lambda m, x: x.bernoulli_(0.3),
    "bernoulli_tensor": lambda m, x: x.bernoulli_(m.tensor(0.3)),
    "dropout": lambda m, x: m.nn.functional.dropout(x + 1, 0.3),
    "poisson": lambda m, x: m.poisson(x.abs() * 0 + 3.5),
    "normal of tensors": lambda m, x: m.normal(x * 0 + 1, x * 0 + 2),
}


def same(call: Any, make: Any, seed: int = 3) -> None:
    """Values, strides and the generator's state afterwards agree."""
    made = []
    for m in (torch, taper):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            m.manual_seed(seed)
            result = call(m, make(m))
        values = result.double().numpy().tolist() if result.dtype != m.bool else result.tolist()
        state = bytes(m.get_rng_state().numpy())
        # The stride of a dimension of one element is of no account.
        strides = [s for n, s in zip(result.shape, result.stride(), strict=True) if n > 1]
        made.append((repr(values), strides, str(result.dtype), state))

    assert made[0] == made[1]


@pytest.mark.parametrize("name", FILLS)
@pytest.mark.parametrize("dtype", FLOATING)
def test_every_size_agrees(name, dtype):
    for size in SIZES:
        same(FILLS[name], lambda m, n=size: m.zeros(n, dtype=getattr(m, dtype)))


@pytest.mark.parametrize("name", FILLS)
def test_every_order_of_memory_agrees(name):
    looks = [
        lambda m: m.zeros(7, 4).t(),
        lambda m: m.zeros(2, 3, 4, 5).permute(0, 3, 1, 2),
        lambda m: m.zeros(6, 8)[::2, 1::3],
        lambda m: m.zeros(2, 3, 4).transpose(0, 2)[1:],
        lambda m: m.zeros(3, 1, 5).transpose(0, 1),
    ]
    for look in looks:
        same(FILLS[name], look)


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("name", ["random_", "bernoulli_", "bernoulli_tensor"])
def test_fills_of_integers_agree(name, dtype):
    same(FILLS[name], lambda m: m.zeros(100, dtype=getattr(m, dtype)))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", ["rand", "randn", "uniform_", "normal_"])
def test_complex_numbers_agree(name, dtype):
    for size in (1, 7, 8, 9, 100):
        same(
            lambda m, x: m.view_as_real(FILLS[name](m, x)),
            lambda m, n=size: m.zeros(n, dtype=getattr(m, dtype)),
        )


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize(
    "bounds",
    [(0, 10), (-5, 2**28 - 6), (-5, 2**28 - 5), (2**24 + 1, 2**24 + 3), (-300, 300), (5, None)],
)
def test_integers_between_bounds_agree_in_floating_dtypes(bounds, dtype):
    def call(m, x):
        try:
            return x.random_(*bounds)
        except RuntimeError as error:
            return m.tensor([len(str(error).partition("\n")[0])])

    same(call, lambda m: m.zeros(50, dtype=getattr(m, dtype)))


@pytest.mark.parametrize("size", [0, 1, 2, 3197])
def test_permutations_agree(size):
    same(lambda m, x: m.randperm(size), lambda m: None)
    same(lambda m, x: m.randperm(min(size, 200), dtype=m.float16), lambda m: None)


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("count", [1, 2, 11, 60])
@pytest.mark.parametrize("dtype", FLOATING)
def test_choices_agree_though_weights_are_equal(replacement, count, dtype):
    weights = np.random.default_rng(0).integers(0, 3, (3, 700))

    def make(m):
        return m.tensor(weights).to(getattr(m, dtype))

    same(lambda m, x: m.multinomial(x, count, replacement), make)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_by_rejection_agree(dtype):
    rng = np.random.default_rng(0)
    shapes = rng.exponential(2.0, (4, 50))
    counts, chances = rng.integers(0, 2000, 200), rng.random(200)

    def tensors(values):
        return lambda m: m.tensor(values).to(getattr(m, dtype))

    same(lambda m, x: m._standard_gamma(x), tensors(shapes))
    same(lambda m, x: m._sample_dirichlet(x), tensors(shapes))
    same(lambda m, x: m.poisson(x), tensors(shapes * 20))
    for m in (torch, taper):
        assert m.binomial(tensors(counts)(m), tensors(chances)(m)).dtype == getattr(m, dtype)
    same(lambda m, x: m.binomial(x, tensors(chances)(m)), tensors(counts))
