"""Small elementwise calls start to end in machine code: checks, result and loop in one built-in.

`x + y` on a few hundred elements is a matter of 30 ns of arithmetic and a microsecond of asking: are
these arrays, of which dtype, of one shape, in one piece? `Direct` asks in machine code. It reads the
fields of the objects themselves (a numpy array's are part of numpy's binary interface), makes the
result through numpy's C interface, runs the formula's loop, and returns the array. What it does not
take (other dtypes, broadcasting, strides, many elements, other objects) it answers with None before
anything is done, and the caller goes the general way.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm import call
from taper.backends.llvm.loaded import kept_library
from taper.backends.llvm.pointwise import Pointwise, Program, trace
from taper.backends.llvm.text import Function, Module, Pointer, Value

# Elements up to which one thread is quicker than several.
MOST = 1 << 16

# Bytes from an array object's start to its fields, after PyObject_HEAD and the data address.
HEADER = object.__basicsize__
NDIM, SHAPE, STRIDES, DTYPE, FLAGS = (HEADER + 8 * i for i in (1, 2, 3, 5, 6))
TYPE = HEADER - 8
_READY = 0x0001 | 0x0100  # numpy's flags C_CONTIGUOUS and ALIGNED
_ITEMS = HEADER + 8  # of a tuple

# What the machine code finds in its owner, an array of addresses.
NONE, ARRAY, _NEW, _FLOAT, _INT, DTYPES = range(6)
CODES = "fdil?"


@dataclass(frozen=True)
class Variant:
    """A formula for operands of certain kinds: a letter for each.

    An array's dtype, "w" for a number, "n" for None.
    """

    program: Program
    kinds: str

    @property
    def pointwise(self) -> Pointwise:
        """The loop: a kernel of arrays without gaps."""
        arrays = self.kinds.replace("w", "").replace("n", "")
        return Pointwise(self.program, arrays, self.kinds.count("w"), (1,) * len(arrays))


@dataclass(frozen=True)
class Direct:
    """The built-in of a formula: its first variant that fits computes, else the answer is None.

    Call: the operands, numpy arrays and Python numbers. Gives an array, or a tuple of them if the
    formula has several outputs. Bits are those of Pointwise.
    """

    variants: tuple[Variant, ...]

    exports = ("entry",)

    def interpret(self, *operands: Any) -> Any:
        """The meaning, by numpy."""
        for variant in self.variants:
            if all(map(_fits, variant.kinds, operands)):
                arrays = [x for x in operands if type(x) is np.ndarray]
                if len({x.shape for x in arrays}) != 1 or arrays[0].size > MOST:
                    return None
                numbers = [float(x) for x in operands if type(x) in (int, float)]
                made = variant.program.evaluate(arrays, numbers)
                return made[0] if len(made) == 1 else tuple(made)
        return None

    def write(self, module: Module) -> None:
        """The kernels, and the entry that tries them in turn."""
        entry = module.function(
            "entry", "ptr", False, ("owner", "args"), owner="ptr", args="ptr", nargs="i64"
        )
        table = field(entry, entry.pointer("owner", "i8"), HEADER, "ptr").pointer("ptr")
        for number, variant in enumerate(self.variants):
            kernel = variant.pointwise.write_kernel(module, f"kernel{number}", True)
            following = entry.label("next")
            self._write_variant(entry, table, variant, kernel, following)
            entry.begin(following)
        return_none(entry, table)

    def _write_variant(
        self, f: Function, table: Pointer, variant: Variant, kernel: Function, following: str
    ) -> None:
        kinds = variant.kinds
        held = [f.pointer("args", "ptr").load(i).pointer("i8") for i in range(len(kinds))]
        require(f, f.arg("nargs").equals(len(kinds)), following)
        arrays = [x for x, kind in zip(held, kinds, strict=True) if kind in CODES]
        codes = [kind for kind in kinds if kind in CODES]
        for x, kind in zip(held, kinds, strict=True):
            if kind == "n":
                require(f, x.address.equals(table.load(NONE)), following)
        for x, code in zip(arrays, codes, strict=True):
            require(f, field(f, x, TYPE, "ptr").equals(table.load(ARRAY)), following)
            dtype = table.load(DTYPES + CODES.index(code))
            flags = field(f, x, FLAGS, "i32") & _READY
            right = field(f, x, DTYPE, "ptr").equals(dtype) & flags.equals(_READY)
            require(f, right, following)
        first = arrays[0]
        ndim = field(f, first, NDIM, "i32")
        shape = field(f, first, SHAPE, "ptr").pointer("i64")
        others = []
        for x in arrays[1:]:
            require(f, field(f, x, NDIM, "i32").equals(ndim), following)
            others.append(field(f, x, SHAPE, "ptr").pointer("i64"))
        one, same = f.const(1, "i64"), f.const(True, "i1")

        def step(d: Value, size: Value, same: Value) -> tuple[Value, Value]:
            extent = shape.load(d)
            for other in others:
                same = same & other.load(d).equals(extent)
            return size * extent, same

        size, same = f.loop(0, ndim.cast("sext", "i64"), step, init=(one, same))
        require(f, same & (size <= MOST), following)
        numbers = [
            _number(f, table, x, following)
            for x, kind in zip(held, kinds, strict=True)
            if kind == "w"
        ]
        results = [new_array(f, table, code, ndim, shape) for code in variant.program.dtypes]
        data = [field(f, x, HEADER, "ptr") for x in [*arrays, *results]]
        f.call(kernel, *data, *numbers, 0, size)
        if len(results) == 1:
            f.ret(results[0].address)
            return
        made = f.intrinsic("PyTuple_New", "ptr", f.const(len(results), "i64")).pointer("i8")
        _or_return_null(f, made.address)
        items = made.at(_ITEMS).as_("ptr")
        for i, x in enumerate(results):
            items.store(x.address, i)
        f.ret(made.address)


def _fits(kind: str, x: Any) -> bool:
    if kind == "n":
        return x is None
    if kind == "w":
        return type(x) is float or (type(x) is int and abs(x) <= 1 << 53)
    return type(x) is np.ndarray and x.dtype.char == kind and bool(x.flags.c_contiguous)


def field(f: Function, x: Pointer, offset: int, kind: str) -> Value:
    return x.at(offset).as_(kind).load()


def require(f: Function, condition: Value, otherwise: str) -> None:
    """Goes on if the condition holds, else at the block `otherwise`."""
    onwards = f.label("onwards")
    f.line(f"br i1 {condition.name}, label %{onwards}, label %{otherwise}")
    f.begin(onwards)


def _or_return_null(f: Function, x: Value) -> None:
    """Returns to Python, which has an exception set, if an object could not be made."""
    failed, onwards = f.label("failed"), f.label("made")
    f.line(f"br i1 {x.equals(0).name}, label %{failed}, label %{onwards}")
    f.begin(failed)
    f.ret(f.const(0, "ptr"))
    f.begin(onwards)


def _number(f: Function, table: Pointer, x: Pointer, following: str) -> Value:
    """The value of a Python float, or of an int that a double holds exactly."""
    kind = field(f, x, TYPE, "ptr")
    is_float = kind.equals(table.load(_FLOAT))
    require(f, is_float | kind.equals(table.load(_INT)), following)
    floating, integer, after = f.label("float"), f.label("int"), f.label("number")
    f.line(f"br i1 {is_float.name}, label %{floating}, label %{integer}")
    f.begin(floating)
    value = field(f, x, HEADER, "double")
    f.branch(after)
    f.begin(integer)
    overflow = f.local(1, "i32")
    whole = f.intrinsic("PyLong_AsLongLongAndOverflow", "i64", x, overflow)
    small = (whole <= 1 << 53) & (whole >= -(1 << 53)) & overflow.load().equals(0)
    exact = f.label("exact")
    f.line(f"br i1 {small.name}, label %{exact}, label %{following}")
    f.begin(exact)
    converted = whole.cast("sitofp", "double")
    f.branch(after)
    f.begin(after)
    return f.emit(
        "double", f"phi double [ {value.name}, %{floating} ], [ {converted.name}, %{exact} ]"
    )


def new_array(f: Function, table: Pointer, code: str, ndim: Value, shape: Pointer) -> Pointer:
    dtype = table.load(DTYPES + CODES.index(code))
    count = dtype.pointer("i64")
    count.store(count.load() + 1)  # numpy takes over a reference
    null = f.const(0, "ptr")
    made = f.call_address(
        table.load(_NEW), "ptr", table.load(ARRAY), dtype, ndim, shape.address, null, null,
        f.const(0, "i32"), null,
    )  # fmt: skip
    _or_return_null(f, made)
    return made.pointer("i8")


def return_none(f: Function, table: Pointer) -> None:
    none = table.load(NONE)
    if not call.IMMORTAL_NONE:
        count = none.pointer("i64")
        count.store(count.load() + 1)
    f.ret(none)


@functools.cache
def table() -> np.ndarray:
    """The addresses that the machine code needs, in this process."""
    return np.array(
        [id(None), id(np.ndarray), _new_from_descr(), id(float), id(int)]
        + [id(np.dtype(code)) for code in CODES],
        np.int64,
    )


def _new_from_descr() -> int:
    """The address of PyArray_NewFromDescr in numpy's table of C functions."""
    try:
        from numpy._core._multiarray_umath import _ARRAY_API  # type: ignore[attr-defined]
    except ImportError:  # numpy 1
        from numpy.core._multiarray_umath import _ARRAY_API  # type: ignore[attr-defined]
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    functions = get(_ARRAY_API, None)
    return int(ctypes.c_void_p.from_address(functions + 94 * 8).value or 0)


@functools.cache
def readable() -> bool:
    """Whether arrays of this numpy have their fields where the machine code looks."""
    if not call.has_fast_calls():
        return False
    probe = np.zeros((3, 4), np.float32)
    at = id(probe)
    shape = ctypes.c_void_p.from_address(at + SHAPE).value or 0
    return (
        ctypes.c_int.from_address(at + NDIM).value == 2
        and [ctypes.c_int64.from_address(shape + 8 * d).value for d in range(2)] == [3, 4]
        and ctypes.c_void_p.from_address(at + DTYPE).value == id(probe.dtype)
        and ctypes.c_int.from_address(at + FLAGS).value & _READY == _READY
        and ctypes.c_void_p.from_address(at + TYPE).value == id(np.ndarray)
    )


def kinds_of(inputs: int, unpromoted: int, floating: bool) -> list[str]:
    """The kinds of operands that a formula of so many inputs has a variant for."""
    if unpromoted:
        return [f"?{code}{code}" for code in "fd"] if (inputs, unpromoted) == (3, 1) else []
    made = []
    for code in "fd" if floating else "fdl":
        made.append(code * inputs)
        if inputs == 2 and code != "l":
            made += [code + "w", "w" + code]
    return made


def built_in(
    formula: Callable[..., Any], inputs: int, unpromoted: int, floating: bool
) -> Callable[..., Any] | None:
    """The built-in of an op's formula; None where there is no variant, or objects are not readable."""
    variants = []
    for kinds in kinds_of(inputs, unpromoted, floating) if readable() else ():
        try:
            variants.append(Variant(trace(formula, kinds), kinds))
        except Exception:  # whatever it is: the general way will do it, or say what is wrong
            continue
    return of_variants(tuple(variants))


def of_variants(variants: tuple[Variant, ...]) -> Callable[..., Any] | None:
    """The built-in of these variants; None where there are none, or objects are not readable."""
    if not variants or not readable():
        return None
    address = kept_library(Direct(variants)).addresses["entry"]
    return call.builtin("direct", address, table())
