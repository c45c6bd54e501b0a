"""Dot products of rows against numpy: few columns, single rows, tails, other processors."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends.llvm import build, call, machine
from taper.backends.llvm.dots import KINDS, MOST_COLUMNS, Dots

GUARD = 7.0
ELEMENTS = {"float": (np.float32, 1e-5), "double": (np.float64, 1e-13)}
SHAPES = [(0, 3), (1, 1), (1, 40), (5, 7), (8, 16), (9, 17), (33, 100), (64, 0)]


def run(spec, a, w, bias, begin=0, end=None):
    """The result of the kernel, which writes nothing else."""
    dtype = ELEMENTS[spec.element][0]
    rows = len(a)
    memory = np.full(rows * spec.columns + 32, GUARD, dtype)
    strides = [x.strides[0] // x.itemsize for x in (a, w)]
    kernel = call.through_ctypes(build.library(spec).addresses["kernel"], KINDS)
    given = memory if bias is None else bias
    kernel(a, w, memory, given, *strides, a.shape[1], begin, rows if end is None else end)
    assert (memory[rows * spec.columns :] == GUARD).all()
    return memory[: rows * spec.columns].reshape(rows, spec.columns)


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("columns", range(1, MOST_COLUMNS + 1))
@pytest.mark.parametrize("bias", ["", "columns", "rows"])
def test_sums_and_biases_agree_with_numpy(element, columns, bias):
    if bias == "rows" and columns > 1:
        pytest.skip("a bias of rows belongs to a single column")
    rng = np.random.default_rng(columns)
    dtype, bound = ELEMENTS[element]
    spec = Dots(element, columns, bias)
    for rows, k in SHAPES:
        a = rng.standard_normal((rows, k + 3)).astype(dtype)[:, :k]
        w = rng.standard_normal((columns, k + 5)).astype(dtype)[:, :k]
        given = rng.standard_normal({"rows": rows, "columns": columns, "": 1}[bias]).astype(dtype)
        wide = [x.astype(float) for x in (a, w, given)]

        made = run(spec, a, w, given if bias else None)

        expected = spec.interpret(*wide) if bias else spec.interpret(*wide[:2])
        np.testing.assert_allclose(made, expected, rtol=bound, atol=bound)


def test_a_row_has_the_same_bits_in_every_range():
    rng = np.random.default_rng(7)
    spec = Dots("float", 3)
    a, w = rng.standard_normal((50, 333)), rng.standard_normal((3, 333))
    a, w = a.astype(np.float32), w.astype(np.float32)
    whole = run(spec, a, w, None)

    for first in range(50):
        assert (run(spec, a, w, None, first, first + 1)[first] == whole[first]).all()
        assert (run(spec, a[first:], w, None) == whole[first:]).all()


def test_nan_and_inf_reach_their_own_sums_only():
    a, w = np.ones((11, 20), np.float32), np.ones((2, 20), np.float32)
    a[3, 19], a[4, 0] = np.nan, np.inf

    made = run(Dots("float", 2), a, w, None)

    np.testing.assert_array_equal(made, a @ w.T)


@pytest.mark.skipif("TAPER_TARGET" in os.environ, reason="this is the restricted run")
@pytest.mark.parametrize("target", ["avx2", "sse2"])
def test_a_smaller_processor_passes_these_tests(target):
    if machine.host().target not in ("avx512", "avx2"):
        pytest.skip("needs an x86 processor")
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", __file__],
        env={**os.environ, "TAPER_TARGET": target},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert shown.returncode == 0, shown.stdout[-3000:]


def test_the_code_compiles_for_arm():
    arm = machine.cross("neon", "aarch64-unknown-linux-gnu")

    assert "fmla" in build.assembly(Dots("float", 2, "columns"), arm)
