"""Flat arrays of independent random numbers, in the order in which PyTorch draws them.

Every function takes the generator, how many numbers, the distribution's parameters, and the numpy
dtype of the result. Parameters are assumed to be checked. `order.lay` writes the result into an
array of any strides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import math as math_of_arrays
from taper.generator import fused
from taper.generator.engine import Generator
from taper.generator.fused import quiet
from taper.generator.kernels import by_kernel

Array = np.ndarray
_single, _double, _word = np.float32, np.float64, np.uint64
_LOW_24, _LOW_53 = _word(0xFFFFFF), _word((1 << 53) - 1)
_BLOCK = 1 << 14  # numbers made at a time: what is computed on the way stays in the cache


def cast(values: Array, dtype: np.dtype) -> Array:
    """Values as `dtype`; float64 becomes a half type by way of float32, as in C++."""
    if dtype.itemsize == 2 and dtype.kind in "fV":
        narrowed: Array = math_of_arrays().astype(values.astype(_single, copy=False), dtype)
        return narrowed
    return values.astype(dtype, copy=False)


cast_quietly = quiet(cast)


def _in_blocks(draw: Callable[[int], Array], count: int, dtype: Any) -> Array:
    """What draw(n) gives for n numbers, for all of them."""
    if count <= _BLOCK:
        return draw(count)
    drawn = np.empty(count, dtype)
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        drawn[start:end] = draw(end - start)
    return drawn


@by_kernel
def unit_single(generator: Generator, count: int) -> Array:
    """Uniform float32 in [0, 1), of 24 bits."""
    if count > _BLOCK:
        return _in_blocks(lambda n: unit_single(generator, n), count, _single)
    units = (generator.words(count) & _LOW_24).astype(_single)
    units *= _single(2.0**-24)
    return units


@by_kernel
def unit_double(generator: Generator, count: int) -> Array:
    """Uniform float64 in [0, 1), of 53 bits."""
    if count > _BLOCK:
        return _in_blocks(lambda n: unit_double(generator, n), count, _double)
    units = (generator.words64(count) & _LOW_53).astype(_double)
    units *= 2.0**-53
    return units


# ---------------------------------------------------------------- uniform


@quiet
@by_kernel
def uniform(generator: Generator, count: int, low: float, high: float, dtype: np.dtype) -> Array:
    """Numbers in [low, high)."""
    if dtype.kind == "c":
        part = np.dtype(_single if dtype.itemsize == 8 else _double)
        return uniform(generator, 2 * count, low, high, part).view(dtype)
    if low == 0 and high == 1 and dtype.itemsize >= 4:
        return (
            unit_double(generator, count) if dtype.itemsize == 8 else unit_single(generator, count)
        )
    return _in_blocks(lambda n: _between(generator, n, low, high, dtype), count, dtype)


def _between(generator: Generator, count: int, low: float, high: float, dtype: np.dtype) -> Array:
    if dtype.itemsize == 8:
        values = fused.multiply_add_double(unit_double(generator, count), high - low, low)
    else:
        units, span = unit_single(generator, count), float(_single(high) - _single(low))
        values = cast(fused.multiply_add_single(units, span, low, quantum=2.0**-24), dtype)
    # Rounding may reach the end, which is excluded.
    top = values == cast(np.array(high), dtype)
    if top.any():
        values[top] = low
    return values


def slopes(generator: Generator, count: int, low: float, high: float, dtype: np.dtype) -> Array:
    """Numbers in [low, high) as rrelu draws them: in float64 between bounds of the dtype, with the
    product and the sum rounded separately.
    """
    start, end = (float(cast(np.array(bound), dtype)) for bound in (low, high))
    return cast(unit_double(generator, count) * (end - start) + start, dtype)


# ---------------------------------------------------------------- normal


def serial_normals(generator: Generator, count: int) -> Array:
    """Standard normal float64 numbers, two from each pair of uniform ones.

    The second of a pair waits in the generator if only the first is wanted.
    """
    values: list[float] = []
    if count and generator.next_normal is not None:
        values.append(generator.next_normal)
        generator.next_normal = None
    pairs = (count - len(values) + 1) // 2
    drawn = normal_pairs(generator, 2 * pairs)
    if len(values) + len(drawn) > count:
        generator.next_normal = float(drawn[-1])
        drawn = drawn[:-1]
    return np.concatenate((values, drawn)) if values else drawn


@by_kernel
def normal_pairs(generator: Generator, count: int) -> Array:
    """Standard normal float64 numbers, two from each pair of uniform ones; an even count."""
    values: list[float] = []
    units = unit_double(generator, count).tolist()
    for first, second in zip(units[0::2], units[1::2], strict=True):
        radius = math.sqrt(-2.0 * math.log1p(-second))
        angle = (2.0 * math.pi) * first
        values.append(radius * math.cos(angle))
        values.append(radius * math.sin(angle))
    return np.array(values, _double)


def _normals_single(units: Array, mean: float, std: float) -> Array:
    """Blocks of 16: the first 8 uniform numbers give the radii, the others the angles."""
    radius = _single(1) - units[:, :8].reshape(-1)
    radius = np.sqrt(_single(-2) * fused.log_single(radius))
    sin, cos = fused.sin_cos_single(_single(2.0 * math.pi) * units[:, 8:].reshape(-1))
    cos *= radius
    sin *= radius
    out = np.empty_like(units)
    out[:, :8] = fused.multiply_add_single(cos, std, mean).reshape(-1, 8)
    out[:, 8:] = fused.multiply_add_single(sin, std, mean).reshape(-1, 8)
    return out


def _normals_double(units: Array, mean: float, std: float) -> Array:
    out = np.empty_like(units)
    radius = np.sqrt(-2.0 * fused.logarithm(1.0 - units[:, :8]))
    angle = (2.0 * math.pi) * units[:, 8:]
    out[:, :8] = fused.multiply_add_double(radius * fused.mapped(math.cos, angle), std, mean)
    out[:, 8:] = fused.multiply_add_double(radius * fused.mapped(math.sin, angle), std, mean)
    return out


@quiet
@by_kernel
def normal(
    generator: Generator,
    count: int,
    mean: float,
    std: float,
    dtype: np.dtype,
    contiguous: bool = True,
) -> Array:
    """Normal numbers. Few of them, and those for a tensor that is not contiguous, are drawn one
    by one in float64; the others by blocks of 16 in the dtype (the half types in float32).
    """
    if dtype.kind == "c":
        part = np.dtype(_single if dtype.itemsize == 8 else _double)
        std = std / math.sqrt(2)
        return normal(generator, 2 * count, mean, std, part, contiguous).view(dtype)
    if count < 16 or not contiguous:
        drawn = serial_normals(generator, count)
        return cast(fused.multiply_add_double(drawn, std, mean), dtype)
    wide = dtype.itemsize == 8
    unit, transform = (unit_double, _normals_double) if wide else (unit_single, _normals_single)
    whole = count - count % 16
    # float32 and float64 draw a number for every place first, the half types only whole blocks.
    units = unit(generator, count if dtype.itemsize >= 4 else whole)
    values = np.empty(count, units.dtype)
    for start in range(0, whole, _BLOCK):
        end = min(start + _BLOCK, whole)
        values[start:end] = transform(units[start:end].reshape(-1, 16), mean, std).reshape(-1)
    if whole != count:  # 16 new ones give the last 16 values anew
        values[count - 16 :] = transform(unit(generator, 16).reshape(1, 16), mean, std)[0]
    return cast(values, dtype)


@quiet
def log_normal(generator: Generator, count: int, mean: float, std: float, dtype: np.dtype) -> Array:
    """exp of normal numbers that are drawn one by one, whatever their count."""
    drawn = fused.multiply_add_double(serial_normals(generator, count), std, mean)
    return cast(fused.mapped(_exp, drawn), dtype)


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


# ---------------------------------------------------------------- other continuous ones


@quiet
@by_kernel
def exponential(generator: Generator, count: int, rate: float, dtype: np.dtype) -> Array:
    """Waiting times at `rate` per unit."""
    log1p, scale = math.log1p, -1.0 / rate
    units = unit_double(generator, count).tolist()
    return cast(np.array([scale * log1p(-u) for u in units], _double), dtype)


@quiet
@by_kernel
def geometric(generator: Generator, count: int, p: float, dtype: np.dtype) -> Array:
    """Trials up to the first success."""
    logs = fused.logarithm(unit_double(generator, count))
    return cast(np.ceil(logs / math.log1p(-p)), dtype)


@quiet
@by_kernel
def cauchy(generator: Generator, count: int, median: float, sigma: float, dtype: np.dtype) -> Array:
    """The tangent of a uniform angle, scaled and shifted."""
    tangents = fused.mapped(math.tan, math.pi * (unit_double(generator, count) - 0.5))
    return cast(fused.multiply_add_double(tangents, sigma, median), dtype)


# ---------------------------------------------------------------- bits and integers


@by_kernel
def below(generator: Generator, count: int, p: float) -> Array:
    """Whether each of `count` uniform float64 numbers is below p, as a bool array."""
    if count > _BLOCK:
        return _in_blocks(lambda n: below(generator, n, p), count, np.bool_)
    words = generator.words(2 * count)
    # Compared as integers of 53 bits. The 21 high bits decide, save where they equal the limit's.
    limit = math.ceil(math.ldexp(p, 53))
    high = words[0::2] & _word(0x1FFFFF)
    top = limit >> 32
    hits = high < _word(top)
    undecided = high == _word(top)
    if undecided.any():
        hits[undecided] = words[1::2][undecided] < _word(limit & 0xFFFFFFFF)
    return hits


@by_kernel
def below_scaled(generator: Generator, count: int, p: float, scale: Any, dtype: np.dtype) -> Array:
    """`scale` where a uniform float64 number is below p, else 0, in the dtype."""
    return below(generator, count, p) * np.asarray(scale, dtype)


def below_each(generator: Generator, p: Array) -> Array:
    """Whether a uniform number is below p, for each of a flat array of probabilities."""
    if p.dtype == _double:
        return unit_double(generator, p.size) < p
    return unit_single(generator, p.size) < p.astype(_single, copy=False)


def integers(generator: Generator, count: int, low: int, span: int, dtype: np.dtype) -> Array:
    """Integers of [low, low + span), a span of 2**64 at most."""
    return _cast_integers(remainders(generator, count, span >= 1 << 28, span, low), dtype)


@by_kernel
def remainders(generator: Generator, count: int, wide: bool, span: int, low: int) -> Array:
    """Words modulo `span`, plus `low`, as int64; words of 64 bits if `wide`, else of 32."""
    if count > _BLOCK:
        return _in_blocks(lambda n: remainders(generator, n, wide, span, low), count, np.int64)
    words = generator.words64(count) if wide else generator.words(count)
    if span < 1 << 64:
        words %= _word(span)
    if low:
        words += _word(low & 0xFFFFFFFFFFFFFFFF)
    return words.view(np.int64)


def any_integer(generator: Generator, count: int, dtype: np.dtype) -> Array:
    """Integers from the whole range of the dtype, or of its mantissa, that are not negative."""
    if dtype.kind in "biu":
        top = 1 if dtype.kind == "b" else int(np.iinfo(dtype).max)
    else:
        top = 1 << mantissa_digits(dtype)
    return _cast_integers(remainders(generator, count, dtype.itemsize == 8, top + 1, 0), dtype)


def mantissa_digits(dtype: np.dtype) -> int:
    """Binary digits of a floating dtype, the hidden one included."""
    return {8: 53, 4: 24}.get(dtype.itemsize) or (11 if dtype.kind == "f" else 8)


def _cast_integers(values: Array, dtype: np.dtype) -> Array:
    return values if dtype == np.int64 else cast(values, dtype)
