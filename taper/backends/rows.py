"""Functions along rows, as numpy computes them: softmax, cross entropy, layer norm.

Arrays are of float32, float64 or wider; the half types are widened by their ops. An op calls these
through `m`; backends with kernels have their own of the same names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray

# Up to this many classes it is quicker to transpose the scores than to reduce each short row:
# 2 us against 7 us for (64, 10), 50 us against 400 us for (4096, 10) (numpy 2.4, 2 cores).
_FEW = 32
# Rows shorter than this are summed by a product with ones: numpy's sum costs more per row.
_SHORT = 1024


def softmax(x: Array, axis: int) -> Array:
    """exp(x), divided by its sum along the axis, in a new array."""
    if not x.size:
        return x.copy()
    # The largest exponent is 0: no overflow. A row of only minus infinity gives nan.
    out = x - np.maximum.reduce(x, axis, keepdims=True)
    np.exp(out, out)
    out /= np.add.reduce(out, axis, keepdims=True)
    return out


def log_softmax(x: Array, axis: int) -> Array:
    """The logarithm of softmax, without underflow, in a new array."""
    if not x.size:
        return x.copy()
    out = x - np.maximum.reduce(x, axis, keepdims=True)
    out -= np.log(np.add.reduce(np.exp(out), axis, keepdims=True))
    return out


def softmax_grad(grad: Array, out: Array, axis: int) -> Array:
    """out * (grad - sum(grad * out))."""
    made = grad * out
    made -= out * np.add.reduce(made, axis, keepdims=True)
    return made


def log_softmax_grad(grad: Array, out: Array, axis: int) -> Array:
    """grad - exp(out) * sum(grad)."""
    made = np.exp(out)
    made *= np.add.reduce(grad, axis, keepdims=True)
    return np.subtract(grad, made, out=made)


def softmax_loss(x: Array, classes: Array) -> tuple[Array, Array]:
    """Of a matrix the softmax of its rows, and minus its logarithm at each row's class."""
    count, width = x.shape
    if not width:
        top: Any = x.dtype.type(0)
    elif width <= _FEW:
        top = np.maximum.reduce(np.ascontiguousarray(x.T))[:, None]
    else:
        top = np.maximum.reduce(x, 1, keepdims=True)
    shifted = np.subtract(x, top, order="C")
    picked = shifted.reshape(-1)[np.arange(0, count * width, width) + classes] if width else top
    made = np.exp(shifted, out=shifted)
    # A product sums short rows several times faster than a reduction.
    total = made @ np.ones((width, 1), x.dtype)
    made /= total
    return made, np.log(total).reshape(-1) - picked


def softmax_loss_grad(softmax: Array, classes: Array, share: Array) -> Array:
    """softmax * share less the share at each row's class; the share is 0-d, or one a row."""
    made = np.multiply(softmax, share[:, None] if share.ndim else share, order="C")
    count, width = made.shape
    made.reshape(-1)[np.arange(0, count * width, width) + classes] -= share
    return made


def row_sums(x: Array) -> Array:
    """Sum over the last dimension of a contiguous array of rows."""
    if x.shape[-1] < _SHORT:
        return x.dot(np.ones(x.shape[-1], x.dtype))
    return np.add.reduce(x, axis=-1)


def column_sums(x: Array) -> Array:
    """Sum over the rows of a matrix. The product takes a third of the time of numpy's sum."""
    return np.ones(x.shape[0], x.dtype).dot(x)


def normalize_rows(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array | None]:
    """Rows of a matrix with mean 0 and variance 1, times the weight, plus the bias.

    Gives the result, mean and 1 / deviation of every row, and what else its derivative can use: the
    normalized rows, because broadcasting mean and scale over short rows again costs more than the
    rest of it.
    """
    size = x.shape[1]
    mean = row_sums(x)
    mean /= size
    normal = x - mean[:, None]
    variance = np.vecdot(normal, normal)
    variance /= size
    variance += eps
    scale = 1 / np.sqrt(variance)
    normal *= scale[:, None]
    if weight is not None:
        out = normal * weight
        if bias is not None:
            out += bias
    else:
        out = normal.copy() if bias is None else normal + bias
    return out, mean, scale, normal


def normalize_rows_grad(
    grad: Array, x: Array, weight: Array | None, mean: Array, scale: Array, normal: Array | None,
    needs: tuple[bool, bool, bool],
) -> tuple[Array | None, Array | None, Array | None]:  # fmt: skip
    """The gradients of x, weight and bias, where they are needed."""
    if normal is None:
        normal = (x - mean[:, None]) * scale[:, None]
    size = normal.shape[1]
    products = grad * normal
    to_weight = column_sums(products) if needs[1] else None
    to_bias = column_sums(grad) if needs[2] else None
    if not needs[0]:
        return None, to_weight, to_bias
    # scale * (g * weight - its mean - normal * mean of g * weight * normal)
    if weight is None:
        to_input, share = grad.copy(), np.full(size, 1 / size, grad.dtype)
    else:
        to_input = grad * weight
        share = weight / size
    along = products.dot(share)[:, None]
    to_input -= grad.dot(share)[:, None]
    to_input -= np.multiply(normal, along, out=products)
    to_input *= scale[:, None]
    return to_input, to_weight, to_bias
