"""Sums, products, quotients, powers: the ops behind Python's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import GradError, UnsupportedDtype
from taper.op import Elementwise, op, public
from taper.ops.arguments import invalid_combination, refuse_common
from taper.tensor import Tensor
from taper.variants import in_place


def conj_of(m: Any, x: Any) -> Any:
    """The conjugate; a real array or tensor is its own."""
    if isinstance(x, (int, float, complex, bool)):
        return x.conjugate()
    kind = getattr(x, "_array", x)
    return m.conj(x) if getattr(kind, "dtype", np.dtype(float)).kind == "c" else x


@op
class Add(Elementwise):
    """input + other."""

    ufunc = "add"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.add(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        return grad, grad


class _Subtraction(Elementwise):
    """input - other."""

    name = "sub"
    ufunc = "subtract"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.subtract(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any, *, needs: Any) -> Any:
        return grad, -grad if needs[1] else None


@op
class Sub(_Subtraction):
    """input - other."""

    node_name = "SubBackward0"


@op
class Rsub(_Subtraction):
    """input - other, called by `other`."""

    node_name = "RsubBackward1"


@op
class Mul(Elementwise):
    """input * other."""

    ufunc = "multiply"
    saves = ("input", "other")
    needed_for = {"input": "other", "other": "input"}

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.multiply(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any, *, needs: Any) -> Any:
        return (
            grad * conj_of(m, other) if needs[0] else None,
            grad * conj_of(m, input) if needs[1] else None,
        )


@op
class Div(Elementwise):
    """input / other, true division."""

    ufunc = "true_divide"
    floating = True
    saves = ("input", "other")
    needed_for = {"input": "other"}

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.true_divide(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any, *, needs: Any) -> Any:
        share = grad / conj_of(m, other)
        return (
            share if needs[0] else None,
            -share * conj_of(m, input / other) if needs[1] else None,
        )


@op
class Neg(Elementwise):
    """-input."""

    ufunc = "negative"

    def formula(self, m: Any, input: Any) -> Any:
        return m.negative(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return -grad


class _Power(Elementwise):
    """input ** other."""

    name = "pow"
    saves = ("input", "other", "out")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        if input.dtype.kind == "i" and (negative := other < 0).any():
            # The integer part of the quotient: 1 and -1 keep their size, all others give 0.
            made = m.power(input, m.where(negative, other & 1, other))
            return m.where(negative & (input != 1) & (input != -1), input.dtype.type(0), made)
        return m.power(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any, *, needs: Any) -> Any:
        to_input = to_other = None
        if needs[0]:
            # x ** 0 has derivative 0 everywhere, also at x = 0 where the formula gives nan.
            slope = m.where(m.equal(other, 0), 0, other * m.power(input, other - 1))
            to_input = grad * conj_of(m, slope)
        if needs[1]:
            # 0 ** y is constant for y >= 0.
            flat = m.logical_and(m.equal(input, 0), m.greater_equal(m.real(other), 0))
            slope = m.where(flat, 0, out * m.log(m.where(flat, 1, input)))
            to_other = grad * conj_of(m, slope)
        return to_input, to_other


@op
class Pow(_Power):
    """input ** other."""

    node_name = "PowBackward1"


@op
class PowOfNumber(_Power):
    """A number to the power of a tensor."""

    node_name = "PowBackward2"


@op
class PowScalar(Elementwise):
    """input ** exponent for a Python number."""

    name = "pow"
    node_name = "PowBackward0"
    saves = ("input",)

    def formula(self, m: Any, input: Any, *, exponent: Any) -> Any:
        if exponent == 2:
            return m.multiply(input, input)
        if exponent == 0.5:
            return m.sqrt(input)
        if exponent == 3 or (exponent in (-0.5, -1, -2) and input.dtype.kind in "fcV"):
            return _small_power(m, input, exponent)
        if input.dtype.kind == "V":
            # numpy would give float32 for bfloat16 and a Python float.
            return m.power(input.astype(np.float32), exponent).astype(input.dtype)
        return m.power(input, exponent)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, exponent: Any) -> Any:
        if exponent == 0:
            return m.zeros_like(grad)
        if exponent == 1:
            return grad
        if exponent == 2:
            return grad * conj_of(m, input * 2)
        slope = exponent * m.call(PowScalar, input, exponent=exponent - 1)
        return grad * conj_of(m, slope)


def _small_power(m: Any, x: Any, exponent: Any) -> Any:
    """x ** 3, -0.5, -1 or -2 by products and roots, as PyTorch's: `power` takes fifty times as long.

    PyTorch computes them for float16 in float32, for bfloat16 the inverse root alone.
    """
    own = x.dtype
    if own == np.float16 or (own.kind == "V" and exponent == -0.5):
        x = x.astype(np.float32)
    if exponent == 3:
        made = m.multiply(m.multiply(x, x), x)
    else:
        below = m.sqrt(x) if exponent == -0.5 else m.multiply(x, x) if exponent == -2 else x
        made = m.divide(m.asarray(1, x.dtype), below)
    return made if made.dtype == own else made.astype(own)


_TENSOR_AND_ANY = "(Tensor input, Tensor other), (Tensor input, Number other)"


def _check_bool_arithmetic(input: Any, other: Any, op: str) -> None:
    pair = [
        isinstance(x, bool) or (isinstance(x, Tensor) and x._array.dtype.kind == "b")
        for x in (input, other)
    ]
    if op == "sub" and all(pair):
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
            "`logical_xor()` operator instead."
        )
    if op == "sub" and any(pair):
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying "
            "to invert a mask, use the `~` or `logical_not()` operator instead."
        )


def _scaled(other: Any, alpha: Any, input: Any) -> Any:
    if alpha == 1:
        return other
    if isinstance(alpha, bool) and not _is_bool(input, other):
        raise RuntimeError("Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, float) and _integral(input) and _integral(other):
        raise RuntimeError(
            "For integral input tensors, argument alpha must not be a floating point number."
        )
    return mul(other, alpha) if isinstance(other, Tensor) else other * alpha


def _integral(x: Any) -> bool:
    return x._array.dtype.kind in "iub" if isinstance(x, Tensor) else isinstance(x, (int, bool))


def _is_bool(*values: Any) -> bool:
    return all(
        isinstance(v, bool) or (isinstance(v, Tensor) and v._array.dtype.kind == "b")
        for v in values
    )


@public(method=True, inplace=True, out=True)
def add(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """input + alpha * other.

    Shape: the two broadcast together.
    Raises: RuntimeError if the shapes do not broadcast.
    """
    return apply(Add, input, other if alpha == 1 else _scaled(other, alpha, input))


@public(method=True, inplace=True, out=True, aliases=("subtract",))
def sub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """input - alpha * other.

    Raises: RuntimeError if the shapes do not broadcast, or for bool tensors.
    """
    _check_bool_arithmetic(input, other, "sub")
    return apply(Sub, input, _scaled(other, alpha, input))


@public(inplace=False)
def rsub(input: Tensor, other: Any, *, alpha: Any = 1) -> Tensor:
    """other - alpha * input."""
    if not isinstance(input, Tensor):
        raise invalid_combination("rsub", input, other, expected=_TENSOR_AND_ANY)
    _check_bool_arithmetic(input, other, "sub")
    return apply(Rsub, other, _scaled(input, alpha, other))


@public(method=True, inplace=True, out=True, aliases=("multiply",))
def mul(input: Tensor, other: Any) -> Tensor:
    """input * other. Raises: RuntimeError if the shapes do not broadcast."""
    return apply(Mul, input, other)


@public(method=True, inplace=True, out=True, aliases=("divide",))
def div(input: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other; `rounding_mode` "trunc" rounds the quotient toward zero, "floor" down.

    Dtype: true division of integers gives the default float; the rounded ones keep integers.
    """
    if rounding_mode is None:
        return apply(Div, input, other)
    if rounding_mode == "floor":
        return apply(DivFloor, input, other)
    if rounding_mode == "trunc":
        return apply(TruncDivide, input, other)
    raise RuntimeError(
        "div expected rounding_mode to be one of None, 'trunc', or 'floor' but "
        f"found '{rounding_mode}'"
    )


@public(method=True, inplace=True, out=True)
def true_divide(input: Tensor, other: Any) -> Tensor:
    """input / other, always in floating point."""
    return apply(Div, input, other)


def _zero_division(m: Any, input: Any, other: Any) -> None:
    if input.dtype.kind in "iub" and not np.all(other):
        raise RuntimeError("ZeroDivisionError")


class _FloorDivision(Elementwise):
    """floor(input / other)."""

    name = "floor_divide"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        _zero_division(m, np.asarray(input), other)
        if np.asarray(input).dtype.kind == "b":
            return m.floor_divide(m.astype(input, np.int64), m.astype(other, np.int64))
        return m.floor_divide(input, other)


@op
class FloorDivide(_FloorDivision):
    """floor(input / other), which PyTorch does not differentiate under this name."""

    node_name = "torch::autograd::NotImplemented"

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        raise GradError("derivative for aten::floor_divide is not implemented")


@op
class DivFloor(_FloorDivision):
    """floor(input / other), constant wherever it has a derivative."""

    node_name = "DivBackward1"

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        return m.zeros_like(grad), m.zeros_like(grad)


@op
class TruncDivide(Elementwise):
    """The quotient rounded toward zero."""

    name = "div"
    node_name = "DivBackward1"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        x, y = np.asarray(input), np.asarray(other)
        _zero_division(m, x, y)
        if x.dtype.kind in "iu":
            quotient = m.floor_divide(x, y)
            # Down and toward zero differ by one where the signs differ and a rest remains.
            inexact = (quotient * y != x) & ((x < 0) != (y < 0))
            return (quotient + inexact).astype(quotient.dtype)
        return m.trunc(m.true_divide(x, y)).astype(np.result_type(x, y))

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        return m.zeros_like(grad), m.zeros_like(grad)


@public(method=True, inplace=True, out=True)
def floor_divide(input: Tensor, other: Any) -> Tensor:
    """floor(input / other). Raises: RuntimeError for an integer division by zero."""
    refuse_common("bc", "div_floor_cpu", input, other)
    return apply(FloorDivide, input, other)


@op
class Remainder(Elementwise):
    """input - other * floor(input / other): the rest with the sign of the divisor."""

    node_name = "RemainderBackward0"
    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        _zero_division(m, np.asarray(input), other)
        if np.asarray(input).dtype.kind not in "fV":
            return m.remainder(input, other)
        # numpy's remainder of 0 takes the sign of the divisor; PyTorch's keeps the dividend's.
        rest = m.fmod(input, other)
        other = np.asarray(other, rest.dtype)
        return m.where((rest != 0) & ((rest < 0) != (other < 0)), rest + other, rest)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any, *, needs: Any) -> Any:
        return grad, -grad * m.call(DivFloor, input, other) if needs[1] else None


@op
class Fmod(Elementwise):
    """The rest with the sign of the dividend."""

    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        _zero_division(m, np.asarray(input), other)
        return m.fmod(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any, *, needs: Any) -> Any:
        return grad, -grad * m.trunc(input / other) if needs[1] else None


@public(method=True, inplace=True, out=True)
def remainder(input: Any, other: Any) -> Tensor:
    """The rest of the division, with the sign of `other` (Python's %)."""
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        raise invalid_combination("remainder", input, other, expected=_TENSOR_AND_ANY)
    refuse_common("bc", "remainder_cpu", input, other)
    return apply(Remainder, input, other)


@public(method=True, inplace=True, out=True)
def fmod(input: Tensor, other: Any) -> Tensor:
    """The rest of the division, with the sign of `input` (C's fmod)."""
    if not isinstance(input, Tensor):
        raise invalid_combination("fmod", input, other, expected=_TENSOR_AND_ANY)
    refuse_common("bc", "fmod_cpu", input, other)
    return apply(Fmod, input, other)


@public(method=True, inplace=True, out=True, aliases=("negative",))
def neg(input: Tensor) -> Tensor:
    """-input. Raises: RuntimeError for bool tensors."""
    if input._array.dtype.kind == "b":
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you "
            "are trying to invert a mask, use the `~` or `logical_not()` operator "
            "instead."
        )
    return apply(Neg, input)


@public(method=True, inplace=True, out=True)
def pow(input: Any, exponent: Any) -> Tensor:
    """input ** exponent; either may be a number, not both.

    Raises: RuntimeError for integers to a negative integer power.
    """
    if isinstance(exponent, Tensor):
        if _is_bool(input, exponent):
            raise UnsupportedDtype("\"pow\" not implemented for 'Bool'")
        return apply(Pow if isinstance(input, Tensor) else PowOfNumber, input, exponent)
    if not isinstance(input, Tensor):
        raise invalid_combination(
            "pow",
            input,
            exponent,
            expected="(Tensor input, Tensor exponent), (Number self, Tensor exponent), "
            "(Tensor input, Number exponent)",
        )
    kind = input._array.dtype.kind
    if kind == "b" and isinstance(exponent, bool):
        return input.clone() if exponent else input.logical_or(input.logical_not())
    if kind in "iu" and isinstance(exponent, int) and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    if kind in "iub" and not isinstance(exponent, (bool, int)):
        wanted = dtypes.of_operands([input._array, exponent])
        input = input.to(wanted)
    elif kind == "b" and not isinstance(exponent, bool):
        input = input.to(dtypes.int64)
    elif isinstance(exponent, complex) and kind != "c":
        input = input.to(dtypes.of_operands([input._array, exponent]))
    return apply(PowScalar, input, exponent=exponent)


# ---------------------------------------------------------------- Python's operators

_OPERANDS = (Tensor, bool, int, float, complex, np.generic)


def _number(x: Any) -> Any:
    return x.item() if isinstance(x, np.generic) else x


def _check_self(self: Any) -> None:
    # Tensor.__radd__(2, tensor) would work here; PyTorch's methods refuse to.
    if not isinstance(self, Tensor):
        raise TypeError(
            f"descriptor of 'Tensor' objects doesn't apply to a '{type(self).__name__}'"
        )


def _operator(function: Callable[..., Any], swapped: bool = False) -> Callable[..., Any]:
    """A binary operator method that leaves foreign operands to their own class."""

    def forward(self: Tensor, other: Any) -> Any:
        if type(other) is Tensor or isinstance(other, _OPERANDS):
            return function(self, _number(other))
        return NotImplemented

    def backward(self: Tensor, other: Any) -> Any:
        _check_self(self)
        if isinstance(other, _OPERANDS):
            return function(_number(other), self)
        return NotImplemented

    return backward if swapped else forward


def _fast(op: Any, swapped: bool = False) -> Callable[..., Any]:
    """An operator that goes to dispatch directly; `swapped` is the other side of a commuting one."""

    def backward(self: Tensor, other: Any) -> Any:
        _check_self(self)
        return forward(self, other)

    def forward(self: Tensor, other: Any) -> Any:
        if isinstance(other, (Tensor, float, int)):
            return apply(op, self, other)
        if isinstance(other, _OPERANDS):
            return apply(op, self, _number(other))
        return NotImplemented

    return backward if swapped else forward


def _changing(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """An augmented assignment such as +=."""
    changed = in_place(function, name)

    def method(self: Tensor, other: Any) -> Any:
        return changed(self, _number(other)) if isinstance(other, _OPERANDS) else NotImplemented

    return method


def _minus(number: Any, tensor: Tensor) -> Tensor:
    return rsub(tensor, number)


def _quotient(number: Any, tensor: Tensor) -> Tensor:
    # Rounded twice, as PyTorch's is.
    return mul(tensor.reciprocal(), number)


def _pow_operator(self: Tensor, other: Any) -> Any:
    return pow(self, _number(other)) if isinstance(other, _OPERANDS) else NotImplemented


def _rpow(self: Tensor, other: Any) -> Any:
    if not isinstance(other, _OPERANDS):
        return NotImplemented
    return pow(_number(other), self)


def _pos(self: Tensor) -> Tensor:
    """+tensor: the tensor itself."""
    if self._array.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return self


def bind_operators() -> None:
    """Gives Tensor its arithmetic operators."""
    plain = {
        "add": _fast(Add),
        "radd": _fast(Add, swapped=True),
        "mul": _fast(Mul),
        "rmul": _fast(Mul, swapped=True),
        "sub": _operator(sub),
        "rsub": _operator(_minus, swapped=True),
        "truediv": _fast(Div),
        "rtruediv": _operator(_quotient, swapped=True),
        "floordiv": _operator(floor_divide),
        "rfloordiv": _operator(floor_divide, swapped=True),
        "mod": _operator(remainder),
        "rmod": _operator(remainder, swapped=True),
        "pow": _pow_operator,
        "rpow": _rpow,
        "iadd": _changing(add, "add"),
        "isub": _changing(sub, "sub"),
        "imul": _changing(mul, "mul"),
        "itruediv": _changing(div, "div"),
        "ifloordiv": _changing(floor_divide, "floor_divide"),
        "imod": _changing(remainder, "remainder"),
        "ipow": _changing(pow, "pow"),
    }
    for name, method in plain.items():
        method.__name__ = f"__{name}__"
        setattr(Tensor, f"__{name}__", method)
    setattr(Tensor, "__neg__", neg)  # noqa: B010 - mypy refuses the plain assignment
    setattr(Tensor, "__pos__", _pos)  # noqa: B010


bind_operators()
