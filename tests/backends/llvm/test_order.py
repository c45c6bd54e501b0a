"""The radix sort against numpy's stable sort: ties, nan, zeros of both signs, all dtypes and axes."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import taper
from taper.backends import order as reference
from taper.backends.llvm import build, call, machine
from taper.backends.llvm.functions import order
from taper.backends.llvm.order import Order

ELEMENTS = {"float": np.float32, "double": np.float64, "i32": np.int32, "i64": np.int64}
DTYPES = ["f", "d", "i", "l", "b", "B", "h", "I", "Q", "?", "e", "bfloat16"]


def numbers(shape, dtype):
    """Few different numbers; of floating ones some nan, infinities and negative zeros."""
    draw = np.random.default_rng(0)
    x = draw.integers(-20, 20, shape)
    if dtype == "bfloat16":
        dtype = taper.bfloat16.numpy
    made = x.astype(dtype) if dtype in tuple("bBhiIlQ?") else (x / 4).astype(dtype)
    if made.dtype.kind in "fV" and made.size > 4:
        flat = made.reshape(-1)
        for start, step, value in [(0, 7, np.nan), (1, 9, -0.0), (3, 11, -np.inf), (2, 13, np.inf)]:
            flat[start::step] = value
        flat[4::50] = np.copysign(np.nan, -1)
    return made


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("element", ELEMENTS)
def test_the_order_of_rows(element, descending):
    x = numbers((7, 300), ELEMENTS[element])
    spec = Order(element, descending)
    kernel = call.through_ctypes(build.library(spec).addresses["kernel"], spec.kinds)
    memory = np.full(x.size + 10, -7, np.int64)
    out = memory[: x.size].reshape(x.shape)
    keys, places = np.empty(4 * 300, f"i{x.itemsize}"), np.empty(2 * 300, np.int64)

    for begin in (1, 0):
        kernel(x, out, keys, places, 300, 4, 7, begin, begin + 1)

    np.testing.assert_array_equal(out, spec.interpret(x))
    assert (memory[x.size :] == -7).all()


@pytest.mark.parametrize("shape", [(5,), (1000,), (3, 1000), (100, 7), (3, 70, 4), (0,), (3, 0)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_functions_agree_with_numpys_stable_sort(dtype, shape):
    x = numbers(shape, dtype)
    for axis in range(x.ndim):
        for descending in (False, True):
            wanted = reference.order(x, axis, descending)
            found = order.order(x, axis, descending)
            assert found.dtype == np.int64
            np.testing.assert_array_equal(found, wanted)
            for k in (0, 1, 3, 50):
                if k <= x.shape[axis]:
                    for own in (reference, order):
                        made = own.first_in_order(x, k, axis, descending)
                        np.testing.assert_array_equal(made, wanted.take(range(k), axis))


def test_wide_integers_sort_by_all_their_bytes():
    draw = np.random.default_rng(0)
    for x in (draw.integers(-(2**62), 2**62, 999), draw.integers(-(2**63), 2**63 - 1, 100)):
        np.testing.assert_array_equal(order.order(x, 0), x.argsort(kind="stable"))


def test_the_number_of_threads_changes_nothing():
    x = numbers((40, 5000), "f")
    before = taper.get_num_threads()
    try:
        made = []
        for count in (1, 3):
            taper.set_num_threads(count)
            made.append(order.order(x, 1))
    finally:
        taper.set_num_threads(before)

    np.testing.assert_array_equal(*made)
    np.testing.assert_array_equal(made[0], x.argsort(1, kind="stable"))


@pytest.mark.skipif(machine.host().target != "avx512", reason="avx2 is what is tested already")
def test_a_smaller_processor_passes_too():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-x", __file__, "-k", "rows or wide"],
        cwd=root, env={**os.environ, "TAPER_TARGET": "avx2"}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip

    assert shown.returncode == 0, shown.stdout[-2000:]
