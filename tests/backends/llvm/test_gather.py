"""The kernels of slices and elements by index: their meaning, their order, their bounds."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends import gathering as reference
from taper.backends.llvm import build, machine
from taper.backends.llvm.functions import gather as functions
from taper.backends.llvm.gather import AddSlices, Gather, ScatterAdd, TakeSlices
from taper.backends.llvm.loaded import kernel

DTYPES = {"float": np.float32, "double": np.float64, "i64": np.int64, "i32": np.int32}
# outer, extent, inner, entries
SHAPES = [
    (1, 1, 1, 1),
    (1, 7, 1, 20),
    (3, 5, 1, 9),
    (1, 10, 3, 40),
    (2, 4, 17, 11),
    (1, 100, 64, 33),
    (2, 3, 150, 5),
    (1, 4, 4, 0),
    (0, 4, 4, 3),
    (2, 4, 0, 3),
]
GUARD = 77
MOVES = [TakeSlices("i32"), TakeSlices("i64"), Gather("i32"), Gather("i64")]
SUMS = [spec(element) for spec in (AddSlices, ScatterAdd) for element in ("float", "double", "i64")]


def numbers(rng, shape, element):
    dtype = np.dtype(DTYPES[element])
    if dtype.kind == "i":
        return rng.integers(-1000, 1000, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def guarded(array):
    """A copy with a zone behind it, and the whole."""
    whole = np.full(array.size + 64, GUARD, array.dtype)
    view = whole[: array.size].reshape(array.shape)
    view[...] = array
    return view, whole


def intact(whole, array):
    return (whole[array.size :] == GUARD).all()


def run(spec, *args):
    return kernel(spec, "i64")(*args)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("element", ["i32", "i64"])
def test_slices_are_taken_as_numpy_takes_them(shape, element):
    outer, extent, inner, count = shape
    rng = np.random.default_rng(0)
    x = numbers(rng, (outer, extent, inner), element)
    index = rng.integers(0, extent, count)
    spec = TakeSlices(element)
    expected = np.zeros((outer, count, inner), x.dtype)
    made, whole = guarded(expected)
    half = count // 2
    spec.interpret(x, index, expected, 0, count)
    for begin, end in ((half, count), (0, half)):
        assert run(spec, x, index, made, outer, extent, inner, count, begin, end) == 0
    assert (made == expected).all()
    assert intact(whole, made)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("element", ["float", "double", "i64"])
def test_slices_are_added_in_the_order_of_the_index(shape, element):
    """Float sums depend on their order: the bits are those of one addition after the other."""
    outer, extent, inner, count = shape
    rng = np.random.default_rng(1)
    start = numbers(rng, (outer, extent, inner), element)
    source = numbers(rng, (outer, count, inner), element)
    index = rng.integers(0, extent, count)
    spec = AddSlices(element)
    expected = start.copy()
    made, whole = guarded(start)
    half = inner // 2
    spec.interpret(expected, index, source, 0, inner)
    for begin, end in ((half, inner), (0, half)):
        assert run(spec, made, index, source, outer, extent, inner, count, begin, end) == 0
    assert made.tobytes() == expected.tobytes()
    assert intact(whole, made)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("element", ["i32", "i64"])
def test_elements_are_gathered_as_numpy_gathers_them(shape, element):
    outer, extent, inner, count = shape
    rng = np.random.default_rng(2)
    x = numbers(rng, (outer, extent, inner), element)
    index = rng.integers(0, extent, (outer, count, inner))
    spec = Gather(element)
    expected = np.zeros(index.shape, x.dtype)
    made, whole = guarded(expected)
    half = outer // 2
    spec.interpret(x, index, expected, 0, outer)
    for begin, end in ((half, outer), (0, half)):
        assert run(spec, x, index, made, extent, inner, count, begin, end) == 0
    assert (made == expected).all()
    assert intact(whole, made)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("element", ["float", "double", "i64"])
def test_elements_are_added_in_row_major_order(shape, element):
    outer, extent, inner, count = shape
    rng = np.random.default_rng(3)
    start = numbers(rng, (outer, extent, inner), element)
    index = rng.integers(0, extent, (outer, count, inner))
    source = numbers(rng, index.shape, element)
    spec = ScatterAdd(element)
    expected = start.copy()
    made, whole = guarded(start)
    half = outer // 2
    spec.interpret(expected, index, source, 0, outer)
    for begin, end in ((half, outer), (0, half)):
        assert run(spec, made, index, source, extent, inner, count, begin, end) == 0
    assert made.tobytes() == expected.tobytes()
    assert intact(whole, made)


@pytest.mark.parametrize("bad", [-1, 10, -(2**63), 2**62])
@pytest.mark.parametrize("place", [0, 8, 19])
def test_an_index_out_of_range_is_told_and_never_used(bad, place):
    index = np.arange(20) % 10
    index[place] = bad
    x, made = np.ones((1, 10, 3)), np.zeros((1, 20, 3))
    assert run(TakeSlices("i64"), x, index, made, 1, 10, 3, 20, 0, 20) == 1
    assert run(AddSlices("double"), x, index, np.ones((1, 20, 3)), 1, 10, 3, 20, 0, 3) == 1
    assert run(Gather("i64"), np.ones(10), index, made, 10, 1, 20, 0, 1) == 1
    assert run(ScatterAdd("double"), x, index, np.ones(20), 10, 1, 20, 0, 1) == 1
    assert (made == 0).all()
    assert (x == 1).all()


# ---------------------------------------------------------------- the functions of m


def same(made, expected):
    assert made.dtype == expected.dtype
    assert made.shape == expected.shape
    assert np.ascontiguousarray(made).tobytes() == np.ascontiguousarray(expected).tobytes()


def arrays(rng, dtype):
    x = (10 * rng.standard_normal((30, 24, 18))).astype(dtype)
    return {"plain": x, "transposed": x.T, "strided": x[:, ::2, 1::2]}


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "i4", "f2", "?", "c8", "c16"])
@pytest.mark.parametrize("layout", ["plain", "transposed", "strided"])
def test_functions_agree_with_the_reference_for_every_dtype_and_layout(dtype, layout):
    rng = np.random.default_rng(4)
    x = arrays(rng, dtype)[layout]
    for axis in range(3):
        extent = x.shape[axis]
        for index in (rng.integers(0, extent, 50), rng.integers(0, extent, 100)[::2]):
            same(functions.take_slices(x, index, axis), reference.take_slices(x, index, axis))
            source = np.take(x, index, axis)
            same(
                functions.add_slices(x, index, source, axis),
                reference.add_slices(x, index, source, axis),
            )
        shape = list(x.shape)
        shape[axis] = 40
        for index in (rng.integers(0, extent, shape), rng.integers(0, extent, shape[::-1]).T):
            same(functions.gather(x, index, axis), reference.gather(x, index, axis))
            source = np.take_along_axis(x, index, axis)
            same(
                functions.scatter_add(x, index, source, axis),
                reference.scatter_add(x, index, source, axis),
            )
    index = rng.integers(0, x.shape[0], (7, 3))
    same(functions.take_slices(x, index), reference.take_slices(x, index))


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "c8"])
@pytest.mark.parametrize("columns", [0, 1, 2, 3, 64])
def test_sums_of_rows_agree_with_the_reference(dtype, columns):
    rng = np.random.default_rng(5)
    values = rng.standard_normal((600, columns)).astype(dtype)
    index = rng.integers(0, 9, 600)
    same(functions.sum_rows(values, index, 12), reference.sum_rows(values, index, 12))


def test_indices_that_leave_dimensions_out_go_to_the_reference():
    rng = np.random.default_rng(6)
    x, index = rng.standard_normal((40, 30)), rng.integers(0, 30, (20, 25))
    same(functions.gather(x, index, 1), reference.gather(x, index, 1))
    source = rng.standard_normal((33, 29))
    same(functions.scatter_add(x, index, source, 1), reference.scatter_add(x, index, source, 1))


def test_int32_indices_give_the_same():
    rng = np.random.default_rng(7)
    x, index = rng.standard_normal((40, 30)), rng.integers(0, 40, 50, np.int32)
    same(functions.take_slices(x, index), x[index])
    same(functions.sum_rows(x[index], index, 40), reference.sum_rows(x[index], index, 40))


@pytest.mark.parametrize("index", [np.full(300, 40), np.full(300, -1)], ids=["high", "low"])
def test_functions_raise_for_an_index_out_of_range(index):
    x = np.ones((40, 30), np.float32)
    with pytest.raises(IndexError, match="index out of range in self"):
        functions.take_slices(x, index)
    with pytest.raises(IndexError, match="index out of range in self"):
        functions.add_slices(x, index, np.ones((300, 30), np.float32))


def test_nan_and_signed_zeros_are_added_as_numpy_adds_them():
    start = np.full((2, 300), -0.0, np.float32)
    source = np.full((3, 300), -0.0, np.float32)
    source[1] = np.nan
    index = np.array([0, 1, 0])
    same(functions.add_slices(start, index, source), reference.add_slices(start, index, source))


@pytest.mark.parametrize("spec", [*MOVES, *SUMS], ids=repr)
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
