"""Kernels of pools over windows that are not all alike, and of where a window has its maximum.

A plane's windows are a grid: `bounds`, an array of int64, has the first rows of the grid's rows, their
ends, the first columns of its columns, their ends. For each row of the grid lanes are columns of the
plane, folded over the rows; what that gives is folded over the columns of each window, one by one.
Nothing is specialised to sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends import pooling_uneven as reference
from taper.backends.llvm.pool import write_parallel_entry
from taper.backends.llvm.pooling import wins
from taper.backends.llvm.text import SIZES, Function, Module, Pointer, Value, vector

# Vectors of a row of scratch that may be written past its end.
SLACK = 64


@dataclass(frozen=True)
class _Uneven:
    """kernel(x, out, bounds, scratch, height, width, rows, columns, piece, planes, begin, end)

    The grid has rows x columns windows. A range is `piece` planes; scratch has 16 bytes for each
    column and SLACK more, for each range.
    """

    element: str
    exports = ("kernel", "entry")
    kinds = (*("array",) * 4, *("int",) * 8)

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        names = ("height", "width", "rows", "columns", "piece", "planes", "begin", "end")
        f = module.function(
            "kernel", x="ptr", out="ptr", bounds="ptr", scratch="ptr",
            **dict.fromkeys(names, "i64"),  # type: ignore[arg-type]
        )  # fmt: skip
        width, rows, columns, piece, begin = (
            f.arg(n) for n in ("width", "rows", "columns", "piece", "begin")
        )
        area, windows = f.arg("height") * width, rows * columns
        bounds = f.pointer("bounds", "i64")
        tops, lefts = bounds, bounds.at(2 * rows)
        bottoms, rights = bounds.at(rows), lefts.at(columns)
        own = f.pointer("scratch", "i64").at(begin * (2 * (width + SLACK)))

        def plane(n: Value) -> None:
            source, target = self._plane(f, n, area, windows)

            def row(y: Value) -> None:
                stripe = tops.load(y), bottoms.load(y)
                here = y * columns

                def window(body: Callable[..., Any]) -> None:
                    f.loop(
                        0, columns, lambda x: body(here + x, lefts.load(x), rights.load(x)) and None
                    )

                self._row(f, source, target, own, width, stripe, window)

            f.loop(0, rows, row)

        f.loop(begin * piece, f.minimum(f.arg("end") * piece, f.arg("planes")), plane)
        f.ret()
        write_parallel_entry(module, "entry", f, self.kinds[:-2], 1)

    def _plane(self, f: Function, n: Value, area: Value, windows: Value) -> tuple[Pointer, Pointer]:
        """Where plane n of the two arrays begins; x is what has planes of `area` elements."""
        return (
            f.pointer("x", self.element).at(n * area),
            f.pointer("out", self.element).at(n * windows),
        )

    def _row(
        self, f: Function, source: Pointer, target: Pointer, own: Pointer, width: Value,
        stripe: tuple[Value, Value], window: Callable[..., None],
    ) -> None:  # fmt: skip
        """One row of windows; window(body) calls body(number, left, right) for each of them."""
        raise NotImplementedError

    def _lanes(
        self, f: Function, width: Value, body: Callable[[Value, Value | None], None]
    ) -> None:
        """body(column, mask) for the vectors of a row."""
        lanes = f.module.lanes(self.element)
        whole = width // lanes * lanes
        f.loop(0, whole, lambda c: body(c, None), lanes)
        f.loop(whole, width, lambda c: body(c, f.mask(width - c, lanes)), lanes)


@dataclass(frozen=True)
class UnevenMaxIndex(_Uneven):
    """out, int64: where in its plane each window has its maximum, the first of equal ones, the last
    nan.
    """

    def interpret(self, x: np.ndarray, out: tuple[int, int]) -> np.ndarray:
        """By numpy, for windows that cover the planes evenly."""
        return reference.uneven_max_index(x, out)

    def _plane(self, f: Function, n: Value, area: Value, windows: Value) -> tuple[Pointer, Pointer]:
        return f.pointer("x", self.element).at(n * area), f.pointer("out", "i64").at(n * windows)

    def _row(
        self, f: Function, source: Pointer, target: Pointer, own: Pointer, width: Value,
        stripe: tuple[Value, Value], window: Callable[..., None],
    ) -> None:  # fmt: skip
        top, bottom = stripe
        lanes, number = f.module.lanes(self.element), f"i{8 * SIZES[self.element]}"
        values, places = own.as_(self.element), own.at(width + SLACK).as_(number)

        def best_of_columns(c: Value, mask: Value | None) -> None:
            here = source.at(c)

            def step(y: Value, best: Value, place: Value) -> list[Value]:
                rival = here.load(y * width, lanes, mask)
                won = wins(rival, best)
                new = f.splat(y.cast("trunc", number) if number != "i64" else y, lanes)
                return [won.select(rival, best), won.select(new, place)]

            start = top.cast("trunc", number) if number != "i64" else top
            init = [here.load(top * width, lanes, mask), f.splat(start, lanes)]
            best, place = f.loop(top + 1, bottom, step, 1, init)
            values.store(best, c, mask)
            places.store(place, c, mask)

        self._lanes(f, width, best_of_columns)

        def flat(c: Value) -> Value:
            y = places.load(c)
            return (y if number == "i64" else y.cast("sext", "i64")) * width + c

        def best_of_window(which: Value, left: Value, right: Value) -> None:
            def step(c: Value, best: Value, place: Value) -> list[Value]:
                rival, new = values.load(c), flat(c)
                unordered = rival.differs(rival)
                before = rival.equals(best) & (new < place)
                after = unordered & ((new > place) | best.equals(best))
                won = (rival > best) | before | after
                return [won.select(rival, best), won.select(new, place)]

            init = [values.load(left), flat(left)]
            target.store(f.loop(left + 1, right, step, 1, init)[1], which)

        window(best_of_window)


@dataclass(frozen=True)
class UnevenMean(_Uneven):
    """The mean of every window: the columns' sums from top to bottom, and these from left to right."""

    def interpret(self, x: np.ndarray, out: tuple[int, int]) -> np.ndarray:
        """By numpy, for windows that cover the planes evenly."""
        return reference.uneven_mean(x, out)

    def _row(
        self, f: Function, source: Pointer, target: Pointer, own: Pointer, width: Value,
        stripe: tuple[Value, Value], window: Callable[..., None],
    ) -> None:  # fmt: skip
        top, bottom = stripe
        lanes, totals = f.module.lanes(self.element), own.as_(self.element)
        zero = f.const(0.0, vector(self.element, lanes))

        def sum_of_columns(c: Value, mask: Value | None) -> None:
            here = source.at(c)
            (total,) = f.loop(
                top, bottom, lambda y, t: [t + here.load(y * width, lanes, mask)], 1, [zero]
            )
            totals.store(total, c, mask)

        self._lanes(f, width, sum_of_columns)

        def mean_of_window(which: Value, left: Value, right: Value) -> None:
            (total,) = f.loop(
                left, right, lambda c, t: [t + totals.load(c)], 1, [f.const(0.0, self.element)]
            )
            count = ((bottom - top) * (right - left)).cast("sitofp", self.element)
            target.store(total / count, which)

        window(mean_of_window)


@dataclass(frozen=True)
class UnevenMeanGrad(_Uneven):
    """x, of zeros, gets every window's gradient, from out, divided, at all its elements."""

    def interpret(self, grad: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """By numpy, for windows that cover the planes evenly."""
        return reference.uneven_mean_grad(grad, size)

    def _row(
        self, f: Function, source: Pointer, target: Pointer, own: Pointer, width: Value,
        stripe: tuple[Value, Value], window: Callable[..., None],
    ) -> None:  # fmt: skip
        top, bottom = stripe
        lanes, shares = f.module.lanes(self.element), own.as_(self.element)
        zero = f.const(0.0, vector(self.element, lanes))
        self._lanes(f, width, lambda c, mask: shares.store(zero, c, mask))

        def spread(which: Value, left: Value, right: Value) -> None:
            count = ((bottom - top) * (right - left)).cast("sitofp", self.element)
            share = target.load(which) / count
            f.loop(left, right, lambda c: shares.store(shares.load(c) + share, c))

        window(spread)

        def add(c: Value, mask: Value | None) -> None:
            share, here = shares.load(c, lanes, mask), source.at(c)

            def one(y: Value) -> None:
                before = here.load(y * width, lanes, mask)
                here.store(before + share, y * width, mask)

            f.loop(top, bottom, one)

        self._lanes(f, width, add)
