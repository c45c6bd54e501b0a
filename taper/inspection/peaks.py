"""What this machine can do at most: multiply-adds, and bytes to and from each level of memory.

Both are measured by kernels of our own, once a machine and number of threads, and kept beside the
compiled kernels (peaks.json). They are what a loop of nothing else reaches, so that a share of them
says how much of the machine a kernel leaves idle. Without llvmlite numpy is measured instead.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from taper.backends.llvm import machine, store
from taper.backends.llvm.pool import write_parallel_entry
from taper.backends.llvm.text import Module, Value


@dataclass(frozen=True)
class Level:
    """A level of memory: the bytes that fit, and the bytes a second that a copy reads and writes."""

    name: str
    capacity: int
    rate: float


@dataclass(frozen=True)
class Peaks:
    """Operations and bytes a second with some number of threads."""

    threads: int
    float32: float
    float64: float
    levels: tuple[Level, ...]

    def level(self, size: int) -> Level:
        """The level of memory that holds so many bytes."""
        return next((each for each in self.levels if size <= each.capacity), self.levels[-1])


# ---------------------------------------------------------------- the kernels

_TURNS = 4096


@dataclass(frozen=True)
class MultiplyAdds:
    """Multiply-adds in registers, as many at a time as hide their latency. Call: out, range of runs."""

    element: str

    exports = ("kernel", "entry")
    kinds = ("array", "int", "int")

    @staticmethod
    def chains(processor: machine.Machine) -> int:
        """Sums that grow side by side."""
        return processor.registers * 3 // 4

    def interpret(self, out: np.ndarray) -> np.ndarray:
        """Each number s becomes s / 2 + 1 / 2, over and over, and the sum of so many chains."""
        for _ in range(_TURNS):
            out = out * out.dtype.type(0.5) + out.dtype.type(0.5)
        return out * out.dtype.type(self.chains(machine.host()))

    def operations(self, runs: int) -> int:
        """Of a number of runs."""
        host = machine.host()
        lanes = host.lanes(4 if self.element == "float" else 8)
        return 2 * runs * _TURNS * self.chains(host) * lanes

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function("kernel", out="ptr", begin="i64", end="i64")
        lanes = module.lanes(self.element)
        kind = f"<{lanes} x {self.element}>"
        out, half = f.pointer("out", self.element), f.const(0.5, kind)

        def run(number: Value) -> None:
            start = out.load(number * lanes, lanes)
            sums = [start] * self.chains(module.machine)
            sums = f.loop(0, _TURNS, lambda i, *sums: [f.fma(s, half, half) for s in sums], 1, sums)
            total = sums[0]
            for each in sums[1:]:
                total = total + each
            out.store(total, number * lanes)

        f.loop(f.arg("begin"), f.arg("end"), run)
        f.ret()
        write_parallel_entry(module, "entry", f, self.kinds[:-2], 1)


@dataclass(frozen=True)
class Copy:
    """y = x, `times` over, in vectors of float32. Call: x, y, times, range of blocks of 8 vectors."""

    exports = ("kernel", "entry")
    kinds = ("array", "array", "int", "int", "int")

    def interpret(self, x: np.ndarray) -> np.ndarray:
        """By numpy."""
        return x.copy()

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function("kernel", x="ptr", y="ptr", times="i64", begin="i64", end="i64")
        lanes = module.lanes("float")
        x, y = f.pointer("x", "float"), f.pointer("y", "float")

        def block(number: Value) -> None:
            start = number * (8 * lanes)
            held = [x.load(start + i * lanes, lanes) for i in range(8)]
            for i, each in enumerate(held):
                y.store(each, start + i * lanes)

        def once(_: Value) -> None:
            f.loop(f.arg("begin"), f.arg("end"), block)

        f.loop(0, f.arg("times"), once)
        f.ret()
        write_parallel_entry(module, "entry", f, self.kinds[:-2], 1)


# ---------------------------------------------------------------- measuring


def best(run: Callable[[], Any], budget: float = 0.03, least: float = 3e-4) -> float:
    """Seconds of one run, the shortest of the rounds that fit into `budget` seconds.

    A round takes `least` seconds or more, because the clock has a cost of its own.
    """
    clock = time.perf_counter
    begin = clock()
    run()
    shortest = max(clock() - begin, 1e-9)
    number = max(1, int(least / shortest))
    while True:
        start = clock()
        for _ in range(number):
            run()
        now = clock()
        shortest = min(shortest, (now - start) / number)
        if now - begin > budget:
            return shortest


def _levels(threads: int) -> list[tuple[str, int]]:
    host = machine.host()
    found = [("L1", host.l1 * threads), ("L2", host.l2 * threads)]
    last = machine.cache_size(3, 0)
    if last > 4 * found[-1][1]:
        found.append(("L3", last))
    return found


def _measured(threads: int) -> Peaks:
    from taper.backends.llvm import pool
    from taper.backends.llvm.loaded import kernel

    workers = pool.address() if threads > 1 else 0
    rates = {}
    runs = 32
    out = np.ones(runs * machine.host().vector)
    for name, element in (("float32", "float"), ("float64", "double")):
        spec = MultiplyAdds(element)
        entry = kernel(spec)
        rates[name] = spec.operations(runs) / best(
            functools.partial(entry, workers, out, runs), 0.1
        )
    copy = kernel(Copy())
    block = 8 * machine.host().vector
    known = _levels(threads)

    def rate(size: int) -> float:
        """Of a copy in which both arrays together have so many bytes."""
        blocks = max(size // 2 // block, 1)
        x, y = (np.ones(blocks * block, np.uint8) for _ in range(2))
        times = max(1, (1 << 22) // (blocks * block))
        return 2 * x.nbytes * times / best(lambda: copy(workers, x, y, times, blocks), 0.1)

    levels = [Level(name, size, rate(size // 2)) for name, size in known]
    beyond = min(max(2 * known[-1][1], 128 << 20), 512 << 20)
    levels.append(Level("memory", 1 << 62, rate(beyond)))
    return Peaks(threads, **rates, levels=tuple(levels))


def _measured_by_numpy(threads: int) -> Peaks:
    rates = {}
    for name in ("float32", "float64"):
        x = np.ones((512, 512), name)
        rates[name] = 2 * 512**3 / best(functools.partial(np.matmul, x, x), 0.2)
    levels = []
    for name, capacity, size in (("cache", 1 << 20, 1 << 19), ("memory", 1 << 62, 128 << 20)):
        source, target = np.ones(size // 8, np.float32), np.ones(size // 8, np.float32)
        copy = functools.partial(np.copyto, target, source)
        levels.append(Level(name, capacity, 2 * source.nbytes / best(copy)))
    return Peaks(threads, **rates, levels=tuple(levels))


# ---------------------------------------------------------------- keeping


def _key(threads: int, by_kernels: bool) -> str:
    what = repr(machine.host()) if by_kernels else f"numpy {np.__version__}"
    return hashlib.sha256(f"{what} {threads}".encode()).hexdigest()[:16]


def _kept() -> dict[str, Any]:
    place = store.folder()
    if place is None:
        return {}
    try:
        found = json.loads((place / "peaks.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _keep(everything: dict[str, Any]) -> None:
    place = store.folder()
    if place is None:
        return
    beside = place / f"peaks.{os.getpid()}.tmp"
    with contextlib.suppress(OSError):
        beside.write_text(json.dumps(everything, indent=1))
        os.replace(beside, place / "peaks.json")


_known: dict[int, Peaks] = {}


def peaks_of(threads: int = 1, again: bool = False) -> Peaks:
    """This machine's, measured now if they are not kept or if `again`."""
    from taper import backends

    found = _known.get(threads)
    if found is not None and not again:
        return found
    by_kernels = backends.has_llvm()
    key = _key(threads, by_kernels)
    everything = _kept()
    if not again:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            entry = everything[key]
            levels = tuple(Level(**each) for each in entry["levels"])
            found = Peaks(threads, float(entry["float32"]), float(entry["float64"]), levels)
    if found is None or again:
        found = (_measured if by_kernels else _measured_by_numpy)(threads)
        _keep({**everything, key: asdict(found)})
    _known[threads] = found
    return found


def all_levels(found: Sequence[Peaks]) -> str:
    """Peaks as lines of text, one for each number of threads."""
    lines = []
    for each in found:
        rates = ", ".join(f"{level.name} {level.rate / 1e9:.0f} GB/s" for level in each.levels)
        threads = "1 thread" if each.threads == 1 else f"{each.threads} threads"
        lines.append(
            f"{threads}: {each.float32 / 1e9:.0f} GFLOP/s in float32, "
            f"{each.float64 / 1e9:.0f} in float64; {rates}"
        )
    return "\n".join(lines)
