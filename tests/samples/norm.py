"""Inputs for the norms. Without `moments` or `kept` the ops compute them, as a recorded derivative does;
tests/nn/test_norm.py checks the derivatives with them.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def _sample(shape: tuple[int, ...], parameters: tuple[int, ...] | None, **attrs: Any) -> Any:
    from op_samples import number

    given: list[Any] = [number(*shape)]
    for seed in (1, 2):
        given.append(None if parameters is None else number(*parameters, seed=seed))
    return given, attrs


def _fixed(*shape: int, parameters: bool = True) -> Any:
    channels = shape[1]
    moments = np.linspace(-1, 1, channels), np.linspace(0.5, 2, channels)
    return _sample(shape, (channels,) if parameters else None, moments=moments)


def _rms(shape: tuple[int, ...], weight: bool, rank: int) -> Any:
    from op_samples import number

    scale = number(*shape[len(shape) - rank :], seed=1) if weight else None
    return [number(*shape), scale], {"rank": rank, "eps": 1e-5}


_FREE: dict[str, Any] = {"eps": 1e-5, "moments": None}

SAMPLES: dict[str, Any] = {
    "BatchNorm": lambda: [
        _sample((4, 3), (3,), eps=1e-5, kept=None),
        _sample((3, 2, 2, 2), None, eps=1e-5, kept=None),
    ],
    "BatchNormFixed": lambda: [_fixed(4, 3), _fixed(2, 3, 2, parameters=False)],
    "InstanceNormFixed": lambda: [_fixed(2, 3, 4)],
    "GroupNorm": lambda: [
        _sample((2, 4, 3), (4,), groups=2, **_FREE),
        _sample((2, 4, 2, 2), None, groups=1, **_FREE),
    ],
    "InstanceNorm": lambda: [_sample((2, 2, 4), (2,), groups=2, **_FREE)],
    "LayerNorm": lambda: [
        _sample((3, 4), (4,), rank=1, eps=1e-5, kept=None),
        _sample((2, 2, 3), None, rank=2, eps=1e-5, kept=None),
    ],
    "RMSNorm": lambda: [_rms((3, 4), True, 1), _rms((2, 2, 3), False, 2)],
}
