"""Samples of dropout's ops; the noise is given."""

from __future__ import annotations

import numpy as np

from op_samples import number

MASK = np.array([[True, False, True, True], [False, True, True, False], [True] * 4])


SAMPLES = {
    "Dropout": lambda: [([number(3, 4)], {"noise": MASK * 2.0})],
    "AlphaDropout": lambda: [
        ([number(3, 4)], {"noise": MASK * 1.25, "shift": MASK * 0.5 - 0.25}),
    ],
    "NativeDropout": lambda: [([number(3, 4)], {"mask": MASK, "scale": 2.0})],
}
