"""The machine's peaks: the kernels that measure them, and the file they are kept in."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from taper.backends.llvm import call, machine, store
from taper.inspection import peaks

kernels = pytest.mark.skipif(not call.has_fast_calls(), reason="no built-ins in this Python")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TAPER_CACHE", str(tmp_path))
    store.folder.cache_clear()
    monkeypatch.setattr(peaks, "_known", {})
    yield tmp_path
    store.folder.cache_clear()


def some(threads, rate=1e9):
    return peaks.Peaks(threads, rate, rate / 2, (peaks.Level("memory", 1 << 62, 5e9),))


def test_peaks_are_measured_once_and_kept_in_the_cache_folder(folder, monkeypatch):
    measured = []

    def measure(threads):
        measured.append(threads)
        return some(threads, 1e9 * len(measured))

    monkeypatch.setattr(peaks, "_measured", measure)
    monkeypatch.setattr(peaks, "_measured_by_numpy", measure)

    first = peaks.peaks_of(1)
    peaks.peaks_of(2)
    peaks._known.clear()  # as another process

    assert peaks.peaks_of(1) == first
    assert measured == [1, 2]
    assert peaks.peaks_of(1, again=True).float32 == 3e9
    assert (folder / "peaks.json").exists()


@pytest.mark.parametrize("content", ["", "[]", "{nonsense", '{"key": 3}'])
def test_a_damaged_file_is_measured_anew(folder, monkeypatch, content):
    (folder / "peaks.json").write_text(content)
    monkeypatch.setattr(peaks, "_measured", some)
    monkeypatch.setattr(peaks, "_measured_by_numpy", some)

    assert peaks.peaks_of(1) == some(1)
    peaks._known.clear()
    assert peaks.peaks_of(1) == some(1)


def test_without_kernels_numpy_is_measured(monkeypatch):
    monkeypatch.setattr(peaks, "best", lambda run, budget=0.0: (run(), 1.0)[1])

    found = peaks._measured_by_numpy(1)

    assert found.float32 == found.float64 == 2 * 512**3
    assert found.level(1000).name == "cache"
    assert dataclasses.asdict(found)["threads"] == 1


@kernels
@pytest.mark.parametrize("element, dtype", [("float", np.float32), ("double", np.float64)])
def test_the_multiply_adds_are_done(element, dtype):
    from taper.backends.llvm.loaded import kernel

    spec = peaks.MultiplyAdds(element)
    out = np.linspace(0, 1, 3 * machine.host().lanes(np.dtype(dtype).itemsize), dtype=dtype)
    expected = spec.interpret(out)

    kernel(spec)(0, out, 3)

    np.testing.assert_allclose(out, expected, rtol=1e-6)


@kernels
def test_the_copy_is_one_and_stays_within_its_blocks():
    from taper.backends.llvm.loaded import kernel

    block = 8 * machine.host().lanes(4)
    x = np.arange(3 * block, dtype=np.float32)
    y = np.zeros(4 * block, np.float32)

    kernel(peaks.Copy())(0, x, y, 2, 3)

    np.testing.assert_array_equal(y[: 3 * block], peaks.Copy().interpret(x))
    assert not y[3 * block :].any()
