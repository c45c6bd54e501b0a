"""Special functions of each element: the error function, the normal distribution, entropies, sinc.

The gamma function's kin are in gamma.py, Bessel's functions in bessel.py, polynomials in
orthogonal_polynomials.py. Their values come from taper/backends/special.py, in float64 rounded
once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.op import Elementwise, op, public
from taper.ops.arguments import invalid_combination, narrowed, refuse, require_tensor, widened
from taper.ops.arithmetic import conj_of
from taper.tensor import Tensor

_TWO_OVER_SQRT_PI = float(2 / np.sqrt(np.pi))
_SQRT_HALF = float(np.sqrt(0.5))
_SQRT_2_PI = float(np.sqrt(2 * np.pi))


def refuse_halves(input: Tensor, kernel: str) -> None:
    """Raises: NotImplementedError for complex numbers, float16 and bfloat16."""
    array = input._array
    if array.dtype.itemsize == 2 and array.dtype.kind in "fV":
        refuse(input, "fV", kernel)
    refuse(input, "c", kernel)


# ---------------------------------------------------------------- error functions


@op
class Erf(Elementwise):
    """The error function."""

    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.erf(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * (m.exp(-(input * input)) * _TWO_OVER_SQRT_PI)


@op
class Erfc(Elementwise):
    """1 - erf(input)."""

    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.erfc(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * (m.exp(-(input * input)) * -_TWO_OVER_SQRT_PI)


@op
class Erfcx(Elementwise):
    """exp(input ** 2) * erfc(input)."""

    node_name = "SpecialErfcxBackward0"
    floating = True
    saves = ("input", "out")

    def formula(self, m: Any, input: Any) -> Any:
        return m.erfcx(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * (2 * input * out - _TWO_OVER_SQRT_PI)


@op
class Erfinv(Elementwise):
    """The inverse of the error function."""

    floating = True
    saves = ("out",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.erfinv(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * (m.exp(out * out) * (1 / _TWO_OVER_SQRT_PI))


@public(method=True, inplace=True, out=True, namespaces=("torch", "special"))
def erf(input: Tensor) -> Tensor:
    """The error function, 2/sqrt(pi) times the integral of exp(-t**2) from 0 to each element.

    Dtype: integers become the default float. Raises: NotImplementedError for complex numbers.
    Error: 2 ulp in float32, 3 ulp in float64.
    """
    refuse(input, "c", "erf_vml_cpu")
    return apply(Erf, input)


@public(method=True, inplace=True, out=True, namespaces=("torch", "special"))
def erfc(input: Tensor) -> Tensor:
    """1 - erf(input), exact where that is small.

    Dtype: integers become the default float. Raises: NotImplementedError for complex numbers.
    """
    refuse(input, "c", "erfc_vml_cpu")
    return apply(Erfc, input)


@public(out=True, namespaces=("special",))
def erfcx(input: Tensor) -> Tensor:
    """exp(input ** 2) * erfc(input), which neither overflows nor vanishes for large elements.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    refuse_halves(input, "erfcx_cpu")
    return apply(Erfcx, input)


@public(method=True, inplace=True, out=True, namespaces=("torch", "special"))
def erfinv(input: Tensor) -> Tensor:
    """The y with erf(y) = input: infinite at 1 and -1, nan outside.

    Dtype: integers become the default float. Raises: NotImplementedError for complex numbers.
    """
    refuse(input, "c", "erfinv_vml_cpu")
    return apply(Erfinv, input)


# ---------------------------------------------------------------- the normal distribution


@op
class Ndtr(Elementwise):
    """The normal distribution function."""

    node_name = "MulBackward1"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.ndtr(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * (m.exp(input * input * -0.5) * (1 / _SQRT_2_PI))


@op
class LogNdtr(Elementwise):
    """Logarithm of the normal distribution function."""

    name = "log_ndtr"
    node_name = "SpecialLogNdtrBackward0"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.log_ndtr(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        # The density over the distribution; both vanish for input far below zero.
        return grad * (2 / _SQRT_2_PI) / m.erfcx(input * -_SQRT_HALF)


@op
class Ndtri(Elementwise):
    """The inverse of the normal distribution function."""

    node_name = "SpecialNdtriBackward0"
    floating = True
    saves = ("out",)

    def formula(self, m: Any, input: Any) -> Any:
        return m.ndtri(input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * (m.exp(out * out * 0.5) * _SQRT_2_PI)


@public(out=True, namespaces=("special",))
def ndtr(input: Tensor) -> Tensor:
    """The share of a standard normal variable that lies below each element.

    Dtype: integers become the default float. Raises: NotImplementedError for complex numbers.
    """
    refuse(input, "c", "erf_vml_cpu")
    return apply(Ndtr, input)


@public(out=True, namespaces=("special",))
def log_ndtr(input: Tensor) -> Tensor:
    """log(ndtr(input)), finite where ndtr itself vanishes.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    refuse_halves(input, "log_ndtr_cpu")
    return apply(LogNdtr, input)


@public(out=True, namespaces=("special",))
def ndtri(input: Tensor) -> Tensor:
    """The x with ndtr(x) = input: minus infinity at 0, infinity at 1, nan outside.

    Dtype: integers become the default float. Raises: NotImplementedError for half and complex.
    """
    refuse_halves(input, "ndtri_cpu")
    return apply(Ndtri, input)


# ---------------------------------------------------------------- logarithms


@op
class Entr(Elementwise):
    """-input * log(input)."""

    node_name = "SpecialEntrBackward0"
    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        x = widened(input)
        made = m.where(x > 0, -x * m.log(x), m.where(x == 0, 0.0, -np.inf))
        return narrowed(m.where(m.isnan(x), np.nan, made), input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        return grad * (-m.log(input) - 1)


@op
class Xlogy(Elementwise):
    """input * log(other), and 0 where input is 0."""

    floating = True
    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return _product_with_logarithm(m.log, input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        void = m.logical_and(m.equal(input, 0), m.less_equal(other, 0))
        return m.where(void, 0, m.call(Xlogy, grad, other)), grad * input / other


@op
class Xlog1py(Elementwise):
    """input * log(1 + other), and 0 where input is 0."""

    node_name = "SpecialXlog1PyBackward0"
    floating = True
    saves = ("input", "other")

    def formula(self, m: Any, input: Any, other: Any) -> Any:
        return _product_with_logarithm(m.log1p, input, other)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, other: Any) -> Any:
        void = m.logical_and(m.equal(input, 0), m.less_equal(other, -1))
        return m.where(void, 0, grad * m.log1p(other)), grad * input / (other + 1)


def _product_with_logarithm(log: Any, input: Any, other: Any) -> np.ndarray:
    """input * log(other) on arrays, 0 where input is 0 and nan where other is nan."""
    own = next(x.dtype for x in (input, other) if isinstance(x, np.ndarray))
    x, y = (widened(np.asarray(v, own)) for v in (input, other))
    made = x * log(y)
    made = np.where((x == 0) & ~np.isnan(y), made.dtype.type(0), made)
    return made if made.dtype == own else made.astype(own)


@op
class Logit(Elementwise):
    """log(input / (1 - input)), of the input clamped to [eps, 1 - eps] if there is an eps."""

    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any, *, eps: float | None = None) -> Any:
        x = widened(input)
        if eps is not None:
            x = m.clip(x, x.dtype.type(eps), x.dtype.type(1) - x.dtype.type(eps))
        return narrowed(m.log(x / (1 - x)), input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, eps: float | None = None) -> Any:
        slope = grad / (input * (1 - input))
        low = 0.0 if eps is None else eps
        outside = m.logical_or(m.less(input, low), m.greater(input, 1 - low))
        return m.where(outside, np.nan if eps is None else 0.0, slope)


def check_numbers(name: str, kernel: str, input: Any, other: Any) -> None:
    """The operands of a function of two elements, of which one may be a number."""
    tensors = [x for x in (input, other) if isinstance(x, Tensor)]
    if not tensors:
        expected = "(Tensor input, Tensor other), (Number self, Tensor other)"
        raise invalid_combination(name, input, other, expected=expected)
    for x in tensors:
        refuse(x, "c", kernel)


@public(out=True, namespaces=("special",))
def entr(input: Tensor) -> Tensor:
    """-input * log(input): 0 at 0, and minus infinity below.

    Dtype: integers become the default float. Raises: NotImplementedError for complex numbers.
    """
    refuse(input, "c", "entr_cpu")
    return apply(Entr, input)


@public(method=True, inplace=True, out=True, namespaces=("torch", "special"))
def xlogy(input: Any, other: Any) -> Tensor:
    """input * log(other), and 0 where input is 0, unless other is nan.

    Dtype: integers become the default float.
    Raises: NotImplementedError for complex numbers, TypeError if both are numbers.
    """
    check_numbers("xlogy", "xlogy_cpu", input, other)
    return apply(Xlogy, input, other)


@public(out=True, namespaces=("special",))
def xlog1py(input: Any, other: Any) -> Tensor:
    """input * log(1 + other), and 0 where input is 0, unless other is nan.

    Dtype: integers become the default float.
    Raises: NotImplementedError for complex numbers, TypeError if both are numbers.
    """
    check_numbers("special_xlog1py", "xlog1py_cpu", input, other)
    return apply(Xlog1py, input, other)


@public(method=True, inplace=True, out=True, namespaces=("torch", "special"))
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(input / (1 - input)), the inverse of sigmoid; with `eps` the input is clamped first.

    Dtype: integers become the default float. Raises: NotImplementedError for complex numbers.
    Edges: without eps nan outside of [0, 1]; with it no gradient outside of [eps, 1 - eps].
    """
    require_tensor("logit", "input", 1, input)
    refuse(input, "c", "logit_cpu")
    return apply(Logit, input, eps=None if eps is None else float(eps))


# ---------------------------------------------------------------- sinc


@op
class Sinc(Elementwise):
    """sin(pi input) / (pi input), and 1 at 0."""

    floating = True
    saves = ("input",)

    def formula(self, m: Any, input: Any) -> Any:
        x = widened(input)
        angle = x * dtypes.of(x.dtype).numpy.type(np.pi)
        zero = angle == 0
        return narrowed(m.where(zero, 1, m.sin(angle) / m.where(zero, 1, angle)), input)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any) -> Any:
        angle = input * float(np.pi)
        square = angle * input
        zero = m.equal(square, 0)
        slope = (angle * m.cos(angle) - m.sin(angle)) / m.where(zero, 1, square)
        return m.where(zero, 0, grad * conj_of(m, slope))


@public(method=True, inplace=True, out=True, namespaces=("torch", "special"))
def sinc(input: Tensor) -> Tensor:
    """sin(pi * input) / (pi * input), and 1 at 0. Dtype: integers become the default float."""
    return apply(Sinc, input)
