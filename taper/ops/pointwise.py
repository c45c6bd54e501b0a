"""Functions of each element: exponentials, logarithms, roots, sizes and signs, where and clamp.

Circular and hyperbolic functions are in trigonometry.py, rounding in rounding.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply, as_array
from taper.errors import DtypeError
from taper.op import METHODS, Elementwise, op, public
from taper.ops.arithmetic import conj_of
from taper.tensor import Tensor, wrap

LN2 = float(np.log(2.0))
LN10 = float(np.log(10.0))


def widened(x: Any) -> Any:
    """float32 for the half types: a formula of several steps is rounded once, at its end."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind in "fV" else x


def narrowed(result: Any, like: Any) -> Any:
    """The result of a formula on `widened(like)` in the dtype of `like`."""
    return result if result.dtype == like.dtype else result.astype(like.dtype)


def is_complex(x: Any) -> bool:
    """Whether an array or tensor is complex."""
    return getattr(x, "_array", x).dtype.kind == "c"  # type: ignore[no-any-return]


def refuse(input: Tensor, kinds: str, name: str) -> None:
    """Raises: RuntimeError if the dtype is of one of numpy's `kinds`."""
    if input._array.dtype.kind in kinds:
        raise DtypeError(f'"{name}" not implemented for \'{dtypes.cpp_name(input.dtype)}\'')


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
    return input.pow(2)  # type: ignore[no-any-return]


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


@op
class Sgn(Elementwise):
    """input / |input|, and 0 at 0."""

    ufunc = "sign"
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.sign(input)

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

    ufunc = "sign"

    def formula(self, m: Any, input: Any) -> Any:
        return m.sign(input)

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
    return apply(Sgn, _as_is(input))


@public(method=True, inplace=True, out=True)
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1. Raises: RuntimeError for complex numbers (sgn takes them)."""
    if input._array.dtype.kind == "c":
        raise RuntimeError("Unlike NumPy, torch.sign doesn't allow complex inputs; use torch.sgn")
    return input.clone() if input._array.dtype.kind == "b" else apply(Sign, input)


def _as_is(input: Tensor) -> Any:
    return input.clone() if input._array.dtype.kind == "b" else input


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
def angle(input: Tensor) -> Tensor:
    """The argument of each number in radians; 0 or pi (or nan) for real ones."""
    return apply(Angle, input)


@public(method=True)
def positive(input: Tensor) -> Tensor:
    """The tensor itself. Raises: RuntimeError for bools."""
    if input._array.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


# ---------------------------------------------------------------- choosing


@op
class Where(Elementwise):
    """input where the condition holds, other elsewhere."""

    unpromoted = 1
    saves = ("condition",)

    def formula(self, m: Any, condition: Any, input: Any, other: Any) -> Any:
        return m.where(condition, input, other)

    def vjp(self, m: Any, grad: Any, out: Any, condition: Any, input: Any, other: Any, *,
            needs: Any) -> Any:
        return (None,
                m.call(Where, condition, grad, 0) if needs[1] else None,
                m.call(Where, condition, 0, grad) if needs[2] else None)


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
    if input is None or other is None:
        raise TypeError("where() received an invalid combination of arguments - expected "
                        "(Tensor condition, Tensor input, Tensor other)")
    kind = condition._array.dtype
    if kind.kind != "b":
        if kind != np.uint8:
            raise RuntimeError("where expected condition to be a boolean tensor, but got a tensor "
                               f"with dtype {dtypes.cpp_name(condition.dtype)}")
        condition = condition.bool()
    one, two = _agreed(input, other)
    return apply(Where, condition, one, two)


def _agreed(one: Any, other: Any) -> tuple[Any, Any]:
    """Two operands in their common dtype; numbers become 0-d tensors unless they fit as such."""
    if isinstance(one, Tensor) and isinstance(other, Tensor) \
            and one._array.dtype is other._array.dtype:
        return one, other
    raw = [x._array if isinstance(x, Tensor) else x for x in (one, other)]
    common = dtypes.of_operands(raw)
    made = [x.to(common) if isinstance(x, Tensor) else wrap(as_array(x, common.numpy))
            for x in (one, other)]
    return made[0], made[1]


def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """The tensor where the condition holds, `other` elsewhere."""
    return where(condition, self, other)  # type: ignore[no-any-return]


METHODS["where"] = _where_method


@op
class Clamp(Elementwise):
    """input within the numbers low and high; None leaves a side open."""

    name = "clamp"
    node_name = "ClampBackward1"
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
class ClampBetween(Elementwise):
    """input within the tensors low and high."""

    name = "clamp"
    node_name = "ClampBackward0"
    saves = ("input", "low", "high")

    def formula(self, m: Any, input: Any, low: Any, high: Any) -> Any:
        return m.minimum(m.maximum(input, low), high)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, low: Any, high: Any, *,
            needs: Any) -> Any:
        above, below = m.greater(input, high), m.less(input, low)
        ordered = m.less(low, high)
        inside = m.logical_and(m.greater_equal(input, low), m.less_equal(input, high))
        return (m.where(inside, grad, 0),
                m.where(m.logical_and(ordered, below), grad, 0) if needs[1] else None,
                m.where(m.logical_or(m.less(high, low), above), grad, 0) if needs[2] else None)


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
        return (m.where(m.greater_equal(input, low), grad, 0),
                m.where(m.less(input, low), grad, 0))


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
        return (m.where(m.less_equal(input, high), grad, 0),
                m.where(m.greater(input, high), grad, 0))


@public(method=True, inplace=True, out=True, aliases=("clip",))
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Each element, moved to `min` if it is below and to `max` if it is above.

    Shape: the bounds are numbers, or tensors that broadcast with the input.
    Edges: where min > max the result is max; nan stays nan.
    Raises: RuntimeError if both bounds are None, or for complex numbers.
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    refuse(input, "c", "clamp_scalar_cpu")
    if not isinstance(min, Tensor) and not isinstance(max, Tensor):
        for bound in (min, max):
            input = _wide_enough(input, bound)
        return apply(Clamp, input, low=min, high=max)
    if min is None:
        return apply(ClampMax, input, max)
    if max is None:
        return apply(ClampMin, input, min)
    if not isinstance(min, Tensor) or not isinstance(max, Tensor):
        raise TypeError("clamp() received an invalid combination of arguments - expected one of: "
                        "(Tensor input, Tensor min = None, Tensor max = None), (Tensor input, "
                        "Number min = None, Number max = None)")
    return apply(ClampBetween, input, min, max)


def _wide_enough(input: Tensor, bound: Any) -> Tensor:
    """The input in a dtype of the bound's category."""
    kind = input._array.dtype.kind
    if bound is None or kind in "fV" or (kind in "iu" and type(bound) is int):
        return input
    common = dtypes.of_operands([input._array, bound])
    if common is dtypes.bool_:
        refuse(input, "b", "clamp_scalar_cpu")
    return input.to(common)  # type: ignore[no-any-return]


@public(method=True, inplace=True, out=True)
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Each element, moved to `min` if it is below."""
    refuse(input, "c", "clamp_min_scalar_cpu")
    if isinstance(min, Tensor):
        return apply(ClampMin, input, min)
    return apply(Clamp, _wide_enough(input, min), low=min, high=None)


@public(method=True, inplace=True, out=True)
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Each element, moved to `max` if it is above."""
    refuse(input, "c", "clamp_max_scalar_cpu")
    if isinstance(max, Tensor):
        return apply(ClampMax, input, max)
    return apply(Clamp, _wide_enough(input, max), low=None, high=max)


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
        return _shared(m, grad, m.greater(input, other), m.greater(other, input),
                       m.equal(input, other))


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


def _ordered(name: str, input: Tensor, other: Tensor) -> None:
    for x in (input, other):
        if isinstance(x, Tensor) and x._array.dtype.kind == "c":
            raise RuntimeError(f"{name} not implemented for complex tensors.")


@public(method=True, out=True)
def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each pair; nan if either is. Equal ones share the gradient."""
    _ordered("maximum", input, other)
    return apply(Maximum, input, other)


@public(method=True, out=True)
def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each pair; nan if either is. Equal ones share the gradient."""
    _ordered("minimum", input, other)
    return apply(Minimum, input, other)


@public(method=True, out=True)
def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each pair; a nan loses to a number."""
    _ordered("fmax", input, other)
    return apply(Fmax, input, other)


@public(method=True, out=True)
def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each pair; a nan loses to a number."""
    _ordered("fmin", input, other)
    return apply(Fmin, input, other)
