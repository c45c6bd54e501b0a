"""Samples of the ops in taper/ops/fft.py."""

from __future__ import annotations

from op_samples import number

SAMPLES = {
    "FftC2C": lambda: [
        (
            [number(3, 4) + 1j * number(3, 4, seed=1)],
            {"axis": (0,), "norm": "backward", "inverse": False},
        ),
        (
            [number(3, 4) + 1j * number(3, 4, seed=1)],
            {"axis": (1, 0), "norm": "ortho", "inverse": True},
        ),
    ],
    "FftWhole": lambda: [
        ([number(2, 5)], {"axis": (1,), "norm": "forward", "inverse": False}),
        ([number(2, 3, 4)], {"axis": (0, 2), "norm": "backward", "inverse": True}),
    ],
    "FftR2C": lambda: [
        ([number(3, 4)], {"axis": 1, "norm": "backward"}),
        ([number(5, 2)], {"axis": 0, "norm": "forward"}),
        ([number(1)], {"axis": 0, "norm": "ortho"}),
    ],
    "FftC2R": lambda: [
        (
            [number(2, 3) + 1j * number(2, 3, seed=1)],
            {"axis": 1, "norm": "backward", "size": 4},
        ),
        (
            [number(3, 2) + 1j * number(3, 2, seed=1)],
            {"axis": 0, "norm": "forward", "size": 5},
        ),
        ([number(1) + 1j * number(1, seed=1)], {"axis": 0, "norm": "ortho", "size": 1}),
    ],
}
