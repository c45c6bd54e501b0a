"""Kernels are seen while they are called, and only then."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from backends.llvm.kernels import KINDS, Axpy
from taper.backends.llvm import build, call
from taper.backends.llvm.loaded import kept_library
from taper.backends.llvm.watch import Watch

pytestmark = pytest.mark.skipif(not call.has_fast_calls(), reason="no built-ins in this Python")


@pytest.fixture
def kernel():
    return call.builtin("axpy", kept_library(Axpy(5)).addresses["entry"])


def test_a_call_is_shown_with_its_arguments_and_made_by_the_watcher(kernel):
    x, y = np.arange(5.0), np.ones(5)
    seen = []

    def see(address, function, arguments):
        seen.append((build.origin(address), arguments))
        return function(*arguments)

    with Watch(see):
        kernel(x, y, 2.0)

    ((origin, arguments),) = seen
    assert origin == (Axpy(5), "entry")
    assert arguments[0] is x and arguments[1] is y and arguments[2] == 2.0
    assert y.tolist() == [1, 3, 5, 7, 9]


def test_nothing_is_seen_after_the_block_or_while_suspended(kernel):
    x, y = np.ones(5), np.zeros(5)
    seen = []

    def see(address, function, arguments):
        seen.append(address)
        return function(*arguments)

    with Watch(see) as watch:
        with watch.suspended():
            kernel(x, y, 1.0)
        assert not seen
        kernel(x, y, 1.0)
        assert len(seen) == 1
    kernel(x, y, 1.0)

    assert len(seen) == 1
    assert y.tolist() == [3.0] * 5


def test_what_the_watcher_calls_is_not_shown_again(kernel):
    x, y = np.ones(5), np.zeros(5)
    depth = []

    def see(address, function, arguments):
        depth.append(len(depth))
        for _ in range(3):
            function(*arguments)

    with Watch(see):
        kernel(x, y, 1.0)

    assert depth == [0]
    assert y.tolist() == [3.0] * 5


def test_other_threads_call_as_ever(kernel):
    x, y = np.ones(5), np.zeros(5)
    seen = []

    with Watch(lambda address, function, arguments: seen.append(address)):
        thread = threading.Thread(target=kernel, args=(x, y, 4.0))
        thread.start()
        thread.join()

    assert not seen
    assert y.tolist() == [4.0] * 5


def test_an_error_of_the_watcher_is_raised_at_the_end(kernel):
    def see(address, function, arguments):
        raise KeyError("seen")

    with pytest.raises(KeyError, match="seen"), Watch(see):
        kernel(np.ones(5), np.ones(5), 1.0)

    y = np.zeros(5)
    kernel(np.ones(5), y, 1.0)
    assert y.tolist() == [1.0] * 5


def test_functions_by_way_of_ctypes_are_seen_too():
    kernel = call.through_ctypes(kept_library(Axpy(6)).addresses["kernel"], KINDS)
    y = np.zeros(6)
    seen = []

    def see(address, function, arguments):
        seen.append(build.origin(address))
        return function(*arguments)

    with Watch(see):
        kernel(np.ones(6), y, 2.0)

    assert seen == [(Axpy(6), "kernel")]
    assert y.tolist() == [2.0] * 6
