"""Recurrent layers of larger hidden sizes: a unit in each lane, a matrix product in each step.

What the input contributes to the gates comes from one product over all steps, the gradients of
weights and input from others; they are made elsewhere (gemm.py). Here is what runs step by step:
the product of the states with the hidden weights, whose copy in panels is made once a call, and
the cell, on vectors of units. The sizes are arguments: a kernel is compiled for a cell and a dtype.

Inside, steps are in running order. `states` is (states, steps + 1, batch, pitch) and `saved`
(steps, batch, saved * hidden), both written forward and read backward.

The result of a sequence depends neither on the batch nor on where in it the sequence stands: sums
run along k in order, in blocks that k alone decides. Sums over sequences, the gradients of biases,
run over the batch within a step, then over the steps from the last to the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from taper.backends.llvm import call
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.pack import least, pack_panel
from taper.backends.llvm.recurrent import CELLS
from taper.backends.llvm.text import SIZES, Function, Module, Pointer, Value, vector
from taper.backends.llvm.tile import VECS, heights, most_rows, tile

# Bytes along k of a block: the rows of a tile stay in the first-level cache.
_BLOCK_K = 1536


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


def _ceil(x: Value, unit: Any) -> Value:
    return (x + (unit - 1)) // unit


class _Panels:
    """Products with a matrix that was copied into panels, [column / width][k][width]."""

    _BLOCK = dict.fromkeys(
        ("n", "k", "a_row", "panel", "c_row", "seed_row", "seeded"), "i64"
    )  # fmt: skip

    def __init__(self, module: Module, element: str) -> None:
        self.module, self.element = module, element
        self.lanes = module.lanes(element)
        self.width = VECS * self.lanes
        self.size = SIZES[element]

    def _function(self, name: str, **numbers: str) -> Function:
        operands = dict.fromkeys(("a", "b", "c", "seed"), "ptr")
        return self.module.function(
            name, "void", True, ("c", "seed"), **operands, **numbers, **self._BLOCK
        )

    def _operands(self, f: Function) -> list[Pointer]:
        return [f.pointer(name, self.element) for name in ("a", "b", "c", "seed")]

    def depth(self, k: Value) -> Value:
        """Elements of a panel."""
        return _ceil(k, self.lanes) * (self.lanes * self.width)

    def copy(self, f: Function, along_n: bool, source: Pointer, target: Pointer, row: Value,
             columns: Value, depth: Value) -> None:  # fmt: skip
        """Fills the panels from a matrix that lies along its columns, or along k."""
        packed = pack_panel(self.module, self.element, along_n)
        panel = self.depth(depth)

        def one(i: Value) -> None:
            column = i * self.width
            place = source.at(column if along_n else column * row)
            f.call(
                packed, place, target.at(i * panel), row, least(columns - column, self.width), depth
            )

        f.loop(0, _ceil(columns, self.width), one)

    def product(self) -> Function:
        """C = A B + seed for some rows of A: blocks of columns, of k, of rows."""
        rows = self._rows()
        f = self._function("product", rows="i64")
        get, n, k = f.arg, f.arg("n"), f.arg("k")
        a, b, c, seed = self._operands(f)
        most = _BLOCK_K // self.size
        rounds = _ceil(k, most)
        block_k = _ceil(_ceil(k, rounds), self.lanes) * self.lanes
        # A block of B takes half of the second-level cache.
        room = self.module.machine.l2 // 2 // (most * self.size) // self.width * self.width
        one = f.const(1, "i64")

        def columns(i: Value) -> None:
            column = i * room

            def some(p: Value) -> None:
                start = p * block_k
                first = p.equals(0)
                f.call(
                    rows, a.at(start), b.at(i * (room // self.width) * get("panel") + start * self.width),
                    c.at(column), first.select(seed.at(column).address, c.at(column).address),
                    get("rows"), least(n - column, room), least(k - start, block_k), get("a_row"),
                    get("panel"), get("c_row"), first.select(get("seed_row"), get("c_row")),
                    first.select(get("seeded"), one),
                )  # fmt: skip

            f.loop(0, rounds, some)

        f.loop(0, _ceil(n, room), columns)
        f.ret()
        return f

    def _rows(self) -> Function:
        """Rows shared out evenly: pairs, and one or three at the end if their number is odd."""
        strip = self._strip()
        f = self._function("some_rows", rows="i64")
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
        f = self._function("strip", height="i64", count="i64")
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
        made = [tile(self.module, self.element, h, vecs, True, False, edge) for h in high]
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

    pack_kinds = ("array", "array", "int")

    def _units(self, f: Function, hidden: Value, body: Callable[[Value, Any], None]) -> None:
        """body(first unit, mask) for each vector of units."""
        lanes = f.module.lanes(self.element)
        if f.module.machine.target == "avx512":  # masks cost nothing there
            f.loop(0, hidden, lambda u: body(u, f.mask(hidden - u, lanes)), lanes)
            return
        whole = hidden // lanes * lanes
        f.loop(0, whole, lambda u: body(u, None), lanes)
        f.when(whole < hidden, lambda: body(whole, f.mask(hidden - whole, lanes)))


@dataclass(frozen=True)
class UnitsForward(_Units):
    """All steps of the sequences begin to end.

    steps(gates, b_hh, y, states, saved, panels, work, begin, end, batch, steps, hidden, pitch,
    start, direction): `gates` (steps, batch, gates * hidden) is what the input contributes, biases
    included; states[:, 0] is given; y is (steps, batch, hidden). Both are in the order of the input,
    of which running step t is `start + t * direction`. `work` holds batch * gates * hidden.
    """

    steps_kinds = ("array",) * 7 + ("int",) * 8

    def write(self, module: Module) -> None:
        """The kernels and their entries."""
        cell, element, lanes = CELLS[self.cell], self.element, module.lanes(self.element)
        panels = _Panels(module, element)
        f = module.function("pack", "void", False, (), w="ptr", to="ptr", hidden="i64")
        hidden = f.arg("hidden")
        panels.copy(f, False, f.pointer("w", element), f.pointer("to", element), hidden,
                    hidden * cell.gates, hidden)  # fmt: skip
        f.ret()
        call.write_entry(module, "pack_entry", f, self.pack_kinds)

        product = panels.product()
        names = ("gates", "b_hh", "y", "states", "saved", "panels", "work")
        numbers = ("begin", "end", "batch", "steps", "hidden", "pitch", "start", "direction")
        f = module.function(
            "steps", "void", False, (), **dict.fromkeys(names, "ptr"), **dict.fromkeys(numbers, "i64")
        )  # fmt: skip
        get, hidden, begin = f.arg, f.arg("hidden"), f.arg("begin")
        gates, b_hh, y, states, saved, matrix, work = (f.pointer(n, element) for n in names)
        columns = hidden * cell.gates
        apart = (get("steps") + 1) * get("batch") * get("pitch")
        work = work.at(begin * columns)

        def step(t: Value) -> None:
            place = get("start") + t * get("direction")
            row = t * get("batch") + begin
            old = states.at(row * get("pitch"))
            new = states.at((row + get("batch")) * get("pitch"))
            f.call(
                product, old, matrix, work, b_hh, get("end") - begin, columns, hidden, get("pitch"),
                panels.depth(hidden), columns, 0, 1,
            )  # fmt: skip
            given = gates.at((place * get("batch") + begin) * columns)
            out = y.at((place * get("batch") + begin) * hidden)
            kept = saved.at(row * (hidden * cell.saved))

            def sequence(b: Value) -> None:
                def units(u: Value, mask: Any) -> None:
                    def read(source: Pointer, at: Value) -> Value:
                        return source.load(at + u, lanes, mask)

                    ax = [read(given, b * columns + hidden * g) for g in range(cell.gates)]
                    ah = [read(work, b * columns + hidden * g) for g in range(cell.gates)]
                    state = [read(old, b * get("pitch") + apart * s) for s in range(cell.states)]
                    made, remembered = cell.forward(f, ax, ah, state)
                    out.store(made[0], b * hidden + u, mask)
                    for s, value in enumerate(made):
                        new.store(value, b * get("pitch") + apart * s + u, mask)
                    for s, value in enumerate(remembered):
                        kept.store(value, b * (hidden * cell.saved) + hidden * s + u, mask)

                self._units(f, hidden, units)

            f.loop(0, get("end") - begin, sequence)

        f.loop(0, get("steps"), step)
        f.ret()
        call.write_entry(module, "steps_entry", f, self.steps_kinds)


@dataclass(frozen=True)
class UnitsBackward(_Units):
    """Back through all steps of the sequences begin to end.

    steps(dy, states, saved, panels, moved, carried, sums, begin, end, batch, steps, hidden, pitch,
    moved_pitch, start, direction, dy_row, dy_step, to_first): `carried` (states, batch, hidden) has
    the gradients of the last states and ends with those of the first ones, if `to_first` is 1;
    `moved` (steps, batch, moved_pitch) is written; `sums`, its sum over steps and sequences, is
    added to.
    """

    steps_kinds = ("array",) * 7 + ("int",) * 12

    def write(self, module: Module) -> None:
        """The kernels and their entries."""
        cell, element, lanes = CELLS[self.cell], self.element, module.lanes(self.element)
        panels = _Panels(module, element)
        f = module.function("pack", "void", False, (), w="ptr", to="ptr", hidden="i64")
        self._each_segment(
            panels,
            f.arg("hidden"),
            f.pointer("to", element),
            lambda gate, depth, place, target: panels.copy(
                f, True, f.pointer("w", element).at(f.arg("hidden") * f.arg("hidden") * gate), target,
                f.arg("hidden"), f.arg("hidden"), depth,
            ),
        )  # fmt: skip
        f.ret()
        call.write_entry(module, "pack_entry", f, self.pack_kinds)

        product = panels.product()
        names = ("dy", "states", "saved", "panels", "moved", "carried", "sums")
        numbers = ("begin", "end", "batch", "steps", "hidden", "pitch", "moved_pitch", "start",
                   "direction", "dy_row", "dy_step", "to_first")  # fmt: skip
        f = module.function(
            "steps", "void", False, (), **dict.fromkeys(names, "ptr"), **dict.fromkeys(numbers, "i64")
        )  # fmt: skip
        get, hidden, begin, batch = f.arg, f.arg("hidden"), f.arg("begin"), f.arg("batch")
        dy, states, saved, matrix, moved, carried, sums = (f.pointer(n, element) for n in names)
        apart = (get("steps") + 1) * batch * get("pitch")
        carried = carried.at(begin * hidden)
        rows = get("end") - begin

        def step(back: Value) -> None:
            t = (get("steps") - 1) - back
            place = get("start") + t * get("direction")
            row = t * batch + begin
            before = states.at(row * get("pitch"))
            after = states.at((row + batch) * get("pitch"))
            kept = saved.at(row * (hidden * cell.saved))
            target = moved.at(row * get("moved_pitch"))
            arrived = dy.at(place * get("dy_step") + begin * get("dy_row"))

            def units(u: Value, mask: Any) -> None:
                def read(source: Pointer, at: Value) -> Value:
                    return source.load(at + u, lanes, mask)

                def sequence(b: Value, *totals: Value) -> list[Value]:
                    at = b * get("pitch")
                    through = [
                        read(carried, b * hidden + batch * hidden * s) for s in range(cell.states)
                    ]
                    through[0] = through[0] + read(arrived, b * get("dy_row"))
                    changes, past = cell.backward(
                        f,
                        [read(kept, b * (hidden * cell.saved) + hidden * s) for s in range(cell.saved)],
                        [read(before, at + apart * s) for s in range(cell.states)],
                        [read(after, at + apart * s) for s in range(cell.states)],
                        through,
                    )  # fmt: skip
                    for i, value in enumerate(changes):
                        target.store(value, b * get("moved_pitch") + hidden * i + u, mask)
                    for s, value in enumerate(past):
                        carried.store(value, b * hidden + batch * hidden * s + u, mask)
                    return [total + value for total, value in zip(totals, changes, strict=True)]

                nothing = f.const(0.0, vector(element, lanes))
                made = f.loop(0, rows, sequence, 1, [nothing] * cell.grads)
                for i, value in enumerate(made):
                    sums.store(value + read(sums, hidden * i), hidden * i + u, mask)

            self._units(f, hidden, units)

            def through_gates() -> None:
                self._each_segment(
                    panels,
                    hidden,
                    matrix,
                    lambda gate, depth, place, panel: f.call(
                        product, target.at(hidden * place), panel, carried, carried, rows, hidden,
                        depth, get("moved_pitch"), panels.depth(depth), hidden, hidden, 1,
                    ),
                )  # fmt: skip

            f.when((t + get("to_first")) > 0, through_gates)

        f.loop(0, get("steps"), step)
        f.ret()
        call.write_entry(module, "steps_entry", f, self.steps_kinds)

    def _each_segment(
        self,
        panels: _Panels,
        hidden: Value,
        start: Pointer,
        body: Callable[[int, Value, int, Pointer], Any],
    ) -> None:
        """body(first gate, depth, place in `moved`, its panels) for gates that lie together."""
        for gate, count, place in segments(self.cell):
            depth = hidden * count
            body(gate, depth, place, start)
            start = start.at(_ceil(hidden, panels.width) * panels.depth(depth))
