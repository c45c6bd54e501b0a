"""Convolution on arrays: the three trilinear maps behind the ops of conv.py.

`convolution` is a matrix product of the weight with the columns of the input, one column per output
position; `convolution_transposed` is its adjoint in the input, `convolution_weight_grad` the one in
the weight. Columns are made for a few images at a time, so that they stay in the cache.

With stride 1 there is a shorter way to the columns. Lay the padded images one after another in one
long row per channel; then each kernel position sees the same row, shifted. Columns are whole rows
copied at once instead of many short pieces. The price is that products are computed at the end of
each image's rows, too, where a window does not fit, and thrown away (`flat` weighs that).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from taper.backends.windows import Sizes, padded, tap, widened, windows

# Bytes of columns made at a time. Smaller blocks pay for more calls, larger ones leave the cache
# (LeNet's second layer, batch 256, 1 MiB of L2: 3.3 ms here, 3.8 ms at four times the size).
_BLOCK = 400_000
# The scattering of a transposed convolution makes one call per kernel position and block, and
# gains more from fewer calls than from the cache.
_SCATTER_BLOCK = 1_600_000


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


class Flat(NamedTuple):
    """How (batch, channels, *size) lies in rows, and how a kernel meets it."""

    around: Sizes  # size of a padded image
    given: int  # its elements
    inner: Any  # index of the image in it, None where there is no padding
    steps: Sizes  # from one kernel position to the next in the row, per dimension
    reach: int  # from the first kernel position to the last
    out: Sizes
    crop: Any  # index of the positions where the kernel fits
    block: int  # images at a time
    piece: int  # positions at a time, where one image is too much


# What is asked for once is asked for in each step of a training loop.
@lru_cache(maxsize=1024)
def flat(
    shape: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    itemsize: int,
) -> Flat | None:
    """The way to convolve an input of this shape by shifted rows, or None if it is not faster."""
    batch, channels, *size = shape
    if any(s != 1 for s in stride) or min(padding) < 0 or 0 in shape:
        return None
    around = tuple(n + 2 * p for n, p in zip(size, padding, strict=True))
    out = out_size(tuple(size), kernel, stride, padding, dilation)
    given = math.prod(around)
    depth = channels * math.prod(kernel)
    if batch * depth * given > _SMALL and given > _WASTE * math.prod(out):
        return None
    steps = tuple(d * math.prod(around[i + 1 :]) for i, d in enumerate(dilation))
    return Flat(
        around,
        given,
        (..., *(slice(p, p + n) for p, n in zip(padding, size, strict=True)))
        if any(padding)
        else None,
        steps,
        sum((k - 1) * s for k, s in zip(kernel, steps, strict=True)),
        out,
        (..., *(slice(0, n) for n in out)),
        max(1, _BLOCK // (depth * given * itemsize)),
        max(256, _BLOCK // (depth * itemsize)),
    )


def _rows(x: np.ndarray, around: Sizes, given: int, inner: Any, tail: int) -> np.ndarray:
    """(channels, batch * given + tail): images one after another, zeros around and behind them."""
    batch, channels = x.shape[:2]
    spread = batch * given
    if inner is None:
        row = np.empty((channels, spread + tail), x.dtype)
        if tail:
            row[:, spread:] = 0
            row[:, :spread].reshape(channels, batch, *around)[...] = x.swapaxes(0, 1)
        else:
            row.reshape(channels, batch, *around)[...] = x.swapaxes(0, 1)
        return row
    row = np.zeros((channels, spread + tail), x.dtype)
    row[:, :spread].reshape(channels, batch, *around)[inner] = x.swapaxes(0, 1)
    return row


def _flat_columns(x: np.ndarray, kernel: Sizes, way: Flat) -> Iterator[tuple[slice, np.ndarray]]:
    """Columns (channels * kernel, positions) for the positions of all padded images, by pieces."""
    reach = way.reach
    row = _rows(x, way.around, way.given, way.inner, reach)
    channels, length = row.shape
    spread = length - reach
    item = row.itemsize
    steps = [s * item for s in way.steps]
    piece = way.piece if spread > 2 * way.piece else spread
    for start in range(0, spread, piece):
        stop = min(spread, start + piece)
        if reach == 0:
            yield slice(start, stop), row[:, start:stop]
            continue
        seen = np.ndarray(
            (channels, *kernel, stop - start),
            row.dtype,
            row,
            start * item,
            (length * item, *steps, item),
        )
        yield slice(start, stop), seen.reshape(-1, stop - start)


def _times(matrix: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(groups, outputs, depth) times (groups * depth, n) as (groups * outputs, n)."""
    groups, outputs, depth = matrix.shape
    if groups == 1:
        return matrix[0].dot(columns)
    return np.matmul(matrix, columns.reshape(groups, depth, -1)).reshape(groups * outputs, -1)


def _flat_convolution(
    x: np.ndarray,
    w: np.ndarray,
    bias: np.ndarray | None,
    groups: int,
    way: Flat,
    other: np.ndarray | None = None,
) -> tuple[np.ndarray, Any]:
    """`convolution` with stride 1.

    With `other`, (batch, channels of others, *out), also the sum over positions of column times
    other, (groups, channels / groups * kernel, others / groups).
    """
    batch, outputs, kernel = len(x), len(w), w.shape[2:]
    matrix = w.reshape(groups, outputs // groups, -1)
    y = np.empty((batch, outputs, *way.out), x.dtype)
    total: Any = None
    for i in range(0, batch, way.block):
        part = x[i : i + way.block]
        row = None if other is None else _other_rows(other[i : i + way.block], way)
        product: Any = None
        for place, columns in _flat_columns(part, kernel, way):
            made = _times(matrix, columns)
            if bias is not None:
                np.add(made, bias[:, None], made)
            if made.shape[1] == len(part) * way.given:
                product = made
            else:
                if product is None:
                    product = np.empty((outputs, len(part) * way.given), made.dtype)
                product[:, place] = made
            if row is not None:
                total = _added(total, _flat_share(row[:, place], columns, groups))
        product = product.reshape(outputs, len(part), *way.around)
        y[i : i + way.block].swapaxes(0, 1)[...] = product[way.crop]
    return y, total


def _added(total: np.ndarray | None, share: np.ndarray) -> np.ndarray:
    return share if total is None else np.add(total, share, total)


def _other_rows(other: np.ndarray, way: Flat) -> np.ndarray:
    """(batch, channels, *out) in rows, each position where its column is."""
    return _rows(other, way.around, way.given, None if way.out == way.around else way.crop, 0)


def _flat_share(row: np.ndarray, columns: np.ndarray, groups: int) -> np.ndarray:
    """Sum over positions of column times row, (groups, depth, channels of row / groups)."""
    # The columns first: with few channels the other order takes twice as long.
    if groups == 1:
        return columns.dot(row.T)[None]
    spread = row.shape[1]
    return np.matmul(
        columns.reshape(groups, -1, spread), row.reshape(groups, -1, spread).transpose(0, 2, 1)
    )


def _flat_weight_grad(
    x: np.ndarray, grad: np.ndarray, kernel: Sizes, groups: int, way: Flat
) -> np.ndarray:
    total: Any = None
    for i in range(0, len(x), way.block):
        row = _other_rows(grad[i : i + way.block], way)
        for place, columns in _flat_columns(x[i : i + way.block], kernel, way):
            total = _added(total, _flat_share(row[:, place], columns, groups))
    shape = (grad.shape[1], x.shape[1] // groups, *kernel)
    return np.ascontiguousarray(total.transpose(0, 2, 1)).reshape(shape)


def _reversed(rank: int) -> Any:
    """Index that turns the last `rank` dimensions around."""
    return (..., *(slice(None, None, -1),) * rank)


def _turned(w: np.ndarray, groups: int) -> np.ndarray:
    """The weight of the adjoint: inputs and outputs exchanged, the kernel reversed."""
    outputs, channels, *kernel = w.shape
    split = w.reshape(groups, outputs // groups, channels, *kernel).swapaxes(1, 2)
    return split[_reversed(len(kernel))].reshape(groups * channels, outputs // groups, *kernel)


@lru_cache(maxsize=1024)
def _opposite(
    grad: Sizes,
    channels: int,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    itemsize: int,
) -> tuple[Sizes, Flat | None, bool]:
    """How a convolution with stride 1 that gave `grad` is gone back by another convolution.

    Its padding; its way by rows, or None; whether gathering columns is cheaper than scattering as
    many products, which come from `channels`.
    """
    spread = tuple(d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True))
    if min(spread) < 0 or any(s != 1 for s in stride):
        return spread, None, False
    small = math.prod(grad) * math.prod(kernel) <= _SMALL
    way = flat(grad, kernel, stride, spread, dilation, itemsize)
    if grad[1] > 2 * channels and not small:
        way = None
    return spread, way, way is not None or grad[1] <= channels


def _adjoints(
    x: np.ndarray,
    w: np.ndarray,
    grad: np.ndarray,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Gradients in x and in w from the same columns, where that is fast, or None."""
    kernel = w.shape[2:]
    dtype = x.dtype
    _, way, _ = _opposite(grad.shape, x.shape[1], kernel, stride, padding, dilation, dtype.itemsize)
    if way is None:
        return None
    x, w, grad = widened(x), widened(w), widened(grad)
    to_x, shares = _flat_convolution(grad, _turned(w, groups), None, groups, way, x)
    # Columns are of (output, reversed kernel position), what they are multiplied with of x.
    rank = len(kernel)
    split = shares.reshape(groups, len(w) // groups, *kernel, w.shape[1])
    order = split.transpose(0, 1, rank + 2, *range(2, rank + 2))
    to_w = order[_reversed(rank)].reshape(w.shape)
    return to_x.astype(dtype, copy=False), to_w.astype(dtype, copy=False)


def convolution_gradients(
    x: np.ndarray,
    w: np.ndarray,
    grad: np.ndarray,
    needs: tuple[bool, bool, bool],
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Gradients of `convolution` in x, w and the bias; None for what `needs` does not ask for."""
    geometry = (stride, padding, dilation, groups)
    to_bias = channel_sum(grad) if needs[2] else None
    if needs[0] and needs[1]:
        both = _adjoints(x, w, grad, *geometry)
        if both is not None:
            return *both, to_bias
    return (
        convolution_transposed(grad, w, x.shape[2:], *geometry) if needs[0] else None,
        convolution_weight_grad(x, grad, w.shape[2:], *geometry) if needs[1] else None,
        to_bias,
    )


def channel_sum(x: np.ndarray) -> np.ndarray:
    """Sum over all dimensions but the second: the gradient of a bias."""
    batch, channels = x.shape[:2]
    wide = widened(x)
    if x.size == 0:
        total = np.zeros(channels, wide.dtype)
    elif batch <= 1024:
        # A product with ones sums the batch fastest; what is left is short.
        ones = np.ones(batch, wide.dtype)
        total = ones.dot(wide.reshape(batch, -1)).reshape(channels, -1).sum(1)
    else:
        total = wide.reshape(batch, channels, -1).sum(2).sum(0)
    return total.astype(x.dtype, copy=False)


# ---------------------------------------------------------------- any stride


def convolution(
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
    way = flat(x.shape, kernel, stride, padding, dilation, x.itemsize)
    if way is not None and x.dtype == w.dtype:
        y, _ = _flat_convolution(x, w, None if bias is None else widened(bias), groups, way)
        return y.astype(dtype, copy=False)
    size = out_size(x.shape[2:], kernel, stride, padding, dilation)
    positions = math.prod(size)
    y = np.empty((batch, outputs, *size), np.result_type(x, w))
    if y.size == 0:
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


def convolution_weight_grad(
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
    way = flat(x.shape, kernel, stride, padding, dilation, x.itemsize)
    if way is not None and size == way.out:
        return _flat_weight_grad(x, grad, kernel, groups, way).astype(dtype, copy=False)
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


def convolution_transposed(
    g: np.ndarray,
    w: np.ndarray,
    size: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> np.ndarray:
    """Adjoint of `convolution` in its input: (batch, channels, *size) from (batch, outputs, *out)."""
    dtype = g.dtype
    g, w = widened(g), widened(w)
    batch, outputs = g.shape[:2]
    kernel = w.shape[2:]
    channels = w.shape[1] * groups
    y = np.zeros((batch, channels, *size), np.result_type(g, w))
    if y.size == 0 or g.size == 0:
        return y.astype(dtype, copy=False)
    back, way, gather = _opposite(g.shape, channels, kernel, stride, padding, dilation, g.itemsize)
    if gather and size == out_size(g.shape[2:], kernel, stride, back, dilation):
        if way is not None:
            y, _ = _flat_convolution(g, _turned(w, groups), None, groups, way)
        else:
            y = convolution(g, _turned(w, groups), None, stride, back, dilation, groups)
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
    unit = all(s == 1 for s in stride)
    if unit:
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
        if unit
        else _taps(kernel, dilation, stride, g.shape[2:])
    )
    room = (max(math.prod(around), taps[-1][-1].stop),) if unit else around
    inner: Any = (..., *(slice(p, p + n) for p, n in zip(padding, size, strict=True)))
    target = y.transpose(1, 0, *range(2, y.ndim))
    # One buffer for all blocks: fresh memory costs more than what is done with it.
    products = np.empty(groups * depth * block * spread, y.dtype)
    totals = np.empty(channels * block * math.prod(room), y.dtype)
    for i in range(0, batch, block):
        images = min(block, batch - i)
        product = products[: groups * depth * images * spread].reshape(groups, depth, -1)
        np.matmul(
            matrix,
            source[:, :, i : i + block].reshape(groups, each, images * spread),
            out=product,
        )
        product = product.reshape(
            channels, len(taps), images, *((spread,) if unit else g.shape[2:])
        )
        total = totals[: channels * images * math.prod(room)].reshape(channels, images, *room)
        total.fill(0)
        for number, place in enumerate(taps):
            where: Any = (..., *place)
            part = total[where]
            np.add(part, product[:, number], out=part)
        if unit:
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
