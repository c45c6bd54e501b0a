"""Inputs for the ops of linear.py."""

from __future__ import annotations

from typing import Any

import numpy as np


def _number(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).uniform(-2, 2, shape)


def _layer(*lead: int, bias: bool) -> Any:
    inputs = [_number(*lead, 3), _number(2, 3, seed=1), _number(2, seed=2) if bias else None]
    return lambda: [(inputs, {})]


SAMPLES: dict[str, Any] = {
    "Linear": _layer(4, bias=False),
    "LinearBias": _layer(4, bias=True),
    "LinearBatched": _layer(2, 4, bias=False),
    "LinearBatchedBias": _layer(2, 4, bias=True),
    "LinearVector": _layer(bias=False),
}
