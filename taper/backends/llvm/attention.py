"""Kernels of attention: scores, softmax and mean of the values, head by head, and the derivative.

The scores of a block of queries are all that is ever held of the scores: a thread computes one block
after the other in memory that stays in its cache. The products are those of gemm.py; keys, and in
the derivative values too, are copied once a head into the panels that its tiles read. With a causal
mask a block of queries is multiplied with the keys up to its last query only.

All sizes and strides are given at run time, as a row of integers: `Layout`. What a query's weights
need besides its scores is kept for the derivative, (top, share): a weight is exp(score - top) * share.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taper.backends import attention as reference
from taper.backends.llvm import call, vmath
from taper.backends.llvm.gemm import Gemm, Writer
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.pack import least, pack_panel
from taper.backends.llvm.pool import ranges
from taper.backends.llvm.rows import Columns, add, larger
from taper.backends.llvm.text import SIZES, Function, Module, Pointer, Value
from taper.backends.llvm.tile import VECS

# Elements of a block's scores: with those of the derivative they fit the second-level cache.
_BLOCK = 1 << 15
# Queries of a block. Few, so that a causal mask saves work; not too few, as tiles are 14 high.
_MOST_QUERIES, _LEAST_QUERIES = 64, 16

_SIZES = ("heads", "queries", "keys", "size", "width", "block", "pitch", "causal", "piece", "slot")
_MATRICES = ("query", "key", "value", "mask", "out")
_GRADIENTS = ("grad", "to_query", "to_key", "to_value")


def _up(x: int, unit: int) -> int:
    return -(-x // unit) * unit


@dataclass(frozen=True)
class Layout:
    """Sizes of an attention, and how its heads are cut into blocks of queries."""

    heads: int
    queries: int
    keys: int
    size: int
    width: int  # of the values
    causal: bool

    @property
    def block(self) -> int:
        """Queries of a block."""
        most = max(_LEAST_QUERIES, min(_MOST_QUERIES, _BLOCK // self.keys))
        if self.causal:  # four blocks or more, to skip what lies above the diagonal
            most = min(most, max(_LEAST_QUERIES, self.queries // 4))
        count = -(-self.queries // most)
        return _up(-(-self.queries // count), 2)

    def numbers(self, machine: Machine, element: str, gradient: bool) -> dict[str, int]:
        """By name what the kernel reads, but for `piece` and the strides."""
        lanes = machine.lanes(SIZES[element])
        # An odd number of vectors apart, rows do not compete for the same sets of the cache.
        pitch = _up(self.keys, 2 * lanes) + lanes
        panels = _up(self.keys, VECS * lanes)
        room = panels * _up(self.size, lanes) + self.block * pitch
        if gradient:
            room += panels * _up(self.width, lanes) + self.block * pitch
        return {
            "heads": self.heads, "queries": self.queries, "keys": self.keys, "size": self.size,
            "width": self.width, "block": self.block, "pitch": pitch, "causal": int(self.causal),
            "slot": room,
        }  # fmt: skip


@dataclass(frozen=True)
class _Heads:
    """What the kernels share: `mask` is "", "bool" or "number".

    kernel(pool, arrays ..., kept, work, sizes, scale, heads) computes the heads of all batches, a
    thread `piece` of them at a time; `sizes` has the integers named by `fields`, strides in elements; the last
    dimension of each array runs along memory. `work` has `slot` elements for each `piece` of heads.
    """

    element: str
    mask: str = ""

    gradient = False  # of the subclasses

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernel, and its entry for Python."""
        return ("kernel", "entry")

    @property
    def arrays(self) -> tuple[str, ...]:
        """The arrays in their order."""
        more = _GRADIENTS if self.gradient else ()
        return tuple(name for name in (*_MATRICES, *more) if name != "mask" or self.mask)

    @property
    def fields(self) -> tuple[str, ...]:
        """What `sizes` holds."""
        strides = [f"{name}_{of}" for name in self.arrays for of in ("batch", "head", "row")]
        return (*_SIZES, *strides)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters."""
        return ("int", *("array",) * (len(self.arrays) + 3), "float", "int")

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        pointers = dict.fromkeys((*self.arrays, "kept", "work", "sizes"), "ptr")
        own: dict[str, Any] = {**pointers, "scale": "double"}
        heads = module.function("heads", internal=True, **own, begin="i64", end="i64")
        writer = _Writer(module, heads, self)
        heads.loop(heads.arg("begin"), heads.arg("end"), writer.head)
        heads.ret()

        f = module.function("kernel", pool="i64", **own, heads="i64")
        piece = f.pointer("sizes", "i64").load(_SIZES.index("piece"))
        shared = map(f.arg, ("pool", *pointers, "scale"))
        f.call(ranges(module, heads), *shared, f.arg("heads"), piece)
        f.ret()
        call.write_entry(module, "entry", f, self.kinds)


class AttentionForward(_Heads):
    """The result, and what is kept of each query."""

    interpret = staticmethod(reference.attention)


class AttentionGrad(_Heads):
    """The gradients of query, key and value."""

    gradient = True
    interpret = staticmethod(reference.attention_grad)


class _Writer:
    """Writes what is done with one head."""

    def __init__(self, module: Module, f: Function, spec: _Heads) -> None:
        self.module, self.f, self.spec = module, f, spec
        element = self.element = spec.element
        self.lanes = module.lanes(element)
        self.panel = VECS * self.lanes
        straight, turned = (Writer(module, Gemm(element, along)) for along in (True, False))
        self.straight, self.turned = straight.some_rows(), turned.some_rows()
        self.pack_panel = pack_panel(module, straight.words, False)
        sizes = f.pointer("sizes", "i64")
        self.get = {name: sizes.load(i) for i, name in enumerate(spec.fields)}
        scale = f.arg("scale")
        scale = scale if element == "double" else scale.cast("fptrunc", element)
        self.scale = f.splat(scale, self.lanes)

    def head(self, head: Value) -> None:
        """All blocks of queries of a head."""
        f, get, spec = self.f, self.get, self.spec
        at = {name: self.matrix(name, head) for name in spec.arrays}
        kept = f.pointer("kept", self.element).at(head * get["queries"] * 2)
        work = f.pointer("work", self.element)
        keys = work.at(f.arg("begin") // get["piece"] * get["slot"])
        scores = self.packed(at["key"], "key", keys, get["size"])
        values = scores.at(get["block"] * get["pitch"])
        spread = values
        if spec.gradient:
            spread = self.packed(at["value"], "value", values, get["width"])
            self.clear(at["to_key"], "to_key", get["size"])
            self.clear(at["to_value"], "to_value", get["width"])

        def block(number: Value) -> None:
            first = number * get["block"]
            count = least(get["queries"] - first, get["block"])
            seen = (get["causal"] > 0).select(least(first + count, get["keys"]), get["keys"])
            here = {
                name: at[name].at(first * get[name + "_row"])
                for name in at
                if name not in ("key", "value", "to_key", "to_value")
            }
            here = {**at, **here}
            own = kept.at(first * 2)

            def fit(name: str, panels: Pointer, along: Value, to: Pointer) -> None:
                """A block's rows times the keys' or values'."""
                self.product(
                    here[name], get[name + "_row"], panels, None, to, get["pitch"], count, seen, along
                )  # fmt: skip

            def mean(weights: Pointer, name: str, to: str, columns: Value) -> None:
                """Of the rows of a matrix, for each query of the block."""
                self.product(
                    weights, get["pitch"], here[name], get[name + "_row"], here[to],
                    get[to + "_row"], count, columns, seen,
                )  # fmt: skip

            def spread_out(weights: Pointer, name: str, to: str, columns: Value) -> None:
                """The block's shares of the gradients of keys or values."""
                self.product(
                    weights, get["pitch"], here[name], get[name + "_row"], here[to],
                    get[to + "_row"], seen, columns, count, True,
                )  # fmt: skip

            fit("query", keys, get["size"], scores)
            if spec.gradient:
                fit("grad", values, get["width"], spread)
                self.each_row(first, count, seen, here, own, scores, spread)
                spread_out(scores, "grad", "to_value", get["width"])
                mean(spread, "key", "to_query", get["size"])
                spread_out(spread, "query", "to_key", get["size"])
            else:
                self.each_row(first, count, seen, here, own, scores)
                mean(scores, "value", "out", get["width"])
                self.share(here["out"], own, count)

        f.loop(0, (get["queries"] + get["block"] - 1) // get["block"], block)

    # ------------------------------------------------------------ matrices

    def matrix(self, name: str, head: Value) -> Pointer:
        """A head's matrix of an array."""
        get = self.get
        kind = "i8" if name == "mask" and self.spec.mask == "bool" else self.element
        offset = head // get["heads"] * get[name + "_batch"]
        offset = offset + head % get["heads"] * get[name + "_head"]
        return self.f.pointer(name, kind).at(offset)

    def panel_of(self, along: Value) -> Value:
        """Elements of a panel."""
        return (along + (self.lanes - 1)) // self.lanes * (self.lanes * self.panel)

    def packed(self, source: Pointer, name: str, to: Pointer, along: Value) -> Pointer:
        """Copies a matrix of keys or values to panels, and gives what lies behind them."""
        f, row, keys = self.f, self.get[name + "_row"], self.get["keys"]
        room = self.panel_of(along)

        def one(i: Value) -> None:
            column = i * self.panel
            f.call(
                self.pack_panel, source.at(column * row), to.at(i * room), row,
                least(keys - column, self.panel), along,
            )  # fmt: skip

        count = (keys + (self.panel - 1)) // self.panel
        f.loop(0, count, one)
        return to.at(count * room)

    def clear(self, to: Pointer, name: str, columns: Value) -> None:
        """Zeros for the sums over blocks of queries."""
        zero = self.f.const(0.0, f"<{self.lanes} x {self.element}>")

        def row(i: Value) -> None:
            start = to.at(i * self.get[name + "_row"])
            Columns(self.f, self.lanes, columns).each(lambda j, mask: start.store(zero, j, mask))

        self.f.loop(0, self.get["keys"], row)

    def product(self, a: Pointer, a_row: Value, b: Pointer, b_row: Value | None, c: Pointer,
                c_row: Value, rows: Value, n: Value, k: Value, adds: bool = False) -> None:  # fmt: skip
        """c = a @ b; of panels b if it has no rows; c + a.T @ b if it adds."""
        packed = b_row is None
        self.f.call(
            self.turned if adds else self.straight, a, b, c, c, n, k, a_row,
            self.panel if packed else b_row, self.panel_of(k) if packed else self.panel,
            c_row, c_row, int(adds), 1, 0, 0, rows,
        )  # fmt: skip

    # ------------------------------------------------------------ rows

    def each_row(self, first: Value, count: Value, seen: Value, here: dict[str, Pointer],
                 kept: Pointer, scores: Pointer, spread: Pointer | None = None) -> None:  # fmt: skip
        """Turns a block's scores into exponentials or, for the derivative, into weights."""
        f, get, lanes = self.f, self.get, self.lanes
        zero = f.const(0.0, f"<{lanes} x {self.element}>")

        def row(i: Value) -> None:
            # Behind the query's last key a causal block has room for those of later queries.
            visible = (get["causal"] > 0).select(least(first + i + 1, seen), seen)
            own = {name: p.at(i * get[name + "_row"]) for name, p in here.items()}
            place = i * get["pitch"]
            reads = self.score(scores.at(place), own.get("mask"))
            columns = Columns(f, lanes, visible)
            targets = [scores.at(place)]
            if spread is None:
                self.exponentials(columns, reads, targets[0], kept.at(i * 2))
            else:
                targets.append(spread.at(place))
                self.weights(columns, reads, targets[0], targets[1], kept.at(i * 2), own)

            def blank(j: Any, mask: Value | None) -> None:
                for target in targets:
                    target.at(visible).store(zero, j, mask)

            Columns(f, lanes, seen - visible).each(blank)

        f.loop(0, count, row)

    def score(self, scores: Pointer, allowed: Pointer | None) -> Callable[..., Value]:
        """What gives a vector of a row's scores, scaled and masked."""
        f, lanes = self.f, self.lanes

        def read(i: Any, mask: Value | None) -> Value:
            x = scores.load(i, lanes, mask) * self.scale
            if allowed is None:
                return x
            given = allowed.load(i, lanes, mask)
            return (
                x + given
                if given.is_float
                else given.differs(0).select(x, f.const(-math.inf, x.type))
            )

        return read

    def exponentials(self, columns: Columns, read: Callable[..., Value], to: Pointer,
                     kept: Pointer) -> None:  # fmt: skip
        """exp(score - top) of a row; keeps its top, and 1 / the sum."""
        f = self.f
        (top,) = columns.reduce(lambda i, mask: [read(i, mask)], [larger], [-math.inf])
        if self.spec.mask:
            top = top.equals(-math.inf).select(f.const(0.0, top.type), top)

        def exponential(i: Any, mask: Value | None) -> list[Value]:
            made = vmath.exp_below(read(i, mask) - top)
            to.store(made, i, mask)
            return [made]

        (total,) = columns.reduce(exponential, [add], [0.0])
        if self.spec.mask:
            total = total.equals(0.0).select(f.const(math.inf, total.type), total)
        kept.store(top.lane(0))
        kept.store(1.0 / total.lane(0), 1)

    def share(self, out: Pointer, kept: Pointer, count: Value) -> None:
        """Divides the sums of values by the sums of the weights."""
        f, lanes = self.f, self.lanes

        def row(i: Value) -> None:
            share = kept.at(i * 2).broadcast(1, lanes)
            own = out.at(i * self.get["out_row"])

            def some(j: Any, mask: Value | None) -> None:
                own.store(own.load(j, lanes, mask) * share, j, mask)

            Columns(f, lanes, self.get["width"]).each(some)

        f.loop(0, count, row)

    def weights(self, columns: Columns, read: Callable[..., Value], scores: Pointer, spread: Pointer,
                kept: Pointer, own: dict[str, Pointer]) -> None:  # fmt: skip
        """The weights of a row in the place of its scores, their gradient in that of the spread."""
        lanes = self.lanes
        top, share = (kept.broadcast(i, lanes) for i in range(2))
        (along,) = Columns(self.f, lanes, self.get["width"]).reduce(
            lambda i, mask: [own["grad"].load(i, lanes, mask) * own["out"].load(i, lanes, mask)],
            [add],
            [0.0],
        )

        def some(i: Any, mask: Value | None) -> None:
            weight = vmath.exp_below(read(i, mask) - top) * share
            scores.store(weight, i, mask)
            spread.store((spread.load(i, lanes, mask) - along) * weight * self.scale, i, mask)

        columns.each(some)
