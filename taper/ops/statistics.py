"""Statistics: variance, deviation, covariance, norms, sums that skip nan or work on logarithms.

Medians and quantiles are in order_statistics.py, histograms in histogram.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Reduction, op, public
from taper.ops.arguments import FLOATING, is_complex, narrowed, require_tensor, widened
from taper.ops.arithmetic import conj_of
from taper.ops.choose import where
from taper.ops.compare import isnan
from taper.ops.convert import cast
from taper.ops.reduce import count_of, restore_dims, sum, wide
from taper.shapes import canonical_dim, canonical_dims
from taper.tensor import Tensor

# ---------------------------------------------------------------- variance


def _moments(m: Any, input: Any, axis: tuple[int, ...], keepdims: bool, correction: Any) -> Any:
    """(variance, mean) in the accumulation dtype."""
    x = widened(input)
    count = count_of(input.shape, axis)
    mean = m.sum(x, axis=axis, keepdims=True) / x.real.dtype.type(count)
    squared = m.spread(x, mean, axis, keepdims)
    variance = squared / squared.dtype.type(max(count - correction, 0))
    return variance, mean if keepdims else mean.reshape(variance.shape)


def _real_like(input: Any) -> Any:
    return input.real if input.dtype.kind == "c" else input


def _variance_vjp(
    m: Any, grad: Any, input: Any, axis: tuple[int, ...], keepdims: bool, correction: Any
) -> Any:
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

    def forward(
        self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool, correction: Any
    ) -> Any:
        variance = _moments(m, input, axis, keepdims, correction)[0]
        return narrowed(variance, _real_like(input))

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        *,
        axis: tuple[int, ...],
        keepdims: bool,
        correction: Any,
    ) -> Any:
        return _variance_vjp(m, grad, input, axis, keepdims, correction)


@op
class Std(Reduction):
    """Square root of the variance over `axis`."""

    saves = ("input", "out")

    def forward(
        self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool, correction: Any
    ) -> Any:
        variance = _moments(m, input, axis, keepdims, correction)[0]
        return narrowed(np.sqrt(variance), _real_like(input))

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        *,
        axis: tuple[int, ...],
        keepdims: bool,
        correction: Any,
    ) -> Any:
        return _deviation_vjp(m, grad, out, input, axis, keepdims, correction)


def _deviation_vjp(
    m: Any, grad: Any, out: Any, input: Any, axis: tuple[int, ...], keepdims: bool, correction: Any
) -> Any:
    grad = m.where(m.equal(out, 0), 0, grad / (out * 2))
    return _variance_vjp(m, grad, input, axis, keepdims, correction)


def _asked(
    input: Tensor, dim: Any, unbiased: Any, correction: Any, name: str
) -> tuple[tuple[int, ...], Any]:
    """(dimensions, correction) of the several ways to call var and std."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        correction = int(unbiased)
    if input._array.dtype.kind not in FLOATING:
        called = name if "_" in name else "std and var"
        raise DtypeError(f"{called} only support floating point and complex dtypes")
    axis = canonical_dims(dim, input._array.ndim, name)
    correction = 1 if correction is None else correction
    if count_of(input._array.shape, axis) - correction <= 0:
        import warnings

        warnings.warn(
            f"{name}(): degrees of freedom is <= 0. Correction should be strictly less "
            "than the reduction factor (input numel divided by output numel).",
            UserWarning,
            stacklevel=4,
        )
    return axis, correction


@public(method=True, out=True)
def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Tensor:
    """Variance of all elements, or over dimension(s) `dim`.

    The sum of squares is divided by count - correction; the correction is 1 unless given.
    Dtype: of a complex tensor it is real. Raises: RuntimeError for integers and bools.
    """
    axis, correction = _asked(input, dim, unbiased, correction, "var")
    return apply(Var, input, axis=axis, keepdims=keepdim, correction=correction)


@public(method=True, out=True)
def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> Tensor:
    """Standard deviation of all elements, or over dimension(s) `dim`; see var."""
    axis, correction = _asked(input, dim, unbiased, correction, "std")
    return apply(Std, input, axis=axis, keepdims=keepdim, correction=correction)


@op
class VarMean(Reduction):
    """Variance and mean over `axis`."""

    name = "var_mean"
    outputs = 2
    saves = ("input",)

    def forward(
        self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool, correction: Any
    ) -> Any:
        variance, mean = _moments(m, input, axis, keepdims, correction)
        return narrowed(variance, _real_like(input)), narrowed(mean, input)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        *,
        axis: tuple[int, ...],
        keepdims: bool,
        correction: Any,
    ) -> Any:
        made = None
        if grad[0] is not None:
            made = _variance_vjp(m, grad[0], input, axis, keepdims, correction)
        return _with_mean(m, made, grad[1], input, axis, keepdims)


def _with_mean(
    m: Any, made: Any, grad: Any, input: Any, axis: tuple[int, ...], keepdims: bool
) -> Any:
    """Adds the gradient that comes by way of the mean."""
    if grad is None:
        return made
    shape = tuple(input.shape)
    share = m.broadcast_to(restore_dims(m, grad, axis, keepdims) / count_of(shape, axis), shape)
    return share if made is None else made + share


@op
class StdMean(Reduction):
    """Standard deviation and mean over `axis`."""

    name = "std_mean"
    outputs = 2
    saves = ("input", "out")

    def forward(
        self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool, correction: Any
    ) -> Any:
        variance, mean = _moments(m, input, axis, keepdims, correction)
        return narrowed(np.sqrt(variance), _real_like(input)), narrowed(mean, input)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        *,
        axis: tuple[int, ...],
        keepdims: bool,
        correction: Any,
    ) -> Any:
        made = None
        if grad[0] is not None:
            made = _deviation_vjp(m, grad[0], out[0], input, axis, keepdims, correction)
        return _with_mean(m, made, grad[1], input, axis, keepdims)


@public(out=True)
def var_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> tuple[Tensor, Tensor]:
    """(variance, mean) of all elements, or over dimension(s) `dim`; see var."""
    axis, correction = _asked(input, dim, unbiased, correction, "var_mean")
    return apply(VarMean, input, axis=axis, keepdims=keepdim, correction=correction)


@public(out=True)
def std_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Any = None,
) -> tuple[Tensor, Tensor]:
    """(standard deviation, mean) of all elements, or over dimension(s) `dim`; see var."""
    axis, correction = _asked(input, dim, unbiased, correction, "std_mean")
    return apply(StdMean, input, axis=axis, keepdims=keepdim, correction=correction)


@public(method=True)
def cov(
    input: Tensor,
    *,
    correction: int = 1,
    fweights: Tensor | None = None,
    aweights: Tensor | None = None,
) -> Tensor:
    """Covariances of variables (rows) over observations (columns).

    Shape: (variables, observations) to (variables, variables); one variable gives a 0-d tensor.
    `fweights` says how often each observation occurred, `aweights` how much it counts.
    Raises: RuntimeError if there are over two dimensions or the weights do not fit.
    """
    if input._array.ndim > 2:
        raise ShapeError(
            "cov(): expected input to have two or fewer dimensions but got an input "
            f"with {input._array.ndim} dimensions"
        )
    if input._array.dtype.kind == "b":
        raise DtypeError("cov(): bool dtype is not supported for input")
    x = input if input._array.ndim == 2 else input.reshape(1, -1)
    observations = x._array.shape[1]
    weights = _weights(observations, fweights, aweights)
    if weights is None:
        total: Any = observations
        free: Any = observations - correction
        mean = x.sum(1) / total if observations else x.sum(1) * math.nan
    else:
        total = weights.sum()
        if observations and float(total) == 0:
            raise RuntimeError("cov(): weights sum to zero, can't be normalized")
        mean = (x * weights).sum(1) / total
        free = total - correction
        if aweights is not None and correction:
            free = total - correction * (weights * aweights).sum() / total
    if float(free) <= 0:
        import warnings

        warnings.warn(
            "cov(): degrees of freedom is <= 0. Correction should be strictly less than "
            "the number of observations.",
            UserWarning,
            stacklevel=3,
        )
        free = free * 0
    gap = x - mean.unsqueeze(1)
    weighted = gap if weights is None else gap * weights
    return (gap @ weighted.t().conj() / free).squeeze()


def _weights(observations: int, fweights: Tensor | None, aweights: Tensor | None) -> Any:
    """The product of the weights that are given, checked."""
    for name, given, kinds, kind in (
        ("fweights", fweights, "iu", "integral"),
        ("aweights", aweights, "fV", "floating point"),
    ):
        if given is None:
            continue
        array = given._array
        if array.ndim > 1:
            raise ShapeError(
                f"cov(): expected {name} to have one or fewer dimensions but got "
                f"{name} with {array.ndim} dimensions"
            )
        if array.dtype.kind not in kinds:
            raise DtypeError(
                f"cov(): expected {name} to have {kind} dtype but got {name} with "
                f"{dtypes.cpp_name(given.dtype)} dtype"
            )
        if array.size != observations:
            raise ShapeError(
                f"cov(): expected {name} to have the same numel as there are "
                f"observations in the input but got {array.size} != {observations}"
            )
        if array.size and array.min() < 0:
            raise RuntimeError(f"cov(): {name} cannot be negative")
    if fweights is None or aweights is None:
        return aweights if fweights is None else fweights
    return fweights * aweights


@public(method=True)
def corrcoef(input: Tensor) -> Tensor:
    """Correlation coefficients of variables (rows) over observations (columns), in [-1, 1]."""
    if input._array.ndim > 2:
        raise ShapeError(
            "corrcoef(): expected input to have two or fewer dimensions but got an "
            f"input with {input._array.ndim} dimensions"
        )
    made = cov(input)
    if made._array.ndim == 0:
        return made / made
    spread = made.diagonal().real if is_complex(made) else made.diagonal()
    spread = spread.sqrt()
    made = made / spread.unsqueeze(1) / spread
    if is_complex(made):
        from taper.ops.complex_parts import JoinComplex

        return apply(
            JoinComplex,
            made.real.clamp(-1, 1),
            made.imag.clamp(-1, 1),
        )
    return made.clamp(-1, 1)


# ---------------------------------------------------------------- norms


@op
class VectorNorm(Reduction):
    """(sum |input| ** ord) ** (1 / ord) over `axis`; also for ord 0, inf and -inf."""

    name = "norm"
    node_name = "LinalgVectorNormBackward0"
    saves = ("input", "out")

    def forward(
        self, m: Any, input: Any, *, ord: float, axis: tuple[int, ...], keepdims: bool
    ) -> Any:
        x = widened(input)
        how = {"axis": axis, "keepdims": keepdims}
        if ord == 2 and x.dtype.kind != "c":
            made = m.sqrt(m.squares(x, **how))
        else:
            size = m.absolute(x)
            if ord == 0:
                made = (size != 0).sum(**how).astype(size.dtype)
            elif ord == math.inf:
                made = m.max(size, **how) if size.size else size.sum(**how)
            elif ord == -math.inf:
                made = m.min(size, **how)
            elif ord == 1:
                made = m.sum(size, **how)
            elif ord == 2:
                made = m.sqrt(m.squares(size, **how))
            else:
                made = m.power(m.sum(m.power(size, ord), **how), 1 / ord)
        return narrowed(made, _real_like(input))

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        *,
        ord: float,
        axis: tuple[int, ...],
        keepdims: bool,
    ) -> Any:
        grad = restore_dims(m, grad, axis, keepdims)
        out = restore_dims(m, out, axis, keepdims)
        way = m.sgn(input) if not m.on_arrays else np.sign(input)
        if ord == 0:
            return None
        if ord == 1:
            return way * grad
        if ord == 2:
            return grad * m.where(m.equal(out, 0), 0, input / out)
        size = m.absolute(input)
        if ord in (math.inf, -math.inf):
            hit = m.equal(size, out)
            count = m.astype(m.sum(hit, axis, keepdims=True), grad.dtype)
            return way * m.where(hit, grad / count, 0)
        if ord < 1:
            share = m.where(m.equal(size, 0), 0, m.power(size, ord - 1))
            return way * share * grad * m.power(out, 1 - ord)
        if ord < 2:
            return (
                m.where(m.equal(out, 0), 0, grad / m.power(out, ord - 1))
                * way
                * m.power(size, ord - 1)
            )
        share = m.where(m.equal(out, 0), 0, grad / m.power(out, ord - 1))
        return input * m.power(size, ord - 2) * share


def vector_norm(
    input: Tensor,
    ord: Any = 2,
    dim: Any = None,
    keepdim: bool = False,
    dtype: dtypes.dtype | None = None,
    name: str = "linalg.vector_norm",
) -> Tensor:
    """The norm of the elements over dimension(s) `dim`."""
    if dtype is not None and input._array.dtype.kind in FLOATING:
        input = cast(input, dtype)
    if input._array.dtype.kind not in FLOATING:
        raise DtypeError(
            f"{name}: Expected a floating point or complex tensor as input. Got "
            f"{dtypes.cpp_name(input.dtype)}"
        )
    axis = canonical_dims(dim, input._array.ndim, name)
    if ord == math.inf or ord < 0:
        _check_extreme_norm(input._array.shape, float(ord), axis)
    return apply(VectorNorm, input, ord=float(ord), axis=axis, keepdims=keepdim)


def _check_extreme_norm(shape: tuple[int, ...], ord: float, axis: tuple[int, ...]) -> None:
    """Raises: RuntimeError if there is nothing to take the largest or smallest of."""
    empty = [a for a in axis if shape[a] == 0]
    if empty:
        whole = len(axis) == len(shape) and len(shape) > 1
        where = "an empty tensor" if whole else f"the dimension {empty[0]}"
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {ord:g} norm on {where}"
            f"{' ' if whole else 'because this dimension is empty and '}"
            f"{'because ' if whole else ''}the operation does not have an identity"
        )


@public(method=True, out=True)
def norm(
    input: Tensor,
    p: Any = "fro",
    dim: Any = None,
    keepdim: bool = False,
    dtype: dtypes.dtype | None = None,
) -> Tensor:
    """The p-norm of all elements, or over dimension(s) `dim`; "fro" is 2, "nuc" the nuclear norm.

    Dtype: of a complex tensor it is real. Raises: RuntimeError for integers.
    """
    if p == "nuc":
        from taper.linalg import matrix_norm

        return matrix_norm(
            input, "nuc", dim=(-2, -1) if dim is None else dim, keepdim=keepdim, dtype=dtype
        )
    return vector_norm(input, 2.0 if p is None or p == "fro" else p, dim, keepdim, dtype)


@public(method=True, out=True)
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of input - other."""
    require_tensor("dist", "other", 2, other)
    gap = input - other
    if gap._array.dtype.kind in "iub":
        raise DtypeError(
            "norm(): input dtype should be either floating point or complex. Got "
            f"{dtypes.cpp_name(gap.dtype)} instead."
        )
    return vector_norm(gap, p)


@public(method=True, inplace=True, out=True)
def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """The tensor with each slice of dimension `dim` scaled down to p-norm `maxnorm` if above."""
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if isinstance(p, complex):
        raise RuntimeError("renorm: p must be real-valued")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    ndim = input._array.ndim
    if ndim < 2:
        raise ShapeError(f"renorm: input needs at least 2 dimensions, got {ndim} dimensions")
    axis = canonical_dim(dim, ndim)
    others = tuple(d for d in range(ndim) if d != axis)
    size = vector_norm(input, p, others, keepdim=True)
    scale = (size + 1e-7).reciprocal() * maxnorm
    return input * where(size.gt(maxnorm), scale, 1.0).to(input.dtype)


# ---------------------------------------------------------------- other sums


@op
class Logsumexp(Reduction):
    """log(sum(exp(input))) over `axis`."""

    saves = ("input", "out")

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        x = widened(input)
        high = x.real.max(axis=axis, keepdims=True, initial=-np.inf)
        # An infinite maximum cannot be pulled out: inf - inf is nan.
        high = np.where(np.isfinite(high), high, 0).astype(high.dtype)
        made = np.log(np.exp(x - high).sum(axis=axis, keepdims=True)) + high
        return narrowed(made if keepdims else made.squeeze(axis), input)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool
    ) -> Any:
        grad = restore_dims(m, grad, axis, keepdims)
        out = restore_dims(m, out, axis, keepdims)
        return grad * conj_of(m, m.exp(input - out))


@public(method=True, out=True, namespaces=("torch", "special"))
def logsumexp(input: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))) over dimension(s) `dim`, without overflow.

    Dtype: integers become the default float.
    """
    if input._array.dtype.kind in "iub":
        input = cast(input, dtypes.get_default_dtype())
    axis = canonical_dims(dim, input._array.ndim)
    return apply(Logsumexp, input, axis=axis, keepdims=keepdim)


@op
class Nansum(Reduction):
    """Sum over `axis` of what is not nan."""

    saves = ("input",)

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        kept = np.where(np.isnan(input), input.dtype.type(0), input)
        dtype = wide(input.dtype) or input.dtype
        return narrowed(kept.sum(axis=axis, keepdims=keepdims, dtype=dtype), input)

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, axis: tuple[int, ...], keepdims: bool
    ) -> Any:
        return m.where(m.isnan(input), 0, restore_dims(m, grad, axis, keepdims))


@public(method=True, out=True)
def nansum(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None
) -> Tensor:
    """Sum of all elements that are not nan, or over dimension(s) `dim`."""
    if is_complex(input):
        raise RuntimeError("nansum on CPU does not support complex inputs")
    if dtype is not None and dtype.is_complex:
        raise RuntimeError("nansum on CPU does not support complex inputs")
    if input._array.dtype.kind in "iub":
        return sum(input, dim, keepdim, dtype=dtype)
    if dtype is not None:
        input = cast(input, dtype)
    return apply(Nansum, input, axis=canonical_dims(dim, input._array.ndim), keepdims=keepdim)


@public(method=True, out=True)
def nanmean(
    input: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: dtypes.dtype | None = None
) -> Tensor:
    """Mean of all elements that are not nan, or over dimension(s) `dim`."""
    if input._array.dtype.kind not in FLOATING:
        raise DtypeError(
            "nanmean(): expected input to have floating point or complex dtype but "
            f"got {dtypes.cpp_name(input.dtype)}"
        )
    count = isnan(input).logical_not().sum(dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / count


@op
class CountNonzero(Reduction):
    """Number of nonzero elements over `axis`."""

    name = "count_nonzero"

    def forward(self, m: Any, input: Any, *, axis: tuple[int, ...]) -> Any:
        return np.count_nonzero(input, axis=axis)


@public(method=True)
def count_nonzero(input: Tensor, dim: Any = None) -> Tensor:
    """Number of nonzero elements, or along dimension(s) `dim`. Dtype: int64."""
    return apply(CountNonzero, input, axis=canonical_dims(dim, input._array.ndim))
