"""Recurrent layers on kernels: `gru_forward`, `gru_backward` and so on, as in backends/recurrent.py.

Padded sequences of float32 or float64 go through recurrent_lanes.py if the hidden size is small,
else through recurrent_units.py. Packed sequences, projected outputs and other dtypes stay with the reference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import recurrent as reference
from taper.backends.llvm import build, call, pool
from taper.backends.llvm.functions import gemm
from taper.backends.llvm.machine import host
from taper.backends.llvm.recurrent import CELLS
from taper.backends.llvm.recurrent_lanes import LanesBackward, LanesForward, tape_vectors
from taper.backends.llvm.recurrent_units import UnitsBackward, UnitsForward, room, segments

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


# Rows of the input (steps times batch) below which the hidden weights are not worth a copy.
FEWEST_ROWS = 8
# Multiplications, in a step or together, from which threads pay.
_PARALLEL = 1 << 19
# Groups of sequences that are at least a thread's share.
_LEAST_PIECE = 4


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


_kept: list[build.Library] = []  # the code must outlive its callers


@functools.cache
def _function(spec: Any, name: str) -> Callable[..., None]:
    """An exported kernel as a Python function."""
    library = build.library(spec)
    _kept.append(library)
    if call.has_fast_calls():
        return call.builtin(name, library.addresses[name + "_entry"])
    return call.through_ctypes(library.addresses[name], getattr(spec, name + "_kinds"))


def _pieces(groups: int) -> tuple[int, int]:
    """Groups in a piece, and pieces: what threads share out. The batch alone decides."""
    piece = max(_LEAST_PIECE, -(-groups // pool.MOST_PIECES))
    return piece, -(-groups // piece)


class _Lanes:
    """What is known of a small layer before its arrays are: kernels, and sizes of their memory."""

    def __init__(self, cell: str, dtype: Any, inputs: int, hidden: int) -> None:
        self.cell, self.element, self.inputs, self.hidden = cell, _ELEMENTS[dtype], inputs, hidden
        self.lanes = host().lanes(dtype.itemsize)
        fixed, each = tape_vectors(cell, inputs, hidden, self.lanes)
        self.tape_fixed, self.tape_step = fixed * self.lanes, each * self.lanes
        gates = CELLS[cell].gates * hidden
        self.no_bias = _zeros((gates,), dtype)
        # Sequences times steps from which threads pay.
        self.parallel = _PARALLEL // (gates * (inputs + hidden + 20))
        self.forwards: dict[bool, Callable[..., None]] = {}
        self.backwards: dict[Any, tuple[Callable[..., None], int, int, int]] = {}

    def forward(self, flat: bool) -> Callable[..., None]:
        """The kernel for such an input."""
        found = self.forwards.get(flat)
        if found is None:
            spec = LanesForward(self.cell, self.element, self.inputs, self.hidden, flat)
            found = self.forwards[flat] = _function(spec, "kernel")
        return found

    def backward(self, *kind: Any) -> tuple[Callable[..., None], int, int, int]:
        """The kernel for such gradients; elements of its sums, of scratch, and more for a step."""
        found = self.backwards.get(kind)
        if found is None:
            spec = LanesBackward(self.cell, self.element, self.inputs, self.hidden, *kind)
            fixed, each = (count * self.lanes for count in spec.scratch_vectors(self.lanes))
            found = _function(spec, "kernel"), spec.sums * self.lanes, fixed, each
            self.backwards[kind] = found
        return found


class _Units:
    """What is known of a larger layer before its arrays are."""

    def __init__(self, cell: str, dtype: Any, inputs: int, hidden: int) -> None:
        self.cell, self.inputs, self.hidden = cell, inputs, hidden
        self.kind, self.segments = CELLS[cell], segments(cell)
        element = _ELEMENTS[dtype]
        self.line = 64 // dtype.itemsize
        self.pitch = self.odd_lines(hidden)
        self.moved_pitch = self.odd_lines(self.kind.grads * hidden)
        self.no_bias = _zeros((self.kind.gates * hidden,), dtype)
        gates = self.kind.gates * hidden
        self.forward_room = room(host(), element, gates, hidden)
        self.backward_room = sum(
            room(host(), element, hidden, count * hidden) for _, count, _ in self.segments
        )
        self.forward = UnitsForward(cell, element)
        self.backward = UnitsBackward(cell, element)

    def odd_lines(self, count: int) -> int:
        """Elements in a row of `count`: rows an odd number of cache lines apart do not compete."""
        return (-(-count // self.line) | 1) * self.line

    def threads(self, batch: int) -> int:
        """The pool for the steps of a batch, or 0 where one thread is quicker."""
        products = batch * self.kind.gates * self.hidden * self.hidden
        return pool.address() if products >= _PARALLEL else 0

    def reserve(self, steps: int, batch: int) -> tuple[int, int]:
        """Elements of the states, and of what is saved."""
        states = self.kind.states * (steps + 1) * batch * self.pitch
        return states, steps * batch * self.kind.saved * self.hidden


_plans: dict[Any, _Lanes | _Units | None] = {}


def _plan(cell: str, dtype: Any, inputs: int, hidden: int) -> _Lanes | _Units | None:
    """How a layer of these sizes is computed; None: by the reference."""
    key = (cell, dtype, inputs, hidden)
    try:
        return _plans[key]
    except KeyError:
        fits = dtype in _ELEMENTS and inputs and hidden
        kind = _Lanes if in_lanes(CELLS[cell].gates, inputs, hidden) else _Units
        made = _plans[key] = kind(*key) if fits else None
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
    if isinstance(plan, _Units):
        return _forward_by_units(plan, input, states, w_ih, w_hh, b_ih, b_hh, batch_first, reverse)
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
    piece, pieces = _pieces(groups)
    threads = pool.address() if pieces > 1 and batch * steps > plan.parallel else 0
    plan.forward(flat)(
        threads, x, *[_zeros(state_shape, dtype) if s is None else _plain(s) for s in states],
        _plain(w_ih), _plain(w_hh),
        plan.no_bias if b_ih is None else _plain(b_ih),
        plan.no_bias if b_hh is None else _plain(b_hh),
        out, *last, tape,
        batch, steps, row, step, steps - 1 if reverse else 0, -1 if reverse else 1, piece,
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
    if isinstance(plan, _Units):
        return _backward_by_units(plan, grad, tape, input, w_ih, w_hh, needs, batch_first, reverse)
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
    function, of_sums, fixed, each = plan.backward(
        whole and batch_first, kind, to_input, to_weights
    )  # fmt: skip
    piece, pieces = _pieces(-(-batch // plan.lanes))
    threads = pool.address() if pieces > 1 and batch * steps > plan.parallel else 0
    scratch = fixed + steps * each
    function(
        threads, dy, *[_zeros(state_shape, dtype) if g is None else _plain(g) for g in grad[1:]],
        _plain(w_ih), _plain(w_hh), tape, dx, *first, empty(pieces * of_sums + (pieces if threads else 1) * scratch, dtype), *sums,
        batch, steps, steps - 1 if reverse else 0, -1 if reverse else 1,
        dy_row, dy_step, dx_row, dx_step, piece, pieces, scratch if threads else 0,
    )  # fmt: skip
    made = (dx, *first, *sums)
    return tuple([g if needed else None for g, needed in zip(made, needs, strict=False)])


# ---------------------------------------------------------------- larger hidden sizes


def _forward_by_units(
    plan: _Units,
    input: Array,
    states: tuple[Array | None, ...],
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    batch_first: bool,
    reverse: bool,
) -> tuple[Array, ...] | None:
    dtype, hidden, kind = input.dtype, plan.hidden, plan.kind
    x = _stepwise(input, batch_first)
    steps, batch, inputs = x.shape
    if steps * batch < FEWEST_ROWS:
        return None
    empty = np.empty
    gates = gemm.linear(_plain(x).reshape(-1, inputs), w_ih, b_ih)
    panels = empty(plan.forward_room, dtype)
    _function(plan.forward, "pack")(_plain(w_hh), panels, hidden)
    of_states, of_saved = plan.reserve(steps, batch)
    reserve = empty((1, of_states + of_saved), dtype)
    held = reserve[0, :of_states].reshape(kind.states, steps + 1, batch, plan.pitch)
    for own, given in zip(held, states, strict=True):
        own[0, :, :hidden] = 0 if given is None else given.reshape(batch, hidden)
    out = empty((steps, batch, hidden), dtype)
    _function(plan.forward, "steps")(
        plan.threads(batch), gates, plan.no_bias if b_hh is None else _plain(b_hh), out, reserve, reserve[0, of_states:],
        panels, empty(batch * kind.gates * hidden, dtype),
        batch, steps, hidden, plan.pitch, steps - 1 if reverse else 0,
        -1 if reverse else 1,
    )  # fmt: skip
    shape = (batch, hidden) if input.ndim == 2 else (1, batch, hidden)
    last = [own.copy().reshape(shape) for own in held[:, steps, :, :hidden]]
    if input.ndim == 2:
        return out[0], *last, reserve
    return out.transpose(1, 0, 2) if batch_first else out, *last, reserve


def _backward_by_units(
    plan: _Units,
    grad: Any,
    reserve: Array,
    input: Array,
    w_ih: Array,
    w_hh: Array,
    needs: tuple[bool, ...],
    batch_first: bool,
    reverse: bool,
) -> tuple[Any, ...]:
    dtype, hidden, kind = input.dtype, plan.hidden, plan.kind
    x = _stepwise(input, batch_first)
    steps, batch, inputs = x.shape
    empty = np.empty
    of_states, _ = plan.reserve(steps, batch)
    count = kind.states
    if grad[0] is None:
        dy, dy_row, dy_step = _zeros((hidden,), dtype), 0, 0
    else:
        dy = _in_rows(grad[0])
        dy_row, dy_step = _places(dy, batch_first)
    carried = empty((count, batch, hidden), dtype)
    for own, given in zip(carried, grad[1:], strict=True):
        own[...] = 0 if given is None else given.reshape(batch, hidden)
    panels = empty(plan.backward_room, dtype)
    _function(plan.backward, "pack")(_plain(w_hh), panels, hidden)
    moved = empty((steps * batch, plan.moved_pitch), dtype)
    sums = np.zeros(kind.grads * hidden, dtype)
    of_state = needs[1 : count + 1]
    _function(plan.backward, "steps")(
        plan.threads(batch), dy, reserve, reserve[0, of_states:], panels, moved, carried, sums,
        batch, steps, hidden, plan.pitch, plan.moved_pitch,
        steps - 1 if reverse else 0, -1 if reverse else 1, dy_row, dy_step, int(True in of_state),
    )  # fmt: skip
    to_w_ih, to_w_hh, to_b_ih, to_b_hh = needs[count + 1 : count + 5]
    made: list[Any] = [None] * (count + 5)
    by_input = moved[:, : kind.gates * hidden]
    if needs[0]:
        dx = gemm.matmul(by_input, w_ih).reshape(steps, batch, inputs)
        dx = np.ascontiguousarray(dx[::-1]) if reverse else dx
        made[0] = dx[0] if input.ndim == 2 else dx.transpose(1, 0, 2) if batch_first else dx
    shape = (batch, hidden) if input.ndim == 2 else (1, batch, hidden)
    for i, needed in enumerate(of_state):
        made[1 + i] = carried[i].reshape(shape) if needed else None
    if to_w_ih:
        rows = _plain(x[::-1] if reverse else x).reshape(-1, inputs)
        made[count + 1] = gemm.matmul(by_input.T, rows)
    if to_w_hh:
        before = reserve[0, : steps * batch * plan.pitch].reshape(-1, plan.pitch)[:, :hidden]
        parts = [
            gemm.matmul(moved[:, place * hidden : (place + gates) * hidden].T, before)
            for _, gates, place in plan.segments
        ]
        made[count + 2] = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if to_b_ih:
        made[count + 3] = sums[: kind.gates * hidden].copy()
    if to_b_hh:
        made[count + 4] = np.concatenate(
            [sums[place * hidden : (place + gates) * hidden] for _, gates, place in plan.segments]
        )
    return tuple(made)


def _stepwise(x: Array, batch_first: bool) -> Array:
    """As (steps, batch, features), in the order of the input."""
    if x.ndim == 2:
        return x[None]
    return x.transpose(1, 0, 2) if batch_first else x


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
    if reserve.ndim < 3:
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
    if reserve.ndim < 3:
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
    if reserve.ndim < 3:
        return *_backward(
            "lstm", grad, reserve, input, (hidden, cell), w_ih, w_hh, needs,
            batch_first, reverse,
        ), None  # fmt: skip
    return reference.lstm_backward(
        grad, reserve, input, hidden, cell, w_ih, w_hh, b_ih, b_hh, w_hr,
        needs=needs, batch_first=batch_first, reverse=reverse, sizes=sizes,
    )  # fmt: skip
