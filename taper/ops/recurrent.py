"""The ops of recurrent layers, one call per layer and direction over the whole sequence (a cell is
a sequence of one step). The arithmetic is in recurrence.py, the public functions are in rnn.py.

The ops save what their steps computed in an extra output, `reserve`, that no user sees. Their
second derivatives go another way: the layer is written once more, step by step, with recorded ops
(`Rnn.step` ...), and those are differentiated.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.op import NAMESPACES, Opaque, op
from taper.ops import recurrence
from taper.ops.packing import places
from taper.ops.window import widened
from taper.tensor import Tensor

# ---------------------------------------------------------------- sequences as (steps, batch, size)


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


# ---------------------------------------------------------------- the ops


class _Layer(Opaque):
    """What the three kinds share. `states` of them run along the sequence: h, and c of an LSTM."""

    states = 1
    step: Any = None  # (m, x, states, weights, **attrs) -> the new states, by recorded ops
    # (grad, reserve, *inputs, needs, **attrs) -> the derivative through time, on arrays
    backward: Any = None

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        *rest: Any,
        needs: Any,
        **attrs: Any,
    ) -> Any:
        if m.on_arrays and input.dtype.kind != "c":
            return self.backward(grad, out[0], input, *rest, needs=needs, **attrs)
        return self.derived(m, grad, (input, *rest), needs, attrs)

    def arrived(
        self, grad: Any, reserve: np.ndarray, size: int, ndim: int, geometry: dict[str, Any]
    ) -> tuple[np.ndarray, list[Any]]:
        """The gradients of the outputs as a new (steps, size, batch), those of the last states."""
        steps, batch = reserve.shape[0] - 1, reserve.shape[2]
        grads = np.zeros((steps, size, batch), reserve.dtype)
        if grad[0] is not None:
            grads[...] = _stepwise(grad[0], **geometry).transpose(0, 2, 1)
        last = [None if g is None else widened(g.reshape(batch, -1)).T for g in grad[1:-1]]
        return grads, last

    def sums(
        self,
        moved: np.ndarray,
        states: np.ndarray,
        inputs: tuple[Any, Any],
        needs: tuple[bool, bool, bool],
        geometry: dict[str, Any],
    ) -> tuple[Any, Any, Any]:
        """Gradients of the input, of its weight, and of the hidden weight with its bias.

        `moved` are those of the gates, `states` what they were computed from, with a row of ones.
        """
        input, w_ih = inputs
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

    def derived(self, m: Any, grad: Any, inputs: Any, needs: Any, attrs: Any) -> Any:
        """The derivative by differentiating the recorded steps, on tensors."""
        from taper.autograd.engine import run_backward

        # Clones, so that what the inputs have to do with each other stays outside.
        fresh = [x.clone() if needed else x for x, needed in zip(inputs, needs, strict=True)]
        outs = self.recorded(m, fresh, **attrs)
        pairs = [(o, g) for o, g in zip(outs, grad, strict=False) if g is not None]
        found = iter(
            run_backward(
                [o for o, _ in pairs],
                [g for _, g in pairs],
                retain_graph=True,
                create_graph=True,
                targets=[x for x, needed in zip(fresh, needs, strict=True) if needed],
                accumulate=False,
            )
        )
        return tuple(next(found) if needed else None for needed in needs)

    def recorded(
        self,
        m: Any,
        inputs: Any,
        *,
        batch_first: bool,
        reverse: bool,
        sizes: Any,
        **attrs: Any,
    ) -> Any:
        """Outputs and last states by recorded ops."""
        x, *rest = inputs
        given, weights = rest[: self.states], rest[self.states :]
        ndim = x.dim()
        if sizes is not None:
            parts = x.split(list(sizes))
        elif ndim == 2:
            parts = (x,)
        else:
            parts = x.unbind(1 if batch_first else 0)
        batch = parts[0].shape[0]
        widths = self.widths(weights)
        shapes = [
            (batch, w) if g is None else tuple(g.shape) for g, w in zip(given, widths, strict=True)
        ]
        states = [
            x.new_zeros((batch, w)) if g is None else g.reshape(batch, w)
            for g, w in zip(given, widths, strict=True)
        ]
        made: list[Any] = [None] * len(parts)
        order = range(len(parts))
        for t in reversed(order) if reverse else order:
            alive = parts[t].shape[0]
            new = self.step(m, parts[t], [s[:alive] for s in states], weights, **attrs)
            made[t] = new[0]
            if alive < batch:
                new = [m.concatenate([n, s[alive:]]) for n, s in zip(new, states, strict=True)]
            states = list(new)
        if ndim == 2:
            out = m.concatenate(made) if sizes is not None else made[0]
        else:
            out = NAMESPACES["torch"]["stack"](made, 1 if batch_first else 0)
        if ndim == 3 or sizes is not None:
            shapes = [(1, batch, w) for w in widths]
        return out, *(s.reshape(shape) for s, shape in zip(states, shapes, strict=True))

    def widths(self, weights: Any) -> list[int]:
        """How many features each state has."""
        return [weights[1].shape[1]]


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return NAMESPACES["nn.functional"]["linear"](x, weight, bias)


@op
class Rnn(_Layer):
    """Elman's layer: h' = tanh or relu of w_ih x + b_ih + w_hh h + b_hh."""

    node_name = "StackBackward0"
    outputs = 3
    differentiable = (True, True, False)
    saved_from = 2
    saves = ("input", "hidden", "w_ih", "w_hh", "b_ih", "b_hh", "out")

    def forward(
        self,
        m: Any,
        input: Any,
        hidden: Any,
        w_ih: Any,
        w_hh: Any,
        b_ih: Any,
        b_hh: Any,
        *,
        relu: bool,
        batch_first: bool,
        reverse: bool,
        sizes: Any,
    ) -> Any:
        x = _stepwise(widened(input), batch_first, reverse, sizes)
        reserve = recurrence.rnn(
            x,
            _rows(hidden),
            widened(w_ih),
            widened(w_hh),
            _total(b_ih, b_hh),
            relu,
            _alive(reverse, sizes),
        )
        return *_results(
            input, reserve, (0, w_hh.shape[1]), (), batch_first, reverse, sizes
        ), reserve

    def step(self, m: Any, x: Any, state: Any, weights: Any, *, relu: bool) -> Any:
        w_ih, w_hh, b_ih, b_hh = weights
        total = _linear(x, w_ih, b_ih) + _linear(state[0], w_hh, b_hh)
        return (total.relu() if relu else total.tanh(),)

    def backward(
        self,
        grad: Any,
        reserve: Any,
        input: Any,
        hidden: Any,
        w_ih: Any,
        w_hh: Any,
        b_ih: Any,
        b_hh: Any,
        *,
        needs: Any,
        relu: bool,
        **geometry: Any,
    ) -> Any:
        size = w_hh.shape[1]
        grads, (last,) = self.arrived(grad, reserve, size, input.ndim, geometry)
        moved, first = recurrence.rnn_backward(
            grads, last, reserve, widened(w_hh), relu, _alive(**geometry)
        )
        dtype = input.dtype
        to_input, to_w_ih, both = self.sums(
            moved, reserve[:-1], (input, w_ih), (needs[0], needs[2], any(needs[3:])), geometry
        )
        to_w_hh, to_bias = _parted(both, dtype)
        return (
            to_input,
            _state_grad(first, hidden) if needs[1] else None,
            _cast(to_w_ih, dtype),
            to_w_hh if needs[3] else None,
            to_bias if needs[4] else None,
            to_bias.copy() if needs[5] else None,
        )


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


def _back(to_x: np.ndarray | None, input: np.ndarray, geometry: dict[str, Any]) -> Any:
    """The input's gradient in the input's layout and dtype."""
    return None if to_x is None else _cast(_given_back(to_x, input.ndim, **geometry), input.dtype)


@op
class Gru(_Layer):
    """Gated recurrent unit; the reset gate acts after the product with the state."""

    node_name = "StackBackward0"
    outputs = 3
    differentiable = (True, True, False)
    saved_from = 2
    saves = ("input", "hidden", "w_ih", "w_hh", "b_ih", "b_hh", "out")

    def forward(
        self,
        m: Any,
        input: Any,
        hidden: Any,
        w_ih: Any,
        w_hh: Any,
        b_ih: Any,
        b_hh: Any,
        *,
        batch_first: bool,
        reverse: bool,
        sizes: Any,
    ) -> Any:
        x = _stepwise(widened(input), batch_first, reverse, sizes)
        b_ih, b_hh = (None if b is None else widened(b) for b in (b_ih, b_hh))
        reserve = recurrence.gru(
            x, _rows(hidden), widened(w_ih), widened(w_hh), b_ih, b_hh, _alive(reverse, sizes)
        )
        return *_results(
            input, reserve, (0, w_hh.shape[1]), (), batch_first, reverse, sizes
        ), reserve

    def step(self, m: Any, x: Any, state: Any, weights: Any) -> Any:
        w_ih, w_hh, b_ih, b_hh = weights
        in_r, in_z, in_n = _linear(x, w_ih, b_ih).chunk(3, 1)
        r, z, hidden = _linear(state[0], w_hh, b_hh).chunk(3, 1)
        r, z = (in_r + r).sigmoid(), (in_z + z).sigmoid()
        n = (in_n + r * hidden).tanh()
        return (n + z * (state[0] - n),)

    def backward(
        self,
        grad: Any,
        reserve: Any,
        input: Any,
        hidden: Any,
        w_ih: Any,
        w_hh: Any,
        b_ih: Any,
        b_hh: Any,
        *,
        needs: Any,
        **geometry: Any,
    ) -> Any:
        size = w_hh.shape[1]
        dtype = input.dtype
        grads, (last,) = self.arrived(grad, reserve, size, input.ndim, geometry)
        moved, first = recurrence.gru_backward(
            grads, last, reserve, widened(w_hh), _alive(**geometry)
        )
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
            _state_grad(first, hidden) if needs[1] else None,
            _cast(to_w_ih, dtype),
            to_w_hh if needs[3] else None,
            _cast(to_b_ih, dtype),
            to_b_hh if needs[5] else None,
        )


@op
class Lstm(_Layer):
    """Long short-term memory; `w_hr` projects its output."""

    node_name = "StackBackward0"
    states = 2
    outputs = 4
    differentiable = (True, True, True, False)
    saved_from = 3
    saves = ("input", "hidden", "cell", "w_ih", "w_hh", "b_ih", "b_hh", "w_hr", "out")

    def forward(
        self,
        m: Any,
        input: Any,
        hidden: Any,
        cell: Any,
        w_ih: Any,
        w_hh: Any,
        b_ih: Any,
        b_hh: Any,
        w_hr: Any,
        *,
        batch_first: bool,
        reverse: bool,
        sizes: Any,
    ) -> Any:
        x = _stepwise(widened(input), batch_first, reverse, sizes)
        reserve = recurrence.lstm(
            x,
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

    def widths(self, weights: Any) -> list[int]:
        """The output's size, and the cell's."""
        return [weights[1].shape[1], weights[1].shape[0] // 4]

    def step(self, m: Any, x: Any, state: Any, weights: Any) -> Any:
        w_ih, w_hh, b_ih, b_hh, w_hr = weights
        i, f, g, o = (_linear(x, w_ih, b_ih) + _linear(state[0], w_hh, b_hh)).chunk(4, 1)
        cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        return hidden if w_hr is None else _linear(hidden, w_hr, None), cell

    def backward(
        self,
        grad: Any,
        reserve: Any,
        input: Any,
        hidden: Any,
        cell: Any,
        w_ih: Any,
        w_hh: Any,
        b_ih: Any,
        b_hh: Any,
        w_hr: Any,
        *,
        needs: Any,
        **geometry: Any,
    ) -> Any:
        size, out = w_hh.shape[0] // 4, w_hh.shape[1]
        dtype, sizes = input.dtype, _alive(**geometry)
        grads, (last, last_cell) = self.arrived(grad, reserve, out, input.ndim, geometry)
        narrow = None if w_hr is None else widened(w_hr)
        moved, first, first_cell = recurrence.lstm_backward(
            grads, last, last_cell, reserve, widened(w_hh), narrow, sizes
        )
        to_input, to_w_ih, both = self.sums(
            moved,
            reserve[:-1, : out + 1],
            (input, w_ih),
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
            _state_grad(first, hidden) if needs[1] else None,
            _state_grad(first_cell, cell) if needs[2] else None,
            _cast(to_w_ih, dtype),
            to_w_hh if needs[4] else None,
            to_bias if needs[5] else None,
            to_bias.copy() if needs[6] else None,
            _cast(to_w_hr, dtype),
        )
