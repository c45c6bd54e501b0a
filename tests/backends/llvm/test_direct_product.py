"""The built-ins of small products: the general way's bits, and None for what they do not take."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends.llvm import direct
from taper.backends.llvm.direct_product import DirectProduct
from taper.backends.llvm.functions import gemm

if not direct.readable():
    pytest.skip("objects are not readable here", allow_module_level=True)

SIZES = [(1, 2, 16), (2, 3, 5), (64, 8, 8), (64, 1, 8), (33, 40, 70), (5, 384, 6), (64, 150, 64)]


def operand(rng, rows, columns, turned):
    """A matrix whose memory runs along its rows, or its columns if turned, with gaps in between."""
    shape = (columns, rows + 3) if turned else (rows, columns + 3)
    stored = rng.standard_normal(shape).astype(np.float32)
    return stored[:, :rows].T if turned else stored[:, :columns]


@pytest.mark.parametrize("turned", [(False, False), (False, True), (True, False), (True, True)])
def test_results_have_the_bits_of_the_general_way(turned, monkeypatch):
    rng = np.random.default_rng(0)
    for m, k, n in SIZES:
        x, y = operand(rng, m, k, turned[0]), operand(rng, k, n, turned[1])
        bias = rng.standard_normal(n).astype(np.float32)
        found = [
            gemm.directly("matmul")(x, y),
            gemm.directly("linear")(x, y.T, None),
            gemm.directly("linear")(x, y.T, bias),
        ]
        with monkeypatch.context() as general:
            general.setattr(gemm, "directly", lambda name: lambda *operands: None)
            wanted = [gemm.matmul(x, y), gemm.linear(x, y.T, None), gemm.linear(x, y.T, bias)]

        for got, want, given in zip(found, wanted, [None, None, bias], strict=True):
            exact = DirectProduct("float").interpret(x, y, given)
            np.testing.assert_allclose(want, exact, rtol=1e-4, atol=1e-4)
            if got is None:  # a sum that dots.py takes in another order
                assert m == 1 or n <= 4
            else:
                np.testing.assert_array_equal(got, want)


def test_what_does_not_fit_is_left_to_the_general_way():
    x, y = np.ones((8, 12), np.float32), np.ones((12, 16), np.float32)
    matmul, linear = gemm.directly("matmul"), gemm.directly("linear")
    assert matmul(x, y) is not None

    for one, other in [
        (x.astype(float), y.astype(float)),
        (x, y.astype(float)),
        (x[None], y),
        (x[0], y),
        (x, y[:11]),
        (x[:0], y),
        (x[:, :0], y[:0]),
        (x[::-1], y),
        (x, y[:, ::-1]),
        (x[:, ::2], y[::2, ::2]),
        (x.view(np.ma.MaskedArray), y),
        (x.astype(">f4"), y),
        (x.tolist(), y),
        (np.ones((8, 400), np.float32), np.ones((400, 16), np.float32)),
        (np.ones((1024, 64), np.float32), np.ones((64, 64), np.float32)),
    ]:
        assert matmul(one, other) is None
    assert matmul(x) is None
    for bias in (np.ones(15, np.float32), np.ones(16), np.ones(32, np.float32)[::2], 1.0):
        assert linear(x, y.T, bias) is None


def test_a_result_is_an_array_of_its_own_and_nothing_is_kept():
    x, y = np.ones((8, 12), np.float32), np.ones((12, 16), np.float32)
    held = x, y, x.dtype
    made = [gemm.directly("matmul")(x, y) for _ in range(1000)]

    assert all(m.flags.owndata and m.flags.writeable and m.flags.c_contiguous for m in made)
    assert (made[3] == 12).all()
    counts = [sys.getrefcount(o) for o in held]
    made.clear()
    after = [sys.getrefcount(o) for o in held]
    assert abs(counts[0] - after[0]) < 5
    assert abs(counts[1] - after[1]) < 5
    assert abs(counts[2] - after[2] - 1000) < 5  # each result had a reference to its dtype


def test_expanded_matrices_are_read_where_they_are():
    row = np.arange(12, dtype=np.float32)
    x = np.broadcast_to(row, (8, 12))
    y = np.eye(12, 16, dtype=np.float32)

    made = gemm.directly("matmul")(x, y)

    np.testing.assert_array_equal(made[:, :12], x)
