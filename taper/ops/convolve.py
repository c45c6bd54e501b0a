"""Convolution on arrays: the three trilinear maps behind the ops of conv.py.

`convolve` is a matrix product of the weight with the columns of the input, one column per output
position; `scatter` is its adjoint in the input, `weight_grad` the one in the weight. Columns are
made for a few images at a time, so that they stay in the cache.

With stride 1 there is a shorter way to the columns. Lay the padded images one after another in one
long row per channel; then each kernel position sees the same row, shifted. Columns are whole rows
copied at once instead of many short pieces. The price is that products are computed at the end of
each image's rows, too, where a window does not fit, and thrown away (`_is_flat` weighs that).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from taper.ops.window import Sizes, padded, tap, widened, windows

# Bytes of columns made at a time. Smaller blocks pay for more calls, larger ones leave the cache
# (LeNet's second layer, batch 256, 1 MiB of L2: 3.3 ms here, 3.8 ms at four times the size).
_BLOCK = 400_000
# The scattering of a transposed convolution makes one call per kernel position and block, and
# gains more from fewer calls than from the cache.
_SCATTER_BLOCK = 2_500_000


def out_size(size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Sizes:
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )


def _columns(
    xp: np.ndarray, kernel: Sizes, stride: Sizes, dilation: Sizes, out: Sizes
) -> np.ndarray:
    """View (channels, *kernel, batch, *out) of a padded input."""
    seen = windows(xp, kernel, stride, dilation, out)
    rank = len(kernel)
    return seen.transpose(*range(1, rank + 2), 0, *range(rank + 2, 2 * rank + 2))


# ---------------------------------------------------------------- stride 1, images in one row

# A row's wasted products may cost this much of the useful ones, or be this few (elements of all
# columns), because small problems are a matter of how many calls they take.
_WASTE = 1.3
_SMALL = 100_000


def _around(size: Sizes, padding: Sizes) -> Sizes:
    return tuple(n + 2 * p for n, p in zip(size, padding, strict=True))


def is_flat(
    x: np.ndarray, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> bool:
    """Whether shifted rows are the faster way to convolve x (batch, channels, *size)."""
    if any(s != 1 for s in stride) or 0 in x.shape:
        return False
    around = _around(x.shape[2:], padding)
    given = math.prod(around)
    columns = x.shape[0] * x.shape[1] * math.prod(kernel) * given
    if columns <= _SMALL:
        return True
    out = out_size(x.shape[2:], kernel, stride, padding, dilation)
    return given <= _WASTE * math.prod(out)


def _lay(x: np.ndarray, padding: Sizes, around: Sizes, tail: int) -> np.ndarray:
    """(channels, batch * around + tail): padded images one after another, then zeros."""
    batch, channels, *size = x.shape
    spread = batch * math.prod(around)
    if around == tuple(size):
        row = np.empty((channels, spread + tail), x.dtype)
        row[:, spread:] = 0
        row[:, :spread].reshape(channels, batch, *around)[...] = x.swapaxes(0, 1)
        return row
    row = np.zeros((channels, spread + tail), x.dtype)
    inner: Any = (..., *(slice(p, p + n) for p, n in zip(padding, size, strict=True)))
    row[:, :spread].reshape(channels, batch, *around)[inner] = x.swapaxes(0, 1)
    return row


def _steps(around: Sizes, dilation: Sizes) -> Sizes:
    """How far one kernel position is from the next in the row, per dimension."""
    return tuple(d * math.prod(around[i + 1 :]) for i, d in enumerate(dilation))


def _flat_columns(
    x: np.ndarray, kernel: Sizes, padding: Sizes, dilation: Sizes, around: Sizes
) -> np.ndarray:
    """(channels * kernel, batch * around): a column for every position of every padded image."""
    steps = _steps(around, dilation)
    reach = sum((k - 1) * s for k, s in zip(kernel, steps, strict=True))
    row = _lay(x, padding, around, reach)
    spread = row.shape[1] - reach
    if reach == 0:
        return row
    seen = np.ndarray(
        (len(row), *kernel, spread),
        row.dtype,
        row,
        0,
        (row.strides[0], *(s * row.itemsize for s in steps), row.itemsize),
    )
    return seen.reshape(-1, spread)


def _flat_block(channels: int, kernel: Sizes, around: Sizes, itemsize: int) -> int:
    return max(1, _BLOCK // (channels * math.prod(kernel) * math.prod(around) * itemsize))


def _times(matrix: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(groups, outputs, depth) times (groups * depth, n) as (groups * outputs, n)."""
    groups, outputs, depth = matrix.shape
    if groups == 1:
        return matrix[0].dot(columns)
    return np.matmul(matrix, columns.reshape(groups, depth, -1)).reshape(groups * outputs, -1)


def _flat_convolve(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
    size: Sizes,
    other: np.ndarray | None = None,
) -> tuple[np.ndarray, Any]:
    """`convolve` to (batch, outputs, *size) with stride 1.

    With `other`, (batch, channels of others, *size), also the sum over positions of other times
    column, (groups, others / groups, channels / groups * kernel).
    """
    batch, channels = x.shape[:2]
    outputs, kernel = w.shape[0], w.shape[2:]
    around = _around(x.shape[2:], padding)
    matrix = w.reshape(groups, outputs // groups, -1)
    y = np.empty((batch, outputs, *size), x.dtype)
    target = y.swapaxes(0, 1)
    crop: Any = (..., *(slice(0, n) for n in size))
    offset = None if bias is None else bias[:, None]
    block = _flat_block(channels, kernel, around, x.itemsize)
    total: Any = None
    for i in range(0, batch, block):
        part = x if block >= batch else x[i : i + block]
        columns = _flat_columns(part, kernel, padding, dilation, around)
        product = _times(matrix, columns)
        if offset is not None:
            np.add(product, offset, product)
        target[:, i : i + block][...] = product.reshape(outputs, len(part), *around)[crop]
        if other is not None:
            share = _flat_share(other[i : i + block], columns, around, groups)
            total = share if total is None else np.add(total, share, total)
    return y, total


def _flat_share(other: np.ndarray, columns: np.ndarray, around: Sizes, groups: int) -> np.ndarray:
    """Sum over positions of other times column."""
    row = _lay(other, (0,) * len(around), around, 0)
    if groups == 1:
        return row.dot(columns.T)[None]
    spread = row.shape[1]
    return np.matmul(
        row.reshape(groups, -1, spread), columns.reshape(groups, -1, spread).transpose(0, 2, 1)
    )


def _flat_weight_grad(
    x: np.ndarray, grad: np.ndarray, kernel: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> np.ndarray:
    around = _around(x.shape[2:], padding)
    block = _flat_block(x.shape[1], kernel, around, x.itemsize)
    total: Any = None
    for i in range(0, len(x), block):
        columns = _flat_columns(x[i : i + block], kernel, padding, dilation, around)
        share = _flat_share(grad[i : i + block], columns, around, groups)
        total = share if total is None else np.add(total, share, total)
    return total.reshape(grad.shape[1], x.shape[1] // groups, *kernel)


def _turned(w: np.ndarray, groups: int) -> np.ndarray:
    """The weight of the adjoint: inputs and outputs exchanged, the kernel reversed."""
    outputs, channels, *kernel = w.shape
    split = w.reshape(groups, outputs // groups, channels, *kernel).swapaxes(1, 2)
    reverse: Any = (..., *(slice(None, None, -1) for _ in kernel))
    return split[reverse].reshape(groups * channels, outputs // groups, *kernel)


def _opposite(kernel: Sizes, padding: Sizes, dilation: Sizes) -> Sizes:
    """The padding of the adjoint of a convolution with stride 1; negative where it would crop."""
    return tuple(d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True))


def adjoints(
    x: np.ndarray,
    w: np.ndarray,
    grad: np.ndarray,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Gradients of `convolve` in x and in w from the same columns, where that is fast, or None."""
    kernel = w.shape[2:]
    opposite = _opposite(kernel, padding, dilation)
    if min(opposite) < 0 or not is_flat(grad, kernel, stride, opposite, dilation, groups):
        return None
    dtype = x.dtype
    x, w, grad = widened(x), widened(w), widened(grad)
    to_x, shares = _flat_convolve(
        grad, _turned(w, groups), None, opposite, dilation, groups, x.shape[2:], x
    )
    # The share of (channel of x, output, position) belongs to the reversed position.
    channels, outputs = w.shape[1], w.shape[0] // groups
    to_w = shares.reshape(groups * channels, outputs, *kernel)
    return to_x.astype(dtype, copy=False), _turned(to_w, groups).astype(dtype, copy=False)


# ---------------------------------------------------------------- any stride


def convolve(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """Convolution of (batch, channels, *size) with (outputs, channels / groups, *kernel)."""
    dtype = x.dtype
    x, w = widened(x), widened(w)
    batch, kernel = x.shape[0], w.shape[2:]
    outputs = w.shape[0]
    size = out_size(x.shape[2:], kernel, stride, padding, dilation)
    positions = math.prod(size)
    y = np.empty((batch, outputs, *size), np.result_type(x, w))
    if y.size == 0:
        return y.astype(dtype, copy=False)
    if x.dtype == w.dtype and is_flat(x, kernel, stride, padding, dilation, groups):
        offset = None if bias is None else widened(bias)
        y, _ = _flat_convolve(x, w, offset, padding, dilation, groups, size)
        return y.astype(dtype, copy=False)
    xp = padded(x, padding, padding)
    matrix = w.reshape(groups, outputs // groups, -1)
    depth = matrix.shape[2]
    target = y.reshape(batch, groups, outputs // groups, positions)
    offset = None if bias is None else widened(bias).reshape(groups, outputs // groups, 1)
    if all(k == 1 for k in kernel) and all(s == 1 for s in stride):
        # A 1x1 kernel: the input is its own columns.
        np.matmul(matrix, xp.reshape(batch, groups, depth, positions), out=target)
        if offset is not None:
            target += offset
        return y.astype(dtype, copy=False)
    columns = _columns(xp, kernel, stride, dilation, size)
    target = target.transpose(1, 2, 0, 3)
    if offset is not None:
        offset = offset[..., None]
    before = (slice(None),) * (len(kernel) + 1)
    block = max(1, _BLOCK // max(1, groups * depth * positions * x.itemsize))
    for i in range(0, batch, block):
        part = columns if block >= batch else columns[(*before, slice(i, i + block))]
        images = min(block, batch - i)
        product = np.matmul(matrix, part.reshape(groups, depth, images * positions))
        product = product.reshape(groups, outputs // groups, images, positions)
        if offset is None:
            target[:, :, i : i + block] = product
        else:
            np.add(product, offset, out=target[:, :, i : i + block])
    return y.astype(dtype, copy=False)


def weight_grad(
    x: np.ndarray,
    grad: np.ndarray,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """Sum over images and positions of output gradient times column: shaped as the weight."""
    dtype = x.dtype
    x, grad = widened(x), widened(grad)
    batch, channels = x.shape[:2]
    outputs, size = grad.shape[1], grad.shape[2:]
    positions = math.prod(size)
    each = outputs // groups
    shape = (outputs, channels // groups, *kernel)
    if grad.size == 0 or x.size == 0:
        return np.zeros(shape, dtype)
    if is_flat(x, kernel, stride, padding, dilation, groups) and size == out_size(
        x.shape[2:], kernel, stride, padding, dilation
    ):
        made = _flat_weight_grad(x, grad, kernel, padding, dilation, groups)
        return made.astype(dtype, copy=False)
    columns = _columns(padded(x, padding, padding), kernel, stride, dilation, size)
    depth = math.prod(shape[1:])
    source = grad.reshape(batch, groups, each, positions).transpose(1, 2, 0, 3)
    before = (slice(None),) * (len(kernel) + 1)
    block = max(1, _BLOCK // max(1, groups * depth * positions * x.itemsize))
    total: Any = None
    for i in range(0, batch, block):
        part = columns if block >= batch else columns[(*before, slice(i, i + block))]
        spread = min(block, batch - i) * positions
        share = np.matmul(
            part.reshape(groups, depth, spread),
            source[:, :, i : i + block].reshape(groups, each, spread).transpose(0, 2, 1),
        )
        total = share if total is None else np.add(total, share, out=total)
    return np.ascontiguousarray(total.transpose(0, 2, 1)).reshape(shape).astype(dtype, copy=False)


def scatter(
    g: np.ndarray,
    w: np.ndarray,
    size: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """Adjoint of `convolve` in its input: (batch, channels, *size) from (batch, outputs, *out)."""
    dtype = g.dtype
    g, w = widened(g), widened(w)
    batch, outputs = g.shape[:2]
    kernel = w.shape[2:]
    channels = w.shape[1] * groups
    y = np.zeros((batch, channels, *size), np.result_type(g, w))
    if y.size == 0 or g.size == 0:
        return y.astype(dtype, copy=False)
    opposite = _opposite(kernel, padding, dilation)
    if (
        min(opposite) >= 0
        and is_flat(g, kernel, stride, opposite, dilation, groups)
        and size == out_size(g.shape[2:], kernel, stride, opposite, dilation)
    ):
        y, _ = _flat_convolve(g, _turned(w, groups), None, opposite, dilation, groups, size)
        return y.astype(dtype, copy=False)
    each = outputs // groups
    matrix = w.reshape(groups, each, -1).transpose(0, 2, 1)
    if all(k == 1 for k in kernel) and all(s == 1 for s in stride) and not any(padding):
        np.matmul(
            matrix,
            g.reshape(batch, groups, each, -1),
            out=y.reshape(batch, groups, channels // groups, -1),
        )
        return y.astype(dtype, copy=False)
    around = tuple(n + 2 * p for n, p in zip(size, padding, strict=True))
    flat = all(s == 1 for s in stride)
    if flat:
        # With stride 1 and the gradient's rows padded to the length of the input's, a kernel
        # position is a mere shift in the flattened image, and one long addition.
        tail = tuple(a - n for a, n in zip(around[1:], g.shape[3:], strict=True))
        g = padded(g, (0,) * len(tail), tail)
    spread = math.prod(g.shape[2:])
    source = g.reshape(batch, groups, each, spread).transpose(1, 2, 0, 3)
    depth = matrix.shape[1]
    block = min(batch, max(1, _SCATTER_BLOCK // max(1, groups * depth * spread * g.itemsize)))
    taps = (
        _flat_taps(kernel, dilation, around, spread)
        if flat
        else _taps(kernel, dilation, stride, g.shape[2:])
    )
    room = (max(math.prod(around), taps[-1][-1].stop),) if flat else around
    inner: Any = (..., *(slice(p, p + n) for p, n in zip(padding, size, strict=True)))
    target = y.transpose(1, 0, *range(2, y.ndim))
    for i in range(0, batch, block):
        images = min(block, batch - i)
        product = np.matmul(
            matrix, source[:, :, i : i + block].reshape(groups, each, images * spread)
        ).reshape(channels, len(taps), images, *((spread,) if flat else g.shape[2:]))
        total = np.zeros((channels, images, *room), y.dtype)
        for number, place in enumerate(taps):
            where: Any = (..., *place)
            part = total[where]
            np.add(part, product[:, number], out=part)
        if flat:
            total = total[:, :, : math.prod(around)].reshape(channels, images, *around)
        target[:, i : i + block] = total[inner]
    return y.astype(dtype, copy=False)


def _taps(kernel: Sizes, dilation: Sizes, stride: Sizes, out: Sizes) -> list[tuple[slice, ...]]:
    """For each kernel position, in order, the input positions it meets."""
    return [tuple(map(tap, position, dilation, stride, out)) for position in np.ndindex(*kernel)]


def _flat_taps(
    kernel: Sizes, dilation: Sizes, around: Sizes, spread: int
) -> list[tuple[slice, ...]]:
    """`_taps` in the flattened image."""
    steps = [math.prod(around[i + 1 :]) for i in range(len(around))]
    starts = [
        sum(p * d * s for p, d, s in zip(position, dilation, steps, strict=True))
        for position in np.ndindex(*kernel)
    ]
    return [(slice(start, start + spread),) for start in starts]
