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
from types import TracebackType
from typing import Any

from taper.backends.llvm import call

# See(address, kernel, arguments) stands in for a call: it makes it, and returns what it gave.
See = Callable[[int, Callable[..., Any], tuple[Any, ...]], Any]

_FASTCALL = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_ssize_t
)


class Watch:
    """Shows `see` the calls that this thread makes in the `with` block.

    Kernels must exist when it begins, and `see` must not watch in turn. One watches at a time.
    """

    def __init__(self, see: See) -> None:
        self._see = see
        self._thread = threading.get_ident()
        self._failures: list[BaseException] = []
        self._held: list[Any] = []  # what the definitions point to meanwhile
        # (definition, its code, that of its stand-in), and the same of functions by way of ctypes
        self._builtins = [self._builtin(*each) for each in call.builtins()]
        self._foreign = [self._function(each) for each in call.foreign]

    def __enter__(self) -> Watch:
        self._switch(2)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._switch(1)
        if self._failures and error is None:
            raise self._failures[0]

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Nothing is seen meanwhile, and calls cost what they always do."""
        self._switch(1)
        try:
            yield
        finally:
            self._switch(2)

    def _switch(self, to: int) -> None:
        for builtin in self._builtins:
            builtin[0].code = builtin[to]
        for foreign in self._foreign:
            foreign[0].function = foreign[to]

    def _builtin(self, definition: Any, kernel: Callable[..., Any]) -> tuple[Any, int, int | None]:
        code = definition.code
        original = _FASTCALL(code)

        def stand_in(owner: Any, args: Any, count: int) -> Any:
            if threading.get_ident() != self._thread:
                return original(owner, args, count)
            given = ctypes.cast(args, ctypes.POINTER(ctypes.py_object))
            there, definition.code = definition.code, code
            try:
                return self._see(code, kernel, tuple(given[i] for i in range(count)))
            except BaseException as failure:  # it cannot pass through ctypes: raised at the end
                self._failures.append(failure)
                return None
            finally:
                definition.code = there

        self._held.append(_FASTCALL(stand_in))
        return definition, code, ctypes.cast(self._held[-1], ctypes.c_void_p).value

    def _function(self, each: call.Foreign) -> tuple[call.Foreign, Any, Any]:
        function = each.function

        def stand_in(*args: Any) -> Any:
            if threading.get_ident() != self._thread:
                return function(*args)
            return self._see(each.address, function, args)

        return each, function, stand_in
