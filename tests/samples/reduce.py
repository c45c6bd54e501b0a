"""Samples of the ops in taper/ops/reduce.py and statistics.py."""

from __future__ import annotations

import numpy as np

from op_samples import Sample, number


def _over(*shape: int, **attrs: object) -> list[Sample]:
    """One dimension, and two that are kept. No two numbers have the same size."""
    return [
        ([number(*shape, high=1.7)], {"axis": (1,), "keepdims": False, **attrs}),
        ([number(*shape, high=1.7, seed=1)], {"axis": (0, 2), "keepdims": True, **attrs}),
    ]


def _whole() -> list[Sample]:
    return [([number(3, 4)], {}), ([number()], {})]


def _with_zeros(*places: tuple[int, int]) -> np.ndarray:
    x = number(3, 4, low=0.5, high=2.0)
    for place in places:
        x[place] = 0
    return x


SAMPLES = {
    "SumAll": _whole,
    "MeanAll": _whole,
    "MaxAll": _whole,
    "MinAll": _whole,
    "ProdAll": lambda: [*_whole(), ([_with_zeros((1, 1))], {})],
    "Prod": lambda: [
        ([number(2, 3, 4)], {"axis": (1,), "keepdims": False}),
        ([_with_zeros((0, 1), (1, 0), (1, 3))], {"axis": (1,), "keepdims": True}),
        ([number()], {"axis": (), "keepdims": False}),
    ],
    "Amax": lambda: _over(2, 3, 4),
    "Amin": lambda: _over(2, 3, 4),
    "MaxDim": lambda: [
        ([number(2, 3, 4)], {"axis": 1, "keepdims": False}),
        ([number(2, 3)], {"axis": 0, "keepdims": True}),
    ],
    "MinDim": lambda: [
        ([number(2, 3, 4)], {"axis": 1, "keepdims": False}),
        ([number(2, 3)], {"axis": 0, "keepdims": True}),
    ],
    "AMinMax": lambda: [
        ([number(2, 3, 4)], {"axis": 1, "keepdims": False}),
        ([number(2, 3)], {"axis": 0, "keepdims": True}),
    ],
    "ArgMax": lambda: [([number(2, 3, 4)], {"axis": 1, "keepdims": False})],
    "ArgMin": lambda: [([number(2, 3, 4)], {"axis": 1, "keepdims": False})],
    "AllTrue": lambda: [([number(2, 3) > 0], {"axis": (1,), "keepdims": False})],
    "AnyTrue": lambda: [([number(2, 3) > 0], {"axis": (1,), "keepdims": False})],
    "TakeAlong": lambda: [([number(3, 4), np.array([[0], [2], [3]])], {"axis": 1})],
    "PutAlong": lambda: [([number(3, 1), np.array([[0], [2], [3]])], {"axis": 1, "shape": (3, 4)})],
    "Var": lambda: _over(2, 3, 4, correction=1),
    "Std": lambda: _over(2, 3, 4, correction=1),
    "VarMean": lambda: _over(2, 3, 4, correction=0),
    "StdMean": lambda: _over(2, 3, 4, correction=0),
    "Logsumexp": lambda: _over(2, 3, 4),
    "Nansum": lambda: _over(2, 3, 4),
    "CountNonzero": lambda: [([number(2, 3, 4)], {"axis": (1,)})],
    "VectorNorm": lambda: [
        sample
        for ord in (0.5, 1.0, 1.5, 2.0, 3.0, float("inf"), float("-inf"))
        for sample in _over(2, 3, 4, ord=ord)
    ],
}
