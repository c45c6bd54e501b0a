"""The gamma function's logarithm and its derivatives, incomplete gamma functions, Hurwitz's zeta."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.op import METHODS, Elementwise, op, public
from taper.ops.arguments import refuse, require_tensor
from taper.ops.special import check_numbers, refuse_halves
from taper.tensor import Tensor, wrap
from taper.variants import in_place


@op
class Lgamma(Elementwise):
    """Logarithm of the absolute value of the gamma function."""

    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.lgamma(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * m.digamma(input)


@op
class Digamma(Elementwise):
    """Derivative of lgamma."""

    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.digamma(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * m.call(Polygamma, input, n=1)


@op
class Polygamma(Elementwise):
    """Derivative of order n of digamma."""

    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any, *, n: int) -> Any:
        return m.polygamma(input, n)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, n: int) -> Any:
        return grad * m.call(Polygamma, input, n=n + 1)


@op
class Mvlgamma(Elementwise):
    """Logarithm of the gamma function of p dimensions."""

    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any, *, p: int) -> Any:
        total = sum(m.lgamma(_wide(input) - 0.5 * j) for j in range(p))
        return (total + p * (p - 1) / 4 * float(np.log(np.pi))).astype(input.dtype)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, p: int) -> Any:
        slope = m.digamma(input)
        for j in range(1, p):
            slope = slope + m.digamma(input - 0.5 * j)
        return grad * slope


def _wide(x: Any) -> Any:
    return np.asarray(x, np.float64)


@public(method=True, inplace=True, out=True, namespaces=("torch",))
def lgamma(input: Tensor) -> Tensor:
    """Logarithm of the absolute value of the gamma function; infinite at 0, -1, -2 ...

    Dtype: integers become the default float. Raises: NotImplementedError for complex numbers.
    """
    refuse(input, "c", "lgamma_vml_cpu")
    return apply(Lgamma, input)


@public(out=True, namespaces=("special",))
def gammaln(input: Tensor) -> Tensor:
    """Logarithm of the absolute value of the gamma function: lgamma."""
    return lgamma(input)


@public(method=True, inplace=True, out=True, namespaces=("torch", "special"))
def digamma(input: Tensor) -> Tensor:
    """Derivative of lgamma; nan at -1, -2 ..., minus infinity at 0.

    Dtype: integers become the default float. Raises: NotImplementedError for complex numbers.
    """
    refuse(input, "c", "digamma")
    return apply(Digamma, input)


@public(out=True, namespaces=("special",))
def psi(input: Tensor) -> Tensor:
    """Derivative of lgamma: digamma."""
    return digamma(input)


@public(out=True, namespaces=("torch", "special"))
def polygamma(n: int, input: Tensor) -> Tensor:
    """Derivative of order n of digamma.

    Dtype: integers become the default float.
    Raises: RuntimeError for a negative n, NotImplementedError for complex numbers.
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(
            f"polygamma(): argument 'n' (position 1) must be int, not {type(n).__name__}"
        )
    require_tensor("polygamma", "input", 2, input)
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    refuse(input, "c", {0: "digamma", 1: "trigamma"}.get(n, "polygamma"))
    return apply(Polygamma, input, n=n)


def _polygamma_method(self: Tensor, n: int) -> Tensor:
    """Derivative of order n of digamma."""
    return polygamma(n, self)


# The function takes n first, the method the tensor.
METHODS["polygamma"] = _polygamma_method
METHODS["polygamma_"] = in_place(_polygamma_method, "polygamma")


@public(method=True, inplace=True, out=True, namespaces=("torch", "special:multigammaln"))
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """Logarithm of the gamma function of p dimensions, which is

    p (p - 1) / 4 log(pi) plus the sum of lgamma(input - j / 2) over j from 0 to p - 1.

    Dtype: integers become the default float.
    Raises: RuntimeError for p below 1, NotImplementedError for complex numbers.
    """
    refuse(input, "c", "arange_cpu")
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    return apply(Mvlgamma, input, p=int(p))


# ---------------------------------------------------------------- incomplete gamma functions


def _density(m: Any, a: Any, x: Any) -> Any:
    """The derivative of the lower function in x: exp(-x) x**(a - 1) / gamma(a)."""
    return m.exp((a - 1) * m.log(x) - x - m.lgamma(a))


@op
class Igamma(Elementwise):
    """The lower incomplete gamma function."""

    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.igamma(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any, *, needs: Any) -> Any:
        if needs[0]:
            raise NotImplementedError("the derivative for 'igamma: input' is not implemented.")
        return None, grad * _density(m, input, other)


@op
class Igammac(Elementwise):
    """The upper incomplete gamma function."""

    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.igammac(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any, *, needs: Any) -> Any:
        if needs[0]:
            raise NotImplementedError("the derivative for 'igammac: input' is not implemented.")
        return None, -grad * _density(m, input, other)


def _incomplete(kind: Any, name: str, input: Tensor, other: Tensor) -> Tensor:
    require_tensor(name, "input", 1, input)
    require_tensor(name, "other", 2, other)
    kernel = kind.name + "_cpu"
    if not dtypes.of_operands([input._array, other._array]).is_floating_point:
        refuse(input, "iubc", kernel)
        refuse(other, "iubc", kernel)
    return apply(kind, input, other)


@public(method=True, inplace=True, out=True, namespaces=("torch", "special:gammainc"))
def igamma(input: Tensor, other: Tensor) -> Tensor:
    """The integral of t**(a - 1) exp(-t) from 0 to x, over gamma(a): a is input, x is other.

    Raises: NotImplementedError unless the common dtype is floating, and for the derivative in a.
    Edges: nan where either is negative. Error: 1e-13 relative, for a up to 1e4.
    """
    return _incomplete(Igamma, "igamma", input, other)


@public(method=True, inplace=True, out=True, namespaces=("torch", "special:gammaincc"))
def igammac(input: Tensor, other: Tensor) -> Tensor:
    """1 - igamma(input, other), exact where that is small.

    Raises: NotImplementedError unless the common dtype is floating, and for the derivative in a.
    """
    return _incomplete(Igammac, "igammac", input, other)


@op
class Zeta(Elementwise):
    """Hurwitz's zeta function."""

    node_name = "SpecialZetaBackward0"
    floating = True
    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.zeta(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any, *, needs: Any) -> Any:
        if needs[0]:
            raise NotImplementedError("the derivative for 'zeta' is not implemented.")
        return None, grad * -input * m.call(Zeta, input + 1, other)


@public(out=True, namespaces=("special",))
def zeta(input: Any, other: Any) -> Tensor:
    """Hurwitz's zeta function, the sum of (other + k) ** -input over k = 0, 1, 2 ...

    Dtype: integers become the default float.
    Raises: NotImplementedError for half and complex numbers, and for the derivative in input.
    Edges: infinite for input 1; nan below; infinite where other is 0, -1, -2 ...
    """
    check_numbers("special_zeta", "zeta_cpu", input, other)
    for x in (input, other):
        if isinstance(x, Tensor):
            refuse_halves(x, "zeta_cpu")
    if not isinstance(input, Tensor):  # a number: as a 0-d tensor of the other's kind
        input = wrap(np.asarray(input, np.float64))
    return apply(Zeta, input, other)
