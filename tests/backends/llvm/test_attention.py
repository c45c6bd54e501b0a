"""Attention's kernels against numpy: sizes, orders of memory, masks, edges, threads, processors."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends import attention as reference
from taper.backends.llvm import machine, pool
from taper.backends.llvm.attention import Layout
from taper.backends.llvm.functions import attention

# batch, heads, queries, keys, size of queries and keys, width of values
SIZES = [
    (2, 3, 64, 64, 32, 32),
    (1, 2, 1, 1, 1, 1),
    (1, 2, 5, 1, 3, 2),
    (2, 2, 7, 33, 5, 9),
    (2, 2, 33, 7, 5, 9),
    (1, 1, 150, 170, 65, 70),
]
TOLERANCE = {"float32": 4e-6, "float64": 1e-14}
ALL = (True, True, True, False)


def operands(sizes, dtype):
    """query, key, value and a gradient of the result."""
    batch, heads, queries, keys, size, width = sizes
    rng = np.random.default_rng(sizes)
    shapes = ((queries, size), (keys, size), (keys, width), (queries, width))
    return [rng.standard_normal((batch, heads, *shape)).astype(dtype) for shape in shapes]


def wide(x):
    return x if x is None or x.dtype.kind == "b" else x.astype(np.float64)


def check(query, key, value, grad, mask=None, causal=False, scale=0.4):
    """Result and gradients of the kernels against those of numpy in float64."""
    out, kept = attention.attention(query, key, value, mask, scale, causal)
    made = attention.attention_grad(grad, out, kept, query, key, value, mask, scale, causal, ALL)

    exact = [wide(x) for x in (query, key, value, mask)]
    wanted, wanted_kept = reference.attention(*exact, scale, causal)
    grads = reference.attention_grad(wide(grad), wanted, wanted_kept, *exact, scale, causal, ALL)
    tolerance = TOLERANCE[query.dtype.name]
    pairs = zip((out, kept, *made[:3]), (wanted, wanted_kept, *grads[:3]), strict=True)
    for got, want in pairs:
        assert got.dtype == query.dtype
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * 4)
    return out, made


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("causal", [False, True])
def test_results_and_gradients_agree_with_numpy(dtype, causal):
    for sizes in SIZES:
        check(*operands(sizes, dtype), causal=causal)


def test_a_block_of_queries_does_not_depend_on_how_many_there_are():
    """Rows of a longer sequence are those of a shorter one, although they are cut otherwise."""
    query, key, value, _ = operands((1, 2, 150, 90, 20, 24), "float32")

    long, _ = attention.attention(query, key, value, None, 0.3, False)
    short, _ = attention.attention(query[:, :, :31], key, value, None, 0.3, False)

    assert (long[:, :, :31] == short).all()


@pytest.mark.parametrize("kind", ["bool", "number"])
@pytest.mark.parametrize("shape", [(41,), (37, 41), (37, 1), (3, 1, 41), (2, 1, 37, 41), ()])
def test_a_mask_broadcasts_to_the_scores(kind, shape):
    rng = np.random.default_rng(3)
    mask = rng.standard_normal(shape).astype(np.float32)
    if kind == "bool":
        mask = np.asarray(mask > -0.7)

    check(*operands((2, 3, 37, 41, 16, 16), "float32"), mask=np.asarray(mask))


def test_a_query_that_sees_no_key_has_result_and_gradient_zero():
    mask = np.ones((7, 33), bool)
    mask[2] = False

    out, made = check(*operands((2, 2, 7, 33, 5, 9), "float32"), mask=mask)

    assert (out[:, :, 2] == 0).all()
    assert (made[0][:, :, 2] == 0).all()


def test_heads_may_lie_between_the_positions_and_results_lie_as_the_query_does():
    packed = np.random.default_rng(0).standard_normal((2, 50, 3 * 4 * 24)).astype(np.float32)
    parts = np.split(packed, 3, axis=2)
    query, key, value = (p.reshape(2, 50, 4, 24).transpose(0, 2, 1, 3) for p in parts)
    assert not query.flags.c_contiguous

    out, made = check(query, key, value, value[:, :, ::-1] * 2, causal=True)

    assert out.transpose(0, 2, 1, 3).flags.c_contiguous
    assert all(g.transpose(0, 2, 1, 3).flags.c_contiguous for g in made[:3])


def test_memory_may_run_along_the_positions():
    query, key, value, grad = (
        np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
        for x in operands((2, 2, 33, 40, 16, 16), "float32")
    )

    check(query, key, value, grad)


def test_two_and_three_dimensions():
    query, key, value, grad = operands((2, 3, 9, 11, 4, 6), "float32")

    check(query[0], key[0], value[0], grad[0])
    check(query[0, 0], key[0, 0], value[0, 0], grad[0, 0], mask=np.ones((9, 11), bool))


def test_nan_and_infinity_spread_as_they_do_in_numpy():
    query, key, value, _ = operands((1, 1, 6, 20, 8, 8), "float32")
    query[0, 0, 1, 3] = np.nan
    query[0, 0, 2] = np.inf
    value[0, 0, 19, 2] = np.inf

    out, _ = attention.attention(query, key, value, None, 0.5, False)
    with np.errstate(all="ignore"):
        wanted, _ = reference.attention(query, key, value, None, 0.5, False)

    np.testing.assert_array_equal(np.isfinite(out), np.isfinite(wanted))
    np.testing.assert_array_equal(np.isnan(out), np.isnan(wanted))


def test_threads_change_no_bit(monkeypatch):
    query, key, value, grad = operands((4, 8, 70, 70, 16, 16), "float32")
    results = []
    threads = pool.Pool(2)

    for address in (0, threads.address):
        monkeypatch.setattr(pool, "address", lambda address=address: address)
        out, kept = attention.attention(query, key, value, None, 0.2, True)
        made = attention.attention_grad(grad, out, kept, query, key, value, None, 0.2, True, ALL)
        results.append((out, kept, *made[:3]))

    threads.close()
    for alone, together in zip(*results, strict=True):
        np.testing.assert_array_equal(alone, together)


def test_a_causal_sequence_is_cut_into_blocks_of_an_even_number_of_queries():
    for queries in (1, 16, 63, 64, 1000):
        block = Layout(1, queries, queries, 32, 32, True).block

        assert block % 2 == 0
        assert 0 < block <= 64


def test_empty_ones_and_the_gradient_of_a_mask_are_left_to_the_reference():
    query, key, value, grad = operands((1, 2, 5, 6, 4, 4), "float64")
    mask = np.zeros((5, 6))

    out, kept = attention.attention(query, key, value, mask, 0.5, False)
    made = attention.attention_grad(
        grad, out, kept, query, key, value, mask, 0.5, False, (True,) * 4
    )
    nothing, _ = attention.attention(query[:, :, :0], key, value, None, 0.5, False)

    assert made[3].shape == (1, 2, 5, 6)
    assert nothing.shape == (1, 2, 0, 4)


@pytest.mark.parametrize("target", ["avx2", "sse2"])
def test_the_code_for_smaller_processors_agrees(target, tmp_path):
    if machine.host().target not in ("avx512", "avx2"):
        pytest.skip("this processor is smaller itself")
    chosen = "agree_with_numpy or broadcasts or no_key"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", __file__, "-k", chosen],
        env={**os.environ, "TAPER_TARGET": target, "TAPER_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-3000:]
