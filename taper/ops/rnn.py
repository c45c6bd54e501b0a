"""Recurrent networks: stacked layers, over padded or packed sequences, and cells.

The layers themselves are ops in recurrent.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taper import dtypes
from taper.dispatch import apply
from taper.errors import ShapeError
from taper.op import NAMESPACES, public
from taper.ops.recurrent import Gru, Lstm, Rnn
from taper.tensor import Tensor

# ---------------------------------------------------------------- stacked layers


def stacked(
    kind: Any,
    input: Tensor,
    states: Sequence[Tensor | None],
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool = False,
    sizes: tuple[int, ...] | None = None,
    projected: bool = False,
    **attrs: Any,
) -> list[Tensor]:
    """Output of the last layer, then the last states of all layers and directions.

    `states` (None for zeros) have a leading dimension of layers and directions; `sizes` are the
    batch sizes of packed sequences.
    """
    directions = 2 if bidirectional else 1
    layers = num_layers * directions
    per_layer = (4 if has_biases else 2) + projected
    _check_stack(kind, input, states, params, layers, per_layer, batch_first, sizes)
    dropping = dropout > 0 and train and num_layers > 1
    # Dropout draws its mask for (steps, batch, features), as PyTorch does.
    turned = dropping and batch_first
    if turned:
        input = input.transpose(0, 1)
    geometry = {"batch_first": batch_first and not turned, "sizes": sizes, **attrs}
    if layers == 1:
        made = _layer(kind, input, states, params, has_biases, projected, False, geometry)
        return list(made[:-1])
    collected: list[list[Tensor]] = [[] for _ in states]
    join = NAMESPACES["torch"]["cat"]
    for layer in range(num_layers):
        outs = []
        for direction in range(directions):
            number = layer * directions + direction
            weights = params[number * per_layer : (number + 1) * per_layer]
            own = [None if s is None else s[number : number + 1] for s in states]
            made = _layer(
                kind, input, own, weights, has_biases, projected, direction == 1, geometry
            )
            outs.append(made[0])
            for found, state in zip(collected, made[1:], strict=False):
                found.append(state)
        if directions == 1:
            input = outs[0]
        elif geometry["batch_first"] and sizes is None:  # steps come first in memory
            input = join([out.transpose(0, 1) for out in outs], -1).transpose(0, 1)
        else:
            input = join(outs, -1)
        if dropping and layer < num_layers - 1:
            input = NAMESPACES["nn.functional"]["dropout"](input, dropout, True)
    if turned:
        input = input.transpose(0, 1)
    return [input, *(join(found, 0) for found in collected)]


def _layer(
    kind: Any,
    input: Tensor,
    states: Sequence[Tensor | None],
    weights: Sequence[Tensor],
    has_biases: bool,
    projected: bool,
    reverse: bool,
    geometry: dict[str, Any],
) -> tuple[Tensor, ...]:
    """One layer in one direction: output, last states, reserve."""
    given: list[Any] = [input, *states, *weights]
    if not has_biases:
        place = 3 + len(states)
        given[place:place] = (None, None)
    if kind is Lstm and not projected:
        given.append(None)
    made: tuple[Tensor, ...] = apply(kind, *given, reverse=reverse, **geometry)
    return made


def _check_stack(
    kind: Any,
    input: Tensor,
    states: Sequence[Tensor | None],
    params: Sequence[Tensor],
    layers: int,
    per_layer: int,
    batch_first: bool,
    sizes: Any,
) -> None:
    name, array = kind.name, input._array
    if sizes is None and (array.ndim != 3 or array.shape[1 if batch_first else 0] == 0):
        if array.ndim != 3:
            raise ShapeError(name, f"input must have 3 dimensions, got {array.ndim}")
        raise ShapeError(name, "Expected sequence length to be larger than 0 in RNN")
    if len(params) % per_layer:
        raise ShapeError(name, "got an incorrect number of RNN parameters")
    if len(params) < layers * per_layer:
        raise ShapeError(name, "Expected more weights in stacked_rnn")
    for state in states:
        if state is not None and (state._array.ndim != 3 or state._array.shape[0] < layers):
            raise ShapeError(
                name,
                f"Expected more hidden states in stacked_rnn: {layers} layers and directions, got "
                f"a state of shape {list(state.shape)}",
            )
    _check_dtypes(name, input, *states, *params)


def _check_dtypes(name: str, input: Tensor, *others: Tensor | None) -> None:
    dtype = input._array.dtype
    for other in others:
        if other is not None and other._array.dtype != dtype:
            from taper.errors import DtypeError

            given = dtypes.cpp_name(input.dtype), dtypes.cpp_name(other.dtype)
            raise DtypeError(
                name,
                f"mat1 and mat2 must have the same dtype, but got {given[0]} and {given[1]}",
            )


_PLAIN = ("input", "hx", "params", "has_biases", "num_layers", "dropout", "train",
          "bidirectional", "batch_first")  # fmt: skip
_PACKED = ("data", "batch_sizes", *_PLAIN[1:-1])


def _called(kind: Any, name: str, args: Any, kwargs: Any, **attrs: Any) -> tuple[Tensor, ...]:
    """One of the public functions: the arguments by either signature, then the layers."""
    # The params are a sequence; where they come fourth, the second argument is batch_sizes.
    packed = "data" in kwargs or "batch_sizes" in kwargs
    if not packed and len(args) > 1:
        packed = isinstance(args[1], Tensor) and (
            isinstance(args[2], Tensor) if kind is not Lstm and len(args) > 2 else kind is Lstm
        )
    names = _PACKED if packed else _PLAIN
    given = dict(zip(names, args, strict=False))
    if len(args) > len(names) or given.keys() & kwargs.keys() or {*given, *kwargs} != {*names}:
        raise TypeError(
            f"{name}() received an invalid combination of arguments - expected one of:\n"
            f" * ({', '.join(_PACKED)})\n * ({', '.join(_PLAIN)})"
        )
    given.update(kwargs)
    hx = given["hx"]
    states = [hx]
    if kind is Lstm:
        if len(hx) != 2:
            raise ShapeError(name, "lstm expects two hidden states")
        states = list(hx)
    return tuple(
        stacked(
            kind,
            given["data"] if packed else given["input"],
            states,
            list(given["params"]),
            given["has_biases"],
            given["num_layers"],
            given["dropout"],
            given["train"],
            given["bidirectional"],
            batch_first=not packed and given["batch_first"],
            sizes=tuple(given["batch_sizes"].tolist()) if packed else None,
            # With projections the output is narrower than the cell.
            projected=kind is Lstm and hx[0].shape[2] != hx[1].shape[2],
            **attrs,
        )
    )


@public()
def rnn_tanh(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """Stacked Elman layers with tanh, h' = tanh(w_ih x + b_ih + w_hh h + b_hh): output and h_n.

    Called as (input, hx, params, has_biases, num_layers, dropout, train, bidirectional,
    batch_first), or for packed sequences as (data, batch_sizes, hx, params, has_biases,
    num_layers, dropout, train, bidirectional).

    Shape: input (steps, batch, size), or (batch, steps, size) with batch_first; hx and h_n
        (layers * directions, batch, hidden); params w_ih, w_hh, b_ih, b_hh for every layer and
        direction.
    Raises: RuntimeError where numbers, sizes or dtypes do not fit.
    """
    return _called(Rnn, "rnn_tanh", args, kwargs, relu=False)


@public()
def rnn_relu(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """Stacked Elman layers with relu; called as `rnn_tanh`."""
    return _called(Rnn, "rnn_relu", args, kwargs, relu=True)


@public()
def gru(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """Stacked gated recurrent units: output and h_n; called as `rnn_tanh`.

    r, z = sigmoid(w_ih x + b_ih + w_hh h + b_hh), n = tanh(w_in x + b_in + r (w_hn h + b_hn)),
    h' = n + z (h - n).
    """
    return _called(Gru, "gru", args, kwargs)


@public()
def lstm(*args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
    """Stacked long short-term memories: output, h_n and c_n; called as `rnn_tanh`, hx = (h, c).

    i, f, o = sigmoid(w_ih x + b_ih + w_hh h + b_hh), g = tanh(the same), c' = f c + i g,
    h' = o tanh(c'), or w_hr times that.
    """
    return _called(Lstm, "lstm", args, kwargs)


# ---------------------------------------------------------------- cells


def _cell(
    kind: Any,
    name: str,
    input: Tensor,
    states: Sequence[Tensor],
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    *rest: Any,
    **attrs: Any,
) -> Any:
    if input.dim() == 1:
        made = _cell(
            kind, name, input.unsqueeze(0), [s.unsqueeze(0) for s in states], w_ih, w_hh, b_ih,
            b_hh, *rest, **attrs,
        )  # fmt: skip
        return [x.squeeze(0) for x in made]
    if input.shape[1] != w_ih.shape[1]:
        raise ShapeError(
            name,
            f"input has inconsistent input_size: got {input.shape[1]} expected {w_ih.shape[1]}",
        )
    for number, state in enumerate(states):
        if state.shape[0] != input.shape[0]:
            raise ShapeError(
                name,
                f"Input batch size {input.shape[0]} doesn't match hidden{number} batch size "
                f"{state.shape[0]}",
            )
        if state.shape[1] != w_hh.shape[1]:
            raise ShapeError(
                name,
                f"hidden{number} has inconsistent hidden_size: got {state.shape[1]}, expected "
                f"{w_hh.shape[1]}",
            )
    _check_dtypes(name, input, *states, w_ih, w_hh, b_ih, b_hh)
    if (b_ih is None) != (b_hh is None):
        b_ih, b_hh = (w_ih.new_zeros(w_ih.shape[0]) if b is None else b for b in (b_ih, b_hh))
    return apply(
        kind, input, *states, w_ih, w_hh, b_ih, b_hh, *rest,
        batch_first=False, reverse=False, sizes=None, **attrs,
    )  # fmt: skip


@public()
def rnn_tanh_cell(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """One step of `rnn_tanh`: the new state.

    Shape: input (batch, size), hx (batch, hidden); result (batch, hidden).
    Raises: RuntimeError where sizes or dtypes do not fit.
    """
    return _cell(Rnn, "rnn_tanh_cell", input, [hx], w_ih, w_hh, b_ih, b_hh, relu=False)[0]


@public()
def rnn_relu_cell(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """One step of `rnn_relu`: the new state."""
    return _cell(Rnn, "rnn_relu_cell", input, [hx], w_ih, w_hh, b_ih, b_hh, relu=True)[0]


@public()
def gru_cell(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """One step of `gru`: the new state."""
    return _cell(Gru, "gru_cell", input, [hx], w_ih, w_hh, b_ih, b_hh)[0]


@public()
def lstm_cell(
    input: Tensor,
    hx: Sequence[Tensor],
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of `lstm`: the new h and c from hx = (h, c)."""
    if len(hx) != 2:
        raise ShapeError("lstm_cell", "lstm_cell expects two hidden states")
    made = _cell(Lstm, "lstm_cell", input, list(hx), w_ih, w_hh, b_ih, b_hh, None)
    return made[0], made[2]
