"""Samples of the ops in taper/ops/padding.py and fold.py."""

from __future__ import annotations

from op_samples import Sample, number

_BLOCKS = {"kernel": (2, 3), "dilation": (1, 2), "padding": (1, 0), "stride": (2, 1)}


def _padded(mode: str, rank: int) -> list[Sample]:
    shape = (2, 2, *(5, 4, 3)[:rank])
    pads = ((2, 1), (1, 0), (0, 2))[:rank]
    return [([number(*shape)], {"pads": pads, "mode": mode})]


SAMPLES = {
    "ConstantPad": lambda: [
        ([number(2, 3)], {"pairs": ((1, 0), (-1, 2)), "value": 1.5}),
    ],
    "CircularPad": lambda: _padded("circular", 2),
    "ReflectionPad1d": lambda: _padded("reflect", 1),
    "ReflectionPad2d": lambda: _padded("reflect", 2),
    "ReflectionPad3d": lambda: _padded("reflect", 3),
    "ReplicationPad1d": lambda: _padded("replicate", 1),
    "ReplicationPad2d": lambda: _padded("replicate", 2),
    "ReplicationPad3d": lambda: _padded("replicate", 3),
    "EdgePadGrad": lambda: [
        ([number(2, 2, 8, 5), number(2, 2, 5, 4)], {"pads": ((2, 1), (1, 0)), "mode": "reflect"}),
        ([number(2, 2, 3), number(2, 2, 3)], {"pads": ((-1, 1),), "mode": "replicate"}),
    ],
    "Im2Col": lambda: [([number(2, 2, 3, 5)], dict(_BLOCKS))],
    "Col2Im": lambda: [([number(2, 12, 2)], {"size": (3, 5), **_BLOCKS})],
    "PixelShuffle": lambda: [([number(1, 8, 2, 3)], {"factor": 2})],
    "PixelUnshuffle": lambda: [([number(1, 2, 4, 2)], {"factor": 2})],
    "ChannelShuffle": lambda: [([number(1, 6, 2)], {"groups": 2})],
}
