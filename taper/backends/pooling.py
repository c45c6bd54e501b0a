"""Pooling on arrays: maximum and mean of windows, and their adjoints.

A window is a box, so a pool works one dimension after the other: the best (or the sum) of each row
first, then of what the rows gave. That costs the sum of the kernel's sizes instead of their
product, and keeps PyTorch's choice among equals, the first in reading order.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from taper.backends.selection import kept
from taper.backends.windows import Sizes, along, padded, tap, widened

# Up to this many positions, one addition per position beats numpy's reduction of short rows.
_SHORT = 8


# What is asked for once is asked for in each step of a training loop.
@lru_cache(maxsize=1024)
def _surplus(
    size: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, out: Sizes
) -> Sizes:
    """How far the last window reaches over the end of each dimension."""
    return tuple(
        max(0, (o - 1) * s + d * (k - 1) + 1 - n - p)
        for n, k, s, p, d, o in zip(size, kernel, stride, padding, dilation, out, strict=True)
    )


# ---------------------------------------------------------------- maximum, on arrays


def _lowest(dtype: np.dtype) -> Any:
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def _max_padded(
    x: np.ndarray, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, out: Sizes
) -> np.ndarray:
    after = _surplus(x.shape[-len(kernel) :], kernel, stride, padding, dilation, out)
    if not any(padding) and not any(after):
        return x
    return padded(x, padding, after, _lowest(x.dtype))


def max_pool(
    x: np.ndarray, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, out: Sizes
) -> np.ndarray:
    """Maximum of every window; nan where a window holds one."""
    best = _max_padded(x, kernel, stride, padding, dilation, out)
    for axis in range(-1, -len(kernel) - 1, -1):
        best = _maxalong(best, axis, kernel[axis], stride[axis], dilation[axis], out[axis])
    return best if best is not x else x.copy()


def _maxalong(x: np.ndarray, axis: int, k: int, s: int, d: int, o: int) -> np.ndarray:
    if k > _SHORT and k == s and d == 1 and x.shape[axis] == k * o:
        place = x.ndim + axis
        return x.reshape(*x.shape[:place], o, k, *x.shape[place + 1 :]).max(axis=place + 1)
    best = x[along(axis, tap(0, d, s, o))]
    made = None
    for i in range(1, k):
        best = made = np.maximum(best, x[along(axis, tap(i, d, s, o))], out=made)
    return best


def _winners(
    x: np.ndarray,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    out: Sizes,
    nan_wins: bool = False,
) -> list[np.ndarray]:
    """For each dimension, last first: which kernel position holds the maximum of the window's row.

    The array of a dimension is shaped as the values are after that dimension is folded.
    """
    best = _max_padded(x, kernel, stride, padding, dilation, out)
    found = []
    for axis in range(-1, -len(kernel) - 1, -1):
        k, s, d, o = kernel[axis], stride[axis], dilation[axis], out[axis]
        values = best[along(axis, tap(0, d, s, o))]
        choice: Any = np.zeros(values.shape, bool if k == 1 else np.uint8 if k < 256 else np.int32)
        made = None
        for i in range(1, k):
            rival = best[along(axis, tap(i, d, s, o))]
            wins = rival > values
            if nan_wins:
                np.logical_or(wins, np.isnan(rival), out=wins)
            # Later winners overwrite earlier ones; the maximum does that without branches.
            choice = wins if k == 2 else np.maximum(choice, wins * choice.dtype.type(i))
            values = made = np.maximum(values, rival, out=made)
        if padding[axis] or best.shape[axis] > x.shape[axis]:
            choice = _inside(choice, axis, k, s, padding[axis], d, o)
        found.append(choice)
        best = values
    # One sum over the smallest array says that there was no nan, the usual case.
    if not nan_wins and x.dtype.kind in "fV" and np.isnan(best.sum()):
        return _winners(x, kernel, stride, padding, dilation, out, nan_wins=True)
    return found


def _inside(choice: np.ndarray, axis: int, k: int, s: int, p: int, d: int, o: int) -> np.ndarray:
    """The choice, moved out of the padding where everything else was minus infinity too."""
    first = np.array([max(0, -((i * s - p) // d)) if i * s < p else 0 for i in range(o)])
    if not first.any():
        return choice
    return np.maximum(choice, first.reshape((-1,) + (1,) * (-axis - 1)))


def max_index(
    x: np.ndarray, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, out: Sizes
) -> np.ndarray:
    """Position of every window's maximum in the flattened spatial dimensions, int64."""
    size = x.shape[-len(kernel) :]
    index: Any = None
    inner = 1
    for back, choice in enumerate(_winners(x, kernel, stride, padding, dilation, out), 1):
        start = np.arange(out[-back]) * stride[-back]
        here = choice.astype(np.int64) * dilation[-back]
        here += start.reshape((-1,) + (1,) * (back - 1))
        share = (here - padding[-back]) * inner
        if index is not None:  # of the dimensions behind, in the row that was chosen
            share += np.take_along_axis(index, here, x.ndim - back)
        index = share
        inner *= size[-back]
    return index


def max_pool_grad(
    grad: np.ndarray,
    x: np.ndarray,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    out: Sizes,
) -> np.ndarray:
    """Each window's gradient at the position of its maximum, shaped as x."""
    rank = len(kernel)
    size = x.shape[-rank:]
    after = _surplus(size, kernel, stride, padding, dilation, out)
    choices = _winners(x, kernel, stride, padding, dilation, out)
    for axis in range(-rank, 0):
        k, s, d, o = kernel[axis], stride[axis], dilation[axis], out[axis]
        choice = choices[-axis - 1]
        room = padding[axis] + size[axis] + after[axis]
        shape = (*grad.shape[:axis], room, *grad.shape[grad.ndim + axis + 1 :])
        if k == s == 2 and d == 1 and room == 2 * o and choice.dtype == bool:
            grad = _to_one_of_two(grad, choice, axis, shape)
            continue
        spread = np.zeros(shape, grad.dtype)
        apart = d * (k - 1) < s
        for i in range(k):
            part = spread[along(axis, tap(i, d, s, o))]
            share = kept(grad, choice == i if choice.dtype != bool else choice if i else ~choice)
            if apart:
                part[...] = share
            else:
                part += share
        grad = spread
    return _unpadded(grad, padding, size)


def _to_one_of_two(
    grad: np.ndarray, second: np.ndarray, axis: int, shape: tuple[int, ...]
) -> np.ndarray:
    """Each gradient at the first or the second of its two positions along `axis`, else 0.

    Done with bits: a product would make nan of inf, and a selection by random booleans costs four
    times as much in mispredicted branches.
    """
    spread = np.empty(shape, grad.dtype)
    bits = grad.view(f"i{grad.dtype.itemsize}")
    made = spread.view(bits.dtype)
    ones = np.negative(second.view(np.int8), dtype=bits.dtype)
    np.bitwise_and(bits, ones, out=ones)
    np.copyto(made[along(axis, slice(1, None, 2))], ones)
    np.bitwise_xor(bits, ones, out=made[along(axis, slice(0, None, 2))])
    return spread


def _unpadded(x: np.ndarray, padding: Sizes, size: Sizes) -> np.ndarray:
    """The part of a padded array that the input covered."""
    if x.shape[-len(size) :] == size:
        return x
    inner: Any = (..., *(slice(p, p + n) for p, n in zip(padding, size, strict=True)))
    return np.ascontiguousarray(x[inner])


def pick(x: np.ndarray, index: np.ndarray, rank: int) -> np.ndarray:
    """The elements of x at positions `index` of its flattened spatial dimensions."""
    lead = x.shape[: x.ndim - rank]
    flat = index.reshape(*lead, math.prod(index.shape[len(lead) :]))
    plane = math.prod(x.shape[len(lead) :])
    return np.take_along_axis(x.reshape(*lead, plane), flat, -1).reshape(index.shape)


# ---------------------------------------------------------------- mean, on arrays


def _sum_along(x: np.ndarray, axis: int, k: int, s: int, o: int) -> np.ndarray:
    if k > _SHORT and k == s and x.shape[axis] == k * o:
        place = x.ndim + axis
        return x.reshape(*x.shape[:place], o, k, *x.shape[place + 1 :]).sum(axis=place + 1)
    total = x[along(axis, tap(0, 1, s, o))]
    made = None
    for i in range(1, k):
        total = made = np.add(total, x[along(axis, tap(i, 1, s, o))], out=made)
    return total


@lru_cache(maxsize=1024)
def divisor(
    size: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    out: Sizes,
    whole: bool,
    override: int | None,
) -> Any:
    """What each window's sum is divided by: a number, or an array shaped as the output.

    `whole` counts the padding (but never what lies beyond it) among a window's elements.
    """
    if override is not None:
        return override
    counts = []
    for n, k, s, p, o in zip(size, kernel, stride, padding, out, strict=True):
        lowest, highest = (-p, n + p) if whole else (0, n)
        counts.append([min(i * s - p + k, highest) - max(i * s - p, lowest) for i in range(o)])
    if all(len(set(c)) == 1 for c in counts):
        return math.prod(c[0] for c in counts)
    product: Any = np.ones(())
    for count in counts:
        product = np.multiply.outer(product, count)
    return product


def avg_pool(
    x: np.ndarray,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    out: Sizes,
    whole: bool,
    override: int | None,
) -> np.ndarray:
    """Mean of every window."""
    ones = (1,) * len(kernel)
    size = x.shape[-len(kernel) :]
    dtype = x.dtype
    after = _surplus(size, kernel, stride, padding, ones, out)
    total = widened(x)
    if any(padding) or any(after):
        total = padded(total, padding, after)
    for axis in range(-1, -len(kernel) - 1, -1):
        total = _sum_along(total, axis, kernel[axis], stride[axis], out[axis])
    by = divisor(size, kernel, stride, padding, out, whole, override)
    if dtype.kind in "iu":
        # Towards zero, as division of integers in C.
        by = np.asarray(by).astype(dtype)
        mean = np.sign(total) * np.sign(by) * (np.abs(total) // np.abs(by))
    else:
        mean = total / np.asarray(by, total.dtype)
    return np.asarray(mean).astype(dtype, copy=False)


def avg_pool_grad(
    grad: np.ndarray,
    size: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    out: Sizes,
    whole: bool,
    override: int | None,
) -> np.ndarray:
    """Each window's gradient, divided, at all its positions: adjoint of `avg_pool`."""
    dtype = grad.dtype
    by = divisor(size, kernel, stride, padding, out, whole, override)
    spread = widened(grad)
    spread = spread / np.asarray(by, spread.dtype)
    after = _surplus(size, kernel, stride, padding, (1,) * len(kernel), out)
    for axis in range(-len(kernel), 0):
        room = padding[axis] + size[axis] + after[axis]
        spread = _spread_along(spread, axis, kernel[axis], stride[axis], out[axis], room)
    return _unpadded(spread, padding, size).astype(dtype, copy=False)


def _spread_along(x: np.ndarray, axis: int, k: int, s: int, o: int, room: int) -> np.ndarray:
    shape = (*x.shape[:axis], room, *x.shape[x.ndim + axis + 1 :])
    apart = k <= s
    spread = np.empty(shape, x.dtype) if k == s and k * o == room else np.zeros(shape, x.dtype)
    if k > _SHORT and k == s and k * o == room:
        place = x.ndim + axis
        spread.reshape(*x.shape[:place], o, k, *x.shape[place + 1 :])[...] = np.expand_dims(
            x, place + 1
        )
        return spread
    for i in range(k):
        part = spread[along(axis, tap(i, 1, s, o))]
        if apart:
            part[...] = x
        else:
            part += x
    return spread
