"""Samples of the ops in taper/ops/sort.py, order_statistics.py and cumulative.py."""

from __future__ import annotations

import numpy as np

from op_samples import number


def _with_zeros() -> np.ndarray:
    x = number(3, 4, low=0.5, high=2.0)
    x[0, 1] = x[1, 0] = x[1, 2] = 0
    return x


SAMPLES = {
    "Sort": lambda: [
        ([number(3, 4)], {"axis": 1, "descending": False}),
        ([number(3, 4)], {"axis": 0, "descending": True}),
    ],
    "Topk": lambda: [
        ([number(3, 4)], {"k": 2, "axis": 1, "largest": True}),
        ([number(3, 4)], {"k": 2, "axis": 0, "largest": False}),
    ],
    "Kthvalue": lambda: [([number(3, 4)], {"k": 2, "axis": 1, "keepdims": False})],
    "Median": lambda: [([number(3, 5)], {}), ([number(2, 2)], {})],
    "Nanmedian": lambda: [([number(3, 5)], {})],
    "MedianDim": lambda: [([number(3, 4)], {"axis": 1, "keepdims": True})],
    "NanmedianDim": lambda: [([number(3, 4)], {"axis": 0, "keepdims": False})],
    "Mode": lambda: [([number(3, 4)], {"axis": 1, "keepdims": False})],
    "Cumsum": lambda: [
        ([number(3, 4)], {"axis": 1, "reverse": False}),
        ([number(3, 4)], {"axis": 0, "reverse": True}),
    ],
    "Cumprod": lambda: [
        ([number(3, 4)], {"axis": 1}),
        ([_with_zeros()], {"axis": 1}),
        ([number()], {"axis": 0}),
    ],
    "Logcumsumexp": lambda: [
        ([number(3, 4)], {"axis": 1, "reverse": False}),
        ([number(3, 4)], {"axis": 0, "reverse": True}),
    ],
    "Cummax": lambda: [([number(3, 4)], {"axis": 1})],
    "Cummin": lambda: [([number(3, 4)], {"axis": 0})],
}
