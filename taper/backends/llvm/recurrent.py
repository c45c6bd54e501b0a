"""The cells of recurrent layers as kernels see them: what one step does to vectors.

A cell has `gates`, `states` that run along the sequence (h, and c of an LSTM), `saved` values per
unit and step that the derivative needs, and `grads`, the distinct gradients of what its gates add
up: a GRU has four, because the reset gate stands between the two parts of its last gate. The
vectors may hold units or sequences: recurrent_lanes.py has a sequence in each lane, for small
hidden sizes, recurrent_units.py a unit in each lane, for larger ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taper.backends.llvm.text import Function, Value
from taper.backends.llvm.vmath import sigmoid, tanh

Values = Sequence[Value]


@dataclass(frozen=True)
class Cell:
    """One step, forward and backward.

    forward(f, ax, ah, state) has per gate what the input and what the state contribute, and gives
    the new states and what is saved. backward(f, saved, before, after, grads) has the states
    around the step and the gradients of those after it; it gives `moved`, the `grads` gradients of
    what the gates add up, and what reaches each earlier state other than through the gates.
    `of_input` and `of_hidden` say which of `moved` each gate's weights see.
    """

    gates: int
    states: int
    saved: int
    grads: int
    of_input: tuple[int, ...]
    of_hidden: tuple[int, ...]
    forward: Callable[[Function, Values, Values, Values], tuple[list[Value], list[Value]]]
    backward: Callable[[Function, Values, Values, Values, Values], tuple[list[Value], list[Value]]]


# ---------------------------------------------------------------- the cells


def _gru_forward(
    f: Function, ax: Values, ah: Values, state: Values
) -> tuple[list[Value], list[Value]]:
    r, z = sigmoid(ax[0] + ah[0]), sigmoid(ax[1] + ah[1])
    n = tanh(f.fma(r, ah[2], ax[2]))
    return [f.fma(z, state[0] - n, n)], [r, z, n, ah[2]]


def _gru_backward(
    f: Function, saved: Values, before: Values, after: Values, grads: Values
) -> tuple[list[Value], list[Value]]:
    r, z, n, hidden = saved
    (grad,) = grads
    kept = grad * z
    of_n = (grad - kept) * (1.0 - n * n)
    of_hidden = of_n * r
    of_r = of_hidden * hidden * (1.0 - r)
    of_z = kept * (before[0] - n) * (1.0 - z)
    return [of_r, of_z, of_n, of_hidden], [kept]


def _lstm_forward(
    f: Function, ax: Values, ah: Values, state: Values
) -> tuple[list[Value], list[Value]]:
    i, forget, g, o = (x + h for x, h in zip(ax, ah, strict=True))
    i, forget, g, o = sigmoid(i), sigmoid(forget), tanh(g), sigmoid(o)
    cell = f.fma(forget, state[1], i * g)
    bent = tanh(cell)
    return [o * bent, cell], [i, forget, g, o, bent]


def _lstm_backward(
    f: Function, saved: Values, before: Values, after: Values, grads: Values
) -> tuple[list[Value], list[Value]]:
    i, forget, g, o, bent = saved
    to_cell = f.fma(grads[0] * o, 1.0 - bent * bent, grads[1])
    kept = to_cell * forget
    moved = [
        to_cell * g * i * (1.0 - i),
        kept * before[1] * (1.0 - forget),
        to_cell * i * (1.0 - g * g),
        grads[0] * bent * o * (1.0 - o),
    ]
    return moved, [f.const(0.0, i.type), kept]


def _tanh_forward(
    f: Function, ax: Values, ah: Values, state: Values
) -> tuple[list[Value], list[Value]]:
    return [tanh(ax[0] + ah[0])], []


def _tanh_backward(
    f: Function, saved: Values, before: Values, after: Values, grads: Values
) -> tuple[list[Value], list[Value]]:
    return [grads[0] * (1.0 - after[0] * after[0])], [f.const(0.0, after[0].type)]


def _relu_forward(
    f: Function, ax: Values, ah: Values, state: Values
) -> tuple[list[Value], list[Value]]:
    total = ax[0] + ah[0]
    return [(total < 0.0).select(0.0, total)], []  # this way round, nan stays


def _relu_backward(
    f: Function, saved: Values, before: Values, after: Values, grads: Values
) -> tuple[list[Value], list[Value]]:
    zero = f.const(0.0, after[0].type)
    return [(after[0] > 0.0).select(grads[0], zero)], [zero]


CELLS = {
    "gru": Cell(3, 1, 4, 4, (0, 1, 2), (0, 1, 3), _gru_forward, _gru_backward),
    "lstm": Cell(4, 2, 5, 4, (0, 1, 2, 3), (0, 1, 2, 3), _lstm_forward, _lstm_backward),
    "tanh": Cell(1, 1, 0, 1, (0,), (0,), _tanh_forward, _tanh_backward),
    "relu": Cell(1, 1, 0, 1, (0,), (0,), _relu_forward, _relu_backward),
}
