"""The kernels of random fills against the numpy code: the same bits, the same state afterwards."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from random_golden import CASES
from taper import bfloat16
from taper.backends import reference
from taper.backends.llvm import build, machine
from taper.backends.llvm.draw import (
    Below,
    Mapped,
    Normal,
    Pairs,
    Permutation,
    Remainders,
    Uniform,
)
from taper.backends.llvm.functions.draw import draws
from taper.generator import Generator, choice, fills

SINGLE, DOUBLE, HALF = np.dtype("f4"), np.dtype("f8"), np.dtype("f2")
# Counts around blocks of 16, the 624 words of a generation, and the kernels' chunks.
COUNTS = [1, 15, 16, 17, 31, 33, 311, 312, 313, 624, 625, 1023, 1025, 5003]
# Words drawn before: the place within a generation, odd ones too.
PLACES = [0, 1, 100, 623, 624, 1249]
SPECS = [
    *[spec(element) for spec in (Uniform, Normal) for element in ("float", "double")],
    *[Below(element) for element in ("i8", "i16", "i32", "i64")],
    *[Remainders(wide) for wide in (False, True)],
    Pairs(),
    *[Mapped(name, "float") for name in ("exponential", "geometric", "cauchy")],
    Permutation(),
]


def started(seed, place):
    generator = Generator().manual_seed(seed)
    generator.words(place)
    return generator


def bits(values):
    return values.tobytes()


def compare(name, count, *args):
    """The kernel's numbers and state are those of the numpy code."""
    assert reference.math.draws == {}
    source = choice.permutation if name == "permutation" else getattr(fills, name)
    for place in PLACES:
        one, other = started(7, place), started(7, place)
        token = reference.silence()
        expected = source(one, count, *args)
        made = draws[name](other, count, *args)
        reference.restore(token)
        assert made.dtype == expected.dtype
        assert made.shape == expected.shape
        assert bits(made) == bits(expected), (name, count, args, place)
        assert bits(one.get_state()._array) == bits(other.get_state()._array), (name, place)


@pytest.fixture(autouse=True)
def numpy_code(monkeypatch):
    """Whatever backend the tests run with, fills.py is the reference here."""
    from taper.generator import kernels

    monkeypatch.setattr(kernels, "math", lambda: reference.math)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
def test_uniform_numbers_are_those_of_numpy(count, dtype):
    compare("uniform", count, 0.0, 1.0, dtype)
    compare("uniform", count, -0.3, 0.71, dtype)
    compare("uniform", count, 1e30, 1e30 * (1 + 1e-7), dtype)


@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE], ids=str)
def test_the_upper_end_is_never_drawn(dtype):
    """An interval of two numbers: rounding would reach the end half the time."""
    high = float(np.nextafter(dtype.type(1), dtype.type(2)))
    compare("uniform", 999, 1.0, high, dtype)
    assert (draws["uniform"](started(0, 0), 999, 1.0, high, dtype) == 1).all()


@pytest.mark.parametrize("count", [n for n in COUNTS if n >= 16])
@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE, HALF, bfloat16.numpy], ids=str)
def test_normal_numbers_are_those_of_numpy(count, dtype):
    compare("normal", count, 0.0, 1.0, dtype)
    compare("normal", count, -0.3, 1.7, dtype)


@pytest.mark.parametrize("count", COUNTS)
def test_masks_are_those_of_numpy(count):
    for p in (0.0, 1e-17, 0.3, 0.5, 1 - 2.0**-53, 1.0):
        compare("below", count, p)
        compare("below_scaled", count, p, 1.4285715, SINGLE)
        for dtype in (DOUBLE, HALF, bfloat16.numpy):
            compare("below_scaled", count, p, 1.25, dtype)


@pytest.mark.parametrize("count", COUNTS)
def test_integers_are_those_of_numpy(count):
    for span in (1, 2, 3, 7, 1000, (1 << 24) + 1, (1 << 28) - 1, 1 << 31, (1 << 32) - 1):
        compare("remainders", count, False, span, -5)
    for span in (1, 1 << 28, (1 << 53) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        compare("remainders", count, True, span, -(1 << 63))
        compare("remainders", count, True, span, 3)


@pytest.mark.parametrize("count", [2, 16, 312, 626, 1026])
def test_pairs_of_normal_numbers_are_those_of_numpy(count):
    compare("normal_pairs", count)


def test_a_number_that_waits_comes_first_and_the_last_one_waits(monkeypatch):
    """Odd counts of numbers drawn in pairs, by kernels and by numpy."""
    from taper.generator import kernels

    found = []
    for backend in (reference.math, type("Kernels", (), {"draws": draws})):
        monkeypatch.setattr(kernels, "math", lambda backend=backend: backend)
        generator = Generator().manual_seed(0)
        made = [fills.serial_normals(generator, count) for count in (21, 50, 1, 1, 17, 0)]
        found.append((np.concatenate(made), generator.next_normal, generator.words(1)))
    assert bits(found[0][0]) == bits(found[1][0])
    assert found[0][1:] == found[1][1:]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dtype", [SINGLE, DOUBLE, HALF], ids=str)
def test_the_c_librarys_functions_give_the_same_bits(count, dtype):
    compare("exponential", count, 1.7, dtype)
    compare("geometric", count, 0.3, dtype)
    compare("cauchy", count, 0.7, 1.3, dtype)


@pytest.mark.parametrize("count", [2, 3, *COUNTS[1:], 70_001])
def test_permutations_are_those_of_numpy(count):
    compare("permutation", count)


def test_normal_blocks_repeat_the_recorded_bits_of_pytorch():
    """Straight from the golden file, without the numpy code."""
    found = 0
    for case in CASES:
        n = case["args"].get("n", 0)
        if case["fn"] == "randn" and case["dtype"] == "float32" and n >= 16 and "bits" in case:
            made = draws["normal"](Generator().manual_seed(case["seed"]), n, 0.0, 1.0, SINGLE)
            assert made.astype(">f4").tobytes().hex() == case["bits"]
            found += 1
    assert found


def test_dtypes_without_a_kernel_are_left_to_numpy():
    generator = Generator().manual_seed(0)
    assert draws["uniform"](generator, 600, 0.0, 1.0, HALF) is None
    assert draws["normal"](generator, 600, 0.0, 1.0, SINGLE, False) is None
    assert draws["exponential"](generator, 600, 1.0, np.dtype(np.int64)) is None
    assert bits(generator.get_state()._array) == bits(started(0, 0).get_state()._array)


def test_the_state_is_the_engines_own_memory_after_reseeding_and_restoring():
    generator = Generator().manual_seed(3)
    first = draws["uniform"](generator, 700, 0.0, 1.0, SINGLE)
    saved = generator.get_state()
    more = draws["uniform"](generator, 700, 0.0, 1.0, SINGLE)
    generator.manual_seed(3)
    assert bits(draws["uniform"](generator, 700, 0.0, 1.0, SINGLE)) == bits(first)
    generator.set_state(saved)
    assert bits(draws["uniform"](generator, 700, 0.0, 1.0, SINGLE)) == bits(more)


def test_large_draws_go_to_kernels_and_small_ones_do_not(monkeypatch):
    from taper.generator import kernels

    asked = []

    class Backend:
        draws = {"unit_single": lambda generator, count: asked.append(count)}

    monkeypatch.setattr(kernels, "math", Backend)
    fills.unit_single(Generator().manual_seed(0), kernels.LEAST - 1)
    made = fills.unit_single(Generator().manual_seed(0), kernels.LEAST)
    assert asked == [kernels.LEAST]
    assert len(made) == kernels.LEAST


@pytest.mark.parametrize("spec", SPECS, ids=repr)
def test_code_for_other_processors_compiles(spec):
    build.assembly(spec, machine.cross("neon", "aarch64-unknown-linux-gnu"))
    build.assembly(spec, machine.cross("sse2", "x86_64-unknown-linux-gnu"))


@pytest.mark.skipif("TAPER_TARGET" in os.environ, reason="is the inner run")
def test_the_smaller_processors_kernels_give_the_same_bits(tmp_path):
    chosen = "uniform_numbers or normal_numbers or masks or permutations or integers"
    outcome = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-k", chosen, __file__],
        env={**os.environ, "TAPER_TARGET": "avx2", "TAPER_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stdout[-3000:]
