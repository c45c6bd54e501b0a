"""Kernels over rows against numpy: softmax, cross entropy, layer norm."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends import rows as plain
from taper.backends.llvm import build, call, layer_norm, machine, rows, softmax
from taper.backends.llvm.functions import rows as functions

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


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("logarithm", [False, True])
def test_softmax_and_its_derivative(columns, dtype, logarithm):
    generator = np.random.default_rng(0)
    x = (generator.normal(size=(9, columns)) * 5).astype(dtype)
    fixed, given = known(columns)
    spec = softmax.Softmax(ELEMENTS[dtype], fixed, logarithm)
    y, behind = guarded(9, columns, dtype=dtype)

    run(spec, x, y, *given, 0, 9)

    np.testing.assert_allclose(y, spec.interpret(x), **near(dtype))
    assert (behind == 7).all()
    grad = generator.normal(size=(9, columns)).astype(dtype)
    spec = softmax.SoftmaxGrad(ELEMENTS[dtype], fixed, logarithm)
    dx, behind = guarded(9, columns, dtype=dtype)
    run(spec, grad, y, dx, *given, 0, 9)
    np.testing.assert_allclose(
        dx, spec.interpret(grad, y), rtol=1e-4, atol=100 * np.finfo(dtype).eps
    )
    assert (behind == 7).all()


@pytest.mark.parametrize("columns", [5, 40, 300])
def test_softmax_of_rows_with_special_elements(columns):
    x = np.zeros((5, columns), np.float32)
    x[0] = -np.inf
    x[1, 3] = np.inf
    x[2, 4] = np.nan
    x[3, 1:] = -np.inf
    x[4] = np.linspace(-200, 1e4, columns)
    fixed, given = known(columns)
    y = np.empty_like(x)

    run(softmax.Softmax("float", fixed), x, y, *given, 0, 5)

    assert np.isnan(y[:3]).all()
    assert y[3].tolist() == [1.0] + [0.0] * (columns - 1)
    assert y[4, -1] == 1.0 and y[4, 0] == 0.0


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_and_its_derivative(columns, dtype):
    generator = np.random.default_rng(0)
    x = (generator.normal(size=(11, columns)) * 5).astype(dtype)
    target = generator.integers(0, columns, 11)
    fixed, given = known(columns)
    spec = softmax.CrossEntropy(ELEMENTS[dtype], fixed)
    chances, behind = guarded(11, columns, dtype=dtype)
    loss, after = guarded(11, dtype=dtype)

    run(spec, x, target, chances, loss, *given, 0, 11)

    wanted, losses = spec.interpret(x, target)
    np.testing.assert_allclose(chances, wanted, **near(dtype))
    np.testing.assert_allclose(loss, losses, **near(dtype))
    assert (behind == 7).all() and (after == 7).all()
    for each in (False, True):
        share = generator.random(11 if each else ()).astype(dtype)
        spec = softmax.CrossEntropyGrad(ELEMENTS[dtype], fixed, each)
        dx, behind = guarded(11, columns, dtype=dtype)
        run(spec, chances, target, share, dx, *given, 0, 11)
        np.testing.assert_array_equal(dx, spec.interpret(chances, target, share))
        assert (behind == 7).all()


@pytest.mark.parametrize("columns", COLUMNS[1:])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("weight", "bias"), [(True, True), (True, False), (False, False)])
def test_layer_norm_and_its_derivative(columns, dtype, weight, bias):
    generator = np.random.default_rng(0)
    count = rows.CHUNK_ROWS + 7
    x, grad = generator.normal(size=(2, count, columns)).astype(dtype)
    w, b = generator.normal(size=(2, columns)).astype(dtype)
    parameters = (w,) * weight + (b,) * bias
    fixed, given = known(columns)
    element = ELEMENTS[dtype]
    spec = layer_norm.LayerNorm(element, fixed, weight, bias)
    y, behind = guarded(count, columns, dtype=dtype)
    mean, scale = np.empty((2, count), dtype)

    run(spec, x, *parameters, y, mean, scale, 1e-5, *given, 0, count)

    bound = {"rtol": 1e-4 if dtype is np.float32 else 1e-12, "atol": 100 * np.finfo(dtype).eps}
    for got, wanted in zip((y, mean, scale), spec.interpret(x, *parameters, 1e-5), strict=True):
        np.testing.assert_allclose(got, wanted, **bound)
    assert (behind == 7).all()
    for summed in (True, False):
        back = layer_norm.LayerNormGrad(element, fixed, weight, summed)
        dx, behind = guarded(count, columns, dtype=dtype)
        made, after = guarded(2, 2, columns, dtype=dtype)
        given_sums = (made,) * summed
        run(back, x, grad, *(w,) * weight, mean, scale, dx, *given_sums, *given, count, 0, 2)
        wanted = back.interpret(x, grad, w if weight else None, mean, scale)
        np.testing.assert_allclose(dx, wanted[0], rtol=1e-3, atol=1e3 * np.finfo(dtype).eps)
        if summed:
            for got, right in zip(made.sum(0), wanted[1:], strict=True):
                np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e3 * np.finfo(dtype).eps)
        assert (behind == 7).all() and (after == 7).all()


def test_a_row_does_not_depend_on_where_it_stands():
    """Ranges of rows, and other numbers of rows, give the same bits."""
    x = np.random.default_rng(0).normal(size=(37, 300)).astype(np.float32)
    whole, parts = np.empty_like(x), np.empty_like(x)

    run(softmax.Softmax("float", 0), x, whole, 300, 0, 37)
    for begin, end in ((0, 5), (5, 6), (6, 37)):
        run(softmax.Softmax("float", 0), x, parts, 300, begin, end)

    np.testing.assert_array_equal(whole, parts)


@pytest.mark.skipif(machine.host().target != "avx512", reason="avx2 is what is tested already")
def test_a_smaller_processor_passes_too():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    shown = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-x", __file__, "-k",
         "10 or 33 or 129 or 257 or 17"],
        cwd=root, env={**os.environ, "TAPER_TARGET": "avx2"}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip

    assert shown.returncode == 0, shown.stdout[-2000:]


# ---------------------------------------------------------------- the functions that ops call


def arrays_of(shape: tuple[int, ...]) -> list[np.ndarray]:
    """The same numbers laid out in several ways, and in dtypes with and without kernels."""
    x = np.random.default_rng(0).normal(size=shape)
    double = np.random.default_rng(1).normal(size=(*shape[:-1], 2 * shape[-1]))
    made = [x, x.astype(np.float32), np.asfortranarray(x), double[..., ::2], x.astype(np.float16)]
    return [*made, x.astype(np.float32)[:0]]


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(40,), (4, 50), (3, 4, 20), (2, 3), (5, 2000)])
def test_softmax_of_every_layout_agrees_with_the_reference(name, shape):
    for x in arrays_of(shape):
        x = x.astype(np.float32) if x.dtype == np.float16 else x
        for axis in {0, len(shape) - 1, -1}:
            out = getattr(functions, name)(x, axis)
            np.testing.assert_allclose(out, getattr(plain, name)(x, axis), rtol=1e-5, atol=1e-6)
            grad = np.ascontiguousarray(x[::-1])
            found = getattr(functions, f"{name}_grad")(grad, out, axis)
            wanted = getattr(plain, f"{name}_grad")(grad, out, axis)
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(256, 10), (3, 5), (40, 300), (1, 100)])
def test_cross_entropy_agrees_with_the_reference(shape):
    for x in arrays_of(shape):
        if x.dtype == np.float16 or not x.size:
            continue
        target = np.random.default_rng(0).integers(0, shape[1], shape[0])
        for classes in (target, np.repeat(target, 2)[::2]):
            found, wanted = functions.softmax_loss(x, classes), plain.softmax_loss(x, classes)
            for got, right in zip(found, wanted, strict=True):
                np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-6)
            for share in (np.array(0.25, x.dtype), np.linspace(0, 1, shape[0]).astype(x.dtype)):
                got = functions.softmax_loss_grad(found[0], classes, share)
                right = plain.softmax_loss_grad(found[0], classes, share)
                np.testing.assert_allclose(got, right, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(256, 64), (3, 5), (300, 700), (1, 100), (129, 10)])
@pytest.mark.parametrize("needs", [(True, True, True), (True, False, False), (False, True, True)])
def test_layer_norm_agrees_with_the_reference(shape, needs):
    weight = np.random.default_rng(1).normal(size=shape[1])
    for x in arrays_of(shape):
        if x.dtype == np.float16 or not x.size:
            continue
        w = weight.astype(x.dtype)
        bound = (
            {"rtol": 1e-3, "atol": 2e-4} if x.dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-9}
        )
        for parameters in ((w, w), (w, None), (None, None)):
            found = functions.normalize_rows(x, *parameters, 1e-5)
            wanted = plain.normalize_rows(x, *parameters, 1e-5)
            for got, right in zip(found[:3], wanted[:3], strict=True):
                np.testing.assert_allclose(got, right, **bound)
            grad = np.ascontiguousarray(x[::-1])
            back = functions.normalize_rows_grad(grad, x, parameters[0], *found[1:], needs)
            right_back = plain.normalize_rows_grad(grad, x, parameters[0], *wanted[1:], needs)
            for got, right in zip(back, right_back, strict=True):
                assert (got is None) == (right is None)
                if got is not None:
                    np.testing.assert_allclose(got, right, **bound)
