"""Kernels of pooling: maximum and mean of windows, and their adjoints.

Lanes are neighbouring outputs of a row; the positions of a window follow one another, written out.
What is padded, or reaches over the end, is first copied into a plane with the neutral element
around it. Images of one dimension have height 1. Batch and channels together count as planes: their
number is an argument, and as in conv.py a call works on some ranges of them.

Of equal elements the first in reading order has the maximum; of several nan, the last. A mean adds
the rows of a window to each other, each summed from left to right. Gradients of maxima are added in
reading order of their windows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends import pooling as reference
from taper.backends.llvm.conv_tiles import (
    CACHE_LINE,
    Plane,
    aligned,
    ceil_div,
    in_place,
    load_pixels,
    padded_plane,
    stage,
    store_pixels,
)
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.pool import write_parallel_entry
from taper.backends.llvm.text import SIZES, Function, Module, Pointer, Value, vector

Pair = tuple[int, int]

# Positions of a window that are written out; larger windows are left to the reference.
MOST_POSITIONS = 64


@dataclass(frozen=True)
class Windows:
    """Windows over a plane of `size`, (height, width)."""

    size: Pair
    out: Pair
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)

    def reach(self, axis: int) -> int:
        """Rows or columns of the padded plane that windows meet."""
        span = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        return (self.out[axis] - 1) * self.stride[axis] + span

    @property
    def inside(self) -> bool:
        """Whether all windows lie in the plane."""
        return self.padding == (0, 0) and all(self.reach(a) <= self.size[a] for a in (0, 1))

    @property
    def apart(self) -> bool:
        """Whether no two windows share an element."""
        return all(
            self.dilation[a] * (self.kernel[a] - 1) < self.stride[a] or self.out[a] == 1
            for a in (0, 1)
        )

    @property
    def covers(self) -> bool:
        """Whether every element of the plane is in exactly one window, pairs along a row."""
        return (
            self.inside
            and self.dilation == (1, 1)
            and self.kernel == self.stride
            and self.kernel[1] == 2
            and all(self.kernel[a] * self.out[a] == self.size[a] for a in (0, 1))
        )

    def stacked(self, lanes: int) -> int:
        """Rows of windows that share a vector: some, if they are short and follow one another in
        memory, from one plane to the next.
        """
        fitting = lanes // self.out[1]
        return fitting if self.covers and fitting > 1 and self.kernel[0] <= 2 else 1

    def plane(self, itemsize: int) -> Plane:
        """Where windows are looked at: the plane itself if they lie in it, or a padded one."""
        if self.inside:
            return in_place(1, *self.size)
        return padded_plane(1, self.size, self.reach(0), self.reach(1), *self.padding, itemsize)

    def positions(self) -> list[tuple[int, int, int]]:
        """(row, column, offset in columns from the window's row) of every position, in order."""
        return [
            (i * self.dilation[0], j, j * self.dilation[1])
            for i in range(self.kernel[0])
            for j in range(self.kernel[1])
        ]


@dataclass(frozen=True)
class _Pool:
    """What the four kernels have in common."""

    windows: Windows
    element: str = "float"

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernel, and its entry for Python."""
        return ("kernel", "entry")

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return SIZES[self.element]

    def _each(self) -> int:
        """Elements of the scratch of one call."""
        size = self.windows.plane(self.itemsize).size
        return 0 if self.windows.inside else 2 * ceil_div(size, 16) * 16

    def scratch(self, machine: Machine, ranges: int = 1) -> int:
        """Elements of scratch that so many calls at once need."""
        return self._each() * ranges + CACHE_LINE // self.itemsize

    def _begin(self, module: Module, *names: str) -> tuple[Function, list[Pointer]]:
        addresses = dict.fromkeys((*names, "scratch"), "ptr")
        f = module.function(
            "kernel", "void", False, tuple(addresses), **addresses,
            piece="i64", planes="i64", begin="i64", end="i64",
        )  # fmt: skip
        return f, [f.pointer(name, self.element) for name in names]

    def _own(self, f: Function) -> tuple[Pointer, Pointer]:
        """Two planes of scratch that belong to this call."""
        first = aligned(f, f.pointer("scratch", self.element)).at(f.arg("begin") * self._each())
        return first, first.at(self._each() // 2)

    def _over(
        self,
        module: Module,
        f: Function,
        names: int,
        body: Callable[[Value], None],
        stacked: Callable[[Value, int], None] | None = None,
    ) -> None:
        """body(n) for the planes of the ranges, or stacked(y, rows) for all their rows of windows where
        several share a vector; ends the kernel and writes its entry.
        """
        piece = f.arg("piece")
        first, last = f.arg("begin") * piece, f.minimum(f.arg("end") * piece, f.arg("planes"))
        rows = self.windows.stacked(module.lanes(self.element))
        if stacked is None or rows == 1:
            f.loop(first, last, body)
        else:
            start, end = first * self.windows.out[0], last * self.windows.out[0]
            whole = end - (end - start) % rows
            f.loop(start, whole, lambda y: stacked(y, rows), rows)
            f.loop(whole, end, lambda y: stacked(y, 1))
        f.ret()
        kinds = (*("array",) * (names + 1), "int", "int")
        write_parallel_entry(module, "entry", f, kinds, 1)

    def _staged(self, f: Function, source: Pointer, own: Pointer) -> Pointer:
        """The plane that windows are looked at in."""
        if self.windows.inside:
            return source
        stage(f, self.windows.plane(self.itemsize), source, own)
        return own

    def _fill(self, f: Function, target: Pointer, count: int, value: float) -> None:
        """`count` times the value."""
        lanes = f.module.lanes(self.element)
        filled = f.const(value, vector(self.element, lanes))
        whole = count // lanes * lanes
        f.loop(0, whole, lambda i: target.store(filled, i), lanes)
        if count > whole:
            target.store(filled, whole, f.mask(count - whole, lanes))

    def _rows(self, f: Function, body: Callable[[Value, Value, int], None]) -> None:
        """body(y, x, count) for every vector of outputs, row by row."""
        height, width = self.windows.out
        lanes = f.module.lanes(self.element)
        whole = width // lanes * lanes

        def row(y: Value) -> None:
            f.loop(0, whole, lambda x: body(y, x, lanes), lanes)
            if width > whole:
                body(y, f.const(whole, "i64"), width - whole)

        f.loop(0, height, row)

    def _at(self, plane: Pointer, y: Value, x: Value) -> Pointer:
        """Where the windows of outputs from (y, x) on begin."""
        cols = self.windows.plane(self.itemsize).cols
        return plane.at(y * (self.windows.stride[0] * cols) + x * self.windows.stride[1])

    def _load(self, f: Function, here: Pointer, count: int) -> list[Value]:
        """The elements at every position of the windows."""
        cols = self.windows.plane(self.itemsize).cols
        lanes, step = f.module.lanes(self.element), self.windows.stride[1]
        return [
            load_pixels(here.at(row * cols + offset), lanes, step, count)
            for row, _, offset in self.windows.positions()
        ]

    def _load_rows(self, f: Function, here: Pointer, rows: int) -> list[Value]:
        """The same of so many rows of windows that follow one another."""
        (tall, wide), cols = self.windows.kernel, self.windows.size[1]
        lanes, total = f.module.lanes(self.element), rows * tall * cols
        lines = [here.load(i, lanes, f.mask(total - i, lanes)) for i in range(0, total, lanes)]
        places = [
            row * tall * cols + x * wide for row in range(rows) for x in range(self.windows.out[1])
        ]
        places += places[-1:] * (lanes - len(places))
        return [
            _picked(lines, [divmod(place + row * cols + offset, lanes) for place in places])
            for row, _, offset in self.windows.positions()
        ]

    def _spread_rows(self, target: Pointer, shares: list[Value], rows: int) -> None:
        """The counterpart of _load_rows: writes shares[i] to the i-th position of every window."""
        (tall, wide), cols = self.windows.kernel, self.windows.size[1]
        lanes, total = shares[0].lanes, rows * tall * cols

        def share(place: int) -> tuple[int, int]:
            row, x = divmod(min(place, total - 1), cols)
            return row % tall * wide + x % wide, row // tall * self.windows.out[1] + x // wide

        for start in range(0, total, lanes):
            mixed = _picked(shares, [share(start + i) for i in range(lanes)])
            target.store(mixed, start, target.f.mask(total - start, lanes))

    def _spread(self, target: Pointer, shares: list[Value], count: int) -> None:
        """Writes shares[i] to the i-th position of every window; no two windows overlap."""
        windows = self.windows
        cols, step = windows.plane(self.itemsize).cols, windows.stride[1]
        positions = list(zip(windows.positions(), shares, strict=True))
        if windows.covers:
            pairs = zip(positions[::2], positions[1::2], strict=True)
            for ((row, _, _), first), (_, second) in pairs:
                _store_pairs(target.at(row * cols), first, second, count)
            return
        for (row, _, offset), share in positions:
            store_pixels(target.at(row * cols + offset), share, count, step)

    def _adjoint(
        self,
        f: Function,
        dx: Pointer,
        made: Pointer,
        some: Callable[[Value, Pointer, Value, Value, int], None],
    ) -> Callable[[Value], None]:
        """What is done with plane n: some(n, target, y, x, count) fills zeros with gradients."""
        windows = self.windows
        plane, size = windows.plane(self.itemsize), windows.size[0] * windows.size[1]

        def one(n: Value) -> None:
            to = dx.at(n * size)
            target = to if windows.inside else made
            if not windows.covers:
                self._fill(f, target, size if windows.inside else plane.size, 0.0)
            self._rows(f, lambda y, x, count: some(n, target, y, x, count))
            if not windows.inside:
                _unstage(f, plane, made, to)

        return one


def _picked(sources: list[Value], wanted: list[tuple[int, int]]) -> Value:
    """In each lane what is wanted: (number of a source, its lane)."""
    lanes = len(wanted)
    first, *others = sorted({number for number, _ in wanted})
    made = sources[first].shuffle(sources[first], [lane for _, lane in wanted])
    for other in others:
        indices = [
            lanes + lane if number == other else i for i, (number, lane) in enumerate(wanted)
        ]
        made = made.shuffle(sources[other], indices)
    return made


def _store_pairs(target: Pointer, first: Value, second: Value, count: int) -> None:
    """first[0], second[0], first[1], second[1] ... for `count` lanes."""
    f, lanes = target.f, first.lanes
    if lanes == 1:
        target.store(first)
        target.store(second, 1)
        return
    for part in range(ceil_div(2 * count, lanes)):
        start = part * lanes // 2
        mixed = first.shuffle(second, [start + i // 2 + lanes * (i % 2) for i in range(lanes)])
        target.store(mixed, part * lanes, f.mask(2 * count - part * lanes, lanes))


def _unstage(f: Function, plane: Plane, source: Pointer, target: Pointer) -> None:
    """Copies the interior of a plane."""
    lanes, width = f.module.lanes(source.element), plane.width

    def row(y: Value) -> None:
        s, t = source.at(y * plane.cols + plane.origin), target.at(y * width)
        for x in range(0, width, lanes):
            t.store(s.load(x, lanes), x, f.mask(width - x, lanes))

    f.loop(0, plane.height, row)


LOWEST = float("-inf")


@dataclass(frozen=True)
class MaxPool(_Pool):
    """kernel(x, y, scratch, piece, planes, begin, end): the maximum of every window."""

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        windows = self.windows
        f, (x, y) = self._begin(module, "x", "y")
        own, _ = self._own(f)
        area, size = windows.out[0] * windows.out[1], windows.size[0] * windows.size[1]
        if not windows.inside:
            self._fill(f, own, windows.plane(self.itemsize).size, LOWEST)

        def one(n: Value) -> None:
            source, to = self._staged(f, x.at(n * size), own), y.at(n * area)

            def some(row: Value, col: Value, count: int) -> None:
                seen = self._load(f, self._at(source, row, col), count)
                write(seen, to.at(row * windows.out[1] + col), count)

            self._rows(f, some)

        def write(seen: list[Value], to: Pointer, count: int) -> None:
            best = seen[0]
            for rival in seen[1:]:
                best = wins(rival, best).select(rival, best)
            to.store(best, 0, f.mask(count, best.lanes))

        def stacked(row: Value, rows: int) -> None:
            seen = self._load_rows(f, self._at(x, row, f.const(0, "i64")), rows)
            write(seen, y.at(row * windows.out[1]), rows * windows.out[1])

        self._over(module, f, 2, one, stacked)

    def interpret(self, x: np.ndarray) -> np.ndarray:
        """The same in numpy."""
        w = self.windows
        return reference.max_pool(x, w.kernel, w.stride, w.padding, w.dilation, w.out)


def wins(rival: Value, best: Value) -> Value:
    """Where a later element takes the place of the best so far: if it is larger, or nan."""
    return (rival > best) | rival.differs(rival)


@dataclass(frozen=True)
class MaxPoolGrad(_Pool):
    """kernel(grad, x, dx, scratch, piece, planes, begin, end): each gradient where x has its
    window's maximum, which is found again.

    Where windows are pairs or squares side by side, their elements are written as vectors; else one
    gradient after the other is added to its place.
    """

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        windows = self.windows
        lanes = module.lanes(self.element)
        f, (grad, x, dx) = self._begin(module, "grad", "x", "dx")
        noted = Pointer(f, f.emit("ptr", f"alloca <{lanes} x i32>").name, "i32")
        own, made = self._own(f)
        plane = windows.plane(self.itemsize)
        area, size = windows.out[0] * windows.out[1], windows.size[0] * windows.size[1]
        if not windows.inside:
            self._fill(f, own, plane.size, LOWEST)
        places = [row * plane.cols + offset for row, _, offset in windows.positions()]

        def some(n: Value, target: Pointer, y: Value, col: Value, count: int) -> None:
            source = x.at(n * size) if windows.inside else own
            seen = self._load(f, self._at(source, y, col), count)
            given, to = grad.at(n * area + y * windows.out[1] + col), self._at(target, y, col)
            if windows.covers:
                shares = self._shares(f, given.load(0, lanes, f.mask(count, lanes)), seen)
                self._spread(to, shares, count)
                return
            # Padding is never chosen: where all is minus infinity, the first element outside it is.
            best, chosen = seen[0], self._first(f, y, col)
            for place, rival in zip(places[1:], seen[1:], strict=True):
                larger = wins(rival, best)
                best = larger.select(rival, best)
                chosen = larger.select(f.const(place, chosen.type), chosen)
            noted.store(chosen)

            def add(i: Value) -> None:
                place = to.at(noted.load(i).cast("sext", "i64") + i * windows.stride[1])
                place.store(place.load() + given.load(i))

            f.loop(0, count, add)

        one = self._adjoint(f, dx, made, some)

        def staged(n: Value) -> None:
            if not windows.inside:
                stage(f, plane, x.at(n * size), own)
            one(n)

        def stacked(row: Value, rows: int) -> None:
            start, count = f.const(0, "i64"), rows * windows.out[1]
            seen = self._load_rows(f, self._at(x, row, start), rows)
            given = grad.load(row * windows.out[1], lanes, f.mask(count, lanes))
            self._spread_rows(self._at(dx, row, start), self._shares(f, given, seen), rows)

        self._over(module, f, 3, staged, stacked)

    def _shares(self, f: Function, given: Value, seen: list[Value]) -> list[Value]:
        """What each position of the windows gets."""
        number = f"i{8 * self.itemsize}"
        best, choice = seen[0], f.const(0, vector(number, given.lanes))
        for i, rival in enumerate(seen[1:], 1):
            larger = wins(rival, best)
            best = larger.select(rival, best)
            choice = larger.select(f.const(i, choice.type), choice)
        nothing = f.const(0.0, given.type)
        return [choice.equals(i).select(given, nothing) for i in range(len(seen))]

    def _first(self, f: Function, y: Value, x: Value) -> Value:
        """Where, from each window's beginning, its first element is that is not padding."""
        windows, lanes = self.windows, f.module.lanes(self.element)
        if windows.inside:
            return f.const(0, vector("i32", lanes))
        (top, left), (down, right) = windows.padding, windows.stride
        tall, wide = windows.dilation
        row = f.maximum((top + tall - 1) - y * down, 0) // tall
        row = row * (tall * windows.plane(self.itemsize).cols)
        each = f.lanes_const([i * right for i in range(lanes)], "i32")
        edge = ((left + wide - 1) - x * right).cast("trunc", "i32")
        col = f.maximum(f.splat(edge, lanes) - each, 0)
        return f.splat(row.cast("trunc", "i32"), lanes) + (col if wide == 1 else col // wide * wide)

    def interpret(self, grad: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The same in numpy."""
        w = self.windows
        return reference.max_pool_grad(grad, x, w.kernel, w.stride, w.padding, w.dilation, w.out)


@dataclass(frozen=True)
class _Mean(_Pool):
    """A mean divides by `divisor`, or where that is 0 by numbers of an array shaped as the output."""

    divisor: float = 0.0

    def _divided(self, f: Function, total: Value, by: Pointer, place: Value, count: int) -> Value:
        if self.divisor:
            inverse = 1 / self.divisor
            exact = self.divisor == 2 ** round(np.log2(abs(self.divisor)))
            return total * inverse if exact else total / self.divisor
        mask = f.mask(count, total.lanes)
        given = by.load(place, total.lanes, mask)
        if mask is not None:  # lanes that nobody reads divide by 1
            given = mask.select(given, f.const(1.0, given.type))
        return total / given

    def _table(self, divisors: np.ndarray | None) -> Any:
        return self.divisor if divisors is None else divisors


@dataclass(frozen=True)
class AvgPool(_Mean):
    """kernel(x, divisors, y, scratch, piece, planes, begin, end): the mean of every window."""

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        windows = self.windows
        f, (x, divisors, y) = self._begin(module, "x", "divisors", "y")
        own, _ = self._own(f)
        area, size = windows.out[0] * windows.out[1], windows.size[0] * windows.size[1]
        if not windows.inside:
            self._fill(f, own, windows.plane(self.itemsize).size, 0.0)
        columns = windows.kernel[1]

        def one(n: Value) -> None:
            source, to = self._staged(f, x.at(n * size), own), y.at(n * area)

            def some(row: Value, col: Value, count: int) -> None:
                seen = self._load(f, self._at(source, row, col), count)
                total = None
                for start in range(0, len(seen), columns):
                    line = seen[start]
                    for value in seen[start + 1 : start + columns]:
                        line = line + value
                    total = line if total is None else total + line
                assert total is not None
                place = row * windows.out[1] + col
                mean = self._divided(f, total, divisors, place, count)
                to.store(mean, place, f.mask(count, mean.lanes))

            self._rows(f, some)

        self._over(module, f, 3, one)

    def interpret(self, x: np.ndarray, divisors: np.ndarray | None = None) -> np.ndarray:
        """The same in numpy."""
        w = self.windows
        total = reference.avg_pool(x, w.kernel, w.stride, w.padding, w.out, True, 1)
        return np.asarray(total / self._table(divisors)).astype(x.dtype)


@dataclass(frozen=True)
class AvgPoolGrad(_Mean):
    """kernel(grad, divisors, dx, scratch, piece, planes, begin, end): each gradient, divided, all
    over its window. For windows that do not overlap; the others are convolutions with ones.
    """

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        windows = self.windows
        assert windows.apart, "overlapping windows have another kernel"
        f, (grad, divisors, dx) = self._begin(module, "grad", "divisors", "dx")
        _, made = self._own(f)
        area, lanes = windows.out[0] * windows.out[1], module.lanes(self.element)

        def some(n: Value, target: Pointer, y: Value, x: Value, count: int) -> None:
            place = y * windows.out[1] + x
            given = grad.load(n * area + place, lanes, f.mask(count, lanes))
            share = self._divided(f, given, divisors, place, count)
            self._spread(self._at(target, y, x), [share] * len(windows.positions()), count)

        self._over(module, f, 3, self._adjoint(f, dx, made, some))

    def interpret(self, grad: np.ndarray, divisors: np.ndarray | None = None) -> np.ndarray:
        """The same in numpy."""
        w = self.windows
        share = np.asarray(grad / self._table(divisors)).astype(grad.dtype)
        return reference.avg_pool_grad(share, w.size, w.kernel, w.stride, w.padding, w.out, True, 1)
