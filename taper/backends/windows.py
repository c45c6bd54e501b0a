"""Sliding windows over arrays: what convolution, pooling and unfolding have in common.

Everything here works on numpy arrays whose last dimensions are spatial. A window's positions are
never copied out one by one: `windows` shows all of them as one strided view.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Sizes = tuple[int, ...]


def widened(x: np.ndarray) -> np.ndarray:
    """The array in the dtype sums are accumulated in: float32 for the two 16-bit floats."""
    kind = x.dtype.kind
    if kind == "V" or (kind == "f" and x.dtype.itemsize == 2):
        return x.astype(np.float32)
    return x


def padded(x: np.ndarray, before: Sizes, after: Sizes, value: Any = 0) -> np.ndarray:
    """The array with `value` around its last len(before) dimensions, contiguous."""
    if not any(before) and not any(after):
        return np.ascontiguousarray(x)
    lead = x.ndim - len(before)
    sizes = x.shape[lead:]
    shape = x.shape[:lead] + tuple(b + n + a for b, n, a in zip(before, sizes, after, strict=True))
    out = np.zeros(shape, x.dtype) if value == 0 else np.full(shape, value, x.dtype)
    inner: Any = (..., *(slice(b, b + n) for b, n in zip(before, sizes, strict=True)))
    out[inner] = x
    return out


def windows(x: np.ndarray, kernel: Sizes, stride: Sizes, dilation: Sizes, out: Sizes) -> np.ndarray:
    """View of a contiguous array with dimensions (leading, kernel, out): every window at once."""
    lead = x.ndim - len(kernel)
    steps = x.strides
    spatial = steps[lead:]
    # The constructor makes the view ten times faster than as_strided, and checks its bounds.
    return np.ndarray(
        x.shape[:lead] + kernel + out,
        x.dtype,
        x,
        0,
        steps[:lead]
        + tuple(s * d for s, d in zip(spatial, dilation, strict=True))
        + tuple(s * d for s, d in zip(spatial, stride, strict=True)),
    )


def tap(position: int, dilation: int, stride: int, out: int) -> slice:
    """The inputs that kernel position `position` meets, one per output."""
    start = position * dilation
    return slice(start, start + stride * (out - 1) + 1, stride)


def along(axis: int, part: slice) -> tuple[Any, ...]:
    """Index that takes `part` of dimension `axis`, a negative number."""
    return (..., part, *(slice(None),) * (-axis - 1))
