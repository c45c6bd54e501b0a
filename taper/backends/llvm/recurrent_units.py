"""Recurrent layers of larger hidden sizes: a unit in each lane, a matrix product in each step.

What the input contributes to the gates comes from one product over all steps, the gradients of
weights and input from others; they are made elsewhere (gemm.py). Here is what runs step by step:
the product of the states with the hidden weights, whose copy in panels is made once a call, and
the cell, on vectors of units. The sizes are arguments: a kernel is compiled for a cell and a dtype.

Running step t is step `start + t * direction` of the input, whose rows go from `rows[step]` up to
`rows[step + 1]`: as many as there are sequences, or fewer in a packed one, where those that have ended,
or have not begun, keep their states.

Written forward and read backward: `gates` (rows, gates * hidden), which begins as what the input
contributes, and ends with the first of what the cell saves in its place; `saved` (steps, batch, rest *
hidden), with the others; `states` (states, steps + 1, batch, pitch). What has rows is in the order of
the input, what has steps in running order.

The result of a sequence depends neither on the batch nor on where in it the sequence stands: sums
run along k in order, in blocks that k alone decides. Sums over sequences, the gradients of biases,
run over the batch within a step, then over the steps from the last to the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from taper.backends.llvm import call
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.pack import Words, least, pack_panel
from taper.backends.llvm.pool import ranges
from taper.backends.llvm.recurrent import CELLS
from taper.backends.llvm.text import SIZES, Function, Module, Pointer, Value, vector
from taper.backends.llvm.tile import VECS, heights, most_rows, tile

# Bytes along k of a block: the rows of a tile stay in the first-level cache.
_BLOCK_K = 1536
# Pieces that the work of a step is cut into for threads.
_PIECES = 8


def room(machine: Machine, element: str, columns: int, depth: int) -> int:
    """Elements of the panels of a matrix with `depth` rows."""
    lanes = machine.lanes(SIZES[element])
    width = VECS * lanes
    return -(-columns // width) * width * (-(-depth // lanes) * lanes)


def segments(cell: str) -> list[tuple[int, int, int]]:
    """Gates whose gradients follow one another in `moved`: (first gate, how many, place)."""
    places = CELLS[cell].of_hidden
    cuts = [0, *(i for i in range(1, len(places)) if places[i] != places[i - 1] + 1), len(places)]
    return [(a, b - a, places[a]) for a, b in pairwise(cuts)]


def in_place(cell: str) -> int:
    """How many saved values lie where the gates were."""
    return min(CELLS[cell].saved, CELLS[cell].gates)


def _rows(f: Function, t: Value) -> tuple[Value, Value, Value]:
    """The step of the input at running step t, its first row, and how many it has."""
    place = f.arg("start") + t * f.arg("direction")
    rows = f.pointer("rows", "i64").at(place)
    first = rows.load()
    return place, first, rows.load(1) - first


def _ceil(x: Value, unit: Any) -> Value:
    return (x + (unit - 1)) // unit


class _Panels:
    """Products with a matrix that was copied into panels, [column / width][k][width]."""

    _BLOCK = ("n", "k", "a_row", "panel", "c_row", "seed_row", "seeded")

    def __init__(self, module: Module, element: str) -> None:
        self.module, self.element = module, element
        self.lanes = module.lanes(element)
        self.width = VECS * self.lanes
        self.size = SIZES[element]

    def _function(self, name: str, numbers: Sequence[str]) -> Function:
        operands = dict.fromkeys(("a", "b", "c", "seed"), "ptr")
        params = {**operands, **dict.fromkeys(numbers, "i64")}
        return self.module.function(name, "void", True, ("c", "seed"), **params)

    def _operands(self, f: Function) -> list[Pointer]:
        return [f.pointer(name, self.element) for name in ("a", "b", "c", "seed")]

    def depth(self, k: Value) -> Value:
        """Elements of a panel."""
        return _ceil(k, self.lanes) * (self.lanes * self.width)

    def copy(self, f: Function, along_n: bool, source: Pointer, target: Pointer, row: Value,
             columns: Value, depth: Value) -> None:  # fmt: skip
        """Fills the panels from a matrix that lies along its columns, or along k."""
        packed = pack_panel(self.module, Words(self.element, self.element), along_n)
        panel = self.depth(depth)

        def one(i: Value) -> None:
            column = i * self.width
            place = source.at(column if along_n else column * row)
            f.call(
                packed, place, target.at(i * panel), row, least(columns - column, self.width), depth
            )

        f.loop(0, _ceil(columns, self.width), one)

    def product(self) -> Function:
        """C = A B + seed, for the panels from `begin` up to `end`: blocks of columns, of k, of rows."""
        rows = self._rows()
        f = self._function("product", ("rows", *self._BLOCK, "begin", "end"))
        get, k = f.arg, f.arg("k")
        a, b, c, seed = self._operands(f)
        first = get("begin") * self.width
        b, c, seed = b.at(get("begin") * get("panel")), c.at(first), seed.at(first)
        n = least(get("end") * self.width, get("n")) - first
        most = _BLOCK_K // self.size
        rounds = _ceil(k, most)
        block_k = _ceil(_ceil(k, rounds), self.lanes) * self.lanes
        # A block of B takes half of the second-level cache.
        block_n = self.module.machine.l2 // 2 // (most * self.size) // self.width * self.width
        one = f.const(1, "i64")

        def columns(i: Value) -> None:
            column = i * block_n

            def some(p: Value) -> None:
                start, begins = p * block_k, p.equals(0)
                f.call(
                    rows, a.at(start), b.at(i * (block_n // self.width) * get("panel") + start * self.width),
                    c.at(column), begins.select(seed.at(column).address, c.at(column).address),
                    get("rows"), least(n - column, block_n), least(k - start, block_k), get("a_row"),
                    get("panel"), get("c_row"), begins.select(get("seed_row"), get("c_row")),
                    begins.select(get("seeded"), one),
                )  # fmt: skip

            f.loop(0, rounds, some)

        f.loop(0, _ceil(n, block_n), columns)
        f.ret()
        return ranges(self.module, f)

    def multiply(self, f: Function, product: Function, a: Pointer, b: Pointer, c: Pointer, seed: Pointer,
                 rows: Value, n: Value, k: Value, a_row: Value, seed_row: Any) -> None:  # fmt: skip
        """The whole product, on the pool. The result's rows have no gaps."""
        count = _ceil(n, self.width)
        f.call(
            product, f.arg("pool"), a, b, c, seed, rows, n, k, a_row, self.depth(k), n, seed_row, 1,
            count, _ceil(count, _PIECES),
        )  # fmt: skip

    def _rows(self) -> Function:
        """Rows shared out evenly: pairs, and one or three at the end if their number is odd."""
        strip = self._strip()
        f = self._function("some_rows", ("rows", *self._BLOCK))
        get, rows = f.arg, f.arg("rows")
        zero = f.const(0, "i64")
        odd = (rows % 2).equals(0).select(zero, least(rows, 3))
        pairs = (rows - odd) // 2
        tiles = _ceil(pairs, most_rows(self.module.machine) // 2)
        divisor = (tiles < 1).select(f.const(1, "i64"), tiles)
        height, taller = pairs // divisor * 2, pairs % divisor
        a, b, c, seed = self._operands(f)
        for tall, count, start in (
            (height + 2, taller, zero),
            (height, tiles - taller, taller * (height + 2)),
            (odd, (odd > 0).cast("zext", "i64"), rows - odd),
        ):
            f.call(
                strip, a.at(start * get("a_row")), b, c.at(start * get("c_row")),
                seed.at(start * get("seed_row")), tall, count, *map(get, self._BLOCK),
            )  # fmt: skip
        f.ret()
        return f

    def _strip(self) -> Function:
        """`count` tiles of one height, over all panels."""
        f = self._function("strip", ("height", "count", *self._BLOCK))
        get, n, width = f.arg, f.arg("n"), self.width
        masked = self.module.machine.target == "avx512"  # masks cost nothing there
        kinds = dict.fromkeys([(VECS, masked), (VECS, True), (1, True)])
        tiles = {kind: self._tile(f, get("height"), *kind) for kind in kinds}
        whole = n // width
        rest = n - whole * width

        def row_of_tiles(t: Value) -> None:
            row = t * get("height")
            a, b, c, seed = self._operands(f)
            a, c = a.at(row * get("a_row")), c.at(row * get("c_row"))
            seed = seed.at(row * get("seed_row"))

            def compute(panel: Value, vecs: int, edge: bool, columns: Any) -> None:
                like, address = tiles[vecs, edge]
                column = panel * width
                f.call(
                    like, a, b.at(panel * get("panel")), c.at(column), seed.at(column), get("k"),
                    get("a_row"), width, get("c_row"), get("seed_row"), get("seeded"), 1, columns,
                    at=address,
                )  # fmt: skip

            f.loop(0, whole, lambda p: compute(p, VECS, masked, self.lanes))
            f.when(rest > self.lanes, lambda: compute(whole, VECS, True, rest - self.lanes))
            f.when((rest > 0) & (rest <= self.lanes), lambda: compute(whole, 1, True, rest))

        f.loop(0, get("count"), row_of_tiles)
        f.ret()
        return f

    def _tile(self, f: Function, height: Value, vecs: int, edge: bool) -> tuple[Function, Value]:
        """A tile, and the address of the one that is as high as asked."""
        high = heights(self.module.machine)
        made = [
            tile(self.module, self.element, self.element, h, vecs, True, False, edge) for h in high
        ]
        address = Value(f, "@" + made[0].name, "ptr")
        for h, each in zip(high, made, strict=True):
            address = height.equals(h).select(Value(f, "@" + each.name, "ptr"), address)
        return made[0], address


@dataclass(frozen=True)
class _Units:
    """What both kernels share. Each exports `pack`, which fills the panels, and `steps`."""

    cell: str
    element: str

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernels, and their entries for Python."""
        return ("pack", "steps", "pack_entry", "steps_entry")

    @property
    def pack_kinds(self) -> tuple[str, ...]:
        """What Python passes to pack(w_hh, panels, hidden)."""
        return ("array", "array", "int")

    def step_by_step(
        self,
        module: Module,
        arrays: Sequence[str],
        numbers: Sequence[str],
        cell: Callable[[Function, Value, Value], None],
    ) -> tuple[Function, Callable[[Value], None]]:
        """The function `steps`, begun, and what writes a call of cell(f, t, begin, end) in it.

        That is given a range of vectors of units; the pool shares them out.
        """
        params = {**dict.fromkeys(arrays, "ptr"), **dict.fromkeys(numbers, "i64")}
        part = module.function(
            "cell", "void", True, (), **params, t="i64", begin="i64", end="i64"
        )  # fmt: skip
        lanes = module.lanes(self.element)
        first, last = part.arg("begin") * lanes, part.arg("end") * lanes
        cell(part, first, least(last, part.arg("hidden")))
        part.ret()
        shared = ranges(module, part)
        f = module.function("steps", "void", False, (), pool="i64", **params)

        def write(t: Value) -> None:
            vectors = _ceil(f.arg("hidden"), lanes)
            f.call(
                shared, f.arg("pool"), *map(f.arg, params), t, vectors, _ceil(vectors, _PIECES)
            )  # fmt: skip

        return f, write


def _each_vector(
    f: Function, first: Value, last: Value, lanes: int, body: Callable[[Value, Any], None]
) -> None:
    """body(unit, mask) for the vectors of units from `first` up to `last`."""
    if f.module.machine.target == "avx512":  # masks cost nothing there
        f.loop(first, last, lambda u: body(u, f.mask(last - u, lanes)), lanes)
        return
    whole = last - (last - first) % lanes
    f.loop(first, whole, lambda u: body(u, None), lanes)
    f.when(whole < last, lambda: body(whole, f.mask(last - whole, lanes)))


@dataclass(frozen=True)
class UnitsForward(_Units):
    """All steps of a batch of sequences.

    steps(pool, gates, b_hh, y, states, saved, panels, work, rows, batch, steps, hidden, pitch, start,
    direction): the input's biases are in `gates`; states[:, 0] is given; y is (rows, hidden). `work`
    holds batch * gates * hidden.
    """

    ARRAYS = ("gates", "b_hh", "y", "states", "saved", "panels", "work", "rows")
    NUMBERS = ("batch", "steps", "hidden", "pitch", "start", "direction")

    @property
    def steps_kinds(self) -> tuple[str, ...]:
        """What Python passes to `steps`."""
        return ("int", *("array",) * len(self.ARRAYS), *("int",) * len(self.NUMBERS))

    def write(self, module: Module) -> None:
        """The kernels and their entries."""
        cell, element = CELLS[self.cell], self.element
        panels = _Panels(module, element)
        f = module.function("pack", "void", False, (), w="ptr", to="ptr", hidden="i64")
        hidden = f.arg("hidden")
        panels.copy(f, False, f.pointer("w", element), f.pointer("to", element), hidden,
                    hidden * cell.gates, hidden)  # fmt: skip
        f.ret()
        call.write_entry(module, "pack_entry", f, self.pack_kinds)

        product = panels.product()
        f, write_cell = self.step_by_step(module, self.ARRAYS, self.NUMBERS, self._cell)

        def step(t: Value) -> None:
            old = f.pointer("states", element).at(t * f.arg("batch") * f.arg("pitch"))
            hidden = f.arg("hidden")
            _, _, alive = _rows(f, t)
            panels.multiply(
                f, product, old, f.pointer("panels", element), f.pointer("work", element),
                f.pointer("b_hh", element), alive, hidden * cell.gates, hidden, f.arg("pitch"), 0,
            )  # fmt: skip
            write_cell(t)

        f.loop(0, f.arg("steps"), step)
        f.ret()
        call.write_entry(module, "steps_entry", f, self.steps_kinds)

    def _cell(self, f: Function, first: Value, last: Value) -> None:
        """One step of some units, for all sequences."""
        cell, get = CELLS[self.cell], f.arg
        lanes = f.module.lanes(self.element)
        batch, hidden, pitch = get("batch"), get("hidden"), get("pitch")
        gates, _, y, states, saved, _, work, _ = (f.pointer(n, self.element) for n in self.ARRAYS)
        columns, inside = hidden * cell.gates, in_place(self.cell)
        apart = (get("steps") + 1) * batch * pitch
        _, start, alive = _rows(f, get("t"))

        def sequence(b: Value) -> None:
            row = get("t") * batch + b
            given, out = gates.at((start + b) * columns), y.at((start + b) * hidden)
            old, new = states.at(row * pitch), states.at((row + batch) * pitch)
            own, kept = work.at(b * columns), saved.at(row * (hidden * (cell.saved - inside)))

            def units(u: Value, mask: Any) -> None:
                def read(source: Pointer, at: Value) -> Value:
                    return source.load(at + u, lanes, mask)

                made, remembered = cell.forward(
                    f,
                    [read(given, hidden * g) for g in range(cell.gates)],
                    [read(own, hidden * g) for g in range(cell.gates)],
                    [read(old, apart * s) for s in range(cell.states)],
                )
                out.store(made[0], u, mask)
                for s, value in enumerate(made):
                    new.store(value, apart * s + u, mask)
                for s, value in enumerate(remembered):
                    if s < inside:
                        given.store(value, hidden * s + u, mask)
                    else:
                        kept.store(value, hidden * (s - inside) + u, mask)

            _each_vector(f, first, last, lanes, units)

        def idle(b: Value) -> None:
            row = (get("t") * batch + b) * pitch

            def units(u: Value, mask: Any) -> None:
                for s in range(cell.states):
                    at = row + apart * s + u
                    states.store(states.load(at, lanes, mask), at + batch * pitch, mask)

            _each_vector(f, first, last, lanes, units)

        f.loop(0, alive, sequence)
        f.loop(alive, batch, idle)


@dataclass(frozen=True)
class UnitsBackward(_Units):
    """Back through all steps of a batch of sequences.

    steps(pool, dy, gates, states, saved, panels, moved, carried, sums, rows, dy_starts, batch, steps,
    hidden, pitch, moved_pitch, start, direction, dy_row, to_first): `dy_starts` says where the steps
    of the input begin in dy; `carried` (states, batch, hidden) has the gradients of the last states
    and ends with those of the first ones, if `to_first` is 1; `moved` (rows, moved_pitch) is written;
    `sums`, its sum over rows, is added to.
    """

    ARRAYS = ("dy", "gates", "states", "saved", "panels", "moved", "carried", "sums", "rows",
              "dy_starts")  # fmt: skip
    NUMBERS = ("batch", "steps", "hidden", "pitch", "moved_pitch", "start", "direction", "dy_row",
               "to_first")  # fmt: skip

    @property
    def steps_kinds(self) -> tuple[str, ...]:
        """What Python passes to `steps`."""
        return ("int", *("array",) * len(self.ARRAYS), *("int",) * len(self.NUMBERS))

    def write(self, module: Module) -> None:
        """The kernels and their entries."""
        element = self.element
        panels = _Panels(module, element)
        f = module.function("pack", "void", False, (), w="ptr", to="ptr", hidden="i64")
        hidden, w = f.arg("hidden"), f.pointer("w", element)
        for gate, depth, _, target in self._segments(panels, hidden, f.pointer("to", element)):
            panels.copy(f, True, w.at(hidden * hidden * gate), target, hidden, hidden, depth)
        f.ret()
        call.write_entry(module, "pack_entry", f, self.pack_kinds)

        product = panels.product()
        f, write_cell = self.step_by_step(module, self.ARRAYS, self.NUMBERS, self._cell)

        def step(back: Value) -> None:
            t = (f.arg("steps") - 1) - back
            write_cell(t)
            f.when((t + f.arg("to_first")) > 0, lambda: through_gates(t))

        def through_gates(t: Value) -> None:
            hidden, pitch = f.arg("hidden"), f.arg("moved_pitch")
            _, start, alive = _rows(f, t)
            moved = f.pointer("moved", element).at(start * pitch)
            carried = f.pointer("carried", element)
            matrix = f.pointer("panels", element)
            for _, depth, place, panel in self._segments(panels, hidden, matrix):
                panels.multiply(
                    f, product, moved.at(hidden * place), panel, carried, carried, alive, hidden, depth,
                    pitch, hidden,
                )  # fmt: skip

        f.loop(0, f.arg("steps"), step)
        f.ret()
        call.write_entry(module, "steps_entry", f, self.steps_kinds)

    def _cell(self, f: Function, first: Value, last: Value) -> None:
        """One step back of some units, for all sequences, whose sums stay in registers."""
        cell, get, element = CELLS[self.cell], f.arg, self.element
        lanes = f.module.lanes(element)
        batch, hidden, pitch = get("batch"), get("hidden"), get("pitch")
        dy, gates, states, saved, _, moved, carried, sums = (
            f.pointer(n, element) for n in self.ARRAYS[:8]
        )
        apart = (get("steps") + 1) * batch * pitch
        row = get("t") * batch
        before, after = states.at(row * pitch), states.at((row + batch) * pitch)
        inside = in_place(self.cell)
        outside = cell.saved - inside
        place, start, alive = _rows(f, get("t"))
        kept, target = saved.at(row * (hidden * outside)), moved.at(start * get("moved_pitch"))
        arrived = dy.at(f.pointer("dy_starts", "i64").load(place))
        given = gates.at(start * (hidden * cell.gates))

        def units(u: Value, mask: Any) -> None:
            def read(source: Pointer, at: Value) -> Value:
                return source.load(at + u, lanes, mask)

            def sequence(b: Value, *totals: Value) -> list[Value]:
                at = b * pitch
                through = [read(carried, (b + batch * s) * hidden) for s in range(cell.states)]
                through[0] = through[0] + read(arrived, b * get("dy_row"))
                remembered = [
                    *(read(given, (b * cell.gates + s) * hidden) for s in range(inside)),
                    *(read(kept, (b * outside + s) * hidden) for s in range(outside)),
                ]
                changes, past = cell.backward(
                    f,
                    remembered,
                    [read(before, at + apart * s) for s in range(cell.states)],
                    [read(after, at + apart * s) for s in range(cell.states)],
                    through,
                )
                for i, value in enumerate(changes):
                    target.store(value, b * get("moved_pitch") + hidden * i + u, mask)
                for s, value in enumerate(past):
                    carried.store(value, (b + batch * s) * hidden + u, mask)
                return [total + value for total, value in zip(totals, changes, strict=True)]

            nothing = f.const(0.0, vector(element, lanes))
            made = f.loop(0, alive, sequence, 1, [nothing] * cell.grads)
            for i, value in enumerate(made):
                sums.store(value + read(sums, hidden * i), hidden * i + u, mask)

        _each_vector(f, first, last, lanes, units)

    def _segments(
        self, panels: _Panels, hidden: Value, start: Pointer
    ) -> Iterator[tuple[int, Value, int, Pointer]]:
        """First gate, depth, place in `moved`, and panels of the gates that lie together."""
        for gate, count, place in segments(self.cell):
            depth = hidden * count
            yield gate, depth, place, start
            start = start.at(_ceil(hidden, panels.width) * panels.depth(depth))
