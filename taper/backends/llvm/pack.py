"""Copies of the operands of a matrix product in the order in which its tiles read them.

B becomes panels: [k][columns of a tile], padded to whole vectors, so that one panel after the other
is read from its beginning to its end. A is only ever broadcast, so its copy keeps its orientation;
it is made where the rows of the original would compete for the same sets of the cache.

Factors of a half type are always copied, and become float32, or pairs: see `Words`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taper.backends.llvm.machine import Machine
from taper.backends.llvm.text import SIZES, Function, Module, Pointer, Value, vector
from taper.backends.llvm.tile import VECS


def transpose(rows: list[Value]) -> list[Value]:
    """A square of vectors turned over: rounds of block exchanges between pairs of rows."""
    rows = list(rows)
    count, block = len(rows), 1
    while block < count:
        low = [c if not c & block else (c ^ block) + count for c in range(count)]
        high = [c | block if not c & block else c + count for c in range(count)]
        for i in range(count):
            if not i & block:
                x, y = rows[i], rows[i | block]
                rows[i], rows[i | block] = x.shuffle(y, low), x.shuffle(y, high)
        block *= 2
    return rows


def least(x: Value, most: Any) -> Value:
    """The smaller of two integers."""
    return (x < most).select(x, x.f.const(most, x.type))


@dataclass(frozen=True)
class Words:
    """What tiles read, and how it is made of stored elements.

    A word is an element of `kind` for one step of k. Where the processor multiplies pairs of
    bfloat16, it is an i32 with two of them, for two steps of k; the last one may be half empty.
    """

    kind: str
    stored: str

    @classmethod
    def of(cls, machine: Machine, element: str, stored: str) -> Words:
        """Those for sums of `element`."""
        pairs = stored == "bfloat" and machine.has_bf16_dot
        return cls("i32" if pairs else element, stored)

    @property
    def steps(self) -> int:
        """Steps of k in a word."""
        return 2 if self.kind == "i32" else 1

    def lanes(self, module: Module) -> int:
        """Words in a vector."""
        return module.machine.lanes(SIZES[self.kind])

    def count(self, k: Value) -> Value:
        """Words for k steps."""
        return k if self.steps == 1 else (k + 1) // 2

    def along_k(self, place: Pointer, lanes: int, depth: Value | None) -> Value:
        """A vector of words that follow one another along k; zeros beyond `depth` steps."""
        f = place.f
        count = lanes * self.steps
        mask = None if depth is None else f.mask(depth, count)
        if self.steps == 2:
            kind = vector("i32", lanes)
            loaded = place.as_("i16").load(0, count, mask)
            return f.emit(kind, f"bitcast {loaded.type} {loaded.name} to {kind}")
        return self._widened(place.load(0, lanes, mask))

    def across(self, place: Pointer, row: Value, lanes: int, mask: Value | None,
               depth: Value) -> Value:  # fmt: skip
        """A word each of neighbours; `row` is the distance to the next step of k, if it exists."""
        if self.steps == 1:
            return self._widened(place.load(0, lanes, mask))
        more = place.f.splat(depth > 1, lanes)
        low = place.as_("i16").load(0, lanes, mask).cast("zext", "i32")
        both = more if mask is None else more & mask
        high = place.at(row).as_("i16").load(0, lanes, both).cast("zext", "i32")
        return low | high << 16

    def _widened(self, x: Value) -> Value:
        return x if self.kind == self.stored else x.cast("fpext", self.kind)


def _turn_square(module: Module, words: Words) -> Function:
    """to[k][column] = b[column][k] for a square of a vector's size; `columns` and `depth` exist."""
    lanes = words.lanes(module)

    def write(f: Function) -> None:
        b, to = f.pointer("b", words.stored), f.pointer("to", words.kind)
        columns, depth = f.arg("columns"), f.arg("depth")

        def copy(masked: bool) -> None:
            # Columns that do not exist repeat the last one; nobody uses what they become.
            places = [least(f.const(c, "i64"), columns - 1) if masked else c for c in range(lanes)]
            square = [
                words.along_k(b.at(f.arg("b_row") * place), lanes, depth if masked else None)
                for place in places
            ]
            for i, x in enumerate(transpose(square)):
                to.store(x, i * VECS * lanes)

        whole = (columns >= lanes) & (depth >= lanes * words.steps)
        f.when(whole, lambda: copy(False))
        f.when(~whole, lambda: copy(True))
        f.ret()

    return module.once("turn", write, b="ptr", to="ptr", b_row="i64", columns="i64", depth="i64")


def pack_panel(module: Module, words: Words, b_along_n: bool) -> Function:
    """The function that copies one panel of B; the panel has room for whole squares along k."""
    lanes = words.lanes(module)
    width = VECS * lanes

    def as_stored(f: Function, b: Pointer, to: Pointer) -> None:
        masks = [f.mask(f.arg("columns") - j * lanes, lanes) for j in range(VECS)]
        b_row, depth = f.arg("b_row"), f.arg("depth")

        def row(i: Value) -> None:
            first = i * words.steps
            source, target = b.at(first * b_row), to.at(i * width)
            for j, mask in enumerate(masks):
                x = words.across(source.at(j * lanes), b_row, lanes, mask, depth - first)
                target.store(x, j * lanes)

        f.loop(0, words.count(depth), row)

    def turned(f: Function, b: Pointer, to: Pointer) -> None:
        square = _turn_square(module, words)
        columns, depth = f.arg("columns"), f.arg("depth")

        def squares(first: Value) -> None:
            def one(i: Value) -> None:
                k = i * words.steps
                f.call(square, b.at(first * f.arg("b_row") + k), to.at(i * width + first),
                       f.arg("b_row"), columns - first, depth - k)  # fmt: skip

            f.loop(0, words.count(depth), one, lanes)

        f.loop(0, columns, squares, lanes)

    def write(f: Function) -> None:
        copy: Callable[..., None] = as_stored if b_along_n else turned
        copy(f, f.pointer("b", words.stored), f.pointer("to", words.kind))
        f.ret()

    return module.once(
        f"pack_panel_{'n' if b_along_n else 'k'}",
        write,
        b="ptr",
        to="ptr",
        b_row="i64",
        columns="i64",
        depth="i64",
    )


def pack_rows(module: Module, words: Words, a_along_k: bool) -> Function:
    """The function that copies the rows of A for one tile: [row][k], or [k][row] as A is stored.

    `pitch` is the distance of the copy's rows (or columns), with room for whole vectors.
    """
    lanes = words.lanes(module)

    def write(f: Function) -> None:
        a, to = f.pointer("a", words.stored), f.pointer("to", words.kind)
        rows, depth = f.arg("rows"), f.arg("depth")
        a_row, pitch = f.arg("a_row"), f.arg("pitch")

        def row(i: Value) -> None:
            def some(x: Value) -> None:
                k = x * words.steps
                made = words.along_k(a.at(i * a_row + k), lanes, depth - k)
                to.store(made, i * pitch + x)

            f.loop(0, words.count(depth), some, lanes)

        def step(i: Value) -> None:
            k = i * words.steps

            def some(x: Value) -> None:
                mask = f.mask(rows - x, lanes)
                made = words.across(a.at(k * a_row + x), a_row, lanes, mask, depth - k)
                to.store(made, i * pitch + x)

            f.loop(0, rows, some, lanes)

        if a_along_k:
            f.loop(0, rows, row)
        else:
            f.loop(0, words.count(depth), step)
        f.ret()

    return module.once(
        f"pack_rows_{'k' if a_along_k else 'm'}",
        write,
        a="ptr",
        to="ptr",
        a_row="i64",
        pitch="i64",
        rows="i64",
        depth="i64",
    )
