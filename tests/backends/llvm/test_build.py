"""The road from text to machine code: compiling, calling, both caches, other processors."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from backends.llvm.kernels import KINDS, Axpy
from taper.backends.llvm import buffers, build, call, machine, store


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A folder of the test's own for object code."""
    buffers.install()  # its code is not among the kernels counted here
    monkeypatch.setenv("TAPER_CACHE", str(tmp_path / "kernels"))
    store.folder.cache_clear()
    build.forget()
    yield tmp_path / "kernels"
    build.forget()
    store.folder.cache_clear()


def compiled_by(action) -> dict[str, int]:
    before = dict(build.counts)
    action()
    return {key: build.counts[key] - before[key] for key in before}


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 64, 1003])
def test_a_kernel_computes_at_every_size_and_touches_nothing_beyond(n, empty_cache):
    library = build.library(Axpy(n))
    x, y = np.random.default_rng(n).random((2, n + 16))
    expected = y.copy()
    expected[:n] += 2.5 * x[:n]

    call.through_ctypes(library.addresses["kernel"], KINDS)(x, y, 2.5)

    np.testing.assert_allclose(y, expected, rtol=1e-15)


@pytest.mark.skipif(not call.has_fast_calls(), reason="needs CPython's object layout")
def test_a_built_in_made_at_run_time_agrees_with_ctypes_and_leaks_nothing(empty_cache):
    library = build.library(Axpy(5))
    fast = call.builtin("axpy", library.addresses["entry"])
    x, y = np.ones(5), np.zeros(5)
    before = sys.getrefcount(None)

    for _ in range(1000):
        assert fast(x, y, 0.5) is None

    assert y.tolist() == [500.0] * 5
    assert abs(sys.getrefcount(None) - before) < 100


def test_a_kernel_is_compiled_once_then_comes_from_memory_then_from_disk(empty_cache):
    assert compiled_by(lambda: build.library(Axpy(3)))["compiled"] == 1
    assert compiled_by(lambda: build.library(Axpy(3)))["memory"] == 1
    build.forget()
    assert compiled_by(lambda: build.library(Axpy(3)))["disk"] == 1


def test_a_damaged_file_is_compiled_again(empty_cache):
    build.library(Axpy(4))
    ((path, _, _),) = store.files()
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    build.forget()

    assert compiled_by(lambda: build.library(Axpy(4)))["compiled"] == 1


def test_the_memory_holds_a_bounded_number_of_kernels(empty_cache, monkeypatch):
    monkeypatch.setattr(build, "MOST_LIBRARIES", 3)

    for salt in range(6):
        build.library(Axpy(2, salt))

    assert len(build._libraries) == 3


def test_the_folder_is_trimmed_oldest_first(empty_cache):
    for salt in range(4):
        store.put(f"key{salt}", bytes(1000))
        os.utime(empty_cache / f"key{salt}.o", (salt, salt))

    assert store.trim(most=2500) > 0

    left = sorted(path.name for path, _, _ in store.files())
    assert left and left[-1] == "key3.o" and "key0.o" not in left


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs owners of files")
def test_a_folder_that_others_can_write_is_not_used(tmp_path, monkeypatch):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("TAPER_CACHE", str(folder))
    store.folder.cache_clear()
    try:
        assert store.folder() is None
    finally:
        store.folder.cache_clear()


def test_processes_share_the_folder(empty_cache):
    code = (
        "import sys; sys.path[:0] = ['tests', '.']\n"
        "from backends.llvm.kernels import Axpy\n"
        "from taper.backends.llvm import build\n"
        "[build.library(Axpy(n)) for n in range(1, 6)]\n"
        "print(build.counts['compiled'] + build.counts['disk'])\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=root,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TAPER_BUFFERS": "0"},
        )
        for _ in range(3)
    ]
    shown = [child.communicate(timeout=120)[0].strip() for child in children]

    assert shown == ["5"] * 3
    assert len(store.files()) == 5
    assert not list(empty_cache.glob("*.tmp"))


@pytest.mark.parametrize(
    ("target", "triple", "word"),
    [
        ("avx512", "x86_64-unknown-linux-gnu", "zmm"),
        ("avx2", "x86_64-unknown-linux-gnu", "ymm"),
        ("sse2", "x86_64-unknown-linux-gnu", "xmm"),
        ("neon", "aarch64-unknown-linux-gnu", ".2d"),
    ],
)
def test_code_for_other_processors_compiles(target, triple, word):
    assert word in build.assembly(Axpy(100), machine.cross(target, triple))
