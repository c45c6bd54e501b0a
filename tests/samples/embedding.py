"""Samples of the ops in ops/embedding.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

INDICES = np.array([[1, 0, 3], [3, 3, 1]])
ENTRIES = np.array([1, 0, 3, 3, 1])
BAGS = np.array([0, 0, 2, 2, 2])  # bag 1 is empty
HOW = [
    {"padding": padding, "by_frequency": by_frequency}
    for padding in (-1, 3)
    for by_frequency in (False, True)
]


def _number(*shape: int, seed: int = 0) -> np.ndarray:
    from op_samples import number

    return number(*shape, seed=seed)


SAMPLES: dict[str, Callable[[], list]] = {
    "Embedding": lambda: [([_number(4, 2), INDICES], how) for how in HOW[:1]],
    "EmbeddingGrad": lambda: [([_number(2, 3, 2), INDICES], {"rows": 5, **how}) for how in HOW],
    "LookupShares": lambda: [([INDICES], {"rows": 4, **how}) for how in HOW],
    "EmbeddingBag": lambda: [
        (
            [_number(4, 2), ENTRIES, BAGS, weights],
            {"count": 3, "mean": mean, "by_frequency": False},
        )
        for mean in (False, True)
        for weights in (None, _number(5, seed=1))
    ],
    "EmbeddingBagMax": lambda: [([_number(4, 2), ENTRIES, BAGS], {"count": 3})],
    "EmbeddingBagMaxGrad": lambda: [
        ([_number(3, 2), np.array([[1, 0], [-1, -1], [3, 1]])], {"rows": 4})
    ],
}
