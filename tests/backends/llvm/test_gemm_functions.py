"""m.linear and m.matmul on kernels: the same arrays as the reference, whatever comes in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends import products as reference
from taper.backends.llvm.functions import gemm


def same(made, wanted, roots=1):
    assert made.shape == wanted.shape and made.dtype == wanted.dtype
    assert made.flags.c_contiguous
    bound = {"f4": 4e-6, "f8": 1e-14}.get(made.dtype.str[1:], 1e-2) * roots
    np.testing.assert_allclose(made.astype(complex), wanted.astype(complex), rtol=bound, atol=bound)


def arrays(*shapes, dtype=np.float32, seed=0):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal(shape) * 4).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "bfloat16", "i8", "i4", "c8"])
@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (5, 3, 4), (33, 70, 1), (64, 150, 65), (0, 4, 5),
                                           (4, 0, 5), (4, 5, 0)])  # fmt: skip
def test_a_layer_and_its_gradients_agree_with_the_reference(dtype, m, k, n):
    x, w, bias, grad = arrays((m, k), (n, k), (n,), (m, n), dtype=dtype)

    same(gemm.linear(x, w, bias), reference.linear(x, w, bias), 10)
    same(gemm.linear(x, w, None), reference.linear(x, w, None), 10)
    same(gemm.linear(grad, w.T, None), reference.linear(grad, w.T, None), 10)
    same(gemm.linear(grad.T, x.T, None), reference.linear(grad.T, x.T, None), 10)
    same(gemm.matmul(x, w.T), reference.matmul(x, w.T), 10)


def test_every_way_of_striding_is_read_rightly():
    (big,) = arrays((40, 44), dtype=np.float64)
    views = [
        big[:20, :20],
        big[:20, :20].T,
        big[::2, ::2][:, :20],
        big[19::-1, :20],
        big[:20, 19::-1],
        np.broadcast_to(big[0, :20], (20, 20)),
        np.broadcast_to(big[0, 0], (20, 20)),
        np.broadcast_to(big[:20, :1], (20, 20)),
    ]
    for x in views:
        for y in views:
            same(gemm.matmul(x, y), np.matmul(x, y), 100)
            same(gemm.linear(x, y, big[0, :40:2]), x @ y.T + big[0, :40:2], 100)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4, 5), (3, 5, 6)),
        ((2, 3, 4, 5), (2, 3, 5, 6)),
        ((2, 3, 4, 5), (5, 6)),
        ((4, 5), (3, 5, 6)),
        ((1, 3, 4, 5), (2, 1, 5, 6)),
        ((0, 4, 5), (0, 5, 6)),
        ((5,), (5, 6)),
        ((4, 5), (5,)),
        ((5,), (5,)),
        ((7, 5), (3, 5, 0)),
    ],
)
@pytest.mark.parametrize("dtype", ["f4", "f2", "bfloat16"])
def test_batches_broadcast_as_numpy_does(left, right, dtype):
    x, y = arrays(left, right, dtype=dtype)

    made, wanted = gemm.matmul(x, y), reference.matmul(x, y)

    same(np.asarray(made).copy(), np.asarray(wanted).copy(), 10)


def test_heads_of_attention_are_multiplied_where_they_lie():
    q, k = arrays((2, 9, 4, 8), (2, 11, 4, 8))
    q, k = q.transpose(0, 2, 1, 3), k.transpose(0, 2, 1, 3)

    same(gemm.matmul(q, k.swapaxes(-1, -2)), np.matmul(q, k.swapaxes(-1, -2)), 10)


def test_batches_of_every_layout():
    for x in arrays((3, 6, 6), (6, 3, 6), (6, 6, 3)):
        for axes in ((0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0), (0, 2, 1)):
            a = x.transpose(axes)
            for b in (np.ones((a.shape[0], a.shape[2], 3), np.float32), a.transpose(0, 2, 1)):
                same(gemm.matmul(a, b), np.matmul(a, b), 10)


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("m", [0, 1, 33])
@pytest.mark.parametrize("k", [0, 1, 40])
@pytest.mark.parametrize("n", [0, 1, 3, 17])
def test_no_dimension_is_too_small(count, m, k, n):
    """A batch of none once divided by zero."""
    x, w = np.ones((count, m, k), np.float32), np.ones((count, n, k), np.float32)

    same(gemm.matmul(x, w.transpose(0, 2, 1)), x @ w.transpose(0, 2, 1))
    same(gemm.matmul(x, w.reshape(count, k, n)), x @ w.reshape(count, k, n))
    for one, other in zip(x, w, strict=True):
        same(gemm.linear(one, other, np.ones(n, np.float32)), one @ other.T + 1)
        same(gemm.matmul(one, other.T), one @ other.T)


@pytest.mark.parametrize("fast", [True, False])
def test_threads_of_the_program_multiply_at_the_same_time(fast, monkeypatch):
    """Long products let go of the interpreter, and must not use each other's memory."""
    if not fast:
        monkeypatch.setattr(gemm.call, "has_fast_calls", lambda: False)
    for plans in (gemm._linear_plans, gemm._matrix_plans, gemm._batch_plans):
        plans.clear()
    x, w = arrays((230, 260), (250, 260))
    small, wanted = x[:20], reference.linear(x, w, None)

    def work(_):
        for _ in range(10):
            same(gemm.linear(x, w, None), wanted, 10)
            same(gemm.linear(small, w, None), wanted[:20], 10)
            same(gemm.matmul(x[None], w.T[None])[0], wanted, 10)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    for plans in (gemm._linear_plans, gemm._matrix_plans, gemm._batch_plans):
        plans.clear()


def test_sizes_that_do_not_fit_are_an_error():
    x, y = arrays((3, 4), (5, 6))
    with pytest.raises(ValueError):
        gemm.matmul(x, y)
    with pytest.raises(ValueError):
        gemm.matmul(x[None], y[None])


def test_dtypes_that_differ_are_left_to_numpy():
    x, y = arrays((3, 4), (4, 6))

    same(gemm.matmul(x, y.astype(float)), np.matmul(x, y.astype(float)))


def test_batches_of_any_size_run_the_same_code(monkeypatch):
    from taper.backends.llvm import build

    w, bias = arrays((7, 5), (7,))
    gemm.linear(np.ones((1, 5), np.float32), w, bias)
    gemm.linear(np.ones((7, 1), np.float32), np.ones((5, 1), np.float32), None)
    before = dict(build.counts)
    for rows in range(1, 60):
        x, grad = arrays((rows, 5), (rows, 7), seed=rows)
        gemm.linear(x, w, bias)
        gemm.linear(grad.T, x.T, None)

    assert build.counts["compiled"] == before["compiled"]
