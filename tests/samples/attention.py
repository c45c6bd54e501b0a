"""Inputs for the ops of attention.py."""

from __future__ import annotations

from typing import Any

import numpy as np


def _number(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).uniform(-2, 2, shape)


def _three(*lead: int) -> list[np.ndarray]:
    return [_number(*lead, 3, 4), _number(*lead, 5, 4, seed=1), _number(*lead, 5, 2, seed=2)]


SAMPLES: dict[str, Any] = {
    "Attention": lambda: [
        ([*_three(2, 2), None], {"scale": 0.5, "causal": False}),
        ([*_three(2, 1), None], {"scale": 0.5, "causal": True}),
        ([*_three(1, 2), _number(3, 5) > -1], {"scale": 0.5, "causal": False}),
    ],
    "AttentionComposite": lambda: [
        ([*_three(2), _number(3, 5)], {"scale": 0.5, "causal": False}),
        ([*_three(), None], {"scale": 0.5, "causal": True}),
    ],
}
