"""Layers of larger hidden sizes: products over all steps, and the kernels of recurrent_units.py.

The reserve is (1, n): the gates, the states, whose rows are an odd number of cache lines apart, and
what else the cell saves. Packed sequences come here whatever their sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.backends.llvm import pool
from taper.backends.llvm.functions import gemm
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
from taper.backends.llvm.recurrent_units import (
    UnitsBackward,
    UnitsForward,
    in_place,
    room,
    segments,
)

# Rows of the input (steps times batch) below which the hidden weights are not worth a copy.
FEWEST_ROWS = 8


class _Units:
    """What forward and backward share: sizes, and where things are in the reserve."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes, self.dtype, self.hidden = sizes, sizes.dtype, sizes.hidden
        self.batch, self.steps, self.state = sizes.batch, sizes.steps, sizes.state
        self.element = ELEMENTS[sizes.dtype]
        kind = self.kind = CELLS[sizes.cell]
        self.gates = kind.gates * sizes.hidden
        self.pitch = self.odd_lines(sizes.hidden)
        slots = self.slots = sizes.steps * sizes.batch
        # Where the steps of the input begin, and how many rows there are.
        counts = sizes.packed or (sizes.batch,) * sizes.steps
        self.starts = np.cumsum((0, *counts), dtype=np.int64)
        self.rows = sum(counts)
        of_states = kind.states * (slots + sizes.batch) * self.pitch
        saved = (kind.saved - in_place(sizes.cell)) * sizes.hidden
        self.ends = self.rows * self.gates, self.rows * self.gates + of_states
        self.room = self.ends[1] + slots * saved
        products = sizes.batch * self.gates * sizes.hidden
        self.parallel = products >= PARALLEL

    def odd_lines(self, count: int) -> int:
        """Elements in a row of `count`: rows an odd number of cache lines apart do not compete."""
        line = 64 // self.dtype.itemsize
        return (-(-count // line) | 1) * line

    def by_row(self, x: Array) -> Array:
        """As (rows, features): steps first."""
        if self.sizes.batch_first:
            x = x.transpose(1, 0, 2)
        return plain(x).reshape(self.rows, -1)

    def as_input(self, x: Array) -> Array:
        """(rows, features) as the input lies."""
        if not self.sizes.whole:
            return x
        x = x.reshape(self.steps, self.batch, -1)
        return x.transpose(1, 0, 2) if self.sizes.batch_first else x

    def parts(self, reserve: Array) -> tuple[Array, Array, Array]:
        """Gates, states, and what is saved besides."""
        held = reserve[0]
        return held, held[self.ends[0] :], held[self.ends[1] :]

    def pool(self) -> int:
        """The pool's address, or 0 where one thread is quicker."""
        return pool.address() if self.parallel else 0


class Forward(_Units):
    """The forward pass for inputs of one shape."""

    def __init__(self, sizes: Sizes, strides: tuple[int, ...]) -> None:
        super().__init__(sizes)
        spec = UnitsForward(sizes.cell, self.element)
        self.pack = function(spec, "pack")
        self.kernel = function(spec, "steps")
        self.panels = room(host(), self.element, self.gates, self.hidden)

    def run(
        self,
        input: Array,
        states: tuple[Array | None, ...],
        w_ih: Array,
        w_hh: Array,
        b_ih: Array | None,
        b_hh: Array | None,
    ) -> tuple[Array, ...]:
        """Outputs, the last states, and the reserve."""
        empty, dtype, hidden, batch, steps = (
            np.empty, self.dtype, self.hidden, self.batch, self.steps
        )  # fmt: skip
        x = self.by_row(input)
        reserve = empty((1, self.room), dtype)
        parts = self.parts(reserve)
        gemm.linear_into(parts[0][: self.ends[0]].reshape(self.rows, self.gates), x, w_ih, b_ih)
        panels = empty(self.panels, dtype)
        self.pack(plain(w_hh), panels, hidden)
        held = reserve[0, slice(*self.ends)].reshape(len(states), steps + 1, batch, self.pitch)
        for own, given in zip(held, states, strict=True):
            own[0, :, :hidden] = 0 if given is None else given.reshape(batch, hidden)
        out = empty((self.rows, hidden), dtype)
        self.kernel(
            self.pool(), parts[0], zeros((self.gates,), dtype) if b_hh is None else plain(b_hh),
            out, *parts[1:], panels, empty(batch * self.gates, dtype), self.starts,
            batch, steps, hidden, self.pitch, *self.sizes.order,
        )  # fmt: skip
        last = [own.copy().reshape(self.state) for own in held[:, steps, :, :hidden]]
        return self.as_input(out), *last, reserve


class Backward(_Units):
    """The backward pass for gradients of one shape and strides (None: of the last states only)."""

    def __init__(
        self, sizes: Sizes, strides: tuple[int, ...] | None, needs: tuple[bool, ...]
    ) -> None:
        super().__init__(sizes)
        spec = UnitsBackward(sizes.cell, self.element)
        self.pack = function(spec, "pack")
        self.kernel = function(spec, "steps")
        self.segments = segments(sizes.cell)
        self.panels = sum(
            room(host(), self.element, self.hidden, count * self.hidden)
            for _, count, _ in self.segments
        )
        self.moved_pitch = self.odd_lines(self.kind.grads * self.hidden)
        count = self.kind.states
        self.to_input, self.to_states = needs[0], needs[1 : count + 1]
        self.to_weights = needs[count + 1 : count + 5]
        self.copies, self.dy_row, dy_step = False, 0, 0
        if strides is not None:
            outputs = Sizes(sizes.cell, sizes.dtype, self.hidden, self.hidden,
                            (*sizes.shape[:-1], self.hidden), sizes.batch_first, sizes.reverse)  # fmt: skip
            self.copies, self.dy_row, dy_step = outputs.places(strides)
        self.dy_starts = np.arange(self.steps) * dy_step
        if sizes.packed is not None:
            self.dy_starts = self.starts[:-1] * self.dy_row

    def run(
        self, grad: Any, reserve: Array, input: Array, w_ih: Array, w_hh: Array
    ) -> tuple[Any, ...]:
        """Gradients of the input, the states, and the four weights and biases."""
        empty, dtype, hidden, batch, steps = (
            np.empty, self.dtype, self.hidden, self.batch, self.steps
        )  # fmt: skip
        dy = zeros((hidden,), dtype) if grad[0] is None else grad[0]
        carried = empty((len(self.to_states), batch, hidden), dtype)
        for own, given in zip(carried, grad[1:], strict=True):
            own[...] = 0 if given is None else given.reshape(batch, hidden)
        panels = empty(self.panels, dtype)
        self.pack(plain(w_hh), panels, hidden)
        moved = empty((self.rows, self.moved_pitch), dtype)
        sums = np.zeros(self.kind.grads * hidden, dtype)
        self.kernel(
            self.pool(), np.ascontiguousarray(dy) if self.copies else dy, *self.parts(reserve),
            panels, moved, carried, sums, self.starts, self.dy_starts, batch, steps, hidden,
            self.pitch, self.moved_pitch, *self.sizes.order, self.dy_row, int(True in self.to_states),
        )  # fmt: skip
        by_input = moved[:, : self.gates]
        return (
            self.as_input(gemm.matmul(by_input, w_ih)) if self.to_input else None,
            *[
                own.reshape(self.state) if needed else None
                for own, needed in zip(carried, self.to_states, strict=True)
            ],
            *self.of_weights(by_input, moved, sums, input, reserve),
        )

    def before(self, reserve: Array) -> Array:
        """The hidden state before each row of the input, (rows, pitch)."""
        sizes = self.sizes
        states = self.parts(reserve)[1][: self.slots * self.pitch].reshape(-1, self.pitch)
        if not sizes.reverse and sizes.packed is None:
            return states
        # Running step t has its states at t * batch, its rows at starts[step].
        start, direction = sizes.order
        apart = (np.arange(self.steps) - start) * (direction * self.batch) - self.starts[:-1]
        return states.take(np.repeat(apart, np.diff(self.starts)) + np.arange(self.rows), 0)

    def of_weights(
        self, by_input: Array, moved: Array, sums: Array, input: Array, reserve: Array
    ) -> tuple[Any, ...]:
        """The gradients of w_ih, w_hh, b_ih, b_hh."""
        hidden = self.hidden
        parts = [
            slice(place * hidden, (place + gates) * hidden) for _, gates, place in self.segments
        ]
        made: list[Any] = [None] * 4
        if self.to_weights[0]:
            made[0] = gemm.matmul(by_input.T, self.by_row(input))
        if self.to_weights[1]:
            before = self.before(reserve)[:, :hidden]
            made[1] = np.empty((self.gates, hidden), self.dtype)
            for (gate, count, _), part in zip(self.segments, parts, strict=True):
                own = made[1][gate * hidden : (gate + count) * hidden]
                gemm.matmul_into(own, moved[:, part].T, before)
        if self.to_weights[2]:
            made[2] = sums[: self.gates].copy()
        if self.to_weights[3]:
            made[3] = np.concatenate([sums[part] for part in parts])
        return tuple(made)
