"""The ops of recurrent layers, one call per layer and direction over the whole sequence (a cell is
a sequence of one step). The arithmetic is in backends/recurrent.py, the public functions are in
rnn.py.

The ops save what their steps computed in an extra output, `reserve`, that no user sees. Their
second derivatives go another way: the layer is written once more, step by step, with recorded ops
(`Rnn.step` ...), and those are differentiated.
"""

from __future__ import annotations

from typing import Any

from taper.op import NAMESPACES, Opaque, op
from taper.tensor import Tensor

# ---------------------------------------------------------------- the ops


class _Layer(Opaque):
    """What the three kinds share. `states` of them run along the sequence: h, and c of an LSTM."""

    states = 1
    step: Any = None  # (m, x, states, weights, **attrs) -> the new states, by recorded ops
    backward = ""  # the name of the function of `m` that goes back through time, on arrays

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
            back = getattr(m, self.backward)
            return back(grad[:-1], out[0], input, *rest, needs=needs, **attrs)
        return self.derived(m, grad, (input, *rest), needs, attrs)

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
    backward = "rnn_backward"
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
        return m.rnn_forward(
            input, hidden, w_ih, w_hh, b_ih, b_hh,
            relu=relu, batch_first=batch_first, reverse=reverse, sizes=sizes,
        )  # fmt: skip

    def step(self, m: Any, x: Any, state: Any, weights: Any, *, relu: bool) -> Any:
        w_ih, w_hh, b_ih, b_hh = weights
        total = _linear(x, w_ih, b_ih) + _linear(state[0], w_hh, b_hh)
        return (total.relu() if relu else total.tanh(),)


@op
class Gru(_Layer):
    """Gated recurrent unit; the reset gate acts after the product with the state."""

    node_name = "StackBackward0"
    backward = "gru_backward"
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
        return m.gru_forward(
            input, hidden, w_ih, w_hh, b_ih, b_hh,
            batch_first=batch_first, reverse=reverse, sizes=sizes,
        )  # fmt: skip

    def step(self, m: Any, x: Any, state: Any, weights: Any) -> Any:
        w_ih, w_hh, b_ih, b_hh = weights
        in_r, in_z, in_n = _linear(x, w_ih, b_ih).chunk(3, 1)
        r, z, hidden = _linear(state[0], w_hh, b_hh).chunk(3, 1)
        r, z = (in_r + r).sigmoid(), (in_z + z).sigmoid()
        n = (in_n + r * hidden).tanh()
        return (n + z * (state[0] - n),)


@op
class Lstm(_Layer):
    """Long short-term memory; `w_hr` projects its output."""

    node_name = "StackBackward0"
    backward = "lstm_backward"
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
        return m.lstm_forward(
            input, hidden, cell, w_ih, w_hh, b_ih, b_hh, w_hr,
            batch_first=batch_first, reverse=reverse, sizes=sizes,
        )  # fmt: skip

    def widths(self, weights: Any) -> list[int]:
        """The output's size, and the cell's."""
        return [weights[1].shape[1], weights[1].shape[0] // 4]

    def step(self, m: Any, x: Any, state: Any, weights: Any) -> Any:
        w_ih, w_hh, b_ih, b_hh, w_hr = weights
        i, f, g, o = (_linear(x, w_ih, b_ih) + _linear(state[0], w_hh, b_hh)).chunk(4, 1)
        cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        return hidden if w_hr is None else _linear(hidden, w_hr, None), cell
