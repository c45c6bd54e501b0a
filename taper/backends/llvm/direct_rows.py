"""Small folds and softmaxes start to end in machine code: checks, result and kernel in one built-in.

The kernels are those of sums.py and softmax.py, made by functions/fold.py and functions/rows.py when
a size is first met. From then on `learn` has their addresses in a table, and the built-in, which finds
out which one an array needs, calls it. What it does not take, or has no kernel yet, it answers with
None, and the caller goes the general way: the kernels are the same, and so are the bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm import call, objects
from taper.backends.llvm.loaded import kept_library
from taper.backends.llvm.objects import (
    ARRAY,
    CODES,
    COUNT,
    DTYPE,
    DTYPES,
    HEADER,
    INT,
    ITEMS,
    NDIM,
    NONE,
    SHAPE,
    TYPE,
    field,
    hold_none,
    is_in_one_piece,
    new_array,
    require,
)
from taper.backends.llvm.rows import MOST_KNOWN
from taper.backends.llvm.softmax import Softmax, SoftmaxGrad
from taper.backends.llvm.sums import ColumnFolds, RowFolds, Sums
from taper.backends.llvm.text import Function, Module, Pointer, Value

# Elements up to which one thread is quicker than several.
MOST = 1 << 16
MOST_DIMS = 8
# Columns up to which functions/fold.py folds several rows side by side, from so many elements on.
NARROW, MANY = 32, 4096
# Rows up to which columns are folded in one chunk, however wide they are.
ONE_CHUNK = 256

# In the owner, behind objects.table(): True, False, the class of tuples, then for float32 and for
# float64 the addresses of kernels of rows by their width (0 for any), and of the one of columns.
_TRUE, _FALSE, _TUPLE, _KERNELS = range(DTYPES + len(CODES), DTYPES + len(CODES) + 4)
_ANY, _COLUMNS = 0, MOST_KNOWN + 1
_WORDS = _COLUMNS + 1
_ELEMENTS = {"f": "float", "d": "double"}


@dataclass(frozen=True)
class DirectRows:
    """The built-ins.

    `add(x, axis, keepdims)`, `mean(x, axis, keepdims)` and `choose(x, axis, keepdims)` fold; the axis
    is a number, a tuple of one, or None for all. `add_all(x)`, `mean_all(x)`, `choose_all(x)`. `along(x, axis)` and `along_both(x, y, axis)` have a
    result of the same shape, from rows along the last dimension. Which kernels they call is their
    owner's.
    """

    exports = ("add", "mean", "choose", "add_all", "mean_all", "choose_all", "along", "along_both")

    def write(self, module: Module) -> None:
        """All entries."""
        for name in self.exports:
            f = module.function(
                name, "ptr", False, ("owner", "args"), owner="ptr", args="ptr", nargs="i64"
            )
            known = field(f, f.pointer("owner", "i8"), HEADER).pointer("ptr")
            for code in _ELEMENTS:
                following = f.label("next")
                writer = _Writer(f, known, code, following)
                writer.along(1 + name.endswith("both")) if "along" in name else writer.fold(name)
                f.begin(following)
            f.ret(hold_none(known.load(NONE)))


class _Writer:
    """Writes what an entry does for one dtype; what does not fit goes on at `following`."""

    def __init__(self, f: Function, known: Pointer, code: str, following: str) -> None:
        self.f, self.known, self.code, self.following = f, known, code, following
        self.kernels = known.at(_KERNELS + _WORDS * (code == "d"))

    def require(self, condition: Value) -> None:
        require(self.f, condition, self.following)

    def argument(self, index: int) -> Pointer:
        return self.f.pointer("args", "ptr").load(index).pointer("i8")

    def array(self, index: int) -> tuple[Pointer, Value, Pointer]:
        """An argument that is an array of the dtype, in one piece: itself, ndim and shape."""
        f, x = self.f, self.argument(index)
        self.require(field(f, x, TYPE).equals(self.known.load(ARRAY)))
        dtype = self.known.load(DTYPES + CODES.index(self.code))
        self.require(field(f, x, DTYPE).equals(dtype) & is_in_one_piece(f, x))
        ndim = field(f, x, NDIM, "i32").cast("sext", "i64")
        self.require((ndim > 0) & (ndim <= MOST_DIMS))
        return x, ndim, field(f, x, SHAPE).pointer("i64")

    def product(self, shape: Pointer, begin: Value, end: Value) -> Value:
        """Of the extents from `begin` to `end`."""
        one = self.f.const(1, "i64")
        return self.f.loop(begin, end, lambda d, n: (n * shape.load(d),), init=(one,))[0]

    def number(self, x: Pointer, ndim: Value) -> Value:
        """The dimension that an int names."""
        f = self.f
        self.require(field(f, x, TYPE).equals(self.known.load(INT)))
        given = f.intrinsic("PyLong_AsLongLong", "i64", x)
        axis = (given < 0).select(given + ndim, given)
        self.require((axis >= 0) & (axis < ndim))
        return axis

    def kernel(self, width: Value) -> Value:
        """The address of the kernel of rows of this width, or of any; there must be one."""
        address = self.kernels.load((width <= MOST_KNOWN).select(width, self.f.const(_ANY, "i64")))
        self.require(address.differs(0))
        return address

    def call(self, address: Value, *given: Any) -> None:
        """Calls a kernel; integers are i64."""
        f = self.f
        values = [f.const(x, "i64") for x in given]
        f.line(f"call void {address.name}({', '.join(f'{x.type} {x.name}' for x in values)})")

    def call_rows(self, address: Value, arrays: list[Value], rows: Value, width: Value,
                  blocks: bool) -> None:  # fmt: skip
        """Calls the kernel of `kernel`; of long rows it is one of Sums if they are added in blocks."""
        f = self.f
        short = width <= MOST_KNOWN
        f.when(short, lambda: self.call(address, *arrays, 0, rows))
        more = [width, rows * width, f.const(1.0, "double")] if blocks else [width]
        f.when(~short, lambda: self.call(address, *arrays, *more, 0, rows))

    # ------------------------------------------------------------ folds

    def fold(self, name: str) -> None:
        """Over one dimension, or all."""
        f, known = self.f, self.known
        how, _, everything = name.partition("_")
        self.require(f.arg("nargs").equals(1 if everything else 3))
        x, ndim, shape = self.array(0)
        whole, axis, kept = f.const(True, "i1"), f.const(-1, "i64"), f.const(False, "i1")
        if not everything:
            keepdims = self.argument(2).address
            kept = keepdims.equals(known.load(_TRUE))
            self.require(kept | keepdims.equals(known.load(_FALSE)))
            whole, axis = self._axis(self.argument(1), ndim)

        inner = self.product(shape, axis + 1, ndim)
        outer = self.product(shape, f.const(0, "i64"), axis)
        count = whole.select(inner, shape.load(f.maximum(axis, 0)))
        inner = whole.select(1, inner)
        size = outer * count * inner
        self.require((count > 1) & (size > 0) & (size <= MOST))
        rows = inner.equals(1)
        narrow = (inner <= NARROW // 2) & (size >= MANY) & (count & 1).equals(0)
        one_chunk = outer.differs(1) | (~narrow & (count <= ONE_CHUNK))
        self.require(rows | one_chunk)
        columns = f.const(_COLUMNS, "i64")
        width = (count <= MOST_KNOWN).select(count, f.const(_ANY, "i64"))
        address = self.kernels.load(rows.select(width, columns))
        self.require(address.differs(0))

        rank, extents = self._shape_left(shape, ndim, axis, whole, kept)
        made = new_array(f, known, self.code, rank.cast("trunc", "i32"), extents)
        arrays = [field(f, x, HEADER), field(f, made, HEADER)]
        f.when(rows, lambda: self.call_rows(address, arrays, outer, count, how != "choose"))
        f.when(~rows, lambda: self.call(address, *arrays, outer * count, inner, count, 0, outer))
        if how == "mean":
            self._divide(arrays[1], outer * inner, count)
        f.ret(made.address)

    def _axis(self, x: Pointer, ndim: Value) -> tuple[Value, Value]:
        """Whether all dimensions are meant; if not, which (else -1)."""
        f, known = self.f, self.known
        whole = x.address.equals(known.load(NONE))
        in_tuple = field(f, x, TYPE).equals(known.load(_TUPLE))

        def only() -> list[Value]:
            self.require(field(f, x, COUNT, "i64").equals(1))
            return [field(f, x, ITEMS)]

        (item,) = f.when(in_tuple, only, [x.address])
        all_of_them = f.const(-1, "i64")
        (axis,) = f.when(~whole, lambda: [self.number(item.pointer("i8"), ndim)], [all_of_them])
        return whole, axis

    def _shape_left(
        self, shape: Pointer, ndim: Value, axis: Value, whole: Value, kept: Value
    ) -> tuple[Value, Pointer]:
        """The result's dimensions, and where their extents are."""
        f = self.f
        made = f.local(MOST_DIMS + 1, "i64")

        def step(d: Value, rank: Value) -> tuple[Value]:
            folded = whole | d.equals(axis)
            made.store(folded.select(1, shape.load(d)), rank)
            return ((folded & ~kept).select(rank, rank + 1),)

        (rank,) = f.loop(0, ndim, step, init=(f.const(0, "i64"),))
        return rank, made

    def _divide(self, data: Value, size: Value, count: Value) -> None:
        f, element = self.f, _ELEMENTS[self.code]
        lanes = f.module.lanes(element)
        out, divisor = data.pointer(element), f.splat(count.cast("sitofp", element), lanes)

        def step(i: Value) -> None:
            mask = f.mask(size - i, lanes)
            out.store(out.load(i, lanes, mask) / divisor, i, mask)

        f.loop(0, size, step, lanes)

    # ------------------------------------------------------------ results of the same shape

    def along(self, inputs: int) -> None:
        """A row of the result from the same row of each input."""
        f = self.f
        self.require(f.arg("nargs").equals(inputs + 1))
        (x, ndim, shape), *others = [self.array(i) for i in range(inputs)]
        for _, own, extents in others:
            self.require(own.equals(ndim))
            same = f.loop(
                0, ndim, lambda d, same, extents=extents: (same & extents.load(d).equals(shape.load(d)),),
                init=(f.const(True, "i1"),),
            )[0]  # fmt: skip
            self.require(same)
        self.require(self.number(self.argument(inputs), ndim).equals(ndim - 1))
        width = shape.load(ndim - 1)
        rows = self.product(shape, f.const(0, "i64"), ndim - 1)
        size = rows * width
        self.require((size > 0) & (size <= MOST))
        address = self.kernel(width)
        made = new_array(f, self.known, self.code, ndim.cast("trunc", "i32"), shape)
        given = [field(f, each, HEADER) for each in (x, *(other for other, _, _ in others))]
        self.call_rows(address, [*given, field(f, made, HEADER)], rows, width, False)
        f.ret(made.address)


# ---------------------------------------------------------------- in Python


@functools.cache
def _table(kind: str) -> np.ndarray:
    """The owner of the built-ins that call kernels of one kind."""
    known = [id(True), id(False), id(tuple)]
    return np.concatenate([objects.table(), known, np.zeros(2 * _WORDS, np.int64)])


def learn(spec: Any) -> None:
    """Enters a kernel's address, if it is one that the built-ins call."""
    if isinstance(spec, RowFolds):
        kind, place = spec.kind, spec.columns
    elif isinstance(spec, (Sums, ColumnFolds)) and spec.result == spec.element:
        kind, place = spec.kind, _ANY if isinstance(spec, Sums) else _COLUMNS
    elif isinstance(spec, (Softmax, SoftmaxGrad)):
        kind, place = f"{type(spec).__name__} {spec.logarithm}", spec.columns
    else:
        return
    address = kept_library(spec).addresses["kernel"]
    _table(kind)[_KERNELS + _WORDS * (spec.element == "double") + place] = address


def built_in(name: str, kind: str) -> Callable[..., Any]:
    """One of DirectRows' built-ins, for kernels of a kind as in `learn`; it gives None at first."""
    if not objects.readable():
        return lambda *arguments: None
    return call.builtin(name, kept_library(DirectRows()).addresses[name], _table(kind))
