"""The kernels of running sums and products: numpy's bits, both ways, in every dimension."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends import reference as backend
from taper.backends import scans as reference
from taper.backends.llvm import build, machine
from taper.backends.llvm.functions import scan as functions
from taper.backends.llvm.loaded import kernel
from taper.backends.llvm.scan import RunningExtreme, Scan

DTYPES = {"float": np.float32, "double": np.float64, "i64": np.int64}
# outer, count, inner: rows beside the eight that go together, columns beside vectors and blocks
SHAPES = [
    (1, 1, 1),
    (1, 1000, 1),
    (7, 33, 1),
    (19, 65, 1),
    (1, 9, 3),
    (2, 7, 8),
    (3, 5, 29),
    (1, 6, 511),
    (2, 4, 1037),
    (0, 3, 1),
    (3, 0, 2),
    (3, 2, 0),
]
SPECS = [Scan(element, product) for element in DTYPES for product in (False, True)]
GUARD = 77


def numbers(rng, shape, dtype):
    if np.dtype(dtype).kind == "i":
        return rng.integers(-9, 9, shape).astype(dtype)
    return (1 + rng.standard_normal(shape) / 8).astype(dtype)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("shape", [s for s in SHAPES if s[1]], ids=str)
@pytest.mark.parametrize("element", DTYPES)
def test_running_extremes_know_their_places(element, shape, largest):
    """Of equal ones the last; a nan stays, and a later nan takes over."""
    x = np.random.default_rng(0).integers(-9, 9, shape).astype(DTYPES[element])
    if x.dtype.kind == "f":
        x[np.random.default_rng(1).random(shape) < 0.02] = np.nan
    spec = RunningExtreme(element, largest)
    values, places = (np.full(x.size + 64, GUARD, dtype) for dtype in (x.dtype, np.int64))
    outer, half = shape[0], shape[0] // 3
    for begin, end in ((half, outer), (0, half)):
        kernel(spec)(x, values, places, *shape[1:], begin, end)

    expected = spec.interpret(x)
    for made, wanted in zip((values, places), expected, strict=True):
        np.testing.assert_array_equal(made[: x.size].reshape(shape), wanted)
        assert (made[x.size :] == GUARD).all()
    for axis in range(3):
        if shape[axis]:
            found = functions.running_extreme(x, axis, largest)
            for made, wanted in zip(
                found, reference.running_extreme(x, axis, largest), strict=True
            ):
                np.testing.assert_array_equal(made, wanted)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_a_kernel_gives_the_bits_of_its_meaning(spec, shape, reverse):
    outer, count, inner = shape
    x = numbers(np.random.default_rng(0), shape, DTYPES[spec.element])
    expected = np.zeros_like(x)
    whole = np.full(x.size + 64, GUARD, x.dtype)
    made = whole[: x.size].reshape(shape)
    if count:
        spec.interpret(x, expected, reverse, 0, outer)
    first, step = ((count - 1) * inner, -inner) if reverse else (0, inner)
    half = outer // 3
    for begin, end in ((half, outer), (0, half)):
        kernel(spec)(x, made, count, inner, first, step, begin, end)
    assert made.tobytes() == expected.tobytes()
    assert (whole[x.size :] == GUARD).all()


def same(made, expected):
    assert made.dtype == expected.dtype
    assert made.shape == expected.shape
    assert np.ascontiguousarray(made).tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "i4", "f2", "c8"])
@pytest.mark.parametrize("name", ["running_sum", "running_product"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_functions_agree_with_the_reference_for_every_dtype_and_layout(dtype, name, reverse):
    x = numbers(np.random.default_rng(1), (12, 10, 18), dtype)
    ours, theirs = getattr(functions, name), getattr(reference, name)
    for array in (x, x.T, x[:, ::2, 1::2], x[::-1]):
        for axis in range(3):
            same(ours(array, axis, reverse), theirs(array, axis, reverse))


@pytest.mark.parametrize("name", ["running_sum", "running_product"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("axis", [0, 1])
def test_special_numbers_run_on_as_in_numpy(name, dtype, axis):
    x = np.ones((20, 20), dtype)
    x[:3] = -0.0
    x[5, 7], x[6, 9], x[7, 11], x[8, 2] = np.inf, -np.inf, np.nan, 1e-40
    x[9, 3], x[9, 4] = np.finfo(dtype).max, np.finfo(dtype).max
    token = backend.silence()
    made = getattr(functions, name)(x, axis)
    expected = getattr(reference, name)(x, axis)
    backend.restore(token)
    np.testing.assert_array_equal(made, expected)
    np.testing.assert_array_equal(np.signbit(made[~np.isnan(made)]),
                                  np.signbit(expected[~np.isnan(expected)]))  # fmt: skip


def test_a_float32_sum_is_carried_in_float64():
    """A million times 0.1: carried in float32 the sum would be off by one percent."""
    made = functions.running_sum(np.full(1_000_000, 0.1, np.float32), 0)
    assert abs(made[-1] - 100_000.0015) < 0.01


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_code_for_other_processors_compiles(spec):
    build.assembly(spec, machine.cross("neon", "aarch64-unknown-linux-gnu"))
    build.assembly(spec, machine.cross("sse2", "x86_64-unknown-linux-gnu"))


@pytest.mark.skipif("TAPER_TARGET" in os.environ, reason="is the inner run")
def test_the_kernels_for_smaller_processors_pass_the_same_tests(tmp_path):
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", __file__],
        env={**os.environ, "TAPER_TARGET": "avx2", "TAPER_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stdout[-3000:]
