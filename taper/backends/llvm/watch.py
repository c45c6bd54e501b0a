"""Seeing every call of machine code, for `taper inspect`.

Nothing is paid for it otherwise. CPython finds the code of a built-in through its definition each time
it is called, and the definitions of kernels are ours (call.py): while somebody watches, they point to
a function that lets him make the call. Wherever a kernel is kept and whoever calls it, it is seen.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from typing import Any

from taper.backends.llvm import call

# See(address, kernel, arguments) stands in for a call: it makes it, and returns what it gave.
See = Callable[[int, Callable[..., Any], tuple[Any, ...]], Any]

_FASTCALL = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_ssize_t
)


@contextlib.contextmanager
def watch(see: See) -> Iterator[None]:
    """Shows `see` the calls that this thread makes, of kernels that exist on entry.

    Calls of kernels within `see` are not shown. One watches at a time.
    """
    watcher = threading.get_ident()
    failures: list[BaseException] = []
    held: list[Any] = []  # what the definitions point to meanwhile
    builtins, foreign = list(call.builtins), list(call.foreign)
    codes = [definition.code for definition, _ in builtins]
    functions = [each.function for each in foreign]

    def builtin_for(definition: Any, kernel: Callable[..., Any], code: int) -> Any:
        original = _FASTCALL(code)

        def stand_in(owner: Any, args: Any, count: int) -> Any:
            if threading.get_ident() != watcher:
                return original(owner, args, count)
            given = ctypes.cast(args, ctypes.POINTER(ctypes.py_object))
            there, definition.code = definition.code, code
            try:
                return see(code, kernel, tuple(given[i] for i in range(count)))
            except BaseException as failure:  # it cannot pass through ctypes: raised at the end
                failures.append(failure)
                return None
            finally:
                definition.code = there

        return _FASTCALL(stand_in)

    def foreign_for(each: call.Foreign, function: Callable[..., Any]) -> Callable[..., Any]:
        def stand_in(*args: Any) -> Any:
            if threading.get_ident() != watcher:
                return function(*args)
            return see(each.address, function, args)

        return stand_in

    try:
        for (definition, kernel), code in zip(builtins, codes, strict=True):
            held.append(builtin_for(definition, kernel, code))
            definition.code = ctypes.cast(held[-1], ctypes.c_void_p).value
        for each, function in zip(foreign, functions, strict=True):
            each.function = foreign_for(each, function)
        yield
    finally:
        for (definition, _), code in zip(builtins, codes, strict=True):
            definition.code = code
        for each, function in zip(foreign, functions, strict=True):
            each.function = function
    if failures:
        raise failures[0]
