"""The kernels of casts: every float16 and bfloat16, and the float32 numbers between them."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper import bfloat16
from taper.backends import reference
from taper.backends.llvm import build, machine
from taper.backends.llvm.cast import Cast, is_native
from taper.backends.llvm.functions import cast as functions
from taper.backends.llvm.loaded import kernel

DTYPES = {"float": np.dtype("f4"), "half": np.dtype("f2"), "bfloat": bfloat16.numpy}
SPECS = [
    Cast(*pair)
    for pair in (("float", "half"), ("float", "bfloat"), ("half", "float"), ("bfloat", "float"))
]
GUARD = 0x4D


def bits(x):
    return x.view(f"u{x.itemsize}")


def converted(spec, x):
    made = np.empty(x.size, DTYPES[spec.target])
    kernel(spec)(x, made, 0, x.size)
    expected = np.empty_like(made)
    token = reference.silence()
    spec.interpret(x, expected)
    reference.restore(token)
    return made, expected


def skip_where_numpy_converts(spec):
    if "half" in (spec.source, spec.target) and not is_native(machine.host()):
        pytest.skip("this processor has no float16")


@pytest.mark.parametrize("spec", SPECS[2:], ids=repr)
def test_every_half_number_is_widened_exactly(spec):
    skip_where_numpy_converts(spec)
    x = np.arange(1 << 16, dtype=np.uint16).view(DTYPES[spec.source])
    made, expected = converted(spec, x)
    nan = np.isnan(expected)
    assert (np.isnan(made) == nan).all()
    assert (bits(made)[~nan] == bits(expected)[~nan]).all()


@pytest.mark.parametrize("spec", SPECS[:2], ids=repr)
def test_float32_is_rounded_to_the_nearest_even(spec):
    """All halves, the points half-way between them, and the numbers beside those."""
    skip_where_numpy_converts(spec)
    x = np.arange(1 << 16, dtype=np.uint16).view(DTYPES[spec.target]).astype(np.float32)
    x = x[np.isfinite(x)]
    low = 13 if spec.target == "half" else 16
    near = bits(x)[:, None] + np.array([0, 1, -1, 1 << (low - 1)]).astype(np.uint32)
    near = np.concatenate([near, near[:, 3:] + 1, near[:, 3:] - 1], 1).reshape(-1)
    made, expected = converted(spec, near.view(np.float32))
    nan = np.isnan(expected)
    assert (np.isnan(made) == nan).all()
    assert (bits(made)[~nan] == bits(expected)[~nan]).all()


@pytest.mark.parametrize("spec", SPECS[:2], ids=repr)
def test_random_float32_numbers_of_every_size_are_rounded_as_numpy_rounds_them(spec):
    skip_where_numpy_converts(spec)
    x = np.random.default_rng(0).integers(0, 1 << 32, 300_001, np.uint64)
    made, expected = converted(spec, x.astype(np.uint32).view(np.float32))
    nan = np.isnan(expected)
    assert (np.isnan(made) == nan).all()
    assert (bits(made)[~nan] == bits(expected)[~nan]).all()


@pytest.mark.parametrize("pattern", [0x7FC00001, 0xFFC00001, 0x7F800001, 0xFF800001, 0x7FFFFFFF])
@pytest.mark.parametrize("spec", SPECS[:2], ids=repr)
def test_nan_stays_nan_and_keeps_its_sign(spec, pattern):
    skip_where_numpy_converts(spec)
    x = np.full(40, pattern, np.uint32).view(np.float32)
    made, _ = converted(spec, x)
    assert np.isnan(made.astype(np.float32)).all()
    assert (bits(made) >> 15 == pattern >> 31).all()


@pytest.mark.parametrize("spec", SPECS, ids=repr)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 333])
def test_ranges_write_their_part_and_nothing_behind_it(spec, size):
    skip_where_numpy_converts(spec)
    x = np.linspace(-3, 3, size, dtype=np.float32).astype(DTYPES[spec.source])
    target = DTYPES[spec.target]
    whole = np.frombuffer(bytearray([GUARD] * (size + 64) * target.itemsize), target)
    half = size // 2
    for begin, end in ((half, size), (0, half)):
        kernel(spec)(x, whole, begin, end)
    assert (bits(whole[:size]) == bits(x.astype(target))).all()
    assert (whole[size:].view(np.uint8) == GUARD).all()


def test_astype_keeps_the_order_of_the_memory():
    x = np.random.default_rng(1).standard_normal((40, 30)).astype(np.float32)
    for array in (x, x.T, x[::2], x[:, ::3]):
        for dtype in (np.dtype("f2"), bfloat16.numpy):
            made, expected = functions.astype(array, dtype), array.astype(dtype)
            assert (bits(made) == bits(expected)).all()
            assert made.strides == expected.strides
        back = functions.astype(made, np.float32)
        assert (back == made.astype(np.float32)).all()


@pytest.mark.parametrize("dtype", ["f8", "i8", "?", "c8", "i2"])
def test_other_pairs_are_the_references(dtype):
    x = (np.arange(400) % 7).astype(dtype)
    for target in ("f4", "f2", "i2", "f8"):
        made = functions.astype(x, np.dtype(target))
        assert made.dtype == np.dtype(target)
        assert (made == (np.arange(400) % 7).astype(dtype).real).all()


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_code_for_other_processors_compiles(spec):
    build.assembly(spec, machine.cross("neon", "aarch64-unknown-linux-gnu"))


@pytest.mark.skipif("TAPER_TARGET" in os.environ, reason="is the inner run")
def test_the_kernels_for_smaller_processors_pass_the_same_tests(tmp_path):
    for target in ("avx2", "sse2"):
        outcome = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n", "0", __file__],
            env={**os.environ, "TAPER_TARGET": target, "TAPER_CACHE": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert outcome.returncode == 0, outcome.stdout[-3000:]
