"""Kernels over rows: softmax, cross entropy, layer norm, sums and maxima.

A matrix lies row after row without gaps. A kernel takes the number of columns as part of its
specification up to MOST_KNOWN, and at run time (`columns=0`) above; the rows are a range [begin, end).
A row of few columns stays in registers; a longer one is read again from the first-level cache.

The order of additions is that of the specification, whatever the number of rows or threads:

* sums inside softmax and layer norm: lane by lane, four accumulators, then halves with halves;
* Sums and ColumnSums: in float32 within blocks of 16 vectors an accumulator (16 rows), the blocks in
  float64. The result is nearer to the exact sum than a pairwise sum in float32.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm import vmath
from taper.backends.llvm.pool import write_parallel_entry
from taper.backends.llvm.text import Function, Module, Pointer, Value

# Columns up to which their number is part of the specification.
MOST_KNOWN = 256
# Vectors of a row that are kept in registers.
_KEPT = 4
# Rows whose sums over columns are kept apart, so that threads may take them.
CHUNK_ROWS = 128
# Elements that one task of a sum over everything adds.
CHUNK = 1 << 16
# Elements that a thread takes at least.
GRAIN = 1 << 14

_DTYPES = {"float": np.float32, "double": np.float64}
Combine = Callable[[Value, Value], Value]


def _add(x: Value, y: Value) -> Value:
    return x + y


def _larger(x: Value, y: Value) -> Value:
    """The larger; nan is passed over."""
    return x.f.maximum(x, y)


def _largest(x: Value, y: Value) -> Value:
    """The larger; nan is the largest of all."""
    return x.compare("uno", x).select(x, x.f.maximum(x, y))


def _everywhere(x: Value, combine: Combine) -> Value:
    """All lanes combined, halves with halves, in every lane."""
    distance = x.lanes
    while distance > 1:
        distance //= 2
        x = combine(x, x.shuffle(x, [lane ^ distance for lane in range(x.lanes)]))
    return x


class _Columns:
    """Goes along a row: whole vectors, then what is left behind a mask."""

    def __init__(self, f: Function, lanes: int, count: int | Value) -> None:
        self.f, self.lanes, self.count = f, lanes, count

    @property
    def few(self) -> bool:
        """Whether a row fits the registers."""
        return isinstance(self.count, int) and self.count <= _KEPT * self.lanes

    def pieces(self) -> list[tuple[int, Value | None]]:
        """(start, mask) of each vector of a short row."""
        assert isinstance(self.count, int)
        return [
            (start, self.f.mask(self.count - start, self.lanes))
            for start in range(0, self.count, self.lanes)
        ]

    def each(self, body: Callable[[Any, Value | None], Any]) -> None:
        """body(start, mask) for every vector."""
        if self.few:
            for start, mask in self.pieces():
                body(start, mask)
            return
        f, lanes, count = self.f, self.lanes, self.count
        whole = count // lanes * lanes
        f.loop(0, whole, lambda i: body(i, None) and None, lanes)
        self._rest(whole, lambda i, mask: [body(i, mask), []][1], [])

    def _rest(self, whole: Any, body: Callable[..., list[Value]], init: list[Value]) -> list[Value]:
        """The last, partial vector."""
        f, lanes, count = self.f, self.lanes, self.count
        if isinstance(count, int):
            if whole == count:
                return init
            return body(f.const(whole, "i64"), f.mask(count - whole, lanes), *init)
        return f.loop(
            whole,
            count,
            lambda i, *carried: body(i, f.mask(count - i, lanes), *carried),
            lanes,
            init,
        )

    def reduce(
        self,
        read: Callable[[Any, Value | None], Sequence[Value]],
        combine: Sequence[Combine],
        neutral: Sequence[float],
    ) -> list[Value]:
        """The vectors that `read` gives, combined over the row; each in every lane."""
        f, lanes, count = self.f, self.lanes, self.count
        kinds = len(combine)

        def masked(i: Any, mask: Value | None) -> list[Value]:
            values = read(i, mask)
            if mask is None:
                return list(values)
            return [mask.select(v, n) for v, n in zip(values, neutral, strict=True)]

        if self.few:
            found: list[Value] = []
            for start, mask in self.pieces():
                values = masked(start, mask)
                found = (
                    [c(a, b) for c, a, b in zip(combine, found, values, strict=True)]
                    if found
                    else values
                )
        else:
            unroll = 4 if not isinstance(count, int) or count >= 8 * lanes else 2
            element = "float" if self.lanes * 4 == f.module.machine.vector else "double"
            kind = f"<{lanes} x {element}>" if lanes > 1 else element
            init = [f.const(n, kind) for _ in range(unroll) for n in neutral]

            def many(i: Value, *carried: Value) -> list[Value]:
                made: list[Value] = []
                for u in range(unroll):
                    own = carried[u * kinds : (u + 1) * kinds]
                    values = masked(i + u * lanes, None)
                    made += [c(v, a) for c, a, v in zip(combine, own, values, strict=True)]
                return made

            def one(i: Value, mask: Value | None, *carried: Value) -> list[Value]:
                values = masked(i, mask)
                first = [c(v, a) for c, a, v in zip(combine, carried[:kinds], values, strict=True)]
                return [*first, *carried[kinds:]]

            whole = count // (unroll * lanes) * (unroll * lanes)
            after = count // lanes * lanes
            state = f.loop(0, whole, many, unroll * lanes, init)
            state = f.loop(whole, after, lambda i, *c: one(i, None, *c), lanes, state)
            state = self._rest(after, one, list(state))
            groups = [state[u * kinds : (u + 1) * kinds] for u in range(unroll)]
            while len(groups) > 1:
                groups = [
                    [c(a, b) for c, a, b in zip(combine, x, y, strict=True)]
                    for x, y in zip(groups[::2], groups[1::2], strict=True)
                ]
            found = groups[0]
        return [_everywhere(v, c) for v, c in zip(found, combine, strict=True)]


@dataclass(frozen=True)
class _Rows:
    """What the kernels over the rows of matrices share. `columns` is 0 where given at run time."""

    element: str
    columns: int

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernel, and its entry for Python."""
        return ("kernel", "entry")

    def _open(
        self, module: Module, arrays: Sequence[str], numbers: Sequence[str] = ()
    ) -> tuple[Function, _Columns, int]:
        """The function begun, its columns, and lanes."""
        params: dict[str, Any] = {
            **dict.fromkeys(arrays, "ptr"),
            **dict.fromkeys(numbers, "double"),
        }
        if not self.columns:
            params["columns"] = "i64"
        f = module.function("kernel", **params, begin="i64", end="i64")
        lanes = module.lanes(self.element)
        return f, _Columns(f, lanes, self.columns or f.arg("columns")), lanes

    def _close(self, f: Function, arrays: int, numbers: int = 0) -> None:
        f.ret()
        kinds = ("array",) * arrays + ("float",) * numbers + ("int",) * (not self.columns)
        grain = max(1, GRAIN // (self.columns or 1024))
        write_parallel_entry(f.module, "entry", f, kinds, grain)

    def kinds_of(self, arrays: int, numbers: int = 0) -> tuple[str, ...]:
        """Kinds of the kernel's own parameters, for a call without the pool."""
        return (
            ("array",) * arrays
            + ("float",) * numbers
            + ("int",) * (not self.columns)
            + ("int",) * 2
        )


@dataclass(frozen=True)
class Softmax(_Rows):
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
    columns: _Columns, x: Pointer, y: Pointer | None
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

    (top,) = columns.reduce(lambda i, mask: [read(i, mask)], [_larger], [-math.inf])
    made: dict[int, Value] = {}

    def exponential(i: Any, mask: Value | None) -> list[Value]:
        e = vmath.exp_below(read(i, mask) - top)
        if columns.few:
            made[i] = e
        elif y is not None:
            y.store(e, i, mask)
        return [e]

    (total,) = columns.reduce(exponential, [_add], [0.0])
    if y is None:
        return top, total, read
    held = (lambda i, mask: made[i]) if columns.few else (lambda i, mask: y.load(i, lanes, mask))
    return top, total, held


@dataclass(frozen=True)
class SoftmaxGrad(_Rows):
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

            (total,) = columns.reduce(part, [_add], [0.0])

            def finish(i: Any, mask: Value | None) -> None:
                g, y = load(i, mask)
                made = g - vmath.exp_below(y) * total if self.logarithm else y * (g - total)
                dx.store(made, i, mask)

            columns.each(finish)

        f.loop(f.arg("begin"), f.arg("end"), row)
        self._close(f, 3)


@dataclass(frozen=True)
class CrossEntropy(_Rows):
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
class CrossEntropyGrad(_Rows):
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


@dataclass(frozen=True)
class LayerNorm(_Rows):
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

            (total,) = columns.reduce(lambda i, mask: [read(i, mask)], [_add], [0.0])
            mean = total * inverse

            def square(i: Any, mask: Value | None) -> list[Value]:
                away = read(i, mask) - mean
                return [away * away]

            (total,) = columns.reduce(square, [_add], [0.0])
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


def _inverse_count(f: Function, columns: _Columns, element: str) -> Value:
    """1 / number of columns."""
    if isinstance(columns.count, int):
        return f.const(1.0 / columns.count, element)
    return 1.0 / columns.count.cast("sitofp", element)


@dataclass(frozen=True)
class LayerNormGrad(_Rows):
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
        columns = _Columns(f, lanes, self.columns or f.arg("columns"))
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
        self, f: Function, columns: _Columns, pointers: dict[str, Pointer], inverse: Value,
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

            total, along = columns.reduce(part, [_add, _add], [0.0, 0.0])
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


# ---------------------------------------------------------------- sums and maxima


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
        return np.array(found).astype(_DTYPES[self.result])

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
class RowSums(_Rows):
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
            (total,) = columns.reduce(lambda i, mask: [here.load(i, lanes, mask)], [_add], [0.0])
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
class Maxima(_Rows):
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
                lambda i, mask: [here.load(i, lanes, mask)], [_largest], [-math.inf]
            )
            out.store(top.lane(0), r)

        f.loop(f.arg("begin"), f.arg("end"), row)
        self._close(f, 2)
