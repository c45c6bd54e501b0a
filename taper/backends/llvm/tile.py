"""The register tile of a matrix product: some rows times one or two vectors of columns of C.

A tile reads `rows` numbers of A and `vecs` vectors of B for each step along k and keeps all of its
sums in registers. Every sum is one chain of fused multiply-adds in the order of k, whatever the
tile, so a result does not depend on which tile it fell into.

gemm.py says which tiles cover a matrix; pack.py copies operands into the order that tiles like.
"""

from __future__ import annotations

from typing import Any

from taper.backends.llvm.machine import Machine
from taper.backends.llvm.text import Function, Module, Pointer, Value, vector

VECS = 2
# Rows that share a base address: x86 reaches base, base + row and base + 2 row in one instruction,
# and there are not enough registers for an address of every row.
_ROWS_PER_BASE = 3


def most_rows(machine: Machine) -> int:
    """The tallest tile: its sums, a row of B and a number of A fill the vector registers."""
    return (machine.registers - 1 - VECS) // VECS


def heights(machine: Machine) -> list[int]:
    """The heights that tiles are made of: even ones, and 3 and 1 for an odd number of rows."""
    return [1, 2, 3, *range(4, most_rows(machine) + 1, 2)]


def tile(module: Module, element: str, word: str, rows: int, vecs: int, a_along_k: bool, relu: bool,
         edge: bool) -> Function:  # fmt: skip
    """The function that computes one tile over one block of k.

    C[i, j] = seed[i, j] + sum over k of A[i, k] B[k, j]. `a_row`, `b_row`, `c_row`, `seed_row` are
    strides in elements: of A the distance of rows if they run along k, else that of columns; of
    seed, 0 makes it a bias. `seeded` and `last` are 0 or 1; relu waits for the last block. `columns`
    are those of the last vector, where `edge`. A and B are words (pack.py): of `element`, or pairs of
    bfloat16 in an i32, multiplied by an instruction that takes denormals for 0.
    """

    def write(f: Function) -> None:
        _write(f, module, element, word, rows, vecs, a_along_k, relu, edge)

    name = f"tile{rows}x{vecs}{'k' if a_along_k else 'm'}{'r' * relu}{'e' * edge}_{element}"
    return module.once(
        name, write, aliased=("c", "seed"), a="ptr", b="ptr", c="ptr", seed="ptr", k="i64", a_row="i64", b_row="i64",
        c_row="i64", seed_row="i64", seeded="i64", last="i64", columns="i64",
    )  # fmt: skip


def _write(f: Function, module: Module, element: str, word: str, rows: int, vecs: int, a_along_k: bool,
           relu: bool, edge: bool) -> None:  # fmt: skip
    lanes = module.lanes(element)
    kind = vector(element, lanes)
    a, b = f.pointer("a", word), f.pointer("b", word)
    a_row, b_row = f.arg("a_row"), f.arg("b_row")
    masks: list[Value | None] = [None] * vecs
    if edge:
        masks[-1] = f.mask(f.arg("columns"), lanes)
    bases = [a]
    if a_along_k:
        bases = [a.at(a_row * i) for i in range(0, rows, _ROWS_PER_BASE)]
    twice = a_row * 2 if a_along_k and rows > 2 else a_row

    def number(heads: list[Pointer], i: int) -> Value:
        if not a_along_k:
            return heads[0].broadcast(i, lanes)
        base, within = divmod(i, _ROWS_PER_BASE)
        return heads[base].broadcast((0, a_row, twice)[within], lanes)

    def step(_: Value, b_at: Value, *carried: Value) -> list[Any]:
        row = b_at.pointer(word)
        heads = [v.pointer(word) for v in carried[: len(bases)]]
        sums = carried[len(bases) :]
        columns = [row.load(j * lanes, lanes, masks[j]) for j in range(vecs)]
        made = []
        for i in range(rows):
            x = number(heads, i)
            made += [_multiply(f, x, columns[j], sums[i * vecs + j]) for j in range(vecs)]
        onward = [head.at(1 if a_along_k else a_row) for head in heads]
        return [row.at(b_row).address, *(p.address for p in onward), *made]

    start = [p.address for p in (b, *bases)] + [f.const(0.0, kind)] * (rows * vecs)
    sums = f.loop(0, f.arg("k"), step, 1, start)[1 + len(bases) :]

    def each_row(base: str, stride: str) -> list[Pointer]:
        heads = [f.pointer(base, element)]
        while len(heads) < rows:
            heads.append(heads[-1].at(f.arg(stride)))
        return heads

    def add_seed(_: Value, *sums: Value) -> list[Value]:
        heads = each_row("seed", "seed_row")
        return [
            x + heads[i // vecs].load(i % vecs * lanes, lanes, masks[i % vecs])
            for i, x in enumerate(sums)
        ]

    def clip(_: Value, *sums: Value) -> list[Value]:
        # This order of the operands keeps nan, and is one instruction.
        return [f.maximum(0.0, x) for x in sums]

    # A loop of no or one round is a condition through which values pass.
    sums = f.loop(0, f.arg("seeded"), add_seed, 1, sums)
    if relu:
        sums = f.loop(0, f.arg("last"), clip, 1, sums)
    for i, head in enumerate(each_row("c", "c_row")):
        for j in range(vecs):
            head.store(sums[i * vecs + j], j * lanes, masks[j])
    f.ret()


def _multiply(f: Function, x: Value, y: Value, total: Value) -> Value:
    """x * y + total; of pairs, both products."""
    if x.element != "i32":
        return f.fma(x, y, total)
    pairs = vector("bfloat", 2 * x.lanes)
    x, y = (f.emit(pairs, f"bitcast {z.type} {z.name} to {pairs}") for z in (x, y))
    return f.intrinsic("llvm.x86.avx512bf16.dpbf16ps.512", total.type, total, x, y)
