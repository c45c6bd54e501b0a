"""Calling machine code from Python.

CPython calls a METH_FASTCALL function as f(self, args, nargs), `args` being addresses of objects.
`write_entry` writes such a function in LLVM text: it takes the data address out of each numpy array
and the value out of each integer or float, calls the kernel, and returns None. `entry` turns its
address into a built-in function of Python. A call costs some 20 ns; it trusts its arguments, so
whoever calls has checked dtypes, sizes and strides.

Other Pythons, and builds with another object header, take the way through ctypes, which knows
types and lets go of the interpreter lock.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from taper.backends.llvm.text import Function, Module, Pointer, Value

_FASTCALL = 0x0080
# Bytes of PyObject_HEAD; a numpy array's data address, and a float's value, follow it.
_HEADER = object.__basicsize__
IMMORTAL_NONE = sys.version_info >= (3, 12)


class _MethodDef(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("code", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    ]


class _Home(str):
    """What a built-in has as its module: CPython points to the definition as long as it holds this."""

    definition: _MethodDef


# The built-ins that live, by their ids, and the functions by way of ctypes. watch.py looks here.
_living: dict[int, weakref.ref[Any]] = {}
foreign: weakref.WeakSet[Foreign] = weakref.WeakSet()


def builtins() -> list[tuple[_MethodDef, Callable[..., Any]]]:
    """The definition of each built-in that lives, and the built-in."""
    found = [held() for held in list(_living.values())]
    return [(made.__module__.definition, made) for made in found if made is not None]


@functools.cache
def has_fast_calls() -> bool:
    """Whether this Python is one whose objects we can read: CPython with the usual header."""
    if platform.python_implementation() != "CPython" or sys.byteorder != "little":
        return False
    if (
        ctypes.sizeof(ctypes.c_void_p) != 8
        or getattr(sys, "_is_gil_enabled", lambda: True)() is False
    ):
        return False
    probe = np.zeros(3)
    held = ctypes.c_void_p.from_address(id(probe) + _HEADER).value
    number = 1.5
    value = ctypes.c_double.from_address(id(number) + _HEADER).value
    return held == probe.ctypes.data and value == 1.5


# Words of the memory of a call, which a kernel is given as its pool: the pool itself, the code of
# its parallel_for, whether the calling thread looks at clock and signals between tasks, whether an
# exception stops the call, the interpreter's state while its lock is let go, the time of the last
# look. In the pool's own memory the functions that begin and end a call follow.
POOL, CODE, LOOKS, STOPPED, STATE, SINCE, ENTER, LEAVE = range(8)


def write_entry(module: Module, name: str, kernel: Function, kinds: Sequence[str]) -> None:
    """Writes `name`, which calls `kernel` with Python's arguments.

    `kinds` has a word for each parameter of the kernel: "array" (its data address), "int" (i64) or
    "float" (double). The entry returns an int where the kernel returns an i64, else None.

    A kernel whose first parameter is named `pool` gets 0, or memory of this call's own, which lets
    go of the interpreter's lock if the call is long, and can be stopped by a signal (pool.py).
    """
    entry = module.function(
        name, "ptr", False, ("owner", "args"), owner="ptr", args="ptr", nargs="i64"
    )
    given = [read_argument(entry, i, kind) for i, kind in enumerate(kinds)]
    if next(iter(kernel.params), "") == "pool":
        _call_on_the_pool(entry, kernel, given)
        return
    made = entry.call(kernel, *given)
    if kernel.result == "i64":
        entry.ret(entry.intrinsic("PyLong_FromLongLong", "ptr", made))
    else:
        end_entry(entry)


def _call_on_the_pool(entry: Function, kernel: Function, given: list[Value]) -> None:
    """Calls a kernel whose first argument is the pool's address or 0, and ends the entry."""
    own = entry.local(SINCE + 1, "i64")
    some = given[0].differs(0)
    zero = entry.const(0, "i64")

    def pool(word: int) -> Value:
        address = entry.emit("ptr", f"inttoptr i64 {given[0].name} to ptr")
        return address.pointer("ptr").load(word)

    def enter() -> list[Value]:
        self = entry.emit("ptr", f"inttoptr i64 {given[0].name} to ptr")
        code = pool(ENTER)
        entry.line(f"call void {code.name}(ptr {self.name}, ptr {own.name})")
        return [entry.emit("i64", f"ptrtoint ptr {own.name} to i64")]

    (inner,) = entry.when(some, enter, [zero])
    entry.call(kernel, inner, *given[1:])
    (stopped,) = entry.when(
        some, lambda: [entry.call_address(pool(LEAVE), "i64", own.address)], [zero]
    )
    failed, fine = entry.label("failed"), entry.label("fine")
    entry.line(f"br i1 {stopped.differs(0).name}, label %{failed}, label %{fine}")
    entry.begin(failed)
    entry.ret(entry.const(0, "ptr"))
    entry.begin(fine)
    end_entry(entry)


def read_argument(entry: Function, index: int, kind: str) -> Value:
    """The kernel's argument in the Python object at `index` of an entry's arguments."""
    held = entry.pointer("args", "ptr").load(index)
    if kind == "int":
        return entry.intrinsic("PyLong_AsLongLong", "i64", held)
    inside = Pointer(entry, held.name, "i8").at(_HEADER)
    if kind == "array":
        return inside.as_("ptr").load()
    if kind == "float":
        return inside.as_("double").load()
    raise ValueError(f"an argument is 'array', 'int' or 'float', not {kind!r}")


def end_entry(entry: Function) -> None:
    """Returns None: the entry's owner, so that no symbol of the interpreter is needed."""
    none = entry.arg("owner")
    if not IMMORTAL_NONE:
        count = entry.pointer("owner", "i64")
        count.store(count.load() + 1)
    entry.ret(none)


def builtin(name: str, address: int, owner: Any = None) -> Callable[..., Any]:
    """A built-in function of Python around machine code that `write_entry` wrote.

    The code gets the owner as its first argument; that of `write_entry` expects None.
    """
    definition = _MethodDef(name.encode(), address, _FASTCALL, None)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]
    home = _Home(name)
    home.definition = definition
    made: Callable[..., Any] = make(ctypes.addressof(definition), owner, home)
    key = id(made)
    _living[key] = weakref.ref(made, lambda _: _living.pop(key, None))
    return made


_CTYPES = {"array": ctypes.c_void_p, "int": ctypes.c_int64, "float": ctypes.c_double}


class Foreign:
    """Machine code as a Python function that takes the kernel's own arguments, by way of ctypes.

    It lets go of the interpreter lock, so it is also the way for kernels that run for long.
    """

    __slots__ = ("__weakref__", "_arrays", "address", "function")

    def __init__(self, address: int, kinds: Sequence[str], result: str) -> None:
        returned = ctypes.c_int64 if result == "i64" else None
        types = [_CTYPES[kind] for kind in kinds]
        self.address = address
        self.function: Callable[..., Any] = ctypes.CFUNCTYPE(returned, *types)(address)
        self._arrays = [i for i, kind in enumerate(kinds) if kind == "array"]
        foreign.add(self)

    def __call__(self, *args: Any) -> Any:
        own = list(args)
        for place in self._arrays:
            own[place] = own[place].__array_interface__["data"][0]
        return self.function(*own)


def through_ctypes(address: int, kinds: Sequence[str], result: str = "void") -> Callable[..., Any]:
    """The kernel at an address; `result` is "i64" for one that returns a number."""
    return Foreign(address, kinds, result)
