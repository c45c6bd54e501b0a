"""Batch norm's functions of channels, as numpy computes them: sums over every dimension but the second.

Arrays are of float32, float64 or wider; the half types are widened by their ops. An op calls these
through `m`; backends with kernels have their own of the same names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.backends.rows import column_sums, row_sums

Array = np.ndarray


def _pixels(x: Array) -> Array:
    """The array as a matrix with a column per channel; a view if it is channels last."""
    return x if x.ndim == 2 else np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])


def channel_sums(x: Array) -> Array:
    """Sum over every dimension but the second."""
    if x.ndim > 2 and x.flags.c_contiguous:
        return np.add.reduce(row_sums(x.reshape(*x.shape[:2], -1)), axis=0)
    return column_sums(_pixels(x))


def _channel_dots(x: Array, y: Array) -> Array:
    """Sum of x * y over every dimension but the second."""
    if x.ndim > 2 and x.flags.c_contiguous and y.flags.c_contiguous:
        shape = (*x.shape[:2], -1)
        return np.add.reduce(np.vecdot(x.reshape(shape), y.reshape(shape)), axis=0)
    return np.einsum("pc,pc->c", _pixels(x), _pixels(y))


def _beside(x: Array, like: Array) -> Array:
    """A value per channel, shaped to broadcast against the input."""
    return x if like.ndim == 2 else x.reshape(-1, *(1,) * (like.ndim - 2))


def scale_channels(x: Array, weight: Any, bias: Any, mean: Array, scale: Array) -> Array:
    """(x - mean) * scale * weight + bias, with a value of each per channel."""
    if weight is not None:
        scale = scale * weight
    shift = mean * scale
    shift = np.negative(shift, out=shift) if bias is None else bias - shift
    out: Array = x * _beside(scale, x)
    out += _beside(shift, x)
    return out


def normalize_channels(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Channels with mean 0 and variance 1, times the weight, plus the bias.

    Gives the result, and mean, 1 / deviation and variance of every channel.
    """
    count = x.size // x.shape[1]
    mean = channel_sums(x) / count
    centred = x - _beside(mean, x)
    variance = _channel_dots(centred, centred) / count
    scale = 1 / np.sqrt(variance + eps)
    return scale_channels(x, weight, bias, mean, scale), mean, scale, variance


def normalize_channels_grad(
    grad: Array, x: Array, weight: Array | None, mean: Array, scale: Array,
    needs: tuple[bool, bool, bool],
) -> tuple[Array | None, Array | None, Array | None]:  # fmt: skip
    """The gradients of x, weight and bias, where they are needed."""
    total = channel_sums(grad) if needs[0] or needs[2] else None
    centred = x - _beside(mean, x)
    dots = _channel_dots(grad, centred)
    to_weight = dots * scale if needs[1] else None
    to_bias = total if needs[2] else None
    if not needs[0]:
        return None, to_weight, to_bias
    count = x.size // x.shape[1]
    factor = scale if weight is None else scale * weight
    # factor * (grad - total / count - centred * dots * scale^2 / count), in as few passes.
    to_input: Array = grad * _beside(factor, x)
    centred *= _beside(factor * scale * scale * dots / -count, x)
    to_input += centred
    to_input -= _beside(factor * total / count, x)
    return to_input, to_weight, to_bias
