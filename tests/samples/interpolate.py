"""Inputs for interpolation: every mode, larger and smaller."""

from __future__ import annotations

from typing import Any


def _sample(mode: str, before: tuple[int, ...], after: tuple[int, ...], corners: bool) -> Any:
    from op_samples import number

    axes = tuple((mode, n, o, None, corners, "d") for n, o in zip(before, after, strict=True))
    return [number(2, 1, *before)], {"axes": axes}


def _both(mode: str, rank: int, corners: bool = False) -> Any:
    small, large = (3, 2, 2)[:rank], (5, 4, 3)[:rank]
    return lambda: [_sample(mode, small, large, False), _sample(mode, large, small, corners)]


SAMPLES: dict[str, Any] = {
    "UpsampleNearest1D": _both("nearest", 1),
    "UpsampleNearest2D": _both("nearest", 2),
    "UpsampleNearest3D": _both("nearest", 3),
    "UpsampleNearestExact1D": _both("nearest-exact", 1),
    "UpsampleNearestExact2D": _both("nearest-exact", 2),
    "UpsampleNearestExact3D": _both("nearest-exact", 3),
    "UpsampleLinear1D": _both("linear", 1, True),
    "UpsampleBilinear2D": _both("linear", 2, True),
    "UpsampleTrilinear3D": _both("linear", 3, True),
    "UpsampleBicubic2D": _both("cubic", 2, True),
    "UpsampleBilinear2DAa": _both("linear-aa", 2),
    "UpsampleBicubic2DAa": _both("cubic-aa", 2),
    "UpsampleLanczos2DAa": _both("lanczos-aa", 2),
    # Its input is as large as the result of an interpolation.
    "UpsampleAdjoint": lambda: [
        (_sample(mode, (5, 4), (5, 4), False)[0], _sample(mode, (3, 6), (5, 4), False)[1])
        for mode in ("nearest", "linear", "cubic-aa")
    ],
}
