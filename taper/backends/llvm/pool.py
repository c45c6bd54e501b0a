"""The threads: a pool whose hand-off takes a fraction of a microsecond, in machine code.

Each worker is a Python thread that enters the compiled `worker` through ctypes, which lets go of the
interpreter lock, and stays there. `parallel_for(pool, task, args, n)`, compiled too, publishes a
job, takes part in it, and returns when task(args, 0) ... task(args, n - 1) are done. What a task
computes depends on its number alone, never on who runs it: results do not depend on the threads.

One 64-bit word carries the protocol: job number << 32 | tasks not yet taken.
  take    compare-and-swap word -> word - 1, only if tasks remain. Winning proves that the job is
          open (its owner waits for this very task), so its task and args may be read.
  sleep   an idle worker spins a little, then waits on a futex for the job number to change.
  late    a worker that never wakes does no harm: the caller takes the tasks itself.
A second caller, or a task that calls parallel_for itself, finds the pool busy and runs alone; so
does the child of a fork, until it starts a pool of its own. Nested parallelism cannot happen.

Where the system has no futex (not Linux) there are no workers, and parallel_for runs alone.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm import build
from taper.backends.llvm.call import end_entry, read_argument
from taper.backends.llvm.text import Function, Module

# Fields of the pool's memory, in 8-byte words; those that threads meet at have a cache line each.
_LINE = 8
_WORD, _JOB, _PENDING, _SLEEPERS, _BUSY = (i * _LINE for i in range(5))
_ENTRY = 5 * _LINE  # address of parallel_for, for kernels that are given the pool
_CLOSED = 0xFFFFFFFF  # in the place of the task count: workers, go home

# System calls, by processor.
_CALLS = {"x86_64": (202, 24), "aarch64": (98, 124)}
_FUTEX_WAIT, _FUTEX_WAKE = 128, 129  # private to the process

_PAUSE = {
    "x86_64": "call void @llvm.x86.sse2.pause()",
    "aarch64": "call void @llvm.aarch64.hint(i32 1)",
}

_PROTOCOL = """\
declare i64 @syscall(i64, ...)
{declare_pause}

; Runs one task of the open job, if one is left; whether it did.
define internal i1 @take(ptr %pool) nounwind {{
entry:
  %word = getelementptr i64, ptr %pool, i64 {word}
  br label %attempt
attempt:
  %old = load atomic i64, ptr %word acquire, align 8
  %left = and i64 %old, {closed}
  %empty = icmp eq i64 %left, 0
  %home = icmp eq i64 %left, {closed}
  %stop = or i1 %empty, %home
  br i1 %stop, label %none, label %swap
swap:
  %less = sub i64 %old, 1
  %pair = cmpxchg ptr %word, i64 %old, i64 %less acq_rel monotonic
  %won = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %won, label %run, label %attempt
run:
  %job = getelementptr i64, ptr %pool, i64 {job}
  %task = load ptr, ptr %job, align 8
  %second = getelementptr i64, ptr %job, i64 1
  %args = load ptr, ptr %second, align 8
  %number = sub i64 %left, 1
  call void %task(ptr %args, i64 %number)
  %pending = getelementptr i64, ptr %pool, i64 {pending}
  %was = atomicrmw sub ptr %pending, i64 1 release
  ret i1 true
none:
  ret i1 false
}}

; Takes tasks; spins when there are none; sleeps when there are none for long.
define void @worker(ptr %pool) nounwind {{
entry:
  %word = getelementptr i64, ptr %pool, i64 {word}
  %sleepers = getelementptr i64, ptr %pool, i64 {sleepers}
  br label %busy
busy:
  %did = call i1 @take(ptr %pool)
  br i1 %did, label %busy, label %idle
idle:
  %count = phi i64 [ 0, %busy ], [ %more, %spin ]
  %now = load atomic i64, ptr %word monotonic, align 8
  %left = and i64 %now, {closed}
  switch i64 %left, label %busy [ i64 0, label %spin i64 {closed}, label %leave ]
spin:
  {pause}
  %more = add i64 %count, 1
  %patient = icmp ult i64 %more, {spins}
  br i1 %patient, label %idle, label %sleep
sleep:
  ; Announce, look once more, wait for the next job.
  %before = atomicrmw add ptr %sleepers, i64 1 seq_cst
  %again = load atomic i64, ptr %word seq_cst, align 8
  %still = and i64 %again, {closed}
  %none = icmp eq i64 %still, 0
  br i1 %none, label %wait, label %woken
wait:
  %half = getelementptr i8, ptr %word, i64 4
  %high = lshr i64 %again, 32
  %seen = trunc i64 %high to i32
  %slept = call i64 (i64, ...) @syscall(i64 {futex}, ptr %half, i32 {wait}, i32 %seen, ptr null)
  br label %woken
woken:
  %after = atomicrmw sub ptr %sleepers, i64 1 seq_cst
  br label %busy
leave:
  ret void
}}

define void @parallel_for(ptr %pool, ptr %task, ptr %args, i64 %n) nounwind {{
entry:
  %word = getelementptr i64, ptr %pool, i64 {word}
  %job = getelementptr i64, ptr %pool, i64 {job}
  %pending = getelementptr i64, ptr %pool, i64 {pending}
  %sleepers = getelementptr i64, ptr %pool, i64 {sleepers}
  %busy = getelementptr i64, ptr %pool, i64 {busy}
  %few = icmp sle i64 %n, 1
  br i1 %few, label %alone, label %several
several:
  %taken = atomicrmw xchg ptr %busy, i64 1 acquire
  %free = icmp eq i64 %taken, 0
  br i1 %free, label %publish, label %alone
alone:
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %each, label %over
each:
  %i = phi i64 [ 0, %alone ], [ %next, %each ]
  call void %task(ptr %args, i64 %i)
  %next = add i64 %i, 1
  %on = icmp slt i64 %next, %n
  br i1 %on, label %each, label %over
over:
  ret void
publish:
  store ptr %task, ptr %job, align 8
  %second = getelementptr i64, ptr %job, i64 1
  store ptr %args, ptr %second, align 8
  store i64 %n, ptr %pending, align 8
  ; The exchange publishes what was stored before it.
  %old = load atomic i64, ptr %word monotonic, align 8
  %high = lshr i64 %old, 32
  %up = add i64 %high, 1
  %number = shl i64 %up, 32
  %fresh = or i64 %number, %n
  %gone = atomicrmw xchg ptr %word, i64 %fresh seq_cst
  %asleep = load atomic i64, ptr %sleepers seq_cst, align 8
  %any = icmp ugt i64 %asleep, 0
  br i1 %any, label %wake, label %work
wake:
  %half = getelementptr i8, ptr %word, i64 4
  %others = sub i64 %n, 1
  %many = trunc i64 %others to i32
  %woke = call i64 (i64, ...) @syscall(i64 {futex}, ptr %half, i32 {wakeup}, i32 %many)
  br label %work
work:
  %did = call i1 @take(ptr %pool)
  br i1 %did, label %work, label %finish
finish:
  ; All are taken; wait for the last to end.
  %count = phi i64 [ 0, %work ], [ %more, %back ]
  %left = load atomic i64, ptr %pending acquire, align 8
  %ended = icmp eq i64 %left, 0
  br i1 %ended, label %done, label %spin
spin:
  {pause}
  %more = add i64 %count, 1
  %patient = icmp ult i64 %more, 20000
  br i1 %patient, label %back, label %yield
yield:
  ; The last task's thread may be waiting for this core.
  %yielded = call i64 (i64, ...) @syscall(i64 {sched_yield})
  br label %back
back:
  br label %finish
done:
  %freed = atomicrmw xchg ptr %busy, i64 0 release
  ret void
}}
"""

_ALONE = """\
define void @worker(ptr %pool) nounwind {
  ret void
}

define void @parallel_for(ptr %pool, ptr %task, ptr %args, i64 %n) nounwind {
entry:
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %each, label %over
each:
  %i = phi i64 [ 0, %entry ], [ %next, %each ]
  call void %task(ptr %args, i64 %i)
  %next = add i64 %i, 1
  %on = icmp slt i64 %next, %n
  br i1 %on, label %each, label %over
over:
  ret void
}
"""


def has_workers() -> bool:
    """Whether this system can run workers: Linux on a processor whose system calls we know."""
    return sys.platform.startswith("linux") and platform.machine() in _CALLS


@dataclass(frozen=True)
class Protocol:
    """The code of the pool. A worker spins `spins` times (tens of microseconds) before it sleeps."""

    spins: int = 4000
    processor: str = ""

    @property
    def exports(self) -> tuple[str, ...]:
        """What the Python side calls."""
        return ("worker", "parallel_for")

    def write(self, module: Module) -> None:
        """Both functions."""
        if self.processor not in _CALLS:
            module.definitions.append(_ALONE)
            return
        futex, sched_yield = _CALLS[self.processor]
        pause = _PAUSE[self.processor]
        module.definitions.append(
            _PROTOCOL.format(
                word=_WORD, job=_JOB, pending=_PENDING, sleepers=_SLEEPERS, busy=_BUSY,
                closed=_CLOSED, spins=self.spins, futex=futex, wait=_FUTEX_WAIT,
                wakeup=_FUTEX_WAKE, sched_yield=sched_yield, pause=pause,
                declare_pause=pause.replace("call", "declare").replace("i32 1", "i32"),
            )
        )  # fmt: skip


def available_cores() -> int:
    """Cores this process may use: its affinity, and the quota of its control group."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, _, period = file.read().partition(" ")
        if quota != "max":
            cores = min(cores, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):
        pass
    return cores


class Pool:
    """The memory, the code and the threads. `threads` counts the caller too."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        spec = Protocol(processor=platform.machine() if has_workers() else "")
        self._library = build.library(spec)
        self._held = np.zeros(7 * _LINE, np.int64)
        offset = -self._held.ctypes.data % 64 // 8
        self.memory = self._held[offset : offset + 6 * _LINE]
        self.address = self.memory.ctypes.data
        parallel_for = self._library.addresses["parallel_for"]
        self._run_worker = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(
            self._library.addresses["worker"]
        )
        self._parallel_for = ctypes.CFUNCTYPE(
            None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
        )(parallel_for)
        self.memory[_ENTRY] = parallel_for
        self._workers: list[threading.Thread] = []
        if spec.processor:
            for _ in range(threads - 1):
                # A plain thread would be joined before atexit's functions run, and never end.
                worker = threading.Thread(
                    target=self._run_worker, args=(self.address,), daemon=True, name="taper worker"
                )
                worker.start()
                self._workers.append(worker)

    def parallel_for(self, task: int, args: int, count: int) -> None:
        """Runs the machine code `task`, a void(ptr args, i64 number), for every number below `count`."""
        self._parallel_for(self.address, task, args, count)

    def close(self) -> None:
        """Sends the workers home and waits for them; their code must not go before them."""
        if not self._workers:
            return
        while self.memory[_BUSY]:
            time.sleep(0)
        number = (int(self.memory[_WORD]) >> 32) + 1 & 0x7FFFFFFF
        self.memory[_WORD] = number << 32 | _CLOSED
        syscall = ctypes.CDLL(None, use_errno=True).syscall
        futex = _CALLS[platform.machine()][0]
        syscall(ctypes.c_long(futex), ctypes.c_void_p(self.address + 4), _FUTEX_WAKE, 1 << 30)
        for worker in self._workers:
            worker.join()
        self._workers = []


_pool: Pool | None = None
_start = threading.Lock()


def current() -> Pool:
    """The pool, started when first asked for, with as many threads as taper may use."""
    global _pool
    from taper import settings

    wanted = settings.get_num_threads()
    found = _pool
    if found is not None and found.threads == wanted:
        return found
    with _start:
        if _pool is None or _pool.threads != wanted:
            if _pool is not None:
                _pool.close()
            _pool = Pool(wanted)
        return _pool


def address() -> int:
    """What a parallel entry is given: the pool's address, or 0 where one thread is to work."""
    from taper import settings

    return current().address if settings.get_num_threads() > 1 else 0


def _close() -> None:
    if _pool is not None:
        _pool.close()


def _forked() -> None:
    """The workers did not come along; the next call starts others."""
    global _pool, _start
    if _pool is not None:
        _pool._workers = []
    _pool = None
    _start = threading.Lock()


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


# ---------------------------------------------------------------- kernels on the pool


# Pieces that a range is cut into: enough for the last one to be short, few enough to cost nothing.
MOST_PIECES = 32


def ranges(module: Module, kernel: Function) -> Function:
    """The function that runs `kernel` over the ranges of a number of things, on the pool.

    The kernel's last two parameters are i64: the range [begin, end) of its outermost loop. The
    function takes (pool address or 0, the other parameters ..., total, size): the range 0 to total is
    cut into pieces of `size`.
    """
    found = module.functions.get(f"{kernel.name}_ranges")
    if found is not None:
        return found
    own = dict(list(kernel.params.items())[:-2])
    block = module.function(
        f"{kernel.name}_task", "void", True, ("block",), block="ptr", number="i64"
    )
    held = block.pointer("block", "i64")
    total, size = held.load(0), held.load(1)
    given = [held.at(place).as_(kind).load() for place, kind in enumerate(own.values(), 2)]
    begin = block.arg("number") * size
    block.call(kernel, *given, begin, block.minimum(begin + size, total))
    block.ret()

    params: dict[str, Any] = {"pool": "i64", **own, "total": "i64", "size": "i64"}
    f = module.function(f"{kernel.name}_ranges", "void", True, tuple(own), **params)
    pool, total, size = f.arg("pool"), f.arg("total"), f.arg("size")
    memory = f.local(len(own) + 2, "i64")
    pieces = (total + size - 1) // size
    some = pool.differs(0) & (pieces > 1)

    def on_the_pool() -> None:
        for place, value in enumerate([total, size, *map(f.arg, own)]):
            memory.at(place).as_(value.type).store(value)
        address = f.emit("ptr", f"inttoptr i64 {pool.name} to ptr")
        code = address.pointer("ptr").load(_ENTRY)
        f.line(
            f"call void {code.name}(ptr {address.name}, ptr @{block.name}, ptr {memory.name}, "
            f"i64 {pieces.name})"
        )

    f.when(some, on_the_pool)
    f.when(~some, lambda: f.call(kernel, *map(f.arg, own), 0, total) and None)
    f.ret()
    return f


def write_parallel_entry(
    module: Module, name: str, kernel: Function, kinds: tuple[str, ...], grain: int
) -> None:
    """Writes a METH_FASTCALL function that runs `kernel` over ranges, on the pool.

    The kernel's last two parameters are i64: the range [begin, end) of its outermost loop. `kinds`
    describes the others, as in call.write_entry. The entry takes (pool address or 0, the others ...,
    total): the range 0 to total is cut into pieces of at least `grain`, at most 32. The cuts depend on
    `total` alone.
    """
    run = ranges(module, kernel)
    entry = module.function(
        name, "ptr", False, ("owner", "args"), owner="ptr", args="ptr", nargs="i64"
    )
    pool = read_argument(entry, 0, "int")
    total = read_argument(entry, len(kinds) + 1, "int")
    values = [read_argument(entry, i, kind) for i, kind in enumerate(kinds, 1)]
    size = entry.maximum(entry.const(grain, "i64"), (total + (MOST_PIECES - 1)) // MOST_PIECES)
    entry.call(run, pool, *values, total, size)
    end_entry(entry)
