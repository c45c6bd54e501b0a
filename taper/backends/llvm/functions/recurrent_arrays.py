"""What both ways to run recurrent layers need of arrays: sizes, strides, kernels as functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm import call
from taper.backends.llvm.loaded import kept_library

Array = np.ndarray
ELEMENTS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}

# Multiplications, in a step or together, from which threads pay.
PARALLEL = 1 << 19


@dataclass(frozen=True)
class Sizes:
    """A layer and the shape of its input, which is (batch, inputs) for a cell.

    `packed` are the batch sizes of a packed input, (rows, inputs).
    """

    cell: str
    dtype: Any
    inputs: int
    hidden: int
    shape: tuple[int, ...]
    batch_first: bool
    reverse: bool
    packed: tuple[int, ...] | None = None

    @property
    def whole(self) -> bool:
        """Whether the input has a dimension of steps."""
        return len(self.shape) == 3

    @property
    def batch(self) -> int:
        """Sequences."""
        if self.packed is not None:
            return self.packed[0]
        return self.shape[0 if self.batch_first or not self.whole else 1]

    @property
    def steps(self) -> int:
        """Steps of each, or of the longest."""
        if self.packed is not None:
            return len(self.packed)
        return self.shape[1 if self.batch_first else 0] if self.whole else 1

    @property
    def state(self) -> tuple[int, ...]:
        """The shape of a state."""
        cell = not self.whole and self.packed is None
        return (self.batch, self.hidden) if cell else (1, self.batch, self.hidden)

    @property
    def order(self) -> tuple[int, int]:
        """The step where a sequence starts, and where it goes from there."""
        return (self.steps - 1, -1) if self.reverse else (0, 1)

    def places(self, strides: tuple[int, ...]) -> tuple[bool, int, int]:
        """Whether an array of such rows must be copied; elements between sequences, and steps."""
        size = self.dtype.itemsize
        copied = strides[-1] != size or any(stride % size for stride in strides)
        if copied:
            features = self.inputs
            strides = (self.shape[-2] * features * size, features * size, size)[-len(strides) :]
        if not self.whole:
            return copied, strides[0] // size, 0
        one, other = strides[0] // size, strides[1] // size
        return (copied, one, other) if self.batch_first else (copied, other, one)


def plain(x: Array) -> Array:
    """The array, without gaps."""
    return x if x.flags.c_contiguous else np.ascontiguousarray(x)


@functools.lru_cache(64)
def zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros that are only read: absent biases, first states, and gradients."""
    made = np.zeros(shape, dtype)
    made.flags.writeable = False
    return made


@functools.cache
def function(spec: Any, name: str) -> Callable[..., None]:
    """An exported kernel as a Python function."""
    library = kept_library(spec)
    if call.has_fast_calls():
        return call.builtin(name, library.addresses[name + "_entry"])
    return call.through_ctypes(library.addresses[name], getattr(spec, name + "_kinds"))
