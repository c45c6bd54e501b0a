"""Running sums, products and extremes along a dimension; sums carried in float64 (int64 for integers).

Arrays are row-major and seen as (outer, count, inner); the scan runs over the middle dimension, one
addition after the other, so the results are numpy's, bit for bit. Along the last dimension (inner
is 1) several rows go on at a time, since each alone would wait for its own sum; otherwise a vector
holds neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taper.backends import scans as reference
from taper.backends.llvm import call
from taper.backends.llvm.text import Function, Module, Pointer, Value, vector

Array = np.ndarray

# Rows that are scanned together.
_ROWS = 8
# Columns whose sums are held in memory that stays in the first cache.
_COLUMNS = 512


@dataclass(frozen=True)
class Scan:
    """out[o, k, j] = x[o, 0, j] (+ or *) ... (+ or *) x[o, k, j] for o in [begin, end).

    `first` and `step` place the scan's steps: 0 and inner, or from the end (count - 1) * inner and
    -inner. The element is "float", "double" or "i64".

    kernel(x, out, count, inner, first, step, begin, end)
    """

    element: str
    product: bool
    exports = ("kernel", "entry")
    kinds = ("array", "array", "int", "int", "int", "int", "int", "int")

    @property
    def carried(self) -> str:
        """The type of the running value."""
        return "double" if self.element == "float" else self.element

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function(
            "kernel", x="ptr", out="ptr", count="i64", inner="i64", first="i64", step="i64",
            begin="i64", end="i64",
        )  # fmt: skip
        some = (f.arg("count") > 0) & (f.arg("inner") > 0)
        flat = f.arg("inner").equals(1)
        f.when(some & flat, lambda: self._rows(f))
        sums = f.emit("ptr", f"alloca [{_COLUMNS} x {self.carried}], align 64").pointer(
            self.carried
        )
        f.when(some & ~flat, lambda: self._columns(f, sums))
        f.ret()
        call.write_entry(module, "entry", f, self.kinds)

    def _read(self, x: Pointer, place: Value | int, lanes: int = 1,
              mask: Value | None = None) -> Value:  # fmt: skip
        value = x.load(place, lanes, mask)
        return value.cast("fpext", "double") if self.element == "float" else value

    def _write(self, out: Pointer, value: Value, place: Value | int,
               mask: Value | None = None) -> None:  # fmt: skip
        narrow = value.cast("fptrunc", "float") if self.element == "float" else value
        out.store(narrow, place, mask)

    def _combined(self, carried: Value, value: Value) -> Value:
        return carried * value if self.product else carried + value

    def _rows(self, f: Function) -> None:
        count, step, begin, end = (f.arg(name) for name in ("count", "step", "begin", "end"))

        def together(row: Value, rows: int) -> None:
            starts = [(row + r) * count + f.arg("first") for r in range(rows)]
            sources = [f.pointer("x", self.element).at(start) for start in starts]
            targets = [f.pointer("out", self.element).at(start) for start in starts]
            sums = [self._read(source, 0) for source in sources]
            for target, value in zip(targets, sums, strict=True):
                self._write(target, value, 0)

            def advance(k: Value, *sums: Value) -> list[Value]:
                place = k * step
                new = []
                for source, target, carried in zip(sources, targets, sums, strict=True):
                    new.append(self._combined(carried, self._read(source, place)))
                    self._write(target, new[-1], place)
                return new

            f.loop(1, count, advance, init=sums)

        whole = begin + (end - begin) // _ROWS * _ROWS
        f.loop(begin, whole, lambda row: together(row, _ROWS), _ROWS)
        f.loop(whole, end, lambda row: together(row, 1))

    def _columns(self, f: Function, sums: Pointer) -> None:
        count, inner, step = f.arg("count"), f.arg("inner"), f.arg("step")
        lanes = f.module.lanes(self.carried)

        def block(source: Pointer, target: Pointer, width: Value) -> None:
            whole = width // lanes * lanes

            def each(source: Pointer, target: Pointer, starts: bool) -> None:
                def vector(j: Value, mask: Value | None = None) -> None:
                    value = self._read(source, j, lanes, mask)
                    if not starts:
                        value = self._combined(sums.load(j, lanes), value)
                    # The sums have room for a whole vector; what is beyond the width is never read.
                    sums.store(value, j)
                    self._write(target, value, j, mask)

                f.loop(0, whole, vector, lanes)
                f.when(whole < width, lambda: vector(whole, f.mask(width - whole, lanes)))

            each(source, target, True)
            f.loop(1, count, lambda k: each(source.at(k * step), target.at(k * step), False))

        def outer(o: Value) -> None:
            start = o * (count * inner) + f.arg("first")

            def columns(j: Value) -> None:
                block(
                    f.pointer("x", self.element).at(start + j),
                    f.pointer("out", self.element).at(start + j),
                    f.minimum(inner - j, f.const(_COLUMNS, "i64")),
                )

            f.loop(0, inner, columns, _COLUMNS)

        f.loop(f.arg("begin"), f.arg("end"), outer)

    def interpret(self, x: Array, out: Array, reverse: bool, begin: int, end: int) -> None:
        """The meaning, on arrays of three dimensions."""
        ufunc = np.multiply if self.product else np.add
        turn = slice(None, None, -1 if reverse else 1)
        dtype = {"double": np.float64, "i64": np.int64}[self.carried]
        out[begin:end, turn] = ufunc.accumulate(x[begin:end, turn], 1, dtype=dtype)


@dataclass(frozen=True)
class RunningExtreme:
    """The largest (or smallest) so far, and its place: the last of equal ones; nan beats all.

    Arrays are seen as (outer, count, inner). Several rows go on at a time where inner is 1.

    kernel(x, values, places, count, inner, begin, end), for o in [begin, end)
    """

    element: str
    largest: bool
    exports = ("kernel", "entry")
    kinds = ("array", "array", "array", "int", "int", "int", "int")

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function(
            "kernel", x="ptr", values="ptr", places="ptr", count="i64", inner="i64", begin="i64",
            end="i64",
        )  # fmt: skip
        count, inner, begin, end = (f.arg(n) for n in ("count", "inner", "begin", "end"))
        flat, lanes = inner.equals(1), module.lanes("double")
        together = begin + (end - begin) // _ROWS * _ROWS

        def rows(o: Value, number: int) -> None:
            self._scan(f, [(o + r) * count for r in range(number)], 1, None)

        def columns(o: Value) -> None:
            def some(c: Value) -> None:
                self._scan(f, [o * count * inner + c], lanes, f.mask(inner - c, lanes))

            f.loop(0, inner, some, lanes)

        f.when(flat, lambda: f.loop(begin, together, lambda o: rows(o, _ROWS), _ROWS) and None)
        f.when(flat, lambda: f.loop(together, end, lambda o: rows(o, 1)) and None)
        f.when(~flat, lambda: f.loop(begin, end, columns) and None)
        f.ret()
        call.write_entry(module, "entry", f, self.kinds)

    def _scan(self, f: Function, starts: list[Value], lanes: int, mask: Value | None) -> None:
        """Along one vector of columns, or several rows, that begin at `starts`."""
        inner = f.arg("inner")
        x, values = (f.pointer(name, self.element) for name in ("x", "values"))
        places = f.pointer("places", "i64")
        best = [x.load(start, lanes, mask) for start in starts]
        place = [f.const(0, vector("i64", lanes))] * len(starts)
        for start, b, p in zip(starts, best, place, strict=True):
            values.store(b, start, mask)
            places.store(p, start, mask)

        def step(k: Value, *carried: Value) -> list[Value]:
            made: list[Value] = []
            number = f.splat(k, lanes)
            for i, start in enumerate(starts):
                b, p = carried[2 * i], carried[2 * i + 1]
                here = start + k * inner
                new = x.load(here, lanes, mask)
                won = new >= b if self.largest else new <= b
                if new.is_float:
                    won = won | new.differs(new)
                b, p = won.select(new, b), won.select(number, p)
                values.store(b, here, mask)
                places.store(p, here, mask)
                made += [b, p]
            return made

        init = [v for pair in zip(best, place, strict=True) for v in pair]
        f.loop(1, f.arg("count"), step, 1, init)

    def interpret(self, x: Array) -> tuple[Array, Array]:
        """By numpy, of arrays of three dimensions."""
        return reference.running_extreme(x, 1, self.largest)
