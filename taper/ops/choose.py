"""One of several elements: where, clamp, maximum, minimum, nan_to_num."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply, as_array
from taper.errors import UnsupportedDtype
from taper.op import METHODS, Elementwise, op, public
from taper.ops.arguments import refuse, refuse_common, require_tensor, require_tensors
from taper.tensor import Tensor, wrap


@op
class Where(Elementwise):
    """input where the condition holds, other elsewhere."""

    unpromoted = 1
    saves = ("condition",)

    def formula(self, m: Any, condition: Any, input: Any, other: Any) -> Any:
        return m.where(condition, input, other)

    def vjp(
        self, m: Any, grad: Any, out: Any, condition: Any, input: Any, other: Any, *, needs: Any
    ) -> Any:
        return (
            None,
            m.call(Where, condition, grad, 0) if needs[1] else None,
            m.call(Where, condition, 0, grad) if needs[2] else None,
        )


# The public function has promoted already, and a saved condition must keep its dtype.
Where.takes = ""


@public(method=False, out=True)
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, `other` elsewhere; either may be a number.

    With the condition alone: the places where it holds, as nonzero(as_tuple=True).
    Shape: the three broadcast together.
    Raises: RuntimeError if the condition is not of bools.
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    require_tensor("where", "condition", 1, condition)
    if input is None or other is None:
        raise TypeError(
            "where() received an invalid combination of arguments - expected "
            "(Tensor condition, Tensor input, Tensor other)"
        )
    kind = condition._array.dtype
    if kind.kind != "b":
        if kind != np.uint8:
            raise RuntimeError(
                "where expected condition to be a boolean tensor, but got a tensor "
                f"with dtype {dtypes.cpp_name(condition.dtype)}"
            )
        condition = condition.bool()
    one, two = _agreed(input, other)
    return apply(Where, condition, one, two)


def _agreed(one: Any, other: Any) -> tuple[Any, Any]:
    """Two operands in their common dtype; numbers become 0-d tensors unless they fit as such."""
    if (
        isinstance(one, Tensor)
        and isinstance(other, Tensor)
        and one._array.dtype is other._array.dtype
    ):
        return one, other
    raw = [x._array if isinstance(x, Tensor) else x for x in (one, other)]
    common = dtypes.of_operands(raw)
    made = [
        x.to(common) if isinstance(x, Tensor) else wrap(as_array(x, common.numpy))
        for x in (one, other)
    ]
    return made[0], made[1]


def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """The tensor where the condition holds, `other` elsewhere."""
    return where(condition, self, other)


METHODS["where"] = _where_method


class _Clamping(Elementwise):
    """input within the numbers low and high; None leaves a side open."""

    name = "clamp"
    saves = ("input",)

    def formula(self, m: Any, input: Any, *, low: Any, high: Any) -> Any:
        if low is not None:
            input = m.maximum(input, as_array(low, input.dtype))
        if high is not None:
            input = m.minimum(input, as_array(high, input.dtype))
        return input

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, low: Any, high: Any) -> Any:
        if low is None:
            inside = m.less_equal(input, high)
        elif high is None:
            inside = m.greater_equal(input, low)
        else:
            inside = m.logical_and(m.greater_equal(input, low), m.less_equal(input, high))
        return m.where(inside, grad, 0)


@op
class Clamp(_Clamping):
    """input within the numbers low and high; None leaves a side open."""

    node_name = "ClampBackward1"


@op
class ClampMinNumber(_Clamping):
    """The larger of input and the number low."""

    node_name = "ClampMinBackward0"


@op
class ClampMaxNumber(_Clamping):
    """The smaller of input and the number high."""

    node_name = "ClampMaxBackward0"


@op
class ClampBetween(Elementwise):
    """input within the tensors low and high."""

    name = "clamp"
    node_name = "ClampBackward0"
    saves = ("input", "low", "high")

    def formula(self, m: Any, input: Any, low: Any, high: Any) -> Any:
        return m.minimum(m.maximum(input, low), high)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, low: Any, high: Any, *, needs: Any
    ) -> Any:
        above, below = m.greater(input, high), m.less(input, low)
        ordered = m.less(low, high)
        inside = m.logical_and(m.greater_equal(input, low), m.less_equal(input, high))
        return (
            m.where(inside, grad, 0),
            m.where(m.logical_and(ordered, below), grad, 0) if needs[1] else None,
            m.where(m.logical_or(m.less(high, low), above), grad, 0) if needs[2] else None,
        )


@op
class ClampMin(Elementwise):
    """The larger of input and the tensor low; equal ones send the gradient to input."""

    name = "clamp_min"
    node_name = "ClampMinBackward1"
    ufunc = "maximum"
    saves = ("input", "low")

    def formula(self, m: Any, input: Any, low: Any) -> Any:
        return m.maximum(input, low)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, low: Any) -> Any:
        return (m.where(m.greater_equal(input, low), grad, 0), m.where(m.less(input, low), grad, 0))


@op
class ClampMax(Elementwise):
    """The smaller of input and the tensor high; equal ones send the gradient to input."""

    name = "clamp_max"
    node_name = "ClampMaxBackward1"
    ufunc = "minimum"
    saves = ("input", "high")

    def formula(self, m: Any, input: Any, high: Any) -> Any:
        return m.minimum(input, high)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, high: Any) -> Any:
        return (
            m.where(m.less_equal(input, high), grad, 0),
            m.where(m.greater(input, high), grad, 0),
        )


@public(method=True, inplace=True, out=True, aliases=("clip",))
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Each element, moved to `min` if it is below and to `max` if it is above.

    Shape: the bounds are numbers, or tensors that broadcast with the input.
    Edges: where min > max the result is max; nan stays nan.
    Raises: RuntimeError if both bounds are None, or for complex numbers.
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    _refuse_complex(input)
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        bounds = [x for x in (min, max) if x is not None]
        refuse_common("bc" if len(bounds) == 2 else "c", "clamp_cpu", input, *bounds)
        if min is None:
            return apply(ClampMax, input, max)
        if max is None:
            return apply(ClampMin, input, min)
        return apply(ClampBetween, input, min, max)
    for bound in (min, max):
        if isinstance(bound, complex):
            raise UnsupportedDtype("clamp is not supported for complex types")
        input = _wide_enough(input, bound)
    return apply(Clamp, input, low=min, high=max)


def _refuse_complex(input: Tensor) -> None:
    if input._array.dtype.kind == "c":
        raise UnsupportedDtype("clamp is not supported for complex types")


def _wide_enough(input: Tensor, bound: Any) -> Tensor:
    """The input in a dtype of the bound's category."""
    kind = input._array.dtype.kind
    if bound is None or kind in "fV" or (kind in "iu" and type(bound) is int):
        return input
    common = dtypes.of_operands([input._array, bound])
    if common is dtypes.bool_:
        refuse(input, "b", "clamp_scalar_cpu")
    return input.to(common)


@public(method=True, inplace=True, out=True)
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Each element, moved to `min` if it is below."""
    _refuse_complex(input)
    if isinstance(min, Tensor):
        return apply(ClampMin, input, min)
    return apply(ClampMinNumber, _wide_enough(input, min), low=min, high=None)


@public(method=True, inplace=True, out=True)
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Each element, moved to `max` if it is above."""
    _refuse_complex(input)
    if isinstance(max, Tensor):
        return apply(ClampMax, input, max)
    return apply(ClampMaxNumber, _wide_enough(input, max), low=None, high=max)


@op
class Maximum(Elementwise):
    """The larger of two; nan if either is."""

    ufunc = "maximum"
    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.maximum(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        return _shared(m, grad, m.less(input, other), m.less(other, input), m.equal(input, other))


@op
class Minimum(Elementwise):
    """The smaller of two; nan if either is."""

    ufunc = "minimum"
    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.minimum(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        return _shared(
            m, grad, m.greater(input, other), m.greater(other, input), m.equal(input, other)
        )


def _shared(m: Any, grad: Any, lost: Any, won: Any, tie: Any) -> Any:
    """The gradient to the winner; equal ones share it."""
    grad = m.where(tie, grad / 2, grad)
    return m.where(lost, 0, grad), m.where(won, 0, grad)


@op
class Fmax(Elementwise):
    """The larger of two; nan only if both are."""

    ufunc = "fmax"
    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.fmax(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        won = m.logical_or(m.greater_equal(input, other), m.isnan(other))
        return m.where(won, grad, 0), m.where(won, 0, grad)


@op
class Fmin(Elementwise):
    """The smaller of two; nan only if both are."""

    ufunc = "fmin"
    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return m.fmin(input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        won = m.logical_or(m.less_equal(input, other), m.isnan(other))
        return m.where(won, grad, 0), m.where(won, 0, grad)


def _check_pair(name: str, input: Any, other: Any) -> None:
    require_tensors(name, input, other)
    if "c" in (input._array.dtype.kind, other._array.dtype.kind):
        raise RuntimeError(f"{name} not implemented for complex tensors.")


@public(method=True, out=True)
def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each pair; nan if either is. Equal ones share the gradient."""
    _check_pair("maximum", input, other)
    return apply(Maximum, input, other)


@public(method=True, out=True)
def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each pair; nan if either is. Equal ones share the gradient."""
    _check_pair("minimum", input, other)
    return apply(Minimum, input, other)


@public(method=True, out=True)
def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each pair; a nan loses to a number."""
    _check_pair("fmax", input, other)
    return apply(Fmax, input, other)


@public(method=True, out=True)
def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each pair; a nan loses to a number."""
    _check_pair("fmin", input, other)
    return apply(Fmin, input, other)


@op
class NanToNum(Elementwise):
    """nan, inf and -inf replaced by numbers."""

    name = "nan_to_num"
    saves = ("input",)

    def formula(self, m: Any, input: Any, *, nan: float, high: float, low: float) -> Any:
        if input.dtype.kind == "c":
            made = np.empty_like(input)
            made.real = self.formula(m, input.real, nan=nan, high=high, low=low)
            made.imag = self.formula(m, input.imag, nan=nan, high=high, low=low)
            return made
        real = input.dtype.type
        made = m.where(m.isnan(input), real(nan), input)
        made = m.where(m.equal(made, real(np.inf)), real(high), made)
        return m.where(m.equal(made, real(-np.inf)), real(low), made)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, nan: float, high: float, low: float
    ) -> Any:
        return m.where(m.isfinite(input), grad, 0)


@public(method=True, inplace=True, out=True)
def nan_to_num(
    input: Tensor,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Tensor:
    """The tensor with nan replaced by `nan` (0), inf by `posinf` (the dtype's largest number) and
    -inf by `neginf` (its smallest).
    """
    if input._array.dtype.kind in "iub":
        return input.clone()
    limits = dtypes.finfo(input.dtype)
    return apply(
        NanToNum,
        input,
        nan=0.0 if nan is None else float(nan),
        high=limits.max if posinf is None else float(posinf),
        low=limits.min if neginf is None else float(neginf),
    )
