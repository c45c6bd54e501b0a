"""Comparisons, and tests of each element: equal, less, nan, close."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import UnsupportedDtype
from taper.op import Elementwise, op, public
from taper.ops.arguments import invalid_combination, narrowed, refuse, require_tensors, widened
from taper.tensor import Tensor, wrap


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


def _check(name: str, input: Any, other: Any) -> None:
    """Raises: TypeError unless `input` is a tensor, NotImplementedError for complex numbers."""
    if not isinstance(input, Tensor):
        _not_a_tensor(name, input, other)
    if input._array.dtype.kind == "c":
        refuse(input, "c", name + "_cpu")
    if isinstance(other, Tensor):
        if other._array.dtype.kind == "c":
            refuse(other, "c", name + "_cpu")
    elif isinstance(other, complex):
        raise UnsupportedDtype(f"\"{name}_cpu\" not implemented for 'ComplexFloat'")


def _not_a_tensor(name: str, input: Any, other: Any) -> None:
    raise invalid_combination(
        name,
        input,
        other,
        expected="(Tensor input, Tensor other, *, Tensor out = None), "
        "(Tensor input, Number other, *, Tensor out = None)",
    )


@public(method=True, inplace=True, out=True)
def eq(input: Tensor, other: Any) -> Tensor:
    """Whether each pair is equal. Shape: the two broadcast. Dtype: bool."""
    if not isinstance(input, Tensor):
        _not_a_tensor("eq", input, other)
    return apply(Eq, input, other)


@public(method=True, inplace=True, out=True, aliases=("not_equal",))
def ne(input: Tensor, other: Any) -> Tensor:
    """Whether each pair differs. Shape: the two broadcast. Dtype: bool."""
    if not isinstance(input, Tensor):
        _not_a_tensor("ne", input, other)
    return apply(Ne, input, other)


@public(method=True, inplace=True, out=True, aliases=("less",))
def lt(input: Tensor, other: Any) -> Tensor:
    """input < other. Shape: the two broadcast. Dtype: bool. Raises: RuntimeError for complex."""
    _check("lt", input, other)
    return apply(Lt, input, other)


@public(method=True, inplace=True, out=True, aliases=("less_equal",))
def le(input: Tensor, other: Any) -> Tensor:
    """input <= other. Shape: the two broadcast. Dtype: bool. Raises: RuntimeError for complex."""
    _check("le", input, other)
    return apply(Le, input, other)


@public(method=True, inplace=True, out=True, aliases=("greater",))
def gt(input: Tensor, other: Any) -> Tensor:
    """input > other. Shape: the two broadcast. Dtype: bool. Raises: RuntimeError for complex."""
    _check("gt", input, other)
    return apply(Gt, input, other)


@public(method=True, inplace=True, out=True, aliases=("greater_equal",))
def ge(input: Tensor, other: Any) -> Tensor:
    """input >= other. Shape: the two broadcast. Dtype: bool. Raises: RuntimeError for complex."""
    _check("ge", input, other)
    return apply(Ge, input, other)


# ---------------------------------------------------------------- Python's operators

_OPERANDS = (Tensor, bool, int, float, complex, np.generic)


def _comparison(op: Any, ordered: str = "") -> Callable[[Tensor, Any], Any]:
    """A comparison method that leaves foreign operands to their own class."""

    def compared(self: Tensor, other: Any) -> Any:
        if isinstance(other, (Tensor, float, int)):
            if ordered and self._array.dtype.kind == "c":
                _check(ordered, self, other)
            return apply(op, self, other)
        if not isinstance(other, _OPERANDS):
            return NotImplemented
        if ordered:
            _check(ordered, self, other)
        return apply(op, self, other.item() if isinstance(other, np.generic) else other)

    return compared


def bind_comparisons() -> None:
    """Gives Tensor its comparison operators."""
    methods = {
        "eq": _comparison(Eq),
        "ne": _comparison(Ne),
        "lt": _comparison(Lt, "lt"),
        "le": _comparison(Le, "le"),
        "gt": _comparison(Gt, "gt"),
        "ge": _comparison(Ge, "ge"),
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


@op
class IsPosInf(Elementwise):
    """Whether it is inf."""

    name = "isposinf"

    def formula(self, m: Any, input: Any) -> Any:
        return m.equal(input, np.inf) if input.dtype.kind in "fV" else m.zeros_like(input, bool)


@op
class IsNegInf(Elementwise):
    """Whether it is -inf."""

    name = "isneginf"

    def formula(self, m: Any, input: Any) -> Any:
        return m.equal(input, -np.inf) if input.dtype.kind in "fV" else m.zeros_like(input, bool)


@op
class IsReal(Elementwise):
    """Whether the imaginary part is zero."""

    name = "isreal"

    def formula(self, m: Any, input: Any) -> Any:
        return m.equal(input.imag, 0) if input.dtype.kind == "c" else m.ones_like(input, bool)


@public(method=True, out=True)
def isposinf(input: Tensor) -> Tensor:
    """Whether each element is inf. Dtype: bool. Raises: RuntimeError for complex numbers."""
    if input._array.dtype.kind == "c":
        raise RuntimeError("isposinf does not support complex inputs.")
    return apply(IsPosInf, input)


@public(method=True, out=True)
def isneginf(input: Tensor) -> Tensor:
    """Whether each element is -inf. Dtype: bool. Raises: RuntimeError for complex numbers."""
    if input._array.dtype.kind == "c":
        raise RuntimeError("isneginf does not support complex inputs.")
    return apply(IsNegInf, input)


@public(method=True)
def isreal(input: Tensor) -> Tensor:
    """Whether each element's imaginary part is zero. Dtype: bool."""
    return apply(IsReal, input)


@public(out=True)
def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Whether each of `elements` is among `test_elements`; with `invert`, whether it is not.

    Either may be a number, not both. Dtype: bool.
    """
    given = [x._array if isinstance(x, Tensor) else x for x in (elements, test_elements)]
    if not isinstance(elements, Tensor) and not isinstance(test_elements, Tensor):
        raise TypeError(
            "isin() received an invalid combination of arguments: at least one of "
            "elements and test_elements must be a Tensor"
        )
    common = dtypes.of_operands(given).numpy
    if common.kind in "cb":
        raise RuntimeError(
            f"Unsupported input type encountered for isin(): {dtypes.cpp_name(dtypes.of(common))}"
        )
    one, other = (np.asarray(x).astype(common) for x in given)
    return wrap(np.isin(one, other, invert=invert))


# ---------------------------------------------------------------- whole tensors


@public(method=True)
def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Whether |input - other| <= atol + rtol * |other|, for each pair. Dtype: bool.

    Raises: RuntimeError if the dtypes differ or a tolerance is negative.
    """
    require_tensors("isclose", input, other)
    if input._array.dtype != other._array.dtype:
        raise RuntimeError(
            f"{dtypes.cpp_name(input.dtype)} did not match {dtypes.cpp_name(other.dtype)}"
        )
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

    def formula(
        self, m: Any, input: Any, other: Any, *, rtol: float, atol: float, equal_nan: bool
    ) -> Any:
        close = m.equal(input, other)
        if equal_nan:
            close = close | (m.isnan(input) & m.isnan(other))
        if rtol == 0 and atol == 0:
            return close
        if input.dtype.kind in "iub":
            input, other = input.astype(np.float64), other.astype(np.float64)
        gap = m.absolute(input - other)
        allowed = narrowed(atol + m.absolute(rtol * widened(other)), gap)
        return close | (m.isfinite(gap) & (gap <= allowed))


@public(method=True)
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether all pairs are close in the sense of isclose."""
    return bool(isclose(input, other, rtol, atol, equal_nan)._array.all())


@public(method=True)
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and equal elements."""
    one, two = input._array, other._array
    return one.shape == two.shape and bool((one == two).all())
