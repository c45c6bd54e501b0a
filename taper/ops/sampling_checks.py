"""Checks of the arguments of random fills, with PyTorch's error texts."""

from __future__ import annotations

import functools
import math
import operator
import warnings
from typing import Any

import numpy as np

from taper import dtypes
from taper.errors import UnsupportedDtype
from taper.generator import Generator, default_generator, fills


def generator_of(name: str, generator: Any) -> Generator:
    """The generator to draw from: the one given, or the default one.

    Raises: TypeError for anything else.
    """
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise TypeError(
            f"{name}(): argument 'generator' must be torch.Generator, not "
            f"{type(generator).__name__}"
        )
    return generator


def require_real_or_complex(kernel: str, dtype: np.dtype) -> None:
    """Raises: NotImplementedError, in the words of PyTorch's `kernel`, for integers and bool."""
    if dtype.kind in "iub":
        name = dtypes.cpp_name(dtypes.of(dtype))
        raise UnsupportedDtype(f"\"{kernel}\" not implemented for '{name}'")


def cpp_type(dtype: np.dtype) -> str:
    """The C++ type of a dtype, as some of PyTorch's error texts have it."""
    return dtypes.c_name(dtypes.of(dtype))


def checked_integer(name: str, argument: str, position: int, value: Any) -> int:
    """An integer of 64 bits. Raises: TypeError for other types, ValueError out of range."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name}(): argument '{argument}' (position {position}) must be int, not "
            f"{type(value).__name__}"
        ) from None
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError("Overflow when unpacking long long")
    return number


# ---------------------------------------------------------------- ranges of integers


@functools.cache
def _limits(dtype: np.dtype) -> tuple[float, float]:
    """Least and greatest number of the dtype."""
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int(info.min), int(info.max)
    most = dtypes.finfo(dtypes.of(dtype)).max
    return -most, most


def _check_fits(value: int, label: str, dtype: np.dtype) -> None:
    least, most = _limits(dtype)
    if not least <= value <= most:
        raise RuntimeError(f"{label} is out of bounds for {cpp_type(dtype)}")
    if dtype.kind in "fV":
        digits = fills.mantissa_digits(dtype)
        if abs(value) > 1 << digits:
            warnings.warn(
                f"{label} is out of bounds [-(2^{digits}), 2^{digits}]. Due to precision "
                f"limitations {cpp_type(dtype)} can support discrete uniform distribution only "
                "within this range. This warning will become an error in version 1.7 release, "
                "please fix the code in advance",
                UserWarning,
                stacklevel=5,
            )


def _rounded(value: int, dtype: np.dtype) -> int:
    """The nearest number of a floating dtype as an integer; infinity is the least, as in C++."""
    nearest = float(fills.cast_quietly(np.array(value, np.int64), dtype))
    return int(nearest) if math.isfinite(nearest) else -(1 << 63)


def _inner_low(low: int, dtype: np.dtype) -> int:
    """The least number of a floating dtype that is not below `low`."""
    held = _rounded(low + 1, dtype)
    if held >= low:
        return low
    return held + (1 << (abs(low + 1).bit_length() - fills.mantissa_digits(dtype)))


def _inner_high(high: int, dtype: np.dtype) -> int:
    held = _rounded(high - 1, dtype)
    if held < high:
        return high
    return held - (1 << (abs(high - 1).bit_length() - fills.mantissa_digits(dtype)))


def integer_span(low: int, high: int, dtype: np.dtype, name: str = "random_") -> tuple[int, int]:
    """The first of the integers [low, high) and how many there are, once they fit the dtype.

    Raises: RuntimeError if there are none or if they do not fit.
    """
    if dtype.kind == "c":
        raise RuntimeError(
            "check_random_bounds handles only integral, floating-point and boolean types"
        )
    if low >= high:
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
        )
    if dtype.kind in "fV":
        low, high = _inner_low(low, dtype), _inner_high(high, dtype)
        if low >= high:
            raise RuntimeError(
                "random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, but "
                f"got from={low} >= to={high}"
            )
    _check_fits(low, "from", dtype)
    _check_fits(high - 1, "to - 1", dtype)
    return low, high - low


def span_from(low: int, dtype: np.dtype) -> tuple[int, int]:
    """The first of the integers from `low` to the dtype's greatest, and how many there are."""
    if low == -(1 << 63):
        return 0, 1 << 64  # a whole word, whose bits are read as an int64
    if dtype.kind in "fV":
        low, top = _inner_low(low, dtype), 1 << fills.mantissa_digits(dtype)
        if low >= top:
            raise RuntimeError(
                "random_ expects 'from' casted to dtype to be less than or equal to 'to_inc' "
                f"casted to dtype, but got from={low} > to_inc={top}"
            )
    elif dtype == np.uint64:
        top = -1  # what the greatest becomes as an int64
    else:
        top = int(_limits(dtype)[1])
    _check_fits(low, "from", dtype)
    _check_fits(top, "to - 1", dtype)
    return low, top - low + 1


# ---------------------------------------------------------------- parameters of distributions


def check_uniform(low: float, high: float, dtype: np.dtype) -> None:
    """Raises: RuntimeError unless [low, high) is a range whose length the dtype can hold."""
    part = dtypes.of(dtype).to_real()
    real = part.numpy
    most = _limits(real)[1]
    for value, label in ((low, "from"), (high, "to")):
        if not -most <= value <= most:
            raise RuntimeError(f"{label} is out of bounds for {cpp_type(real)}")
    if low > high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}"
        )
    if high - low > most:
        raise RuntimeError(
            f"uniform_ expects to-from <= std::numeric_limits<{dtypes.cpp_name(part)}>::max(), but "
            f"found to={high:g} and from={low:g} which result in to-from to exceed the limit"
        )


def check_std(std: float) -> None:
    """Raises: RuntimeError for a standard deviation that is negative or nan."""
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")


def check_probability(p: float) -> None:
    """Raises: RuntimeError unless p lies in [0, 1]."""
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")


def check_positive(name: str, symbol: str, value: float) -> None:
    """Raises: RuntimeError unless the parameter is above 0."""
    if math.isnan(value) or value <= 0:
        label = symbol if symbol != "lambd" else "lambda"
        raise RuntimeError(f"{name} expects {label} > 0.0, but found {label}={value:g}")
