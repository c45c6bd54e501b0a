"""Comparisons, and tests of each element: equal, less, nan, close."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DtypeError
from taper.op import Elementwise, op, public
from taper.tensor import Tensor


@op
class Eq(Elementwise):
    """input == other."""

    ufunc = "equal"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.equal(input, other)


@op
class Ne(Elementwise):
    """input != other."""

    ufunc = "not_equal"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.not_equal(input, other)


@op
class Lt(Elementwise):
    """input < other."""

    ufunc = "less"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.less(input, other)


@op
class Le(Elementwise):
    """input <= other."""

    ufunc = "less_equal"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.less_equal(input, other)


@op
class Gt(Elementwise):
    """input > other."""

    ufunc = "greater"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.greater(input, other)


@op
class Ge(Elementwise):
    """input >= other."""

    ufunc = "greater_equal"

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.greater_equal(input, other)


def _refuse_complex(input: Any, other: Any, name: str) -> None:
    for x in (input, other):
        if isinstance(x, complex) or (isinstance(x, Tensor) and x._array.dtype.kind == "c"):
            kind = dtypes.cpp_name(x.dtype) if isinstance(x, Tensor) else "ComplexFloat"
            raise DtypeError(f'"{name}" not implemented for \'{kind}\'')


@public(method=True, inplace=True, out=True)
def eq(input: Tensor, other: Any) -> Tensor:
    """Whether each pair is equal. Shape: the two broadcast. Dtype: bool."""
    return apply(Eq, input, other)


@public(method=True, inplace=True, out=True, aliases=("not_equal",))
def ne(input: Tensor, other: Any) -> Tensor:
    """Whether each pair differs. Shape: the two broadcast. Dtype: bool."""
    return apply(Ne, input, other)


@public(method=True, inplace=True, out=True, aliases=("less",))
def lt(input: Tensor, other: Any) -> Tensor:
    """input < other. Shape: the two broadcast. Dtype: bool. Raises: RuntimeError for complex."""
    _refuse_complex(input, other, "lt_cpu")
    return apply(Lt, input, other)


@public(method=True, inplace=True, out=True, aliases=("less_equal",))
def le(input: Tensor, other: Any) -> Tensor:
    """input <= other. Shape: the two broadcast. Dtype: bool. Raises: RuntimeError for complex."""
    _refuse_complex(input, other, "le_cpu")
    return apply(Le, input, other)


@public(method=True, inplace=True, out=True, aliases=("greater",))
def gt(input: Tensor, other: Any) -> Tensor:
    """input > other. Shape: the two broadcast. Dtype: bool. Raises: RuntimeError for complex."""
    _refuse_complex(input, other, "gt_cpu")
    return apply(Gt, input, other)


@public(method=True, inplace=True, out=True, aliases=("greater_equal",))
def ge(input: Tensor, other: Any) -> Tensor:
    """input >= other. Shape: the two broadcast. Dtype: bool. Raises: RuntimeError for complex."""
    _refuse_complex(input, other, "ge_cpu")
    return apply(Ge, input, other)


# ---------------------------------------------------------------- Python's operators

_OPERANDS = (Tensor, bool, int, float, complex, np.generic)


def _comparison(op: Any, ordered: str = "") -> Callable[[Tensor, Any], Any]:
    """A comparison method that leaves foreign operands to their own class."""

    def compared(self: Tensor, other: Any) -> Any:
        if isinstance(other, (Tensor, float, int)):
            if ordered and self._array.dtype.kind == "c":
                _refuse_complex(self, other, ordered)
            return apply(op, self, other)
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        if ordered:
            _refuse_complex(self, other, ordered)
        return apply(op, self, other.item() if isinstance(other, np.generic) else other)

    return compared


def bind_comparisons() -> None:
    """Gives Tensor its comparison operators."""
    methods = {
        "eq": _comparison(Eq), "ne": _comparison(Ne), "lt": _comparison(Lt, "lt_cpu"),
        "le": _comparison(Le, "le_cpu"), "gt": _comparison(Gt, "gt_cpu"),
        "ge": _comparison(Ge, "ge_cpu"),
    }
    for name, method in methods.items():
        method.__name__ = f"__{name}__"
        setattr(Tensor, f"__{name}__", method)


bind_comparisons()


# ---------------------------------------------------------------- of one tensor


@op
class IsNan(Elementwise):
    """Whether it is not a number."""

    ufunc = "isnan"
    name = "isnan"

    def formula(self, m: Any, input: Any) -> Any:
        return m.isnan(input)


@op
class IsInf(Elementwise):
    """Whether it is infinite."""

    ufunc = "isinf"
    name = "isinf"

    def formula(self, m: Any, input: Any) -> Any:
        return m.isinf(input)


@op
class IsFinite(Elementwise):
    """Whether it is neither infinite nor nan."""

    ufunc = "isfinite"
    name = "isfinite"

    def formula(self, m: Any, input: Any) -> Any:
        return m.isfinite(input)


@public(method=True)
def isnan(input: Tensor) -> Tensor:
    """Whether each element is nan (of a complex one, either part). Dtype: bool."""
    return apply(IsNan, input)


@public(method=True)
def isinf(input: Tensor) -> Tensor:
    """Whether each element is infinite. Dtype: bool."""
    return apply(IsInf, input)


@public(method=True)
def isfinite(input: Tensor) -> Tensor:
    """Whether each element is neither infinite nor nan. Dtype: bool."""
    return apply(IsFinite, input)


# ---------------------------------------------------------------- whole tensors


@public(method=True)
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08,
            equal_nan: bool = False) -> Tensor:
    """Whether |input - other| <= atol + rtol * |other|, for each pair. Dtype: bool.

    Raises: RuntimeError if the dtypes differ or a tolerance is negative.
    """
    if input._array.dtype != other._array.dtype:
        raise RuntimeError(f"{dtypes.cpp_name(input.dtype)} did not match "
                           f"{dtypes.cpp_name(other.dtype)}")
    if rtol < 0:
        raise RuntimeError(f"rtol must be greater than or equal to zero, but got {rtol}")
    if atol < 0:
        raise RuntimeError(f"atol must be greater than or equal to zero, but got {atol}")
    if equal_nan and input._array.dtype.kind not in "fcV":
        equal_nan = False
    return apply(IsClose, input, other, rtol=rtol, atol=atol, equal_nan=equal_nan)


@op
class IsClose(Elementwise):
    """|input - other| <= atol + rtol * |other|; equal infinities are close."""

    name = "isclose"

    def formula(self, m: Any, input: Any, other: Any, *, rtol: float, atol: float,
                equal_nan: bool) -> Any:
        close = m.equal(input, other)
        if equal_nan:
            close = close | (m.isnan(input) & m.isnan(other))
        if rtol == 0 and atol == 0:
            return close
        if input.dtype.kind in "iub":
            input, other = input.astype(np.float64), other.astype(np.float64)
        gap = m.absolute(input - other)
        return close | (m.isfinite(gap) & (gap <= atol + m.absolute(rtol * other)))


@public(method=True)
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08,
             equal_nan: bool = False) -> bool:
    """Whether all pairs are close in the sense of isclose."""
    return bool(isclose(input, other, rtol, atol, equal_nan)._array.all())


@public(method=True)
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and equal elements."""
    one, two = input._array, other._array
    if one.dtype != two.dtype:
        raise RuntimeError(f"Expected object of data type {input.dtype!r} but got data type "
                           f"{other.dtype!r} for argument 'other' in call to equal")
    return one.shape == two.shape and bool((one == two).all())
