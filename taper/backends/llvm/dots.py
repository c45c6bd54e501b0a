"""Products with one to four columns, or one row: dot products of rows, vectors along k.

A matrix product's tile (tile.py) has columns in its lanes, and most would be idle here. So lanes
are places along k instead, `lanes` sums run side by side, and a network of shuffles adds up the
lanes of all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm import call
from taper.backends.llvm.text import Function, Module, Pointer, Value, vector

MOST_COLUMNS = 4
KINDS = ("array", "array", "array", "array", "int", "int", "int", "int", "int")
_ROWS_PER_BASE = 3  # as in tile.py


@dataclass(frozen=True)
class Dots:
    """C[i, j] = bias + sum over k of A[i, k] W[j, k], for j below `columns`; C is contiguous.

    `bias` is "columns" for bias[j], "rows" for bias[i] (of a single column), or "".
    kernel(A, W, C, bias, a_row, w_row, k, begin, end) computes rows `begin` to `end`.

    A sum is taken in as many parts as a vector has lanes, each in the order of k, and the parts are
    added in pairs: an order that depends on k and the processor alone.
    """

    element: str
    columns: int
    bias: str = ""

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernel and its entry for Python."""
        return ("kernel", "entry")

    def interpret(self, a: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        """The meaning, in numpy."""
        c = np.matmul(a, w.T)
        if bias is not None:
            c = c + (bias if self.bias == "columns" else bias[:, None])
        return c

    def write(self, module: Module) -> None:
        """Both functions."""
        # More rows at once would compete for the same sets of the cache where rows are 4096 bytes apart.
        whole = min(8, module.lanes(self.element) // self.columns) or 1
        f = module.function(
            "kernel", a="ptr", w="ptr", c="ptr", bias="ptr", a_row="i64", w_row="i64", k="i64",
            begin="i64", end="i64",
        )  # fmt: skip
        groups = (f.arg("end") - f.arg("begin")) // whole
        single = f.arg("begin") + groups * whole
        f.loop(0, groups, lambda t: self._group(f, f.arg("begin") + t * whole, whole))
        f.loop(single, f.arg("end"), lambda i: self._group(f, i, 1))
        f.ret()
        call.write_entry(module, "entry", f, KINDS)

    def _group(self, f: Function, first: Value, rows: int) -> None:
        """The dot products of some rows."""
        lanes = f.module.lanes(self.element)
        a_row, w_row, k = f.arg("a_row"), f.arg("w_row"), f.arg("k")
        a = f.pointer("a", self.element).at(first * a_row)
        w = f.pointer("w", self.element)
        bases = [a.at(a_row * i) for i in range(0, rows, _ROWS_PER_BASE)]
        offsets = (0, a_row, a_row * 2)
        factors = [w.at(w_row * j) for j in range(self.columns)]

        def step(i: Value, *sums: Value, mask: Value | None = None) -> list[Value]:
            right = [p.load(i, lanes, mask) for p in factors]
            made = []
            for row in range(rows):
                base, within = divmod(row, _ROWS_PER_BASE)
                x = bases[base].at(i).load(offsets[within], lanes, mask)
                made += [f.fma(x, y, sums[row * self.columns + j]) for j, y in enumerate(right)]
            return made

        zero = f.const(0.0, vector(self.element, lanes))
        whole = k // lanes * lanes
        sums = f.loop(0, whole, step, lanes, [zero] * (rows * self.columns))

        def rest(i: Value, *sums: Value) -> list[Value]:
            return step(i, *sums, mask=f.mask(k - i, lanes))

        sums = f.loop(whole, k, rest, lanes, sums)
        self._store(f, sums, first, rows, lanes)

    def _store(self, f: Function, sums: list[Value], first: Value, rows: int, lanes: int) -> None:
        """Adds up lanes, adds the bias, writes the results."""
        place = f.pointer("c", self.element).at(first * self.columns)
        bias = f.pointer("bias", self.element)
        count = len(sums)
        for start in range(0, count, lanes):
            part = sums[start : start + lanes]
            total = _across(f, part, lanes)
            mask = f.mask(len(part), lanes)
            if self.bias == "columns":
                total = total + self._repeated(f, bias, start, lanes)
            elif self.bias == "rows":
                total = total + bias.load(first + start, lanes, mask)
            place.store(total, start, mask)

    def _repeated(self, f: Function, bias: Pointer, start: int, lanes: int) -> Value:
        """The bias over and over, from result number `start` on."""
        places = [(start + i) % self.columns for i in range(lanes)]
        if self.columns <= lanes:
            own = bias.load(0, lanes, f.mask(self.columns, lanes))
            return own.shuffle(own, places)
        made = f.const(0.0, vector(self.element, lanes))
        for lane, place in enumerate(places):
            made = made.with_lane(lane, bias.load(place))
        return made


def _across(f: Function, sums: list[Value], lanes: int) -> Value:
    """The vector whose lane i is the sum of the lanes of sums[i]."""
    zero = f.const(0.0, sums[0].type)
    # The halves of a lane's number are chosen from its highest bit down, those of a sum's from its
    # lowest bit up: sums enter in the order of their numbers' bits reversed.
    bits = lanes.bit_length() - 1
    order = [int(format(i, f"0{bits}b")[::-1], 2) for i in range(lanes)] if bits else [0]
    parts: list[Any] = [sums[i] if i < len(sums) else None for i in order]
    group = lanes
    while len(parts) > 1:
        half = group // 2
        low = [i // group * group + i % half + (lanes if i % group >= half else 0)
               for i in range(lanes)]  # fmt: skip
        high = [i + half for i in low]
        parts = [
            None if x is y is None else _paired(x or zero, y or zero, low, high)
            for x, y in zip(parts[::2], parts[1::2], strict=True)
        ]
        group = half
    made: Value = parts[0]
    return made


def _paired(x: Value, y: Value, low: list[int], high: list[int]) -> Value:
    return x.shuffle(y, low) + x.shuffle(y, high)
