"""UntypedStorage and TypedStorage: PyTorch's objects for looking at a tensor's memory.

Both are windows on the `Storage` that a tensor shares with its views. What is written through them
shows in the tensors. The size of the memory is fixed, because tensors hold it directly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from taper import dtypes
from taper.devices import CPU, device, require_cpu
from taper.errors import MissingFeature
from taper.storage import Storage, address, memory_of

_CASTS = {
    "bfloat16": dtypes.bfloat16,
    "bool": dtypes.bool_,
    "byte": dtypes.uint8,
    "char": dtypes.int8,
    "complex_double": dtypes.complex128,
    "complex_float": dtypes.complex64,
    "double": dtypes.float64,
    "float": dtypes.float32,
    "half": dtypes.float16,
    "int": dtypes.int32,
    "long": dtypes.int64,
    "short": dtypes.int16,
}


class _Window:
    """What the two kinds of storage have in common."""

    _storage: Storage
    is_cuda: ClassVar[bool] = False
    is_hpu: ClassVar[bool] = False
    is_sparse: ClassVar[bool] = False

    @property
    def _elements(self) -> np.ndarray:
        raise NotImplementedError

    @property
    def device(self) -> device:
        """Where the memory is: on the CPU."""
        return CPU

    def get_device(self) -> int:
        """Index of the GPU; -1 on the CPU."""
        return -1

    def data_ptr(self) -> int:
        """Address of the first byte."""
        return address(self._storage.owner) if self._storage.owner.size else 0

    def nbytes(self) -> int:
        """Number of bytes."""
        return self._elements.nbytes

    def size(self) -> int:
        """Number of elements."""
        return self._elements.size

    def element_size(self) -> int:
        """Bytes of one element."""
        return self._elements.itemsize

    def __len__(self) -> int:
        return self._elements.size

    def tolist(self) -> list[Any]:
        """The elements as Python numbers."""
        array = self._elements
        return (array.astype(np.float32) if array.dtype.kind == "V" else array).tolist()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def __setitem__(self, index: Any, value: Any) -> None:
        self._elements[index] = value
        self._storage.version += 1

    def fill_(self, value: Any) -> Any:
        """Sets every element."""
        self[:] = value
        return self

    def copy_(self, source: Any, non_blocking: bool = False) -> Any:
        """Takes over the elements of another storage of the same size."""
        self[:] = source._elements
        return self

    def resizable(self) -> bool:
        """Always False: tensors hold the memory directly."""
        return False

    def resize_(self, size: int) -> Any:
        """Raises: NotImplementedError unless the size is what it is."""
        if size != self.size():
            raise MissingFeature(
                "storage.resize_",
                "the size of a storage is fixed; use tensor.resize_() or make a new tensor",
            )
        return self

    def is_shared(self) -> bool:
        """Whether the memory is shared between processes."""
        return False

    def is_pinned(self, device: Any = None) -> bool:
        """Always False without a GPU."""
        return False

    def pin_memory(self, device: Any = None) -> Any:
        """Raises: RuntimeError, as PyTorch does on a machine without a GPU."""
        raise RuntimeError("Cannot access accelerator device when none is available.")

    def share_memory_(self) -> Any:
        """The storage itself; worker processes get copies."""
        return self

    def cpu(self) -> Any:
        """The storage itself: it is on the CPU."""
        return self

    def cuda(self, device: Any = None, non_blocking: bool = False) -> Any:
        """Raises: AssertionError, as PyTorch does on a machine without a GPU."""
        require_cpu("cuda")
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.data_ptr() == other.data_ptr()

    def __hash__(self) -> int:
        return hash(self.data_ptr())

    def _text(self, kind: str) -> str:
        numbers = "\n".join(f" {x}" for x in self.tolist())
        return f"{numbers}\n[torch.storage.{kind} of size {len(self)}]"


class UntypedStorage(_Window):
    """A storage as bytes."""

    def __init__(self, source: Any = 0) -> None:
        if isinstance(source, Storage):
            self._storage = source
        elif isinstance(source, int):
            self._storage = Storage(np.zeros(source, np.uint8))
        else:
            self._storage = Storage(np.array(source, np.uint8))

    @property
    def _elements(self) -> np.ndarray:
        return memory_of(self._storage.owner).view(np.uint8)

    @property
    def _bytes(self) -> np.ndarray:
        return self._elements

    def __getitem__(self, index: Any) -> Any:
        found = self._elements[index]
        return UntypedStorage(Storage(found)) if isinstance(index, slice) else int(found)

    def __repr__(self) -> str:
        return self._text("UntypedStorage(device=cpu)")

    def untyped(self) -> UntypedStorage:
        """The storage itself."""
        return self

    def new(self) -> UntypedStorage:
        """An empty storage."""
        return UntypedStorage(0)

    def clone(self) -> UntypedStorage:
        """A copy."""
        return UntypedStorage(Storage(self._elements.copy()))

    @staticmethod
    def from_buffer(
        buffer: Any, byte_order: str = "native", *, count: int = -1, offset: int = 0
    ) -> UntypedStorage:
        """A copy of the bytes of a Python buffer."""
        return UntypedStorage(Storage(np.frombuffer(buffer, np.uint8, count, offset).copy()))


def elements_of(source: _Window, dtype: dtypes.dtype) -> np.ndarray:
    """A storage's memory as elements of a dtype. RuntimeError for elements of another."""
    own = getattr(source, "dtype", dtype)
    if own is not dtype:
        raise RuntimeError(
            f"Expected a Storage of type {dtypes.cpp_name(dtype)} or an UntypedStorage, but got "
            f"type {dtypes.cpp_name(own)} for argument 1 'storage'"
        )
    return memory_of(source._storage.owner).view(np.uint8).view(dtype.numpy)


class TypedStorage(_Window):
    """A storage as elements of one dtype."""

    def __init__(self, storage: Storage, dtype: dtypes.dtype) -> None:
        self._storage = storage
        self.dtype = dtype

    @property
    def _elements(self) -> np.ndarray:
        return memory_of(self._storage.owner).view(self.dtype.numpy)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise RuntimeError("slices are only supported in UntypedStorage.__getitem__")
        return self._elements[index].item()

    def __repr__(self) -> str:
        return self._text(f"TypedStorage(dtype={self.dtype!r}, device=cpu)")

    def untyped(self) -> UntypedStorage:
        """The same memory as bytes."""
        return UntypedStorage(self._storage)

    def clone(self) -> TypedStorage:
        """A copy."""
        return TypedStorage(Storage(self._elements.copy()), self.dtype)

    def type(self, dtype: Any = None) -> Any:
        """The name of the storage's type, or the elements cast to another."""
        if dtype is None:
            return f"torch.{self.pickle_storage_type()}"
        return self._cast(dtype)

    def pickle_storage_type(self) -> str:
        """The name under which files keep such a storage, such as FloatStorage."""
        return dtypes.cpp_name(self.dtype) + "Storage"

    def _cast(self, to: dtypes.dtype) -> TypedStorage:
        if to is self.dtype:
            return self
        return TypedStorage(Storage(self._elements.astype(to.numpy)), to)


def _named_cast(name: str, to: dtypes.dtype) -> Any:
    def method(self: TypedStorage) -> TypedStorage:
        return self._cast(to)

    method.__name__ = name
    method.__doc__ = f"The elements as {to!r}."
    return method


for _name, _dtype in _CASTS.items():
    setattr(TypedStorage, _name, _named_cast(_name, _dtype))


class _StorageType(type):
    """Class of FloatStorage and the other old types, which make a TypedStorage of their dtype."""

    dtype: dtypes.dtype

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, TypedStorage) and instance.dtype is cls.dtype

    def __call__(cls, *args: Any, wrap_storage: UntypedStorage | None = None) -> TypedStorage:
        if wrap_storage is not None and not args:
            return TypedStorage(wrap_storage._storage, cls.dtype)
        if len(args) > 1 or wrap_storage is not None:
            raise RuntimeError(cls._usage() + "Too many positional arguments")
        data = args[0] if args else 0
        if isinstance(data, int):
            return TypedStorage(Storage(np.zeros(data, cls.dtype.numpy)), cls.dtype)
        if not isinstance(data, (Sequence, np.ndarray)) or isinstance(data, str):
            raise TypeError(f"{cls._usage()}Argument type not recognized: {type(data)}")
        return TypedStorage(Storage(np.array(data, cls.dtype.numpy)), cls.dtype)

    def _usage(cls) -> str:
        return (
            f"{cls!r}.__new__ received an invalid combination of arguments. Expected one of:\n"
            " * no arguments\n * (int size)\n * (Sequence data)\n"
            " * (*, UntypedStorage wrap_storage)\n"
        )

    def from_buffer(cls, *args: Any, **kwargs: Any) -> TypedStorage:
        """A copy of the bytes of a Python buffer."""
        kwargs.pop("dtype", None)
        size = cls.dtype.itemsize
        kwargs["count"] = kwargs.get("count", -1) * (size if kwargs.get("count", -1) > 0 else 1)
        return TypedStorage(UntypedStorage.from_buffer(*args, **kwargs)._storage, cls.dtype)


def _storage_type(dtype: dtypes.dtype) -> _StorageType:
    name = dtypes.cpp_name(dtype) + "Storage"
    made = _StorageType(name, (), {"__module__": "torch", "__doc__": f"Storages of {dtype!r}."})
    made.dtype = dtype
    return made


TYPES = {made.__name__: made for made in (_storage_type(dtype) for dtype in _CASTS.values())}


globals().update(TYPES)


def _dtype_to_storage_type_map() -> dict[dtypes.dtype, str]:
    """The names of the storage types by their dtypes."""
    return {made.dtype: name for name, made in TYPES.items()}
