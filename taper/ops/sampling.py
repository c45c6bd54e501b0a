"""Tensors of random numbers: rand, randn, randint, randperm and their kin.

The numbers are PyTorch's for the same seed. Filling existing tensors is in sampling_inplace.py,
draws whose parameters are tensors are in sampling_tensor.py; how numbers are drawn is in
taper/generator.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import check_writable, touch
from taper.errors import UnsupportedDtype
from taper.generator import Generator, fills
from taper.generator.choice import permutation
from taper.generator.order import lay, shaped_like
from taper.op import public
from taper.ops.from_data import finish
from taper.ops.sampling_checks import (
    checked_integer,
    generator_of,
    integer_span,
    require_real_or_complex,
)
from taper.shapes import checked_sizes
from taper.tensor import Tensor


def _sizes(name: str, size: tuple[Any, ...], named: Any) -> tuple[int, ...]:
    """The shape, given as rand(2, 3), rand((2, 3)) or rand(size=(2, 3))."""
    if named is not None:
        size = (named,)
    elif not size:
        raise TypeError(
            f"{name}() received an invalid combination of arguments - got (), but expected one of: "
            "(tuple of ints size, *, torch.Generator generator, Tensor out = None, ...)"
        )
    if len(size) == 1 and isinstance(size[0], str):
        raise TypeError(
            f"{name}(): argument 'size' (position 1) must be tuple of ints, not "
            f"{type(size[0]).__name__}"
        )
    return checked_sizes(size, name)


def destination(name: str, out: Tensor, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The array of `out=`, resized to `shape`.

    Raises: RuntimeError if `dtype` is given and is another one.
    """
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if dtype is not None and dtype is not out.dtype:
        raise RuntimeError(
            f"dtype {dtypes.cpp_name(dtype)} does not match dtype of out parameter "
            f"({dtypes.cpp_name(out.dtype)})"
        )
    check_writable(out, name, False)
    if out._array.shape != shape:
        out.resize_(shape)
    return out._array


def into(out: Tensor, values: np.ndarray) -> Tensor:
    """`out` with the values written in its order."""
    lay(out._array, values)
    touch(out)
    return out


# ---------------------------------------------------------------- uniform, normal


@public()
def rand(
    *args: Any,
    size: Any = None,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers drawn uniformly from [0, 1).

    Dtype: floating or complex (both parts are drawn); the default float unless told otherwise.
    Raises: NotImplementedError for integer dtypes, RuntimeError for negative sizes.
    """
    shape = _sizes("rand", args, size)
    source = generator_of("rand", generator)
    if out is not None:
        array = destination("rand", out, shape, dtype)
        require_real_or_complex("check_uniform_bounds", array.dtype)
        return into(out, fills.uniform(source, array.size, 0.0, 1.0, array.dtype))
    chosen = (dtype or dtypes.get_default_dtype()).numpy
    require_real_or_complex("check_uniform_bounds", chosen)
    values = fills.uniform(source, _count(shape), 0.0, 1.0, chosen)
    return finish(values.reshape(shape), requires_grad, device, layout)


@public()
def randn(
    *args: Any,
    size: Any = None,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers drawn from the normal distribution with mean 0 and variance 1.

    Dtype: floating or complex (the parts have variance one half); the default float unless told
        otherwise.
    Raises: NotImplementedError for integer dtypes, RuntimeError for negative sizes.
    """
    shape = _sizes("randn", args, size)
    source = generator_of("randn", generator)
    if out is not None:
        array = destination("randn", out, shape, dtype)
        require_real_or_complex("normal_kernel_cpu", array.dtype)
        dense = array.flags.c_contiguous
        return into(out, fills.normal(source, array.size, 0.0, 1.0, array.dtype, dense))
    chosen = (dtype or dtypes.get_default_dtype()).numpy
    require_real_or_complex("normal_kernel_cpu", chosen)
    values = fills.normal(source, _count(shape), 0.0, 1.0, chosen)
    return finish(values.reshape(shape), requires_grad, device, layout)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


# ---------------------------------------------------------------- integers


@public()
def randint(
    *args: Any,
    low: Any = 0,
    high: Any = None,
    size: Any = None,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Integers drawn uniformly from [low, high): randint(high, size), randint(low, high, size).

    Dtype: int64 unless told otherwise; floating dtypes hold whole numbers.
    Raises: RuntimeError if low >= high or if a bound does not fit the dtype.
    """
    low, high, size = _range_and_size(args, low, high, size)
    shape = checked_sizes((size,), "randint")
    source = generator_of("randint", generator)
    if out is not None:
        array = destination("randint", out, shape, dtype)
        start, span = integer_span(low, high, array.dtype, "randint")
        return into(out, fills.integers(source, array.size, start, span, array.dtype))
    chosen = (dtype or dtypes.int64).numpy
    start, span = integer_span(low, high, chosen, "randint")
    values = fills.integers(source, _count(shape), start, span, chosen)
    return finish(values.reshape(shape), requires_grad, device, layout)


def _range_and_size(
    args: tuple[Any, ...], low: Any, high: Any, size: Any
) -> tuple[int, int, tuple[int, ...]]:
    """low, high and size from positions and names in any of PyTorch's forms."""
    given = list(args)
    if given and hasattr(given[-1], "__len__") and size is None:
        size = given.pop()
    if high is None and given:
        high = given.pop()
    if given:
        low = given.pop()
    if given or high is None or size is None or not hasattr(size, "__len__"):
        shown = ", ".join(type(a).__name__ for a in args)
        raise TypeError(
            f"randint() received an invalid combination of arguments - got ({shown}), but expected "
            "one of: (int high, tuple of ints size, ...), (int low, int high, tuple of ints size, "
            "...)"
        )
    alone = len(args) < 3
    return (
        checked_integer("randint", "low", 1, low),
        checked_integer("randint", "high", 1 if alone else 2, high),
        size,
    )


@public()
def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    out: Tensor | None = None,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """The integers 0 ... n-1 in random order.

    Dtype: int64 unless told otherwise.
    Raises: RuntimeError if n is negative or does not fit the dtype.
    """
    n = checked_integer("randperm", "n", 1, n)
    shape = checked_sizes((n,), "randperm")
    source = generator_of("randperm", generator)
    chosen = (dtype or (dtypes.int64 if out is None else out.dtype)).numpy
    _check_permutation(n, chosen)
    if out is not None:
        destination("randperm", out, shape, dtype)
        return into(out, fills.cast(permutation(source, n), chosen))
    values = permutation(source, n)
    return finish(fills.cast(values, chosen), requires_grad, device, layout)


_MOST = {
    dtypes.float16: ((1 << 11) + 1, "2049"),
    dtypes.float32: ((1 << 24) + 1, "2^24+1"),
    dtypes.float64: ((1 << 53) + 1, "2^53+1"),
}
_C_NAMES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int"}


def _check_permutation(n: int, dtype: np.dtype) -> None:
    kind = dtypes.of(dtype)
    if dtype.kind in "bc" or kind in (dtypes.uint16, dtypes.uint32, dtypes.uint64):
        raise UnsupportedDtype(f"\"randperm\" not implemented for '{dtypes.cpp_name(kind)}'")
    if kind in _MOST and n > _MOST[kind][0]:
        raise RuntimeError(
            f"n cannot be greater than {_MOST[kind][1]} for {dtypes.cpp_name(kind)} type."
        )
    if dtype.kind in "iu" and n - 1 > np.iinfo(dtype).max:
        raise RuntimeError(
            f"value cannot be converted to type {_C_NAMES.get(kind.name, kind.name)} without "
            "overflow"
        )


# ---------------------------------------------------------------- like another tensor


def _new_like(
    input: Tensor, values: np.ndarray, layout: Any, device: Any, requires_grad: bool, format: Any
) -> Tensor:
    return finish(_ordered(input, values, format), requires_grad, device, layout)


def _ordered(input: Tensor, values: np.ndarray, memory_format: Any) -> np.ndarray:
    from taper.devices import preserve_format

    if memory_format is None or memory_format is preserve_format:
        return shaped_like(input._array, values)
    from taper.ops.create import like

    array = like(input._array, dtypes.of(values.dtype), memory_format)
    lay(array, values)
    return array


@public()
def rand_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Numbers drawn uniformly from [0, 1), in the shape, dtype and memory order of `input`."""
    source = generator_of("rand_like", generator)
    chosen = dtype.numpy if dtype else input._array.dtype
    require_real_or_complex("check_uniform_bounds", chosen)
    values = fills.uniform(source, input._array.size, 0.0, 1.0, chosen)
    return _new_like(input, values, layout, device, requires_grad, memory_format)


@public()
def randn_like(
    input: Tensor,
    *,
    generator: Generator | None = None,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Standard normal numbers in the shape, dtype and memory order of `input`."""
    source = generator_of("randn_like", generator)
    chosen = dtype.numpy if dtype else input._array.dtype
    require_real_or_complex("normal_kernel_cpu", chosen)
    array = input._array
    # Whether the result is contiguous decides how the numbers are drawn.
    shape = _ordered(input, np.empty(array.size, np.bool_), memory_format)
    dense = bool(shape.flags.c_contiguous)
    values = fills.normal(source, array.size, 0.0, 1.0, chosen, dense)
    return _new_like(input, values, layout, device, requires_grad, memory_format)


@public()
def randint_like(
    input: Tensor,
    *args: Any,
    low: Any = 0,
    high: Any = None,
    generator: Generator | None = None,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Integers drawn uniformly from [low, high), in the shape, dtype and order of `input`.

    Raises: RuntimeError if low >= high or if a bound does not fit the dtype.
    """
    given = list(args)
    if high is None and given:
        high = given.pop()
    if given:
        low = given.pop()
    if given or high is None:
        raise TypeError(
            "randint_like() received an invalid combination of arguments: expected (Tensor input, "
            "int high) or (Tensor input, int low, int high)"
        )
    source = generator_of("randint_like", generator)
    chosen = dtype.numpy if dtype else input._array.dtype
    start, span = integer_span(
        checked_integer("randint_like", "low", 2, low),
        checked_integer("randint_like", "high", len(args) + 1, high),
        chosen,
        "randint_like",
    )
    values = fills.integers(source, input._array.size, start, span, chosen)
    return _new_like(input, values, layout, device, requires_grad, memory_format)
