"""Kernels over rows: layer norm and its derivatives."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm import vmath
from taper.backends.llvm.pool import write_parallel_entry
from taper.backends.llvm.rows import CHUNK_ROWS, Columns, Rows, add
from taper.backends.llvm.text import Function, Module, Pointer, Value


@dataclass(frozen=True)
class LayerNorm(Rows):
    """Rows with mean 0 and variance 1, times the weight, plus the bias.

    Call: x, [weight,] [bias,] y, mean, scale, eps, [columns,] range; scale is 1 / deviation.
    """

    weight: bool = True
    bias: bool = True

    @property
    def _arrays(self) -> tuple[str, ...]:
        given = ("weight",) * self.weight + ("bias",) * self.bias
        return ("x", *given, "y", "mean", "scale")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return self.kinds_of(len(self._arrays), 1)

    def interpret(self, x: np.ndarray, *rest: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """By numpy, of x, the weight and bias it has, and eps."""
        mean = x.mean(1)
        away = x - mean[:, None]
        scale = 1 / np.sqrt(np.square(away).mean(1) + x.dtype.type(rest[-1]))
        y = away * scale[:, None]
        if self.weight:
            y = y * rest[0]
        return (y + rest[-2] if self.bias else y), mean, scale

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f, columns, lanes = self._open(module, self._arrays, ("eps",))
        element = self.element
        weight, bias = (
            f.pointer(name, element) if given else None
            for name, given in (("weight", self.weight), ("bias", self.bias))
        )
        inverse = _inverse_count(f, columns, element)
        eps = f.arg("eps")
        eps = eps.cast("fptrunc", "float") if element == "float" else eps
        eps, inverse = f.splat(eps, lanes), f.splat(inverse, lanes)
        means, scales = f.pointer("mean", element), f.pointer("scale", element)

        def row(r: Value) -> None:
            start = r * columns.count
            x, y = (f.pointer(name, element).at(start) for name in "xy")
            kept: dict[Any, Value] = {}

            def read(i: Any, mask: Value | None) -> Value:
                if columns.few and i in kept:
                    return kept[i]
                kept[i] = x.load(i, lanes, mask)
                return kept[i]

            (total,) = columns.reduce(lambda i, mask: [read(i, mask)], [add], [0.0])
            mean = total * inverse

            def square(i: Any, mask: Value | None) -> list[Value]:
                away = read(i, mask) - mean
                return [away * away]

            (total,) = columns.reduce(square, [add], [0.0])
            scale = 1.0 / vmath.sqrt(f.fma(total, inverse, eps))
            means.store(mean.lane(0), r)
            scales.store(scale.lane(0), r)

            def finish(i: Any, mask: Value | None) -> None:
                made = (read(i, mask) - mean) * scale
                if weight is not None and bias is not None:
                    made = f.fma(made, weight.load(i, lanes, mask), bias.load(i, lanes, mask))
                elif weight is not None:
                    made = made * weight.load(i, lanes, mask)
                elif bias is not None:
                    made = made + bias.load(i, lanes, mask)
                y.store(made, i, mask)

            columns.each(finish)

        f.loop(f.arg("begin"), f.arg("end"), row)
        self._close(f, len(self._arrays), 1)


def _inverse_count(f: Function, columns: Columns, element: str) -> Value:
    """1 / number of columns."""
    if isinstance(columns.count, int):
        return f.const(1.0 / columns.count, element)
    return 1.0 / columns.count.cast("sitofp", element)


@dataclass(frozen=True)
class LayerNormGrad(Rows):
    """Derivative of LayerNorm. The range counts chunks of CHUNK_ROWS rows.

    Call: x, grad, [weight,] mean, scale, dx, [sums,] [columns,] rows, range. `sums` has for each
    chunk two rows, what it adds to the gradients of weight and bias.
    """

    weight: bool = True
    sums: bool = True

    @property
    def _arrays(self) -> tuple[str, ...]:
        return (
            "x",
            "grad",
            *("weight",) * self.weight,
            "mean",
            "scale",
            "dx",
            *("sums",) * self.sums,
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return ("array",) * len(self._arrays) + ("int",) * (3 + (not self.columns))

    def interpret(
        self,
        x: np.ndarray,
        grad: np.ndarray,
        weight: np.ndarray | None,
        mean: np.ndarray,
        scale: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """By numpy: dx, dweight, dbias."""
        normal = (x - mean[:, None]) * scale[:, None]
        g = grad if weight is None else grad * weight
        along = (g * normal).mean(1, keepdims=True)
        dx = (g - g.mean(1, keepdims=True) - normal * along) * scale[:, None]
        return dx, (grad * normal).sum(0), grad.sum(0)

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        params: dict[str, Any] = dict.fromkeys(self._arrays, "ptr")
        extra = ("columns",) * (not self.columns) + ("rows",)
        params.update(dict.fromkeys(extra, "i64"))
        f = module.function("kernel", **params, begin="i64", end="i64")
        lanes = module.lanes(self.element)
        columns = Columns(f, lanes, self.columns or f.arg("columns"))
        inverse = f.splat(_inverse_count(f, columns, self.element), lanes)
        pointers = {name: f.pointer(name, self.element) for name in self._arrays}

        # Rows whose shares of the sums are added up before the sums are read. Long rows are quicker one
        # by one: 1.6 ms against 2.3 and 2.1 ms with 2 and 4 at 4096 x 768.
        together = 4 if self.columns else 1

        def chunk(number: Value) -> None:
            first = number * CHUNK_ROWS
            last = f.minimum(first + CHUNK_ROWS, f.arg("rows"))
            sums = None
            if self.sums:
                to_weight = pointers["sums"].at(number * 2 * columns.count)
                to_bias = to_weight.at(columns.count)
                sums = to_weight, to_bias
                zero = f.splat(f.const(0.0, self.element), lanes)

                def clear(i: Any, mask: Value | None) -> None:
                    to_weight.store(zero, i, mask)
                    to_bias.store(zero, i, mask)

                columns.each(clear)
            whole = last - (last - first) % together
            write = functools.partial(self._write_rows, f, columns, pointers, inverse, sums)
            f.loop(first, whole, lambda r: write(r, together), together)
            f.loop(whole, last, lambda r: write(r, 1))

        f.loop(f.arg("begin"), f.arg("end"), chunk)
        f.ret()
        write_parallel_entry(module, "entry", f, self.kinds[:-2], 1)

    def _write_rows(
        self, f: Function, columns: Columns, pointers: dict[str, Pointer], inverse: Value,
        sums: tuple[Pointer, Pointer] | None, first: Value, count: int,
    ) -> None:  # fmt: skip
        """`count` rows; what they add to the sums is added up before it is."""
        lanes = columns.lanes
        weight = pointers.get("weight")
        rows = []
        for k in range(count):
            r = first + k
            x, grad, dx = (pointers[name].at(r * columns.count) for name in ("x", "grad", "dx"))
            mean, scale = (pointers[name].broadcast(r, lanes) for name in ("mean", "scale"))

            def load(
                i: Any, mask: Value | None, x: Pointer = x, grad: Pointer = grad,
                mean: Value = mean, scale: Value = scale,
            ) -> tuple[Value, Value, Value]:  # fmt: skip
                g = grad.load(i, lanes, mask)
                own = g if weight is None else g * weight.load(i, lanes, mask)
                return g, own, (x.load(i, lanes, mask) - mean) * scale

            def part(
                i: Any, mask: Value | None, load: Callable[..., tuple[Value, Value, Value]] = load
            ) -> list[Value]:
                _, own, normal = load(i, mask)
                return [own, own * normal]

            total, along = columns.reduce(part, [add, add], [0.0, 0.0])
            # dx = scale * (own - its mean - normal * mean of own * normal)
            share = -scale * inverse
            rows.append((load, dx, scale, total * share, along * share))

        def finish(i: Any, mask: Value | None) -> None:
            product = total_grad = None
            for load, dx, scale, shift, slope in rows:
                g, own, normal = load(i, mask)
                dx.store(f.fma(normal, slope, f.fma(own, scale, shift)), i, mask)
                product = g * normal if product is None else f.fma(g, normal, product)
                total_grad = g if total_grad is None else total_grad + g
            if sums is not None:
                for target, value in zip(sums, (product, total_grad), strict=True):
                    target.store(target.load(i, lanes, mask) + value, i, mask)

        columns.each(finish)
