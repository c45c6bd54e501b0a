"""Inputs for pools: distinct numbers, so that maxima stay where they are under small changes."""

from __future__ import annotations

from typing import Any

import numpy as np

# (input, kernel, stride, padding, dilation, output size)
_CASES: dict[int, list[tuple[tuple[int, ...], Any, Any, Any, Any, Any]]] = {
    1: [((2, 2, 6), (2,), (2,), (0,), (1,), (3,)), ((1, 2, 6), (3,), (2,), (1,), (1,), (3,))],
    2: [
        ((1, 2, 4, 4), (2, 2), (2, 2), (0, 0), (1, 1), (2, 2)),
        ((2, 4, 5), (2, 3), (1, 2), (1, 1), (1, 1), (5, 3)),
        ((1, 1, 5, 4), (2, 2), (2, 1), (0, 0), (2, 1), (2, 3)),
    ],
    3: [((1, 1, 2, 3, 4), (2, 2, 2), (2, 1, 2), (0, 0, 0), (1, 1, 1), (1, 2, 2))],
}
_NAMES = ("kernel", "stride", "padding", "dilation", "out")


def _geometry(case: Any) -> dict[str, Any]:
    return dict(zip(_NAMES, case[1:], strict=True))


def _grad_shape(case: Any) -> tuple[int, ...]:
    rank = len(case[1])
    return (*case[0][:-rank], *case[5])


def _max(rank: int) -> list[Any]:
    from op_samples import number

    return [([number(*c[0])], _geometry(c)) for c in _CASES[rank]]


def _max_grad() -> list[Any]:
    from op_samples import number

    return [
        ([number(*_grad_shape(c), seed=1), number(*c[0])], _geometry(c))
        for cases in _CASES.values()
        for c in cases
    ]


def _max_pick() -> list[Any]:
    from op_samples import number

    return [
        ([number(*c[0], seed=1), number(*c[0])], _geometry(c))
        for cases in _CASES.values()
        for c in cases
    ]


def _mean_geometry(case: Any) -> dict[str, Any]:
    made = {k: v for k, v in _geometry(case).items() if k != "dilation"}
    return {**made, "whole": False, "override": None}


def _undilated(rank: int) -> list[Any]:
    return [c for c in _CASES[rank] if all(d == 1 for d in c[4])]


def _mean(rank: int) -> list[Any]:
    from op_samples import number

    return [([number(*c[0])], _mean_geometry(c)) for c in _undilated(rank)]


def _mean_grad() -> list[Any]:
    from op_samples import number

    return [
        (
            [number(*_grad_shape(c)), number(*c[0])],
            {**_mean_geometry(c), "whole": True, "override": 3},
        )
        for rank in _CASES
        for c in _undilated(rank)
    ]


def _picks(rank: int) -> list[Any]:
    """Values and the places in the flattened last dimensions to take them from."""
    from op_samples import number

    shape = (2, 2, *(3, 2, 2)[:rank])
    index = np.array([[[0, 2], [1, 1]], [[2, 0], [0, 1]]])
    return [([number(*shape), index.reshape(2, 2, *(2, 1, 1)[:rank])], {"rank": rank})]


def _places(rank: int, distinct: bool) -> list[Any]:
    """Values and the places they go to; without `distinct`, some go to the same one."""
    from op_samples import number

    index = np.array([[[0, 2], [1, 3 if distinct else 1]], [[2, 0], [0, 1]]])
    tail = (2, 1, 1)[:rank]
    return [
        (
            [number(2, 2, *tail), index.reshape(2, 2, *tail)],
            {"size": (4, 1, 1)[:rank]},
        ),
    ]


def _uneven(rank: int) -> list[Any]:
    from op_samples import number

    return [([number(1, 2, *(5, 4, 2)[:rank])], {"out": (3, 2, 1)[:rank]})]


def _uneven_grad() -> list[Any]:
    from op_samples import number

    return [
        ([number(1, 2, 3), number(1, 2, 5)], {"rank": 1}),
        ([number(2, 2, 3), number(2, 3, 4)], {"rank": 2}),
    ]


def _fractional() -> list[Any]:
    from op_samples import number

    samples = np.array([[[0.3, 0.6], [0.1, 0.8]]])
    return [([number(1, 2, 5, 6), samples], {"kernel": (2, 2), "out": (2, 3)})]


SAMPLES = {
    **{f"MaxPool{r}d": lambda r=r: _max(r) for r in _CASES},
    **{f"MaxPoolIndices{r}d": lambda r=r: _max(r) for r in _CASES},
    "MaxPoolGrad": _max_grad,
    "MaxPoolPick": _max_pick,
    **{f"AvgPool{r}d": lambda r=r: _mean(r) for r in _CASES},
    "AvgPoolGrad": _mean_grad,
    "Pick": lambda: _picks(1),
    **{f"AdaptiveMaxPool{r}d": lambda r=r: _picks(r) for r in _CASES},
    **{f"FractionalMaxPool{r}d": lambda r=r: _picks(r) for r in (2, 3)},
    "Place": lambda: [
        ([*inputs, np.zeros((2, 2, 4))], attrs) for inputs, attrs in _places(1, distinct=False)
    ],
    **{f"MaxUnpool{r}d": lambda r=r: _places(r, distinct=True) for r in _CASES},
    "AdaptiveMaxIndex": lambda: _uneven(2),
    "FractionalIndex": _fractional,
    **{f"AdaptiveAvgPool{r}d": lambda r=r: _uneven(r) for r in _CASES},
    "AdaptiveAvgPoolGrad": _uneven_grad,
}
