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

Between tasks of its own the caller looks at the clock. A call of some 100 us and more lets go of the
interpreter's lock, so that other threads of the program run; every 50 ms it takes the lock for long
enough to ask for signals. After one that raises, such as Ctrl-C, the call takes the tasks that are
left without running them, and ends with the exception. Short calls never let go.

Where the system has no futex (not Linux) there are no workers, and parallel_for runs alone.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import sys
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm import build, call
from taper.backends.llvm.text import Function, Module

# Fields of the pool's memory, in 8-byte words; those that threads meet at have a cache line each.
# The first line is laid out as the memory of a call (call.py), so that either may be given.
_LINE = 8
_WORD, _JOB, _PENDING, _SLEEPERS, _BUSY = (i * _LINE for i in range(1, 6))
_WORDS = 6 * _LINE
_CLOSED = 0xFFFFFFFF  # in the place of the task count: workers, go home

# System calls, by processor.
_CALLS = {"x86_64": (202, 24), "aarch64": (98, 124)}
_FUTEX_WAIT, _FUTEX_WAKE = 128, 129  # private to the process

_PAUSE = {
    "x86_64": "call void @llvm.x86.sse2.pause()",
    "aarch64": "call void @llvm.aarch64.hint(i32 1)",
}
# The processor's clock, and its ticks in some 100 us and some 50 ms; a factor of a few is no matter.
_CLOCKS = {
    "x86_64": ("call i64 @llvm.readcyclecounter()", 1 << 18, 1 << 27),
    "aarch64": ('call i64 asm sideeffect "mrs $0, cntvct_el0", "=r"()', 1 << 13, 1 << 20),
}

_CALLS_OF_PYTHON = """\
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare i32 @PyErr_CheckSignals()
declare i64 @llvm.readcyclecounter()

; Begins a call from Python that may be long. Its kernel is given `call` as its pool.
define void @enter(ptr %pool, ptr %call) nounwind {{
  %self = load i64, ptr %pool, align 8
  store i64 %self, ptr %call, align 8
  %code.from = getelementptr i64, ptr %pool, i64 {code}
  %code = load i64, ptr %code.from, align 8
  %code.to = getelementptr i64, ptr %call, i64 {code}
  store i64 %code, ptr %code.to, align 8
  %looks.at = getelementptr i64, ptr %call, i64 {looks}
  store i64 1, ptr %looks.at, align 8
  %stopped.at = getelementptr i64, ptr %call, i64 {stopped}
  store i64 0, ptr %stopped.at, align 8
  %state.at = getelementptr i64, ptr %call, i64 {state}
  store ptr null, ptr %state.at, align 8
  %now = {clock}
  %since.at = getelementptr i64, ptr %call, i64 {since}
  store i64 %now, ptr %since.at, align 8
  ret void
}}

; Ends it, with the interpreter's lock held again. Whether an exception has stopped it.
define i64 @leave(ptr %call) nounwind {{
entry:
  %state.at = getelementptr i64, ptr %call, i64 {state}
  %state = load ptr, ptr %state.at, align 8
  %held = icmp eq ptr %state, null
  br i1 %held, label %done, label %back
back:
  call void @PyEval_RestoreThread(ptr %state)
  br label %done
done:
  %stopped.at = getelementptr i64, ptr %call, i64 {stopped}
  %stopped = load i64, ptr %stopped.at, align 8
  ret i64 %stopped
}}

; What the calling thread does after each task of its own: lets go of the interpreter's lock when the
; call turns out to be long, and from then on asks now and then for signals. Whether to stop.
define internal i1 @look(ptr %call) nounwind {{
entry:
  %looks.at = getelementptr i64, ptr %call, i64 {looks}
  %state.at = getelementptr i64, ptr %call, i64 {state}
  %since.at = getelementptr i64, ptr %call, i64 {since}
  %stopped.at = getelementptr i64, ptr %call, i64 {stopped}
  %looks = load i64, ptr %looks.at, align 8
  %none = icmp eq i64 %looks, 0
  br i1 %none, label %done, label %time
time:
  %now = {clock}
  %since = load i64, ptr %since.at, align 8
  %passed = sub i64 %now, %since
  %long = icmp ugt i64 %passed, {long}
  br i1 %long, label %late, label %done
late:
  %state = load ptr, ptr %state.at, align 8
  %held = icmp eq ptr %state, null
  br i1 %held, label %release, label %wait
wait:
  %due = icmp ugt i64 %passed, {due}
  br i1 %due, label %ask, label %done
ask:
  call void @PyEval_RestoreThread(ptr %state)
  %raised = call i32 @PyErr_CheckSignals()
  %fine = icmp eq i32 %raised, 0
  br i1 %fine, label %release, label %stop
release:
  %saved = call ptr @PyEval_SaveThread()
  store ptr %saved, ptr %state.at, align 8
  %after = {clock}
  store i64 %after, ptr %since.at, align 8
  br label %done
stop:
  store ptr null, ptr %state.at, align 8
  store i64 0, ptr %looks.at, align 8
  store i64 1, ptr %stopped.at, align 8
  br label %done
done:
  %stopped = load i64, ptr %stopped.at, align 8
  %stops = icmp ne i64 %stopped, 0
  ret i1 %stops
}}
"""

_PROTOCOL = """\
declare i64 @syscall(i64, ...)
{declare_pause}

; Takes one task of the open job, if one is left, and runs it, unless the job was stopped; whether
; there was one.
define internal i1 @take(ptr %pool, i1 %stopped) nounwind {{
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
  br i1 %won, label %mine, label %attempt
mine:
  br i1 %stopped, label %over, label %run
run:
  %job = getelementptr i64, ptr %pool, i64 {job}
  %task = load ptr, ptr %job, align 8
  %second = getelementptr i64, ptr %job, i64 1
  %args = load ptr, ptr %second, align 8
  %number = sub i64 %left, 1
  call void %task(ptr %args, i64 %number)
  br label %over
over:
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
  %did = call i1 @take(ptr %pool, i1 false)
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

; `call` is the memory of a call, or the pool's own.
define void @parallel_for(ptr %call, ptr %task, ptr %args, i64 %n) nounwind {{
entry:
  %pool = load ptr, ptr %call, align 8
  %stopped.at = getelementptr i64, ptr %call, i64 {stopped}
  %before = load i64, ptr %stopped.at, align 8
  %going = icmp eq i64 %before, 0
  br i1 %going, label %begin, label %over
begin:
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
  %halt = call i1 @look(ptr %call)
  %not.halt = xor i1 %halt, true
  %further = and i1 %on, %not.halt
  br i1 %further, label %each, label %over
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
  %stop = phi i1 [ false, %publish ], [ false, %wake ], [ %stops, %again ]
  %did = call i1 @take(ptr %pool, i1 %stop)
  br i1 %did, label %again, label %finish
again:
  %stops = call i1 @look(ptr %call)
  br label %work
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

; Waits for the open job and sends the workers home. From then on every caller runs alone.
define void @shut(ptr %pool) nounwind {{
entry:
  %word = getelementptr i64, ptr %pool, i64 {word}
  %busy = getelementptr i64, ptr %pool, i64 {busy}
  br label %attempt
attempt:
  %yielded = call i64 (i64, ...) @syscall(i64 {sched_yield})
  %taken = atomicrmw xchg ptr %busy, i64 1 acquire
  %free = icmp eq i64 %taken, 0
  br i1 %free, label %mine, label %attempt
mine:
  %old = load atomic i64, ptr %word monotonic, align 8
  %high = lshr i64 %old, 32
  %up = add i64 %high, 1
  %number = shl i64 %up, 32
  %fresh = or i64 %number, {closed}
  %gone = atomicrmw xchg ptr %word, i64 %fresh seq_cst
  %half = getelementptr i8, ptr %word, i64 4
  %woke = call i64 (i64, ...) @syscall(i64 {futex}, ptr %half, i32 {wakeup}, i32 1073741824)
  ret void
}}
"""

_ALONE = """\
define void @worker(ptr %pool) nounwind {{
  ret void
}}

define void @shut(ptr %pool) nounwind {{
  ret void
}}

define void @parallel_for(ptr %call, ptr %task, ptr %args, i64 %n) nounwind {{
entry:
  %stopped.at = getelementptr i64, ptr %call, i64 {stopped}
  %before = load i64, ptr %stopped.at, align 8
  %going = icmp eq i64 %before, 0
  %some = icmp sgt i64 %n, 0
  %starts = and i1 %going, %some
  br i1 %starts, label %each, label %over
each:
  %i = phi i64 [ 0, %entry ], [ %next, %each ]
  call void %task(ptr %args, i64 %i)
  %next = add i64 %i, 1
  %on = icmp slt i64 %next, %n
  %halt = call i1 @look(ptr %call)
  %not.halt = xor i1 %halt, true
  %further = and i1 %on, %not.halt
  br i1 %further, label %each, label %over
over:
  ret void
}}
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
        """What the Python side, and the entries of kernels, call."""
        return ("worker", "shut", "parallel_for", "enter", "leave")

    def write(self, module: Module) -> None:
        """All functions."""
        processor = (
            "aarch64" if module.machine.triple.startswith(("aarch64", "arm64")) else "x86_64"
        )
        clock, long, due = _CLOCKS[processor]
        words = {
            "word": _WORD, "job": _JOB, "pending": _PENDING, "sleepers": _SLEEPERS, "busy": _BUSY,
            "code": call.CODE, "looks": call.LOOKS, "stopped": call.STOPPED, "state": call.STATE,
            "since": call.SINCE,
        }  # fmt: skip
        module.definitions.append(_CALLS_OF_PYTHON.format(clock=clock, long=long, due=due, **words))
        if self.processor not in _CALLS:
            module.definitions.append(_ALONE.format(**words))
            return
        futex, sched_yield = _CALLS[self.processor]
        pause = _PAUSE[self.processor]
        module.definitions.append(
            _PROTOCOL.format(
                closed=_CLOSED, spins=self.spins, futex=futex, wait=_FUTEX_WAIT,
                wakeup=_FUTEX_WAKE, sched_yield=sched_yield, pause=pause,
                declare_pause=pause.replace("call", "declare").replace("i32 1", "i32"), **words,
            )
        )  # fmt: skip


class Pool:
    """The memory, the code and the threads. `threads` counts the caller too."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        spec = Protocol(processor=platform.machine() if has_workers() else "")
        self._library = build.library(spec)
        addresses = self._library.addresses
        self._held = np.zeros(_WORDS + _LINE, np.int64)
        offset = -self._held.ctypes.data % 64 // 8
        self.memory = self._held[offset : offset + _WORDS]
        self.address = self.memory.ctypes.data
        self.memory[call.POOL] = self.address
        self.memory[call.CODE] = addresses["parallel_for"]
        self.memory[call.ENTER] = addresses["enter"]
        self.memory[call.LEAVE] = addresses["leave"]
        word, number = ctypes.c_void_p, ctypes.c_int64
        run = ctypes.CFUNCTYPE(None, word)(addresses["worker"])
        self._shut = ctypes.CFUNCTYPE(None, word)(addresses["shut"])
        self._parallel_for = ctypes.CFUNCTYPE(None, word, word, word, number)(
            addresses["parallel_for"]
        )
        self._workers: list[threading.Thread] = []
        if spec.processor:
            for _ in range(threads - 1):
                # A plain thread would be joined before atexit's functions run, and never end.
                worker = threading.Thread(
                    target=run, args=(self.address,), daemon=True, name="taper worker"
                )
                worker.start()
                self._workers.append(worker)

    def parallel_for(self, task: int, args: int, count: int) -> None:
        """Runs the machine code `task`, a void(ptr args, i64 number), for every number below `count`."""
        self._parallel_for(self.address, task, args, count)

    def close(self) -> None:
        """Sends the workers home and waits for them; their code must not go before them.

        Calls that are under way go on alone, so the memory must stay.
        """
        if self._workers:
            self._shut(self.address)
        for worker in self._workers:
            worker.join()
        self._workers = []


# By their number of threads. One that is not current sleeps: a call in another thread may have it.
_pools: dict[int, Pool] = {}
_start = threading.Lock()


def current() -> Pool:
    """The pool with as many threads as taper may use, started when first asked for."""
    from taper import settings

    wanted = settings.get_num_threads()
    found = _pools.get(wanted)
    if found is None:
        with _start:
            found = _pools.get(wanted)
            if found is None:
                found = _pools[wanted] = Pool(wanted)
    return found


def address() -> int:
    """What a kernel is given whose work may be worth threads: the pool's address.

    With a single thread, too: long calls let go of the interpreter, and can be interrupted.
    """
    return current().address


def _close() -> None:
    for pool in _pools.values():
        pool.close()


def _forked() -> None:
    """The workers did not come along; the next call starts others."""
    global _start
    for pool in _pools.values():
        pool._workers = []
    _pools.clear()
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
    some = pool.differs(0) & (pieces > 0)

    def on_the_pool() -> None:
        for place, value in enumerate([total, size, *map(f.arg, own)]):
            memory.at(place).as_(value.type).store(value)
        address = f.emit("ptr", f"inttoptr i64 {pool.name} to ptr")
        code = address.pointer("ptr").load(call.CODE)
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
    own = dict(list(kernel.params.items())[:-2])
    params: dict[str, Any] = {"pool": "i64", **own, "total": "i64"}
    f = module.function(f"{kernel.name}_cut", "void", True, tuple(own), **params)
    total = f.arg("total")
    size = f.maximum(f.const(grain, "i64"), (total + (MOST_PIECES - 1)) // MOST_PIECES)
    f.call(ranges(module, kernel), *map(f.arg, params), size)
    f.ret()
    call.write_entry(module, name, f, ("int", *kinds, "int"))
