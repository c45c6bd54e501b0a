"""Samples of the ops in taper/ops/join.py, rearrange.py and view_copies.py."""

from __future__ import annotations

from op_samples import number

SAMPLES = {
    "Cat": lambda: [([number(3, 2), number(3, 4, seed=1)], {"axis": 1})],
    "CatRagged": lambda: [([number(3, 2), number(0), number(3, 4, seed=1)], {"axis": 1})],
    "Stack": lambda: [([number(3, 2), number(3, 2, seed=1)], {"axis": 1})],
    "Flip": lambda: [([number(3, 4)], {"axis": (0, 1)})],
    "Roll": lambda: [
        ([number(3, 4)], {"shifts": (1, -2), "axis": (0, 1)}),
        ([number(3, 4)], {"shifts": (5,), "axis": None}),
    ],
    "Repeat": lambda: [
        ([number(3, 2)], {"times": (2, 1, 3)}),
        ([number(3)], {"times": (0, 2)}),
    ],
    "Tril": lambda: [([number(2, 3, 4)], {"diagonal": 1})],
    "Triu": lambda: [([number(2, 3, 4)], {"diagonal": -1})],
    "SliceScatter": lambda: [
        ([number(5, 3), number(2, 3, seed=1)], {"key": (slice(1, 5, 2),)}),
    ],
    "SelectScatter": lambda: [
        ([number(5, 3), number(5, seed=1)], {"key": (slice(None), 2)}),
    ],
    "DiagonalScatter": lambda: [
        ([number(3, 4), number(3, seed=1)], {"offset": 1, "axis1": 0, "axis2": 1}),
    ],
}
