"""Running sums, products and extremes along a dimension.

Differences and integrals, their discrete counterparts, are in differences.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes, return_types
from taper.dispatch import apply
from taper.op import Opaque, op, public
from taper.ops.arguments import is_complex, narrowed, refuse, widened
from taper.ops.arithmetic import conj_of
from taper.ops.convert import cast
from taper.shapes import canonical_dim
from taper.tensor import Tensor

# ---------------------------------------------------------------- sums and products


@op
class Cumsum(Opaque):
    """Running sum along `axis`, from the end if `reverse`."""

    plain = True

    def forward(self, m: Any, input: Any, *, axis: int, reverse: bool) -> Any:
        return m.running_sum(input, axis, reverse) if input.ndim else input.copy()

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: int, reverse: bool) -> Any:
        return m.call(Cumsum, grad, axis=axis, reverse=not reverse)


@op
class Cumprod(Opaque):
    """Running product along `axis`."""

    plain = True
    saves = ("input", "out")

    def forward(self, m: Any, input: Any, *, axis: int) -> Any:
        return m.running_product(input, axis) if input.ndim else input.copy()

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: int) -> Any:
        if not len(input.shape):
            return grad
        if not bool(m.any(m.equal(input, 0))):
            total = m.call(Cumsum, grad * conj_of(m, out), axis=axis, reverse=True)
            return total / conj_of(m, input)
        # With a zero, no product of the others can be had by division: one row for each element
        # left out, of which only the products that come after the element count.
        x = m.moveaxis(input, axis, -1)
        count = x.shape[-1]
        own = m.asarray(np.eye(count, dtype=bool))
        after = m.asarray(np.tri(count, dtype=bool).T)
        rows = m.where(own, m.ones_like(x[..., None, :]), m.expand_dims(x, -2))
        others = m.call(Cumprod, rows, axis=len(rows.shape) - 1)
        share = m.expand_dims(m.moveaxis(grad, axis, -1), -2) * conj_of(m, others)
        return m.moveaxis(m.sum(m.where(after, share, 0), axis=(len(rows.shape) - 1,)), -1, axis)


def _summable(input: Tensor, dtype: dtypes.dtype | None) -> Tensor:
    """In `dtype`; without one, integers and bools as int64."""
    if dtype is not None:
        return cast(input, dtype)
    return cast(input, dtypes.int64) if input._array.dtype.kind in "iub" else input


@public(method=True, inplace=True, out=True)
def cumsum(input: Tensor, dim: int, *, dtype: dtypes.dtype | None = None) -> Tensor:
    """Running sum along `dim`.

    Dtype: integers and bools are summed as int64 unless `dtype` says otherwise.
    """
    axis = canonical_dim(dim, input._array.ndim)
    return apply(Cumsum, _summable(input, dtype), axis=axis, reverse=False)


@public(method=True, inplace=True, out=True)
def cumprod(input: Tensor, dim: int, *, dtype: dtypes.dtype | None = None) -> Tensor:
    """Running product along `dim`.

    Dtype: integers and bools are multiplied as int64 unless `dtype` says otherwise.
    """
    axis = canonical_dim(dim, input._array.ndim)
    return apply(Cumprod, _summable(input, dtype), axis=axis)


@op
class Logcumsumexp(Opaque):
    """Logarithm of the running sum of exponentials along `axis`, from the end if `reverse`."""

    saves = ("input", "out")

    def forward(self, m: Any, input: Any, *, axis: int, reverse: bool) -> Any:
        if not input.ndim or not input.size:
            return input.copy()
        x = np.flip(input, axis) if reverse else input
        if x.dtype.kind == "c":
            made = _complex_running(np.moveaxis(x, axis, 0))
            made = np.moveaxis(made, 0, axis)
        else:
            made = narrowed(np.logaddexp.accumulate(widened(x), axis), x)
        return np.flip(made, axis) if reverse else made

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: int, reverse: bool) -> Any:
        def spread(logarithm: Any) -> Any:
            total = m.call(
                Logcumsumexp, logarithm - conj_of(m, out), axis=axis, reverse=not reverse
            )
            return m.exp(total + conj_of(m, input))

        if is_complex(grad):
            return spread(m.log(grad))
        # The gradient's two signs apart, each by its logarithm: nothing overflows. In place of
        # log(0) stands a number that is finite, so that the second derivative has no inf - inf.
        floor = -3e4 if grad.dtype.itemsize == 2 else -1e30
        up, down = m.greater(grad, 0), m.less(grad, 0)
        rising = m.where(up, m.log(m.where(up, grad, 1)), floor)
        falling = m.where(down, m.log(m.where(down, -grad, 1)), floor)
        return m.astype(spread(rising) - spread(falling), grad.dtype)


def _complex_running(x: np.ndarray) -> np.ndarray:
    """The running log-sum-exp of complex numbers along the first axis."""
    from taper.ops.combine import complex_logaddexp

    made = np.empty_like(x)
    made[0] = x[0]
    for i in range(1, len(x)):
        made[i] = complex_logaddexp(made[i - 1], x[i])
    return made


@public(method=True, out=True)
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log(cumsum(exp(input))) along `dim`, without overflow. Raises: RuntimeError for integers."""
    axis = canonical_dim(dim, input._array.ndim)
    refuse(input, "iub", "logcumsumexp_out_cpu")
    return apply(Logcumsumexp, input, axis=axis, reverse=False)


# ---------------------------------------------------------------- extremes


class _Running(Opaque):
    """The extreme so far along `axis` and its place; the last of equal ones."""

    plain = True
    outputs = 2
    saved_from = 1
    differentiable = (True, False)
    saves = ("input.shape", "out")
    largest = True

    def forward(self, m: Any, input: Any, *, axis: int) -> Any:
        if not input.ndim:
            return input.copy(), np.zeros((), np.int64)
        return m.running_extreme(input, axis, self.largest)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: int) -> Any:
        from taper.ops.scatter import ScatterAdd

        return m.call(ScatterAdd, m.zeros(input, grad[0].dtype), grad[0], out[0], axis=axis)


@op
class Cummax(_Running):
    """The largest so far along `axis`, and where."""


@op
class Cummin(_Running):
    """The smallest so far along `axis`, and where."""

    largest = False


@public(method=True, out=True)
def cummax(input: Tensor, dim: int) -> Any:
    """(values, indices) of the largest element so far along `dim`; nan counts as largest.

    The index is that of the last of equal elements. Raises: RuntimeError for complex numbers.
    """
    axis = canonical_dim(dim, input._array.ndim)
    refuse(input, "c", "cummax_cpu")
    return return_types.cummax(apply(Cummax, input, axis=axis))


@public(method=True, out=True)
def cummin(input: Tensor, dim: int) -> Any:
    """(values, indices) of the smallest element so far along `dim`; nan counts as smallest.

    The index is that of the last of equal elements. Raises: RuntimeError for complex numbers.
    """
    axis = canonical_dim(dim, input._array.ndim)
    refuse(input, "c", "cummin_cpu")
    return return_types.cummin(apply(Cummin, input, axis=axis))
