"""Reading and making Python's objects in machine code, through CPython's and numpy's C interfaces.

Tuples, lists, floats and numpy arrays have their fields at places that belong to binary interfaces
and have not moved for many years; `readable` looks whether they are there all the same. Addresses of
objects and of numpy's functions come in a table, the owner of the built-in that is running.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np

from taper.backends.llvm import call
from taper.backends.llvm.text import Function, Pointer, Value

# Bytes from an object's start to its type, and to what follows PyObject_HEAD.
HEADER = object.__basicsize__
TYPE = HEADER - 8
# Of a numpy array, after the address of its data.
NDIM, SHAPE, STRIDES, BASE, DTYPE, FLAGS = (HEADER + 8 * i for i in range(1, 7))
# Of a tuple or list: the number of items; a tuple's items, and the address of a list's.
COUNT, ITEMS = HEADER, HEADER + 8

ALIGNED = 0x0100  # numpy's flag
_IN_ONE_PIECE = 0x0001 | ALIGNED  # with C_CONTIGUOUS

# Where built-ins that make arrays find what they need in their owner: `table()`.
NONE, ARRAY, _NEW, FLOAT, INT, DTYPES = range(6)
CODES = "fdil?eE"  # dtypes by numpy's letters; E is bfloat16
BYTES = dict(zip(CODES, (4, 8, 4, 8, 1, 2, 2), strict=True))


def field(f: Function, x: Pointer, offset: int, kind: str = "ptr") -> Value:
    """What lies so many bytes into an object."""
    return x.at(offset).as_(kind).load()


def object_at(f: Function, x: Pointer, offset: int) -> Pointer:
    """The object whose address lies so many bytes into another."""
    return field(f, x, offset).pointer("i8")


def require(f: Function, condition: Value, otherwise: str) -> None:
    """Goes on if the condition holds, else at the block `otherwise`."""
    onwards = f.label("onwards")
    f.line(f"br i1 {condition.name}, label %{onwards}, label %{otherwise}")
    f.begin(onwards)


def or_return_null(f: Function, x: Value) -> Pointer:
    """Returns to Python, which has an exception set, if an object could not be made."""
    failed, onwards = f.label("failed"), f.label("made")
    f.line(f"br i1 {x.equals(0).name}, label %{failed}, label %{onwards}")
    f.begin(failed)
    f.ret(f.const(0, "ptr"))
    f.begin(onwards)
    return x.pointer("i8")


def hold(x: Value) -> Value:
    """Counts one more reference to an object."""
    if call.IMMORTAL_NONE:  # Pythons with objects whose references must not be counted
        x.f.intrinsic("Py_IncRef", "void", x)
    else:
        count = x.pointer("i64")
        count.store(count.load() + 1)
    return x


def hold_none(none: Value) -> Value:
    """As `hold` of None, which needs no counting in newer Pythons."""
    return none if call.IMMORTAL_NONE else hold(none)


def is_in_one_piece(f: Function, array: Pointer) -> Value:
    """Whether an array's elements lie in row-major order without gaps."""
    return (field(f, array, FLAGS, "i32") & _IN_ONE_PIECE).equals(_IN_ONE_PIECE)


def is_aligned(f: Function, array: Pointer) -> Value:
    """Whether each element lies at a multiple of its size."""
    return (field(f, array, FLAGS, "i32") & ALIGNED).differs(0)


def new_array(f: Function, table: Pointer, code: str, ndim: Value, shape: Pointer) -> Pointer:
    """A new array without values."""
    return new_array_of(f, table, table.load(DTYPES + CODES.index(code)), ndim, shape)


def new_array_of(f: Function, table: Pointer, dtype: Value, ndim: Value, shape: Pointer) -> Pointer:
    """The same of a dtype that is at hand."""
    hold(dtype)  # numpy takes over the reference
    null = f.const(0, "ptr")
    made = f.call_address(
        table.load(_NEW), "ptr", table.load(ARRAY), dtype, ndim, shape.address, null, null,
        f.const(0, "i32"), null,
    )  # fmt: skip
    return or_return_null(f, made)


def new_tuple(f: Function, *items: Value) -> Pointer:
    """A tuple that takes over the references to its items."""
    made = or_return_null(f, f.intrinsic("PyTuple_New", "ptr", f.const(len(items), "i64")))
    for i, x in enumerate(items):
        made.at(ITEMS).as_("ptr").store(x, i)
    return made


@functools.cache
def table() -> np.ndarray:
    """The addresses that the machine code needs, in this process."""
    made = [id(None), id(np.ndarray), new_from_descr(), id(float), id(int)]
    made += [0 if code == "E" else id(np.dtype(code)) for code in CODES]
    return np.array(made, np.int64)


def code_of(dtype: np.dtype) -> str | None:
    """The letter of a dtype among CODES."""
    code = dtype.char
    if code in "eE" and dtype.kind != "f":  # ml_dtypes has several with these letters
        return "E" if dtype is dtype_of("E") else None
    return code if code in CODES else None


@functools.cache
def dtype_of(code: str) -> Any:
    """numpy's dtype of a letter among CODES. That of bfloat16 is in the table from here on."""
    if code != "E":
        return np.dtype(code)
    import ml_dtypes

    made = np.dtype(ml_dtypes.bfloat16)
    table()[DTYPES + CODES.index("E")] = id(made)
    return made


@functools.cache
def new_from_descr() -> int:
    """The address of PyArray_NewFromDescr in numpy's table of C functions."""
    try:
        from numpy._core._multiarray_umath import _ARRAY_API  # type: ignore
    except ImportError:  # numpy 1
        from numpy.core._multiarray_umath import _ARRAY_API  # type: ignore
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    functions = get(_ARRAY_API, None)
    return int(ctypes.c_void_p.from_address(functions + 94 * 8).value or 0)


@functools.cache
def readable() -> bool:
    """Whether objects of this Python and numpy have their fields where the machine code looks."""
    if not call.has_fast_calls():
        return False
    probe = np.zeros((3, 4), np.float32)
    at = id(probe)
    pointer, integer = ctypes.c_void_p.from_address, ctypes.c_int64.from_address
    shape = pointer(at + SHAPE).value or 0
    pair, both = (probe, shape), [probe, shape]
    items = pointer(id(both) + ITEMS).value or 0
    return (
        ctypes.c_int.from_address(at + NDIM).value == 2
        and [integer(shape + 8 * d).value for d in range(2)] == [3, 4]
        and pointer(at + DTYPE).value == id(probe.dtype)
        and ctypes.c_int.from_address(at + FLAGS).value & _IN_ONE_PIECE == _IN_ONE_PIECE
        and pointer(at + TYPE).value == id(np.ndarray)
        and [integer(id(x) + COUNT).value for x in (pair, both)] == [2, 2]
        and pointer(id(pair) + ITEMS).value == at
        and pointer(items).value == at
    )


def slot(owner: type, name: str) -> int:
    """Bytes from an object's start to one of the slots of its class.

    Raises: ValueError if it is not there.
    """
    descriptor = owner.__dict__[name]
    member = ctypes.c_void_p.from_address(id(descriptor) + HEADER + 24).value or 0
    offset = ctypes.c_int64.from_address(member + 16).value
    probe: Any = object.__new__(owner)
    mark = object()
    descriptor.__set__(probe, mark)
    if ctypes.c_void_p.from_address(id(probe) + offset).value != id(mark):
        raise ValueError(f"slot {name} of {owner.__name__} is not where it should be")
    return offset
