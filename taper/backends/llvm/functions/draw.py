"""Random fills by kernels: what generator/fills.py and generator/choice.py give, bit for bit.

`draws` has a function for each name that those files may hand over. One takes the arguments of its
counterpart there and returns the array, or None for a dtype it has no kernel for. The source of the
words is a Generator, of which only `engine_state()` and `words()` are used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends.llvm.draw import (
    Below,
    Mapped,
    Normal,
    Pairs,
    Permutation,
    Remainders,
    Uniform,
)
from taper.backends.llvm.functions.cast import astype
from taper.backends.llvm.loaded import kernel

Array = np.ndarray

_ELEMENTS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


def _element(dtype: np.dtype) -> str | None:
    """What is computed for a dtype: float32 for the half types."""
    if dtype.itemsize == 2 and dtype.kind in "fV":
        return "float"
    return _ELEMENTS.get(dtype)


def _empty(element: str, count: int) -> Array:
    return np.empty(count, np.float32 if element == "float" else np.float64)


def uniform(generator: Any, count: int, low: float, high: float, dtype: np.dtype) -> Array | None:
    """Numbers in [low, high)."""
    element = _ELEMENTS.get(dtype)
    if element is None:
        return None
    span = high - low
    if element == "float":
        span = float(np.float32(high) - np.float32(low))
    out = np.empty(count, dtype)
    kernel(Uniform(element))(generator.engine_state(), out, float(low), span, float(high), count)
    return out


def unit_single(generator: Any, count: int) -> Array | None:
    """Uniform float32 in [0, 1)."""
    return uniform(generator, count, 0.0, 1.0, np.dtype(np.float32))


def unit_double(generator: Any, count: int) -> Array | None:
    """Uniform float64 in [0, 1)."""
    return uniform(generator, count, 0.0, 1.0, np.dtype(np.float64))


def normal(
    generator: Any, count: int, mean: float, std: float, dtype: np.dtype, contiguous: bool = True
) -> Array | None:
    """Normal numbers for contiguous memory."""
    element = _element(dtype)
    if element is None or not contiguous:
        return None
    fill = kernel(Normal(element))
    mean, std, state = float(mean), float(std), generator.engine_state()
    values = _empty(element, count)
    rest = count % 16
    fill(state, values, mean, std, count - rest)
    if rest:  # 16 new ones give the last 16 values anew
        if dtype.itemsize >= 4:
            generator.words(rest * (dtype.itemsize // 4))
        fill(state, values[count - 16 :], mean, std, 16)
    return astype(values, dtype)


def below(generator: Any, count: int, p: float) -> Array:
    """Whether each of `count` uniform float64 numbers is below p."""
    out = np.empty(count, np.bool_)
    kernel(Below("i8"))(generator.engine_state(), out, _limit(p), 1, count)
    return out


def _limit(p: float) -> int:
    """The integer of 53 bits below which numbers below p lie."""
    return math.ceil(math.ldexp(p, 53))


def below_scaled(
    generator: Any, count: int, p: float, scale: float, dtype: np.dtype
) -> Array | None:
    """`scale` where a uniform float64 number is below p, else 0."""
    if dtype.kind not in "fV" or dtype.itemsize > 8:
        return None
    out = np.empty(count, dtype)
    value = int(np.asarray(scale, dtype).view(f"i{dtype.itemsize}"))
    fill = kernel(Below(f"i{8 * dtype.itemsize}"))
    fill(generator.engine_state(), out, _limit(p), value, count)
    return out


def remainders(generator: Any, count: int, wide: bool, span: int, low: int) -> Array | None:
    """Words modulo `span`, plus `low`, as int64."""
    if span >= 1 << 64:
        return None
    out = np.empty(count, np.int64)
    kernel(Remainders(wide))(generator.engine_state(), out, _signed(span), _signed(low), count)
    return out


def _signed(word: int) -> int:
    """The same 64 bits as a number with a sign."""
    return (word + (1 << 63)) % (1 << 64) - (1 << 63)


def normal_pairs(generator: Any, count: int) -> Array:
    """Standard normal float64 numbers, two from each pair of uniform ones; an even count."""
    out = np.empty(count)
    kernel(Pairs())(generator.engine_state(), out, count)
    return out


def _mapped(formula: str, generator: Any, count: int, first: float, second: float,
            dtype: np.dtype) -> Array | None:  # fmt: skip
    element = _element(dtype)
    if element is None:
        return None
    out = _empty(element, count)
    kernel(Mapped(formula, element))(generator.engine_state(), out, first, second, count)
    return astype(out, dtype)


def exponential(generator: Any, count: int, rate: float, dtype: np.dtype) -> Array | None:
    """Waiting times at `rate` per unit."""
    return _mapped("exponential", generator, count, -1.0 / rate, 0.0, dtype)


def geometric(generator: Any, count: int, p: float, dtype: np.dtype) -> Array | None:
    """Trials up to the first success."""
    return _mapped("geometric", generator, count, math.log1p(-p), 0.0, dtype)


def cauchy(
    generator: Any, count: int, median: float, sigma: float, dtype: np.dtype
) -> Array | None:
    """The tangent of a uniform angle, scaled and shifted."""
    return _mapped("cauchy", generator, count, float(sigma), float(median), dtype)


def permutation(generator: Any, n: int) -> Array | None:
    """0 ... n-1 in random order."""
    if n >= 1 << 27:  # from there on, words of 64 bits may be drawn
        return None
    out = np.empty(n, np.int64)
    kernel(Permutation())(generator.engine_state(), out, n)
    return out


draws: dict[str, Callable[..., Array | None]] = {
    function.__name__: function
    for function in (
        uniform,
        unit_single,
        unit_double,
        normal,
        normal_pairs,
        below,
        below_scaled,
        remainders,
        exponential,
        geometric,
        cauchy,
        permutation,
    )
}
