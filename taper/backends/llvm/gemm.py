"""Matrix products: C = relu(A @ B + seed), for all sizes and strides with one kernel.

Nothing is specialised to a shape: a product of any size runs code that was compiled once, because
only the tiles (tile.py) are worth unrolling, and their loops do not care how often they run. What a
shape decides, how it is cut into blocks and which operands are copied, is a row of integers: `Plan`.

Three loops, from the outside: blocks of columns, so that a block of B stays in the second-level
cache or little beyond; blocks of k, so that the rows of a tile stay near; rows of tiles, each of
which reads its rows of A once and the block of B from its beginning to its end. Rows are shared out
evenly, 64 as 14 + 14 + 12 + 12 + 12 and never as 14 + 14 + 14 + 14 + 8: a low tile is a slow one.

Within a block of k an element's sum runs in order, one fused multiply-add after the other; the sums
of blocks are added in order to the seed. So it depends on k alone, neither on the number of rows nor
on where the element stands nor on the threads. It differs from numpy's in rounding only.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from taper.backends.llvm import call
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.pack import Words, least, pack_panel, pack_rows
from taper.backends.llvm.pool import MOST_PIECES, ranges
from taper.backends.llvm.text import SIZES, Function, Module, Pointer, Value
from taper.backends.llvm.tile import VECS, heights, most_rows, tile

# Bytes of a tile's row of A in a block of k. Twice as many gain 1 % at most where k runs along A and
# lose 3 % where rows do (1024^3, both dtypes, on a Zen 4).
BLOCK_K = 1536
# Rows this many bytes apart compete for the same few sets of the first-level cache: those of B at
# half a way already, the 14 of a tile of A at a whole one.
_ALIAS, _WAY = 2048, 4096

KINDS = ("int", "array", "array", "array", "array", "array", "array", "int", "int")


def _up(x: int, unit: int) -> int:
    return -(-x // unit) * unit


@dataclass(frozen=True)
class Plan:
    """How a product of a certain shape runs; sizes and strides in elements, the order is the kernel's.

    `a_row` and `b_row` are the strides of the dimension that does not run along memory. `pack_b` is
    the least number of rows for which B is copied. The batched kernel reads the rest too; its
    threads share the workspace, `slots` parts of `slot` elements.
    """

    n: int
    k: int
    block_n: int
    block_k: int
    a_row: int
    b_row: int
    c_row: int
    seed_row: int
    seeded: int
    pack_a: int
    pack_b: int
    rows: int = 0
    a_batch: int = 0
    b_batch: int = 0
    c_batch: int = 0
    seed_batch: int = 0
    slots: int = 1
    slot: int = 0

    def numbers(self) -> np.ndarray:
        """What the kernel reads."""
        return np.array([getattr(self, field.name) for field in fields(self)], np.int64)


@dataclass(frozen=True)
class Gemm:
    """C[i, j] = seed[i, j] + sum over k of A[i, k] B[k, j], relu'd if asked.

    `element` is "float" or "double". With "float", A and B may be `stored` as "half" or "bfloat";
    the sums, seed and C are float32 all the same, and with the processor's own instruction for
    bfloat16 (machine.has_bf16_dot) numbers below 1.2e-38 in size count as 0. `a_along_k` says that k runs along A's memory (else rows do),
    `b_along_n` that columns run along B's (else k does: a weight as nn.Linear keeps it).

    product(pool, A, B, C, seed, work, plan, begin, end) computes the rows from `begin` up to `end`;
    batched(...) the matrices of a batch from `begin` up to `end`. `pool` is the address of the
    threads that help, or 0. `seed` may be C itself, to add to what is there, or a bias (seed_row 0).
    `work` holds `workspace` elements; only one call at a time may have it.
    """

    element: str
    a_along_k: bool = True
    b_along_n: bool = True
    relu: bool = False
    stored: str = ""

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernels, and their entries for Python."""
        return ("product", "batched", "product_entry", "batched_entry")

    def plan(self, machine: Machine, n: int, k: int, a_row: int, b_row: int, c_row: int,
             seed_row: int | None = None, **batch: int) -> Plan:  # fmt: skip
        """The plan of a shape. `seed_row` is None if there is no seed."""
        words = self.words(machine)
        size = SIZES[words.kind]
        lanes = machine.lanes(size)
        width = VECS * lanes
        most = BLOCK_K // size * words.steps
        block_k = _up(-(-k // max(1, -(-k // most))), lanes) if k > most else max(k, 1)
        padded = _up(-(-block_k // words.steps), lanes)
        block_n = max(width, self._room(machine) // padded // width * width)
        block_n = _up(-(-n // max(1, -(-n // block_n))), width)
        # Where rows of A run along memory, a step of k reads a line or two, copied or not.
        a_aliased = a_row * size % _WAY == 0 and k > lanes
        pack_a = self.a_along_k and n > 2 * width and (a_aliased or n > 8 * width)
        if not self.b_along_n:
            pack_b = 0
        elif k * n * size > machine.l2 // 2 or (b_row * size % _ALIAS == 0 and k > 64):
            pack_b = 2 * most_rows(machine)
        else:
            pack_b = 1 << 62
        if self.stored:
            pack_a, pack_b = True, 0
        if batch:
            batch["slot"] = padded * min(block_n, _up(n, width))
            batch["slots"] = min(MOST_PIECES, self.workspace(machine) // max(1, batch["slot"]))
        return Plan(n, k, block_n, block_k, a_row, b_row, c_row, seed_row or 0,
                    int(seed_row is not None), int(pack_a), pack_b, **batch)  # fmt: skip

    def words(self, machine: Machine) -> Words:
        """What the tiles read of A and B."""
        return Words.of(machine, self.element, self.stored or self.element)

    def workspace(self, machine: Machine) -> int:
        """Elements of scratch memory that the kernel wants, for a block of B."""
        lanes = machine.lanes(SIZES[self.element])
        panel = VECS * lanes * _up(BLOCK_K // SIZES[self.element], lanes)
        return max(panel, self._room(machine))

    def _room(self, machine: Machine) -> int:
        """Elements of a block of B.

        At half as much again as the second-level cache holds, reading the block anew for each tile
        costs less than copying A for more blocks (2048^3 on a Zen 4: 96 % of the peak of that
        moment, and 91 % with half of that cache).
        """
        return machine.l2 * 3 // 2 // SIZES[self.element]

    def interpret(self, a: np.ndarray, b: np.ndarray, seed: np.ndarray | None = None) -> np.ndarray:
        """The meaning, in numpy."""
        c = np.matmul(a, b)
        if seed is not None:
            c = c + seed
        return np.maximum(c, 0) if self.relu else c

    def write(self, module: Module) -> None:
        """The kernels."""
        Writer(module, self).write()


def _ceil(x: Value, unit: Any) -> Value:
    """How many units cover x."""
    return (x + (unit - 1)) // unit


# What the functions below hand down to the tiles: sizes of the block, strides, switches.
_BLOCK: dict[str, Any] = dict.fromkeys(
    ("n", "k", "a_row", "b_row", "panel", "c_row", "seed_row", "seeded", "last", "pack_a"), "i64"
)
_OPERANDS: dict[str, Any] = dict.fromkeys(("a", "b", "c", "seed"), "ptr")
_RANGE: dict[str, Any] = {"begin": "i64", "end": "i64"}
_FIELDS = tuple(field.name for field in fields(Plan))
# The shape of one product: all of the plan but what concerns batches.
_SHAPE: dict[str, Any] = dict.fromkeys(_FIELDS[: _FIELDS.index("rows")], "i64")


class Writer:
    """Writes the loops around the tiles: blocks, rows of a block, tiles of one height."""

    def __init__(self, module: Module, spec: Gemm) -> None:
        self.module, self.spec, self.element = module, spec, spec.element
        self.lanes = module.lanes(spec.element)
        self.width = VECS * self.lanes
        self.most = most_rows(module.machine)
        self.words = spec.words(module.machine)

    def function(self, name: str, params: dict[str, Any], internal: bool = True) -> Function:
        """A function with operands among its parameters, of which the seed may be the result."""
        if internal:
            name += f"_{'k' if self.spec.a_along_k else 'm'}{'n' if self.spec.b_along_n else 'k'}"
        return self.module.function(name, "void", internal, ("c", "seed"), **params)

    def operands(self, f: Function) -> list[Pointer]:
        """A, B, C and the seed."""
        stored = self.words.stored
        kinds = (stored, stored, self.element, self.element)
        return [f.pointer(name, kind) for name, kind in zip(_OPERANDS, kinds, strict=True)]

    def rows_of_a(self, count: Value, stride: Value) -> Value:
        """How far apart rows of A are."""
        return count * stride if self.spec.a_along_k else count

    def write(self) -> None:
        """The kernels and their entries."""
        blocks = self.blocks()
        given = {"pool": "i64", **_OPERANDS, "work": "ptr", "plan": "ptr", **_RANGE}
        for name, run in (("product", self.product), ("batched", self.batched)):
            f = self.function(name, given, False)
            plan = f.pointer("plan", "i64")
            run(f, blocks, {field: plan.load(i) for i, field in enumerate(_FIELDS)})
            f.ret()
            call.write_entry(self.module, name + "_entry", f, KINDS)

    def product(self, f: Function, blocks: Function, plan: dict[str, Value]) -> None:
        """A range of rows."""
        begin = f.arg("begin")
        a, b, c, seed = self.operands(f)
        f.call(
            blocks, f.arg("pool"), a.at(self.rows_of_a(begin, plan["a_row"])), b,
            c.at(begin * plan["c_row"]), seed.at(begin * plan["seed_row"]), f.arg("work"),
            f.arg("end") - begin, *(plan[field] for field in _SHAPE),
        )  # fmt: skip

    def batched(self, f: Function, blocks: Function, plan: dict[str, Value]) -> None:
        """A range of matrices: each has one thread, and each thread a part of the workspace."""
        names = [name + "_batch" for name in _OPERANDS]
        own = dict.fromkeys([*names, "rows", *_SHAPE, "slot", "piece"], "i64")
        each = self.function("matrices", {**_OPERANDS, "work": "ptr", **own, **_RANGE})
        get = each.arg
        part = each.pointer("work", self.words.kind).at(get("begin") // get("piece") * get("slot"))

        def one(i: Value) -> None:
            moved = [
                p.at(i * get(name)) for p, name in zip(self.operands(each), names, strict=True)
            ]
            each.call(blocks, 0, *moved, part, get("rows"), *map(get, _SHAPE))

        each.loop(get("begin"), get("end"), one)
        each.ret()

        begin = f.arg("begin")
        total = f.arg("end") - begin
        size = f.maximum(_ceil(total, plan["slots"]), 1)
        f.call(
            ranges(self.module, each), f.arg("pool"),
            *(p.at(begin * plan[name]) for p, name in zip(self.operands(f), names, strict=True)),
            f.arg("work"), *(plan.get(field, size) for field in own), total, size,
        )  # fmt: skip

    # ------------------------------------------------------------ blocks

    def blocks(self) -> Function:
        """The whole product: blocks of columns, and blocks of k in each."""
        f = self.function(
            "blocks", {"pool": "i64", **_OPERANDS, "work": "ptr", "rows": "i64", **_SHAPE}
        )
        get, rows, pool = f.arg, f.arg("rows"), f.arg("pool")
        a, b, c, seed = self.operands(f)
        panels = f.pointer("work", self.words.kind)
        some_rows, pack = ranges(self.module, self.some_rows()), ranges(self.module, self.pack())
        one, width = f.const(1, "i64"), f.const(self.width, "i64")
        along_k = _ceil(get("k"), get("block_k"))
        rounds = (along_k < 1).select(one, along_k)  # without any k there is still a seed
        packs = rows >= get("pack_b")
        piece = _ceil(_ceil(rows, MOST_PIECES), 2 * self.most) * (2 * self.most)

        def column_block(t: Value) -> None:
            column = t * get("block_n")
            n = least(get("n") - column, get("block_n"))

            def k_block(p: Value) -> None:
                start = p * get("block_k")
                k = least(get("k") - start, get("block_k"))
                first, last = p.equals(0), p.equals(rounds - 1).cast("zext", "i64")
                along, across = (start, column) if self.spec.b_along_n else (column, start)
                here = b.at(along * get("b_row") + across)
                count = _ceil(n, self.width)
                f.when(
                    packs,
                    lambda: f.call(
                        pack, pool, here, panels, n, k, get("b_row"), count,
                        _ceil(count, MOST_PIECES),
                    ),
                )  # fmt: skip
                room = self.panel(k)
                block = {
                    **{name: get(name) for name in ("a_row", "c_row", "pack_a")},
                    "n": n,
                    "k": k,
                    "b_row": packs.select(width, get("b_row")),
                    "panel": packs.select(room, width),
                    # Blocks of k after the first add to what is there.
                    "seed_row": first.select(get("seed_row"), get("c_row")),
                    "seeded": first.select(get("seeded"), one),
                    "last": last,
                }
                f.call(
                    some_rows, pool, a.at(start if self.spec.a_along_k else start * get("a_row")),
                    packs.select(panels.address, here.address), c.at(column),
                    first.select(seed.at(column).address, c.at(column).address),
                    *(block[name] for name in _BLOCK), rows, piece,
                )  # fmt: skip

            f.loop(0, rounds, k_block)

        f.when(rows > 0, lambda: f.loop(0, _ceil(get("n"), get("block_n")), column_block) and None)
        f.ret()
        return f

    def panel(self, k: Value) -> Value:
        """Words of a panel of B."""
        return _ceil(self.words.count(k), self.lanes) * (self.lanes * self.width)

    def pack(self) -> Function:
        """Copies a range of the panels of a block of B."""
        copy = pack_panel(self.module, self.words, self.spec.b_along_n)
        sizes: dict[str, Any] = dict.fromkeys(("n", "k", "b_row"), "i64")
        f = self.module.function("pack", internal=True, b="ptr", to="ptr", **sizes, **_RANGE)
        b, to = f.pointer("b", self.words.stored), f.pointer("to", self.words.kind)
        n, k, b_row = f.arg("n"), f.arg("k"), f.arg("b_row")
        room = self.panel(k)

        def panel(i: Value) -> None:
            column = i * self.width
            place = b.at(column if self.spec.b_along_n else column * b_row)
            f.call(copy, place, to.at(i * room), b_row, least(n - column, self.width), k)

        f.loop(f.arg("begin"), f.arg("end"), panel)
        f.ret()
        return f

    # ------------------------------------------------------------ tiles

    def some_rows(self) -> Function:
        """A range of the rows of a block, cut into tiles of at most three heights."""
        strip = self.strip()
        f = self.function("some_rows", {**_OPERANDS, **_BLOCK, **_RANGE})
        get, begin = f.arg, f.arg("begin")
        rows = get("end") - begin
        work = f.local(self.rows_room(), self.words.kind)
        zero = f.const(0, "i64")
        # Pairs of rows are shared out evenly; an odd row makes a last tile of three, or of one.
        odd = (rows % 2).equals(0).select(zero, least(rows, 3))
        pairs = (rows - odd) // 2
        tiles = _ceil(pairs, self.most // 2)
        divisor = (tiles < 1).select(f.const(1, "i64"), tiles)
        height, taller = pairs // divisor * 2, pairs % divisor
        a, b, c, seed = self.operands(f)
        for tall, count, start in (
            (height + 2, taller, begin),
            (height, tiles - taller, begin + taller * (height + 2)),
            (odd, (odd > 0).cast("zext", "i64"), get("end") - odd),
        ):
            f.call(
                strip, a.at(self.rows_of_a(start, get("a_row"))), b, c.at(start * get("c_row")),
                seed.at(start * get("seed_row")), work, tall, count, *map(get, _BLOCK),
            )  # fmt: skip
        f.ret()
        return f

    def rows_room(self) -> int:
        """Elements of the copy of a tile's rows of A."""
        rows = _up(self.most, self.lanes)
        return rows * (BLOCK_K // SIZES[self.element] + 3 * self.lanes)

    def strip(self) -> Function:
        """`count` tiles of one height, one below the other, over all panels of the block."""
        module, spec = self.module, self.spec
        f = self.function(
            "strip", {**_OPERANDS, "work": "ptr", "height": "i64", "count": "i64", **_BLOCK}
        )
        get, height, n = f.arg, f.arg("height"), f.arg("n")
        lanes, width = self.lanes, self.width
        # Masks cost nothing with AVX-512: the same tile serves whole panels and the last one.
        masked = module.machine.target == "avx512"
        tiles = {
            key: self.tile_of(f, height, *key)
            for key in dict.fromkeys([(VECS, masked), (VECS, True), (1, True)])
        }
        copy = pack_rows(module, self.words, spec.a_along_k)
        packs = get("pack_a") > 0
        steps = self.words.count(get("k"))
        pitch: Any = f.const(_up(self.most, lanes), "i64")
        if spec.a_along_k:
            # An odd number of cache lines apart, rows do not compete.
            pitch = _ceil(steps, 2 * lanes) * (2 * lanes) + lanes
        whole = n // width
        rest = n - whole * width

        def row_of_tiles(t: Value) -> None:
            row = t * height
            a, b, c, seed = self.operands(f)
            words = b.as_(self.words.kind)
            work = f.pointer("work", self.words.kind)
            a = a.at(self.rows_of_a(row, get("a_row")))
            c, seed = c.at(row * get("c_row")), seed.at(row * get("seed_row"))
            f.when(packs, lambda: f.call(copy, a, work, get("a_row"), pitch, height, get("k")))
            a_at = packs.select(work.address, a.address)
            a_row = packs.select(pitch, get("a_row"))

            def compute(panel: Value, vecs: int, edge: bool, columns: Any) -> None:
                like, address = tiles[vecs, edge]
                column = panel * width
                f.call(
                    like, a_at, words.at(panel * get("panel")), c.at(column), seed.at(column), steps,
                    a_row, get("b_row"), get("c_row"), get("seed_row"), get("seeded"), get("last"),
                    columns, at=address,
                )  # fmt: skip

            f.loop(0, whole, lambda p: compute(p, VECS, masked, lanes))
            f.when(rest > lanes, lambda: compute(whole, VECS, True, rest - lanes))
            f.when((rest > 0) & (rest <= lanes), lambda: compute(whole, 1, True, rest))

        f.loop(0, get("count"), row_of_tiles)
        f.ret()
        return f

    def tile_of(self, f: Function, height: Value, vecs: int, edge: bool) -> tuple[Function, Value]:
        """A tile, and the address of the one that is as high as asked."""
        module, spec = self.module, self.spec
        word, relu, along_k = self.words.kind, spec.relu, spec.a_along_k
        made = [
            tile(module, self.element, word, rows, vecs, along_k, relu, edge)
            for rows in heights(module.machine)
        ]
        address = Value(f, "@" + made[0].name, "ptr")
        for rows, each in zip(heights(module.machine), made, strict=True):
            address = height.equals(rows).select(Value(f, "@" + each.name, "ptr"), address)
        return made[0], address
