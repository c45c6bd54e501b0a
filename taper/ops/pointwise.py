"""Functions of each element: exponentials, logarithms, roots, sizes, signs, complex parts.

Circular and hyperbolic functions are in trigonometry.py, rounding in rounding.py, functions of
two elements in combine.py, where and clamp in choose.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import return_types
from taper.dispatch import apply
from taper.errors import UnsupportedDtype
from taper.op import Elementwise, Opaque, op, public
from taper.ops.arguments import is_complex, narrowed, refuse, widened
from taper.ops.arithmetic import conj_of
from taper.tensor import Tensor

LN2 = float(np.log(2.0))
LN10 = float(np.log(10.0))
DEGREE = float(np.pi / 180)


# ---------------------------------------------------------------- exponentials and logarithms


@op
class Exp(Elementwise):
    """e ** input."""

    ufunc = "exp"
    floating = True
    saves = ("out",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.exp(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, out)


@op
class Exp2(Elementwise):
    """2 ** input."""

    ufunc = "exp2"
    floating = True
    saves = ("out",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.exp2(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, out) * LN2


@op
class Expm1(Elementwise):
    """e ** input - 1, exact near zero."""

    ufunc = "expm1"
    floating = True
    saves = ("out",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.expm1(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, out + 1)


@op
class Log(Elementwise):
    """Natural logarithm."""

    ufunc = "log"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.log(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad / conj_of(m, input)


@op
class Log2(Elementwise):
    """Logarithm to base 2."""

    ufunc = "log2"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.log2(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad / (conj_of(m, input) * LN2)


@op
class Log10(Elementwise):
    """Logarithm to base 10."""

    ufunc = "log10"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.log10(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad / (conj_of(m, input) * LN10)


@op
class Log1p(Elementwise):
    """log(1 + input), exact near zero."""

    ufunc = "log1p"
    node_name = "Log1PBackward0"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.log1p(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad / conj_of(m, input + 1)


@op
class Sqrt(Elementwise):
    """Square root."""

    ufunc = "sqrt"
    floating = True
    saves = ("out",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.sqrt(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad / (2 * conj_of(m, out))


@op
class Rsqrt(Elementwise):
    """1 / sqrt(input)."""

    floating = True
    saves = ("out",)

    def formula(self, m: Any, input: Any) -> Any:
        return narrowed(1 / m.sqrt(widened(input)), input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, out * out * out) * -0.5


@op
class Reciprocal(Elementwise):
    """1 / input."""

    floating = True
    saves = ("out",)

    def formula(self, m: Any, input: Any) -> Any:
        return narrowed(1 / widened(input), input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return -grad * conj_of(m, out * out)


@op
class Sigmoid(Elementwise):
    """1 / (1 + exp(-input))."""

    floating = True
    saves = ("out",)

    def formula(self, m: Any, input: Any) -> Any:
        return narrowed(m.sigmoid(widened(input)), input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, (1 - out) * out)


@public(method=True, inplace=True, out=True)
def exp(input: Tensor) -> Tensor:
    """e to the power of each element. Dtype: integers become the default float."""
    return apply(Exp, input)


@public(method=True, inplace=True, out=True, namespaces=("torch", "special"))
def exp2(input: Tensor) -> Tensor:
    """2 to the power of each element. Dtype: integers become the default float."""
    return apply(Exp2, input)


@public(method=True, inplace=True, out=True, namespaces=("torch", "special"))
def expm1(input: Tensor) -> Tensor:
    """exp(input) - 1, exact near zero. Dtype: integers become the default float."""
    return apply(Expm1, input)


@public(method=True, inplace=True, out=True)
def log(input: Tensor) -> Tensor:
    """Natural logarithm; nan below zero. Dtype: integers become the default float."""
    return apply(Log, input)


@public(method=True, inplace=True, out=True)
def log2(input: Tensor) -> Tensor:
    """Logarithm to base 2; nan below zero. Dtype: integers become the default float."""
    return apply(Log2, input)


@public(method=True, inplace=True, out=True)
def log10(input: Tensor) -> Tensor:
    """Logarithm to base 10; nan below zero. Dtype: integers become the default float."""
    return apply(Log10, input)


@public(method=True, inplace=True, out=True, namespaces=("torch", "special"))
def log1p(input: Tensor) -> Tensor:
    """log(1 + input), exact near zero. Dtype: integers become the default float."""
    return apply(Log1p, input)


@public(method=True, inplace=True, out=True)
def sqrt(input: Tensor) -> Tensor:
    """Square root; nan below zero. Dtype: integers become the default float."""
    return apply(Sqrt, input)


@public(method=True, inplace=True, out=True)
def rsqrt(input: Tensor) -> Tensor:
    """1 / sqrt(input). Dtype: integers become the default float."""
    return apply(Rsqrt, input)


@public(method=True, inplace=True, out=True)
def reciprocal(input: Tensor) -> Tensor:
    """1 / input. Dtype: integers become the default float."""
    return apply(Reciprocal, input)


@public(method=True, inplace=True, out=True, namespaces=("torch", "special:expit"))
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-input)). Dtype: integers become the default float."""
    return apply(Sigmoid, input)


@public(method=True, inplace=True, out=True)
def square(input: Tensor) -> Tensor:
    """input ** 2."""
    return input.pow(2)


# ---------------------------------------------------------------- size and sign


@op
class Abs(Elementwise):
    """Absolute value; of a complex number its length, which is real."""

    ufunc = "absolute"
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.absolute(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * m.call(Sgn, input)


def sign_of(x: np.ndarray) -> np.ndarray:
    """-1, 0 or 1 of real numbers. nan has no sign and gives 0, where numpy's sign gives nan."""
    made = (x > 0).astype(x.dtype)
    return made if x.dtype.kind in "ub" else made - (x < 0).astype(x.dtype)


@op
class Sgn(Elementwise):
    """input / |input|, and 0 at 0."""

    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.sign(input) if input.dtype.kind == "c" else sign_of(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        if not is_complex(grad):
            return m.zeros_like(grad)
        # The direction z / r of z changes only across z: by the part of the gradient that is
        # perpendicular to z, divided by r.
        size = m.absolute(input)
        safe = m.where(m.equal(size, 0), 1, size)
        way = input / safe
        across = (grad - m.real(conj_of(m, way) * grad) * way) / safe
        return m.where(m.equal(size, 0), 0, across)


@op
class Sign(Elementwise):
    """-1, 0 or 1."""

    def formula(self, m: Any, input: Any) -> Any:
        return sign_of(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.zeros_like(grad)


@op
class Conj(Elementwise):
    """Complex conjugate."""

    ufunc = "conjugate"

    def formula(self, m: Any, input: Any) -> Any:
        return m.conjugate(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return conj_of(m, grad)


@op
class SignBit(Elementwise):
    """Whether the sign bit is set."""

    name = "signbit"

    def formula(self, m: Any, input: Any) -> Any:
        return m.signbit(input) if input.dtype.kind in "fV" else m.less(input, 0)


@op
class Angle(Elementwise):
    """Argument of a complex number; of a real one 0 or pi."""

    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        if input.dtype.kind == "c":
            return m.angle(input)
        # A nan keeps its place, and a negative zero counts as positive.
        turned = m.where(input < 0, np.pi, 0).astype(input.dtype)
        return m.where(m.isnan(input), input, turned)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        if not is_complex(input):
            return m.zeros_like(grad)
        square = m.real(input * conj_of(m, input))
        slope = input * 1j / m.where(m.equal(square, 0), 1, square)
        return m.where(m.equal(square, 0), 0, grad * slope)


@public(method=True, inplace=True, out=True, aliases=("absolute",))
def abs(input: Tensor) -> Tensor:
    """Absolute value. Dtype: real for complex numbers. Raises: RuntimeError for bools."""
    refuse(input, "b", "abs_cpu")
    return apply(Abs, input)


Tensor.__abs__ = abs  # type: ignore[attr-defined]


@public(method=True, inplace=True, out=True)
def sgn(input: Tensor) -> Tensor:
    """The sign of each element; of a complex number its direction, input / |input|."""
    return input.clone() if input._array.dtype.kind == "b" else apply(Sgn, input)


@public(method=True, inplace=True, out=True)
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1. Raises: RuntimeError for complex numbers (sgn takes them)."""
    if input._array.dtype.kind == "c":
        raise UnsupportedDtype(
            "Unlike NumPy, torch.sign is not intended to support complex "
            "numbers. Please use torch.sgn instead."
        )
    return input.clone() if input._array.dtype.kind == "b" else apply(Sign, input)


@public(method=True)
def conj(input: Tensor) -> Tensor:
    """The complex conjugate; a real tensor is its own.

    The result is a copy, where PyTorch marks a view as conjugated.
    """
    return apply(Conj, input) if input._array.dtype.kind == "c" else input


@public(method=True, inplace=True, out=True)
def conj_physical(input: Tensor) -> Tensor:
    """The complex conjugate; a real tensor is its own."""
    return apply(ConjPhysical, input) if input._array.dtype.kind == "c" else input


@op
class ConjPhysical(Elementwise):
    """Complex conjugate, under the other name."""

    ufunc = "conjugate"
    node_name = "ConjPhysicalBackward0"

    def formula(self, m: Any, input: Any) -> Any:
        return m.conjugate(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return conj_of(m, grad)


@public(method=True)
def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself: taper's conjugates are computed at once."""
    return input


@public(method=True)
def resolve_neg(input: Tensor) -> Tensor:
    """The tensor itself: taper's negatives are computed at once."""
    return input


@public(method=True, out=True)
def signbit(input: Tensor) -> Tensor:
    """Whether each element has its sign bit set; true for -0.0. Dtype: bool."""
    if input._array.dtype.kind == "c":
        raise UnsupportedDtype("signbit is not implemented for complex tensors.")
    return apply(SignBit, input)


@public(method=True, out=True)
def angle(input: Tensor) -> Tensor:
    """The argument of each number in radians; 0 or pi (or nan) for real ones."""
    return apply(Angle, input)


@public(method=True)
def positive(input: Tensor) -> Tensor:
    """The tensor itself. Raises: RuntimeError for bools."""
    if input._array.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


# ---------------------------------------------------------------- scale


@op
class Deg2Rad(Elementwise):
    """Degrees as radians."""

    floating = True

    def formula(self, m: Any, input: Any) -> Any:
        return narrowed(widened(input) * DEGREE, input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * DEGREE


@op
class Rad2Deg(Elementwise):
    """Radians as degrees."""

    floating = True

    def formula(self, m: Any, input: Any) -> Any:
        return narrowed(widened(input) * (1 / DEGREE), input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * (1 / DEGREE)


@public(method=True, inplace=True, out=True)
def deg2rad(input: Tensor) -> Tensor:
    """Degrees as radians. Dtype: integers become the default float."""
    if input._array.dtype.kind == "c":
        raise RuntimeError("deg2rad is not supported for complex tensors.")
    return apply(Deg2Rad, input)


@public(method=True, inplace=True, out=True)
def rad2deg(input: Tensor) -> Tensor:
    """Radians as degrees. Dtype: integers become the default float."""
    if input._array.dtype.kind == "c":
        raise RuntimeError("rad2deg is not supported for complex tensors.")
    return apply(Rad2Deg, input)


@op
class Frexp(Opaque):
    """Mantissa and exponent to base 2."""

    outputs = 2
    differentiable = (True, False)
    saves = ("out",)

    def forward(self, m: Any, input: Any) -> Any:
        mantissa, exponent = np.frexp(widened(input))
        return narrowed(mantissa, input), np.asarray(exponent, np.int32)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        if grad[0] is None:  # a second derivative comes by the exponent, which is constant
            return None
        return m.astype(grad[0] / m.exp2(m.astype(out[1], grad[0].dtype)), grad[0].dtype)


@public(method=True, out=True)
def frexp(input: Tensor) -> Any:
    """(mantissa, exponent) with input = mantissa * 2 ** exponent and 0.5 <= |mantissa| < 1.

    Dtype: the exponent is int32. Raises: RuntimeError for integers.
    """
    if input._array.dtype.kind not in "fV":
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    return return_types.frexp(apply(Frexp, input))
