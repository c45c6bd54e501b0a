"""Inputs for sampling at the points of a grid."""

from __future__ import annotations

from typing import Any

import numpy as np


def _number(*shape: int, seed: int = 0) -> np.ndarray:
    from op_samples import number

    return number(*shape, seed=seed)


# Two taps for each of three points of two images of 2 by 3; 6 is outside.
_INDEX = np.array([[[0, 4, 5], [1, 1, 6]], [[2, 6, 2], [3, 0, 0]]])


def _positions(padding: str, corners: bool) -> Any:
    # Away from the folds and borders, where the slope jumps.
    grid = _number(2, 3, 2) * 0.71
    return [grid], {"sizes": (4, 5), "corners": corners, "padding": padding}


SAMPLES: dict[str, Any] = {
    "GridPositions": lambda: [
        _positions("zeros", False),
        _positions("border", True),
        _positions("reflection", False),
    ],
    "GridSlopes": lambda: [_positions("reflection", True)],
    "TapWeights": lambda: [
        ([_number(2, 3, 2) + 0.13], {"mode": "bilinear"}),
        ([_number(1, 2, 2) + 0.13], {"mode": "bicubic"}),
        ([_number(1, 2, 3) + 0.13], {"mode": "bilinear"}),
        ([_number(2, 3, 2)], {"mode": "nearest"}),
    ],
    "TapSum2d": lambda: [
        ([_number(2, 2, 2, 3), _number(2, 2, 3, seed=1)], {"index": _INDEX, "size": (3, 1)})
    ],
    "TapSum3d": lambda: [
        ([_number(2, 2, 1, 2, 3), _number(2, 2, 3, seed=1)], {"index": _INDEX, "size": (3, 1, 1)})
    ],
    "TapDot": lambda: [([_number(2, 2, 3, 1), _number(2, 2, 2, 3, seed=1)], {"index": _INDEX})],
    "TapScatter": lambda: [
        ([_number(2, 2, 3, 1), _number(2, 2, 3, seed=1)], {"index": _INDEX, "pixels": (2, 3)})
    ],
}
