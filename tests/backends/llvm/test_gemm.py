"""The matrix product's kernels against numpy: sizes, strides, seeds, ranges, other processors."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends.llvm import build, call, machine, pool
from taper.backends.llvm.gemm import KINDS, Gemm

GUARD = 7.0
ELEMENTS = {"float": np.float32, "double": np.float64}
# Tolerance of a sum of k products, in the size of the largest, per root of k.
TOLERANCE = {"float": 1e-6, "double": 2e-15}
LAYOUTS = [(True, True), (True, False), (False, True), (False, False)]
SIZES = [
    (1, 1, 1),
    (2, 3, 1),
    (3, 1, 5),
    (5, 7, 15),
    (7, 2, 16),
    (13, 33, 17),
    (15, 64, 31),
    (29, 20, 33),
    (64, 150, 64),
    (65, 1025, 70),
    (43, 5, 1100),
    (31, 900, 600),
]


def operand(rng, rows, columns, along_columns, dtype, pitch=0):
    """A matrix of the shape whose memory runs along its columns or its rows; lines `pitch` apart."""
    lines, length = (rows, columns) if along_columns else (columns, rows)
    stored = rng.standard_normal((lines, max(length, pitch))).astype(dtype)[:, :length]
    return stored if along_columns else stored.T


def stride(array, axis):
    return array.strides[axis] // array.itemsize


def product(spec, a, b, c, seed=None, begin=0, end=None, threads=0):
    """Runs the kernel into c."""
    host = machine.host()
    (m, k), n = a.shape, b.shape[1]
    seed_row = None if seed is None else 0 if seed.ndim == 1 else stride(seed, 0)
    plan = spec.plan(
        host,
        n,
        k,
        stride(a, 0 if spec.a_along_k else 1),
        stride(b, 0 if spec.b_along_n else 1),
        stride(c, 0),
        seed_row,
    )
    work = np.full(spec.workspace(host) + 8, GUARD, c.dtype)
    kernel = call.through_ctypes(build.library(spec).addresses["product"], KINDS)
    given = c if seed is None else seed
    kernel(threads, a, b, c, given, work, plan.numbers(), begin, m if end is None else end)
    assert (work[-8:] == GUARD).all(), "wrote past the end of the workspace"


def guarded(m, n, dtype, pitch=None):
    """A result full of nan inside memory full of GUARD."""
    pitch = pitch or n
    memory = np.full(m * pitch + 64, GUARD, dtype)
    c = memory[32 : 32 + m * pitch].reshape(m, pitch)[:, :n]
    c[...] = np.nan
    return memory, c


def untouched(memory, c):
    """Whether nothing but c was written."""
    outside = np.ones(memory.shape, bool)
    first = (c.__array_interface__["data"][0] - memory.__array_interface__["data"][0]) // c.itemsize
    for row in range(c.shape[0]):
        outside[first + row * stride(c, 0) : first + row * stride(c, 0) + c.shape[1]] = False
    return (memory[outside] == GUARD).all()


def close(spec, c, a, b, seed=None):
    exact = spec.interpret(a.astype(float), b.astype(float), seed)
    bound = TOLERANCE[spec.element] * (a.shape[1] + 1) ** 0.5 * 4
    np.testing.assert_allclose(c, exact, rtol=bound, atol=bound)


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize(("along_k", "along_n"), LAYOUTS)
def test_every_layout_and_size_agrees_with_numpy_and_writes_nothing_else(element, along_k, along_n):
    rng = np.random.default_rng(1)
    dtype = ELEMENTS[element]
    spec = Gemm(element, along_k, along_n)

    for m, k, n in SIZES:
        a = operand(rng, m, k, along_k, dtype)
        b = operand(rng, k, n, along_n, dtype)
        memory, c = guarded(m, n, dtype, n + m % 3)
        product(spec, a, b, c)
        close(spec, c, a, b)
        assert untouched(memory, c)


@pytest.mark.parametrize(("along_k", "along_n"), LAYOUTS)
def test_rows_far_apart_are_copied_and_give_the_same(along_k, along_n):
    """Lines 4096 bytes apart fall into the same sets of the cache, so both operands are packed."""
    rng = np.random.default_rng(2)
    spec = Gemm("float", along_k, along_n)
    m, k, n = 61, 203, 99
    a = operand(rng, m, k, along_k, np.float32, pitch=1024)
    b = operand(rng, k, n, along_n, np.float32, pitch=1024)
    memory, c = guarded(m, n, np.float32)

    product(spec, a, b, c)

    close(spec, c, a, b)
    assert untouched(memory, c)
    again = np.empty_like(c)
    product(spec, np.copy(a, order="K"), np.copy(b, order="K"), again)
    assert (again == c).all()


@pytest.mark.parametrize("element", ELEMENTS)
def test_a_bias_is_added_once_whatever_the_number_of_blocks_of_k(element):
    rng = np.random.default_rng(3)
    spec = Gemm(element, True, False, relu=True)
    for k in (0, 1, 100, 2000):
        a, bias = rng.standard_normal((9, k)), rng.standard_normal(40)
        b = rng.standard_normal((40, k)).T
        a, b, bias = (x.astype(ELEMENTS[element], order="K") for x in (a, b, bias))
        _, c = guarded(9, 40, ELEMENTS[element])
        product(spec, a, b, c, bias)
        close(spec, c, a, b, bias)


@pytest.mark.parametrize("k", [3, 1000])
def test_a_product_is_added_to_what_is_there(k):
    rng = np.random.default_rng(4)
    spec = Gemm("double", False, True)
    a, b = operand(rng, 21, k, False, np.float64), operand(rng, k, 37, True, np.float64)
    c = rng.standard_normal((21, 37))
    before = c.copy()

    product(spec, a, b, c, seed=c)

    close(spec, c, a, b, before)


@pytest.mark.parametrize(("along_k", "along_n"), LAYOUTS)
def test_a_row_has_the_same_bits_in_a_batch_of_any_size(along_k, along_n):
    rng = np.random.default_rng(5)
    spec = Gemm("float", along_k, along_n)
    a, b = operand(rng, 130, 500, along_k, np.float32), operand(rng, 500, 45, along_n, np.float32)
    whole = np.empty((130, 45), np.float32)
    product(spec, a, b, whole)

    for m in (1, 2, 3, 5, 14, 15, 40, 77):
        part = np.empty((m, 45), np.float32)
        product(spec, a[:m], b, part)
        assert (part == whole[:m]).all()
        pieces = np.empty_like(whole)
        product(spec, a, b, pieces, begin=0, end=m)
        product(spec, a, b, pieces, begin=m, end=130)
        assert (pieces == whole).all()


def test_an_empty_range_touches_nothing():
    spec = Gemm("float")
    a, b = np.ones((4, 3), np.float32), np.ones((3, 5), np.float32)
    memory, c = guarded(4, 5, np.float32)

    product(spec, a, b, c, begin=2, end=2)

    assert np.isnan(c).all() and untouched(memory, c)


def test_nan_and_inf_go_where_they_go_in_numpy():
    spec = Gemm("float", relu=True)
    a, b = np.ones((6, 40), np.float32), np.ones((40, 20), np.float32)
    a[1, 3], a[2, 5], a[4, 7], b[11, 4] = np.nan, np.inf, -np.inf, -0.0
    a[5] = -1
    c = np.empty((6, 20), np.float32)

    product(spec, a, b, c)

    np.testing.assert_array_equal(c, np.maximum(np.matmul(a, b), 0))


@pytest.mark.parametrize(("along_k", "along_n"), LAYOUTS)
def test_a_batch_of_matrices_may_repeat_or_interleave_them(along_k, along_n):
    rng = np.random.default_rng(6)
    spec = Gemm("float", along_k, along_n)
    host = machine.host()
    count, m, k, n = 5, 10, 12, 18
    a = rng.standard_normal((m, count, k) if along_k else (k, count, m)).astype(np.float32)
    b = rng.standard_normal((k, n) if along_n else (n, k)).astype(np.float32)
    a = a.transpose(1, 0, 2) if along_k else a.transpose(1, 2, 0)
    b = b if along_n else b.T
    bias = rng.standard_normal((count, n)).astype(np.float32)
    c = np.full((count, m, n), np.nan, np.float32)
    plan = spec.plan(
        host, n, k, stride(a, 1 if along_k else 2), stride(b, 0 if along_n else 1), n, 0,
        rows=m, a_batch=stride(a, 0), b_batch=0, c_batch=m * n, seed_batch=n,
    )  # fmt: skip
    work = np.empty(spec.workspace(host), np.float32)
    kernel = call.through_ctypes(build.library(spec).addresses["batched"], KINDS)

    kernel(0, a, b, c, bias, work, plan.numbers(), 0, 2)
    assert np.isnan(c[2:]).all()
    kernel(0, a, b, c, bias, work, plan.numbers(), 2, count)

    np.testing.assert_allclose(c, a @ b + bias[:, None], rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(machine.host().target != "avx512", reason="half types are copied by AVX-512")
@pytest.mark.parametrize("stored", ["half", "bfloat"])
@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize(("along_k", "along_n"), LAYOUTS)
def test_half_types_are_summed_in_float32(stored, pairs, along_k, along_n, monkeypatch):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    if not pairs:
        if stored == "half" or not machine.host().has_bf16_dot:
            pytest.skip("does the same as with pairs")
        without = replace(machine.host(), has_bf16_dot=False)
        monkeypatch.setattr(build, "host", lambda: without)
        monkeypatch.setattr(machine, "host", lambda: without)
        monkeypatch.setattr(build, "_libraries", type(build._libraries)())
    rng = np.random.default_rng(10)
    spec = Gemm("float", along_k, along_n, stored=stored)
    dtype = np.float16 if stored == "half" else bfloat16
    for m, k, n in SIZES:
        a = operand(rng, m, k, along_k, np.float32).astype(dtype)
        b = operand(rng, k, n, along_n, np.float32).astype(dtype)
        bias = rng.standard_normal(n).astype(np.float32)
        memory, c = guarded(m, n, np.float32)

        product(spec, a, b, c, bias)

        close(spec, c, a, b, bias)
        assert untouched(memory, c)


@pytest.fixture(scope="module")
def threads():
    """The address of a pool of three."""
    made = pool.Pool(3)
    yield made.address
    made.close()


@pytest.mark.parametrize(("along_k", "along_n"), LAYOUTS)
def test_threads_give_the_same_bits(along_k, along_n, threads):
    rng = np.random.default_rng(8)
    spec = Gemm("float", along_k, along_n)
    for m, k, n in ((301, 500, 400), (5, 40, 3000), (1000, 3, 5)):
        a, b = operand(rng, m, k, along_k, np.float32), operand(rng, k, n, along_n, np.float32)
        alone, together = np.empty((2, m, n), np.float32)

        product(spec, a, b, alone)
        product(spec, a, b, together, threads=threads)

        assert (alone == together).all()


@pytest.mark.parametrize("count", [1, 3, 70])
def test_threads_share_out_the_matrices_of_a_batch(count, threads):
    rng = np.random.default_rng(9)
    spec = Gemm("double", True, False)
    host = machine.host()
    m, k, n = 9, 30, 50
    a, b = rng.standard_normal((count, m, k)), rng.standard_normal((count, n, k))
    c = np.empty((count, m, n))
    plan = spec.plan(host, n, k, k, k, n, rows=m, a_batch=m * k, b_batch=n * k, c_batch=m * n)
    work = np.full(spec.workspace(host) + 8, GUARD)
    kernel = call.through_ctypes(build.library(spec).addresses["batched"], KINDS)

    kernel(threads, a, b, c, c, work, plan.numbers(), 0, count)

    np.testing.assert_allclose(c, a @ b.transpose(0, 2, 1), rtol=1e-12, atol=1e-12)
    assert (work[-8:] == GUARD).all()


@pytest.mark.skipif("TAPER_TARGET" in os.environ, reason="this is the restricted run")
@pytest.mark.parametrize("target", ["avx2", "sse2"])
def test_the_tiles_of_a_smaller_processor_pass_the_tests_of_sizes(target):
    if machine.host().target not in ("avx512", "avx2"):
        pytest.skip("needs an x86 processor")
    chosen = "layout_and_size or far_apart"
    shown = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            "-k",
            chosen,
            __file__,
        ],
        env={**os.environ, "TAPER_TARGET": target},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert shown.returncode == 0, shown.stdout[-3000:]


@pytest.mark.parametrize("along_k", [True, False])
def test_the_tiles_compile_for_arm(along_k):
    arm = machine.cross("neon", "aarch64-unknown-linux-gnu")

    assert "fmla" in build.assembly(Gemm("float", along_k, False), arm)
