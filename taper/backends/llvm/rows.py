"""What kernels over rows share: how a row is walked, and how its elements are combined.

The kernels are in softmax.py, layer_norm.py and sums.py.

A matrix lies row after row without gaps. A kernel takes the number of columns as part of its
specification up to MOST_KNOWN, and at run time (`columns=0`) above; the rows are a range [begin, end).
A row of few columns stays in registers; a longer one is read again from the first-level cache.

The order of additions is that of the specification, whatever the number of rows or threads:

* sums inside softmax and layer norm: lane by lane, four accumulators, then halves with halves;
* sums.py says what its own do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm.pool import write_parallel_entry
from taper.backends.llvm.text import Function, Module, Value

# Columns up to which their number is part of the specification.
MOST_KNOWN = 256
# Vectors of a row that are kept in registers.
KEPT = 4
# Rows whose sums over columns are kept apart, so that threads may take them.
CHUNK_ROWS = 128
# Elements that one task of a sum over everything adds.
CHUNK = 1 << 16
# Elements that a thread takes at least.
GRAIN = 1 << 14

DTYPES = {"float": np.float32, "double": np.float64}
Combine = Callable[[Value, Value], Value]


def add(x: Value, y: Value) -> Value:
    return x + y


def larger(x: Value, y: Value) -> Value:
    """The larger; nan is passed over."""
    return x.f.maximum(x, y)


def largest(x: Value, y: Value) -> Value:
    """The larger; nan is the largest of all."""
    return x.compare("uno", x).select(x, x.f.maximum(x, y))


def smallest(x: Value, y: Value) -> Value:
    """The smaller; nan is the smallest of all."""
    return x.compare("uno", x).select(x, x.f.minimum(x, y))


def everywhere(x: Value, combine: Combine) -> Value:
    """All lanes combined, halves with halves, in every lane."""
    distance = x.lanes
    while distance > 1:
        distance //= 2
        x = combine(x, x.shuffle(x, [lane ^ distance for lane in range(x.lanes)]))
    return x


class Columns:
    """Goes along a row: whole vectors, then what is left behind a mask."""

    def __init__(self, f: Function, lanes: int, count: int | Value) -> None:
        self.f, self.lanes, self.count = f, lanes, count

    @property
    def few(self) -> bool:
        """Whether a row fits the registers."""
        return isinstance(self.count, int) and self.count <= KEPT * self.lanes

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
        return [everywhere(v, c) for v, c in zip(found, combine, strict=True)]


@dataclass(frozen=True)
class Rows:
    """What the kernels over the rows of matrices share. `columns` is 0 where given at run time."""

    element: str
    columns: int

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernel, and its entry for Python."""
        return ("kernel", "entry")

    def _open(
        self, module: Module, arrays: Sequence[str], numbers: Sequence[str] = ()
    ) -> tuple[Function, Columns, int]:
        """The function begun, its columns, and lanes."""
        params: dict[str, Any] = {
            **dict.fromkeys(arrays, "ptr"),
            **dict.fromkeys(numbers, "double"),
        }
        if not self.columns:
            params["columns"] = "i64"
        f = module.function("kernel", **params, begin="i64", end="i64")
        lanes = module.lanes(self.element)
        return f, Columns(f, lanes, self.columns or f.arg("columns")), lanes

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
