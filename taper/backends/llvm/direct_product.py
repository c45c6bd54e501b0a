"""Small matrix products start to end in machine code: checks, result and tiles in one built-in.

Of a product of 64 x 8 by 8 x 8, Python's questions about shapes, strides and dtypes take three times
as long as the arithmetic. Here machine code asks them, as in direct.py: what does not fit is answered
with None before anything is done, and the caller goes the general way (functions/gemm.py). The tiles
are the same, and so are the bits.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm.dots import MOST_COLUMNS
from taper.backends.llvm.gemm import BLOCK_K, Gemm, Writer
from taper.backends.llvm.objects import (
    ARRAY,
    CODES,
    DTYPE,
    DTYPES,
    HEADER,
    NDIM,
    NONE,
    SHAPE,
    STRIDES,
    TYPE,
    field,
    hold_none,
    is_aligned,
    new_array,
    require,
)
from taper.backends.llvm.pack import least, pack_panel
from taper.backends.llvm.text import SIZES, Function, Module, Pointer, Value
from taper.backends.llvm.tile import VECS

# Multiplications, and elements of the copy of B, up to which a product is small.
MOST = 1 << 20
MOST_COPIED = 1 << 15

# In the owner behind the addresses of objects.table(): memory for the copy of B, as gemm.py wants it.
WORK = DTYPES + len(CODES)


@dataclass(frozen=True)
class DirectProduct:
    """The built-ins linear(x, w, bias) = x @ w.T + bias, where the bias may be None, and matmul(x, y)."""

    element: str

    exports = ("linear", "matmul")

    def interpret(self, x: np.ndarray, y: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        """The meaning, in numpy."""
        made = x @ y
        return made if bias is None else made + bias

    def write(self, module: Module) -> None:
        """Both entries."""
        compute = self._compute(module)
        for name in self.exports:
            f = module.function(
                name, "ptr", False, ("owner", "args"), owner="ptr", args="ptr", nargs="i64"
            )
            table = field(f, f.pointer("owner", "i8"), HEADER, "ptr").pointer("ptr")
            following = f.label("next")
            self._entry(f, table, compute, name == "linear", following)
            f.begin(following)
            f.ret(hold_none(table.load(NONE)))

    def _entry(self, f: Function, table: Pointer, compute: Function, linear: bool,
               following: str) -> None:  # fmt: skip
        """The questions, and the call."""
        size = SIZES[self.element]
        require(f, f.arg("nargs").equals(3 if linear else 2), following)
        x, y, *rest = (f.pointer("args", "ptr").load(i).pointer("i8") for i in range(2 + linear))
        for array in (x, y):
            self._require_array(f, table, array, 2, following)
        x_shape, y_shape, x_strides, y_strides = (
            field(f, array, place, "ptr").pointer("i64")
            for place in (SHAPE, STRIDES)
            for array in (x, y)
        )
        along, across = (1, 0) if linear else (0, 1)  # of y: the dimension summed over, the other
        m, k, n = x_shape.load(0), x_shape.load(1), y_shape.load(across)
        copied = (n + (VECS * 16 - 1)) * (k + 15)
        fits = (m > 0) & (n > 0) & (k > 0) & y_shape.load(along).equals(k)
        require(f, fits & (k <= BLOCK_K // size) & (copied <= MOST_COPIED), following)
        require(f, m * n * k < MOST, following)

        inner, outer = x_strides.load(1), x_strides.load(0)
        b_inner, b_outer = y_strides.load(along), y_strides.load(across)
        # Those of dots.py.
        dotted = inner.equals(size) & b_inner.equals(size) & ((n <= MOST_COLUMNS) | m.equals(1))
        require(f, ~dotted, following)
        a_along_k = inner.equals(size) | k.equals(1)
        b_along_n = b_outer.equals(size) | n.equals(1)
        a_row, b_row = a_along_k.select(outer, inner), b_along_n.select(b_inner, b_outer)
        fits = (a_along_k | outer.equals(size)) & (b_along_n | b_inner.equals(size) | k.equals(1))
        require(f, fits & ((a_row | b_row) >= 0), following)
        require(f, ((a_row | b_row) % size).equals(0), following)

        a, b = (field(f, array, HEADER, "ptr") for array in (x, y))
        seed, seeded = b, f.const(False, "i1")
        if linear:
            seed, seeded = self._bias(f, table, rest[0], n, b, following)
        shape = f.local(2, "i64")
        shape.store(m)
        shape.store(n, 1)
        made = new_array(f, table, CODES[size == 8], f.const(2, "i32"), shape)
        flags = (x.cast("zext", "i64") for x in (a_along_k, b_along_n, seeded))
        f.call(
            compute, a, b, field(f, made, HEADER, "ptr"), seed, table.load(WORK), m, n, k,
            a_row // size, b_row // size, *flags,
        )  # fmt: skip
        f.ret(made.address)

    def _require_array(
        self, f: Function, table: Pointer, x: Pointer, ndim: int, following: str
    ) -> None:
        """An array of the dtype and number of dimensions."""
        require(f, field(f, x, TYPE, "ptr").equals(table.load(ARRAY)), following)
        dtype = table.load(DTYPES + (self.element == "double"))
        right = field(f, x, DTYPE, "ptr").equals(dtype) & field(f, x, NDIM, "i32").equals(ndim)
        require(f, right & is_aligned(f, x), following)

    def _bias(self, f: Function, table: Pointer, x: Pointer, n: Value, otherwise: Value,
              following: str) -> tuple[Value, Value]:  # fmt: skip
        """Where the bias lies, and whether there is one."""
        given, after = f.label("given"), f.label("after")
        absent, before = x.address.equals(table.load(NONE)), f.block
        f.line(f"br i1 {absent.name}, label %{after}, label %{given}")
        f.begin(given)
        self._require_array(f, table, x, 1, following)
        right = field(f, x, SHAPE, "ptr").pointer("i64").load().equals(n)
        stride = field(f, x, STRIDES, "ptr").pointer("i64").load()
        require(f, right & stride.equals(SIZES[self.element]), following)
        data, last = field(f, x, HEADER, "ptr"), f.block
        f.branch(after)
        f.begin(after)
        address = f.emit(
            "ptr", f"phi ptr [ {otherwise.name}, %{before} ], [ {data.name}, %{last} ]"
        )
        return address, ~absent

    def _compute(self, module: Module) -> Function:
        """The product itself: B in panels if k runs along its memory, then tiles."""
        straight, turned = (Writer(module, Gemm(self.element, along)) for along in (True, False))
        copy = pack_panel(module, straight.words, False)
        lanes, width = straight.lanes, straight.width
        sizes: dict[str, Any] = dict.fromkeys(
            ("m", "n", "k", "a_row", "b_row", "a_along_k", "b_along_n", "seeded"), "i64"
        )
        pointers = dict.fromkeys(("a", "b", "c", "seed", "work"), "ptr")
        f = module.function("compute", "void", True, ("seed",), **pointers, **sizes)
        a, b, c, seed, work = (f.pointer(name, self.element) for name in pointers)
        m, n, k, b_row = f.arg("m"), f.arg("n"), f.arg("k"), f.arg("b_row")
        room = (k + (lanes - 1)) // lanes * (lanes * width)
        lies = f.arg("b_along_n") > 0

        def panel(i: Value) -> None:
            column = i * width
            f.call(
                copy, b.at(column * b_row), work.at(i * room), b_row, least(n - column, width), k
            )

        f.when(~lies, lambda: f.loop(0, (n + (width - 1)) // width, panel) and None)
        at = lies.select(b.address, work.address)
        row, apart = lies.select(b_row, width), lies.select(f.const(width, "i64"), room)
        seeded = f.arg("seeded")
        for writer, wanted in ((straight, 1), (turned, 0)):
            given = (a, at, c, seed, n, k, f.arg("a_row"), row, apart, n, 0, seeded, 1, 0, 0, m)
            call_tiles = functools.partial(f.call, writer.some_rows(), *given)
            f.when(f.arg("a_along_k").equals(wanted), call_tiles)
        f.ret()
        return f
