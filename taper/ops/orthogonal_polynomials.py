"""Orthogonal polynomials of variable degree. As in PyTorch, they have no derivatives."""

from __future__ import annotations

from typing import Any

from taper.dispatch import apply
from taper.op import Elementwise, op, public
from taper.ops.arguments import invalid_combination
from taper.ops.special import refuse_halves
from taper.tensor import Tensor


def _of_degree(kind: Any, input: Any, n: Any) -> Tensor:
    tensors = [x for x in (input, n) if isinstance(x, Tensor)]
    if not tensors:
        expected = "(Tensor input, Tensor n), (Number x, Tensor n), (Tensor input, Number n)"
        raise invalid_combination("special_" + kind.name, input, n, expected=expected)
    for x in tensors:
        refuse_halves(x, kind.name + "_cpu")
    return apply(kind, input, n)


@op
class ChebyshevT(Elementwise):
    """Chebyshev's polynomial of the first kind."""

    name = "chebyshev_polynomial_t"
    floating = True

    def formula(self, m: Any, input: Any, n: Any) -> Any:
        return m.chebyshev_polynomial_t(input, n)


@op
class ChebyshevU(Elementwise):
    """Chebyshev's polynomial of the second kind."""

    name = "chebyshev_polynomial_u"
    floating = True

    def formula(self, m: Any, input: Any, n: Any) -> Any:
        return m.chebyshev_polynomial_u(input, n)


@op
class ChebyshevV(Elementwise):
    """Chebyshev's polynomial of the third kind."""

    name = "chebyshev_polynomial_v"
    floating = True

    def formula(self, m: Any, input: Any, n: Any) -> Any:
        return m.chebyshev_polynomial_v(input, n)


@op
class ChebyshevW(Elementwise):
    """Chebyshev's polynomial of the fourth kind."""

    name = "chebyshev_polynomial_w"
    floating = True

    def formula(self, m: Any, input: Any, n: Any) -> Any:
        return m.chebyshev_polynomial_w(input, n)


@op
class ShiftedChebyshevT(Elementwise):
    """Chebyshev's polynomial of the first kind, at 2 input - 1."""

    name = "shifted_chebyshev_polynomial_t"
    floating = True

    def formula(self, m: Any, input: Any, n: Any) -> Any:
        return m.shifted_chebyshev_polynomial_t(input, n)


@op
class ShiftedChebyshevU(Elementwise):
    """Chebyshev's polynomial of the second kind, at 2 input - 1."""

    name = "shifted_chebyshev_polynomial_u"
    floating = True

    def formula(self, m: Any, input: Any, n: Any) -> Any:
        return m.shifted_chebyshev_polynomial_u(input, n)


@op
class ShiftedChebyshevV(Elementwise):
    """Chebyshev's polynomial of the third kind, at 2 input - 1."""

    name = "shifted_chebyshev_polynomial_v"
    floating = True

    def formula(self, m: Any, input: Any, n: Any) -> Any:
        return m.shifted_chebyshev_polynomial_v(input, n)


@op
class ShiftedChebyshevW(Elementwise):
    """Chebyshev's polynomial of the fourth kind, at 2 input - 1."""

    name = "shifted_chebyshev_polynomial_w"
    floating = True

    def formula(self, m: Any, input: Any, n: Any) -> Any:
        return m.shifted_chebyshev_polynomial_w(input, n)


@op
class HermiteH(Elementwise):
    """Hermite's polynomial, the physicists'."""

    name = "hermite_polynomial_h"
    floating = True

    def formula(self, m: Any, input: Any, n: Any) -> Any:
        return m.hermite_polynomial_h(input, n)


@op
class HermiteHe(Elementwise):
    """Hermite's polynomial, the probabilists'."""

    name = "hermite_polynomial_he"
    floating = True

    def formula(self, m: Any, input: Any, n: Any) -> Any:
        return m.hermite_polynomial_he(input, n)


@op
class LaguerreL(Elementwise):
    """Laguerre's polynomial."""

    name = "laguerre_polynomial_l"
    floating = True

    def formula(self, m: Any, input: Any, n: Any) -> Any:
        return m.laguerre_polynomial_l(input, n)


@op
class LegendreP(Elementwise):
    """Legendre's polynomial."""

    name = "legendre_polynomial_p"
    floating = True

    def formula(self, m: Any, input: Any, n: Any) -> Any:
        return m.legendre_polynomial_p(input, n)


@public(out=True, namespaces=("special",))
def chebyshev_polynomial_t(input: Any, n: Any) -> Tensor:
    """Chebyshev's polynomial of the first kind, of degree n: cos(n arccos(x)).

    The degree is truncated to an integer; below 0 the result is 0.

    Shape: input and n broadcast together; one of them may be a number.
    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _of_degree(ChebyshevT, input, n)


@public(out=True, namespaces=("special",))
def chebyshev_polynomial_u(input: Any, n: Any) -> Tensor:
    """Chebyshev's polynomial of the second kind, of degree n: sin((n + 1) t) / sin(t) at x = cos(t).

    The degree is truncated to an integer; below 0 the result is 0.

    Shape: input and n broadcast together; one of them may be a number.
    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _of_degree(ChebyshevU, input, n)


@public(out=True, namespaces=("special",))
def chebyshev_polynomial_v(input: Any, n: Any) -> Tensor:
    """Chebyshev's polynomial of the third kind, of degree n: cos((n + 1/2) t) / cos(t / 2) at x = cos(t).

    The degree is truncated to an integer; below 0 the result is 0.

    Shape: input and n broadcast together; one of them may be a number.
    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _of_degree(ChebyshevV, input, n)


@public(out=True, namespaces=("special",))
def chebyshev_polynomial_w(input: Any, n: Any) -> Tensor:
    """Chebyshev's polynomial of the fourth kind, of degree n: sin((n + 1/2) t) / sin(t / 2) at x = cos(t).

    The degree is truncated to an integer; below 0 the result is 0.

    Shape: input and n broadcast together; one of them may be a number.
    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _of_degree(ChebyshevW, input, n)


@public(out=True, namespaces=("special",))
def shifted_chebyshev_polynomial_t(input: Any, n: Any) -> Tensor:
    """Chebyshev's polynomial of the first kind, at 2 input - 1, of degree n: for arguments from 0 to 1.

    The degree is truncated to an integer; below 0 the result is 0.

    Shape: input and n broadcast together; one of them may be a number.
    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _of_degree(ShiftedChebyshevT, input, n)


@public(out=True, namespaces=("special",))
def shifted_chebyshev_polynomial_u(input: Any, n: Any) -> Tensor:
    """Chebyshev's polynomial of the second kind, at 2 input - 1, of degree n: for arguments from 0 to 1.

    The degree is truncated to an integer; below 0 the result is 0.

    Shape: input and n broadcast together; one of them may be a number.
    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _of_degree(ShiftedChebyshevU, input, n)


@public(out=True, namespaces=("special",))
def shifted_chebyshev_polynomial_v(input: Any, n: Any) -> Tensor:
    """Chebyshev's polynomial of the third kind, at 2 input - 1, of degree n: for arguments from 0 to 1.

    The degree is truncated to an integer; below 0 the result is 0.

    Shape: input and n broadcast together; one of them may be a number.
    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _of_degree(ShiftedChebyshevV, input, n)


@public(out=True, namespaces=("special",))
def shifted_chebyshev_polynomial_w(input: Any, n: Any) -> Tensor:
    """Chebyshev's polynomial of the fourth kind, at 2 input - 1, of degree n: for arguments from 0 to 1.

    The degree is truncated to an integer; below 0 the result is 0.

    Shape: input and n broadcast together; one of them may be a number.
    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _of_degree(ShiftedChebyshevW, input, n)


@public(out=True, namespaces=("special",))
def hermite_polynomial_h(input: Any, n: Any) -> Tensor:
    """Hermite's polynomial, the physicists', of degree n: orthogonal by exp(-x**2).

    The degree is truncated to an integer; below 0 the result is 0.

    Shape: input and n broadcast together; one of them may be a number.
    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _of_degree(HermiteH, input, n)


@public(out=True, namespaces=("special",))
def hermite_polynomial_he(input: Any, n: Any) -> Tensor:
    """Hermite's polynomial, the probabilists', of degree n: orthogonal by exp(-x**2 / 2).

    The degree is truncated to an integer; below 0 the result is 0.

    Shape: input and n broadcast together; one of them may be a number.
    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _of_degree(HermiteHe, input, n)


@public(out=True, namespaces=("special",))
def laguerre_polynomial_l(input: Any, n: Any) -> Tensor:
    """Laguerre's polynomial, of degree n: orthogonal by exp(-x) above 0.

    The degree is truncated to an integer; below 0 the result is 0.

    Shape: input and n broadcast together; one of them may be a number.
    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _of_degree(LaguerreL, input, n)


@public(out=True, namespaces=("special",))
def legendre_polynomial_p(input: Any, n: Any) -> Tensor:
    """Legendre's polynomial, of degree n: orthogonal on [-1, 1].

    The degree is truncated to an integer; below 0 the result is 0.

    Shape: input and n broadcast together; one of them may be a number.
    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    return _of_degree(LegendreP, input, n)
