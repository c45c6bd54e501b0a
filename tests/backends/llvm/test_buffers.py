"""The memory of arrays: aligned, used again, bounded, and no different for whoever holds an array."""

from __future__ import annotations

import contextvars
import os
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from taper.backends.llvm import buffers, call

pytestmark = pytest.mark.skipif(not call.has_fast_calls(), reason="needs CPython with its lock")


@pytest.fixture(autouse=True)
def installed():
    if not buffers.install():
        pytest.skip("this program has an allocator of its own, or TAPER_BUFFERS=0")


def shown_by(code: str, **variables: str) -> str:
    """What a process prints that has installed the buffers."""
    done = subprocess.run(
        [sys.executable, "-c", "import numpy as np\nfrom taper.backends.llvm import buffers\n" + code],
        cwd=Path(__file__).parents[3], env={**os.environ, "TAPER_BUFFERS": "", **variables},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("count", [1024, 1025, 4095, 4097, 100_000, (4 << 20) + 1, 9 << 20])
def test_large_arrays_begin_at_a_cache_line(count):
    for make in (np.empty, np.zeros, np.ones):
        assert make(count, np.uint8).ctypes.data % 64 == 0


@pytest.mark.parametrize("count", [1024, 5000, 1 << 20])
def test_a_freed_buffer_is_used_again_and_zeros_are_zero(count):
    first = np.full(count, 7, np.uint8)
    where = first.ctypes.data
    del first

    again = np.zeros(count, np.uint8)

    assert again.ctypes.data == where
    assert not again.any()


def test_random_arrays_keep_what_was_written_to_them():
    chance = np.random.default_rng(0)
    live: list[tuple[np.ndarray, int]] = []
    for turn in range(5000):
        size = int(2 ** chance.uniform(0, 18))
        array = [np.empty, np.zeros][turn % 2](size, np.uint8)
        assert turn % 2 == 0 or not array.any()
        array[:] = turn % 251
        live.append((array, turn % 251))
        if len(live) > 100:
            held, value = live.pop(int(chance.integers(len(live))))
            assert (held == value).all()
    assert all((held == value).all() for held, value in live)


@pytest.mark.parametrize(("before", "after"), [(10, 20), (10, 5000), (5000, 10), (5000, 9000)])
def test_resizing_keeps_the_elements(before, after):
    array = np.arange(before)

    array.resize(after, refcheck=False)

    kept = min(before, after)
    assert (array[:kept] == np.arange(kept)).all()
    assert not array[kept:].any()


def test_empty_arrays_and_changed_shapes_are_freed_like_others():
    before = buffers.usage().used
    arrays = [np.empty((0, 3)), np.empty(0), np.zeros((1000, 0)), np.empty(4096)]
    arrays[-1].shape = (64, 64)
    arrays.append(np.fromiter(range(3000), np.int64))

    arrays.clear()

    assert buffers.usage().used == before


def test_tracemalloc_sees_arrays_come_and_go():
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        array = np.empty(1 << 20)
        during = tracemalloc.get_traced_memory()[0]
        del array
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert during - before >= 8 << 20
    assert after - before < 1 << 20


def test_a_request_beyond_all_memory_is_a_memory_error_and_leaves_the_count():
    before = buffers.usage().used
    for bytes_ in (1 << 45, 1 << 50):
        with pytest.raises(MemoryError):
            np.empty(bytes_, np.uint8)

    assert buffers.usage().used == before


def test_release_gives_everything_kept_back():
    np.empty(1 << 20)
    assert buffers.usage().kept >= 8 << 20

    buffers.release()

    assert buffers.usage().kept == 0
    assert np.ones(1 << 16).sum() == 1 << 16


def test_ten_thousand_sizes_keep_no_more_than_was_in_use():
    buffers.release()
    chance = np.random.default_rng(0)
    most = 0
    for size in chance.integers(1 << 18, 1 << 22, 10_000).tolist():
        np.empty(size, np.uint8)
        usage = buffers.usage()
        most = max(most, usage.used + usage.kept)

    # One array of at most 4 MiB, besides what the program has: the slack is what may add up.
    assert most < 1.25 * (buffers.usage().used + (8 << 20)) + (64 << 20) + (4 << 20)


def test_what_one_large_use_left_is_given_back_in_time():
    buffers.release()
    arrays = [np.empty(1 << 24, np.uint8) for _ in range(20)]
    arrays.clear()
    assert buffers.usage().kept > 300 << 20

    for _ in range(2 * buffers.ROUND + 1):
        np.empty(2048, np.uint8)

    assert buffers.usage().kept <= 1.25 * (buffers.usage().used + (1 << 20)) + buffers.SLACK


def test_the_cap_and_the_switch_are_obeyed():
    code = (
        "print(buffers.install())\n"
        "arrays = [np.empty(1 << 20, np.uint8) for _ in range(100)]; arrays.clear()\n"
        "print(buffers.usage().kept >> 20)\n"
    )
    capped, off = shown_by(code, TAPER_BUFFERS="16"), shown_by(code, TAPER_BUFFERS="0")

    assert capped.split() == ["True", "16"]
    assert off.split() == ["False", "0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_child_of_a_fork_has_buffers_of_its_own_even_if_the_lock_was_held():
    code = (
        "import os\n"
        "buffers.install(); held = np.arange(100000); np.empty(100000)\n"
        "buffers._buffers.state[buffers._LOCK] = 1\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    other = np.ones(100000)\n"
        "    os._exit(0 if other.sum() == 100000 and (held == np.arange(100000)).all() else 1)\n"
        "buffers._buffers.state[buffers._LOCK] = 0\n"
        "print(os.waitpid(child, 0)[1], held.sum())\n"
    )

    assert shown_by(code) == f"0 {sum(range(100000))}"


def test_threads_make_and_free_arrays_at_once():
    wrong = []

    def work(number: int) -> None:
        buffers.install()
        for turn in range(500):
            arrays = [np.full(200 << (turn + i) % 8, number, np.int32) for i in range(4)]
            if any((array != number).any() for array in arrays):
                wrong.append(turn)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong


def test_arrays_of_another_allocator_and_another_context_live_side_by_side():
    made: list[np.ndarray] = []
    other = threading.Thread(target=lambda: made.append(np.arange(10_000)))  # numpy's own
    other.start()
    other.join()
    contextvars.copy_context().run(lambda: made.append(np.arange(10_000)))

    total = made[0] + made[1]
    made.clear()

    assert total.sum() == 2 * sum(range(10_000))
