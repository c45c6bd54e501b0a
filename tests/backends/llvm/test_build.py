"""The road from text to machine code: compiling, calling, both caches, other processors."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

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


def test_eight_processes_that_start_at_once_share_an_empty_folder(empty_cache):
    code = (
        "import sys; sys.path[:0] = ['tests', '.']\n"
        "from backends.llvm.kernels import Axpy\n"
        "from taper.backends.llvm import build\n"
        "[build.library(Axpy(n)) for n in range(1, 6)]\n"
        "print(build.counts['compiled'] + build.counts['disk'])\n"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    environment = {**os.environ, "TAPER_BUFFERS": "0"}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=root,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(8)
    ]
    shown = [child.communicate(timeout=120)[0].strip() for child in children]

    assert shown == ["5"] * 8
    assert len(store.files()) == 5
    assert not list(empty_cache.glob("*.tmp"))


def works(n: int) -> bool:
    """Whether a kernel of this size is right, past the memory."""
    build.forget()
    x, y = np.ones((2, n))
    call.through_ctypes(build.library(Axpy(n)).addresses["kernel"], KINDS)(x, y, 2.0)
    return bool((y == 3).all())


@pytest.mark.parametrize("content", [b"", b"short", bytes(1000)])
def test_files_cut_short_or_overwritten_are_no_harm(content, empty_cache):
    assert works(6)
    for path, _, _ in store.files():
        path.write_bytes(content)

    assert works(6)
    assert works(6)


def test_a_folder_in_the_place_of_a_file_is_no_harm(empty_cache):
    assert works(6)
    for path, _, _ in store.files():
        path.unlink()
        path.mkdir()

    assert works(6)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_disk_that_is_full_or_read_only_is_no_harm(number, empty_cache, monkeypatch):
    real = Path.write_bytes

    def refuse(path, content):
        if number == errno.ENOSPC:
            real(path, content[:100])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", refuse)

    assert works(6)
    assert works(6)
    assert not list(empty_cache.iterdir())


@pytest.mark.parametrize("place", ["/proc/taper/kernels", "/dev/null/kernels", "/dev/null"])
def test_a_folder_that_cannot_be_made_is_no_harm(place, monkeypatch):
    buffers.install()
    monkeypatch.setenv("TAPER_CACHE", place)
    store.folder.cache_clear()
    try:
        assert works(6)
        assert store.files() == []
        assert store.clear() == 0
    finally:
        store.folder.cache_clear()
        build.forget()


def test_without_a_home_nothing_is_kept(monkeypatch):
    monkeypatch.delenv("TAPER_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    store.folder.cache_clear()
    try:
        assert store.folder() is None
    finally:
        store.folder.cache_clear()


def test_what_killed_processes_left_is_swept_in_time(empty_cache):
    store.put("key", bytes(10))
    old, new = empty_cache / "a.1.tmp", empty_cache / "b.2.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))

    store.trim()

    assert not old.exists()
    assert new.exists()


@pytest.mark.skipif(not call.has_fast_calls(), reason="needs CPython's object layout")
def test_a_built_in_that_goes_takes_its_definition_along(empty_cache):
    library = build.library(Axpy(5))
    before = len(call.builtins())
    made = [call.builtin(f"axpy{i}", library.addresses["entry"]) for i in range(50)]
    assert len(call.builtins()) == before + 50

    made[0](np.ones(5), np.ones(5), 1.0)
    made.clear()

    assert len(call.builtins()) == before


def test_the_libraries_used_last_stay(empty_cache, monkeypatch):
    monkeypatch.setattr(build, "MOST_LIBRARIES", 3)
    for salt in (0, 1, 2, 0, 3):
        build.library(Axpy(2, salt))

    assert [spec.salt for spec in build._libraries] == [2, 0, 3]


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
