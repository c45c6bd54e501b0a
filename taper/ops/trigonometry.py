"""Circular and hyperbolic functions and their inverses."""

from __future__ import annotations

from typing import Any

from taper.dispatch import apply
from taper.op import Elementwise, op, public
from taper.ops.arguments import is_complex, require_tensors
from taper.ops.arithmetic import conj_of
from taper.tensor import Tensor


@op
class Sin(Elementwise):
    """Sine."""

    ufunc = "sin"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.sin(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, m.cos(input))


@op
class Cos(Elementwise):
    """Cosine."""

    ufunc = "cos"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.cos(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, -m.sin(input))


@op
class Tan(Elementwise):
    """Tangent."""

    ufunc = "tan"
    floating = True
    saves = ("out",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.tan(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, 1 + out * out)


@op
class Asin(Elementwise):
    """Inverse sine."""

    ufunc = "arcsin"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.arcsin(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, 1 / m.sqrt(1 - input * input))


@op
class Acos(Elementwise):
    """Inverse cosine."""

    ufunc = "arccos"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.arccos(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, -1 / m.sqrt(1 - input * input))


@op
class Atan(Elementwise):
    """Inverse tangent."""

    ufunc = "arctan"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.arctan(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad / conj_of(m, input * input + 1)


@op
class Sinh(Elementwise):
    """Hyperbolic sine."""

    ufunc = "sinh"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.sinh(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, m.cosh(input))


@op
class Cosh(Elementwise):
    """Hyperbolic cosine."""

    ufunc = "cosh"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.cosh(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, m.sinh(input))


@op
class Tanh(Elementwise):
    """Hyperbolic tangent."""

    ufunc = "tanh"
    floating = True
    saves = ("out",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.tanh(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, 1 - out * out)


@op
class Asinh(Elementwise):
    """Inverse hyperbolic sine."""

    ufunc = "arcsinh"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.arcsinh(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, 1 / m.sqrt(input * input + 1))


@op
class Acosh(Elementwise):
    """Inverse hyperbolic cosine."""

    ufunc = "arccosh"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.arccosh(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        if not is_complex(input):
            return grad / m.sqrt(input * input - 1)
        # Two roots, so that the branch is right in the whole complex plane.
        return grad * conj_of(m, 1 / (m.sqrt(input - 1) * m.sqrt(input + 1)))


@op
class Atanh(Elementwise):
    """Inverse hyperbolic tangent."""

    ufunc = "arctanh"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.arctanh(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * conj_of(m, 1 / (1 - input * input))


@op
class Atan2(Elementwise):
    """Angle of the point (other, input)."""

    ufunc = "arctan2"
    floating = True
    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.arctan2(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        square = input * input + other * other
        share = m.where(m.equal(square, 0), 0, grad / square)
        return share * other, -share * input


@public(method=True, inplace=True, out=True)
def sin(input: Tensor) -> Tensor:
    """Sine of each element, in radians. Dtype: integers become the default float."""
    return apply(Sin, input)


@public(method=True, inplace=True, out=True)
def cos(input: Tensor) -> Tensor:
    """Cosine of each element, in radians. Dtype: integers become the default float."""
    return apply(Cos, input)


@public(method=True, inplace=True, out=True)
def tan(input: Tensor) -> Tensor:
    """Tangent of each element, in radians. Dtype: integers become the default float."""
    return apply(Tan, input)


@public(method=True, inplace=True, out=True, aliases=("arcsin",))
def asin(input: Tensor) -> Tensor:
    """Inverse sine, in radians; nan outside of [-1, 1]."""
    return apply(Asin, input)


@public(method=True, inplace=True, out=True, aliases=("arccos",))
def acos(input: Tensor) -> Tensor:
    """Inverse cosine, in radians; nan outside of [-1, 1]."""
    return apply(Acos, input)


@public(method=True, inplace=True, out=True, aliases=("arctan",))
def atan(input: Tensor) -> Tensor:
    """Inverse tangent, in radians."""
    return apply(Atan, input)


@public(method=True, inplace=True, out=True)
def sinh(input: Tensor) -> Tensor:
    """Hyperbolic sine."""
    return apply(Sinh, input)


@public(method=True, inplace=True, out=True)
def cosh(input: Tensor) -> Tensor:
    """Hyperbolic cosine."""
    return apply(Cosh, input)


@public(method=True, inplace=True, out=True)
def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent. Dtype: integers become the default float."""
    return apply(Tanh, input)


@public(method=True, inplace=True, out=True, aliases=("arcsinh",))
def asinh(input: Tensor) -> Tensor:
    """Inverse hyperbolic sine."""
    return apply(Asinh, input)


@public(method=True, inplace=True, out=True, aliases=("arccosh",))
def acosh(input: Tensor) -> Tensor:
    """Inverse hyperbolic cosine; nan below 1."""
    return apply(Acosh, input)


@public(method=True, inplace=True, out=True, aliases=("arctanh",))
def atanh(input: Tensor) -> Tensor:
    """Inverse hyperbolic tangent; nan outside of [-1, 1]."""
    return apply(Atanh, input)


@public(method=True, inplace=True, out=True, aliases=("arctan2",))
def atan2(input: Tensor, other: Tensor) -> Tensor:
    """Angle of the point with x = other and y = input, in (-pi, pi]."""
    require_tensors("atan2", input, other)
    return apply(Atan2, input, other)
