"""Layers of small hidden sizes: one call of a kernel of recurrent_lanes.py each way."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.backends.llvm import pool
from taper.backends.llvm.functions.recurrent_arrays import (
    ELEMENTS,
    PARALLEL,
    Array,
    Sizes,
    function,
    plain,
    zeros,
)
from taper.backends.llvm.machine import host
from taper.backends.llvm.recurrent import CELLS
from taper.backends.llvm.recurrent_lanes import LanesBackward, LanesForward, tape_vectors

# Multiplications in a step of one sequence up to which it is written out in full.
MOST_PRODUCTS = 1024
# Groups of sequences that are at least a thread's share.
_LEAST_PIECE = 4


def in_lanes(cell: str, inputs: int, hidden: int) -> bool:
    """Whether a layer of these sizes has a sequence in each lane."""
    return hidden <= 16 and CELLS[cell].gates * hidden * (inputs + hidden) <= MOST_PRODUCTS


class _Lanes:
    """What forward and backward share: groups, pieces of them, and whether threads pay."""

    def __init__(self, sizes: Sizes) -> None:
        self.dtype, self.state = sizes.dtype, sizes.state
        self.lanes = host().lanes(sizes.dtype.itemsize)
        self.groups = -(-sizes.batch // self.lanes)
        # The batch alone decides about pieces, so that threads change no bit.
        self.piece = max(_LEAST_PIECE, -(-self.groups // pool.MOST_PIECES))
        self.pieces = -(-self.groups // self.piece)
        kind = CELLS[sizes.cell]
        self.no_bias = zeros((kind.gates * sizes.hidden,), sizes.dtype)
        self.no_state = zeros(self.state, sizes.dtype)
        # An activation costs as much as some 20 multiplications.
        products = kind.gates * sizes.hidden * (sizes.inputs + sizes.hidden + 20)
        products *= sizes.batch * sizes.steps
        self.parallel = self.pieces > 1 and products >= PARALLEL


class Forward(_Lanes):
    """The forward pass for inputs of one shape and strides."""

    def __init__(self, sizes: Sizes, strides: tuple[int, ...]) -> None:
        super().__init__(sizes)
        self.copies, row, step = sizes.places(strides)
        flat = sizes.whole and step == sizes.inputs
        spec = LanesForward(sizes.cell, ELEMENTS[self.dtype], sizes.inputs, sizes.hidden, flat)
        self.kernel = function(spec, "kernel")
        self.out = (sizes.steps, *sizes.state[-2:]) if sizes.whole else sizes.state
        self.turned = sizes.whole and sizes.batch_first
        fixed, each = tape_vectors(sizes.cell, sizes.inputs, sizes.hidden, self.lanes)
        self.tape = self.groups * self.lanes * (fixed + sizes.steps * each)
        self.numbers = (sizes.batch, sizes.steps, row, step, *sizes.order, self.piece)

    def run(
        self,
        input: Array,
        states: tuple[Array | None, ...],
        w_ih: Array,
        w_hh: Array,
        b_ih: Array | None,
        b_hh: Array | None,
    ) -> tuple[Array, ...]:
        """Outputs, the last states, and the tape."""
        empty, dtype, state = np.empty, self.dtype, self.state
        no_bias, no_state = self.no_bias, self.no_state
        out, tape = empty(self.out, dtype), empty(self.tape, dtype)
        last = [empty(state, dtype) for _ in states]
        self.kernel(
            pool.address() if self.parallel else 0,
            np.ascontiguousarray(input) if self.copies else input,
            *[no_state if s is None else plain(s) for s in states],
            plain(w_ih),
            plain(w_hh),
            no_bias if b_ih is None else plain(b_ih),
            no_bias if b_hh is None else plain(b_hh),
            out,
            *last,
            tape,
            *self.numbers,
        )
        return out.transpose(1, 0, 2) if self.turned else out, *last, tape


class Backward(_Lanes):
    """The backward pass for gradients of one shape and strides (None: of the last states only)."""

    def __init__(
        self, sizes: Sizes, strides: tuple[int, ...] | None, needs: tuple[bool, ...]
    ) -> None:
        super().__init__(sizes)
        hidden, inputs, dtype = sizes.hidden, sizes.inputs, sizes.dtype
        kind = CELLS[sizes.cell]
        needs = needs[: kind.states + 5]
        self.spared = [i for i, needed in enumerate(needs) if not needed]
        self.to_input, to_weights = needs[0], any(needs[kind.states + 1 :])
        self.copies, dy_row, dy_step, grads = False, 0, 0, "none"
        if strides is not None:
            outputs = Sizes(sizes.cell, dtype, hidden, hidden, (*sizes.shape[:-1], hidden),
                            sizes.batch_first, sizes.reverse)  # fmt: skip
            self.copies, dy_row, dy_step = outputs.places(strides)
            grads = "flat" if sizes.whole and dy_step == hidden else "steps"
        # The input's gradient is contiguous, however the input lies.
        self.shape, dx_row, dx_step = sizes.shape, inputs, 0
        if sizes.whole:
            flat, other = (sizes.steps, 1) if sizes.batch_first else (1, sizes.batch)
            dx_row, dx_step = flat * inputs, other * inputs
        spec = LanesBackward(
            sizes.cell, ELEMENTS[dtype], inputs, hidden, sizes.whole and sizes.batch_first, grads,
            self.to_input, to_weights,
        )  # fmt: skip
        self.kernel = function(spec, "kernel")
        fixed, each = spec.scratch_vectors(self.lanes)
        self.scratch = self.lanes * (fixed + sizes.steps * each)
        self.sums = self.pieces * spec.sums * self.lanes
        rows = kind.gates * hidden
        self.weights = ((rows, inputs), (rows, hidden), (rows,), (rows,)) if to_weights else ()
        self.numbers = (sizes.batch, sizes.steps, *sizes.order, dy_row, dy_step, dx_row, dx_step,
                        self.piece, self.pieces)  # fmt: skip

    def run(
        self, grad: Any, tape: Array, input: Array, w_ih: Array, w_hh: Array
    ) -> tuple[Any, ...]:
        """Gradients of the input, the states, and the four weights and biases."""
        empty, dtype, state, nothing = np.empty, self.dtype, self.state, self.no_bias
        dy, no_state = grad[0], self.no_state
        if dy is None:
            dy = nothing
        elif self.copies:
            dy = np.ascontiguousarray(dy)
        threads = pool.address() if self.parallel else 0
        scratch = self.scratch
        work = empty(self.sums + (scratch * self.pieces if threads else scratch), dtype)
        dx = empty(self.shape, dtype) if self.to_input else nothing
        first = [empty(state, dtype) for _ in grad[1:]]
        sums = [empty(shape, dtype) for shape in self.weights] or [nothing] * 4
        self.kernel(
            threads,
            dy,
            *[no_state if g is None else plain(g) for g in grad[1:]],
            plain(w_ih),
            plain(w_hh),
            tape,
            dx,
            *first,
            work,
            *sums,
            *self.numbers,
            scratch if threads else 0,
        )
        made: list[Any] = [dx, *first, *sums]
        for place in self.spared:
            made[place] = None
        return tuple(made)
