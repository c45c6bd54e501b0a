"""Storage: the memory that a tensor shares with its views, and its version counter.

A storage is made on demand, when a second tensor begins to share the memory, when an op saves the
tensor for its derivative, or when it is written in place. A fresh result that nobody shares has
none, which keeps the making of a tensor cheap; its version is then 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from taper.tensor import Tensor


class Storage:
    """Memory of one or more tensors.

    `owner` is the array the memory was first seen as; `version` counts the writes since.
    """

    __slots__ = ("owner", "version")

    def __init__(self, owner: np.ndarray) -> None:
        self.owner = owner
        self.version = 0


def storage_of(tensor: Tensor) -> Storage:
    """The tensor's storage, made if it has none yet."""
    found = tensor._storage
    if found is None:
        found = tensor._storage = Storage(tensor._array)
    return found


def address(array: np.ndarray) -> int:
    """Where the array's first element lies in memory."""
    return int(array.__array_interface__["data"][0])


def memory_of(array: np.ndarray) -> np.ndarray:
    """All memory between the array's first and last element, as a flat array of its dtype.

    Strides are never negative in taper (flip copies, as PyTorch's does), so the block starts at
    the array's first element.
    """
    if array.size == 0:
        return array.reshape(-1)
    span = 1
    for extent, stride in zip(array.shape, array.strides, strict=True):
        span += (extent - 1) * (stride // array.itemsize)
    if span == array.size and array.flags.c_contiguous:
        return array.reshape(-1)
    return np.lib.stride_tricks.as_strided(array, (span,), (array.itemsize,))


def offset_of(tensor: Tensor) -> int:
    """Elements between the start of the tensor's storage and its first element."""
    storage = tensor._storage
    array = tensor._array
    if storage is None or storage.owner is array:
        return 0
    return (address(array) - address(storage.owner)) // array.itemsize
