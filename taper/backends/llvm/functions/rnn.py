"""Recurrent layers on kernels: `gru_forward`, `gru_backward` and so on, as in backends/recurrent.py.

Padded sequences of float32 or float64 whose hidden size is small go through recurrent_lanes.py.
Packed sequences, projected outputs and other dtypes stay with the reference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import recurrent as reference
from taper.backends.llvm import build, call
from taper.backends.llvm.machine import host
from taper.backends.llvm.recurrent import CELLS
from taper.backends.llvm.recurrent_lanes import Backward, Forward, tape_vectors

PUBLISHED = (
    "gru_forward",
    "gru_backward",
    "lstm_forward",
    "lstm_backward",
    "rnn_forward",
    "rnn_backward",
)

_ELEMENTS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}

# Multiplications in a step of one sequence up to which it is written out in full.
MOST_PRODUCTS = 1024

Array = np.ndarray


def in_lanes(gates: int, inputs: int, hidden: int) -> bool:
    """Whether a layer of these sizes has a sequence in each lane."""
    return hidden <= 16 and gates * hidden * (inputs + hidden) <= MOST_PRODUCTS


def _plain(x: Array) -> Array:
    return x if x.flags.c_contiguous else np.ascontiguousarray(x)


def _in_rows(x: Array) -> Array:
    """The array with features next to each other, and a whole number of elements between rows."""
    size, strides = x.itemsize, x.strides
    if strides[-1] == size and not strides[0] % size and not strides[-2] % size:
        return x
    return np.ascontiguousarray(x)


def _places(x: Array, batch_first: bool) -> tuple[int, int]:
    """Elements between sequences, and between steps (0 for a cell)."""
    size, strides = x.itemsize, x.strides
    if len(strides) == 2:
        return strides[0] // size, 0
    one, other = strides[0] // size, strides[1] // size
    return (one, other) if batch_first else (other, one)


@functools.lru_cache(64)
def _zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros that are only read: absent biases, first states, and gradients."""
    made = np.zeros(shape, dtype)
    made.flags.writeable = False
    return made


def _function(spec: Any) -> Callable[..., None]:
    library = build.library(spec)
    if call.has_fast_calls():
        return call.builtin(type(spec).__name__.lower(), library.addresses["entry"])
    return call.through_ctypes(library.addresses["kernel"], spec.kinds)


class _Lanes:
    """What is known of a small layer before its arrays are: kernels, and sizes of their memory."""

    def __init__(self, cell: str, dtype: Any, inputs: int, hidden: int) -> None:
        self.cell, self.element, self.inputs, self.hidden = cell, _ELEMENTS[dtype], inputs, hidden
        self.lanes = host().lanes(dtype.itemsize)
        fixed, each = tape_vectors(cell, inputs, hidden, self.lanes)
        self.tape_fixed, self.tape_step = fixed * self.lanes, each * self.lanes
        self.no_bias = _zeros((CELLS[cell].gates * hidden,), dtype)
        self.forwards: dict[bool, Callable[..., None]] = {}
        self.backwards: dict[Any, tuple[Callable[..., None], int, int]] = {}

    def forward(self, flat: bool) -> Callable[..., None]:
        """The kernel for such an input."""
        found = self.forwards.get(flat)
        if found is None:
            spec = Forward(self.cell, self.element, self.inputs, self.hidden, flat)
            found = self.forwards[flat] = _function(spec)
        return found

    def backward(self, *kind: Any) -> tuple[Callable[..., None], int, int]:
        """The kernel for such gradients, and the elements it works in: fixed, and for a step."""
        found = self.backwards.get(kind)
        if found is None:
            spec = Backward(self.cell, self.element, self.inputs, self.hidden, *kind)
            fixed, each = spec.work_vectors(self.lanes)
            found = _function(spec), fixed * self.lanes, each * self.lanes
            self.backwards[kind] = found
        return found


_plans: dict[Any, _Lanes | None] = {}


def _plan(cell: str, dtype: Any, inputs: int, hidden: int) -> _Lanes | None:
    """How a layer of these sizes is computed; None: by the reference."""
    key = (cell, dtype, inputs, hidden)
    try:
        return _plans[key]
    except KeyError:
        fits = dtype in _ELEMENTS and in_lanes(CELLS[cell].gates, inputs, hidden) and inputs
        made = _plans[key] = _Lanes(*key) if fits else None
        return made


def _forward(
    cell: str,
    input: Array,
    states: tuple[Array | None, ...],
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Array, ...] | None:
    """The results by a kernel; None where there is none for such arrays."""
    dtype, shape = input.dtype, input.shape
    hidden = w_hh.shape[1]
    plan = _plan(cell, dtype, w_ih.shape[1], hidden)
    if plan is None or sizes is not None or not input.size:
        return None
    empty = np.empty
    x = _in_rows(input)
    row, step = _places(x, batch_first)
    if len(shape) == 2:
        batch, steps, flat = shape[0], 1, False
        state_shape: tuple[int, ...] = (batch, hidden)
        out = empty(state_shape, dtype)
    else:
        batch, steps = shape[:2] if batch_first else shape[1::-1]
        flat = step == plan.inputs
        state_shape = (1, batch, hidden)
        out = empty((steps, batch, hidden), dtype)
    groups = -(-batch // plan.lanes)
    tape = empty(groups * (plan.tape_fixed + steps * plan.tape_step), dtype)
    last = [empty(state_shape, dtype) for _ in states]
    plan.forward(flat)(
        x, *[_zeros(state_shape, dtype) if s is None else _plain(s) for s in states],
        _plain(w_ih), _plain(w_hh),
        plan.no_bias if b_ih is None else _plain(b_ih),
        plan.no_bias if b_hh is None else _plain(b_hh),
        out, *last, tape,
        0, groups, batch, steps, row, step, steps - 1 if reverse else 0, -1 if reverse else 1,
    )  # fmt: skip
    return out.transpose(1, 0, 2) if batch_first and len(shape) == 3 else out, *last, tape


def _backward(
    cell: str,
    grad: Any,
    tape: Array,
    input: Array,
    states: tuple[Array | None, ...],
    w_ih: Array,
    w_hh: Array,
    needs: tuple[bool, ...],
    batch_first: bool,
    reverse: bool,
) -> tuple[Any, ...]:
    dtype, shape = input.dtype, input.shape
    rows, hidden = w_hh.shape
    plan = _plan(cell, dtype, w_ih.shape[1], hidden)
    assert plan is not None
    empty = np.empty
    whole = len(shape) == 3
    if whole:
        batch, steps = shape[:2] if batch_first else shape[1::-1]
        state_shape: tuple[int, ...] = (1, batch, hidden)
    else:
        batch, steps = shape[0], 1
        state_shape = (batch, hidden)
    nothing = plan.no_bias
    dy, kind, dy_row, dy_step = grad[0], "none", 0, 0
    if dy is None:
        dy = nothing
    else:
        dy = _in_rows(dy)
        dy_row, dy_step = _places(dy, batch_first)
        kind = "flat" if whole and dy_step == hidden else "steps"
    first = [empty(state_shape, dtype) for _ in states]
    to_input, to_weights = needs[0], True in needs[len(first) + 1 :]
    if to_input:
        dx = empty(shape, dtype)
        dx_row, dx_step = _places(dx, batch_first)
    else:
        dx, dx_row, dx_step = nothing, 0, 0
    if to_weights:
        sums = (
            empty((rows, plan.inputs), dtype), empty((rows, hidden), dtype),
            empty(rows, dtype), empty(rows, dtype),
        )  # fmt: skip
    else:
        sums = (nothing, nothing, nothing, nothing)
    # The input's gradient is contiguous, however the input lies.
    function, fixed, each = plan.backward(whole and batch_first, kind, to_input, to_weights)
    function(
        dy, *[_zeros(state_shape, dtype) if g is None else _plain(g) for g in grad[1:]],
        _plain(w_ih), _plain(w_hh), tape, dx, *first, empty(fixed + steps * each, dtype), *sums,
        0, -(-batch // plan.lanes), batch, steps, steps - 1 if reverse else 0,
        -1 if reverse else 1, dy_row, dy_step, dx_row, dx_step,
    )  # fmt: skip
    made = (dx, *first, *sums)
    return tuple([g if needed else None for g, needed in zip(made, needs, strict=False)])


# ---------------------------------------------------------------- the functions


def gru_forward(
    input: Array,
    hidden: Array | None,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Array, ...]:
    """Outputs, the last state, and the tape."""
    made = _forward("gru", input, (hidden,), w_ih, w_hh, b_ih, b_hh, batch_first, reverse, sizes)
    if made is not None:
        return made
    return reference.gru_forward(
        input, hidden, w_ih, w_hh, b_ih, b_hh,
        batch_first=batch_first, reverse=reverse, sizes=sizes,
    )  # fmt: skip


def gru_backward(
    grad: Any,
    reserve: Array,
    input: Array,
    hidden: Array | None,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    needs: tuple[bool, ...],
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Any, ...]:
    """Gradients of the six arrays."""
    if reserve.ndim == 1:
        return _backward(
            "gru", grad, reserve, input, (hidden,), w_ih, w_hh, needs, batch_first,
            reverse,
        )  # fmt: skip
    return reference.gru_backward(
        grad, reserve, input, hidden, w_ih, w_hh, b_ih, b_hh,
        needs=needs, batch_first=batch_first, reverse=reverse, sizes=sizes,
    )  # fmt: skip


def rnn_forward(
    input: Array,
    hidden: Array | None,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    relu: bool,
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Array, ...]:
    """Outputs, the last state, and the tape."""
    cell = "relu" if relu else "tanh"
    made = _forward(cell, input, (hidden,), w_ih, w_hh, b_ih, b_hh, batch_first, reverse, sizes)
    if made is not None:
        return made
    return reference.rnn_forward(
        input, hidden, w_ih, w_hh, b_ih, b_hh,
        relu=relu, batch_first=batch_first, reverse=reverse, sizes=sizes,
    )  # fmt: skip


def rnn_backward(
    grad: Any,
    reserve: Array,
    input: Array,
    hidden: Array | None,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    *,
    needs: tuple[bool, ...],
    relu: bool,
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Any, ...]:
    """Gradients of the six arrays."""
    if reserve.ndim == 1:
        return _backward(
            "relu" if relu else "tanh", grad, reserve, input, (hidden,), w_ih, w_hh,
            needs, batch_first, reverse,
        )  # fmt: skip
    return reference.rnn_backward(
        grad, reserve, input, hidden, w_ih, w_hh, b_ih, b_hh,
        needs=needs, relu=relu, batch_first=batch_first, reverse=reverse, sizes=sizes,
    )  # fmt: skip


def lstm_forward(
    input: Array,
    hidden: Array | None,
    cell: Array | None,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    w_hr: Array | None,
    *,
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Array, ...]:
    """Outputs, the last h and c, and the tape."""
    if w_hr is None:
        made = _forward(
            "lstm", input, (hidden, cell), w_ih, w_hh, b_ih, b_hh, batch_first, reverse, sizes
        )
        if made is not None:
            return made
    return reference.lstm_forward(
        input, hidden, cell, w_ih, w_hh, b_ih, b_hh, w_hr,
        batch_first=batch_first, reverse=reverse, sizes=sizes,
    )  # fmt: skip


def lstm_backward(
    grad: Any,
    reserve: Array,
    input: Array,
    hidden: Array | None,
    cell: Array | None,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    w_hr: Array | None,
    *,
    needs: tuple[bool, ...],
    batch_first: bool,
    reverse: bool,
    sizes: Any,
) -> tuple[Any, ...]:
    """Gradients of the eight arrays."""
    if reserve.ndim == 1:
        return *_backward(
            "lstm", grad, reserve, input, (hidden, cell), w_ih, w_hh, needs,
            batch_first, reverse,
        ), None  # fmt: skip
    return reference.lstm_backward(
        grad, reserve, input, hidden, cell, w_ih, w_hh, b_ih, b_hh, w_hr,
        needs=needs, batch_first=batch_first, reverse=reverse, sizes=sizes,
    )  # fmt: skip
