"""Small arrays put together start to end in machine code: checks, result and copies in one built-in.

numpy takes longer to ask how a few small arrays lie than to copy them. What does not fit (arrays with
gaps, of different dtypes, many bytes) is answered with None, and the caller asks numpy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm import call
from taper.backends.llvm.loaded import kept_library
from taper.backends.llvm.objects import (
    ARRAY,
    BYTES,
    CODES,
    DTYPE,
    DTYPES,
    HEADER,
    INT,
    NDIM,
    NONE,
    SHAPE,
    TYPE,
    field,
    hold_none,
    is_in_one_piece,
    new_array_of,
    readable,
    require,
    table,
)
from taper.backends.llvm.pack import least
from taper.backends.llvm.text import Function, Module, Pointer, Value

# Bytes up to which the result is made here, and the most dimensions.
MOST = 1 << 20
MOST_DIMS = 8


@dataclass(frozen=True)
class DirectJoin:
    """The built-ins `concatenate(x, ..., axis)` and `stack(x, ..., axis)` of arrays of one dtype."""

    exports = ("concatenate", "stack")

    def interpret(self, *arguments: Any, stack: bool = False) -> np.ndarray:
        """The meaning, by numpy."""
        *arrays, axis = arguments
        return np.stack(arrays, axis) if stack else np.concatenate(arrays, axis)

    def write(self, module: Module) -> None:
        """Both entries."""
        for name in self.exports:
            f = module.function(
                name, "ptr", False, ("owner", "args"), owner="ptr", args="ptr", nargs="i64"
            )
            _Writer(f).write(name == "stack")


class _Writer:
    """Writes one of them."""

    def __init__(self, f: Function) -> None:
        self.f, self.refused = f, f.label("refused")
        self.known = field(f, f.pointer("owner", "i8"), HEADER).pointer("ptr")
        self.one = f.const(1, "i64")

    def argument(self, index: Any) -> Pointer:
        return self.f.pointer("args", "ptr").load(index).pointer("i8")

    def require(self, condition: Value) -> None:
        require(self.f, condition, self.refused)

    def product(self, shape: Pointer, begin: Any, end: Value, start: Value) -> Value:
        """`start` times the extents from `begin` to `end`."""
        f = self.f
        return f.loop(begin, end, lambda d, n: (n * shape.load(d),), init=(start,))[0]

    def write(self, stack: bool) -> None:
        """The questions, the result, the copies."""
        f, known = self.f, self.known
        count = f.arg("nargs") - 1
        self.require(count > 0)
        first = self.argument(0)
        self.require(field(f, first, TYPE).equals(known.load(ARRAY)))
        ndim = field(f, first, NDIM, "i32").cast("sext", "i64")
        self.require((ndim > 0) & (ndim < MOST_DIMS))
        shape, axis = field(f, first, SHAPE).pointer("i64"), self._axis(count, ndim, stack)
        along = f.loop(0, count, lambda k, n: self._check(k, n, axis, stack), init=(f.const(0, "i64"),))[0]  # fmt: skip

        extents = f.local(MOST_DIMS, "i64")
        rank = ndim + 1 if stack else ndim

        def extent(d: Value) -> None:
            own = d - (d > axis).cast("zext", "i64") if stack else d
            # In a stack's new last dimension there is nothing to read: the first is read instead.
            inside = (own < ndim).select(own, 0)
            extents.store(d.equals(axis).select(along, shape.load(inside)), d)

        f.loop(0, rank, extent)
        item = self._itemsize(first)
        outer = self.product(shape, 0, axis, self.one)
        whole = self.product(extents, axis, rank, item)
        self.require((whole <= MOST) & (outer <= MOST) & (outer * whole <= MOST))
        dtype = field(f, first, DTYPE)
        made = new_array_of(f, known, dtype, rank.cast("trunc", "i32"), extents)
        target = field(f, made, HEADER).pointer("i8")

        def copy(k: Value, place: Value) -> tuple[Value]:
            x = self.argument(k)
            own = field(f, x, SHAPE).pointer("i64")
            block = self.product(own, axis, ndim, item)
            source = field(f, x, HEADER).pointer("i8")

            def row(r: Value) -> None:
                f.intrinsic(
                    "llvm.memcpy.p0.p0.i64", "void", target.at(r * whole + place),
                    source.at(r * block), block, f.const(False, "i1"),
                )  # fmt: skip

            f.loop(0, outer, row)
            return (place + block,)

        f.loop(0, count, copy, init=(f.const(0, "i64"),))
        f.ret(made.address)
        f.begin(self.refused)
        f.ret(hold_none(known.load(NONE)))

    def _axis(self, count: Value, ndim: Value, stack: bool) -> Value:
        """The dimension along which they are put, the last argument."""
        f, x = self.f, self.argument(count)
        self.require(field(f, x, TYPE).equals(self.known.load(INT)))
        given, rank = f.intrinsic("PyLong_AsLongLong", "i64", x), ndim + stack
        axis = (given < 0).select(given + rank, given)
        self.require((axis >= 0) & (axis < rank))
        return axis

    def _check(self, k: Value, total: Value, axis: Value, stack: bool) -> tuple[Value]:
        """Whether an array fits the first; gives the extent along the axis so far."""
        f, first, x = self.f, self.argument(0), self.argument(k)
        self.require(field(f, x, TYPE).equals(self.known.load(ARRAY)))
        self.require(field(f, x, DTYPE).equals(field(f, first, DTYPE)) & is_in_one_piece(f, x))
        ndim = field(f, first, NDIM, "i32")
        self.require(field(f, x, NDIM, "i32").equals(ndim))
        shape, own = (field(f, array, SHAPE).pointer("i64") for array in (first, x))

        def step(d: Value, same: Value) -> tuple[Value]:
            equal = own.load(d).equals(shape.load(d))
            return (same & (equal if stack else equal | d.equals(axis)),)

        (same,) = f.loop(0, ndim.cast("sext", "i64"), step, init=(f.const(True, "i1"),))
        self.require(same)
        return (total + (1 if stack else least(own.load(axis), MOST + 1)),)

    def _itemsize(self, x: Pointer) -> Value:
        """Bytes of an element, of a dtype in the table."""
        f, dtype = self.f, field(self.f, x, DTYPE)
        size = f.const(0, "i64")
        for place, code in enumerate(CODES, DTYPES):
            size = dtype.equals(self.known.load(place)).select(BYTES[code], size)
        self.require(size > 0)
        return size


@functools.cache
def built_in(name: str) -> Callable[..., Any]:
    """One of the built-ins."""
    if not readable():
        return lambda *arguments: None
    return call.builtin(name, kept_library(DirectJoin()).addresses[name], table())
