"""Samples of the ops in taper/ops/gather.py and scatter.py."""

from __future__ import annotations

import numpy as np

from op_samples import Sample, number

PLACES = np.array([[0, 2, 0, 1], [2, 2, 1, 0]])  # (2, 4), along dimension 0 of (3, 5)
ONCE = np.array([[0, 2, 1, 1], [2, 0, 0, 2]])  # names no place twice
MASK = np.array([[True, False, True, True], [False, False, True, False]])


def _reduced(reduce: str, include_self: bool) -> Sample:
    attrs = {"axis": 0, "reduce": reduce, "include_self": include_self}
    return [number(3, 5), number(2, 4, seed=1), PLACES], attrs


def _products_with_zeros() -> Sample:
    source = number(2, 4, seed=1)
    source[0, 0] = source[1, 1] = 0
    attrs = {"axis": 0, "reduce": "prod", "include_self": True}
    return [number(3, 5), source, PLACES], attrs


SAMPLES = {
    "Gather": lambda: [([number(3, 5), PLACES], {"axis": 0})],
    "IndexSelect": lambda: [([number(3, 5), np.array([0, 2, 2])], {"axis": 0})],
    "Take": lambda: [([number(3, 5), np.array([[0, 14], [3, 3]])], {})],
    "MaskedSelect": lambda: [([number(2, 4), MASK], {}), ([number(4), MASK], {})],
    "Scatter": lambda: [([number(3, 5), number(2, 4, seed=1), ONCE], {"axis": 0})],
    "ScatterAdd": lambda: [([number(3, 5), number(2, 4, seed=1), PLACES], {"axis": 0})],
    "ScatterReduce": lambda: [
        *[_reduced(r, s) for r in ("sum", "prod", "mean", "amax", "amin") for s in (True, False)],
        _products_with_zeros(),
    ],
    "IndexAdd": lambda: [
        ([number(3, 5), number(3, 4, seed=1), np.array([1, 1, 4, 0])], {"axis": 1, "alpha": 2})
    ],
    "IndexCopy": lambda: [([number(3, 5), number(3, 3, seed=1), np.array([1, 4, 0])], {"axis": 1})],
    "Put": lambda: [
        ([number(3, 4), np.array([0, 5]), number(2, seed=1)], {"accumulate": False}),
        ([number(3, 4), np.array([0, 5, 5]), number(3, seed=1)], {"accumulate": True}),
    ],
    "MaskedFill": lambda: [
        ([number(2, 4), MASK, number(seed=1)], {}),
        ([number(4), MASK, number(seed=1)], {}),
    ],
    "MaskedScatter": lambda: [([number(2, 4), MASK, number(6, seed=1)], {})],
}
