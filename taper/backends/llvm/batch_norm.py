"""Kernels of batch norm: all pixels of a channel in all images, one channel after the other.

A channel is read twice for its moments and once for the result, the second and third time from the
cache. The order of additions is that of the specification, whatever the number of threads: in an
image lane by lane, with four sums in turns, and from image to image in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from taper.backends import channels as plain
from taper.backends.llvm.pool import write_parallel_entry
from taper.backends.llvm.text import Function, Module, Value, vector

# Sums of an image that are added to in turns, so that they do not wait for each other.
_TURNS = 4

Read = Callable[[Value, Value | None], Sequence[Value]]


@dataclass(frozen=True)
class _Channels:
    """What both kernels share: (images, channels, pixels) without gaps; all sizes are arguments."""

    element: str

    NUMBERS: ClassVar[tuple[str, ...]] = ()

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernel, and its entry for Python."""
        return ("kernel", "entry")

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays that the kernel takes first."""
        raise NotImplementedError

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return ("array",) * len(self.arrays) + ("float",) * len(self.NUMBERS) + ("int",) * 5

    def _begin(self, module: Module) -> Function:
        parameters: dict[str, Any] = dict.fromkeys(self.arrays, "ptr")
        parameters.update(dict.fromkeys(self.NUMBERS, "double"))
        parameters.update(dict.fromkeys(("images", "channels", "pixels", "begin", "end"), "i64"))
        return module.function("kernel", **parameters)

    def _end(self, f: Function, channel: Callable[[Value], None]) -> None:
        f.loop(f.arg("begin"), f.arg("end"), channel)
        f.ret()
        write_parallel_entry(f.module, "entry", f, self.kinds[:-2], 1)

    def _count(self, f: Function) -> Value:
        """Elements of a channel."""
        return (f.arg("images") * f.arg("pixels")).cast("sitofp", "double")

    def _each(
        self, f: Function, channel: Value, body: Callable[[Value, Value | None], Any]
    ) -> None:
        """body(place, mask) for every vector of a channel."""
        lanes, pixels = f.module.lanes(self.element), f.arg("pixels")
        whole = pixels // lanes * lanes

        def image(n: Value) -> None:
            start = (n * f.arg("channels") + channel) * pixels
            f.loop(0, whole, lambda i: body(start + i, None) and None, lanes)
            f.loop(
                whole, pixels, lambda i: body(start + i, f.mask(pixels - i, lanes)) and None, lanes
            )

        f.loop(0, f.arg("images"), image)

    def _sums(self, f: Function, channel: Value, kinds: int, read: Read) -> list[Value]:
        """Sums of the `kinds` vectors that `read` gives for each place of a channel, in float64."""
        lanes, pixels = f.module.lanes(self.element), f.arg("pixels")
        nothing = f.const(0.0, vector(self.element, lanes))
        four, whole = (pixels // n * n for n in (_TURNS * lanes, lanes))

        def image(n: Value, *totals: Value) -> list[Value]:
            start = (n * f.arg("channels") + channel) * pixels

            def add(i: Value, sums: Sequence[Value], mask: Value | None = None) -> list[Value]:
                values = read(start + i, mask)
                if mask is not None:
                    values = [mask.select(value, 0.0) for value in values]
                return [a + b for a, b in zip(sums, values, strict=True)]

            def some(i: Value, *sums: Value) -> list[Value]:
                made: list[Value] = []
                for turn in range(_TURNS):
                    made += add(i + turn * lanes, sums[turn * kinds : (turn + 1) * kinds])
                return made

            def last(i: Value, *sums: Value) -> list[Value]:
                return add(i, sums, f.mask(pixels - i, lanes))

            sums = f.loop(0, four, some, _TURNS * lanes, [nothing] * (_TURNS * kinds))
            turns = [sums[turn * kinds : (turn + 1) * kinds] for turn in range(_TURNS)]
            own = [(a + b) + (c + d) for a, b, c, d in zip(*turns, strict=True)]
            own = f.loop(four, whole, lambda i, *sums: add(i, sums), lanes, own)
            own = f.loop(whole, pixels, last, lanes, own)
            return [total + _wide(value) for total, value in zip(totals, own, strict=True)]

        zero = f.const(0.0, vector("double", lanes))
        return [v.sum() for v in f.loop(0, f.arg("images"), image, init=[zero] * kinds)]

    def _narrow(self, value: Value) -> Value:
        return value if self.element == "double" else value.cast("fptrunc", self.element)


def _wide(value: Value) -> Value:
    return value if value.element == "double" else value.cast("fpext", "double")


@dataclass(frozen=True)
class BatchNorm(_Channels):
    """Channels with mean 0 and variance 1, times the weight, plus the bias.

    Call: x, [weight,] [bias,] y, mean, scale, variance, eps, images, channels, pixels, range.
    """

    weight: bool = True
    bias: bool = True

    NUMBERS = ("eps",)

    @property
    def arrays(self) -> tuple[str, ...]:
        """The parameters it has, and the results."""
        given = ("weight",) * self.weight + ("bias",) * self.bias
        return ("x", *given, "y", "mean", "scale", "variance")

    def interpret(self, x: np.ndarray, *rest: Any) -> tuple[np.ndarray, ...]:
        """By numpy, of x, the weight and bias it has, and eps."""
        weight = rest[0] if self.weight else None
        return plain.normalize_channels(x, weight, rest[-2] if self.bias else None, rest[-1])

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f, lanes = self._begin(module), module.lanes(self.element)
        at = {name: f.pointer(name, self.element) for name in self.arrays}
        x, y, count = at["x"], at["y"], self._count(f)

        def channel(c: Value) -> None:
            (total,) = self._sums(f, c, 1, lambda i, mask: [x.load(i, lanes, mask)])
            mean = self._narrow(total / count)
            middle = f.splat(mean, lanes)

            def square(i: Value, mask: Value | None) -> list[Value]:
                away = x.load(i, lanes, mask) - middle
                return [away * away]

            (total,) = self._sums(f, c, 1, square)
            variance = total / count
            scale = self._narrow(1.0 / f.same("llvm.sqrt", variance + f.arg("eps")))
            for name, value in (("mean", mean), ("scale", scale)):
                at[name].store(value, c)
            at["variance"].store(self._narrow(variance), c)
            factor = f.splat(scale * at["weight"].load(c) if self.weight else scale, lanes)
            shift = at["bias"].broadcast(c, lanes) if self.bias else 0.0

            def finish(i: Value, mask: Value | None) -> None:
                y.store(f.fma(x.load(i, lanes, mask) - middle, factor, shift), i, mask)

            self._each(f, c, finish)

        self._end(f, channel)


@dataclass(frozen=True)
class BatchNormGrad(_Channels):
    """The derivatives.

    Call: grad, x, [weight,] mean, scale, dx, dweight, dbias, images, channels, pixels, range.
    """

    weight: bool = True

    @property
    def arrays(self) -> tuple[str, ...]:
        """What the derivative takes and gives."""
        given = ("weight",) * self.weight
        return ("grad", "x", *given, "mean", "scale", "dx", "dweight", "dbias")

    def interpret(self, grad: np.ndarray, x: np.ndarray, *rest: Any) -> tuple[Any, ...]:
        """By numpy, of the weight if there is one, mean and scale: dx, dweight, dbias."""
        weight = rest[0] if self.weight else None
        mean, scale = rest[-2:]
        return plain.normalize_channels_grad(grad, x, weight, mean, scale, (True, True, True))

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f, lanes = self._begin(module), module.lanes(self.element)
        at = {name: f.pointer(name, self.element) for name in self.arrays}
        grad, x, dx, count = at["grad"], at["x"], at["dx"], self._count(f)

        def channel(c: Value) -> None:
            middle, scale = at["mean"].broadcast(c, lanes), _wide(at["scale"].load(c))

            def part(i: Value, mask: Value | None) -> list[Value]:
                g = grad.load(i, lanes, mask)
                return [g, g * (x.load(i, lanes, mask) - middle)]

            total, dots = self._sums(f, c, 2, part)
            at["dweight"].store(self._narrow(dots * scale), c)
            at["dbias"].store(self._narrow(total), c)
            # dx = factor * (grad - total / count - (x - mean) * dots * scale^2 / count)
            factor = scale * _wide(at["weight"].load(c)) if self.weight else scale
            less, slope, by = (
                f.splat(self._narrow(value), lanes)
                for value in (-(total / count), -(dots * scale * scale / count), factor)
            )

            def finish(i: Value, mask: Value | None) -> None:
                away = x.load(i, lanes, mask) - middle
                made = f.fma(away, slope, grad.load(i, lanes, mask) + less) * by
                dx.store(made, i, mask)

            self._each(f, c, finish)

        self._end(f, channel)
