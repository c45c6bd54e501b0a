"""Copies of the operands of a matrix product in the order in which its tiles read them.

B becomes panels: [k][columns of a tile], padded to whole vectors, so that one panel after the other
is read from its beginning to its end. A is only ever broadcast, so its copy keeps its orientation;
it is made where the rows of the original would compete for the same sets of the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taper.backends.llvm.text import Function, Module, Pointer, Value
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


def _turn_square(module: Module, element: str) -> Function:
    """to[k][column] = b[column][k] for a square of a vector's size; `columns` and `depth` exist."""
    lanes = module.lanes(element)

    def write(f: Function) -> None:
        b, to = f.pointer("b", element), f.pointer("to", element)
        columns, depth = f.arg("columns"), f.arg("depth")

        def copy(masked: bool) -> None:
            mask = f.mask(depth, lanes) if masked else None
            # Columns that do not exist repeat the last one; nobody uses what they become.
            places = [least(f.const(c, "i64"), columns - 1) if masked else c for c in range(lanes)]
            square = [b.load(f.arg("b_row") * place, lanes, mask) for place in places]
            for i, x in enumerate(transpose(square)):
                to.store(x, i * VECS * lanes)

        whole = (columns >= lanes) & (depth >= lanes)
        f.when(whole, lambda: copy(False))
        f.when(~whole, lambda: copy(True))
        f.ret()

    return module.once(
        f"turn_{element}", write, b="ptr", to="ptr", b_row="i64", columns="i64", depth="i64"
    )


def pack_panel(module: Module, element: str, b_along_n: bool) -> Function:
    """The function that copies one panel of B; the panel has room for whole squares along k."""
    lanes = module.lanes(element)
    width = VECS * lanes

    def as_stored(f: Function, b: Pointer, to: Pointer) -> None:
        masks = [f.mask(f.arg("columns") - j * lanes, lanes) for j in range(VECS)]

        def row(i: Value) -> None:
            source, target = b.at(i * f.arg("b_row")), to.at(i * width)
            for j, mask in enumerate(masks):
                target.store(source.load(j * lanes, lanes, mask), j * lanes)

        f.loop(0, f.arg("depth"), row)

    def turned(f: Function, b: Pointer, to: Pointer) -> None:
        square = _turn_square(module, element)
        columns, depth = f.arg("columns"), f.arg("depth")

        def squares(first: Value) -> None:
            def one(k: Value) -> None:
                f.call(square, b.at(first * f.arg("b_row") + k), to.at(k * width + first),
                       f.arg("b_row"), columns - first, depth - k)  # fmt: skip

            f.loop(0, depth, one, lanes)

        f.loop(0, columns, squares, lanes)

    def write(f: Function) -> None:
        copy: Callable[..., None] = as_stored if b_along_n else turned
        copy(f, f.pointer("b", element), f.pointer("to", element))
        f.ret()

    return module.once(
        f"pack_b{'n' if b_along_n else 'k'}_{element}", write, b="ptr", to="ptr", b_row="i64",
        columns="i64", depth="i64",
    )  # fmt: skip


def pack_rows(module: Module, element: str, a_along_k: bool) -> Function:
    """The function that copies the rows of A for one tile: [row][k], or [k][row] as A is stored.

    `pitch` is the distance of the copy's rows (or columns), with room for whole vectors.
    """
    lanes = module.lanes(element)

    def write(f: Function) -> None:
        a, to = f.pointer("a", element), f.pointer("to", element)
        lines, length = f.arg("rows"), f.arg("depth")
        if not a_along_k:
            lines, length = length, lines

        def line(i: Value) -> None:
            source, target = a.at(i * f.arg("a_row")), to.at(i * f.arg("pitch"))

            def copy(x: Value) -> None:
                mask = f.mask(length - x, lanes)
                target.store(source.load(x, lanes, mask), x)

            f.loop(0, length, copy, lanes)

        f.loop(0, lines, line)
        f.ret()

    return module.once(
        f"pack_a{'k' if a_along_k else 'm'}_{element}", write, a="ptr", to="ptr", a_row="i64",
        pitch="i64", rows="i64", depth="i64",
    )  # fmt: skip
