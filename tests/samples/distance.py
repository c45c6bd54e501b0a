"""Samples of the ops in ops/distance.py."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def _number(*shape: int, seed: int = 0) -> np.ndarray:
    # Evenly spaced numbers would give many equal differences, where the maximum has a kink.
    return np.random.default_rng([seed, *shape]).uniform(-2, 2, shape)


POWERS = (0.0, 0.7, 1.0, 1.5, 2.0, 3.0, math.inf)

SAMPLES: dict[str, Callable[[], list]] = {
    "Cdist": lambda: [
        ([_number(2, 3, 4), _number(2, 2, 4, seed=1)], {"p": p, "product": product})
        for p in POWERS
        for product in ((False, True) if p == 2 else (False,))
    ],
    "Pdist": lambda: [([_number(4, 3)], {"p": p}) for p in POWERS],
    "CosineSimilarity": lambda: [
        ([_number(3, 4), _number(3, 4, seed=1)], {"axis": axis, "eps": 1e-8}) for axis in (0, 1)
    ],
}
