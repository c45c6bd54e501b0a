"""Batch norm's kernels: against numpy in float64, past the ends, any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import taper
from taper.backends import channels as plain
from taper.backends.llvm import build, call
from taper.backends.llvm.batch_norm import BatchNorm, BatchNormGrad
from taper.backends.llvm.functions import channels

DTYPES = {"float": np.float32, "double": np.float64}
TOLERANCE = {"float": 3e-7, "double": 1e-15}
SHAPES = [(3, 5, 1), (2, 3, 15), (1, 4, 16), (4, 2, 17), (5, 3, 49), (2, 2, 64), (3, 1, 1003)]
GUARD = 7.5


def guarded(*dims, dtype):
    """An array of these dimensions with numbers behind it, which must stay."""
    count = int(np.prod(dims))
    memory = np.full(count + 32, GUARD, dtype)
    return memory[:count].reshape(dims), memory[count:]


def drawn(*dims, dtype=np.float32, seed=0):
    return np.random.default_rng([seed, *dims]).standard_normal(dims).astype(dtype)


def run(spec, *arguments):
    kernel = call.through_ctypes(build.library(spec).addresses["kernel"], spec.kinds)
    kernel(*arguments)


def close(made, exact, element, terms=1):
    bound = TOLERANCE[element] * max(1, np.sqrt(terms) / 8) * np.abs(exact).max()
    np.testing.assert_allclose(made, exact, rtol=0, atol=bound)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("element", DTYPES)
@pytest.mark.parametrize(("weight", "bias"), [(True, True), (True, False), (False, False)])
def test_the_kernel_gives_its_meaning(shape, element, weight, bias):
    dtype, count = DTYPES[element], shape[1]
    x = drawn(*shape, dtype=dtype)
    given = [drawn(count, dtype=dtype, seed=s) for s, has in ((1, weight), (2, bias)) if has]
    spec = BatchNorm(element, weight, bias)
    made = [guarded(*dims, dtype=dtype) for dims in (shape, *[(count,)] * 3)]

    for begin, end in ((1, count), (0, 1)):
        run(spec, x, *given, *(m for m, _ in made), 1e-3, *shape, begin, end)

    expected = spec.interpret(x.astype("d"), *(p.astype("d") for p in given), 1e-3)
    for (result, behind), exact in zip(made, expected, strict=True):
        close(result, exact, element)
        assert (behind == GUARD).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("element", DTYPES)
@pytest.mark.parametrize("weight", [True, False])
def test_the_kernel_of_the_derivative_gives_its_meaning(shape, element, weight):
    dtype, count = DTYPES[element], shape[1]
    grad, x = drawn(*shape, dtype=dtype, seed=1), drawn(*shape, dtype=dtype)
    given = [drawn(count, dtype=dtype, seed=2)] if weight else []
    given += [drawn(count, dtype=dtype, seed=3), np.abs(drawn(count, dtype=dtype, seed=4))]
    spec = BatchNormGrad(element, weight)
    made = [guarded(*dims, dtype=dtype) for dims in (shape, (count,), (count,))]

    for begin, end in ((1, count), (0, 1)):
        run(spec, grad, x, *given, *(m for m, _ in made), *shape, begin, end)

    expected = spec.interpret(*(a.astype("d") for a in (grad, x, *given)))
    for (result, behind), exact in zip(made, expected, strict=True):
        close(result, exact, element, shape[0] * shape[2])
        assert (behind == GUARD).all()


def test_a_large_mean_does_not_spoil_the_variance():
    x = drawn(8, 3, 20, 20) + np.float32(1000)

    _, mean, _, variance = channels.normalize_channels(x, None, None, 1e-5)

    exact = x.astype("d")
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)), rtol=1e-7)
    np.testing.assert_allclose(variance, exact.var((0, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_not_finite_spoils_its_channel_alone(number):
    x = drawn(2, 3, 5, 5)
    x[1, 1, 2, 2] = number

    made = channels.normalize_channels(x, None, None, 1e-5)[0]

    assert np.isnan(made[:, 1]).all()
    np.testing.assert_array_equal(np.isnan(made[:, [0, 2]]), False)


def test_the_number_of_threads_changes_no_bit():
    x, grad = drawn(16, 24, 30, 30), drawn(16, 24, 30, 30, seed=1)
    before, found = taper.get_num_threads(), []
    for threads in (1, 2):
        taper.set_num_threads(threads)
        _, mean, scale, _ = made = channels.normalize_channels(x, None, None, 1e-5)
        needs = (True, True, True)
        found.append([*made, *channels.normalize_channels_grad(grad, x, None, mean, scale, needs)])
    taper.set_num_threads(before)

    for one, two in zip(*found, strict=True):
        assert one.tobytes() == two.tobytes()


def test_arrays_with_gaps_go_to_the_reference():
    x = drawn(4, 5, 6, 12)[:, :, :, ::2]

    ours, meant = (f(x, None, None, 1e-5) for f in (
        channels.normalize_channels, plain.normalize_channels
    ))  # fmt: skip

    for made, exact in zip(ours, meant, strict=True):
        assert made.tobytes() == exact.tobytes()
