"""Draws that try until a candidate is accepted: Poisson, binomial, gamma and Dirichlet numbers.

How many words a draw takes depends on the draw, so these are loops over scalars. Intermediate
results have PyTorch's types: float64, except where PyTorch computes in the tensor's own dtype.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.generator import fills
from taper.generator.engine import Generator
from taper.generator.fused import quiet

Round = Callable[[float], float]


def _c_function(name: str, type: Any, instead: Callable[[float], float]) -> Any:
    """A function of the C library by name; `instead` where the library has none."""
    try:
        found = getattr(ctypes.CDLL(ctypes.util.find_library("m")), name)
    except (OSError, AttributeError):
        return instead
    found.restype, found.argtypes = type, [type]
    return found


# Python's own lgamma is another one than the C library's.
_lgamma = _c_function("lgamma", ctypes.c_double, math.lgamma)
_log1p_single = _c_function("log1pf", ctypes.c_float, math.log1p)


def _unit(generator: Generator) -> float:
    """One uniform number in [0, 1)."""
    high, low = generator.words(2).tolist()
    return float((high & 0x1FFFFF) << 32 | low) * 2.0**-53


def _standard_normal(generator: Generator) -> float:
    return float(fills.serial_normals(generator, 1)[0])


def _rounding(dtype: np.dtype) -> Round:
    """Rounds a Python float to the dtype, float32 or float64."""
    if dtype == np.float64:
        return float
    single = np.float32
    return lambda x: float(single(x))


# ---------------------------------------------------------------- Poisson


@quiet
def poisson(generator: Generator, rates: np.ndarray) -> np.ndarray:
    """A count for each of a flat array of rates.

    Source: W. Hörmann, The transformed rejection method for generating Poisson random variables,
        1993 (PTRS), from rate 10 on; D. Knuth's product of uniform numbers below.
    """
    drawn = []
    for rate in rates.astype(np.float64).tolist():
        if rate >= 10:
            drawn.append(_poisson_by_rejection(generator, rate))
        else:
            drawn.append(_poisson_by_products(generator, rate) if rate else 0)
    return fills.cast(np.array(drawn, np.float64), rates.dtype)


def _poisson_by_products(generator: Generator, rate: float) -> int:
    limit = math.exp(-rate)
    count, product = -1, 1.0
    while count < 0 or product > limit:
        product *= _unit(generator)
        count += 1
    return count


def _poisson_by_rejection(generator: Generator, rate: float) -> int:
    log_rate = math.log(rate)
    b = 0.931 + 2.53 * math.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    squeeze = 0.9277 - 3.6224 / (b - 2)
    while True:
        u = _unit(generator) - 0.5
        v = _unit(generator)
        rest = 0.5 - abs(u)
        if rest == 0:  # the candidate would be infinite
            continue
        candidate = (2 * a / rest + b) * u + rate + 0.43
        # What does not fit an int64 becomes its least number, as in C++.
        k = math.floor(candidate) if abs(candidate) < 2.0**63 else -(2**63)
        if rest >= 0.07 and v <= squeeze:
            return k
        if k < 0 or (rest < 0.013 and v > rest):
            continue
        if v == 0:
            return k
        height = math.log(v) + math.log(inverse_alpha) - math.log(a / (rest * rest) + b)
        if height <= -rate + k * log_rate - _lgamma(k + 1.0):
            return k


# ---------------------------------------------------------------- binomial


@quiet
def binomial(generator: Generator, counts: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """Successes among each of `counts` trials; two flat arrays of one dtype, float32 or float64.

    Source: W. Hörmann, The generation of binomial random variates, 1993 (BTRS), where 10 successes
        or more are expected; waiting times between successes below.
    """
    dtype = counts.dtype
    pairs = zip(counts.tolist(), chances.tolist(), strict=True)
    drawn = [_one_binomial(generator, count, p, dtype) for count, p in pairs]
    return np.array(drawn, np.float64).astype(dtype)


def _one_binomial(generator: Generator, count: float, p: float, dtype: np.dtype) -> float:
    if math.isnan(count) or math.isnan(p):
        return math.nan
    if count <= 0 or p <= 0:
        return 0.0
    if p >= 1 or math.isinf(count):
        return count
    narrow = _rounding(dtype)
    flipped = p > 0.5
    if flipped:
        p = narrow(1.0 - p)
    draw = _binomial_by_rejection if narrow(count * p) >= 10 else _binomial_by_waiting
    successes = draw(generator, count, p, narrow)
    return narrow(count - successes) if flipped else successes


def _binomial_by_waiting(generator: Generator, count: float, p: float, narrow: Round) -> float:
    log_failure = math.log1p(-p) if narrow is float else _log1p_single(-p)
    trials, successes = 0.0, 0.0
    while True:
        u = _unit(generator)
        gap = math.log(u) / log_failure if u else math.inf
        trials += math.ceil(gap) if gap < 2.0**63 else gap
        if trials > count:
            return successes
        successes += 1


def _binomial_by_rejection(generator: Generator, count: float, p: float, narrow: Round) -> float:
    failure = narrow(1 - p)
    mean = narrow(count * p)
    spread = narrow(math.sqrt(narrow(mean * failure)))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    center = mean + 0.5
    squeeze = 0.92 - 4.2 / b
    odds = narrow(p / failure)
    alpha = (2.83 + 5.1 / b) * spread
    mode = math.floor(narrow(narrow(count + 1) * p))
    while True:
        u = _unit(generator) - 0.5
        v = _unit(generator)
        rest = 0.5 - abs(u)
        if rest == 0:
            continue
        k = narrow(math.floor((2 * a / rest + b) * u + center))
        if k < 0 or k > count:
            continue
        if rest >= 0.07 and v <= squeeze:
            return k
        height = math.log(v * alpha / (a / (rest * rest) + b)) if v > 0 else -math.inf
        after = narrow(narrow(count - k) + 1)
        bound = (
            (mode + 0.5) * math.log((mode + 1) / (odds * (count - mode + 1)))
            + narrow(count + 1) * math.log((count - mode + 1) / after)
            + (k + 0.5) * math.log(odds * after / narrow(k + 1))
            + _stirling_rest(mode)
            + _stirling_rest(count - mode)
            - _stirling_rest(k)
            - _stirling_rest(narrow(count - k))
        )
        if height <= bound:
            return k


# log(k!) less Stirling's formula, for k below 10.
_STIRLING = (
    0.0810614667953272,
    0.0413406959554092,
    0.0276779256849983,
    0.02079067210376509,
    0.0166446911898211,
    0.0138761288230707,
    0.0118967099458917,
    0.0104112652619720,
    0.00925546218271273,
    0.00833056343336287,
)


def _stirling_rest(k: float) -> float:
    if k < 10:
        return _STIRLING[int(k)]
    square = (k + 1) * (k + 1)
    return (1.0 / 12 - (1.0 / 360 - 1.0 / 1260 / square) / square) / (k + 1)


# ---------------------------------------------------------------- gamma, Dirichlet

# PyTorch writes these two as float32 constants.
_THIRD = float(np.float32(1) / np.float32(3))
_SQUEEZE = float(np.float32(0.0331))


@quiet
def standard_gamma(generator: Generator, shapes: np.ndarray) -> np.ndarray:
    """A gamma number of scale 1 for each of a flat array of shape parameters.

    Source: G. Marsaglia and W. W. Tsang, A simple method for generating gamma variables, 2000.
    """
    dtype = shapes.dtype
    narrow = _rounding(dtype)
    drawn = [_one_gamma(generator, shape, narrow) for shape in shapes.tolist()]
    # In C++ the larger of tiny and nan is tiny.
    return np.fmax(np.array(drawn, np.float64).astype(dtype), np.finfo(dtype).tiny)


def _power(base: float, exponent: float) -> float:
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf


def _one_gamma(generator: Generator, shape: float, narrow: Round) -> float:
    if shape == 0:
        return 0.0
    scale = 1.0
    if shape < 1:
        scale = _power(1 - _unit(generator), narrow(1 / shape))
        shape = narrow(shape + 1)
    d = narrow(shape - _THIRD)
    # Shapes that mean nothing (negative, nan) draw like the others, and give nan.
    c = 1.0 / math.sqrt(9.0 * d) if d > 0 else math.nan
    while True:
        x = _standard_normal(generator)
        y = 1.0 + c * x
        if y <= 0:
            continue
        v = y * y * y
        u = 1 - _unit(generator)
        square = x * x
        if u < 1.0 - _SQUEEZE * square * square:
            return scale * d * v
        if math.log(u) < 0.5 * square + d * (1.0 - v + math.log(v)):
            return scale * d * v


@quiet
def dirichlet(generator: Generator, concentration: np.ndarray) -> np.ndarray:
    """Points of the simplex: gamma numbers in float64, divided by their sum over the last axis."""
    dtype = concentration.dtype
    drawn = standard_gamma(generator, concentration.astype(np.float64).reshape(-1))
    drawn = drawn.reshape(concentration.shape)
    points = (drawn / sum_last(drawn)[..., None]).astype(dtype)
    return np.clip(points, np.finfo(dtype).tiny, np.nextafter(dtype.type(1), dtype.type(0)))


def sum_last(x: np.ndarray) -> np.ndarray:
    """The sum over the last axis of a float64 array, added in the order of PyTorch's kernel.

    Vectors of four numbers are added into four interleaved sums; so that errors stay small, each
    is handed on to a next level after every 16 additions (more, for long rows).
    """
    lanes = 4
    rows, count = x.reshape(-1, x.shape[-1]), x.shape[-1]
    vectors = count // lanes
    if vectors == 0:
        return _sum_short(rows).reshape(x.shape[:-1])
    total = np.zeros(len(rows))
    for place in range(vectors * lanes, count):
        total = total + rows[:, place]
    blocks = rows[:, : vectors * lanes].reshape(len(rows), vectors, lanes)
    sums = _interleaved_sums(blocks)
    for place in range(vectors // 4 * 4, vectors):
        sums[:, 0] += blocks[:, place]
    for other in range(1, 4):
        sums[:, 0] += sums[:, other]
    for lane in range(lanes):
        total = total + sums[:, 0, lane]
    return total.reshape(x.shape[:-1])


def _sum_short(rows: np.ndarray) -> np.ndarray:
    total = np.zeros(len(rows))
    for place in range(rows.shape[1]):
        total = total + rows[:, place]
    return total


def _interleaved_sums(blocks: np.ndarray) -> np.ndarray:
    """(rows, 4, lanes): sums of every fourth vector, the vectors beyond the last four left out."""
    size = blocks.shape[1] // 4
    power = max(4, (1 if size <= 2 else (size - 1).bit_length()) // 4)
    step = 1 << power
    levels = np.zeros((4, len(blocks), 4, blocks.shape[2]))
    done = 0
    while done + step <= size:
        for _ in range(step):
            levels[0] += blocks[:, 4 * done : 4 * done + 4]
            done += 1
        for level in range(1, 4):
            levels[level] += levels[level - 1]
            levels[level - 1] = 0
            if done & ((step - 1) << (level * power)):
                break
    for place in range(done, size):
        levels[0] += blocks[:, 4 * place : 4 * place + 4]
    for level in range(1, 4):
        levels[0] += levels[level]
    return levels[0]
