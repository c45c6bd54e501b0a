"""Storage: the memory that a tensor shares with its views, and its version counter.

A storage is made on demand, when a second tensor begins to share the memory, when an op saves the
tensor for its derivative, or when it is written in place. A fresh result that nobody shares has
none, which keeps the making of a tensor cheap; its version is then 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

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


def strides_of_result(shape: tuple[int, ...], arrays: Iterable[Any]) -> tuple[int, ...]:
    """Strides (in elements) of the result of an elementwise op on `arrays`.

    The dimensions lie in memory as in the first array that tells two of them apart. An array in
    which one of the two is broadcast does not tell; if none does, they lie in row-major order.
    """
    ndim = len(shape)
    told = [np.broadcast_to(a, shape).strides for a in arrays if type(a) is np.ndarray and a.ndim]

    def farther(one: int, other: int) -> int:
        """1 if `one` must lie farther out than `other`, -1 if farther in, 0 if nothing says."""
        for strides in told:
            if strides[one] and strides[other] and strides[one] != strides[other]:
                return 1 if strides[one] > strides[other] else -1
        return 0

    order: list[int] = []  # from the innermost dimension outwards
    for dim in reversed([d for d in range(ndim) if shape[d] != 1]):
        place = len(order)
        for at in reversed(range(len(order))):
            relation = farther(order[at], dim)
            if relation > 0:
                place = at
            elif relation < 0:
                break
        order.insert(place, dim)
    strides = [1] * ndim
    step = 1
    for dim in order:
        strides[dim] = step
        step *= shape[dim]
    return tuple(strides)


def in_order_of(out: np.ndarray, arrays: Sequence[Any]) -> np.ndarray:
    """`out`, or a copy whose dimensions lie in memory as an elementwise op's on `arrays` do."""
    for a in arrays:
        if type(a) is np.ndarray and a.shape == out.shape:
            if a.strides == out.strides and 0 not in a.strides:
                return out
            break
    item = out.itemsize
    wanted = strides_of_result(out.shape, arrays)
    if all(n == 1 or s == w * item for n, s, w in zip(out.shape, out.strides, wanted, strict=True)):
        return out
    made = _dense(out.shape, wanted, out.dtype)
    made[...] = out
    return made


def __getattr__(name: str) -> object:
    # torch.storage has the objects that look at the memory; here they are a layer above.
    from taper import storage_view

    if not name.startswith("__") and hasattr(storage_view, name):
        return getattr(storage_view, name)
    raise AttributeError(f"module 'torch.storage' has no attribute {name!r}")


def _dense(shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array with the strides of `strides_of_result`."""
    order = sorted(range(len(shape)), key=lambda d: -strides[d])
    return np.empty([shape[d] for d in order], dtype).transpose(np.argsort(order))


def empty_in_order(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """An uninitialised array of the same shape whose dimensions lie in memory as the array's."""
    if array.flags.c_contiguous or 0 not in array.strides:
        return np.empty_like(array, dtype)
    return _dense(array.shape, strides_of_result(array.shape, (array,)), dtype)
