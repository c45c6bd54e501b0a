"""Pools over uneven windows, and where maxima are, against their meaning in numpy."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import taper
from taper.backends import pooling, pooling_uneven
from taper.backends.llvm import build, call, machine
from taper.backends.llvm.functions import pool, pool_uneven
from taper.backends.llvm.pooling_uneven import SLACK, UnevenMaxIndex, UnevenMean, UnevenMeanGrad

DTYPES = {"float": np.float32, "double": np.float64}
# size -> grid of windows that cover it evenly
GRIDS = [
    ((7, 7), (1, 1)),
    ((40, 40), (7, 7)),
    ((5, 33), (3, 4)),
    ((1, 1), (1, 1)),
    ((3, 4), (5, 6)),
    ((50,), (7,)),
    ((20, 70), (20, 70)),
]
# size, kernel, stride, padding, and how many windows more than fit
WINDOWS = [
    ((28, 28), (2, 2), (2, 2), (0, 0), 0),
    ((28, 28), (3, 3), (2, 2), (1, 1), 0),
    ((28, 28), (3, 3), (1, 1), (1, 1), 0),
    ((9, 9), (2, 2), (2, 2), (0, 0), 1),
    ((50,), (5,), (3,), (2,), 1),
    ((20, 20), (20, 20), (20, 20), (0, 0), 0),
    ((20, 20), (9, 9), (5, 5), (4, 4), 0),
]


def tied(shape, dtype):
    """Few different numbers, with nan, and a plane of minus infinity."""
    x = np.random.default_rng(0).integers(-3, 4, shape).astype(dtype)
    x[0].reshape(-1)[::5] = np.nan
    x[1] = -np.inf
    return x


def various(shape, dtype):
    return np.random.default_rng(1).normal(size=shape).astype(dtype)


def near(dtype):
    eps = np.finfo(dtype).eps
    return {"rtol": 300 * eps, "atol": 30 * eps}


@pytest.mark.parametrize("element", DTYPES)
@pytest.mark.parametrize(("size", "out"), [case for case in GRIDS if len(case[0]) == 2])
def test_the_kernels_agree_with_numpy_and_stay_in_their_arrays(size, out, element):
    dtype = DTYPES[element]
    bounds = np.concatenate(
        [
            np.array(pooling_uneven.uneven(n, o)).T.reshape(-1)
            for n, o in zip(size, out, strict=True)
        ]
    )
    sizes = (*size, *out, 2, 3, 0, 2)
    scratch = np.empty(2 * 2 * (size[1] + SLACK), np.int64)

    def run(spec, x, made):
        kernel = call.through_ctypes(build.library(spec).addresses["kernel"], spec.kinds)
        kernel(x, made, bounds, scratch, *sizes)

    memory, indices = np.full(10_000, 7.5, dtype), np.full(10_000, -7)
    x, grad, count = various((3, *size), dtype), various((3, *out), dtype), 3 * int(np.prod(out))
    run(UnevenMean(element), x, memory)
    run(UnevenMaxIndex(element), x, indices)
    wanted = UnevenMean(element).interpret(x, out).reshape(-1)
    np.testing.assert_allclose(memory[:count], wanted, **near(dtype))
    wanted = UnevenMaxIndex(element).interpret(x, out).reshape(-1)
    np.testing.assert_array_equal(indices[:count], wanted)
    assert (memory[count:] == 7.5).all() and (indices[count:] == -7).all()
    memory[: x.size], memory[x.size :] = 0, 7.5
    run(UnevenMeanGrad(element), memory, grad)
    wanted = UnevenMeanGrad(element).interpret(grad, size).reshape(-1)
    np.testing.assert_allclose(memory[: x.size], wanted, **near(dtype))
    assert (memory[x.size :] == 7.5).all()


@pytest.mark.parametrize("lead", [(3,), (2, 3), (70,), (0, 4)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize(("size", "out"), GRIDS)
def test_the_functions_agree_with_the_reference(size, out, dtype, lead):
    x = tied((*lead, *size), dtype) if 0 not in lead else np.empty((*lead, *size), dtype)
    np.testing.assert_array_equal(
        pool_uneven.uneven_max_index(x, out), pooling_uneven.uneven_max_index(x, out)
    )
    y, grad = various((*lead, *size), dtype), various((*lead, *out), dtype)
    for found, wanted in (
        (pool_uneven.uneven_mean(y, out), pooling_uneven.uneven_mean(y, out)),
        (pool_uneven.uneven_mean_grad(grad, size), pooling_uneven.uneven_mean_grad(grad, size)),
    ):
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_allclose(found, wanted, **near(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("size", "kernel", "stride", "padding", "more"), WINDOWS)
def test_where_maxima_are(size, kernel, stride, padding, more, dtype):
    out = tuple(
        (n + 2 * p - k) // s + 1 + more
        for n, k, s, p in zip(size, kernel, stride, padding, strict=True)
    )
    geometry = kernel, stride, padding, (1,) * len(size), out
    x, grad = tied((2, 3, *size), dtype), various((2, 3, *out), dtype)

    index = pool_uneven.max_index(x, *geometry)

    np.testing.assert_array_equal(index, pooling.max_index(x, *geometry))
    np.testing.assert_array_equal(
        pool_uneven.pick(x, index, len(out)), pooling.pick(x, index, len(out))
    )
    np.testing.assert_array_equal(pool.max_pool(x, *geometry), pooling.max_pool(x, *geometry))
    np.testing.assert_allclose(
        pool.max_pool_grad(grad, x, *geometry),
        pooling.max_pool_grad(grad, x, *geometry),
        **near(dtype),
    )


def test_the_number_of_threads_changes_no_bit():
    x = various((50, 40, 40), np.float32)
    before = taper.get_num_threads()
    made = []
    try:
        for count in (1, 3):
            taper.set_num_threads(count)
            grad = pool_uneven.uneven_mean_grad(x, (90, 90))
            made.append((pool_uneven.uneven_mean(grad, (7, 7)), grad))
    finally:
        taper.set_num_threads(before)

    for one, other in zip(*made, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(machine.host().target != "avx512", reason="avx2 is what is tested already")
def test_a_smaller_processor_passes_too():
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-x", __file__, "-k", "kernels or where"],
        env={**os.environ, "TAPER_TARGET": "avx2"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip

    assert shown.returncode == 0, shown.stdout[-2000:]
