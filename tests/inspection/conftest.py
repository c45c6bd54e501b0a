"""Peaks that are not measured: what is tested is what is made of them."""

from __future__ import annotations

import pytest

from taper import inspection
from taper.inspection import peaks, recorder


@pytest.fixture(autouse=True)
def known_peaks(monkeypatch):
    levels = (peaks.Level("L2", 1 << 20, 1e11), peaks.Level("memory", 1 << 62, 1e10))
    for threads in range(1, 65):
        known = peaks.Peaks(threads, 1e11, 5e10, levels)
        monkeypatch.setitem(peaks._known, threads, known)
    monkeypatch.setattr(recorder, "STEP", 0.001)
    monkeypatch.setattr(inspection, "WHOLE", 0.001)
