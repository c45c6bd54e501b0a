"""Samples of the ops in ops/*loss.py, ops/cross_entropy.py and ops/ctc.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

REDUCTIONS = ("none", "mean", "sum")
# No derivative leads to a weight, and none is asked for where it is of integers.
WEIGHT = np.arange(1, 13).reshape(3, 4)


def _number(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> np.ndarray:
    from op_samples import number

    return number(*shape, low=low, high=high, seed=seed)


def _pair(low: float = -2.0, high: float = 2.0, **attrs: Any) -> Callable[[], list]:
    return lambda: [
        (
            [_number(3, 4, low=low, high=high), _number(3, 4, low=low, high=high, seed=1)],
            {"reduction": reduction, **attrs},
        )
        for reduction in REDUCTIONS
    ]


def _classes(*before: Any, **attrs: Any) -> Callable[[], list]:
    """Targets of three rows, with and without weights, and with an ignored one."""
    target = np.array([1, 0, 3])
    weight = np.array([3, 1, 2, 5])

    def samples() -> list:
        made = []
        for reduction in REDUCTIONS:
            for ignore in (-100, 0):
                for each in (None, weight):
                    inputs = [b(reduction) if callable(b) else b for b in before]
                    made.append(
                        (
                            [*inputs, target, each],
                            {"ignore_index": ignore, "reduction": reduction, **attrs},
                        )
                    )
        return made

    return samples


def _images(**attrs: Any) -> Callable[[], list]:
    target = np.array([[1, 0], [2, 2]])
    return lambda: [
        ([_number(2, 3, 2), target, None], {"ignore_index": -100, "reduction": reduction, **attrs})
        for reduction in REDUCTIONS
    ]


def _grad(reduction: str) -> np.ndarray:
    return _number(3, seed=7) if reduction == "none" else np.array(0.7)


def _with_weights() -> list:
    x, y = _number(3, 4, low=0.1, high=0.9), _number(3, 4, low=0.1, high=0.9, seed=1)
    weight = WEIGHT
    return [
        ([x, y, each], {"reduction": reduction})
        for reduction in REDUCTIONS
        for each in (None, weight)
    ]


def _with_logits() -> list:
    x, y = _number(3, 4), _number(3, 4, low=0.1, high=0.9, seed=1)
    weight = WEIGHT
    return [
        ([x, y, one, other], {"reduction": reduction})
        for reduction in REDUCTIONS
        for one, other in ((None, None), (weight, None), (None, weight), (weight, weight))
    ]


def _multi_margin() -> list:
    x = _number(3, 4)
    return [
        ([x, np.array([1, 0, 3]), weight], {"p": p, "margin": 1.1, "reduction": reduction})
        for reduction in REDUCTIONS
        for p in (1, 2)
        for weight in (None, np.array([3, 1, 2, 5]))
    ] + [([_number(4), np.array(2), None], {"p": 1, "margin": 1.1, "reduction": "none"})]


def _multilabel_margin() -> list:
    listed = np.array([[1, 2], [-1, -1], [3, -1]])
    return [
        ([_number(3, 4, low=-1, high=1), listed], {"reduction": reduction})
        for reduction in REDUCTIONS
    ] + [([_number(4), np.array([[2, 0]])], {"reduction": "none"})]


def _ctc() -> list:
    # Sequences of 5, 5 and 3 steps; "1 1" needs a blank between, the last target is empty.
    inputs = [
        _number(5, 3, 4, low=-3, high=-0.1),
        np.array([[1, 2, 3], [1, 1, 0], [0, 0, 0]]),
        np.array([5, 5, 3]),
        np.array([3, 2, 0]),
    ]
    # The true derivative, not the one through a softmax that PyTorch gives.
    return [(inputs, {"blank": 0, "zero_infinity": False, "through_softmax": False})]


SAMPLES: dict[str, Callable[[], list]] = {
    "MseLoss": _pair(),
    "L1Loss": _pair(),
    "SmoothL1Loss": _pair(beta=0.7),
    "HuberLoss": _pair(delta=0.7),
    "SoftMarginLoss": _pair(),
    "BinaryCrossEntropy": _with_weights,
    "BinaryCrossEntropyWithLogits": _with_logits,
    "CrossEntropy": _classes(lambda reduction: _number(3, 4), smoothing=0.0),
    "CrossEntropy2d": _images(smoothing=0.0),
    "SmoothedCrossEntropy": _images(smoothing=0.2),
    "CrossEntropyGrad": lambda: [
        sample
        for smoothing in (0.0, 0.2)
        for sample in _classes(
            _grad, lambda reduction: _number(3, 4, low=0.1, high=0.9), smoothing=smoothing
        )()
    ],
    "ClassShares": _classes(shape=(3, 4)),
    "NllLoss": _classes(lambda reduction: _number(3, 4)),
    "NllLoss2d": _images(),
    "CtcLoss": _ctc,
    "MultiMarginLoss": _multi_margin,
    "MultilabelMarginLoss": _multilabel_margin,
    "NllLossGrad": _classes(_grad, lambda reduction: _number(3, 4)),
}
