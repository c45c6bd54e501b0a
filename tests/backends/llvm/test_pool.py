"""The threads: every task runs exactly once, whoever calls, forks, or sleeps in between."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import taper
from taper.backends.llvm import build, call, pool
from taper.backends.llvm.text import Module

LINE = 8


@dataclass(frozen=True)
class Count:
    """task(cells, i) adds 1 to the cell of task i; repeat calls parallel_for from machine code."""

    @property
    def exports(self):
        return ("task", "repeat")

    def write(self, module: Module) -> None:
        f = module.function("task", cells="ptr", number="i64")
        cell = f.pointer("cells", "i64").at(f.arg("number") * LINE)
        cell.store(cell.load() + 1)
        f.ret()
        f = module.function("repeat", pool="ptr", code="ptr", cells="ptr", n="i64", times="i64")
        f.loop(
            0,
            f.arg("times"),
            lambda i: f.line("call void %code(ptr %pool, ptr @task, ptr %cells, i64 %n)"),
        )
        f.ret()


@dataclass(frozen=True)
class Double:
    """y[i] = 2 x[i] over a range of i, and its entry on the pool."""

    @property
    def exports(self):
        return ("entry",)

    def write(self, module: Module) -> None:
        f = module.function("kernel", x="ptr", y="ptr", begin="i64", end="i64")
        x, y = f.pointer("x", "double"), f.pointer("y", "double")
        f.loop(f.arg("begin"), f.arg("end"), lambda i: y.store(x.load(i) * 2.0, i))
        f.ret()
        pool.write_parallel_entry(module, "entry", f, ("array", "array"), grain=8)


@pytest.fixture
def two():
    made = pool.Pool(2)
    yield made
    made.close()


def fresh_cells() -> np.ndarray:
    return np.zeros(64 * LINE, np.int64)


def test_every_task_runs_exactly_once_also_when_workers_fall_asleep(two):
    addresses = build.library(Count()).addresses
    repeat = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_int64)(
        addresses["repeat"]
    )
    cells, expected = fresh_cells(), np.zeros(64, np.int64)
    chance = np.random.default_rng(0)

    for turn in range(200):
        n, times = int(chance.integers(1, 9)), int(chance.integers(1, 300))
        repeat(two.address, int(two.memory[pool._ENTRY]), cells.ctypes.data, n, times)
        expected[:n] += times
        if turn % 20 == 0:
            time.sleep(0.002)

    assert (cells[::LINE] == expected).all()


def test_threads_that_call_at_once_do_not_disturb_each_other(two):
    task = build.library(Count()).addresses["task"]
    private = [fresh_cells() for _ in range(4)]

    def work(cells):
        for _ in range(500):
            two.parallel_for(task, cells.ctypes.data, 8)

    threads = [threading.Thread(target=work, args=(cells,)) for cells in private]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all((cells[: 8 * LINE : LINE] == 500).all() for cells in private)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_the_child_of_a_fork_computes_with_workers_of_its_own():
    code = (
        "import os, sys; sys.path[:0] = ['tests', '.']\n"
        "import taper, numpy as np\n"
        "from backends.llvm.test_pool import Count, fresh_cells, LINE\n"
        "from taper.backends.llvm import build, pool\n"
        "taper.set_num_threads(2)\n"
        "task = build.library(Count()).addresses['task']\n"
        "cells = fresh_cells()\n"
        "pool.current().parallel_for(task, cells.ctypes.data, 8)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    for _ in range(100): pool.current().parallel_for(task, cells.ctypes.data, 8)\n"
        "    os._exit(0 if (cells[:8 * LINE:LINE] == 101).all() else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "pool.current().parallel_for(task, cells.ctypes.data, 8)\n"
        "assert (cells[:8 * LINE:LINE] == 2).all()\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))

    done = subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60, capture_output=True)

    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.skipif(not call.has_fast_calls(), reason="needs CPython's object layout")
@pytest.mark.parametrize("total", [0, 1, 7, 8, 9, 1000, 1001])
def test_an_entry_on_the_pool_covers_its_range_with_any_number_of_threads(total, two):
    entry = call.builtin("double", build.library(Double()).addresses["entry"])
    x = np.random.default_rng(total).random(total + 5)

    for address in (0, two.address):
        y = np.full(total + 5, -1.0)
        entry(address, x, y, total)
        assert (y[:total] == 2 * x[:total]).all()
        assert (y[total:] == -1).all()


def test_the_pool_follows_set_num_threads():
    before = taper.get_num_threads()
    try:
        taper.set_num_threads(1)
        assert pool.address() == 0
        taper.set_num_threads(2)
        assert pool.current().threads == 2
        assert pool.address() == pool.current().address
    finally:
        taper.set_num_threads(before)


def test_idle_workers_cost_nothing(two):
    cells = fresh_cells()
    two.parallel_for(build.library(Count()).addresses["task"], cells.ctypes.data, 4)
    time.sleep(0.1)
    before = time.process_time()
    time.sleep(0.5)

    assert time.process_time() - before < 0.05
