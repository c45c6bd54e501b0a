"""Slices and elements chosen by int64 indices, and their adjoints, which add where an index points.

Arrays are row-major and seen as (outer, extent, inner): the index runs over the middle dimension. The
indices are looked at before they are used; if one is not in [0, extent) the kernel returns 1, and
what it has written is of no use. Sums are added one after the other in the order of the index, so that the results are
numpy's (np.add.at), bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from taper.backends.llvm import call
from taper.backends.llvm.text import SIZES, Function, Module, Pointer, Value

Array = np.ndarray

# Vectors that are moved in one turn of the loop over a row.
_UNROLLED = 4
# How far ahead the memory is asked, in bytes and at most in rows: rows lie anywhere, and no processor
# guesses where.
_AHEAD_BYTES = 4096
_AHEAD = 8
# Elements of a row that are gathered in one turn.
_SCALARS = 8


def _outside(f: Function, index: Pointer, count: Value, extent: Value) -> Value:
    """Whether an index is negative or not below `extent`; seen as unsigned, both are too large."""
    lanes = f.module.lanes("i64")
    highest = f.splat(f.const(0, "i64"), lanes)

    def step(i: Value, highest: Value) -> tuple[Value]:
        return (f.same("llvm.umax", highest, index.load(i, lanes)),)

    whole = count // lanes * lanes
    (highest,) = f.loop(0, whole, step, lanes, (highest,))
    top = highest.fold(lambda a, b: f.same("llvm.umax", a, b))
    (top,) = f.loop(
        whole, count, lambda i, top: (f.same("llvm.umax", top, index.load(i)),), init=(top,)
    )
    return top.compare("uge", extent) & (count > 0)


def _guarded(f: Function, count: Value, body: Callable[[], object]) -> None:
    """Runs `body` unless an index is outside; the function returns whether one was."""
    bad = _outside(f, f.pointer("index", "i64"), count, f.arg("extent"))
    f.when(~bad, body)
    f.ret(bad.cast("zext", "i64"))


def _along_row(
    f: Function, begin: Value, end: Value, lanes: int, step: Callable[..., None]
) -> None:
    """step(j) for the vectors of a row from begin to end, several in a turn; step(j, mask) at last."""
    size = end - begin
    long = begin + size // (_UNROLLED * lanes) * (_UNROLLED * lanes)
    whole = begin + size // lanes * lanes

    def several(j: Value) -> None:
        for part in range(_UNROLLED):
            step(j + part * lanes)

    f.loop(begin, long, several, _UNROLLED * lanes)
    f.loop(long, whole, step, lanes)
    f.when(whole < end, lambda: step(whole, f.mask(end - whole, lanes)))


def _each(f: Function, begin: Value, end: Value, step: Callable[[Value], None]) -> None:
    """step(k) for k in [begin, end), several in a turn."""

    def several(k: Value) -> None:
        for part in range(_SCALARS):
            step(k + part)

    whole = begin + (end - begin) // _SCALARS * _SCALARS
    f.loop(begin, whole, several, _SCALARS)
    f.loop(whole, end, step)


@dataclass(frozen=True)
class TakeSlices:
    """out[o, k, :] = x[o, index[k], :] for k in [begin, end); `element` is i32 or i64, moved as is.

    kernel(x, index, out, outer, extent, inner, count, begin, end); count is the whole index's
    """

    element: str
    exports = ("kernel", "entry")
    kinds = ("array", "array", "array", "int", "int", "int", "int", "int", "int")

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function(
            "kernel", "i64", False, ("x", "index"), x="ptr", index="ptr", out="ptr", outer="i64",
            extent="i64", inner="i64", count="i64", begin="i64", end="i64",
        )  # fmt: skip
        lanes = module.lanes(self.element)
        x, out, index = (f.pointer("x", self.element), f.pointer("out", self.element),
                         f.pointer("index", "i64"))  # fmt: skip
        extent, inner, count = f.arg("extent"), f.arg("inner"), f.arg("count")
        last = count - 1
        near = f.const(_AHEAD_BYTES // SIZES[self.element], "i64") // f.maximum(inner, 1)
        ahead = f.minimum(f.maximum(near, 1), _AHEAD)

        def each_outer(o: Value) -> None:
            def row(k: Value) -> None:
                source = x.at((o * extent + index.load(k)) * inner)
                target = out.at((o * count + k) * inner)
                coming_row = f.minimum(k + ahead, last)
                coming = x.at((o * extent + index.load(coming_row)) * inner)

                def move(j: Value, mask: Value | None = None) -> None:
                    coming.prefetch(j)
                    target.store(source.load(j, lanes, mask), j, mask)

                _along_row(f, f.const(0, "i64"), inner, lanes, move)

            row_in, row_out = x.at(o * extent), out.at(o * count)

            def single(k: Value) -> None:
                row_out.store(row_in.load(index.load(k)), k)

            narrow = inner.equals(1)
            f.when(narrow, lambda: _each(f, f.arg("begin"), f.arg("end"), single))
            f.when(~narrow, lambda: f.loop(f.arg("begin"), f.arg("end"), row))

        _guarded(f, count, lambda: f.loop(0, f.arg("outer"), each_outer))
        call.write_entry(module, "entry", f, self.kinds)

    def interpret(self, x: Array, index: Array, out: Array, begin: int, end: int) -> None:
        """The meaning, on arrays of three dimensions."""
        out[:, begin:end] = x[:, index[begin:end]]


@dataclass(frozen=True)
class AddSlices:
    """made[o, index[k], j] += source[o, k, j] for all k in order and j in [begin, end).

    kernel(made, index, source, outer, extent, inner, count, begin, end)
    """

    element: str
    exports = ("kernel", "entry")
    kinds = ("array", "array", "array", "int", "int", "int", "int", "int", "int")

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function(
            "kernel", "i64", False, ("index", "source"), made="ptr", index="ptr", source="ptr",
            outer="i64", extent="i64", inner="i64", count="i64", begin="i64", end="i64",
        )  # fmt: skip
        lanes = module.lanes(self.element)
        made, source, index = (f.pointer("made", self.element), f.pointer("source", self.element),
                               f.pointer("index", "i64"))  # fmt: skip
        extent, inner, count = f.arg("extent"), f.arg("inner"), f.arg("count")

        def each_outer(o: Value) -> None:
            def row(k: Value) -> None:
                target = made.at((o * extent + index.load(k)) * inner)
                given = source.at((o * count + k) * inner)

                def add(j: Value, mask: Value | None = None) -> None:
                    total = target.load(j, lanes, mask) + given.load(j, lanes, mask)
                    target.store(total, j, mask)

                _along_row(f, f.arg("begin"), f.arg("end"), lanes, add)

            def single(k: Value) -> None:
                target = made.at(o * extent + index.load(k))
                target.store(target.load() + source.load(o * count + k))

            narrow = inner.equals(1)
            f.when(narrow & (f.arg("begin") < f.arg("end")), lambda: f.loop(0, count, single))
            f.when(~narrow, lambda: f.loop(0, count, row))

        _guarded(f, count, lambda: f.loop(0, f.arg("outer"), each_outer))
        call.write_entry(module, "entry", f, self.kinds)

    def interpret(self, made: Array, index: Array, source: Array, begin: int, end: int) -> None:
        """The meaning, on arrays of three dimensions."""
        columns = slice(begin, end)
        for k, place in enumerate(index):
            made[:, place, columns] += source[:, k, columns]


def _each_element(f: Function, own: str, other: str, element: str,
                  body: Callable[[Pointer, Pointer, Value, Value], None]) -> None:  # fmt: skip
    """body(own row, other row, place in own, place in other) for each index, in row-major order.

    For o in [begin, end) of arrays `own`, like the index (outer, count, inner), and `other`, (outer,
    extent, inner). Ends the function with 1 at a row of which an index is outside, else with 0.
    """
    extent, inner, count = f.arg("extent"), f.arg("inner"), f.arg("count")
    size = count * inner

    def each_outer(o: Value, bad: Value) -> tuple[Value]:
        index = f.pointer("index", "i64").at(o * size)
        mine = f.pointer(own, element).at(o * size)
        theirs = f.pointer(other, element).at(o * (extent * inner))
        bad = bad | _outside(f, index, size, extent)

        def single(k: Value) -> None:
            body(mine, theirs, k, index.load(k))

        def wide(k: Value) -> None:
            start = k * inner
            f.loop(
                0, inner, lambda j: body(mine, theirs, start + j, index.load(start + j) * inner + j)
            )

        narrow = inner.equals(1)
        f.when(narrow & ~bad, lambda: _each(f, f.const(0, "i64"), count, single))
        f.when(~(narrow | bad), lambda: f.loop(0, count, wide))
        return (bad,)

    (bad,) = f.loop(f.arg("begin"), f.arg("end"), each_outer, init=(f.const(0, "i1"),))
    f.ret(bad.cast("zext", "i64"))


@dataclass(frozen=True)
class Gather:
    """out[o, k, j] = x[o, index[o, k, j], j] for o in [begin, end); `element` is i32 or i64.

    kernel(x, index, out, extent, inner, count, begin, end)
    """

    element: str
    exports = ("kernel", "entry")
    kinds = ("array", "array", "array", "int", "int", "int", "int", "int")

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function(
            "kernel", "i64", False, ("x", "index"), x="ptr", index="ptr", out="ptr", extent="i64",
            inner="i64", count="i64", begin="i64", end="i64",
        )  # fmt: skip

        def move(own: Pointer, other: Pointer, place: Value, there: Value) -> None:
            own.store(other.load(there), place)

        _each_element(f, "out", "x", self.element, move)
        call.write_entry(module, "entry", f, self.kinds)

    def interpret(self, x: Array, index: Array, out: Array, begin: int, end: int) -> None:
        """The meaning, on arrays of three dimensions."""
        out[begin:end] = np.take_along_axis(x[begin:end], index[begin:end], 1)


@dataclass(frozen=True)
class ScatterAdd:
    """made[o, index[o, k, j], j] += source[o, k, j] in row-major order, for o in [begin, end).

    kernel(made, index, source, extent, inner, count, begin, end)
    """

    element: str
    exports = ("kernel", "entry")
    kinds = ("array", "array", "array", "int", "int", "int", "int", "int")

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function(
            "kernel", "i64", False, ("index", "source"), made="ptr", index="ptr", source="ptr",
            extent="i64", inner="i64", count="i64", begin="i64", end="i64",
        )  # fmt: skip

        def add(own: Pointer, other: Pointer, place: Value, there: Value) -> None:
            other.store(other.load(there) + own.load(place), there)

        _each_element(f, "source", "made", self.element, add)
        call.write_entry(module, "entry", f, self.kinds)

    def interpret(self, made: Array, index: Array, source: Array, begin: int, end: int) -> None:
        """The meaning, on arrays of three dimensions."""
        for o in range(begin, end):
            for k, j in np.ndindex(index.shape[1:]):
                made[o, index[o, k, j], j] += source[o, k, j]
