"""The order of rows by a radix sort: their elements as bits that sort like them, a byte at a time.

Each pass puts the elements into the order of one byte, the lowest first, and keeps those with the same
byte in order; so the whole is stable. A byte that is the same everywhere has no pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taper.backends import order as reference
from taper.backends.llvm.pool import write_parallel_entry
from taper.backends.llvm.text import SIZES, Function, Module, Pointer, Value

_VALUES = 256  # of a byte


@dataclass(frozen=True)
class Order:
    """The positions that sort every row, equal elements in their order; nan is the largest.

    kernel(x, out, keys, places, count, piece, rows, begin, end): ranges of `piece` rows. keys, of the
    elements' size, and places, of 8 bytes, have room for 2 rows and 1 row of each range.
    """

    element: str  # "float", "double", "i32" or "i64"
    descending: bool
    exports = ("kernel", "entry")
    kinds = ("array", "array", "array", "array", "int", "int", "int", "int", "int")

    @property
    def _key(self) -> str:
        return f"i{8 * SIZES[self.element]}"

    def interpret(self, x: np.ndarray) -> np.ndarray:
        """By numpy."""
        return reference.order(x, 1, self.descending)

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function(
            "kernel", x="ptr", out="ptr", keys="ptr", places="ptr", count="i64", piece="i64",
            rows="i64", begin="i64", end="i64",
        )  # fmt: skip
        passes = SIZES[self.element]
        counters = f.local(passes * _VALUES, "i64")
        count, piece, begin = f.arg("count"), f.arg("piece"), f.arg("begin")
        keys = f.pointer("keys", self._key).at(begin * 2 * count)
        places = f.pointer("places", "i64").at(begin * count)
        x, out = f.pointer("x", self.element), f.pointer("out", "i64")

        def row(r: Value) -> None:
            here = out.at(r * count)
            self._read(f, x.at(r * count), keys, here, counters, count)
            # Forth and back between two pairs of keys and places.
            held = [p.address for p in (keys, here, keys.at(count), places)]
            for number in range(passes):
                held = self._pass(f, number, counters, count, held)
            result = held[1].pointer("i64")
            elsewhere = held[1].differs(here.address)
            f.when(
                elsewhere,
                lambda: f.loop(0, count, lambda i: here.store(result.load(i), i)) and None,
            )

        first = begin * piece
        f.loop(first, f.minimum(f.arg("end") * piece, f.arg("rows")), row)
        f.ret()
        write_parallel_entry(module, "entry", f, self.kinds[:-2], 1)

    def _read(
        self, f: Function, x: Pointer, keys: Pointer, places: Pointer, counters: Pointer,
        count: Value,
    ) -> None:  # fmt: skip
        """The keys of a row, their places, and how often each byte has each value."""
        passes = SIZES[self.element]
        f.loop(0, passes * _VALUES, lambda i: counters.store(0, i))

        def one(i: Value) -> None:
            key = self._sortable(f, x.load(i))
            keys.store(key, i)
            places.store(i, i)
            for number in range(passes):
                counter = self._counter(counters, key, number)
                counter.store(counter.load() + 1)

        f.loop(0, count, one)

    def _sortable(self, f: Function, x: Value) -> Value:
        """Bits that sort, as a number without sign, like x."""
        width = 8 * SIZES[self.element]
        top = -1 << (width - 1)
        if x.is_float:
            bits = (x + 0.0).bits(self._key)  # -0.0 becomes 0.0
            key = bits ^ ((bits >> (width - 1)) | top)
            key = x.differs(x).select(f.const(-1, self._key), key)
        else:
            key = x ^ top
        return ~key if self.descending else key

    def _counter(self, counters: Pointer, key: Value, number: int) -> Pointer:
        digit = key.shifted_right(8 * number) & (_VALUES - 1)
        if digit.type != "i64":
            digit = digit.cast("zext", "i64")
        return counters.at(digit + number * _VALUES)

    def _pass(
        self, f: Function, number: int, counters: Pointer, count: Value, held: list[Value]
    ) -> list[Value]:
        """By byte `number`. `held` has the addresses of keys and places, and of two to move to."""
        own = counters.at(number * _VALUES)
        keys, new_keys = (held[i].pointer(self._key) for i in (0, 2))
        places, new_places = (held[i].pointer("i64") for i in (1, 3))

        def begin(digit: Value, before: Value) -> list[Value]:
            size = own.load(digit)
            own.store(before, digit)
            return [before + size]

        def move(i: Value) -> None:
            key = keys.load(i)
            counter = self._counter(counters, key, number)
            target = counter.load()
            counter.store(target + 1)
            new_keys.store(key, target)
            new_places.store(places.load(i), target)

        def moved() -> list[Value]:
            f.loop(0, _VALUES, begin, 1, [f.const(0, "i64")])
            f.loop(0, count, move)
            return [*held[2:], *held[:2]]

        several = self._counter(counters, keys.load(), number).load().differs(count)
        return f.when(several, moved, held)
