"""Copies that turn memory round: values at all edges, layouts, what is left to numpy."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import taper
from taper.backends.llvm import build, call
from taper.backends.llvm.functions import transpose
from taper.backends.llvm.transpose import Transpose

SIZES = [(1, 1), (8, 8), (16, 16), (17, 15), (33, 7), (5, 130), (64, 129), (300, 257)]


@pytest.mark.parametrize("code", ["i", "l"])
@pytest.mark.parametrize("columns, rows", SIZES)
def test_a_matrix_is_turned_and_nothing_else_is_touched(columns: int, rows: int, code: str) -> None:
    spec = Transpose({"i": "i32", "l": "i64"}[code], 0)
    x = np.arange(columns * rows).reshape(columns, rows).astype(code)
    guarded = np.full(rows * columns + 40, -7, code)
    kernel = call.through_ctypes(build.library(spec).addresses["kernel"], spec.kinds)
    kernel(x, guarded, np.zeros(1, np.int64), rows, columns, rows, columns, 0, -(-columns // 128))
    np.testing.assert_array_equal(guarded[:-40].reshape(rows, columns), spec.interpret(x))
    assert (guarded[-40:] == -7).all()


@pytest.mark.parametrize("code", ["f", "d", "l", "F", "?", "e"])
def test_any_view_is_copied_in_order(code: str) -> None:
    x = np.arange(6 * 9 * 20 * 33).reshape(6, 9, 20, 33).astype(code)
    for order in [(0, 1, 3, 2), (0, 2, 3, 1), (0, 3, 1, 2), (3, 2, 1, 0), (1, 0, 3, 2), (2, 3, 0, 1),
                  (0, 2, 1, 3)]:  # fmt: skip
        view = x.transpose(order)
        for each in (view, view[:, ::2], view[1:, :, 3:], view[..., ::-1], view[..., :1]):
            made = transpose.row_major_copy(each)
            assert made.flags.c_contiguous and made.flags.owndata
            np.testing.assert_array_equal(made, each)


def test_many_threads_give_the_same() -> None:
    x = np.random.default_rng(0).normal(size=(700, 1100)).astype("f")
    before = taper.get_num_threads()
    try:
        for threads in (1, 2, 3):
            taper.set_num_threads(threads)
            np.testing.assert_array_equal(transpose.row_major_copy(x.T), x.T)
    finally:
        taper.set_num_threads(before)


def test_a_transposed_tensor_is_made_contiguous() -> None:
    x = taper.arange(60 * 50, dtype=taper.float32).reshape(60, 50).requires_grad_()
    made = x.t().contiguous()
    assert made.is_contiguous() and made.tolist() == x.t().tolist()
    (made * made).sum().backward()
    assert taper.equal(x.grad, 2 * x.detach())


def test_shorter_vectors_turn_it_too() -> None:
    program = (
        "import numpy as np\n"
        "from taper.backends.llvm.functions import transpose\n"
        "for code in 'fd':\n"
        "    x = np.arange(75 * 133).reshape(75, 133).astype(code)\n"
        "    assert (transpose.row_major_copy(x.T) == x.T).all()\n"
    )
    for target in ("avx2", "sse2"):
        env = {**os.environ, "TAPER_TARGET": target}
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True)
        if b"choose from" in done.stderr:
            continue
        assert done.returncode == 0, done.stderr.decode()
