"""Kernels that work on ranges of images or planes, made ready to be called.

A range has scratch of its own, so that several can be worked on at once. How a batch is cut depends on
its size alone, and so does every result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends.llvm import build, call, pool
from taper.backends.llvm.machine import host

# Ranges that a batch is cut into at most.
MOST = 32


class Ranged:
    """A kernel with its scratch. `work` is that of an image; a batch of more than `least` in all is
    worth the threads.
    """

    __slots__ = ("element", "entry", "few", "library", "scratch", "spare")

    def __init__(self, spec: Any, dtype: np.dtype, work: int, least: int) -> None:
        self.library = build.library(spec)  # the code lives as long as it is held
        self.entry = self.exported("entry")
        self.element = dtype
        self.few = least // work
        self.scratch = spec.scratch(host(), 1)
        self.spare = spec.scratch(host(), 2) - self.scratch

    def exported(self, name: str) -> Callable[..., None]:
        """A function of the kernel's library."""
        return call.builtin(
            f"{type(self.library.spec).__name__}_{name}", self.library.addresses[name]
        )

    def room(self, images: int, ranges: int) -> tuple[int, np.ndarray]:
        """The pool, or 0 where one thread is to work; and scratch for those who do."""
        threads = pool.address() if images > self.few else 0
        spare = (ranges - 1) * self.spare if threads else 0
        return threads, np.empty(self.scratch + spare, self.element)


def cut(images: int, unit: int = 1) -> tuple[int, int]:
    """Images of a range, a multiple of `unit`, and the number of ranges."""
    piece = -(-images // (MOST * unit)) * unit
    return piece, -(-images // piece)
