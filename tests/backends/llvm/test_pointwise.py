"""Formulas as kernels: their bits, dtypes, layouts, and what is left to numpy."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import taper
from taper.backends import reference
from taper.backends.llvm import build, call, machine
from taper.backends.llvm.functions import FAMILIES, fold, rows
from taper.backends.llvm.functions import pointwise as functions
from taper.backends.llvm.pointwise import Pointwise, Program, Unsupported, trace

# Formulas whose kernels give numpy's bits, and the kinds of their operands.
EXACT = {
    "sum": (lambda m, x, y: x + y, "ff"),
    "chain": (lambda m, x, y: (x * y - x) / (y + 3) + m.sqrt(m.abs(x)) - 1, "ff"),
    "chain64": (lambda m, x, y: (x * y - x) / (y + 3) + m.sqrt(m.abs(x)) - 1, "dd"),
    "number": (lambda m, x, s: x * s + (1 - s), "fw"),
    "numbers": (lambda m, x, s, t: x * (s / t) + s * t, "fww"),
    "relu": (lambda m, x: m.maximum(0, x), "f"),
    "clip": (lambda m, x: m.clip(x, -0.5, 0.5), "f"),
    "extremes": (lambda m, x, y: (m.maximum(x, y), m.minimum(x, y)), "ff"),
    "compare": (lambda m, x, y: (x < y, x >= y, m.equal(x, y), m.not_equal(x, y)), "ff"),
    "where": (lambda m, x, y: m.where((x > 0) & ~(y > 0), x, -y), "ff"),
    "mixed": (lambda m, x, y: x * y + 1, "fd"),
    "mask": (lambda m, x, y: x * y, "f?"),
    "choice": (lambda m, c, x: m.where(c, x, 2.5), "?f"),
    "integers": (lambda m, x, y: m.where(x > y, x * 3 - y, m.abs(y)), "ll"),
    "short integers": (lambda m, x, y: m.maximum(x, y) + 1, "ii"),
    "cast": (lambda m, x: m.astype(x, np.float64) / 3, "f"),
    "from integers": (lambda m, x: m.astype(x, np.float32) / 3, "l"),
    "tests": (lambda m, x: (m.isnan(x), m.isfinite(x), m.isinf(x), m.signbit(x)), "f"),
    "rounding": (lambda m, x: (m.floor(x), m.ceil(x), m.trunc(x), m.rint(x)), "d"),
    "sign": (lambda m, x: m.sign(x), "f"),
    "ufuncs": (lambda m, x: np.where(x > 0, np.sqrt(np.abs(x)), x), "f"),
    "constant": (lambda m, x: (m.zeros_like(x), x * 0 + 1e-3), "f"),
}


def operand(kind: str, size: int, seed: int) -> np.ndarray:
    """Random elements with the special ones among them."""
    generator = np.random.default_rng(seed)
    if kind == "?":
        return generator.random(size) < 0.5
    if kind in "il":
        return generator.integers(-100, 100, size).astype(kind)
    x = generator.normal(size=size).astype(kind)
    for place, value in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42)):
        x[(7 * place + seed) % max(size, 1) : (7 * place + seed) % max(size, 1) + 1] = value
    return x


def operands(kinds: str, size: int) -> tuple[list[np.ndarray], list[float]]:
    arrays = [operand(kind, size, seed) for seed, kind in enumerate(kinds) if kind != "w"]
    return arrays, [0.3, -1.7][: kinds.count("w")]


def run(
    program: Program, kinds: str, arrays: list[np.ndarray], numbers: list[float]
) -> list[np.ndarray]:
    """The outputs by the kernel, with a guard zone behind each that must stay as it was."""
    size = arrays[0].size
    spec = Pointwise(program, kinds.replace("w", ""), len(numbers), (1,) * len(arrays))
    library = build.library(spec)
    outs = [
        np.frombuffer(b"\x5a" * (np.dtype(d).itemsize * (size + 40)), d).copy()
        for d in program.dtypes
    ]
    kernel = call.through_ctypes(library.addresses["kernel"], spec.kinds)
    kernel(*arrays, *outs, *numbers, 0, size)
    for out in outs:
        assert (out[size:].view(np.uint8) == 0x5A).all()
    return [out[:size] for out in outs]


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 33, 100, 1003])
def test_a_kernel_has_numpys_bits_and_dtypes(name, size):
    formula, kinds = EXACT[name]
    program = trace(formula, kinds)
    arrays, numbers = operands(kinds, size)

    found = run(program, kinds, arrays, numbers)

    for got, wanted in zip(found, program.evaluate(arrays, numbers), strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, np.broadcast_to(wanted, got.shape))


@pytest.mark.parametrize("name", EXACT)
def test_the_interpreter_agrees_with_numpy_itself(name):
    formula, kinds = EXACT[name]
    arrays, numbers = operands(kinds, 100)
    rest, given = iter(numbers), iter(arrays)
    with np.errstate(all="ignore"):
        plain = formula(reference.math, *(next(rest) if k == "w" else next(given) for k in kinds))
    plain = plain if isinstance(plain, tuple) else (plain,)

    for got, wanted in zip(trace(formula, kinds).evaluate(arrays, numbers), plain, strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(np.broadcast_to(got, wanted.shape), wanted)


def digests() -> str:
    """All results, as a text that tells differences."""
    made = hashlib.sha256()
    for formula, kinds in EXACT.values():
        arrays, numbers = operands(kinds, 1003)
        for out in run(trace(formula, kinds), kinds, arrays, numbers):
            if out.dtype.kind == "f":
                out[np.isnan(out)] = np.nan
            made.update(out.tobytes())
    return made.hexdigest()


@pytest.mark.skipif(machine.host().target != "avx512", reason="needs AVX-512 to compare with")
@pytest.mark.parametrize("target", ["avx2", "sse2"])
def test_a_smaller_processor_gives_the_same_bits(target):
    code = (
        "import sys; sys.path[:0] = ['tests', '.']\n"
        "from backends.llvm.test_pointwise import digests\n"
        "print(digests())\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={**os.environ, "TAPER_TARGET": target},
        check=True, capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip

    assert shown.strip() == digests()


def test_an_output_may_overwrite_an_input():
    program = trace(lambda m, x, y: (x + y, x * y), "ff")
    spec = Pointwise(program, "ff", 0, (1, 1), 0, (0, 1))
    library = build.library(spec)
    x, y = operand("f", 100, 1), operand("f", 100, 2)
    with np.errstate(invalid="ignore"):
        wanted = x + y, x * y

    call.through_ctypes(library.addresses["kernel"], spec.kinds)(x, y, 0, 100)

    np.testing.assert_array_equal(x, wanted[0])
    np.testing.assert_array_equal(y, wanted[1])


def test_a_range_of_elements_is_computed_and_no_other():
    program = trace(lambda m, x: x + 1, "f")
    spec = Pointwise(program, "f", 0, (1,))
    library = build.library(spec)
    x, out = np.arange(100, dtype=np.float32), np.zeros(100, np.float32)

    call.through_ctypes(library.addresses["kernel"], spec.kinds)(x, out, 13, 77)

    np.testing.assert_array_equal(out[13:77], x[13:77] + 1)
    assert not out[:13].any() and not out[77:].any()


def test_equal_steps_are_made_once_and_needless_ones_not_at_all():
    def formula(m, x):
        m.exp(x)
        return (x * 2 + 1) * (x * 2 + 1)

    assert [step[0] for step in trace(formula, "f").steps].count("multiply") == 2
    assert "exp" not in [step[0] for step in trace(formula, "f").steps]


@pytest.mark.parametrize(
    ("formula", "kinds"),
    [
        (lambda m, x: m.sum(x), "f"),
        (lambda m, x: x if x > 0 else -x, "f"),
        (lambda m, x: x[0], "f"),
        (lambda m, x: m.lgamma(x), "f"),
        (lambda m, x: m.astype(x, np.int64), "f"),
        (lambda m, x: x + np.ones(3), "f"),
        (lambda m, x: np.add(x, 1, out=np.ones(3)), "f"),
        (lambda m, x: m.astype(x, np.float16), "f"),
    ],
)
def test_what_a_kernel_cannot_do_is_left_to_numpy(formula, kinds):
    with pytest.raises((Unsupported, TypeError)):
        trace(formula, kinds)
    assert functions.fused(formula, np.ones(1000, np.float32)) is None


def plain(m, x, y):
    return x * 2 - y


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ((5, 40), (40,)),
        ((5, 40), (5, 1)),
        ((5, 40), (1, 40)),
        ((3, 5, 40), (5, 40)),
        ((3, 1, 40), (1, 5, 40)),
        ((2, 3, 4, 20), (3, 1, 1)),
        ((2, 3, 4, 20), (2, 1, 4, 20)),
        ((6, 20), ()),
        ((1, 200), (200,)),
        ((64, 33), (33,)),
    ],
)
def test_shapes_broadcast(one, two):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=one).astype("f"), generator.normal(size=two).astype("f")

    found = functions.fused(plain, x, y)

    np.testing.assert_array_equal(found, x * 2 - y)
    found = functions.fused(plain, y, x)
    np.testing.assert_array_equal(found, y * 2 - x)


def test_views_are_read_where_they_lie_and_results_laid_out_as_numpys():
    x = np.random.default_rng(0).normal(size=(96, 128)).astype("f")
    for one, two in [
        (x.T, x.T),
        (x[:, ::2], x[:, 1::2]),
        (x[::2], x[1::2]),
        (x[:, 3:50], x[:, 3:50]),
        (x[:, ::2], x[0, ::2]),
        (np.broadcast_to(x[0], x.shape), x),
        (x[:, :1], x),
        (x[:, 5], x[:, 0]),
    ]:
        found, wanted = functions.fused(plain, one, two), one * 2 - two

        assert found is not None
        np.testing.assert_array_equal(found, wanted)
        assert found.strides == wanted.strides

    for one, two in [(x, np.asfortranarray(x)), (x[::-1], x), (x[:, ::-1], x)]:
        assert functions.fused(plain, one, two) is None


@pytest.mark.parametrize(
    "name", [n for n in FAMILIES["pointwise"].split() if n not in ("fused", "evaluate")]
)
def test_functions_of_one_array_agree_with_numpy_on_every_layout_and_dtype(name):
    function, own = getattr(functions, name), getattr(reference.math, name)
    x = np.random.default_rng(0).uniform(0.1, 3, (40, 50))
    for array in (x, x.T, x[:, ::2], x[0, :3], x[:0], x[0, 0].reshape(())):
        for dtype in (np.float32, np.float64, np.float16):
            given = array.astype(dtype)
            found, wanted = function(given), own(given)

            assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
            if name != "erf":  # the reference's erf gives its result in C's order
                assert found.strides == wanted.strides
            np.testing.assert_allclose(found, wanted, rtol=6 * np.finfo(dtype).eps, atol=1e-300)
    into = np.empty_like(x)
    if name not in ("sigmoid", "erf"):
        assert function(x, into) is into


def test_without_built_ins_kernels_are_called_through_ctypes(monkeypatch):
    monkeypatch.setattr(functions, "_has_calls", False)
    program = trace(lambda m, x, s: x * s, "fw")
    kernel = functions.kernel_of(Pointwise(program, "f", 1, (1,)))
    x, out = np.arange(100, dtype=np.float32), np.empty(100, np.float32)

    kernel(0, x, out, 0.5, 100)

    np.testing.assert_array_equal(out, x * np.float32(0.5))


def test_the_number_of_threads_changes_no_bit():
    x, y = np.random.default_rng(0).normal(size=(2, 300_001)).astype(np.float32)
    column = x[:300_000].reshape(-1, 100), y[:100]
    before = taper.get_num_threads()
    made = []
    try:
        for count in (1, 2, 3):
            taper.set_num_threads(count)
            made.append([
                functions.fused(EXACT["chain"][0], x, y),
                functions.fused(EXACT["chain"][0], *column),
                functions.exp(x),
                fold.sum(x),
                fold.sum(column[0], axis=0),
                rows.softmax(column[0], 1),
            ])  # fmt: skip
    finally:
        taper.set_num_threads(before)

    for other in made[1:]:
        for one, two in zip(made[0], other, strict=True):
            np.testing.assert_array_equal(one, two)
