"""UntypedStorage and TypedStorage: PyTorch's objects for looking at a tensor's memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from taper import dtypes
from taper.devices import CPU, device
from taper.storage import Storage, address, memory_of


class UntypedStorage:
    """A storage as bytes."""

    def __init__(self, source: Any = 0) -> None:
        if isinstance(source, Storage):
            self._storage = source
        elif isinstance(source, int):
            self._storage = Storage(np.zeros(source, np.uint8))
        else:
            self._storage = Storage(np.array(source, np.uint8))

    @property
    def _bytes(self) -> np.ndarray:
        return memory_of(self._storage.owner).view(np.uint8)

    def data_ptr(self) -> int:
        """Address of the first byte."""
        return address(self._storage.owner) if self._storage.owner.size else 0

    def nbytes(self) -> int:
        """Number of bytes."""
        return self._bytes.size

    size = nbytes

    def element_size(self) -> int:
        return 1

    @property
    def device(self) -> device:
        return CPU

    is_cuda = False

    def __len__(self) -> int:
        return self.nbytes()

    def __getitem__(self, index: Any) -> Any:
        found = self._bytes[index]
        return UntypedStorage(Storage(found)) if isinstance(index, slice) else int(found)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._bytes[index] = value
        self._storage.version += 1

    def tolist(self) -> list[int]:
        """The bytes as Python ints."""
        return self._bytes.tolist()

    def __iter__(self) -> Iterator[int]:
        return iter(self.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and self.data_ptr() == other.data_ptr()

    def __hash__(self) -> int:
        return hash(self.data_ptr())

    def clone(self) -> UntypedStorage:
        """A copy."""
        return UntypedStorage(Storage(self._bytes.copy()))

    def copy_(self, source: UntypedStorage, non_blocking: bool = False) -> UntypedStorage:
        """Takes over the bytes of another storage."""
        self._bytes[...] = source._bytes
        self._storage.version += 1
        return self

    def fill_(self, value: int) -> UntypedStorage:
        """Sets every byte."""
        self._bytes[...] = value
        self._storage.version += 1
        return self

    def is_shared(self) -> bool:
        return False

    def cpu(self) -> UntypedStorage:
        return self


class TypedStorage:
    """A storage as elements of one dtype."""

    def __init__(self, storage: Storage, dtype: dtypes.dtype) -> None:
        self._storage = storage
        self.dtype = dtype

    @property
    def _elements(self) -> np.ndarray:
        return memory_of(self._storage.owner).view(self.dtype.numpy)

    def untyped(self) -> UntypedStorage:
        """The same memory as bytes."""
        return UntypedStorage(self._storage)

    def data_ptr(self) -> int:
        """Address of the first element."""
        return self.untyped().data_ptr()

    def size(self) -> int:
        """Number of elements."""
        return self._elements.size

    __len__ = size

    def nbytes(self) -> int:
        return self._elements.nbytes

    def element_size(self) -> int:
        return self._elements.itemsize

    def tolist(self) -> list[Any]:
        """The elements as Python numbers."""
        return self._elements.tolist()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def __getitem__(self, index: int) -> Any:
        return self._elements[index].item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._elements[index] = value
        self._storage.version += 1

    def fill_(self, value: Any) -> TypedStorage:
        """Sets every element."""
        self._elements[...] = value
        self._storage.version += 1
        return self

    @property
    def device(self) -> device:
        return CPU

    is_cuda = False
