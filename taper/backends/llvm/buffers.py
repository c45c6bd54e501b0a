"""The memory of arrays: numpy's allocator, replaced by free lists of buffers at multiples of 64 bytes.

glibc gives large blocks back to the system as soon as they are freed, so each step of a training
loop pays page faults for the same arrays again, up to a fifth of its time; and its blocks start at
multiples of 16 bytes, so that every second or so vector lies across two cache lines. numpy asks a
handler for the data of its arrays (NEP 49); `install` sets one whose four functions are machine
code. An array remembers its handler, so those made before and after live side by side.

  small   below 1024 bytes: malloc, as ever, with a word in front that says so
  large   rounded up to one of eight sizes between powers of two; a list of free buffers for each

Kept buffers are bounded: what is kept and what is in use together stay below the most that was in
use at once of late, plus a quarter and 64 MiB. "Of late" are the last one or two times 16384
freed buffers. Where a new buffer would go beyond that, others are given back to the system first,
the largest first. TAPER_BUFFERS is the most MiB that are kept (default: a quarter of the memory);
TAPER_BUFFERS=0 leaves numpy's allocator alone.

The handler belongs to a context (contextvars), as numpy has it: it serves the thread that first
needed a kernel, whatever arrays are made there. Other threads keep numpy's own, as do
free-threaded Pythons, where one lock for all threads would be a narrow gate.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from taper.backends.llvm import build, call
from taper.backends.llvm.text import Function, Module, Pointer, Value

# Bytes from which an array has a buffer of a list, and from which it may lie in large pages.
SMALL = 1024
HUGE = 4 << 20
# Bytes that may be kept in any case, and freed buffers after which the mark is taken anew.
SLACK = 64 << 20
ROUND = 1 << 14

# Words of the state; the lists start at _HEADS, their lengths at _COUNTS, one for each size.
_LOCK, _KEPT, _USED, _MARK, _NEXT, _FREED, _CAP, _HITS, _MISSES = range(9)
_SIZES = 48 * 8
_HEADS = 16
_COUNTS = _HEADS + _SIZES
# Words before an array's data: its list (0 for small ones), its bytes, what malloc gave, the next.
_LIST, _ROOM, _RAW, _FOLLOWING = -1, -2, -3, -4
_FRAME = 128

# The only wait for another thread; numpy calls with the interpreter's lock held, so it never is.
_LOCKS = """\
define internal void @lock(ptr %state) nounwind {
entry:
  br label %attempt
attempt:
  %was = atomicrmw xchg ptr %state, i64 1 acquire
  %free = icmp eq i64 %was, 0
  br i1 %free, label %mine, label %attempt
mine:
  ret void
}

define internal void @unlock(ptr %state) nounwind {
  store atomic i64 0, ptr %state release, align 8
  ret void
}"""


@dataclass(frozen=True)
class Allocator:
    """The four functions of a handler, and `release`, which gives kept buffers back."""

    advises: bool = sys.platform == "linux"

    @property
    def exports(self) -> tuple[str, ...]:
        """In the order of numpy's PyDataMemAllocator."""
        return ("allocate", "allocate_zeros", "resize", "give_back", "release")

    def write(self, module: Module) -> None:
        """All of them. Each takes the state first."""
        module.definitions.append(_LOCKS)
        self._shrink(module)
        self._bound(module)
        self._release(module)
        self._allocation(module)
        self._give_back(module)
        f = _begin(module, "allocate", "ptr", size="i64")
        f.ret(f.call(module.functions["allocation"], f.arg("state"), f.arg("size"), 0))
        f = _begin(module, "allocate_zeros", "ptr", count="i64", each="i64")
        # numpy gives one of them as 1.
        size = f.arg("count") * f.arg("each")
        f.ret(f.call(module.functions["allocation"], f.arg("state"), size, 1))
        self._resize(module)

    def _shrink(self, module: Module) -> None:
        """Gives kept buffers back, the largest first, until no more than `most` bytes are kept."""
        f = _begin(module, "shrink", most="i64")
        state = f.pointer("state", "i64")

        def size(back: Value) -> None:
            place = f.const(_COUNTS - 1, "i64") - back
            head = state.as_("ptr").at(place)

            def one(_: Value) -> None:
                def pop() -> None:
                    words = head.load().pointer("i64")
                    head.store(words.as_("ptr").load(_FOLLOWING))
                    _add(state, place + _SIZES, -1)
                    _add(state, _KEPT, -words.load(_ROOM))
                    f.intrinsic("free", "void", words.as_("ptr").load(_RAW))

                f.when(state.load(_KEPT).compare("ugt", f.arg("most")), pop)

            f.when(
                state.load(_KEPT).compare("ugt", f.arg("most")),
                lambda: f.loop(0, state.load(place + _SIZES), one) and None,
            )

        f.loop(0, _SIZES, size)
        f.ret()

    def _bound(self, module: Module) -> None:
        """Keeps no more than goes with the mark."""
        f = _begin(module, "bound")
        state = f.pointer("state", "i64")
        mark = state.load(_MARK)
        limit = mark + mark.shifted_right(2) + SLACK
        f.call(
            module.functions["shrink"], f.arg("state"),
            f.same("llvm.usub.sat", limit, state.load(_USED)),
        )  # fmt: skip
        f.ret()

    def _release(self, module: Module) -> None:
        f = _begin(module, "release", most="i64")
        _lock(f)
        f.call(module.functions["shrink"], f.arg("state"), f.arg("most"))
        _unlock(f)
        f.ret()

    def _allocation(self, module: Module) -> None:
        f = module.function(
            "allocation", "ptr", True, ("state",), state="ptr", size="i64", zeros="i64"
        )
        size, null = f.arg("size"), f.const(0, "ptr")

        def short() -> list[Value]:
            block = _system(f, size + 16)

            def mark() -> list[Value]:
                data = block.pointer("i64").at(2)
                data.store(0, _LIST)
                data.store(size, _ROOM)
                return [data.address]

            return f.when(block.differs(null), mark, [null])

        def long() -> list[Value]:
            return [self._buffer(f)]

        least = f.const(SMALL, "i64")
        small = size.compare("ult", least)
        large = ~small & size.compare("ule", 1 << 46)
        (of_small,) = f.when(small, short, [null])
        (of_large,) = f.when(large, long, [of_small])
        f.ret(of_large)

    def _buffer(self, f: Function) -> Value:
        """A large buffer: of its list, or new."""
        module, size, null = f.module, f.arg("size"), f.const(0, "ptr")
        state = f.pointer("state", "i64")
        # Sizes are the sixteenths 9 to 16 of powers of two.
        n = size - 1
        shift = f.const(60, "i64") - f.intrinsic("llvm.ctlz.i64", "i64", n, f.const(1, "i1"))
        eighth = n.shifted_right(shift) & 7
        room = (eighth + 9) << shift
        place = (shift << 3) + eighth + _HEADS
        _lock(f)
        used = _add(state, _USED, room)
        for word in (_MARK, _NEXT):
            state.store(f.same("llvm.umax", state.load(word), used), word)
        lists = state.as_("ptr").at(place)
        head = lists.load()

        def take() -> list[Value]:
            lists.store(head.pointer("ptr").load(_FOLLOWING))
            _add(state, place + _SIZES, -1)
            _add(state, _KEPT, -room)
            _add(state, _HITS, 1)
            _unlock(f)

            def clear() -> None:
                f.intrinsic(
                    "llvm.memset.p0.i64", "void", head, f.const(0, "i8"), size, f.const(0, "i1")
                )

            f.when(f.arg("zeros").differs(0), clear)
            return [head]

        def make() -> list[Value]:
            _add(state, _MISSES, 1)
            f.call(module.functions["bound"], f.arg("state"))
            _unlock(f)

            def once_more() -> list[Value]:
                f.call(module.functions["release"], f.arg("state"), 0)
                return [_system(f, room + _FRAME)]

            raw = _system(f, room + _FRAME)
            (raw,) = f.when(raw.equals(null), once_more, [raw])

            def lost() -> None:
                _lock(f)
                _add(state, _USED, -room)
                _unlock(f)

            def frame() -> list[Value]:
                address = f.emit("i64", f"ptrtoint ptr {raw.name} to i64")
                aligned = (address + (_FRAME - 1)) & -64
                data = f.emit("ptr", f"inttoptr i64 {aligned.name} to ptr").pointer("i64")
                data.store(place, _LIST)
                data.store(room, _ROOM)
                data.as_("ptr").store(raw, _RAW)
                if self.advises:
                    f.when(room >= HUGE, lambda: self._advise(f, aligned, room))
                return [data.address]

            f.when(raw.equals(null), lost)
            return f.when(raw.differs(null), frame, [null])

        (made,) = f.when(head.differs(null), take, [null])
        (made,) = f.when(head.equals(null), make, [made])
        return made

    def _advise(self, f: Function, address: Value, room: Value) -> None:
        """Asks for large pages, as numpy does."""
        page = (address + 4095) & -4096
        f.intrinsic(
            "madvise", "i32", f.emit("ptr", f"inttoptr i64 {page.name} to ptr"), room - 4096,
            f.const(14, "i32"),
        )  # fmt: skip

    def _give_back(self, module: Module) -> None:
        # numpy says the size, too, but whoever changed an array's shape may have it wrong.
        f = _begin(module, "give_back", data="ptr", size="i64")
        state, data, null = f.pointer("state", "i64"), f.pointer("data", "i64"), f.const(0, "ptr")

        def some() -> None:
            place = data.load(_LIST)
            f.when(place.equals(0), lambda: f.intrinsic("free", "void", data.at(-2)) and None)
            f.when(place.differs(0), lambda: keep(place))

        def keep(place: Value) -> None:
            room = data.load(_ROOM)
            _lock(f)
            used, kept = _add(state, _USED, -room), _add(state, _KEPT, room)
            lists = state.as_("ptr").at(place)
            data.as_("ptr").store(lists.load(), _FOLLOWING)
            lists.store(data.address)
            _add(state, place + _SIZES, 1)
            cap = state.load(_CAP)
            shrink, bound = module.functions["shrink"], module.functions["bound"]
            f.when(kept.compare("ugt", cap), lambda: f.call(shrink, f.arg("state"), cap) and None)

            def turn() -> None:
                state.store(state.load(_NEXT), _MARK)
                state.store(used, _NEXT)
                f.call(bound, f.arg("state"))

            f.when((_add(state, _FREED, 1) & (ROUND - 1)).equals(0), turn)
            _unlock(f)

        f.when(data.address.differs(null), some)
        f.ret()

    def _resize(self, module: Module) -> None:
        f = _begin(module, "resize", "ptr", data="ptr", size="i64")
        data, size, null = f.pointer("data", "i64"), f.arg("size"), f.const(0, "ptr")
        made = f.call(module.functions["allocation"], f.arg("state"), size, 0)

        def move() -> None:
            count = f.same("llvm.umin", data.load(_ROOM), size)
            f.intrinsic("llvm.memcpy.p0.p0.i64", "void", made, data, count, f.const(0, "i1"))
            f.call(module.functions["give_back"], f.arg("state"), f.arg("data"), 0)

        f.when(made.differs(null) & data.address.differs(null), move)
        f.ret(made)


def _begin(module: Module, name: str, result: str = "void", **params: str) -> Function:
    """A function of the state and more; other names for the same memory are everywhere."""
    kinds = {"state": "ptr", **params}
    return module.function(name, result, False, tuple(kinds), **kinds)


def _lock(f: Function) -> None:
    f.line("call void @lock(ptr %state)")


def _unlock(f: Function) -> None:
    f.line("call void @unlock(ptr %state)")


def _add(words: Pointer, place: Any, more: Any) -> Value:
    """Adds to a word; the sum."""
    total = words.load(place) + more
    words.store(total, place)
    return total


def _system(f: Function, size: Value) -> Value:
    """Memory of the system's, zeros if `zeros`."""
    one = f.const(1, "i64")
    (made,) = f.when(
        f.arg("zeros").equals(0),
        lambda: [f.intrinsic("malloc", "ptr", size)],
        [f.const(0, "ptr")],
    )
    (made,) = f.when(
        f.arg("zeros").differs(0), lambda: [f.intrinsic("calloc", "ptr", one, size)], [made]
    )
    return made


class _Handler(ctypes.Structure):
    """numpy's PyDataMem_Handler."""

    _fields_ = [
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("state", ctypes.c_void_p),
        ("functions", ctypes.c_void_p * 4),
    ]


class Usage(NamedTuple):
    """Bytes of the buffers in use, and kept; how often one was reused, and made."""

    used: int
    kept: int
    reused: int
    made: int


_SET_HANDLER = 304  # place in numpy's table of functions (__multiarray_api.h)


class _Buffers:
    """Code, state and handler. They outlive every array: one is made, and never goes."""

    def __init__(self, cap: int) -> None:
        spec = Allocator()
        self._library = build.load(spec)
        *functions, release = [self._library.addresses[name] for name in spec.exports]
        self.state = np.zeros(_COUNTS + _SIZES, np.int64)
        self.state[_CAP] = cap
        self.address = self.state.ctypes.data
        self.release = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(release)
        self._handler = _Handler(b"taper", 1, self.address, (ctypes.c_void_p * 4)(*functions))
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = (
            ctypes.py_object,
            [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p],
        )
        self._name = b"mem_handler"
        self.capsule = make(ctypes.addressof(self._handler), self._name, None)

    def set(self) -> None:
        """Makes it the handler of this context."""
        from numpy._core import _multiarray_umath

        look = ctypes.pythonapi.PyCapsule_GetPointer
        look.restype, look.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        table = ctypes.cast(
            look(_multiarray_umath._ARRAY_API, None), ctypes.POINTER(ctypes.c_void_p)
        )
        ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(table[_SET_HANDLER])(self.capsule)


_buffers: _Buffers | None = None


def _cap() -> int:
    """Bytes that may be kept."""
    wish = os.environ.get("TAPER_BUFFERS", "")
    if wish.isdigit():
        return int(wish) << 20
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        memory = 4 << 30
    try:
        with open("/sys/fs/cgroup/memory.max") as file:
            memory = min(memory, int(file.read()))
    except (OSError, ValueError):  # not Linux, or no limit ("max")
        pass
    return memory // 4


def install() -> bool:
    """Lets arrays that this context makes from now on have buffers; whether they do.

    A handler that the program has set itself stays.
    """
    global _buffers
    from numpy._core.multiarray import get_handler_name

    name = get_handler_name()
    if name != "default_allocator":
        return name == "taper"
    if _buffers is None:
        cap = _cap()
        if not cap or not call.has_fast_calls():
            return False
        _buffers = _Buffers(cap)
        # Some arrays are freed when the interpreter ends, after this module: it must not go then.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(_buffers))
    _buffers.set()
    return True


def usage() -> Usage:
    """What is in use and kept now, and the counts since the start."""
    if _buffers is None:
        return Usage(0, 0, 0, 0)
    return Usage(*[int(_buffers.state[word]) for word in (_USED, _KEPT, _HITS, _MISSES)])


def release() -> None:
    """Gives all kept buffers back to the system."""
    if _buffers is not None:
        _buffers.release(_buffers.address, 0)


def _forked() -> None:
    """Whoever held the lock did not come along."""
    if _buffers is not None:
        _buffers.state[_LOCK] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
