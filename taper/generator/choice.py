"""Orders and choices: random permutations."""

from __future__ import annotations

import numpy as np

from taper.generator.engine import Generator

# From this many elements on, words of 32 bits would no longer be fair enough; 64 are drawn.
WIDE = ((1 << 32) - 1) // 20


def permutation(generator: Generator, n: int) -> list[int]:
    """0 ... n-1 in random order."""
    if n >= WIDE:
        return _wide_permutation(generator, n)
    rest = list(range(n))
    if n < 2:
        return rest
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
