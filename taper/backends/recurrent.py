"""Recurrent layers on arrays: `m.gru_forward`, `m.gru_backward` and so on, a layer in one direction.

All take the arrays of the op (ops/recurrent.py) as they are: input (steps, batch, size), or (batch,
steps, size) with `batch_first`, (batch, size) for a cell, or the rows of a packed sequence whose
batch sizes are `sizes`; `reverse` runs from the last step to the first. States are (1, batch,
hidden), or (batch, hidden) for a cell. The forward functions give the outputs, the last states and
`reserve`, which holds what the backward functions need; its layout is a backend's own affair. The
backward functions give a gradient for each input, None for those that `needs` leaves out.

The steps themselves are in recurrence.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.backends import recurrence
from taper.backends.windows import widened

Geometry = dict[str, Any]

# ---------------------------------------------------------------- sequences as (steps, batch, size)


def places(sizes: Any, stride: int = 1, apart: int | None = None) -> np.ndarray:
    """Numbers of the packed rows among all rows: sequence * stride + step * apart."""
    apart = sizes[0] if apart is None else apart
    total = np.arange(sum(sizes))
    starts = np.cumsum([0, *sizes[:-1]])
    steps = np.repeat(np.arange(len(sizes)), sizes)
    return (total - starts[steps]) * stride + steps * apart


def _unpacked(x: np.ndarray, sizes: Any) -> np.ndarray:
    padded = np.zeros((len(sizes) * sizes[0], x.shape[1]), x.dtype)
    padded[places(sizes)] = x
    return padded.reshape(len(sizes), sizes[0], x.shape[1])


def _stepwise(x: np.ndarray, batch_first: bool, reverse: bool, sizes: Any) -> np.ndarray:
    """Input in any layout, (size) of a cell included, as (steps, batch, size) in running order."""
    if sizes is not None:
        x = _unpacked(x, sizes)
    elif x.ndim == 2:
        x = x[None]
    elif batch_first:
        x = x.transpose(1, 0, 2)
    return x[::-1] if reverse else x


def _given_back(
    x: np.ndarray, ndim: int, batch_first: bool, reverse: bool, sizes: Any
) -> np.ndarray:
    """(steps, batch, size) in running order in the layout of the input."""
    if reverse:
        x = x[::-1]
    if sizes is not None:
        return x.reshape(-1, x.shape[2])[places(sizes)]
    if ndim == 2:
        return x[0]
    return np.ascontiguousarray(x).transpose(1, 0, 2) if batch_first else np.ascontiguousarray(x)


def _alive(reverse: bool, sizes: Any, **_: Any) -> Any:
    """How many sequences run in each step, in running order."""
    return sizes[::-1] if reverse and sizes is not None else sizes


def _rows(x: np.ndarray | None) -> np.ndarray | None:
    """A state as (batch, features), in the dtype of the arithmetic."""
    return None if x is None else widened(x.reshape(-1, x.shape[-1]))


def _total(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    return None if one is None or other is None else widened(one) + widened(other)


def _results(
    input: np.ndarray,
    reserve: np.ndarray,
    place: tuple[int, int],
    cells: tuple[int, ...],
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> Any:
    """Outputs and last states, which are the rows `place` (and `cells`) of reserve's slots."""
    dtype, ndim = input.dtype, input.ndim
    rows = reserve[1:, place[0] : place[1]].transpose(0, 2, 1)
    out = _given_back(rows, ndim, batch_first, reverse, sizes)
    leading = (1,) if ndim == 3 or sizes is not None else ()
    last = []
    for low, high in (place, cells) if cells else (place,):
        state = np.ascontiguousarray(reserve[-1, low:high].T)
        last.append(state.reshape(*leading, *state.shape).astype(dtype, copy=False))
    if np.may_share_memory(out, reserve):
        out = out.copy()
    return out.astype(dtype, copy=False), *last


# ---------------------------------------------------------------- gradients


def _arrived(
    grad: Any, reserve: np.ndarray, size: int, geometry: Geometry
) -> tuple[np.ndarray, list[Any]]:
    """The gradients of the outputs as a new (steps, size, batch), those of the last states."""
    steps, batch = reserve.shape[0] - 1, reserve.shape[2]
    grads = np.zeros((steps, size, batch), reserve.dtype)
    if grad[0] is not None:
        grads[...] = _stepwise(grad[0], **geometry).transpose(0, 2, 1)
    return grads, [None if g is None else widened(g.reshape(batch, -1)).T for g in grad[1:]]


def _sums(
    moved: np.ndarray,
    states: np.ndarray,
    input: np.ndarray,
    w_ih: np.ndarray,
    needs: tuple[bool, bool, bool],
    geometry: Geometry,
) -> tuple[Any, Any, Any]:
    """Gradients of the input, of its weight, and of the hidden weight with its bias.

    `moved` are those of the gates, `states` what they were computed from, with a row of ones.
    """
    whole = slice(None)
    by_state, by_input, _, to_x = recurrence.sums(
        moved,
        states if needs[2] else None,
        _stepwise(widened(input), **geometry),
        widened(w_ih) if needs[0] else None,
        whole,
        whole,
        (needs[1], False),
    )
    return _back(to_x, input, geometry), by_input, by_state


def _state_grad(first: np.ndarray, given: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(first.T).reshape(given.shape).astype(given.dtype, copy=False)


def _cast(grad: np.ndarray | None, dtype: Any) -> Any:
    return None if grad is None else grad.astype(dtype, copy=False)


def _parted(both: np.ndarray | None, dtype: Any) -> tuple[Any, Any]:
    """The gradients of the hidden weight and of its bias, which is the last column."""
    if both is None:
        return None, None
    both = both.astype(dtype, copy=False)
    return np.ascontiguousarray(both[:, :-1]), both[:, -1].copy()


def _back(to_x: np.ndarray | None, input: np.ndarray, geometry: Geometry) -> Any:
    """The input's gradient in the input's layout and dtype."""
    return None if to_x is None else _cast(_given_back(to_x, input.ndim, **geometry), input.dtype)


# ---------------------------------------------------------------- Elman's layer


def rnn_forward(
    input: np.ndarray,
    hidden: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None,
    b_hh: np.ndarray | None,
    *,
    relu: bool,
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[np.ndarray, ...]:
    """h' = tanh or relu of w_ih x + b_ih + w_hh h + b_hh: outputs, the last state, reserve."""
    reserve = recurrence.rnn(
        _stepwise(widened(input), batch_first, reverse, sizes),
        _rows(hidden),
        widened(w_ih),
        widened(w_hh),
        _total(b_ih, b_hh),
        relu,
        _alive(reverse, sizes),
    )
    made = _results(input, reserve, (0, w_hh.shape[1]), (), batch_first, reverse, sizes)
    return *made, reserve


def rnn_backward(
    grad: Any,
    reserve: np.ndarray,
    input: np.ndarray,
    hidden: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None,
    b_hh: np.ndarray | None,
    *,
    needs: tuple[bool, ...],
    relu: bool,
    **geometry: Any,
) -> tuple[Any, ...]:
    """Gradients of the six arrays from `grad`, those of the outputs and of the last state."""
    size, dtype = w_hh.shape[1], input.dtype
    grads, (last,) = _arrived(grad, reserve, size, geometry)
    moved, first = recurrence.rnn_backward(
        grads, last, reserve, widened(w_hh), relu, _alive(**geometry)
    )
    to_input, to_w_ih, both = _sums(
        moved, reserve[:-1], input, w_ih, (needs[0], needs[2], any(needs[3:])), geometry
    )
    to_w_hh, to_bias = _parted(both, dtype)
    return (
        to_input,
        _state_grad(first, hidden) if needs[1] and hidden is not None else None,
        _cast(to_w_ih, dtype),
        to_w_hh if needs[3] else None,
        to_bias if needs[4] else None,
        to_bias.copy() if needs[5] else None,
    )


# ---------------------------------------------------------------- GRU


def gru_forward(
    input: np.ndarray,
    hidden: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None,
    b_hh: np.ndarray | None,
    *,
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[np.ndarray, ...]:
    """r, z = sigmoid(w_ih x + b_ih + w_hh h + b_hh), n = tanh(w_in x + b_in + r (w_hn h + b_hn)),
    h' = n + z (h - n): outputs, the last state, reserve.
    """
    b_ih, b_hh = (None if b is None else widened(b) for b in (b_ih, b_hh))
    reserve = recurrence.gru(
        _stepwise(widened(input), batch_first, reverse, sizes),
        _rows(hidden),
        widened(w_ih),
        widened(w_hh),
        b_ih,
        b_hh,
        _alive(reverse, sizes),
    )
    made = _results(input, reserve, (0, w_hh.shape[1]), (), batch_first, reverse, sizes)
    return *made, reserve


def gru_backward(
    grad: Any,
    reserve: np.ndarray,
    input: np.ndarray,
    hidden: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None,
    b_hh: np.ndarray | None,
    *,
    needs: tuple[bool, ...],
    **geometry: Any,
) -> tuple[Any, ...]:
    """Gradients of the six arrays from `grad`, those of the outputs and of the last state."""
    size, dtype = w_hh.shape[1], input.dtype
    grads, (last,) = _arrived(grad, reserve, size, geometry)
    moved, first = recurrence.gru_backward(grads, last, reserve, widened(w_hh), _alive(**geometry))
    # Rows of moved: hidden part of n, then r, z, and the input part of n.
    both, to_w_ih, to_b_ih, to_x = recurrence.sums(
        moved,
        reserve[:-1, : size + 1] if needs[3] or needs[5] else None,
        _stepwise(widened(input), **geometry),
        widened(w_ih) if needs[0] else None,
        slice(0, 3 * size),
        slice(size, 4 * size),
        (needs[2], needs[4]),
    )
    if both is not None:
        both = np.concatenate([both[size:], both[:size]])
    to_w_hh, to_b_hh = _parted(both, dtype)
    return (
        _back(to_x, input, geometry),
        _state_grad(first, hidden) if needs[1] and hidden is not None else None,
        _cast(to_w_ih, dtype),
        to_w_hh if needs[3] else None,
        _cast(to_b_ih, dtype),
        to_b_hh if needs[5] else None,
    )


# ---------------------------------------------------------------- LSTM


def lstm_forward(
    input: np.ndarray,
    hidden: np.ndarray | None,
    cell: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None,
    b_hh: np.ndarray | None,
    w_hr: np.ndarray | None,
    *,
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[np.ndarray, ...]:
    """i, f, o = sigmoid(w_ih x + b_ih + w_hh h + b_hh), g = tanh(the same), c' = f c + i g,
    h' = o tanh(c'), or w_hr times that: outputs, the last h and c, reserve.
    """
    reserve = recurrence.lstm(
        _stepwise(widened(input), batch_first, reverse, sizes),
        _rows(hidden),
        _rows(cell),
        widened(w_ih),
        widened(w_hh),
        _total(b_ih, b_hh),
        None if w_hr is None else widened(w_hr),
        _alive(reverse, sizes),
    )
    size, out = w_hh.shape[0] // 4, w_hh.shape[1]
    cells = (out + 1 + 4 * size, out + 1 + 5 * size)
    return *_results(input, reserve, (0, out), cells, batch_first, reverse, sizes), reserve


def lstm_backward(
    grad: Any,
    reserve: np.ndarray,
    input: np.ndarray,
    hidden: np.ndarray | None,
    cell: np.ndarray | None,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    b_ih: np.ndarray | None,
    b_hh: np.ndarray | None,
    w_hr: np.ndarray | None,
    *,
    needs: tuple[bool, ...],
    **geometry: Any,
) -> tuple[Any, ...]:
    """Gradients of the eight arrays from `grad`, those of the outputs and of the last h and c."""
    size, out = w_hh.shape[0] // 4, w_hh.shape[1]
    dtype, sizes = input.dtype, _alive(**geometry)
    grads, (last, last_cell) = _arrived(grad, reserve, out, geometry)
    narrow = None if w_hr is None else widened(w_hr)
    moved, first, first_cell = recurrence.lstm_backward(
        grads, last, last_cell, reserve, widened(w_hh), narrow, sizes
    )
    to_input, to_w_ih, both = _sums(
        moved,
        reserve[:-1, : out + 1],
        input,
        w_ih,
        (needs[0], needs[3], any(needs[4:7])),
        geometry,
    )
    to_w_hh, to_bias = _parted(both, dtype)
    to_w_hr = None
    if needs[7]:
        recurrence.silence_dead(grads, sizes)
        _, _, o, _, _, bent = recurrence.lstm_rows(reserve[:-1], size, out)
        to_w_hr = np.matmul(grads, (o * bent).transpose(0, 2, 1)).sum(0)
    return (
        to_input,
        _state_grad(first, hidden) if needs[1] and hidden is not None else None,
        _state_grad(first_cell, cell) if needs[2] and cell is not None else None,
        _cast(to_w_ih, dtype),
        to_w_hh if needs[4] else None,
        to_bias if needs[5] else None,
        to_bias.copy() if needs[6] else None,
        _cast(to_w_hr, dtype),
    )
