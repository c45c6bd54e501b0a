"""Logic on truth values and on bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.dispatch import apply
from taper.errors import UnsupportedDtype
from taper.op import Elementwise, op, public
from taper.ops.arguments import invalid_combination, refuse_common, require_tensors
from taper.tensor import Tensor
from taper.variants import in_place

# ---------------------------------------------------------------- truth values


@op
class LogicalAnd(Elementwise):
    """Both are true."""

    ufunc = "logical_and"
    name = "logical_and"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.logical_and(input, other)


@op
class LogicalOr(Elementwise):
    """At least one is true."""

    ufunc = "logical_or"
    name = "logical_or"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.logical_or(input, other)


@op
class LogicalXor(Elementwise):
    """Exactly one is true."""

    ufunc = "logical_xor"
    name = "logical_xor"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.logical_xor(input, other)


@op
class LogicalNot(Elementwise):
    """It is false."""

    ufunc = "logical_not"
    name = "logical_not"

    def formula(self, m: Any, input: Any) -> Any:
        return m.logical_not(input)


@public(method=True, inplace=True, out=True)
def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Whether both elements are nonzero. Dtype: bool."""
    require_tensors("logical_and", input, other)
    return apply(LogicalAnd, input, other)


@public(method=True, inplace=True, out=True)
def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Whether at least one of two elements is nonzero. Dtype: bool."""
    require_tensors("logical_or", input, other)
    return apply(LogicalOr, input, other)


@public(method=True, inplace=True, out=True)
def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Whether exactly one of two elements is nonzero. Dtype: bool."""
    require_tensors("logical_xor", input, other)
    return apply(LogicalXor, input, other)


@public(method=True, inplace=True, out=True)
def logical_not(input: Tensor) -> Tensor:
    """Whether the element is zero. Dtype: bool."""
    return apply(LogicalNot, input)


# ---------------------------------------------------------------- bits


@op
class BitwiseAnd(Elementwise):
    """input & other."""

    ufunc = "bitwise_and"
    name = "bitwise_and"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.bitwise_and(input, other)


@op
class BitwiseOr(Elementwise):
    """input | other."""

    ufunc = "bitwise_or"
    name = "bitwise_or"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.bitwise_or(input, other)


@op
class BitwiseXor(Elementwise):
    """input ^ other."""

    ufunc = "bitwise_xor"
    name = "bitwise_xor"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.bitwise_xor(input, other)


@op
class BitwiseNot(Elementwise):
    """~input; of a bool its negation."""

    ufunc = "invert"
    name = "bitwise_not"

    def formula(self, m: Any, input: Any) -> Any:
        return m.invert(input)


@op
class LeftShift(Elementwise):
    """input << other; 0 where other is not in [0, bits)."""

    ufunc = "left_shift"
    name = "bitwise_left_shift"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.left_shift(input, other)


@op
class RightShift(Elementwise):
    """input >> other, keeping the sign."""

    ufunc = "right_shift"
    name = "bitwise_right_shift"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.right_shift(input, other)


def _check_bits(kernel: str, *operands: Any, shift: bool = False) -> None:
    """Raises: NotImplementedError for anything but integers and bools (or, to shift, integers)."""
    if not any(isinstance(x, Tensor) for x in operands):
        raise invalid_combination(
            kernel.partition("_cpu")[0],
            *operands,
            expected="(Tensor input, Tensor other), (Number self, Tensor other), "
            "(Tensor input, Number other)",
        )
    refuse_common("fcV", kernel, *operands)
    if shift and all(
        isinstance(x, bool) or (isinstance(x, Tensor) and x._array.dtype.kind == "b")
        for x in operands
    ):
        raise UnsupportedDtype(f"\"{kernel}\" not implemented for 'Bool'")


@public(method=True, inplace=True, out=True)
def bitwise_and(input: Any, other: Any) -> Tensor:
    """Bits set in both. Dtype: integers or bools. Raises: RuntimeError for floats."""
    _check_bits("bitwise_and_cpu", input, other)
    return apply(BitwiseAnd, input, other)


@public(method=True, inplace=True, out=True)
def bitwise_or(input: Any, other: Any) -> Tensor:
    """Bits set in either. Dtype: integers or bools. Raises: RuntimeError for floats."""
    _check_bits("bitwise_or_cpu", input, other)
    return apply(BitwiseOr, input, other)


@public(method=True, inplace=True, out=True)
def bitwise_xor(input: Any, other: Any) -> Tensor:
    """Bits set in exactly one. Dtype: integers or bools. Raises: RuntimeError for floats."""
    _check_bits("bitwise_xor_cpu", input, other)
    return apply(BitwiseXor, input, other)


@public(method=True, inplace=True, out=True)
def bitwise_not(input: Tensor) -> Tensor:
    """All bits turned over; of bools the negation. Raises: RuntimeError for floats."""
    _check_bits("bitwise_not_cpu", input)
    return apply(BitwiseNot, input)


@public(method=True, inplace=True, out=True)
def bitwise_left_shift(input: Any, other: Any) -> Tensor:
    """input * 2 ** other on integers; 0 where other is negative or not below the bits."""
    _check_bits("lshift_cpu", input, other, shift=True)
    return apply(LeftShift, input, other)


@public(method=True, inplace=True, out=True)
def bitwise_right_shift(input: Any, other: Any) -> Tensor:
    """floor(input / 2 ** other) on integers."""
    _check_bits("rshift_cpu", input, other, shift=True)
    return apply(RightShift, input, other)


# ---------------------------------------------------------------- Python's operators


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, np.generic) else x


def _operator(function: Callable[..., Any], swapped: bool = False) -> Callable[..., Any]:
    def forward(self: Tensor, other: Any) -> Any:
        if isinstance(other, (Tensor, int, np.generic, float)):
            return function(self, _number(other))
        return NotImplemented

    def backward(self: Tensor, other: Any) -> Any:
        if not isinstance(self, Tensor):
            raise TypeError(
                f"descriptor of 'Tensor' objects doesn't apply to a '{type(self).__name__}' object"
            )
        if isinstance(other, (Tensor, int, np.generic, float)):
            return function(_number(other), self)
        return NotImplemented

    return backward if swapped else forward


def _changing(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    changed = in_place(function, name)

    def method(self: Tensor, other: Any) -> Any:
        if isinstance(other, (Tensor, int, np.generic, float)):
            return changed(self, _number(other))
        return NotImplemented

    return method


def bind_bit_operators() -> None:
    """Gives Tensor & | ^ ~ << >>."""
    pairs = {
        "and": bitwise_and,
        "or": bitwise_or,
        "xor": bitwise_xor,
        "lshift": bitwise_left_shift,
        "rshift": bitwise_right_shift,
    }
    for name, function in pairs.items():
        for key, method in (
            (name, _operator(function)),
            ("r" + name, _operator(function, swapped=True)),
            ("i" + name, _changing(function, f"__i{name}_")),
        ):
            method.__name__ = f"__{key}__"
            setattr(Tensor, f"__{key}__", method)
    setattr(Tensor, "__invert__", bitwise_not)  # noqa: B010 - mypy refuses the plain assignment


bind_bit_operators()
