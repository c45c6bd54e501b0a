"""Random shapes and batch sizes for a while: memory stays flat, kernels stay few.

`python benchmarks/memory.py` does the same for ten thousand shapes.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import taper
from backends.llvm.kernels import Axpy
from benchmarks import memory
from taper.backends.llvm import build, call
from taper.backends.llvm.functions import conv, pool


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_random_shapes_need_few_kernels_and_no_more_memory():
    threads = taper.get_num_threads()
    try:
        rows = memory.stability(600, shown=6)
    finally:
        taper.set_num_threads(threads)

    (_, first, _, made_first), *_, (_, last, kernels, made) = rows
    # A kernel takes some 100 kB; what else there is does not grow.
    assert last - first < 8 + 0.3 * (made - made_first)
    assert kernels <= build.MOST_LIBRARIES
    assert made - made_first < 150


def test_pictures_of_many_sizes_forget_kernels_and_stay_right(monkeypatch):
    """Each size has kernels of its own."""
    plans = (conv._forward, conv._input_grad, conv._weight_grad, pool._maxima)
    for each in plans:
        each.clear()
        monkeypatch.setattr(each, "_most", 3)
    monkeypatch.setattr(build, "MOST_LIBRARIES", 4)
    layer = taper.nn.Conv2d(1, 2, 3)

    for size in (*range(5, 13), *range(5, 13)):
        x = taper.ones(2, 1, size, size, requires_grad=True)
        taper.nn.functional.max_pool2d(layer(x), 2).sum().backward()
        corner = (layer.weight.sum((1, 2, 3)) + layer.bias).tolist()
        made = layer(x)[0, :, 0, 0].tolist()
        assert made == pytest.approx(corner, rel=1e-5)
        assert all(len(each) <= 3 for each in plans)

    assert len(build._libraries) <= 4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif(not call.has_fast_calls(), reason="needs CPython's object layout")
def test_kernels_that_are_forgotten_give_their_memory_back(monkeypatch):
    """Each linked library once left 10 kB behind."""
    monkeypatch.setattr(build, "MOST_LIBRARIES", 20)
    monkeypatch.setattr(build, "_LINKS", 16)
    monkeypatch.setattr(build.store, "get", lambda key: None)
    monkeypatch.setattr(build.store, "put", lambda key, code: None)

    def make(salts: range) -> float:
        for salt in salts:
            entry = build.library(Axpy(3, salt)).addresses["entry"]
            call.builtin("axpy", entry)(np.ones(3), np.ones(3), 1.0)
        return memory.resident()

    before = make(range(60))
    after = make(range(60, 220))

    assert after - before < 0.8
