"""Kernels over rows: sums of everything, of rows, of columns, and the maxima of rows.

In float32, blocks of 16 vectors an accumulator (16 rows) are added in float32, the blocks in float64: the
result is nearer to the exact sum than a pairwise sum in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from taper.backends.llvm.pool import write_parallel_entry
from taper.backends.llvm.rows import DTYPES, Rows, add, largest
from taper.backends.llvm.text import Function, Module, Pointer, Value

_BLOCK = 16  # vectors that an accumulator adds before it is added to the float64 one


def _block_sums(f: Function, x: Pointer, lanes: int, count: Value, element: str) -> Value:
    """The sum of `count` elements, as a double."""
    each = 4 * _BLOCK * lanes
    wide = f"<{lanes} x double>" if lanes > 1 else "double"
    kind = f"<{lanes} x {element}>" if lanes > 1 else element
    zero = f.const(0.0, kind)

    def widened(v: Value) -> Value:
        return v.cast("fpext", "double") if element == "float" else v

    def block(start: Value, total: Value) -> list[Value]:
        def step(j: Value, *carried: Value) -> list[Value]:
            return [c + x.load(start + j + u * lanes, lanes) for u, c in enumerate(carried)]

        a, b, c, d = f.loop(0, each, step, 4 * lanes, [zero] * 4)
        return [total + widened((a + b) + (c + d))]

    whole = count - count % each
    (total,) = f.loop(0, whole, block, each, [f.const(0.0, wide)])

    def four(i: Value, *carried: Value) -> list[Value]:
        return [c + x.load(i + u * lanes, lanes) for u, c in enumerate(carried)]

    def rest(i: Value, own: Value) -> list[Value]:
        return [own + x.load(i, lanes, f.mask(count - i, lanes))]

    after = count - count % (4 * lanes)
    a, b, c, d = f.loop(whole, after, four, 4 * lanes, [zero] * 4)
    (a,) = f.loop(after, count, rest, lanes, [a])
    return (total + widened((a + b) + (c + d))).sum()


@dataclass(frozen=True)
class Sums:
    """Sums of equal stretches of memory: of rows, or of the chunks of everything.

    Call: x, out, length, total, divisor, range; out is of `result`, x of `element`. Stretch r is
    x[r * length : min((r + 1) * length, total)], its sum is divided by the divisor.
    """

    element: str
    result: str

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernel, and its entry for Python."""
        return ("kernel", "entry")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return ("array", "array", "int", "int", "float", "int", "int")

    def interpret(self, x: np.ndarray, length: int, total: int, divisor: float) -> np.ndarray:
        """By numpy, in float64."""
        starts = range(0, total, length)
        found = [x[s : min(s + length, total)].sum(dtype=np.float64) / divisor for s in starts]
        return np.array(found).astype(DTYPES[self.result])

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function("kernel", x="ptr", out="ptr", length="i64", stop="i64",
                            divisor="double", begin="i64", end="i64")  # fmt: skip
        lanes = module.lanes(self.element)
        x, out = f.pointer("x", self.element), f.pointer("out", self.result)
        length, total = f.arg("length"), f.arg("stop")

        def row(r: Value) -> None:
            start = r * length
            count = f.minimum(length, total - start)
            made = _block_sums(f, x.at(start), lanes, count, self.element) / f.arg("divisor")
            out.store(made.cast("fptrunc", "float") if self.result == "float" else made, r)

        f.loop(f.arg("begin"), f.arg("end"), row)
        f.ret()
        write_parallel_entry(module, "entry", f, self.kinds[:-2], 1)


@dataclass(frozen=True)
class RowSums(Rows):
    """Sums of short rows, added as those inside softmax. Call: x, out, [columns,] range."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return self.kinds_of(2)

    def interpret(self, x: np.ndarray) -> np.ndarray:
        """By numpy."""
        found: np.ndarray = np.add.reduce(x, 1)
        return found

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f, columns, lanes = self._open(module, ("x", "out"))
        x, out = f.pointer("x", self.element), f.pointer("out", self.element)

        def row(r: Value) -> None:
            here = x.at(r * columns.count)
            (total,) = columns.reduce(lambda i, mask: [here.load(i, lanes, mask)], [add], [0.0])
            out.store(total.lane(0), r)

        f.loop(f.arg("begin"), f.arg("end"), row)
        self._close(f, 2)


@dataclass(frozen=True)
class ColumnSums:
    """Sums over the rows of a matrix, of each chunk of `chunk` rows, added in float64.

    Call: x, out, rows, columns, chunk, range; out has a row for each chunk.
    """

    element: str
    result: str = "double"

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernel, and its entry for Python."""
        return ("kernel", "entry")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return ("array", "array", "int", "int", "int", "int", "int")

    def interpret(self, x: np.ndarray, chunk: int) -> np.ndarray:
        """By numpy, in float64."""
        starts = range(0, len(x), chunk)
        return np.array([x[s : s + chunk].sum(0, dtype=np.float64) for s in starts])

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function("kernel", x="ptr", out="ptr", rows="i64", columns="i64", chunk="i64",
                            begin="i64", end="i64")  # fmt: skip
        lanes = module.lanes(self.element)
        x, out = f.pointer("x", self.element), f.pointer("out", self.result)
        rows, columns, size = f.arg("rows"), f.arg("columns"), f.arg("chunk")

        def chunk(number: Value) -> None:
            first = number * size
            last = f.minimum(first + size, rows)
            here = out.at(number * columns)

            def tile(vectors: int) -> Callable[[Value], None]:
                def write(c: Value) -> None:
                    mask = None if vectors > 1 else f.mask(columns - c, lanes)
                    self._write_tile(f, x, here, columns, c, first, last, vectors, mask)

                return write

            wide = columns - columns % (4 * lanes)
            f.loop(0, wide, tile(4), 4 * lanes)
            f.loop(wide, columns, tile(1), lanes)

        f.loop(f.arg("begin"), f.arg("end"), chunk)
        f.ret()
        write_parallel_entry(module, "entry", f, self.kinds[:-2], 1)

    def _write_tile(
        self, f: Function, x: Pointer, out: Pointer, columns: Value, c: Value, first: Value,
        last: Value, vectors: int, mask: Value | None,
    ) -> None:  # fmt: skip
        """`vectors` vectors of columns from column c on."""
        lanes = f.module.lanes(self.element)
        kind = f"<{lanes} x {self.element}>" if lanes > 1 else self.element
        wide = f"<{lanes} x double>" if lanes > 1 else "double"

        def widened(v: Value) -> Value:
            return v.cast("fpext", "double") if self.element == "float" else v

        def add(r: Value, *carried: Value) -> list[Value]:
            row = x.at(r * columns + c)
            return [v + row.load(u * lanes, lanes, mask) for u, v in enumerate(carried)]

        def block(r: Value, *totals: Value) -> list[Value]:
            end = f.minimum(r + _BLOCK, last)
            own = f.loop(r, end, add, 1, [f.const(0.0, kind)] * vectors)
            return [t + widened(v) for t, v in zip(totals, own, strict=True)]

        totals = f.loop(first, last, block, _BLOCK, [f.const(0.0, wide)] * vectors)
        for u, total in enumerate(totals):
            made = total if self.result == "double" else total.cast("fptrunc", "float")
            out.store(made, c + u * lanes, mask)


@dataclass(frozen=True)
class Maxima(Rows):
    """The largest of each row; nan if there is one. Call: x, out, [columns,] range."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return self.kinds_of(2)

    def interpret(self, x: np.ndarray) -> np.ndarray:
        """By numpy."""
        found: np.ndarray = np.maximum.reduce(x, 1)
        return found

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f, columns, lanes = self._open(module, ("x", "out"))
        x, out = f.pointer("x", self.element), f.pointer("out", self.element)

        def row(r: Value) -> None:
            here = x.at(r * columns.count)
            (top,) = columns.reduce(
                lambda i, mask: [here.load(i, lanes, mask)], [largest], [-math.inf]
            )
            out.store(top.lane(0), r)

        f.loop(f.arg("begin"), f.arg("end"), row)
        self._close(f, 2)
