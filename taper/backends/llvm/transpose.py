"""Copies that turn memory round: elements that lie side by side come to lie in a column.

numpy copies such arrays element by element, and every element that it reads, or writes, is in a line
of the cache of its own. Here squares of a vector by a vector are turned in registers, so that whole
lines are read and written.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm.pack import least
from taper.backends.llvm.pool import write_parallel_entry
from taper.backends.llvm.text import SIZES, Function, Module, Pointer, Value

# Columns of the result that one task writes: their lines stay in the first cache, and their pages
# in the processor's table of pages, while it goes along the rows.
STRIP = 128


@dataclass(frozen=True)
class Transpose:
    """out[b, r, c] = x[b, c, r], where r runs along x's memory and c along that of the result.

    `element` is "i32" or "i64", whatever the elements are; `outer` is the number of dimensions b.

    Call: x, out, geometry, rows, columns, x's step of c, out's step of r, range. The range counts
    strips, the last of a place in b before the first of the next; geometry, an array of int64, has
    the extents of b, then x's steps, then out's. Steps count elements.
    """

    element: str
    outer: int

    exports = ("kernel", "entry")
    kinds = ("array", "array", "array", "int", "int", "int", "int", "int", "int")

    def interpret(self, x: np.ndarray) -> np.ndarray:
        """By numpy, of a stack of matrices."""
        return np.ascontiguousarray(x.swapaxes(-1, -2))

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        names = ("rows", "columns", "x_step", "out_step", "begin", "end")
        words: dict[str, Any] = dict.fromkeys(names, "i64")
        f = module.function("kernel", x="ptr", out="ptr", geometry="ptr", **words)
        lanes = module.lanes(self.element)
        x, out = f.pointer("x", self.element), f.pointer("out", self.element)
        rows, columns, x_step, out_step = (f.arg(name) for name in names[:4])
        strips = (columns + (STRIP - 1)) // STRIP

        def strip(number: Value) -> None:
            rest = number // strips
            first = (number - rest * strips) * STRIP
            last = least(first + STRIP, columns)
            from_here, to_here = self._places(f, rest)
            source, target = x.at(from_here), out.at(to_here)
            whole_rows, whole_columns = rows - rows % lanes, last - (last - first) % lanes

            def squares(r: Value, row_mask: Value | None) -> None:
                def square(c: Value, column_mask: Value | None) -> None:
                    _turn(
                        f, source.at(c * x_step + r), x_step, row_mask,
                        target.at(r * out_step + c), out_step, column_mask, lanes,
                        least(last - c, lanes), least(rows - r, lanes),
                    )  # fmt: skip

                f.loop(first, whole_columns, lambda c: square(c, None), lanes)
                f.loop(whole_columns, last, lambda c: square(c, f.mask(last - c, lanes)), lanes)

            f.loop(0, whole_rows, lambda r: squares(r, None), lanes)
            f.loop(whole_rows, rows, lambda r: squares(r, f.mask(rows - r, lanes)), lanes)

        f.loop(f.arg("begin"), f.arg("end"), strip)
        f.ret()
        write_parallel_entry(module, "entry", f, self.kinds[:-2], 1)

    def _places(self, f: Function, rest: Value) -> tuple[Value, Value]:
        """Where a matrix begins in x and in the result."""
        geometry, outer = f.pointer("geometry", "i64"), self.outer
        given = taken = f.const(0, "i64")
        for d in reversed(range(outer)):
            above = rest // geometry.load(d)
            place = rest - above * geometry.load(d)
            given = given + place * geometry.load(outer + d)
            taken = taken + place * geometry.load(2 * outer + d)
            rest = above
        return given, taken


def _turn(
    f: Function, x: Pointer, x_step: Value, row_mask: Value | None, out: Pointer, out_step: Value,
    column_mask: Value | None, lanes: int, columns: Value, rows: Value,
) -> None:  # fmt: skip
    """Turns one square; at an edge it has only so many columns and rows."""
    limit = f.const(0, "i64")

    def inside(i: int, count: Value, edge: bool) -> Any:
        """A place that is there, to read in the stead of one behind the edge."""
        return (f.const(i, "i64") < count).select(f.const(i, "i64"), limit) if edge else i

    held = [
        x.at(inside(i, columns, column_mask is not None) * x_step).load(0, lanes, row_mask)
        for i in range(lanes)
    ]
    # Riffled as often as doubling one gives the number of lanes, the vectors are turned.
    half = lanes // 2
    low = [i // 2 + lanes * (i % 2) for i in range(lanes)]
    high = [i + half for i in low]
    turns = lanes.bit_length() - 1
    for _ in range(turns):
        held = [
            held[i // 2].shuffle(held[i // 2 + half], high if i % 2 else low) for i in range(lanes)
        ]
    for i, value in enumerate(held):
        store = functools.partial(out.at(i * out_step).store, value, 0, column_mask)
        if row_mask is None:
            store()
        else:
            f.when(f.const(i, "i64") < rows, store)


ELEMENTS = {SIZES[kind]: kind for kind in ("i32", "i64")}
