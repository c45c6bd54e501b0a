"""Functions along rows by the kernels of rows.py: softmax, cross entropy, layer norm.

They take float32 and float64, in rows without gaps; what is laid out otherwise, other dimensions than
the last, empty arrays and a few elements go to the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import rows as plain
from taper.backends.llvm import direct_rows
from taper.backends.llvm.functions.fold import column_sums
from taper.backends.llvm.functions.pointwise import Kernel, kernel_of, threads
from taper.backends.llvm.layer_norm import LayerNorm, LayerNormGrad
from taper.backends.llvm.rows import CHUNK_ROWS, MOST_KNOWN
from taper.backends.llvm.softmax import CrossEntropy, CrossEntropyGrad, Softmax, SoftmaxGrad

Array = np.ndarray

# Elements from which there are kernels: a built-in calls them sooner than numpy finds its own.
LEAST = 2

_ELEMENTS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
_INDEX = np.dtype(np.int64)
_kernels: dict[Any, Kernel] = {}
_empty = np.empty


def _kernel(spec: type, dtype: np.dtype, *fields: Any) -> Kernel:
    key = (spec, dtype, *fields)
    found = _kernels.get(key)
    if found is None:
        made = spec(_ELEMENTS[dtype], *fields)
        found = _kernels[key] = kernel_of(made)
        direct_rows.learn(made)
    return found


def _known(columns: int) -> tuple[int, tuple[int, ...]]:
    """The columns as a kernel is specified by them, and as it is called with them."""
    return (columns, ()) if columns <= MOST_KNOWN else (0, (columns,))


def _fits(*arrays: Array) -> bool:
    """Whether these are non-empty arrays without gaps, of one dtype that has kernels."""
    first = arrays[0]
    dtype = first.dtype
    if first.size < LEAST or dtype not in _ELEMENTS:
        return False
    for x in arrays:  # noqa: SIM110 - a generator costs more than the rest of this
        if x.dtype is not dtype or not x.flags.c_contiguous:
            return False
    return True


# ---------------------------------------------------------------- softmax and cross entropy


def _softmax(x: Array, axis: int, logarithm: bool) -> Array | None:
    if not _fits(x) or (axis != x.ndim - 1 and axis != -1):
        return None
    columns, given = _known(x.shape[-1])
    out = _empty(x.shape, x.dtype)
    size = x.size
    kernel = _kernel(Softmax, x.dtype, columns, logarithm)
    kernel(threads(size), x, out, *given, size // x.shape[-1])
    return out


def _softmax_grad(grad: Array, out: Array, axis: int, logarithm: bool) -> Array | None:
    if not _fits(out, grad) or grad.shape != out.shape or (axis != out.ndim - 1 and axis != -1):
        return None
    columns, given = _known(out.shape[-1])
    made = _empty(out.shape, out.dtype)
    size = out.size
    kernel = _kernel(SoftmaxGrad, out.dtype, columns, logarithm)
    kernel(threads(size), grad, out, made, *given, size // out.shape[-1])
    return made


_quick_softmax, _quick_log_softmax, _quick_softmax_grad, _quick_log_softmax_grad = [
    direct_rows.built_in(name, f"{spec} {logarithm}")
    for name, spec in (("along", "Softmax"), ("along_both", "SoftmaxGrad"))
    for logarithm in (False, True)
]


def directly(name: str) -> Callable[..., Array | None]:
    """The built-in softmax(x, axis) or log_softmax(x, axis) of small arrays; None of others."""
    return _quick_softmax if name == "softmax" else _quick_log_softmax


def softmax(x: Array, axis: int) -> Array:
    """exp(x), divided by its sum along the axis."""
    made = _quick_softmax(x, axis)
    if made is None:
        made = _softmax(x, axis, False)
    return plain.softmax(x, axis) if made is None else made


def log_softmax(x: Array, axis: int) -> Array:
    """The logarithm of softmax."""
    made = _quick_log_softmax(x, axis)
    if made is None:
        made = _softmax(x, axis, True)
    return plain.log_softmax(x, axis) if made is None else made


def softmax_grad(grad: Array, out: Array, axis: int) -> Array:
    """out * (grad - sum(grad * out))."""
    made = _quick_softmax_grad(grad, out, axis)
    if made is None:
        made = _softmax_grad(grad, out, axis, False)
    return plain.softmax_grad(grad, out, axis) if made is None else made


def log_softmax_grad(grad: Array, out: Array, axis: int) -> Array:
    """grad - exp(out) * sum(grad)."""
    made = _quick_log_softmax_grad(grad, out, axis)
    if made is None:
        made = _softmax_grad(grad, out, axis, True)
    return plain.log_softmax_grad(grad, out, axis) if made is None else made


def softmax_loss(x: Array, classes: Array) -> tuple[Array, Array]:
    """Of a matrix the softmax of its rows, and minus its logarithm at each row's class."""
    if not _fits(x) or classes.dtype is not _INDEX or not classes.flags.c_contiguous:
        return plain.softmax_loss(x, classes)
    rows, width = x.shape
    columns, given = _known(width)
    made, loss = _empty(x.shape, x.dtype), _empty(rows, x.dtype)
    kernel = _kernel(CrossEntropy, x.dtype, columns)
    kernel(threads(x.size), x, classes, made, loss, *given, rows)
    return made, loss


def softmax_loss_grad(softmax: Array, classes: Array, share: Array) -> Array:
    """softmax * share less the share at each row's class; the share is 0-d, or one a row."""
    if (
        not _fits(softmax, share)
        or classes.dtype is not _INDEX
        or not classes.flags.c_contiguous
    ):  # fmt: skip
        return plain.softmax_loss_grad(softmax, classes, share)
    rows, width = softmax.shape
    columns, given = _known(width)
    made = _empty(softmax.shape, softmax.dtype)
    kernel = _kernel(CrossEntropyGrad, softmax.dtype, columns, share.ndim == 1)
    kernel(threads(softmax.size), softmax, classes, share, made, *given, rows)
    return made


# ---------------------------------------------------------------- layer norm


def normalize_rows(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array | None]:
    """Rows of a matrix with mean 0 and variance 1, times the weight, plus the bias.

    Gives the result, mean and 1 / deviation of every row, and None: the derivative reads x again.
    """
    parameters = tuple([p for p in (weight, bias) if p is not None])
    if not _fits(x, *parameters):
        return plain.normalize_rows(x, weight, bias, eps)
    rows, width = x.shape
    dtype = x.dtype
    columns, given = _known(width)
    out, mean, scale = _empty(x.shape, dtype), _empty(rows, dtype), _empty(rows, dtype)
    kernel = _kernel(LayerNorm, dtype, columns, weight is not None, bias is not None)
    kernel(threads(x.size), x, *parameters, out, mean, scale, float(eps), *given, rows)
    return out, mean, scale, None


def normalize_rows_grad(
    grad: Array, x: Array, weight: Array | None, mean: Array, scale: Array, normal: Array | None,
    needs: tuple[bool, bool, bool],
) -> tuple[Array | None, Array | None, Array | None]:  # fmt: skip
    """The gradients of x, weight and bias, where they are needed."""
    parameters = () if weight is None else (weight,)
    if normal is not None or not _fits(x, grad, mean, scale, *parameters) or not needs[0]:
        return plain.normalize_rows_grad(grad, x, weight, mean, scale, normal, needs)
    rows, width = x.shape
    dtype = x.dtype
    columns, given = _known(width)
    chunks = -(-rows // CHUNK_ROWS)
    dx = _empty(x.shape, dtype)
    summed = needs[1] or needs[2]
    sums: tuple[Array, ...] = (_empty((chunks, 2, width), dtype),) if summed else ()
    kernel = _kernel(LayerNormGrad, dtype, columns, weight is not None, summed)
    kernel(threads(x.size), x, grad, *parameters, mean, scale, dx, *sums, *given, rows, chunks)
    if not summed:
        return dx, None, None
    both = sums[0][0] if chunks == 1 else column_sums(sums[0].reshape(chunks, -1)).reshape(2, -1)
    return dx, both[0] if needs[1] else None, both[1] if needs[2] else None
