"""Recurrent layers RNN, LSTM and GRU, and their single steps RNNCell, LSTMCell and GRUCell.

A layer holds one set of weights for every layer and direction, named as in PyTorch; the
computation is in taper/ops/rnn.py.
"""

from __future__ import annotations

import math
import numbers
import warnings
from typing import Any

import taper
from taper.nn import init
from taper.nn.modules.module import Module
from taper.nn.parameter import Parameter
from taper.nn.utils.rnn import PackedSequence
from taper.ops import rnn as functions
from taper.ops.recurrent import Gru, Lstm, Rnn
from taper.tensor import Tensor

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def _apply_permutation(tensor: Tensor, permutation: Tensor, dim: int = 1) -> Tensor:
    return tensor.index_select(dim, permutation)


def apply_permutation(tensor: Tensor, permutation: Tensor, dim: int = 1) -> Tensor:
    """tensor.index_select(dim, permutation), the old way of saying it."""
    warnings.warn(
        "`apply_permutation` is deprecated, please use `tensor.index_select(dim, permutation)` "
        "instead",
        FutureWarning,
        stacklevel=2,
    )
    return _apply_permutation(tensor, permutation, dim)


def _check_settings(
    input_size: Any,
    hidden_size: Any,
    num_layers: int,
    bias: Any,
    batch_first: Any,
    dropout: Any,
    proj_size: int,
) -> None:
    """PyTorch's errors, in its order."""
    if (
        not isinstance(dropout, numbers.Number)
        or isinstance(dropout, bool)
        or not 0 <= dropout <= 1  # type: ignore[operator]
    ):
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an "
            "element being zeroed"
        )
    if dropout > 0 and num_layers == 1:  # type: ignore[operator]
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout "
            f"expects num_layers greater than 1, but got dropout={dropout} and "
            f"num_layers={num_layers}",
            stacklevel=4,
        )
    for name, value, wanted in (
        ("bias", bias, bool),
        ("batch_first", batch_first, bool),
        ("input_size", input_size, int),
        ("hidden_size", hidden_size, int),
    ):
        if not isinstance(value, wanted):
            raise TypeError(
                f"{name} should be of type {wanted.__name__}, got: {type(value).__name__}"
            )
        if wanted is int and value <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if num_layers <= 0:
        raise ValueError("num_layers must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")


class RNNBase(Module):
    """What RNN, LSTM and GRU share: the weights, the checks, and the way to the ops.

    The weights of layer k are weight_ih_l{k}, weight_hh_l{k}, bias_ih_l{k}, bias_hh_l{k} and,
    with projections, weight_hr_l{k}; those of the other direction end in _reverse.
    """

    __constants__ = [
        "mode",
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
        "proj_size",
    ]
    __jit_unused_properties__ = ["all_weights"]

    mode: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check_settings(input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        if mode not in _GATES:
            raise ValueError("Unrecognized RNN mode: " + mode)
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        gates = _GATES[mode] * hidden_size
        out = proj_size or hidden_size
        directions = 2 if bidirectional else 1
        self._all_weights: list[list[str]] = []
        self._flat_weights_names: list[str] = []
        for layer in range(num_layers):
            seen = input_size if layer == 0 else out * directions
            shapes: dict[str, tuple[int, ...]] = {
                "weight_ih": (gates, seen),
                "weight_hh": (gates, out),
            }
            if bias:
                shapes.update(bias_ih=(gates,), bias_hh=(gates,))
            if proj_size:
                shapes["weight_hr"] = (proj_size, hidden_size)
            for suffix in ("", "_reverse")[:directions]:
                names = []
                for kind, shape in shapes.items():
                    names.append(f"{kind}_l{layer}{suffix}")
                    setattr(
                        self, names[-1], Parameter(taper.empty(shape, device=device, dtype=dtype))
                    )
                self._all_weights.append(names)
                self._flat_weights_names.extend(names)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all weights anew, uniformly from +-1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    @property
    def _flat_weights(self) -> list[Any]:
        """The weights of all layers and directions in their order, as they are now."""
        own = self._parameters
        try:
            return [own[name] for name in self._flat_weights_names]
        except KeyError:  # a parametrized or replaced weight is an attribute of another kind
            return [getattr(self, name, None) for name in self._flat_weights_names]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The weights, one list per layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def flatten_parameters(self) -> None:
        """Does nothing: it is for cuDNN, which wants all weights in one piece of memory."""

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Raises an error if dtype or shape of the input do not fit."""
        weight = self._parameters.get(self._flat_weights_names[0])
        if weight is None:
            weight = self._flat_weights[0]
        wanted = 3 if batch_sizes is None else 2
        # The usual case, on arrays, because every call comes here.
        array = input._array
        if array.dtype is weight._array.dtype and array.ndim == wanted:
            if array.shape[-1] == self.input_size:
                return
        held = weight.dtype
        if input.dtype != held:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({held}). "
                f"Convert input: input.to({held}), or convert model: model.to({input.dtype})"
            )
        if input.dim() != wanted:
            raise RuntimeError(f"input must have {wanted} dimensions, got {input.dim()}")
        if input.size(-1) != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. "
                f"Expected {self.input_size}, got {input.size(-1)}"
            )

    def _expected(self, input: Tensor, batch_sizes: Tensor | None, size: int) -> tuple[int, ...]:
        if batch_sizes is not None:
            batch = int(batch_sizes[0])
        else:
            batch = input.size(0 if self.batch_first else 1)
        return self.num_layers * (2 if self.bidirectional else 1), batch, size

    def get_expected_hidden_size(
        self, input: Tensor, batch_sizes: Tensor | None
    ) -> tuple[int, ...]:
        """The shape h must have for this input."""
        return self._expected(input, batch_sizes, self.proj_size or self.hidden_size)

    def check_hidden_size(
        self,
        hx: Tensor,
        expected_hidden_size: tuple[int, ...],
        msg: str = "Expected hidden size {}, got {}",
    ) -> None:
        """Raises an error if the state does not have the shape."""
        if tuple(hx.size()) != expected_hidden_size:
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.size())))

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        """Raises an error if input or state do not fit."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """The state with its batch in another order."""
        return hx if permutation is None else _apply_permutation(hx, permutation)

    def _check_state_dim(self, states: list[Tensor], batched: bool) -> None:
        wanted = 3 if batched else 2
        if states[0].dim() != wanted:
            raise RuntimeError(
                f"For {'batched 3-D' if batched else 'unbatched 2-D'} input, hx should also be "
                f"{wanted}-D but got {states[0].dim()}-D tensor"
            )

    def _run(self, kind: Any, input: Any, hx: Any, **attrs: Any) -> tuple[Any, list[Tensor]]:
        """Output and last states for a tensor or a PackedSequence; hx None means zeros."""
        packed = isinstance(input, PackedSequence)
        order = back = batch_sizes = None
        batched = True
        batch_dim = 0 if self.batch_first else 1
        x: Tensor
        if packed:
            x, batch_sizes, order, back = input
        else:
            x = input
            if x.dim() not in (2, 3):
                noun = "D tensor" if kind is Rnn else "D"
                raise ValueError(
                    f"{type(self).__name__ if kind is not Rnn else 'RNN'}: Expected input to be "
                    f"2D or 3D, got {x.dim()}{noun} instead"
                )
            batched = x.dim() == 3
            if not batched:
                x = x.unsqueeze(batch_dim)
        if hx is None:
            self.check_input(x, batch_sizes)
            states: list[Any] = [None] * kind.states
        else:
            pair = kind.states > 1
            states = list(hx) if pair else [hx]
            if not packed:
                self._check_state_dim(states, batched)
                if not batched:
                    states = [s.unsqueeze(1) for s in states]
            states = states if order is None else [_apply_permutation(s, order) for s in states]
            self.check_forward_args(x, tuple(states) if pair else states[0], batch_sizes)
        output, *last = functions.stacked(
            kind,
            x,
            states,
            self._flat_weights,
            self.bias,
            self.num_layers,
            self.dropout,
            self.training,
            self.bidirectional,
            batch_first=self.batch_first and not packed,
            sizes=None if batch_sizes is None else tuple(batch_sizes.tolist()),
            projected=self.proj_size > 0,
            **attrs,
        )
        if packed:
            if back is not None:
                last = [_apply_permutation(s, back) for s in last]
            return PackedSequence(output, batch_sizes, order, back), last
        if not batched:
            output, last = output.squeeze(batch_dim), [s.squeeze(1) for s in last]
        return output, last

    def extra_repr(self) -> str:
        """Sizes, and whatever is not the default."""
        text = f"{self.input_size}, {self.hidden_size}"
        for name, usual in (
            ("proj_size", 0),
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0),
            ("bidirectional", False),
        ):
            value = getattr(self, name)
            if value != usual:
                text += f", {name}={value}"
        return text

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # PyTorch's pickles hold the weights a second time; very old ones lack proj_size.
        for name in ("_flat_weights", "_flat_weight_refs"):
            self.__dict__.pop(name, None)
        self.__dict__.setdefault("proj_size", 0)


class RNN(RNNBase):
    """Elman's layers: h' = tanh(w_ih x + b_ih + w_hh h + b_hh), or relu of it.

    Arguments: input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True,
    batch_first=False, dropout=0.0, bidirectional=False, device=None, dtype=None.

    Shape: input (steps, batch, input_size), or (batch, steps, input_size) with batch_first, or
        without batch, or a PackedSequence; output the same with hidden_size * directions; h
        (num_layers * directions, batch, hidden_size).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            nonlinearity = args[3]
            args = args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        super().__init__("RNN_" + nonlinearity.upper(), *args, **kwargs)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        """(output, h_n); hx is h_0, zeros by default."""
        output, (h,) = self._run(Rnn, input, hx, relu=self.mode == "RNN_RELU")
        return output, h


class LSTM(RNNBase):
    """Long short-term memory: c' = f c + i g, h' = o tanh(c'), with gates of input and h.

    Arguments: input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
    bidirectional=False, proj_size=0, device=None, dtype=None.

    Shape: as for RNN; with proj_size, h and the output have proj_size instead of hidden_size.
    Source: Hochreiter and Schmidhuber, Long short-term memory, 1997; projections: Sak and others,
        2014.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def get_expected_cell_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, ...]:
        """The shape c must have for this input."""
        return self._expected(input, batch_sizes, self.hidden_size)

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        """Raises an error if input, h or c do not fit."""
        self.check_input(input, batch_sizes)
        for number, expected in enumerate(
            (
                self.get_expected_hidden_size(input, batch_sizes),
                self.get_expected_cell_size(input, batch_sizes),
            )
        ):
            self.check_hidden_size(
                hidden[number], expected, f"Expected hidden[{number}] size {{}}, got {{}}"
            )

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """h and c with their batch in another order."""
        if permutation is None:
            return hx
        return _apply_permutation(hx[0], permutation), _apply_permutation(hx[1], permutation)

    def _check_state_dim(self, states: list[Tensor], batched: bool) -> None:
        wanted = 3 if batched else 2
        if any(s.dim() != wanted for s in states):
            raise RuntimeError(
                f"For {'batched 3-D' if batched else 'unbatched 2-D'} input, hx and cx should "
                f"also be {wanted}-D but got ({states[0].dim()}-D, {states[1].dim()}-D) tensors"
            )

    def forward(self, input: Any, hx: Any = None) -> Any:
        """(output, (h_n, c_n)); hx is (h_0, c_0), zeros by default."""
        output, (h, c) = self._run(Lstm, input, hx)
        return output, (h, c)


class GRU(RNNBase):
    """Gated recurrent units: h' = n + z (h - n), n = tanh(w_in x + b_in + r (w_hn h + b_hn)).

    Arguments: input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0,
    bidirectional=False, device=None, dtype=None.

    Shape: as for RNN.
    Source: Cho and others, Learning phrase representations using RNN encoder-decoder, 2014, with
        the reset gate behind the product, as in cuDNN.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        """(output, h_n); hx is h_0, zeros by default."""
        output, (h,) = self._run(Gru, input, hx)
        return output, h


# ---------------------------------------------------------------- single steps


class RNNCellBase(Module):
    """What the cells share: weight_ih, weight_hh, bias_ih and bias_hh of `num_chunks` gates."""

    __constants__ = ["input_size", "hidden_size", "bias"]

    input_size: int
    hidden_size: int
    bias: bool
    weight_ih: Tensor
    weight_hh: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        gates = num_chunks * hidden_size
        for name, shape in (
            ("weight_ih", (gates, input_size)),
            ("weight_hh", (gates, hidden_size)),
            ("bias_ih", (gates,)),
            ("bias_hh", (gates,)),
        ):
            if bias or name.startswith("weight"):
                made = Parameter(taper.empty(shape, device=device, dtype=dtype))
                self.register_parameter(name, made)
            else:
                self.register_parameter(name, None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all weights anew, uniformly from +-1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        """Sizes, and whatever is not the default."""
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if self.__dict__.get("nonlinearity", "tanh") != "tanh":
            text += f", nonlinearity={self.__dict__['nonlinearity']}"
        return text

    def _check(self, input: Tensor, states: dict[str, Tensor]) -> None:
        own = type(self).__name__
        for what, each in {"input": input, **states}.items():
            if each.dim() not in (1, 2):
                raise ValueError(
                    f"{own}: Expected {what} to be 1D or 2D, got {each.dim()}D instead"
                )

    def _zeros(self, input: Tensor) -> Tensor:
        return input.new_zeros((*input.shape[:-1], self.hidden_size))

    def _weights(self) -> tuple[Any, ...]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh


class RNNCell(RNNCellBase):
    """One step of Elman's layer: h' = tanh(w_ih x + b_ih + w_hh h + b_hh), or relu of it.

    Shape: input (batch, input_size), h (batch, hidden_size), or both without batch.
    """

    __constants__ = ["input_size", "hidden_size", "bias", "nonlinearity"]
    nonlinearity: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, num_chunks=1, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The new h; hx is the old one, zeros by default."""
        self._check(input, {} if hx is None else {"hidden": hx})
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        step = functions.rnn_tanh_cell if self.nonlinearity == "tanh" else functions.rnn_relu_cell
        return step(input, self._zeros(input) if hx is None else hx, *self._weights())


class LSTMCell(RNNCellBase):
    """One step of an LSTM: c' = f c + i g, h' = o tanh(c').

    Shape: input (batch, input_size), h and c (batch, hidden_size), or all without batch.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, num_chunks=4, device=device, dtype=dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The new (h, c); hx is the old one, zeros by default."""
        self._check(input, {f"hx[{i}]": s for i, s in enumerate(hx or ())})
        if hx is None:
            zeros = self._zeros(input)
            hx = (zeros, zeros)
        return functions.lstm_cell(input, hx, *self._weights())


class GRUCell(RNNCellBase):
    """One step of a GRU: h' = n + z (h - n).

    Shape: input (batch, input_size), h (batch, hidden_size), or both without batch.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, num_chunks=3, device=device, dtype=dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The new h; hx is the old one, zeros by default."""
        self._check(input, {} if hx is None else {"hidden": hx})
        return functions.gru_cell(input, self._zeros(input) if hx is None else hx, *self._weights())
