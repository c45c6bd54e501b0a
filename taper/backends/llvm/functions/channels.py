"""Functions of channels by the kernels of batch_norm.py: batch norm and its derivatives.

They take float32 and float64 without gaps, with some pixels in a channel; the rest is the reference's.
"""

from __future__ import annotations

import numpy as np

from taper.backends import channels as plain
from taper.backends.llvm.batch_norm import BatchNorm, BatchNormGrad
from taper.backends.llvm.functions.pointwise import threads
from taper.backends.llvm.functions.rows import _fits, _kernel

Array = np.ndarray

# Pixels of a channel from which a vector of them is worth its masks.
LEAST_PIXELS = 4

_empty = np.empty


def _sizes(x: Array) -> tuple[int, int, int]:
    """Images, channels and pixels."""
    images, channels = x.shape[:2]
    return images, channels, x.size // max(1, images * channels)


def normalize_channels(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Channels with mean 0 and variance 1, times the weight, plus the bias.

    Gives the result, and mean, 1 / deviation and variance of every channel.
    """
    parameters = tuple([p for p in (weight, bias) if p is not None])
    images, channels, pixels = _sizes(x)
    if pixels < LEAST_PIXELS or not _fits(x, *parameters):
        return plain.normalize_channels(x, weight, bias, eps)
    dtype = x.dtype
    out = _empty(x.shape, dtype)
    mean, scale, variance = (_empty(channels, dtype) for _ in range(3))
    kernel = _kernel(BatchNorm, dtype, weight is not None, bias is not None)
    sizes = images, channels, pixels, channels
    kernel(threads(x.size), x, *parameters, out, mean, scale, variance, float(eps), *sizes)
    return out, mean, scale, variance


def normalize_channels_grad(
    grad: Array, x: Array, weight: Array | None, mean: Array, scale: Array,
    needs: tuple[bool, bool, bool],
) -> tuple[Array | None, Array | None, Array | None]:  # fmt: skip
    """The gradients of x, weight and bias, where they are needed."""
    parameters = () if weight is None else (weight,)
    images, channels, pixels = _sizes(x)
    if not needs[0] or pixels < LEAST_PIXELS or not _fits(x, grad, mean, scale, *parameters):
        return plain.normalize_channels_grad(grad, x, weight, mean, scale, needs)
    dtype = x.dtype
    dx, to_weight, to_bias = (
        _empty(x.shape, dtype),
        _empty(channels, dtype),
        _empty(channels, dtype),
    )
    kernel = _kernel(BatchNormGrad, dtype, weight is not None)
    given = grad, x, *parameters, mean, scale, dx, to_weight, to_bias
    kernel(threads(x.size), *given, images, channels, pixels, channels)
    return dx, to_weight if needs[1] else None, to_bias if needs[2] else None
