"""Pooling on arrays over windows that are not all alike: adaptive and fractional."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.backends.pooling import pick
from taper.backends.windows import Sizes, along, widened

Bounds = tuple[tuple[int, int], ...]


def uneven(size: int, parts: int) -> Bounds:
    """`parts` windows that cover `size` elements as evenly as can be; neighbours may overlap."""
    return tuple((i * size // parts, -(-(i + 1) * size // parts)) for i in range(parts))


def uneven_mean(x: np.ndarray, out: Sizes) -> np.ndarray:
    """Mean of every window of `uneven`, in the last len(out) dimensions."""
    mean = widened(x)
    for axis in range(-1, -len(out) - 1, -1):
        rows = [
            mean[along(axis, slice(a, b))].mean(axis=axis, keepdims=True)
            for a, b in uneven(x.shape[axis], out[axis])
        ]
        mean = np.concatenate(rows, axis) if rows else mean[along(axis, slice(0, 0))]
    return mean.astype(x.dtype, copy=False)


def uneven_mean_grad(grad: np.ndarray, size: Sizes) -> np.ndarray:
    """Adjoint of `uneven_mean`, for an input whose last dimensions are `size`."""
    spread = widened(grad)
    for axis in range(-len(size), 0):
        shape = list(spread.shape)
        shape[axis] = size[axis]
        wider = np.zeros(shape, spread.dtype)
        for i, (a, b) in enumerate(uneven(size[axis], spread.shape[axis])):
            wider[along(axis, slice(a, b))] += spread[along(axis, slice(i, i + 1))] / (b - a)
        spread = wider
    return spread.astype(grad.dtype, copy=False)


def _last_nan_or_argmax(x: np.ndarray, axis: int) -> np.ndarray:
    """Position of the first maximum along `axis`, or of the last nan if there is any."""
    found = x.argmax(axis=axis, keepdims=True)
    if x.dtype.kind in "fV":
        unordered = np.isnan(x)
        if unordered.any():
            last = x.shape[axis] - 1 - np.flip(unordered, axis).argmax(axis=axis, keepdims=True)
            found = np.where(unordered.any(axis=axis, keepdims=True), last, found)
    return found


def uneven_max_index(x: np.ndarray, out: Sizes) -> np.ndarray:
    """Position of the maximum of every window of `uneven` in the flattened last dimensions."""
    best, index, inner = x, None, 1
    for axis in range(-1, -len(out) - 1, -1):
        rows = [
            _last_nan_or_argmax(best[along(axis, slice(a, b))], axis) + a
            for a, b in uneven(x.shape[axis], out[axis])
        ]
        here = (
            np.concatenate(rows, axis)
            if rows
            else np.empty(best[along(axis, slice(0, 0))].shape, np.int64)
        )
        best = np.take_along_axis(best, here, x.ndim + axis)
        share = here * inner
        index = share if index is None else share + np.take_along_axis(index, here, x.ndim + axis)
        inner *= x.shape[axis]
    return index.astype(np.int64, copy=False)  # type: ignore[union-attr]


def fractional_index(x: np.ndarray, samples: np.ndarray, kernel: Sizes, out: Sizes) -> np.ndarray:
    """Positions of the maxima of pseudo-random windows, (batch, channels, *out).

    x: (batch, channels, *size); samples: (batch, channels, rank), uniform in [0, 1).
    """
    rank = len(kernel)
    size = x.shape[2:]
    # For a plane, PyTorch uses the first sample for its width; for a volume, for its depth.
    order = range(rank) if rank == 3 else range(rank - 1, -1, -1)
    flat: Any = 0
    for axis, column in enumerate(order):
        starts = _fractional_starts(samples[..., column], size[axis], kernel[axis], out[axis])
        reach = (starts[..., None] + np.arange(kernel[axis])) * math.prod(size[axis + 1 :])
        shape = [*x.shape[:2]] + [1] * (2 * rank)
        shape[2 + axis], shape[2 + rank + axis] = out[axis], kernel[axis]
        flat = flat + reach.reshape(shape)
    flat = flat.reshape(*x.shape[:2], *out, math.prod(kernel))
    values = pick(x, flat, rank)
    return np.take_along_axis(flat, _last_nan_or_argmax(values, -1), -1)[..., 0]


def _fractional_starts(sample: np.ndarray, size: int, kernel: int, out: int) -> np.ndarray:
    """Where the windows of one dimension begin, (*sample.shape, out)."""
    starts = np.full((*sample.shape, out), size - kernel, np.int64)
    if out > 1:
        u = sample[..., None]
        step = sample.dtype.type((size - kernel) / (out - 1))
        inner = ((np.arange(out - 1, dtype=sample.dtype) + u) * step).astype(np.int64)
        starts[..., :-1] = inner - (u * step).astype(np.int64)
    return starts


def rows_of(index: np.ndarray, rank: int, plane: int) -> np.ndarray:
    """The positions as ones into the whole flattened array of planes of `plane` elements."""
    lead = math.prod(index.shape[: index.ndim - rank])
    places = index.reshape(lead, math.prod(index.shape[index.ndim - rank :]))
    return (places + np.arange(lead)[:, None] * plane).reshape(-1)
