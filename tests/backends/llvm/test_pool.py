"""The threads: every task runs exactly once, whoever calls, forks, or sleeps in between."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import taper
from taper import settings
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


def run(code: str, **variables: str) -> None:
    """Runs a program, which must not fail."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3], timeout=240, text=True,
        env={**os.environ, **variables}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


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
        repeat(two.address, int(two.memory[call.CODE]), cells.ctypes.data, n, times)
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
    run(code)


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
        assert pool.current().threads == 1
        taper.set_num_threads(2)
        assert pool.current().threads == 2
        assert pool.address() == pool.current().address
    finally:
        taper.set_num_threads(before)


def test_the_number_of_threads_may_change_while_a_thread_computes():
    before = taper.get_num_threads()
    x = taper.rand(300, 300)
    wanted = x @ x
    wrong = []

    def work():
        for _ in range(30):
            if not taper.equal(x @ x, wanted):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        for turn in range(20):
            taper.set_num_threads(1 + turn % 3)
            assert taper.equal(x @ x, wanted)
    finally:
        for thread in threads:
            thread.join()
        taper.set_num_threads(before)

    assert not wrong


# A call that would take seconds, and what must be right after it was stopped.
LONG = {
    "product": "x = taper.rand(6000, 6000); long = lambda: x @ x",
    "convolution": (
        "x, w = taper.rand(64, 64, 128, 128), taper.rand(128, 64, 3, 3)\n"
        "long = lambda: F.conv2d(x, w, padding=1)"
    ),
    "GRU": "layer, x = taper.nn.GRU(512, 1024), taper.rand(400, 64, 512); long = lambda: layer(x)",
}


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals of POSIX")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", LONG)
def test_control_c_stops_a_long_call_and_what_follows_is_right(name, threads):
    run(
        "import os, signal, threading, taper\n"
        "F = taper.nn.functional\n"
        f"taper.set_num_threads({threads})\n"
        "small = taper.rand(300, 300); wanted = small @ small\n"
        "F.conv2d(taper.rand(1, 64, 128, 128), taper.rand(128, 64, 3, 3), padding=1)\n"
        "taper.nn.GRU(512, 1024)(taper.rand(1, 64, 512))\n"
        f"{LONG[name]}\n"
        "threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try: long()\n"
        "except KeyboardInterrupt: pass\n"
        "else: raise SystemExit('it ran to its end')\n"
        "for _ in range(3): assert taper.equal(small @ small, wanted)\n"
    )


def test_other_threads_run_during_a_long_call():
    code = (
        "import threading, time, taper\n"
        "taper.set_num_threads(1)\n"
        "x = taper.rand(3000, 3000); turns = 0; over = False\n"
        "def count():\n"
        "    global turns\n"
        "    while not over: turns += 1; time.sleep(0.001)\n"
        "thread = threading.Thread(target=count); thread.start()\n"
        "time.sleep(0.05); before = turns; x @ x; after = turns; over = True; thread.join()\n"
        "assert after - before > 20, (before, after)\n"
    )
    run(code)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_in_the_middle_of_another_threads_call_and_a_loader_with_processes():
    run(
        "import os, threading, taper, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "taper.set_num_threads(2)\n"
        "x = taper.rand(500, 500); wanted = x @ x; over = False\n"
        "def work():\n"
        "    while not over: assert taper.equal(x @ x, wanted)\n"
        "thread = threading.Thread(target=work); thread.start()\n"
        "for _ in range(5):\n"
        "    child = os.fork()\n"
        "    if child == 0: os._exit(0 if taper.equal(x @ x, wanted) else 1)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "over = True; thread.join()\n"
        "data = taper.utils.data\n"
        "class Products(data.Dataset):\n"
        "    def __len__(self): return 4\n"
        "    def __getitem__(self, i): return x @ x\n"
        "for batch in data.DataLoader(Products(), num_workers=2):\n"
        "    assert taper.equal(batch[0], wanted)\n"
    )


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 1 << 30),
        ({"cpu.max": "max 100000"}, 1 << 30),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 1 << 30),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    ],
)
def test_the_quota_of_the_control_group_counts(files, cores, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")

    assert settings._quota(str(tmp_path)) == cores


def test_taper_threads_and_affinity_give_the_number_of_threads():
    code = "import os, taper\nprint(taper.get_num_threads())\nassert taper.get_num_threads() == {}"
    run(code.format(3), TAPER_THREADS="3")
    if hasattr(os, "sched_setaffinity"):
        one = code.format(1).replace(
            "taper\n", "taper; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])\n", 1
        )
        run(one, TAPER_THREADS="", OMP_NUM_THREADS="")


def test_idle_workers_cost_nothing(two):
    cells = fresh_cells()
    two.parallel_for(build.library(Count()).addresses["task"], cells.ctypes.data, 4)
    time.sleep(0.1)
    before = time.process_time()
    time.sleep(0.5)

    assert time.process_time() - before < 0.05
