"""Kernels of folds: sums, products, the largest and smallest, of stretches, of rows, of columns.

Sums in float32: blocks of 16 vectors an accumulator (16 rows) are added in float32, the blocks in
float64: the result is nearer to the exact sum than a pairwise sum in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm.pool import write_parallel_entry
from taper.backends.llvm.rows import DTYPES, Combine, Rows, add, largest, smallest
from taper.backends.llvm.text import Function, Module, Pointer, Value, vector

_BLOCK = 16  # vectors that an accumulator adds before it is added to the float64 one

# What is folded -> how, from what, and in numpy. "spread" sums squared distances from a centre.
KINDS: dict[str, tuple[Combine, float, Any]] = {
    "sum": (add, 0.0, np.add),
    "squares": (add, 0.0, np.add),
    "spread": (add, 0.0, np.add),
    "product": (lambda x, y: x * y, 1.0, np.multiply),
    "max": (largest, -math.inf, np.maximum),
    "min": (smallest, math.inf, np.minimum),
}


def _accumulate(kind: str, total: Value, x: Value, centre: Value | None) -> Value:
    """The sum with one more vector."""
    if kind == "sum":
        return total + x
    if centre is not None:
        x = x - centre
    return total.f.fma(x, x, total)


def _folded(kind: str, x: np.ndarray, axis: int, centre: Any = 0.0) -> np.ndarray:
    """The fold by numpy, sums in float64."""
    if KINDS[kind][0] is not add:
        found: np.ndarray = KINDS[kind][2].reduce(x, axis)
        return found
    wide = x.astype(np.float64)
    if kind != "sum":
        wide = (wide - (centre if kind == "spread" else 0.0)) ** 2
    return np.asarray(wide.sum(axis))


def _widened(x: Value) -> Value:
    return x.cast("fpext", "double") if x.element == "float" else x


def _block_sums(f: Function, x: Pointer, lanes: int, count: Value, kind: str, centre: Any) -> Value:
    """The sum of `count` elements, as a double."""
    each = 4 * _BLOCK * lanes
    zero = f.const(0.0, vector(x.element, lanes))

    def four(i: Value, *carried: Value) -> list[Value]:
        return [
            _accumulate(kind, c, x.load(i + u * lanes, lanes), centre)
            for u, c in enumerate(carried)
        ]

    def block(start: Value, total: Value) -> list[Value]:
        made = f.loop(0, each, lambda j, *c: four(start + j, *c), 4 * lanes, [zero] * 4)
        a, b, c, d = made
        return [total + _widened((a + b) + (c + d))]

    def rest(i: Value, own: Value) -> list[Value]:
        mask = f.mask(count - i, lanes)
        assert mask is not None
        return [mask.select(_accumulate(kind, own, x.load(i, lanes, mask), centre), own)]

    whole, after = count - count % each, count - count % (4 * lanes)
    (total,) = f.loop(0, whole, block, each, [f.const(0.0, vector("double", lanes))])
    a, b, c, d = f.loop(whole, after, four, 4 * lanes, [zero] * 4)
    (a,) = f.loop(after, count, rest, lanes, [a])
    return (total + _widened((a + b) + (c + d))).sum()


@dataclass(frozen=True)
class _Fold:
    """`kind` is one of KINDS; a "spread" takes the centres, an array, after x."""

    element: str
    result: str
    kind: str = "sum"

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernel, and its entry for Python."""
        return ("kernel", "entry")

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return ("x", "centres", "out") if self.kind == "spread" else ("x", "out")


@dataclass(frozen=True)
class Sums(_Fold):
    """Sums of equal stretches of memory: of rows, or of the chunks of everything.

    Call: x, [centres,] out, length, total, divisor, range; out is of `result`, x of `element`.
    Stretch r is x[r * length : min((r + 1) * length, total)], its sum is divided by the divisor.
    """

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return (*("array",) * len(self.arrays), "int", "int", "float", "int", "int")

    def interpret(
        self, x: np.ndarray, length: int, total: int, divisor: float, centres: Any = None
    ) -> np.ndarray:
        """By numpy, in float64."""
        found = []
        for r, start in enumerate(range(0, total, length)):
            centre = 0.0 if centres is None else float(centres[r])
            stretch = x[start : min(start + length, total)]
            found.append(_folded(self.kind, stretch, 0, centre) / divisor)
        return np.array(found).astype(DTYPES[self.result])

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        params: dict[str, Any] = dict.fromkeys(self.arrays, "ptr")
        f = module.function("kernel", **params, length="i64", stop="i64",
                            divisor="double", begin="i64", end="i64")  # fmt: skip
        lanes = module.lanes(self.element)
        x, out = f.pointer("x", self.element), f.pointer("out", self.result)
        length, total = f.arg("length"), f.arg("stop")

        def row(r: Value) -> None:
            start = r * length
            count = f.minimum(length, total - start)
            centre = None
            if self.kind == "spread":
                centre = f.pointer("centres", self.element).broadcast(r, lanes)
            made = _block_sums(f, x.at(start), lanes, count, self.kind, centre) / f.arg("divisor")
            out.store(made.cast("fptrunc", "float") if self.result == "float" else made, r)

        f.loop(f.arg("begin"), f.arg("end"), row)
        f.ret()
        write_parallel_entry(module, "entry", f, self.kinds[:-2], 1)


@dataclass(frozen=True)
class RowFolds(Rows):
    """Folds of short rows, sums added as those inside softmax; of rows of any length but for sums.

    Call: x, out, [columns,] range.
    """

    kind: str = "sum"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return self.kinds_of(2)

    def interpret(self, x: np.ndarray) -> np.ndarray:
        """By numpy."""
        return _folded(self.kind, x, 1).astype(x.dtype)

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f, columns, lanes = self._open(module, ("x", "out"))
        x, out = f.pointer("x", self.element), f.pointer("out", self.element)
        combine, neutral, _ = KINDS[self.kind]

        def row(r: Value) -> None:
            here = x.at(r * columns.count)

            def read(i: Any, mask: Value | None) -> list[Value]:
                own = here.load(i, lanes, mask)
                return [own * own if self.kind == "squares" else own]

            (made,) = columns.reduce(read, [combine], [neutral])
            out.store(made.lane(0), r)

        f.loop(f.arg("begin"), f.arg("end"), row)
        self._close(f, 2)


@dataclass(frozen=True)
class ColumnFolds(_Fold):
    """Folds over the rows of a matrix, of each chunk of `chunk` rows; sums are added in float64.

    Call: x, [centres,] out, rows, columns, chunk, range; out, and centres, have a row for each chunk.
    """

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return (*("array",) * len(self.arrays), "int", "int", "int", "int", "int")

    def interpret(self, x: np.ndarray, chunk: int, centres: Any = None) -> np.ndarray:
        """By numpy, sums in float64."""
        found = []
        for r, start in enumerate(range(0, len(x), chunk)):
            centre = 0.0 if centres is None else centres[r].astype(np.float64)
            found.append(_folded(self.kind, x[start : start + chunk], 0, centre))
        return np.array(found)

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        params: dict[str, Any] = dict.fromkeys(self.arrays, "ptr")
        f = module.function("kernel", **params, rows="i64", columns="i64", chunk="i64",
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
                    fold = self._sums if KINDS[self.kind][0] is add else self._others
                    centres = [
                        f.pointer("centres", self.element).load(
                            number * columns + c + u * lanes, lanes, mask
                        )
                        for u in range(vectors if self.kind == "spread" else 0)
                    ]
                    made = fold(f, x.at(c), columns, first, last, vectors, mask, centres)
                    for u, total in enumerate(made):
                        if self.result == "float" and total.element == "double":
                            total = total.cast("fptrunc", "float")
                        here.store(total, c + u * lanes, mask)

                return write

            wide = columns - columns % (4 * lanes)
            f.loop(0, wide, tile(4), 4 * lanes)
            f.loop(wide, columns, tile(1), lanes)

        f.loop(f.arg("begin"), f.arg("end"), chunk)
        f.ret()
        write_parallel_entry(module, "entry", f, self.kinds[:-2], 1)

    def _sums(
        self, f: Function, x: Pointer, columns: Value, first: Value, last: Value, vectors: int,
        mask: Value | None, centres: list[Value],
    ) -> list[Value]:  # fmt: skip
        """Of `vectors` vectors of columns, from where x points to."""
        lanes = f.module.lanes(self.element)
        zero, wide = vector(self.element, lanes), vector("double", lanes)
        about: list[Any] = centres or [None] * vectors

        def step(r: Value, *carried: Value) -> list[Value]:
            row = x.at(r * columns)
            return [
                _accumulate(self.kind, v, row.load(u * lanes, lanes, mask), about[u])
                for u, v in enumerate(carried)
            ]

        def block(r: Value, *totals: Value) -> list[Value]:
            end = f.minimum(r + _BLOCK, last)
            own = f.loop(r, end, step, 1, [f.const(0.0, zero)] * vectors)
            return [t + _widened(v) for t, v in zip(totals, own, strict=True)]

        return f.loop(first, last, block, _BLOCK, [f.const(0.0, wide)] * vectors)

    def _others(
        self, f: Function, x: Pointer, columns: Value, first: Value, last: Value, vectors: int,
        mask: Value | None, centres: list[Value],
    ) -> list[Value]:  # fmt: skip
        """The same for what is not added."""
        lanes = f.module.lanes(self.element)
        combine, neutral, _ = KINDS[self.kind]

        def step(r: Value, *carried: Value) -> list[Value]:
            row = x.at(r * columns)
            return [combine(row.load(u * lanes, lanes, mask), v) for u, v in enumerate(carried)]

        init = [f.const(neutral, vector(self.element, lanes))] * vectors
        return f.loop(first, last, step, 1, init)
