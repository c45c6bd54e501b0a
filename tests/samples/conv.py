"""Inputs for convolutions: stride 1 and larger, padding, dilation, groups, one to three sizes."""

from __future__ import annotations

from typing import Any

# (input, weight, stride, padding, dilation, groups, output size)
_CASES: list[tuple[tuple[int, ...], tuple[int, ...], Any, Any, Any, int, tuple[int, ...]]] = [
    ((2, 2, 5), (3, 2, 3), (1,), (0,), (1,), 1, (3,)),
    ((2, 2, 5), (2, 1, 2), (2,), (1,), (2,), 2, (3,)),
    ((1, 2, 3, 3), (2, 1, 2, 3), (1, 1), (0, 1), (1, 1), 2, (2, 3)),
    ((1, 1, 3, 2), (1, 1, 2, 2), (2, 1), (1, 0), (1, 1), 1, (2, 1)),
    ((1, 1, 2, 2, 3), (1, 1, 1, 2, 2), (1, 1, 1), (0, 0, 0), (1, 1, 2), 1, (2, 1, 1)),
]


def _geometry(case: Any) -> dict[str, Any]:
    return dict(zip(("stride", "padding", "dilation", "groups"), case[2:6], strict=True))


def _outputs(case: Any) -> tuple[int, ...]:
    return (case[0][0], case[1][0], *case[6])


def _convolution() -> list[Any]:
    from op_samples import number

    return [
        ([number(*c[0]), number(*c[1], seed=1), number(c[1][0], seed=2)], _geometry(c))
        for c in _CASES
    ]


def _transposed() -> list[Any]:
    from op_samples import number

    return [
        (
            [number(*_outputs(c)), number(*c[1], seed=1), number(c[0][1], seed=2)],
            {"size": c[0][2:], **_geometry(c)},
        )
        for c in _CASES
    ]


def _weight_grad() -> list[Any]:
    from op_samples import number

    return [
        ([number(*c[0]), number(*_outputs(c), seed=1)], {"kernel": c[1][2:], **_geometry(c)})
        for c in _CASES
    ]


def _channel_sum() -> list[Any]:
    from op_samples import number

    return [([number(2, 3, 4)], {}), ([number(1, 2, 2, 2)], {})]


SAMPLES = {
    "Convolution": _convolution,
    "ConvTransposed": _transposed,
    "ConvWeightGrad": _weight_grad,
    "ChannelSum": _channel_sum,
}
