"""The elementary functions: their largest errors over all exponents, their edges, other processors."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends import reference
from taper.backends.llvm import build, call, machine, vmath
from taper.backends.llvm.pointwise import Pointwise, trace

EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 3.0, math.inf, -math.inf, math.nan]
OF_ONE = ("exp", "exp2", "expm1", "log", "log2", "log1p", "tanh", "sigmoid", "silu", "softplus", "erf",
          "gelu", "sin", "cos", "sqrt", "rsqrt")  # fmt: skip
# Units in the last place; numpy's own error where the reference is numpy in float64.
MOST = {"silu": 2.1, "gelu": 4.0}
_kernels = {}


def run(name: str, *operands: np.ndarray) -> np.ndarray:
    """A function of vmath.py on arrays of one dtype."""
    code = operands[0].dtype.char
    kernel = _kernels.get((name, code))
    if kernel is None:
        program = trace(lambda m, *x: m.apply(name, *x), code * len(operands))
        spec = Pointwise(program, code * len(operands), 0, (1,) * len(operands))
        library = build.library(spec)
        kernel = call.through_ctypes(library.addresses["kernel"], spec.kinds)
        _kernels[name, code] = kernel, library
    else:
        kernel = kernel[0]
    out = np.empty_like(operands[0])
    kernel(*operands, out, 0, out.size)
    return out


def everywhere(code: str) -> np.ndarray:
    """Numbers of all exponents and signs, and many of those in the middle."""
    if code == "f":
        bits = np.arange(0, 2**32, 16411, dtype=np.uint64).astype(np.uint32).view(np.float32)
    else:
        bits = (np.arange(60_000, dtype=np.uint64) * np.uint64(2**64 // 60_000 + 1)).view(
            np.float64
        )
    info = np.finfo(code)
    extreme = [
        info.tiny,
        -info.tiny,
        info.smallest_subnormal,
        -info.smallest_subnormal,
        info.max,
        -info.max,
    ]
    low, high = (-110, 100) if code == "f" else (-760, 720)
    middle = [np.linspace(low, high, 60_001), np.linspace(-4, 4, 60_001)]
    bits[np.isnan(bits)] = np.nan  # signalling ones would warn when they are cast
    return np.concatenate([bits, *(np.array(p, code) for p in (*middle, EDGES, extreme))])


def exact(name: str, x: np.ndarray) -> np.ndarray:
    """The function in a wider format."""
    with np.errstate(all="ignore"):
        small = np.exp(-np.abs(x))
        if name == "sigmoid":
            return np.where(x < 0, small, 1) / (1 + small)
        if name == "silu":
            made = np.where(x < 0, x * small, x) / (1 + small)
            return np.where(x == -math.inf, math.nan, made)
        if name == "softplus":
            return np.maximum(x, 0) + np.log1p(small)
        if name == "rsqrt":
            return 1 / np.sqrt(x)
        if name == "erf":
            return reference.math.erf(x)
        if name == "gelu":
            return np.where(x == -math.inf, -0.0, x * reference.math.ndtr(x))
        return getattr(np, name)(x)


def ulps(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Distance in units of the last place; inf where a special value is wrong."""
    info = np.finfo(found.dtype)
    with np.errstate(all="ignore"):
        size = np.exp2(np.floor(np.log2(np.abs(wanted))) - info.nmant)
        unit = np.maximum(size, wanted.dtype.type(info.smallest_subnormal))
        away = np.abs(found.astype(wanted.dtype) - wanted) / unit
        beyond = np.isfinite(wanted) & (np.abs(wanted) > info.max)
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted)) | (beyond & np.isinf(found))
    special = np.isnan(found) | np.isnan(wanted) | np.isinf(wanted)
    return np.where(same, 0, np.where(special, math.inf, away))


@pytest.mark.parametrize("name", OF_ONE)
def test_float32_is_right_at_all_exponents(name):
    x = everywhere("f")
    found, wanted = run(name, x), exact(name, x.astype(np.float64))

    away = ulps(found, wanted)
    worst = away.argmax()
    assert away[worst] <= MOST.get(name, 2.0), (x[worst], found[worst], wanted[worst])
    known = ~np.isnan(wanted)
    assert (np.signbit(found) == np.signbit(wanted))[known].all()


WIDER = np.finfo(np.longdouble).nmant > 60


@pytest.mark.skipif(not WIDER, reason="needs a long double that is wider than float64")
@pytest.mark.parametrize("name", [n for n in OF_ONE if n not in ("erf", "gelu", "sin", "cos")])
def test_float64_is_right_at_all_exponents(name):
    x = everywhere("d")
    found, wanted = run(name, x), exact(name, x.astype(np.longdouble))

    away = ulps(found, wanted)
    worst = away.argmax()
    assert away[worst] <= MOST.get(name, 2.0), (x[worst], found[worst], wanted[worst])


def test_erf_in_float64_is_that_of_the_c_library():
    x = np.concatenate([np.linspace(-6.5, 6.5, 20_001), np.geomspace(1e-310, 1, 1000), EDGES])
    wanted = np.array([math.erf(v) for v in x])

    assert ulps(run("erf", x), wanted).max() <= 2.0


@pytest.mark.parametrize(("code", "most"), [("f", 2.0**-22), ("d", 2.0**-51)])
def test_the_slope_of_gelu_is_right_everywhere(code, most):
    x = np.concatenate([np.linspace(-41, 41, 100_001), np.linspace(-4, 4, 100_001)]).astype(code)
    wide = x.astype(np.float64 if code == "f" or not WIDER else np.longdouble)

    found = run("gelu_slope", x)

    wanted = reference.math.ndtr(wide) + wide * np.exp(wide * wide / -2) / np.sqrt(2 * np.pi)
    assert np.abs(found - wanted).max() <= most
    edges = np.array([0.0, -0.0, math.inf, -math.inf, math.nan], code)
    np.testing.assert_array_equal(run("gelu_slope", edges), [0.5, 0.5, 1, 0, math.nan])


def test_gelu_in_float64_is_exact_in_its_tail():
    x = np.linspace(-36.5, 8.0, 5001)
    wanted = np.array([v * math.erfc(-v / math.sqrt(2)) / 2 for v in x])

    # The C library's erfc and the rounding of its argument are off by some v^2 units.
    assert (np.abs(run("gelu", x) - wanted) <= 1e-15 * (1 + x * x) * np.abs(wanted)).all()


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_angles_in_float64_are_reduced_exactly_however_large(name):
    generator = np.random.default_rng(0)
    large = np.ldexp(generator.uniform(1, 2, 2000), generator.integers(20, 1023, 2000))
    near = np.arange(1, 2000) * (math.pi / 2)
    x = np.concatenate([large, -large, near, np.linspace(-30, 30, 10_001)])
    wanted = np.array([getattr(math, name)(v) for v in x])

    assert ulps(run(name, x), wanted).max() <= 2.0


def test_the_float64_nearest_to_a_multiple_of_a_right_angle_keeps_all_its_bits():
    """The C library's cosine of it is off by 8 units. Source: Muller, Elementary Functions."""
    x = np.array([6381956970095103 * 2.0**797])

    assert run("cos", x)[0] == pytest.approx(-4.68716592425462761112e-19, rel=3e-16)


@pytest.mark.parametrize("code", ["f", "d"])
def test_powers_are_right_at_all_exponents_and_edges(code):
    generator = np.random.default_rng(0)
    some = everywhere("f").astype(code)
    x = np.concatenate([
        generator.choice(some, 60_000), np.repeat(EDGES, len(EDGES)), generator.uniform(0, 4, 30_000)
    ]).astype(code)  # fmt: skip
    y = np.concatenate([
        generator.uniform(-40, 40, 60_000), np.tile(EDGES, len(EDGES)), generator.integers(-20, 20, 30_000)
    ]).astype(code)  # fmt: skip
    wide = np.float64 if code == "f" else np.longdouble
    if code == "d" and not WIDER:
        pytest.skip("needs a long double that is wider than float64")
    with np.errstate(all="ignore"):
        wanted = np.power(x.astype(wide), y.astype(wide))
    found = run("power", x, y)

    away = ulps(found, wanted)
    worst = away.argmax()
    assert away[worst] <= 1.0, (x[worst], y[worst], found[worst], wanted[worst])
    known = ~np.isnan(wanted)
    assert (np.signbit(found) == np.signbit(wanted))[known].all()


def digests() -> dict[str, str]:
    """The bits of all results of this processor, or the one that TAPER_TARGET names; nan is nan."""
    made = {}
    for name in OF_ONE:
        for code in "fd":
            out = run(name, everywhere(code))
            out[np.isnan(out)] = np.nan
            made[name + code] = hashlib.sha256(out.tobytes()).hexdigest()
    for code in "fd":
        x = everywhere(code)
        out = run("power", np.abs(x), x[::-1].copy())
        out[np.isnan(out)] = np.nan
        made["power" + code] = hashlib.sha256(out.tobytes()).hexdigest()
    return made


@pytest.mark.skipif(machine.host().target != "avx512", reason="needs AVX-512 to compare with")
def test_a_smaller_processor_gives_the_same_bits():
    code = (
        "import sys; sys.path[:0] = ['tests', '.']\n"
        "from backends.llvm.test_vmath import digests\n"
        "print(digests())\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={**os.environ, "TAPER_TARGET": "avx2"},
        check=True, capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip

    assert shown.strip() == str(digests())


@pytest.mark.parametrize("name", [*OF_ONE, "power"])
def test_code_for_arm_compiles(name):
    count = 2 if name == "power" else 1
    program = trace(lambda m, *x: m.apply(name, *x), "f" * count)
    spec = Pointwise(program, "f" * count, 0, (1,) * count)

    assert "fmla" in build.assembly(spec, machine.cross("neon", "aarch64-unknown-linux-gnu")) or (
        name in ("sqrt", "rsqrt")
    )


def test_every_function_takes_any_number_of_lanes():
    """One lane is what a kernel of uneven strides uses."""
    assert set(vmath.FUNCTIONS) >= {*OF_ONE, "pow"}
    for name in OF_ONE:
        program = trace(lambda m, x, name=name: m.apply(name, x), "f")
        spec = Pointwise(program, "f", 0, ("s",), 1)
        library = build.library(spec)
        kernel = call.through_ctypes(library.addresses["kernel"], spec.kinds)
        x = everywhere("f")[::211].copy()
        out = np.empty(x.size // 3, np.float32)
        kernel(x, out, np.array([1, 0, 3]), out.size, 0, 1)

        np.testing.assert_array_equal(out, run(name, x[: 3 * out.size : 3].copy()))
