"""Statistics: variance, deviation, norms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DtypeError
from taper.op import Reduction, op, public
from taper.ops.convert import cast
from taper.ops.arguments import is_complex, narrowed, widened
from taper.ops.reduce import count_of, restore_dims
from taper.shapes import canonical_dims
from taper.tensor import Tensor

# ---------------------------------------------------------------- variance


def _moments(input: Any, axis: tuple[int, ...], keepdims: bool, correction: Any) -> Any:
    """(variance, mean) in the accumulation dtype."""
    x = widened(input)
    count = count_of(input.shape, axis)
    mean = x.sum(axis=axis, keepdims=True) / x.real.dtype.type(count)
    gap = x - mean
    square = gap.real * gap.real + gap.imag * gap.imag if gap.dtype.kind == "c" else gap * gap
    free = square.dtype.type(max(count - correction, 0))
    variance = square.sum(axis=axis, keepdims=keepdims) / free
    return variance, mean if keepdims else mean.reshape(variance.shape)


def _real_like(input: Any) -> Any:
    return input.real if input.dtype.kind == "c" else input


def _variance_vjp(m: Any, grad: Any, input: Any, axis: tuple[int, ...], keepdims: bool,
                  correction: Any) -> Any:
    free = count_of(tuple(input.shape), axis) - correction
    grad = restore_dims(m, grad, axis, keepdims)
    gap = input - m.astype(m.mean(input, axis, keepdims=True), input.dtype)
    if free <= 0:
        return grad * m.where(m.equal(gap, 0), math.nan, math.inf)
    return m.astype(grad * (2.0 / free), gap.dtype) * gap


@op
class Var(Reduction):
    """Variance over `axis`, divided by count - correction."""

    saves = ("input",)

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool,
                correction: Any) -> Any:
        variance = _moments(input, axis, keepdims, correction)[0]
        return narrowed(variance, _real_like(input))

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: tuple[int, ...],
            keepdims: bool, correction: Any) -> Any:
        return _variance_vjp(m, grad, input, axis, keepdims, correction)


@op
class Std(Reduction):
    """Square root of the variance over `axis`."""

    saves = ("input", "out")

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool,
                correction: Any) -> Any:
        variance = _moments(input, axis, keepdims, correction)[0]
        return narrowed(np.sqrt(variance), _real_like(input))

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: tuple[int, ...],
            keepdims: bool, correction: Any) -> Any:
        grad = m.where(m.equal(out, 0), 0, grad / (out * 2))
        return _variance_vjp(m, grad, input, axis, keepdims, correction)


def _asked(input: Tensor, dim: Any, unbiased: Any, correction: Any,
           name: str) -> tuple[tuple[int, ...], Any]:
    """(dimensions, correction) of the several ways to call var and std."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = int(unbiased)
    if input._array.dtype.kind not in "fcV":
        raise DtypeError(f"{name} only support floating point and complex dtypes")
    axis = canonical_dims(dim, input._array.ndim, name)
    correction = 1 if correction is None else correction
    if count_of(input._array.shape, axis) - correction <= 0:
        import warnings

        warnings.warn(f"{name}(): degrees of freedom is <= 0. Correction should be strictly less "
                      "than the reduction factor (input numel divided by output numel).",
                      UserWarning, stacklevel=4)
    return axis, correction


@public(method=True, out=True)
def var(input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: Any = None) -> Tensor:
    """Variance of all elements, or over dimension(s) `dim`.

    The sum of squares is divided by count - correction; the correction is 1 unless given.
    Dtype: of a complex tensor it is real. Raises: RuntimeError for integers and bools.
    """
    axis, correction = _asked(input, dim, unbiased, correction, "var")
    return apply(Var, input, axis=axis, keepdims=keepdim, correction=correction)


@public(method=True, out=True)
def std(input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: Any = None) -> Tensor:
    """Standard deviation of all elements, or over dimension(s) `dim`; see var."""
    axis, correction = _asked(input, dim, unbiased, correction, "std")
    return apply(Std, input, axis=axis, keepdims=keepdim, correction=correction)


# ---------------------------------------------------------------- norms


@op
class VectorNorm(Reduction):
    """(sum |input| ** ord) ** (1 / ord) over `axis`; also for ord 0, inf and -inf."""

    name = "norm"
    node_name = "LinalgVectorNormBackward0"
    saves = ("input", "out")

    def forward(self, m: Any, input: Any, *, ord: float, axis: tuple[int, ...],
                keepdims: bool) -> Any:
        x = widened(input)
        how = {"axis": axis, "keepdims": keepdims}
        if ord == 2 and x.dtype.kind != "c":
            made = m.sqrt((x * x).sum(**how))
        else:
            size = m.absolute(x)
            if ord == 0:
                made = (size != 0).sum(**how).astype(size.dtype)
            elif ord == math.inf:
                made = size.max(**how) if size.size else size.sum(**how)
            elif ord == -math.inf:
                made = size.min(**how)
            elif ord == 1:
                made = size.sum(**how)
            elif ord == 2:
                made = m.sqrt((size * size).sum(**how))
            else:
                made = m.power(m.power(size, ord).sum(**how), 1 / ord)
        return narrowed(made, _real_like(input))

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, ord: float, axis: tuple[int, ...],
            keepdims: bool) -> Any:
        grad = restore_dims(m, grad, axis, keepdims)
        out = restore_dims(m, out, axis, keepdims)
        way = m.sgn(input) if not m.on_arrays else np.sign(input)
        if ord == 0:
            return m.zeros_like(input)
        if ord == 1:
            return way * grad
        if ord == 2:
            return m.where(m.equal(out, 0), 0, grad / out) * input
        size = m.absolute(input)
        if ord in (math.inf, -math.inf):
            hit = m.equal(size, out)
            count = m.astype(m.sum(hit, axis, keepdims=True), grad.dtype)
            return way * m.where(hit, grad / count, 0)
        if ord < 1:
            share = m.where(m.equal(size, 0), 0, m.power(size, ord - 1))
            return way * share * grad * m.power(out, 1 - ord)
        if ord < 2:
            return m.where(m.equal(out, 0), 0, grad / m.power(out, ord - 1)) * way \
                * m.power(size, ord - 1)
        share = m.where(m.equal(out, 0), 0, grad / m.power(out, ord - 1))
        return input * m.power(size, ord - 2) * share


def vector_norm(input: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False,
                dtype: dtypes.dtype | None = None, name: str = "linalg.vector_norm") -> Tensor:
    """The norm of the elements over dimension(s) `dim`."""
    if dtype is not None:
        input = cast(input, dtype)
    if not (input.is_floating_point() or is_complex(input)):
        raise DtypeError(f"{name}: Expected a floating point or complex tensor as input. Got "
                         f"{dtypes.cpp_name(input.dtype)}")
    axis = canonical_dims(dim, input._array.ndim, name)
    return apply(VectorNorm, input, ord=float(ord), axis=axis, keepdims=keepdim)  # type: ignore[no-any-return]


@public(method=True, out=True)
def norm(input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False,
         dtype: dtypes.dtype | None = None) -> Tensor:
    """The p-norm of all elements, or over dimension(s) `dim`; "fro" is 2, "nuc" the nuclear norm.

    Dtype: of a complex tensor it is real. Raises: RuntimeError for integers.
    """
    if p == "nuc":
        from taper.linalg import matrix_norm

        return matrix_norm(input, "nuc", dim=(-2, -1) if dim is None else dim, keepdim=keepdim,
                           dtype=dtype)
    return vector_norm(input, 2.0 if p is None or p == "fro" else p, dim, keepdim, dtype)
