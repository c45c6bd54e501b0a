"""Kernels of folds, and the functions on them, against numpy."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends import folds as reference
from taper.backends.llvm import build, call, machine, rows, sums
from taper.backends.llvm.functions import fold

COLUMNS = [1, 2, 7, 10, 16, 17, 33, 64, 100, 128, 129, 250, 257, 1000]
DTYPES = [np.float32, np.float64]
ELEMENTS = {np.float32: "float", np.float64: "double"}


def near(dtype) -> dict:
    return {"rtol": 40 * np.finfo(dtype).eps, "atol": 10 * np.finfo(dtype).eps}


def guarded(*shape: int, dtype=np.float32) -> tuple[np.ndarray, np.ndarray]:
    """An array and the zone behind it, filled with 7."""
    size = math.prod(shape)
    whole = np.full(size + 40, 7, dtype)
    return whole[:size].reshape(shape), whole[size:]


def run(spec, *arguments) -> None:
    """Calls the kernel itself, without the pool."""
    library = build.library(spec)
    call.through_ctypes(library.addresses["kernel"], spec.kinds)(*arguments)


def known(columns: int) -> tuple[int, tuple[int, ...]]:
    """What the specification says of the columns, and what is said at run time."""
    return (columns, ()) if columns <= rows.MOST_KNOWN else (0, (columns,))


def arrays_of(shape: tuple[int, ...]) -> list[np.ndarray]:
    """The same numbers laid out in several ways, and in dtypes with and without kernels."""
    x = np.random.default_rng(0).normal(size=shape)
    double = np.random.default_rng(1).normal(size=(*shape[:-1], 2 * shape[-1]))
    made = [x, x.astype(np.float32), np.asfortranarray(x), double[..., ::2], x.astype(np.float16)]
    return [*made, x.astype(np.float32)[:0]]


def every_axes(ndim: int) -> list:
    """All sets of dimensions but the empty one, and each dimension alone, from the end too."""
    sets = range(1, 1 << ndim)
    return [*range(-ndim, ndim), *(tuple(d for d in range(ndim) if s >> d & 1) for s in sets)]


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_short_rows(columns, dtype):
    x = np.random.default_rng(0).random((9, columns)).astype(dtype)
    fixed, given = known(columns)
    spec = sums.RowFolds(ELEMENTS[dtype], fixed)
    out, behind = guarded(9, dtype=dtype)

    run(spec, x, out, *given, 0, 9)

    np.testing.assert_allclose(out, spec.interpret(x), **near(dtype))
    assert (behind == 7).all()


@pytest.mark.parametrize("length", [1, 15, 16, 17, 255, 1024, 1025, 5000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_rows(length, dtype):
    x = np.random.default_rng(0).normal(size=5 * length).astype(dtype)
    spec = sums.Sums(ELEMENTS[dtype], ELEMENTS[dtype])
    out, behind = guarded(5, dtype=dtype)

    run(spec, x, out, length, x.size, 3.0, 0, 5)

    np.testing.assert_allclose(out, spec.interpret(x, length, x.size, 3.0), **near(dtype))
    assert (behind == 7).all()


def test_a_sum_of_float32_is_nearer_to_the_exact_one_than_a_pairwise_sum():
    x = np.random.default_rng(0).random(1_000_003).astype(np.float32)
    out = np.empty(1, np.float32)

    run(sums.Sums("float", "float"), x, out, x.size, x.size, 1.0, 0, 1)

    exact = math.fsum(x.tolist())
    assert abs(out[0] - exact) <= np.spacing(np.float32(exact))
    assert abs(out[0] - exact) <= abs(float(np.add.reduce(x)) - exact)


@pytest.mark.parametrize("columns", [1, 10, 16, 64, 65, 200])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 100, 400])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_columns(columns, count, dtype):
    x = np.random.default_rng(0).normal(size=(count, columns)).astype(dtype)
    spec = sums.ColumnFolds(ELEMENTS[dtype], "double")
    chunks = -(-count // 150)
    out, behind = guarded(chunks, columns, dtype=np.float64)

    run(spec, x, out, count, columns, 150, 0, chunks)

    wanted = spec.interpret(x, 150)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(out, wanted, rtol=10 * eps, atol=100 * eps)
    assert (behind == 7).all()


@pytest.mark.parametrize("kind", ["max", "min"])
@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes_see_nan_in_every_place(columns, dtype, kind):
    x = np.random.default_rng(0).normal(size=(columns + 2, columns)).astype(dtype)
    x[np.arange(columns), np.arange(columns)] = np.nan
    x[columns] = -np.inf
    fixed, given = known(columns)
    spec = sums.RowFolds(ELEMENTS[dtype], fixed, kind)
    out, behind = guarded(columns + 2, dtype=dtype)

    run(spec, x, out, *given, 0, columns + 2)

    np.testing.assert_array_equal(out, spec.interpret(x))
    assert (behind == 7).all()


SHAPES = [
    (40,),
    (4, 50),
    (3, 4, 20),
    (600, 9),
    (4096, 3),
    (2, 3),
    (30, 2000),
    (5, 1, 6, 7),
    (40, 1),
]
EXACT = ("max", "min")


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod", "squares"])
@pytest.mark.parametrize("shape", SHAPES)
def test_folds_agree_with_numpys_over_any_axes(shape, name):
    function, numpys = getattr(fold, name), getattr(np, name, reference.squares)
    axes = [None, *every_axes(len(shape))]
    for x in arrays_of(shape):
        if name == "prod":
            x = x * x.dtype.type(0.1) + x.dtype.type(1)
        for axis in axes:
            for keepdims in (False, True):
                if not x.size and name in EXACT:
                    continue
                found = function(x, axis=axis, keepdims=keepdims)
                wanted = numpys(x, axis=axis, keepdims=keepdims)
                assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
                bound = 0 if name in EXACT else 30 * np.finfo(x.dtype).eps
                many = x.size if name == "prod" else 1
                np.testing.assert_allclose(found, wanted, rtol=bound * many, atol=bound * 1000)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_spread_agrees_with_numpys_over_any_axes(shape):
    for x in arrays_of(shape):
        if x.dtype == np.float16:  # too small for these sums
            continue
        for axis in every_axes(len(shape)):
            centres = np.sum(x, axis=axis, keepdims=True)
            for keepdims in (False, True):
                found = fold.spread(x, centres, axis, keepdims)
                wanted = reference.spread(x, centres, axis, keepdims)
                assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
                np.testing.assert_allclose(found, wanted, rtol=100 * np.finfo(x.dtype).eps)


def test_dimensions_in_another_order_have_kernels_too():
    x = np.random.default_rng(0).normal(size=(5, 6, 7, 8)).transpose(2, 0, 3, 1)

    for axis in every_axes(4):
        for keepdims in (False, True):
            found, wanted = fold.sum(x, axis, keepdims=keepdims), x.sum(axis, keepdims=keepdims)
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-13)
            centres = x.mean(axis, keepdims=True)
            found = fold.spread(x, np.ascontiguousarray(centres), axis, keepdims)
            wanted = reference.spread(x, centres, axis, keepdims)
            np.testing.assert_allclose(found, wanted, rtol=1e-13)


def test_the_adjoint_of_broadcasting_agrees_with_numpys():
    x = np.random.default_rng(0).normal(size=(3, 20, 4, 25)).astype(np.float32)
    for shape in [(), (25,), (4, 25), (1, 25), (20, 1, 1), (3, 1, 4, 1), (1, 20, 4, 25), x.shape]:
        axes = tuple(range(4 - len(shape))) + tuple(
            4 - len(shape) + i for i, n in enumerate(shape) if n == 1
        )
        found = fold.sum_to(x, shape)
        assert found.shape == shape
        np.testing.assert_allclose(found, x.sum(axes).reshape(shape), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [100, 1000, 300_000])
def test_nan_and_infinities_go_through(size):
    x = np.ones(size, np.float32)
    x[size // 2] = np.nan
    for name in ("sum", "max", "min", "prod", "squares"):
        assert np.isnan(getattr(fold, name)(x)), name
    x[size // 2] = -np.inf
    assert fold.sum(x) == fold.min(x) == fold.prod(x) == -np.inf
    assert fold.max(x) == 1
    assert fold.squares(x) == np.inf


def test_a_sum_of_many_elements_is_cut_the_same_way_always():
    x = np.random.default_rng(0).random(300_001).astype(np.float32)

    assert fold.sum(x) == np.float32(math.fsum(x.tolist()))
    assert fold.sum(x.reshape(1, -1), axis=(0, 1)) == fold.sum(x)
    tall = x[:300_000].reshape(-1, 3)
    np.testing.assert_array_equal(
        fold.column_sums(tall), tall.sum(0, dtype=np.float64).astype(np.float32)
    )


@pytest.mark.skipif(machine.host().target != "avx512", reason="avx2 is what is tested already")
def test_a_smaller_processor_passes_too():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-x", __file__, "-k",
         "shape3 or shape7 or order or 257 or 1025"],
        cwd=root, env={**os.environ, "TAPER_TARGET": "avx2"}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip

    assert shown.returncode == 0, shown.stdout[-2000:]
