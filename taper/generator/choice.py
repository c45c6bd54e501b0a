"""Random permutations, and draws of indices with given probabilities."""

from __future__ import annotations

import numpy as np

from taper.generator import fills
from taper.generator.engine import Generator
from taper.generator.fused import quiet
from taper.generator.kernels import by_kernel
from taper.generator.selection import largest

# From this many elements on, words of 32 bits would no longer be fair enough; 64 are drawn.
WIDE = ((1 << 32) - 1) // 20


@by_kernel
def permutation(generator: Generator, n: int) -> np.ndarray:
    """0 ... n-1 in random order, as int64."""
    if n < 2:
        return np.arange(n)
    order = _wide_permutation(generator, n) if n >= WIDE else _permutation(generator, n)
    return np.array(order, np.int64)


def _permutation(generator: Generator, n: int) -> list[int]:
    rest = list(range(n))
    targets = generator.words(n - 1)
    targets %= np.arange(n, 1, -1, dtype=np.uint64)
    targets += np.arange(n - 1, dtype=np.uint64)
    # Each step swaps place i with one at or behind it. Place i is never looked at again, so its new
    # value goes into another list. The iteration sees what was put into `rest` meanwhile.
    order: list[int] = []
    push = order.append
    for value, target in zip(rest, targets.tolist(), strict=False):
        push(rest[target])
        rest[target] = value
    push(rest[-1])
    return order


def _wide_permutation(generator: Generator, n: int) -> list[int]:
    targets = generator.words64(n) % np.arange(1, n + 1, dtype=np.uint64)
    order: list[int] = []
    push = order.append
    for i, target in enumerate(targets.tolist()):
        push(i)
        order[i] = order[target]
        order[target] = i
    return order


@quiet
def multinomial(
    generator: Generator, weights: np.ndarray, count: int, replacement: bool
) -> np.ndarray:
    """`count` indices of every row of a matrix of weights, drawn in proportion to them."""
    if count == 1 or not replacement:
        return _without_replacement(generator, weights, count)
    return _with_replacement(generator, weights, count)


def _without_replacement(generator: Generator, weights: np.ndarray, count: int) -> np.ndarray:
    """The largest quotients of weights and exponential numbers win."""
    drawn = fills.exponential(generator, weights.size, 1.0, weights.dtype)
    races = weights / drawn.reshape(weights.shape)
    if count == 1:
        return races.argmax(1).reshape(-1, 1)
    chosen = [largest(row, count) for row in races]
    return np.array(chosen, np.int64).reshape(len(races), count)


def _with_replacement(generator: Generator, weights: np.ndarray, count: int) -> np.ndarray:
    """Uniform numbers are looked up among the running sums of the weights."""
    wide = np.float64 if weights.dtype == np.float64 else np.float32
    chosen = np.empty((len(weights), count), np.int64)
    for i, row in enumerate(weights):
        sums = np.add.accumulate(row, dtype=wide)
        sums /= sums[-1]
        sums[-1] = 1
        units = fills.unit_double(generator, count)
        chosen[i] = np.searchsorted(sums.astype(np.float64), units, side="left")
    return chosen
