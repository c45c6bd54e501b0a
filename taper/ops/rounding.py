"""Rounding: floor, ceil, trunc, round, frac."""

from __future__ import annotations

from typing import Any

from taper.dispatch import apply
from taper.errors import UnsupportedDtype
from taper.op import Elementwise, op, public
from taper.ops.arguments import narrowed, refuse, widened
from taper.tensor import Tensor


@op
class Floor(Elementwise):
    """The largest integer not above."""

    ufunc = "floor"

    def formula(self, m: Any, input: Any) -> Any:
        return m.floor(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.zeros_like(grad)


@op
class Ceil(Elementwise):
    """The smallest integer not below."""

    ufunc = "ceil"

    def formula(self, m: Any, input: Any) -> Any:
        return m.ceil(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.zeros_like(grad)


@op
class Trunc(Elementwise):
    """The integer part."""

    ufunc = "trunc"

    def formula(self, m: Any, input: Any) -> Any:
        return m.trunc(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.zeros_like(grad)


@op
class Round(Elementwise):
    """The nearest integer, halves to the even one."""

    ufunc = "rint"

    def formula(self, m: Any, input: Any) -> Any:
        return m.rint(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return m.zeros_like(grad)


@op
class RoundDecimals(Elementwise):
    """The nearest multiple of 10 ** -decimals."""

    name = "round"
    node_name = "RoundBackward1"

    def formula(self, m: Any, input: Any, *, decimals: int) -> Any:
        scale = 10.0 ** abs(decimals)
        x = widened(input)
        made = m.rint(x * scale) / scale if decimals > 0 else m.rint(x / scale) * scale
        return narrowed(made, input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, decimals: int) -> Any:
        return m.zeros_like(grad)


@op
class Frac(Elementwise):
    """The part behind the point, with the sign of the input."""

    def formula(self, m: Any, input: Any) -> Any:
        return input - m.trunc(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad


def _rounded(op: Any, name: str, input: Tensor) -> Tensor:
    kind = input._array.dtype.kind
    if kind in "iu":
        return input.clone()
    if kind == "c" and name != "round":
        raise UnsupportedDtype(f"{name} is not supported for complex inputs")
    refuse(input, "bc", name + "_vml_cpu")
    return apply(op, input)


@public(method=True, inplace=True, out=True)
def floor(input: Tensor) -> Tensor:
    """The largest integer not above each element. Dtype: that of the input."""
    return _rounded(Floor, "floor", input)


@public(method=True, inplace=True, out=True)
def ceil(input: Tensor) -> Tensor:
    """The smallest integer not below each element. Dtype: that of the input."""
    return _rounded(Ceil, "ceil", input)


@public(method=True, inplace=True, out=True, aliases=("fix",))
def trunc(input: Tensor) -> Tensor:
    """The integer part of each element. Dtype: that of the input."""
    return _rounded(Trunc, "trunc", input)


@public(method=True, inplace=True, out=True, namespaces=("torch", "special"))
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """The nearest integer (halves to the even one), or multiple of 10 ** -decimals.

    Dtype: that of the input.
    """
    if decimals == 0:
        return _rounded(Round, "round", input)
    refuse(input, "iubc", "round_vml_cpu")
    return apply(RoundDecimals, input, decimals=decimals)


@public(method=True, inplace=True, out=True)
def frac(input: Tensor) -> Tensor:
    """The part behind the point, with the sign of the input. Raises: RuntimeError for integers."""
    refuse(input, "iubc", "frac_cpu")
    return apply(Frac, input)


Tensor.__floor__ = floor  # type: ignore[attr-defined]
Tensor.__ceil__ = ceil  # type: ignore[attr-defined]
Tensor.__trunc__ = trunc  # type: ignore[attr-defined]
