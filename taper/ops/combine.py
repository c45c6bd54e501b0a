"""Functions of two and three elements: hypot, logaddexp, lerp, addcmul, gcd, polar and others."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply, as_array, assign
from taper.errors import DtypeError, GradError
from taper.op import METHODS, Elementwise, op, public
from taper.ops.arguments import (
    invalid_combination,
    is_complex,
    narrowed,
    refuse,
    refuse_common,
    require_tensors,
    widened,
)
from taper.ops.arithmetic import conj_of, pow
from taper.ops.complex_parts import JoinComplex
from taper.ops.convert import cast
from taper.tensor import Tensor, wrap

LN2 = float(np.log(2.0))


def no_derivative(name: str) -> GradError:
    """The error of a derivative that PyTorch does not have either."""
    return GradError(f"derivative for aten::{name} is not implemented")


# ---------------------------------------------------------------- sizes and signs


@op
class Hypot(Elementwise):
    """sqrt(input ** 2 + other ** 2) without overflow."""

    ufunc = "hypot"
    saves = ("input", "other", "out")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.hypot(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        return grad * (input / out), grad * (other / out)


@op
class Copysign(Elementwise):
    """The size of input with the sign of other."""

    ufunc = "copysign"
    node_name = "CopysignBackward0"
    floating = True
    saves = ("input", "out")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.copysign(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        zero = m.equal(input, 0)
        return m.where(zero, 0, grad * out / m.where(zero, 1, input)), m.zeros_like(grad)


@op
class Nextafter(Elementwise):
    """The next number after input toward other."""

    ufunc = "nextafter"
    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.nextafter(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        return m.where(m.equal(input, other), 0, grad), m.zeros_like(grad)


@op
class Heaviside(Elementwise):
    """0 below zero, 1 above, values at zero."""

    node_name = "torch::autograd::NotImplemented"

    def formula(self, m: Any, input: Any, values: Any) -> Any:
        # nan is not above zero and gives 0, as in PyTorch.
        return m.where(m.equal(input, 0), values, m.astype(m.greater(input, 0), input.dtype))

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, values: Any) -> Any:
        raise no_derivative("heaviside")


@public(method=True, inplace=True, out=True)
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """Length of the hypotenuse, sqrt(input ** 2 + other ** 2). Raises: RuntimeError for integers."""
    require_tensors("hypot", input, other)
    refuse_common("iubc", "hypot_cpu", input, other)
    return apply(Hypot, input, other)


@public(method=True, inplace=True, out=True)
def copysign(input: Tensor, other: Any) -> Tensor:
    """The size of `input` with the sign of `other`. Dtype: integers become the default float."""
    if not isinstance(input, Tensor):
        raise invalid_combination(
            "copysign",
            input,
            other,
            expected="(Tensor input, Tensor other), (Tensor input, Number other)",
        )
    refuse_common("c", "copysign_cpu", input, other)
    return apply(Copysign, input, other)


@public(method=True, inplace=True, out=True)
def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The next representable number after `input` in the direction of `other`."""
    require_tensors("nextafter", input, other)
    refuse_common("iubc", "nextafter_cpu", input, other)
    return apply(Nextafter, input, other)


@public(method=True, inplace=True, out=True)
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """The step function: 0 below zero, `values` at zero, 1 above."""
    require_tensors("heaviside", input, values)
    if is_complex(input) or is_complex(values):
        raise RuntimeError("heaviside is not yet implemented for complex tensors.")
    if input._array.dtype != values._array.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    return apply(Heaviside, input, values)


# ---------------------------------------------------------------- exponentials


@op
class Logaddexp(Elementwise):
    """log(exp(input) + exp(other))."""

    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        if input.dtype.kind != "c":
            return m.logaddexp(input, other)
        return complex_logaddexp(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        # Equal infinities share the gradient; their difference would be nan.
        gap = m.where(m.equal(input, other), 0, input - other)
        return grad * conj_of(m, m.sigmoid(gap)), grad * conj_of(m, m.sigmoid(-gap))


def complex_logaddexp(x: Any, y: Any) -> Any:
    """log(exp(x) + exp(y)) of complex arrays, with the larger real part pulled out."""
    first = x.real >= y.real
    high, low = np.where(first, x, y), np.where(first, y, x)
    made = high + np.log1p(np.exp(low - high))
    # Two equal infinite real parts have no difference.
    infinite = np.isinf(high.real) & (high.real == low.real)
    return np.where(infinite, np.where(high.real < 0, high, np.log(np.exp(x) + np.exp(y))), made)


@op
class Logaddexp2(Elementwise):
    """log2(2 ** input + 2 ** other)."""

    ufunc = "logaddexp2"
    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.logaddexp2(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        gap = m.where(m.equal(input, other), 0, input - other) * LN2
        return grad * m.sigmoid(gap), grad * m.sigmoid(-gap)


@op
class Ldexp(Elementwise):
    """input * 2 ** other."""

    floating = True
    saves = ("other", "out")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return input * m.exp2(other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any, *, needs: Any) -> Any:
        return (
            grad * conj_of(m, m.exp2(other)) if needs[0] else None,
            grad * conj_of(m, out) * LN2 if needs[1] else None,
        )


@public(method=True, out=True)
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)) without overflow.

    Edges: two equal infinities give that infinity, and share the gradient evenly.
    Raises: RuntimeError for integers.
    """
    require_tensors("logaddexp", input, other)
    refuse_common("iub", "logaddexp_cpu", input, other)
    return apply(Logaddexp, input, other)


@public(method=True, out=True)
def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """log2(2 ** input + 2 ** other) without overflow. Raises: RuntimeError for integers."""
    require_tensors("logaddexp2", input, other)
    refuse_common("iubc", "logaddexp2_cpu", input, other)
    return apply(Logaddexp2, input, other)


@public(method=True, inplace=True, out=True)
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2 ** other. Dtype: integers become the default float."""
    require_tensors("ldexp", input, other)
    if input._array.dtype.kind in "fV":
        refuse(other, "b", "ldexp_cpu_exp")
    return apply(Ldexp, input, other)


@public(method=True, out=True)
def float_power(input: Any, exponent: Any) -> Tensor:
    """input ** exponent in float64, or complex128."""
    if not isinstance(input, Tensor) and not isinstance(exponent, Tensor):
        raise TypeError("float_power(): at least one of input and exponent must be a Tensor")
    complex_ = any(
        x.is_complex() if isinstance(x, Tensor) else isinstance(x, complex)
        for x in (input, exponent)
    )
    wanted = dtypes.complex128 if complex_ else dtypes.float64
    if not isinstance(input, Tensor):
        return pow(wrap(as_array(input, wanted.numpy)), cast(exponent, wanted))
    if isinstance(exponent, Tensor):
        exponent = cast(exponent, wanted)
    return pow(cast(input, wanted), exponent)


def _float_power_(self: Tensor, exponent: Any) -> Tensor:
    """float_power in place. Raises: RuntimeError unless the tensor is float64 or complex128."""
    made = float_power(self, exponent)
    if made.dtype is not self.dtype:
        raise RuntimeError(
            f"the base given to float_power_ has dtype {dtypes.cpp_name(self.dtype)} but the "
            f"operation's result requires dtype {dtypes.cpp_name(made.dtype)}"
        )
    return assign(self, made, "float_power_")


METHODS["float_power_"] = _float_power_


# ---------------------------------------------------------------- three operands


def conj_of_number(value: Any) -> Any:
    """The conjugate of a Python number."""
    return value.conjugate() if isinstance(value, complex) else value


@op
class LerpScalar(Elementwise):
    """input + weight * (end - input) for a number."""

    name = "lerp"
    node_name = "LerpBackward0"

    def formula(self, m: Any, input: Any, end: Any, *, weight: Any) -> Any:
        return narrowed(_between(m, widened(input), widened(end), weight), input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, end: Any, *, weight: Any) -> Any:
        weight = conj_of_number(weight)
        return grad * (1 - weight), grad * weight


def _between(m: Any, input: Any, end: Any, weight: Any) -> Any:
    # From the nearer side, so that weight 0 and 1 give the ends exactly.
    gap = end - input
    return input + weight * gap if abs(weight) < 0.5 else end - gap * (1 - weight)


@op
class Lerp(Elementwise):
    """input + weight * (end - input) for a tensor."""

    node_name = "LerpBackward1"
    saves = ("input", "end", "weight")

    def formula(self, m: Any, input: Any, end: Any, weight: Any) -> Any:
        x, y, w = widened(input), widened(end), widened(weight)
        gap = y - x
        near = m.absolute(w) < 0.5
        return narrowed(m.where(near, x + w * gap, y - gap * (1 - w)), input)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, end: Any, weight: Any, *, needs: Any
    ) -> Any:
        share = conj_of(m, weight)
        return (
            grad * (1 - share) if needs[0] else None,
            grad * share if needs[1] else None,
            grad * conj_of(m, end - input) if needs[2] else None,
        )


@public(method=True, inplace=True, out=True)
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """Straight line from `input` (weight 0) to `end` (weight 1).

    Raises: RuntimeError unless all have the same floating dtype.
    """
    for name, x in (("end", end), ("weight", weight)):
        if (
            isinstance(x, Tensor)
            and x._array.dtype != input._array.dtype
            and (name == "end" or x._array.ndim)
        ):
            raise RuntimeError(
                f"expected dtype {dtypes.c_name(input.dtype)} for `{name}` but got dtype "
                f"{dtypes.c_name(x.dtype)}"
            )
    refuse(input, "iub", "lerp_kernel_scalar")
    if isinstance(weight, Tensor):
        return apply(Lerp, input, end, weight)
    return apply(LerpScalar, input, end, weight=weight)


@op
class Addcmul(Elementwise):
    """input + value * one * two."""

    saves = ("one", "two")
    needed_for = {"one": "two", "two": "one"}

    def formula(self, m: Any, input: Any, one: Any, two: Any, *, value: Any) -> Any:
        product = widened(one) * widened(two)
        if value != 1:
            product = (
                product * input.dtype.type(value) if input.dtype.kind in "iub" else product * value
            )
        return narrowed(widened(input) + product, input)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, one: Any, two: Any, *, value: Any, needs: Any
    ) -> Any:
        scaled = grad * conj_of_number(value)
        return (
            grad,
            scaled * conj_of(m, two) if needs[1] else None,
            scaled * conj_of(m, one) if needs[2] else None,
        )


@op
class Addcdiv(Elementwise):
    """input + value * one / two."""

    saves = ("one", "two")
    needed_for = {"one": "two"}

    def formula(self, m: Any, input: Any, one: Any, two: Any, *, value: Any) -> Any:
        return narrowed(widened(input) + value * (widened(one) / widened(two)), input)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, one: Any, two: Any, *, value: Any, needs: Any
    ) -> Any:
        share = grad * conj_of_number(value) / conj_of(m, two)
        return (
            grad,
            share if needs[1] else None,
            -share * conj_of(m, one / two) if needs[2] else None,
        )


@public(method=True, inplace=True, out=True)
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2. Shape: the three broadcast together."""
    if input._array.dtype.kind == "b":
        refuse_common("b", "addcmul_cpu_out", input, tensor1, tensor2)
    return apply(Addcmul, input, tensor1, tensor2, value=value)


@public(method=True, inplace=True, out=True)
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2. Shape: the three broadcast together.

    Raises: RuntimeError if both tensor1 and tensor2 are of integers.
    """
    if tensor1._array.dtype.kind in "iub" and tensor2._array.dtype.kind in "iub":
        raise DtypeError(
            "Integer division with addcdiv is no longer supported, and in a future  release "
            "addcdiv will perform a true division of tensor1 and tensor2. The historic addcdiv "
            "behavior can be implemented as (input + value * torch.trunc(tensor1 / tensor2)).to("
            "input.dtype) for integer inputs and as (input + value * tensor1 / tensor2) for float "
            "inputs. The future addcdiv behavior is just the latter implementation: (input + "
            "value * tensor1 / tensor2), for all dtypes."
        )
    return apply(Addcdiv, input, tensor1, tensor2, value=value)


# ---------------------------------------------------------------- integers


@op
class Gcd(Elementwise):
    """Greatest common divisor."""

    ufunc = "gcd"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.gcd(input, other)


@op
class Lcm(Elementwise):
    """Least common multiple."""

    ufunc = "lcm"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.lcm(input, other)


@public(method=True, inplace=True, out=True)
def gcd(input: Tensor, other: Tensor) -> Tensor:
    """Greatest common divisor. Raises: RuntimeError for anything but integers."""
    require_tensors("gcd", input, other)
    refuse_common("fcVb", "gcd_cpu", input, other)
    return apply(Gcd, input, other)


@public(method=True, inplace=True, out=True)
def lcm(input: Tensor, other: Tensor) -> Tensor:
    """Least common multiple. Raises: RuntimeError for anything but integers."""
    require_tensors("lcm", input, other)
    refuse_common("fcVb", "lcm_cpu", input, other)
    return apply(Lcm, input, other)


# ---------------------------------------------------------------- complex numbers


@op
class Polar(Elementwise):
    """length * exp(1j * angle)."""

    saves = ("angle", "out")

    def formula(self, m: Any, length: Any, angle: Any) -> Any:
        return m.call(JoinComplex, length * m.cos(angle), length * m.sin(angle))

    def vjp(self, m: Any, grad: Any, out: Any, length: Any, angle: Any) -> Any:
        turned = m.real(grad) * m.cos(angle) + m.imag(grad) * m.sin(angle)
        return turned, m.imag(grad) * m.real(out) - m.real(grad) * m.imag(out)


@public(out=True)
def polar(abs: Tensor, angle: Tensor) -> Tensor:
    """The complex numbers of the given lengths and angles (in radians).

    Dtype: both float32 or both float64. Raises: RuntimeError for other dtypes.
    """
    given = (abs.dtype, angle.dtype)
    if any(d not in (dtypes.float16, dtypes.float32, dtypes.float64) for d in given):
        raise RuntimeError(
            "Expected both inputs to be Half, Float or Double tensors but got "
            f"{dtypes.cpp_name(abs.dtype)} and {dtypes.cpp_name(angle.dtype)}"
        )
    if abs.dtype is not angle.dtype:
        raise RuntimeError(
            f"Expected object of scalar type {dtypes.cpp_name(abs.dtype)} but got "
            f"scalar type {dtypes.cpp_name(angle.dtype)} for second argument"
        )
    return apply(Polar, abs, angle)
