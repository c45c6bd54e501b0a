"""Kernels over rows: softmax and cross entropy with class numbers, and their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm import vmath
from taper.backends.llvm.rows import Columns, Rows, add, larger
from taper.backends.llvm.text import Module, Pointer, Value


@dataclass(frozen=True)
class Softmax(Rows):
    """y = exp(x) over its sum along each row, or its logarithm. Call: x, y, [columns,] range.

    A row of minus infinities, and one with an infinity or nan, gives nan.
    """

    logarithm: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return self.kinds_of(2)

    def interpret(self, x: np.ndarray) -> np.ndarray:
        """By numpy."""
        shifted = x - np.maximum.reduce(x, 1, keepdims=True)
        total = np.add.reduce(np.exp(shifted), 1, keepdims=True)
        return shifted - np.log(total) if self.logarithm else np.exp(shifted) / total

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f, columns, _ = self._open(module, ("x", "y"))

        def row(r: Value) -> None:
            start = r * columns.count
            x, y = (f.pointer(name, self.element).at(start) for name in "xy")
            top, total, held = _exponentials(columns, x, None if self.logarithm else y)
            if self.logarithm:
                shift = vmath.log(total)
                columns.each(lambda i, mask: y.store((held(i, mask) - top) - shift, i, mask))
            else:
                share = 1.0 / total
                columns.each(lambda i, mask: y.store(held(i, mask) * share, i, mask))

        f.loop(f.arg("begin"), f.arg("end"), row)
        self._close(f, 2)


def _exponentials(
    columns: Columns, x: Pointer, y: Pointer | None
) -> tuple[Value, Value, Callable[..., Value]]:
    """(largest, sum of exp(x - largest), what gives the vector at a place).

    The vectors are the exponentials, kept in registers or in y; those of x if y is None.
    """
    lanes = columns.lanes
    kept: dict[int, Value] = {}

    def read(i: Any, mask: Value | None) -> Value:
        if columns.few:
            if i not in kept:
                kept[i] = x.load(i, lanes, mask)
            return kept[i]
        return x.load(i, lanes, mask)

    (top,) = columns.reduce(lambda i, mask: [read(i, mask)], [larger], [-math.inf])
    made: dict[int, Value] = {}

    def exponential(i: Any, mask: Value | None) -> list[Value]:
        e = vmath.exp_below(read(i, mask) - top)
        if columns.few:
            made[i] = e
        elif y is not None:
            y.store(e, i, mask)
        return [e]

    (total,) = columns.reduce(exponential, [add], [0.0])
    if y is None:
        return top, total, read
    held = (lambda i, mask: made[i]) if columns.few else (lambda i, mask: y.load(i, lanes, mask))
    return top, total, held


@dataclass(frozen=True)
class SoftmaxGrad(Rows):
    """Derivative of Softmax, of its result. Call: grad, out, dx, [columns,] range."""

    logarithm: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return self.kinds_of(3)

    def interpret(self, grad: np.ndarray, out: np.ndarray) -> np.ndarray:
        """By numpy."""
        if self.logarithm:
            return grad - np.exp(out) * grad.sum(1, keepdims=True)
        return out * (grad - (grad * out).sum(1, keepdims=True))

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f, columns, lanes = self._open(module, ("grad", "out", "dx"))

        def row(r: Value) -> None:
            start = r * columns.count
            grad, out, dx = (f.pointer(n, self.element).at(start) for n in ("grad", "out", "dx"))

            def load(i: Any, mask: Value | None) -> tuple[Value, Value]:
                return grad.load(i, lanes, mask), out.load(i, lanes, mask)

            def part(i: Any, mask: Value | None) -> list[Value]:
                g, y = load(i, mask)
                return [g if self.logarithm else g * y]

            (total,) = columns.reduce(part, [add], [0.0])

            def finish(i: Any, mask: Value | None) -> None:
                g, y = load(i, mask)
                made = g - vmath.exp_below(y) * total if self.logarithm else y * (g - total)
                dx.store(made, i, mask)

            columns.each(finish)

        f.loop(f.arg("begin"), f.arg("end"), row)
        self._close(f, 3)


@dataclass(frozen=True)
class CrossEntropy(Rows):
    """Of each row the softmax, and minus its logarithm at the target.

    Call: x, target (int64, each within the columns), softmax, loss, [columns,] range.
    """

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return self.kinds_of(4)

    def interpret(self, x: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By numpy."""
        shifted = x - np.maximum.reduce(x, 1, keepdims=True)
        softmax = np.exp(shifted)
        total = np.add.reduce(softmax, 1, keepdims=True)
        return softmax / total, np.log(total[:, 0]) - shifted[np.arange(len(x)), target]

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f, columns, _ = self._open(module, ("x", "target", "softmax", "loss"))
        target, loss = f.pointer("target", "i64"), f.pointer("loss", self.element)

        def row(r: Value) -> None:
            start = r * columns.count
            x, y = (f.pointer(name, self.element).at(start) for name in ("x", "softmax"))
            top, total, held = _exponentials(columns, x, y)
            chosen = x.load(target.load(r))
            loss.store(vmath.log(total).lane(0) - (chosen - top.lane(0)), r)
            share = 1.0 / total
            columns.each(lambda i, mask: y.store(held(i, mask) * share, i, mask))

        f.loop(f.arg("begin"), f.arg("end"), row)
        self._close(f, 4)


@dataclass(frozen=True)
class CrossEntropyGrad(Rows):
    """dx = softmax * share, less the share at the target.

    Call: softmax, target, share, dx, [columns,] range. The share is one number, or with `each`
    one number a row.
    """

    each: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return self.kinds_of(4)

    def interpret(self, softmax: np.ndarray, target: np.ndarray, share: np.ndarray) -> np.ndarray:
        """By numpy."""
        made = softmax * (share[:, None] if self.each else share)
        made[np.arange(len(softmax)), target] -= share
        return made

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f, columns, lanes = self._open(module, ("softmax", "target", "share", "dx"))
        target, share = f.pointer("target", "i64"), f.pointer("share", self.element)

        def row(r: Value) -> None:
            start = r * columns.count
            y, dx = (f.pointer(name, self.element).at(start) for name in ("softmax", "dx"))
            own = share.load(r if self.each else 0)
            spread = f.splat(own, lanes)
            columns.each(lambda i, mask: dx.store(y.load(i, lanes, mask) * spread, i, mask))
            place = target.load(r)
            dx.store(y.load(place) * own - own, place)

        f.loop(f.arg("begin"), f.arg("end"), row)
        self._close(f, 4)
