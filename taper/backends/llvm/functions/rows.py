"""Functions along rows by the kernels of rows.py: softmax, cross entropy, layer norm, sums.

They take float32 and float64, in rows without gaps; what is laid out otherwise, other dimensions than
the last (for sums: than the first or last ones), empty arrays and a few elements go to the reference.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.backends import reference
from taper.backends import rows as plain
from taper.backends.llvm.functions.pointwise import Kernel, kernel_of, threads
from taper.backends.llvm.layer_norm import LayerNorm, LayerNormGrad
from taper.backends.llvm.rows import CHUNK, CHUNK_ROWS, MOST_KNOWN
from taper.backends.llvm.softmax import CrossEntropy, CrossEntropyGrad, Softmax, SoftmaxGrad
from taper.backends.llvm.sums import ColumnSums, Maxima, RowSums, Sums

Array = np.ndarray

# Elements from which a kernel beats numpy: a call of it costs as much as two of numpy's.
LEAST = 32
# Of a matrix whose columns are added up, which is a single call of numpy.
LEAST_COLUMNS = 512

_ELEMENTS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
_INDEX = np.dtype(np.int64)
_kernels: dict[Any, Kernel] = {}
_empty = np.empty


def _kernel(spec: type, dtype: np.dtype, *fields: Any) -> Kernel:
    key = (spec, dtype, *fields)
    found = _kernels.get(key)
    if found is None:
        found = _kernels[key] = kernel_of(spec(_ELEMENTS[dtype], *fields))
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


def softmax(x: Array, axis: int) -> Array:
    """exp(x), divided by its sum along the axis."""
    made = _softmax(x, axis, False)
    return plain.softmax(x, axis) if made is None else made


def log_softmax(x: Array, axis: int) -> Array:
    """The logarithm of softmax."""
    made = _softmax(x, axis, True)
    return plain.log_softmax(x, axis) if made is None else made


def softmax_grad(grad: Array, out: Array, axis: int) -> Array:
    """out * (grad - sum(grad * out))."""
    made = _softmax_grad(grad, out, axis, False)
    return plain.softmax_grad(grad, out, axis) if made is None else made


def log_softmax_grad(grad: Array, out: Array, axis: int) -> Array:
    """grad - exp(out) * sum(grad)."""
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


# ---------------------------------------------------------------- sums and maxima


def _sum_all(x: Array) -> Array:
    size, dtype = x.size, x.dtype
    chunks = -(-size // CHUNK)
    if chunks == 1:
        out = _empty((), dtype)
        kernel = _kernel(Sums, dtype, _ELEMENTS[dtype])
        kernel(0, x, out, size, size, 1.0, 1)
        return out
    parts = _empty(chunks, np.float64)
    _kernel(Sums, dtype, "double")(threads(size), x, parts, CHUNK, size, 1.0, chunks)
    return np.asarray(np.add.reduce(parts).astype(dtype))


def row_sums(x: Array) -> Array:
    """Sum over the last dimension of a contiguous array of rows."""
    if not _fits(x):
        return plain.row_sums(x)
    width, dtype = x.shape[-1], x.dtype
    out = _empty(x.shape[:-1], dtype)
    if width <= MOST_KNOWN:
        _kernel(RowSums, dtype, width)(threads(x.size), x, out, x.size // width)
        return out
    kernel = _kernel(Sums, dtype, _ELEMENTS[dtype])
    kernel(threads(x.size), x, out, width, x.size, 1.0, x.size // width)
    return out


def column_sums(x: Array) -> Array:
    """Sum over the rows of a matrix."""
    if not _fits(x):
        return plain.column_sums(x)
    rows, columns = x.shape
    # Chunks depend on the shape alone, so that the number of threads changes no bit.
    chunk = (1 << 18) // columns
    if chunk < 256:
        chunk = 256
    chunks = -(-rows // chunk)
    dtype = x.dtype
    if chunks == 1:
        out = _empty(columns, dtype)
        _kernel(ColumnSums, dtype, _ELEMENTS[dtype])(0, x, out, rows, columns, chunk, 1)
        return out
    parts = _empty((chunks, columns), np.float64)
    _kernel(ColumnSums, dtype, "double")(threads(x.size), x, parts, rows, columns, chunk, chunks)
    total: Array = np.add.reduce(parts)
    return total.astype(dtype)


def sum(
    x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> Any:
    """numpy's sum: by kernels over everything, the last dimensions, or the first ones."""
    if type(x) is not np.ndarray or out is not None or x.size < LEAST:
        return np.sum(x, axis, dtype, out, keepdims)
    if (dtype is not None and dtype is not x.dtype) or not _fits(x):
        return np.sum(x, axis, dtype, out, keepdims)
    ndim = x.ndim
    given = axis if type(axis) is tuple else range(ndim) if axis is None else (axis,)
    axes = sorted([a + ndim if a < 0 else a for a in given])
    count = len(axes)
    if count == 0 or axes[-1] >= ndim or axes[-1] - axes[0] != count - 1:
        return np.sum(x, axis, dtype, out, keepdims)
    shape = x.shape
    if count == ndim:
        made = _sum_all(x)
        return made.reshape((1,) * ndim) if keepdims else made
    if axes[-1] == ndim - 1:
        made = row_sums(x if count == 1 else x.reshape(*shape[: ndim - count], -1))
        return made.reshape(shape[: ndim - count] + (1,) * count) if keepdims else made
    if axes[0] == 0:
        rest = shape[count:]
        made = column_sums(x if ndim == 2 else x.reshape(math.prod(shape[:count]), -1))
        if keepdims:
            return made.reshape((1,) * count + rest)
        return made if ndim == 2 else made.reshape(rest)
    return np.sum(x, axis, dtype, out, keepdims)


def sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """The adjoint of broadcasting `shape` to x's shape."""
    extra = x.ndim - len(shape)
    if extra > 0 and x.size >= LEAST_COLUMNS and x.shape[extra:] == shape and _fits(x):
        if not shape:
            return _sum_all(x)
        if x.ndim == 2:
            return column_sums(x)
        return column_sums(x.reshape(math.prod(x.shape[:extra]), -1)).reshape(shape)
    made: Array = reference.math.sum_to(x, shape)
    return made


def max(x: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    """numpy's max: of short rows by a kernel."""
    if type(x) is np.ndarray and out is None and axis is not None and x.ndim and _fits(x):
        axes = (axis,) if type(axis) is int else axis
        if len(axes) == 1 and axes[0] in (-1, x.ndim - 1):
            width = x.shape[-1]
            columns, given = _known(width)
            made = _empty(x.shape[:-1], x.dtype)
            kernel = _kernel(Maxima, x.dtype, columns)
            kernel(threads(x.size), x, made, *given, x.size // width)
            return made[..., None] if keepdims else made
    return np.max(x, axis, out, keepdims)
