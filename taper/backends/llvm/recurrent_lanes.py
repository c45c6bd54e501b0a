"""Recurrent layers of small hidden sizes: a sequence in each lane, all steps in one kernel.

The states stay in registers from step to step, weights are broadcast from where they are, and what
the derivative needs goes to a tape of whole vectors. A group is as many sequences as a vector has
lanes; lanes past the last sequence repeat it, so every load and store of theirs is harmless, and
only the sums of the weights' gradients must leave them out.

The tape of a group, in vectors, for `steps` steps: the input, (steps, inputs) as it lies in memory,
with a vector's width of slack; the states, (steps + 1, states, hidden); what the cell saves, (steps,
saved, hidden). Running step t reads the input's step `start + t * direction`.

No result element depends on the batch size except the gradients of weights, which are sums over
sequences: lane by lane in the order of groups, within a group from the first step to the last; then
over pieces of the batch, which its size alone decides, and over lanes at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from taper.backends.llvm import call
from taper.backends.llvm.pool import ranges
from taper.backends.llvm.recurrent import CELLS, Cell
from taper.backends.llvm.text import SIZES, Function, Module, Number, Pointer, Value, vector

# ---------------------------------------------------------------- between rows and lanes


def _exchanged(vectors: list[Value], width: int) -> list[Value]:
    """`width` vectors, transposed in blocks of `width` lanes: log2(width) rounds of exchanges."""
    lanes = vectors[0].lanes
    now, apart = vectors, 1
    if width >= 4 and SIZES[vectors[0].element] == 4:
        # Two rounds inside quarters of 128 bits, where these shuffles cost least.
        low = [4 * (i // 4) + i % 4 // 2 + i % 2 * lanes for i in range(lanes)]
        high = [i + 2 for i in low]
        left = [4 * (i // 4) + i % 2 + i % 4 // 2 * lanes for i in range(lanes)]
        right = [i + 2 for i in left]
        made: list[Value] = []
        for i in range(0, width, 4):
            a, b, c, d = now[i : i + 4]
            ab, cd = a.shuffle(b, low), c.shuffle(d, low)
            made += [ab.shuffle(cd, left), ab.shuffle(cd, right)]
            ab, cd = a.shuffle(b, high), c.shuffle(d, high)
            made += [ab.shuffle(cd, left), ab.shuffle(cd, right)]
        now, apart = made, 4
    while apart < width:
        low = [i if not i & apart else i - apart + lanes for i in range(lanes)]
        high = [i + apart if not i & apart else i + lanes for i in range(lanes)]
        following = list(now)
        for i in range(width):
            if not i & apart:
                following[i] = now[i].shuffle(now[i + apart], low)
                following[i + apart] = now[i].shuffle(now[i + apart], high)
        now = following
        apart *= 2
    return now


def _width(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _joined(parts: Sequence[Value]) -> Value:
    """The vectors end to end."""
    while len(parts) > 1:
        parts = [
            a.shuffle(b, range(2 * a.lanes)) for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
    return parts[0]


def load_columns(rows: Sequence[Pointer], count: int, mask: Value | None = None) -> list[Value]:
    """The first `count` elements of each row, by column: a vector holds a lane of each row."""
    f, lanes = rows[0].f, len(rows)
    if count == 1 and mask is None:
        made = f.const(0.0, vector(rows[0].element, lanes))
        for lane, row in enumerate(rows):
            made = made.with_lane(lane, row.load())
        return [made]
    width = _width(count)
    keep = f.mask(count, width) if mask is None else mask
    loaded = [row.load(0, width, keep) for row in rows]
    return _exchanged([_joined(loaded[i::width]) for i in range(width)], width)[:count]


def store_columns(
    vectors: Sequence[Value], rows: Sequence[Pointer], mask: Value | None = None
) -> None:
    """The inverse: element c of each row is a lane of vector c."""
    f, lanes, count = rows[0].f, len(rows), len(vectors)
    if count == 1:
        for lane, row in enumerate(rows):
            row.store(vectors[0].lane(lane))
        return
    width = _width(count)
    keep = f.mask(count, width) if mask is None else mask
    full = [*vectors, *[vectors[0]] * (width - count)]
    for i, made in enumerate(_exchanged(full, width)):
        for part in range(lanes // width):
            first = part * width
            piece = made.shuffle(made, range(first, first + width)) if width < lanes else made
            rows[first + i].store(piece, 0, keep)


# ---------------------------------------------------------------- a group of sequences


class _Group:
    """The sequences from `number` * lanes on: where their rows are, and loops over columns."""

    def __init__(self, f: Function, element: str, number: Value) -> None:
        self.f, self.element, self.number = f, element, number
        self.lanes = f.module.lanes(element)
        last = f.arg("batch") - 1
        self.sequences = [f.minimum(number * self.lanes + r, last) for r in range(self.lanes)]

    def live(self) -> Any:
        """True in the lanes of sequences that there are."""
        f = self.f
        return f.mask(f.arg("batch") - self.number * self.lanes, self.lanes)

    def offsets(self, row: Number) -> list[Value]:
        """Where each sequence begins, `row` being the distance of sequences."""
        return [s * row for s in self.sequences]

    def load(self, base: Pointer, offsets: Sequence[Value], count: int) -> list[Value]:
        """`count` columns of each sequence."""
        made: list[Value] = []
        for first in range(0, count, self.lanes):
            rows = [base.at(o).at(first) for o in offsets]
            made += load_columns(rows, min(self.lanes, count - first))
        return made

    def store(self, vectors: Sequence[Value], base: Pointer, offsets: Sequence[Value]) -> None:
        """Columns of each sequence."""
        for first in range(0, len(vectors), self.lanes):
            rows = [base.at(o).at(first) for o in offsets]
            store_columns(vectors[first : first + self.lanes], rows)

    def load_all(
        self, base: Pointer, offsets: Sequence[Value], count: Value, target: Pointer
    ) -> None:
        """`count` columns to vectors at `target`; up to a vector's width more are written."""
        f, lanes = self.f, self.lanes

        def block(column: Value) -> None:
            rows = [base.at(o).at(column) for o in offsets]
            for i, made in enumerate(load_columns(rows, lanes, f.mask(count - column, lanes))):
                target.store(made, (column + i) * lanes)

        f.loop(0, count, block, lanes)

    def store_all(
        self, source: Pointer, base: Pointer, offsets: Sequence[Value], count: Value
    ) -> None:
        """Vectors at `source` to `count` columns; up to a vector's width more are read."""
        f, lanes = self.f, self.lanes

        def block(column: Value) -> None:
            vectors = [source.load((column + i) * lanes, lanes) for i in range(lanes)]
            rows = [base.at(o).at(column) for o in offsets]
            store_columns(vectors, rows, f.mask(count - column, lanes))

        f.loop(0, count, block, lanes)


def _tape(
    f: Function, element: str, cell: Cell, inputs: int, hidden: int, number: Value
) -> tuple[Pointer, Pointer, Pointer]:
    """The input, the states, and what is saved, in the tape of a group."""
    lanes, steps = f.module.lanes(element), f.arg("steps")
    x = steps * inputs + lanes
    states = (steps + 1) * (cell.states * hidden)
    saved = steps * (cell.saved * hidden)
    first = f.pointer("tape", element).at(number * ((x + states + saved) * lanes))
    return first, first.at(x * lanes), first.at((x + states) * lanes)


def tape_vectors(cell: str, inputs: int, hidden: int, lanes: int) -> tuple[int, int]:
    """Vectors in the tape of a group: a number for itself, and another for each step."""
    kind = CELLS[cell]
    states = kind.states * hidden
    return lanes + states, inputs + states + kind.saved * hidden


def _params(addresses: str, integers: str) -> dict[str, str]:
    return {**dict.fromkeys(addresses.split(), "ptr"), **dict.fromkeys(integers.split(), "i64")}


def _kinds(params: dict[str, str]) -> list[str]:
    return ["array" if kind == "ptr" else "int" for kind in params.values()]


def _numbered(name: str, count: int) -> str:
    return " ".join(f"{name}{i}" for i in range(count))


# ---------------------------------------------------------------- forward


@dataclass(frozen=True)
class LanesForward:
    """All steps of a batch of sequences: outputs (steps, batch, hidden), last states, tape.

    `flat`: the steps of a sequence follow one another in x without gaps. `piece` groups are a
    thread's share at a time.
    """

    cell: str
    element: str
    inputs: int
    hidden: int
    flat: bool

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernel, and its entry for Python."""
        return ("kernel", "kernel_entry")

    @property
    def params(self) -> dict[str, str]:
        """Parameters and their types."""
        states = CELLS[self.cell].states
        return _params(
            f"x {_numbered('first', states)} w_ih w_hh b_ih b_hh y {_numbered('last', states)} tape",
            "batch steps x_row x_step start direction piece",
        )

    @property
    def kernel_kinds(self) -> list[str]:
        """What Python passes: the pool's address or 0, and these."""
        return ["int", *_kinds(self.params)]

    def write(self, module: Module) -> None:
        """Both."""
        part = module.function("part", "void", True, (), **self.params, begin="i64", end="i64")
        part.loop(part.arg("begin"), part.arg("end"), lambda number: self._group(part, number))
        part.ret()
        f = module.function("kernel", "void", False, (), pool="i64", **self.params)
        groups = (f.arg("batch") + (module.lanes(self.element) - 1)) // module.lanes(self.element)
        f.call(
            ranges(module, part), f.arg("pool"), *map(f.arg, self.params), groups, f.arg("piece")
        )  # fmt: skip
        f.ret()
        call.write_entry(module, "kernel_entry", f, self.kernel_kinds)

    def _group(self, f: Function, number: Value) -> None:
        cell, element, hidden = CELLS[self.cell], self.element, self.hidden
        group = _Group(f, element, number)
        lanes = group.lanes
        seen, states, saved = _tape(f, element, cell, self.inputs, hidden, number)
        x, y = f.pointer("x", element), f.pointer("y", element)
        of_x, of_y = group.offsets(f.arg("x_row")), group.offsets(hidden)
        # The slack is written too, so that the tape is the same each time.
        count = f.arg("steps") * self.inputs
        nothing = f.const(0.0, vector(element, lanes))
        f.loop(0, lanes, lambda i: seen.store(nothing, (count + i) * lanes))
        if self.flat:
            group.load_all(x, of_x, count, seen)
        first: list[Value] = []
        for s in range(cell.states):
            first += group.load(f.pointer(f"first{s}", element), of_y, hidden)
        for i, value in enumerate(first):
            states.store(value, i * lanes)

        def step(t: Value, *state: Value) -> list[Value]:
            place = f.arg("start") + t * f.arg("direction")
            here = seen.at(place * (self.inputs * lanes))
            if self.flat:
                inputs = [here.load(i * lanes, lanes) for i in range(self.inputs)]
            else:
                inputs = group.load(x.at(place * f.arg("x_step")), of_x, self.inputs)
                for i, value in enumerate(inputs):
                    here.store(value, i * lanes)
            after = states.at((t + 1) * (len(state) * lanes))
            kept = saved.at(t * (cell.saved * hidden * lanes))
            made = self._units(f, inputs, state, after, kept)
            group.store(made[:hidden], y.at(place * (f.arg("batch") * hidden)), of_y)
            return made

        last = f.loop(0, f.arg("steps"), step, 1, first)
        for s in range(cell.states):
            own = last[s * hidden : (s + 1) * hidden]
            group.store(own, f.pointer(f"last{s}", element), of_y)

    def _units(
        self,
        f: Function,
        inputs: list[Value],
        state: Sequence[Value],
        after: Pointer,
        kept: Pointer,
    ) -> list[Value]:
        """The states after a step, unit by unit."""
        cell, hidden = CELLS[self.cell], self.hidden
        lanes = state[0].lanes
        w_ih, w_hh, b_ih, b_hh = (
            f.pointer(n, self.element) for n in ("w_ih", "w_hh", "b_ih", "b_hh")
        )
        made: list[list[Value]] = [[] for _ in range(cell.states)]
        for unit in range(hidden):
            ax, ah = [], []
            for gate in range(cell.gates):
                row = gate * hidden + unit
                by_input, by_state = b_ih.broadcast(row, lanes), b_hh.broadcast(row, lanes)
                for i, value in enumerate(inputs):
                    by_input = f.fma(value, w_ih.broadcast(row * self.inputs + i, lanes), by_input)
                for i, value in enumerate(state[:hidden]):
                    by_state = f.fma(value, w_hh.broadcast(row * hidden + i, lanes), by_state)
                ax.append(by_input)
                ah.append(by_state)
            new, remembered = cell.forward(f, ax, ah, state[unit::hidden])
            for s, value in enumerate(new):
                made[s].append(value)
                after.store(value, (s * hidden + unit) * lanes)
            for s, value in enumerate(remembered):
                kept.store(value, (s * hidden + unit) * lanes)
        return [value for values in made for value in values]


# ---------------------------------------------------------------- backward


_SUMS = "to_w_ih to_w_hh to_b_ih to_b_hh"


@dataclass(frozen=True)
class LanesBackward:
    """Gradients through all steps of a batch of sequences, and sums for the weights.

    `grads` says how the output's gradient lies: "flat", "steps" or "none". A piece is `piece`
    groups. The work space holds the sums of each piece; then scratch for a group, `apart` elements
    from that of the next piece, or 0 if one thread works: the output's gradient by column, `moved`
    of every step, and the input's gradient.
    """

    cell: str
    element: str
    inputs: int
    hidden: int
    flat: bool
    grads: str
    to_input: bool
    to_weights: bool

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernel, and its entry for Python."""
        return ("kernel", "kernel_entry")

    @property
    def params(self) -> dict[str, str]:
        """Parameters and their types."""
        states = CELLS[self.cell].states
        return _params(
            f"dy {_numbered('last', states)} w_ih w_hh tape dx {_numbered('first', states)} work {_SUMS}",
            "batch steps start direction dy_row dy_step dx_row dx_step piece pieces apart",
        )

    @property
    def kernel_kinds(self) -> list[str]:
        """What Python passes: the pool's address or 0, and these."""
        return ["int", *_kinds(self.params)]

    @property
    def row(self) -> int:
        """Sums for one gradient of `moved`: with the state, the input, and one."""
        return self.hidden + self.inputs + 1

    @property
    def sums(self) -> int:
        """How many vectors of sums there are."""
        return CELLS[self.cell].grads * self.hidden * self.row

    def scratch_vectors(self, lanes: int) -> tuple[int, int]:
        """Vectors of scratch: a number, and another for each step."""
        moved = CELLS[self.cell].grads * self.hidden
        return 2 * lanes, self.hidden + self.inputs + moved

    def write(self, module: Module) -> None:
        """The kernel: all pieces, then their sums over lanes; and its entry."""
        lanes, element = module.lanes(self.element), self.element
        part = module.function("part", "void", True, (), **self.params, begin="i64", end="i64")
        part.loop(part.arg("begin"), part.arg("end"), lambda number: self._piece(part, number))
        part.ret()
        f = module.function("kernel", "void", False, (), pool="i64", **self.params)
        pieces = f.arg("pieces")
        f.call(ranges(module, part), f.arg("pool"), *map(f.arg, self.params), pieces, 1)
        if self.to_weights:
            work = f.pointer("work", element)

            def add(i: Value) -> None:
                def another(p: Value, total: Value) -> list[Value]:
                    return [total + work.load((p * self.sums + i) * lanes, lanes)]

                (total,) = f.loop(1, pieces, another, 1, [work.load(i * lanes, lanes)])
                work.store(total, i * lanes)

            f.when(pieces > 1, lambda: f.loop(0, self.sums, add) and None)
            self._finish(f)
        f.ret()
        call.write_entry(module, "kernel_entry", f, self.kernel_kinds)

    def _piece(self, f: Function, number: Value) -> None:
        """Some groups, and their sums."""
        lanes, get = f.module.lanes(self.element), f.arg
        work = f.pointer("work", self.element)
        sums = work.at(number * (self.sums * lanes))
        scratch = work.at(get("pieces") * (self.sums * lanes) + number * get("apart"))
        if self.to_weights:
            nothing = f.const(0.0, vector(self.element, lanes))
            f.loop(0, self.sums, lambda i: sums.store(nothing, i * lanes))
        first = number * get("piece")
        last = f.minimum(first + get("piece"), (get("batch") + (lanes - 1)) // lanes)
        f.loop(first, last, lambda group: self._group(f, group, sums, scratch))

    def _group(self, f: Function, number: Value, sums: Pointer, arrived: Pointer) -> None:
        cell, element, hidden = CELLS[self.cell], self.element, self.hidden
        group = _Group(f, element, number)
        lanes = group.lanes
        steps = f.arg("steps")
        seen, states, saved = _tape(f, element, cell, self.inputs, hidden, number)
        slots = cell.grads * hidden
        moved = arrived.at((steps * hidden + lanes) * lanes)
        to_x = moved.at(steps * (slots * lanes))
        dy, dx = f.pointer("dy", element), f.pointer("dx", element)
        of_dy, of_dx = group.offsets(f.arg("dy_row")), group.offsets(f.arg("dx_row"))
        of_state = group.offsets(hidden)
        live = group.live()
        if self.grads == "flat":
            group.load_all(dy, of_dy, steps * hidden, arrived)
        last: list[Value] = []
        for s in range(cell.states):
            last += group.load(f.pointer(f"last{s}", element), of_state, hidden)

        def step(back: Value, *grad: Value) -> list[Value]:
            t = (steps - 1) - back
            place = f.arg("start") + t * f.arg("direction")
            here = list(grad)
            if self.grads != "none":
                if self.grads == "flat":
                    own = arrived.at(place * (hidden * lanes))
                    new = [own.load(i * lanes, lanes) for i in range(hidden)]
                else:
                    new = group.load(dy.at(place * f.arg("dy_step")), of_dy, hidden)
                here[:hidden] = [a + b for a, b in zip(here, new, strict=False)]
            changes, before = self._units(f, t, here, saved, states, lanes)
            target = moved.at(t * (slots * lanes))
            for i, change in enumerate(changes):
                target.store(live.select(change, 0.0), i * lanes)
            if self.to_input:
                given = self._through(f, "w_ih", changes, cell.of_input, self.inputs, None)
                if self.flat:
                    own = to_x.at(place * (self.inputs * lanes))
                    for i, value in enumerate(given):
                        own.store(value, i * lanes)
                else:
                    group.store(given, dx.at(place * f.arg("dx_step")), of_dx)
            before[:hidden] = self._through(
                f, "w_hh", changes, cell.of_hidden, hidden, before[:hidden]
            )
            return before

        first = f.loop(0, steps, step, 1, last)
        for s in range(cell.states):
            own = first[s * hidden : (s + 1) * hidden]
            group.store(own, f.pointer(f"first{s}", element), of_state)
        if self.to_input and self.flat:
            group.store_all(to_x, dx, of_dx, steps * self.inputs)
        if self.to_weights:
            self._add_up(f, sums, moved, seen, states, lanes)

    def _units(
        self, f: Function, t: Value, here: list[Value], saved: Pointer, states: Pointer, lanes: int
    ) -> tuple[list[Value], list[Value]]:
        """`moved` of a step, and what reaches the states before it past the gates."""
        cell, hidden = CELLS[self.cell], self.hidden
        count = cell.states * hidden
        kept = saved.at(t * (cell.saved * hidden * lanes))
        old, new = states.at(t * (count * lanes)), states.at((t + 1) * (count * lanes))
        changes: list[list[Value]] = [[] for _ in range(cell.grads)]
        past: list[list[Value]] = [[] for _ in range(cell.states)]
        for unit in range(hidden):
            remembered = [kept.load((s * hidden + unit) * lanes, lanes) for s in range(cell.saved)]
            before = [old.load((s * hidden + unit) * lanes, lanes) for s in range(cell.states)]
            after = [new.load((s * hidden + unit) * lanes, lanes) for s in range(cell.states)]
            moved, through = cell.backward(f, remembered, before, after, here[unit::hidden])
            for values, value in zip(changes, moved, strict=True):
                values.append(value)
            for values, value in zip(past, through, strict=True):
                values.append(value)
        return [v for values in changes for v in values], [v for values in past for v in values]

    def _through(
        self, f: Function, name: str, changes: list[Value], places: tuple[int, ...], count: int,
        total: list[Value] | None,
    ) -> list[Value]:  # fmt: skip
        """The transposed weights times `changes`, added to `total`."""
        hidden, lanes = self.hidden, changes[0].lanes
        weight = f.pointer(name, self.element)
        made = []
        for column in range(count):
            value = f.const(0.0, changes[0].type) if total is None else total[column]
            for gate, place in enumerate(places):
                for unit in range(hidden):
                    w = weight.broadcast((gate * hidden + unit) * count + column, lanes)
                    value = f.fma(changes[place * hidden + unit], w, value)
            made.append(value)
        return made

    # ------------------------------------------------------------ gradients of the weights

    def _runs(self) -> list[tuple[int, int, list[int]]]:
        """Rows of `moved` (first, count) and the columns of (state, input, one) they meet."""
        cell, hidden = CELLS[self.cell], self.hidden
        runs: list[tuple[int, int, list[int]]] = []
        for block in range(cell.grads):
            columns = list(range(hidden)) if block in cell.of_hidden else []
            columns += range(hidden, self.row - 1) if block in cell.of_input else []
            columns.append(self.row - 1)
            if runs and runs[-1][2] == columns:
                first, count, _ = runs.pop()
                runs.append((first, count + hidden, columns))
            else:
                runs.append((block * hidden, hidden, columns))
        return runs

    def _add_up(
        self, f: Function, sums: Pointer, moved: Pointer, seen: Pointer, states: Pointer, lanes: int
    ) -> None:
        """Adds this group's share to the sums, those of a tile in registers over all steps."""
        rows, columns = (4, 5) if f.module.machine.registers >= 32 else (3, 3)
        for start, count, met in self._runs():
            for some in _cut(met, columns):
                for first, height, times in _pieces(count, rows):
                    f.loop(
                        0,
                        times,
                        lambda i, first=start + first, height=height, some=some: self._tile(
                            f, sums, i * height + first, height, some, moved, seen, states, lanes
                        ),
                    )

    def _tile(
        self, f: Function, sums: Pointer, row: Value, height: int, columns: list[int],
        moved: Pointer, seen: Pointer, states: Pointer, lanes: int,
    ) -> None:  # fmt: skip
        cell, hidden = CELLS[self.cell], self.hidden
        state_size, moved_size = cell.states * hidden * lanes, cell.grads * hidden * lanes
        sums = sums.at(row * (self.row * lanes))
        changes = moved.at(row * lanes)
        places = [(r * self.row + c) * lanes for r in range(height) for c in columns]

        def step(t: Value, *totals: Value) -> list[Value]:
            change = changes.at(t * moved_size)
            place = f.arg("start") + t * f.arg("direction")
            state, x = states.at(t * state_size), seen.at(place * (self.inputs * lanes))
            factors: list[Value | None] = []
            for c in columns:
                if c < hidden:
                    factors.append(state.load(c * lanes, lanes))
                elif c < self.row - 1:
                    factors.append(x.load((c - hidden) * lanes, lanes))
                else:
                    factors.append(None)
            rows = [change.load(r * lanes, lanes) for r in range(height)]
            pairs = [(a, b) for a in rows for b in factors]
            return [
                total + a if b is None else f.fma(a, b, total)
                for (a, b), total in zip(pairs, totals, strict=True)
            ]

        new = f.loop(0, f.arg("steps"), step, 1, [sums.load(at, lanes) for at in places])
        for at, value in zip(places, new, strict=True):
            sums.store(value, at)

    def _finish(self, f: Function) -> None:
        """The sums over lanes, to the weights' gradients."""
        cell, hidden, lanes = CELLS[self.cell], self.hidden, f.module.lanes(self.element)
        work = f.pointer("work", self.element)

        def total(place: int, unit: Value, column: Any) -> Value:
            row = (unit + place * hidden) * self.row
            return work.load((row + column) * lanes, lanes).sum()

        def one(unit: Value) -> None:
            parts = (
                ("ih", cell.of_input, hidden, self.inputs),
                ("hh", cell.of_hidden, 0, hidden),
            )
            for name, places, first, count in parts:
                weight = f.pointer(f"to_w_{name}", self.element)
                bias = f.pointer(f"to_b_{name}", self.element)
                for gate, place in enumerate(places):
                    row = unit + gate * hidden

                    def column(c: Value, row: Any = row, place: int = place, first: int = first,
                               weight: Pointer = weight, count: int = count) -> None:  # fmt: skip
                        weight.store(total(place, unit, c + first), row * count + c)

                    f.loop(0, count, column)
                    bias.store(total(place, unit, self.row - 1), row)

        f.loop(0, hidden, one)


def _cut(items: list[int], most: int) -> list[list[int]]:
    """Near-equal pieces of at most `most`."""
    count = -(-len(items) // most)
    ends = [len(items) * i // count for i in range(count + 1)]
    return [items[a:b] for a, b in pairwise(ends)]


def _pieces(total: int, most: int) -> list[tuple[int, int, int]]:
    """`total` in near-equal pieces of at most `most`: (first, size, how many), two entries at most."""
    count = -(-total // most)
    size, larger = divmod(total, count)
    cut = ((0, size + 1, larger), (larger * (size + 1), size, count - larger))
    return [piece for piece in cut if piece[2]]
