"""The pooling kernels against their meaning in numpy: values, ties, nan, padding, both directions."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends import pooling as reference
from taper.backends.llvm import build, call, machine
from taper.backends.llvm.functions import pool
from taper.backends.llvm.pooling import AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad, Windows

DTYPES = {"float": np.float32, "double": np.float64}
TOLERANCE = {"float": 3e-6, "double": 1e-14}
GUARD = 7.5
PLANES = 5


def windows(size, kernel, stride, padding=(0, 0), dilation=(1, 1), more=(0, 0)):
    """`more` outputs than fit, as ceil_mode gives them."""
    out = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1 + m
        for n, k, s, p, d, m in zip(size, kernel, stride, padding, dilation, more, strict=True)
    )
    return Windows(size, out, kernel, stride, padding, dilation)


WINDOWS = {
    "pairs of a signal": windows((1, 28), (1, 2), (1, 2)),
    "squares": windows((28, 28), (2, 2), (2, 2)),
    "squares of short rows": windows((10, 10), (2, 2), (2, 2)),
    "squares, one in a row": windows((6, 2), (2, 2), (2, 2)),
    "pairs of short rows": windows((7, 6), (1, 2), (1, 2)),
    "squares of wide rows": windows((8, 66), (2, 2), (2, 2)),
    "squares that do not cover": windows((11, 13), (2, 2), (2, 2)),
    "overlapping, padded": windows((11, 37), (3, 3), (2, 2), (1, 1)),
    "overlapping everywhere": windows((9, 40), (3, 3), (1, 1), (1, 1)),
    "dilated": windows((12, 9), (3, 2), (1, 1), (1, 1), (1, 3)),
    "dilated rows": windows((9, 9), (3, 2), (1, 3), (1, 1), (2, 1)),
    "the whole plane": windows((7, 7), (7, 7), (7, 7)),
    "over the end": windows((1, 50), (1, 5), (1, 3), (0, 2), (1, 1), (0, 1)),
    "squares over the end": windows((9, 9), (2, 2), (2, 2), (0, 0), (1, 1), (1, 1)),
    "gaps": windows((12, 34), (2, 2), (3, 3)),
    "one element": windows((1, 1), (1, 1), (1, 1)),
}
UNDILATED = [name for name, w in WINDOWS.items() if w.dilation == (1, 1)]


def guarded(dims, dtype):
    """An array of these dimensions and the whole memory it lies in, with numbers behind it."""
    count = int(np.prod(dims))
    memory = np.full(count + 64, GUARD, dtype)
    return memory[:count].reshape(dims), memory


def run(spec, *arrays):
    """Runs the kernel on all planes in two ranges, the second before the first."""
    kinds = (*("array",) * (len(arrays) + 1), "int", "int", "int", "int")
    kernel = call.through_ctypes(build.library(spec).addresses["kernel"], kinds)
    scratch = np.full(spec.scratch(machine.host(), 2), np.nan, arrays[0].dtype)
    for first in (1, 0):
        kernel(*arrays, scratch, 3, PLANES, first, first + 1)


def given(name, values, element):
    """Planes of numbers: all different, with ties, or with nan and infinities."""
    draw = np.random.default_rng(len(name))
    dims = (PLANES, *WINDOWS[name].size)
    if values == "different":
        return draw.standard_normal(dims).astype(DTYPES[element])
    x = draw.integers(-2, 3, dims).astype(DTYPES[element])
    if values == "special":
        x[draw.random(dims) < 0.2] = np.nan
        x[draw.random(dims) < 0.4] = -np.inf
        x[1] = -np.inf
    return x


def gradient(name, element):
    dims = (PLANES, *WINDOWS[name].out)
    return np.random.default_rng(len(name)).standard_normal(dims).astype(DTYPES[element])


@pytest.mark.parametrize("element", DTYPES)
@pytest.mark.parametrize("values", ["different", "ties", "special"])
@pytest.mark.parametrize("name", WINDOWS)
def test_the_maximum_and_where_its_gradient_goes(name, values, element):
    x, grad = given(name, values, element), gradient(name, element)
    y, behind_y = guarded(grad.shape, x.dtype)
    dx, behind_dx = guarded(x.shape, x.dtype)

    run(MaxPool(WINDOWS[name], element), x, y)
    run(MaxPoolGrad(WINDOWS[name], element), grad, x, dx)

    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(y, MaxPool(WINDOWS[name], element).interpret(x))
        expected = MaxPoolGrad(WINDOWS[name], element).interpret(grad, x)
    tolerance = TOLERANCE[element]
    np.testing.assert_allclose(dx, expected, rtol=tolerance, atol=tolerance)
    assert (behind_y[y.size :] == GUARD).all() and (behind_dx[dx.size :] == GUARD).all()


@pytest.mark.parametrize("element", DTYPES)
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", UNDILATED)
def test_the_mean_and_its_adjoint(name, whole, element):
    w = WINDOWS[name]
    x, grad = given(name, "different", element), gradient(name, element)
    divisor = reference.divisor(w.size, w.kernel, w.stride, w.padding, w.out, whole, None)
    table = np.array(np.broadcast_to(divisor, w.out), x.dtype)
    number = float(divisor) if np.ndim(divisor) == 0 else 0.0
    y, behind_y = guarded(grad.shape, x.dtype)
    dx, behind_dx = guarded(x.shape, x.dtype)

    run(AvgPool(w, element, number), x, table, y)
    if w.apart:
        run(AvgPoolGrad(w, element, number), grad, table, dx)
    else:
        geometry = (w.size, w.kernel, w.stride, w.padding, w.out, whole, None)
        dx[...] = pool.avg_pool_grad(grad, *geometry)

    tolerance = {"rtol": TOLERANCE[element], "atol": TOLERANCE[element]}
    np.testing.assert_allclose(y, AvgPool(w, element).interpret(x, table), **tolerance)
    np.testing.assert_allclose(dx, AvgPoolGrad(w, element).interpret(grad, table), **tolerance)
    assert (behind_y[y.size :] == GUARD).all() and (behind_dx[dx.size :] == GUARD).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64])
@pytest.mark.parametrize("lead", [(), (3,), (0, 2), (5, 7)])
def test_the_functions_agree_with_the_reference(lead, dtype):
    x = (np.random.default_rng(0).random((*lead, 9, 7)) * 50).astype(dtype)
    geometry = (3, 2), (2, 1), (1, 1), (1, 1)
    out = (5, 8)
    grad = (np.random.default_rng(1).random((*lead, *out)) * 50).astype(dtype)
    mean = (*geometry[:3], out, False, None)

    for ours, expected in (
        (pool.max_pool(x, *geometry, out), reference.max_pool(x, *geometry, out)),
        (
            pool.max_pool_grad(grad, x, *geometry, out),
            reference.max_pool_grad(grad, x, *geometry, out),
        ),
        (pool.avg_pool(x, *mean), reference.avg_pool(x, *mean)),
        (
            pool.avg_pool_grad(grad, (9, 7), *mean),
            reference.avg_pool_grad(grad, (9, 7), *mean),
        ),
    ):
        assert ours.dtype == expected.dtype and ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=1e-2 if dtype == np.float16 else 1e-5)


def test_large_windows_and_volumes_agree_with_the_reference():
    x = np.random.default_rng(0).random((2, 20, 20, 20), np.float32)
    wide = (11, 11), (3, 3), (0, 0), (1, 1), (4, 4)
    deep = (2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1), (10, 10, 10)

    assert (pool.max_pool(x, *wide) == reference.max_pool(x, *wide)).all()
    assert (pool.max_pool(x, *deep) == reference.max_pool(x, *deep)).all()


@pytest.mark.skipif("TAPER_TARGET" in os.environ, reason="this is the restricted run")
def test_the_kernels_of_a_smaller_processor_pass_these_tests():
    if machine.host().target != "avx512":
        pytest.skip("the tests themselves run on a smaller one")
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "TAPER_TARGET": "avx2"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert shown.returncode == 0, shown.stdout[-3000:]


@pytest.mark.parametrize("kind", [MaxPool, MaxPoolGrad, AvgPool, AvgPoolGrad])
def test_the_kernels_compile_for_arm(kind):
    arm = machine.cross("neon", "aarch64-unknown-linux-gnu")

    assert ".4s" in build.assembly(kind(WINDOWS["squares"]), arm)
