"""Inputs for the recurrent layers: one sequence in each layout, packed ones, and a cell."""

from __future__ import annotations

from typing import Any


def _samples(gates: int, states: int, **attrs: Any) -> list[Any]:
    from op_samples import number

    # Differences cost two evaluations per number, so an LSTM has one feature only.
    size, hidden, batch = 1, 1 if gates == 4 else 2, 2
    made = []
    for shape, wanted in (
        ((2, batch, size), {}),
        ((batch, 2, size), {"batch_first": True, "reverse": True}),
        ((3, size), {"sizes": (2, 1), "reverse": True}),
        ((batch, size), {}),
    ):
        cell = len(shape) == 2 and "sizes" not in wanted
        lead = () if cell else (1,)
        inputs: list[Any] = [number(*shape)]
        inputs += [number(*lead, batch, hidden, low=-1, high=1, seed=i) for i in range(states)]
        inputs += [
            number(gates * hidden, size, low=-1, high=1),
            number(gates * hidden, hidden, low=-1, high=1),
            number(gates * hidden, low=-1, high=1),
            number(gates * hidden, low=-1, high=1, seed=1),
        ]
        if states == 2:
            inputs.append(None)
        geometry = {"batch_first": False, "reverse": False, "sizes": None, **wanted}
        made.append((inputs, {**geometry, **attrs}))
    plain = [*made[0][0]]
    plain[states + 3 : states + 5] = [None, None]  # no biases
    made.append((plain, made[0][1]))
    if states == 2:
        narrow = [*made[2][0]]
        narrow[1] = number(1, batch, 1, low=-1, high=1)
        narrow[4] = number(gates * hidden, 1, low=-1, high=1)
        narrow[-1] = number(1, hidden, low=-1, high=1)
        made.append((narrow, made[2][1]))
    return made


def _packing(name: str) -> list[Any]:
    from op_samples import number

    sizes = (2, 2, 1)
    if name == "PackPadded":
        return [
            ([number(4, 2, 2)], {"sizes": sizes, "batch_first": False}),
            ([number(2, 3)], {"sizes": sizes, "batch_first": True}),
        ]
    geometry = {"sizes": sizes, "batch": 2, "value": 1.5}
    return [
        ([number(5, 2)], {"length": 4, "batch_first": False, **geometry}),
        ([number(5)], {"length": 3, "batch_first": True, **geometry}),
    ]


SAMPLES = {
    "PackPadded": lambda: _packing("PackPadded"),
    "PadPacked": lambda: _packing("PadPacked"),
    "Rnn": lambda: [*_samples(1, 1, relu=False), *_samples(1, 1, relu=True)[:2]],
    "Gru": lambda: _samples(3, 1),
    "Lstm": lambda: _samples(4, 2),
}
