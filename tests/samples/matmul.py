"""Samples of the products: matmul.py and contract.py."""

from __future__ import annotations

from typing import Any

import numpy as np


def _number(*shape: int, seed: int = 0) -> Any:
    from op_samples import number

    return number(*shape, seed=seed)


def _complex(*shape: int, seed: int = 0) -> np.ndarray:
    made: np.ndarray = _number(*shape, seed=seed) + 1j * _number(*shape, seed=seed + 7)
    return made


SAMPLES = {
    "Mm": lambda: [
        ([_number(3, 4), _number(4, 2, seed=1)], {}),
        ([_complex(3, 2), _complex(2, 2, seed=1)], {}),
    ],
    "Bmm": lambda: [([_number(2, 3, 4), _number(2, 4, 2, seed=1)], {})],
    "Matmul": lambda: [
        ([_number(2, 3, 4), _number(4, 2, seed=1)], {}),
        ([_number(3, 4), _number(2, 4, 2, seed=1)], {}),
        ([_complex(2, 1, 2, 3), _complex(3, 3, 2, seed=1)], {}),
        ([_number(0, 3, 4), _number(4, 2, seed=1)], {}),
    ],
    "Mv": lambda: [([_number(3, 4), _number(4, seed=1)], {}), ([_complex(3, 2), _complex(2)], {})],
    "Dot": lambda: [([_number(4), _number(4, seed=1)], {}), ([_complex(3), _complex(3)], {})],
    "Addmm": lambda: [
        (
            [_number(3, 2), _number(3, 4), _number(4, 2, seed=1)],
            {"beta": 0.5, "alpha": 2},
        ),
        ([_number(2), _number(3, 4), _number(4, 2, seed=1)], {"beta": 1, "alpha": 1}),
        ([_complex(1, 2), _complex(2, 2), _complex(2, 2)], {"beta": 0.5j, "alpha": 1 + 2j}),
    ],
    "Baddbmm": lambda: [
        (
            [_number(2, 3, 2), _number(2, 3, 4), _number(2, 4, 2, seed=1)],
            {"beta": 0.5, "alpha": 2},
        ),
        ([_number(3, 1), _number(2, 3, 4), _number(2, 4, 2, seed=1)], {"beta": 1, "alpha": 1}),
    ],
    "Contract": lambda: [
        (
            [_number(2, 3, 4), _number(4, 5, 2, seed=1)],
            {"left": (0, 1, 2), "right": (2, 3, 0), "out": (3, 0, 1)},
        ),
        (
            [_number(2, 3, 2), _number(3, 2, seed=1)],
            {"left": (0, 1, 2), "right": (1, 2), "out": (0,)},
        ),
        ([_number(2, 3), _number(4, seed=1)], {"left": (0, 1), "right": (2,), "out": (2, 0, 1)}),
        ([_complex(3), _complex(3, seed=1)], {"left": (0,), "right": (0,), "out": ()}),
    ],
    "Cross": lambda: [
        ([_number(2, 3), _number(2, 3, seed=1)], {"axis": -1}),
        ([_complex(3, 2), _complex(3, 1, seed=1)], {"axis": -2}),
    ],
}
