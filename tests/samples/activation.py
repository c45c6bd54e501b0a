"""Inputs for the ops of activation.py, smooth_activation.py and softmax.py."""

from __future__ import annotations

from typing import Any

import numpy as np

ATTRS: dict[str, dict[str, Any]] = {
    "Threshold": {"threshold": 0.33, "value": 2.0},
    "Hardtanh": {"low": -1.03, "high": 0.71},
    "Hardshrink": {"lambd": 0.53},
    "Softshrink": {"lambd": 0.53},
    "LeakyRelu": {"slope": 0.2},
    "RreluMean": {"slope": 0.2},
    "Elu": {"alpha": 1.5, "scale": 1.1, "rate": 0.7},
    "Celu": {"alpha": 1.5, "scale": 1.0, "rate": 0.7},
    "Softplus": {"beta": 2.0, "threshold": 3.1},
}


def _number(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).uniform(-2, 2, shape)


def _shares(*shape: int) -> np.ndarray:
    exponentials = np.exp(_number(*shape, seed=1))
    return exponentials / exponentials.sum(1, keepdims=True)


SAMPLES: dict[str, Any] = {
    "PreluGrad": lambda: [([_number(3, 4), _number(3, 4, seed=1), _number(4, seed=2)], {})],
    "LeakyReluGrad": lambda: [([_number(3, 4), _number(3, 4, seed=1)], {"slope": 0.2})],
    "ZeroOutside": lambda: [([_number(3, 4), _number(3, 4, seed=1)], {"low": -0.53, "high": 0.71})],
    "ZeroInside": lambda: [([_number(3, 4), _number(3, 4, seed=1)], {"low": -0.53, "high": 0.71})],
    "RreluWithNoiseGrad": lambda: [
        ([_number(3, 4), _number(3, 4, seed=1), _number(3, 4, seed=2)], {})
    ],
    "RreluWithNoise": lambda: [([_number(3, 4), np.abs(_number(3, 4, seed=1))], {})],
    "Softmax": lambda: [
        ([_number(3, 4)], {"axis": 1}),
        ([_number(3, 4, 2)], {"axis": 0}),
        ([_number()], {"axis": 0}),
    ],
    "LogSoftmax": lambda: [
        ([_number(3, 4)], {"axis": 1}),
        ([_number(3, 4, 2)], {"axis": 0}),
        ([_number()], {"axis": 0}),
    ],
    "SoftmaxGrad": lambda: [([_number(3, 4), _shares(3, 4)], {"axis": 1})],
    "LogSoftmaxGrad": lambda: [([_number(3, 4), np.log(_shares(3, 4))], {"axis": 1})],
}
