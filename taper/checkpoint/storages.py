"""The memory of tensors in a checkpoint: its types, its places, and how it is filed."""

from __future__ import annotations

from collections.abc import Callable, ItemsView
from typing import Any

import numpy as np

from taper import dtypes
from taper.errors import CheckpointError, CheckpointPickleError
from taper.storage import Storage, address, memory_of
from taper.storage_view import TypedStorage, UntypedStorage

_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}


class StorageType:
    """A storage class as a checkpoint names it, such as FloatStorage; never called."""

    __slots__ = ("dtype", "name")

    def __init__(self, name: str, dtype: dtypes.dtype | None) -> None:
        self.name = name
        self.dtype = dtype

    @property
    def itemsize(self) -> int:
        """Bytes of an element; 1 for UntypedStorage."""
        return 1 if self.dtype is None else self.dtype.itemsize

    def over(self, memory: np.ndarray) -> TypedStorage | UntypedStorage:
        """A storage of this type over bytes."""
        if self.dtype is None:
            return UntypedStorage(Storage(memory))
        return TypedStorage(Storage(memory.view(self.dtype.numpy)), self.dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return STORAGE_TYPES.__getitem__, (self.name,)

    def __repr__(self) -> str:
        return f"torch.{self.name}"


_NAMED = dtypes.names()
STORAGE_TYPES = {name: StorageType(name, _NAMED[held]) for name, held in _DTYPES.items()}
STORAGE_TYPES["UntypedStorage"] = StorageType("UntypedStorage", None)
_BY_DTYPE = {kind.dtype: kind for kind in STORAGE_TYPES.values()}


def has_storage_type(dtype: dtypes.dtype) -> bool:
    """Whether PyTorch has a storage class for the dtype; the wide unsigned ones have none."""
    return dtype in _BY_DTYPE


def storage_key(key: Any, length: int) -> tuple[StorageType, str, str, int]:
    """Type, key, place and number of elements in a storage's persistent id, checked."""

    def text(value: Any) -> Any:
        return value.decode("ascii") if isinstance(value, bytes) else value

    if type(key) is not tuple:
        raise CheckpointPickleError(f"persistent_load id must be tuple or int, but got {type(key)}")
    if not key or text(key[0]) != "storage":
        raise CheckpointPickleError(
            f"Only persistent_load of storage is allowed, but got {key[0] if key else key!r}"
        )
    if len(key) < length:
        raise CheckpointPickleError(f"a storage's id has {len(key)} parts instead of {length}")
    kind, name, place, count = key[1], text(key[2]), text(key[3]), key[4]
    if type(kind) is not StorageType:
        raise CheckpointPickleError(f"{kind!r} is not a storage type")
    if type(name) is not str or type(place) is not str or type(count) is not int or count < 0:
        raise CheckpointPickleError(f"a storage's id is damaged: {key[1:]!r}")
    return kind, name, place, count


# ---------------------------------------------------------------- places

PlaceOf = Callable[[UntypedStorage, str], Any]


def _on_cpu(storage: UntypedStorage, place: str) -> UntypedStorage:
    if place == "cpu":
        return storage
    if place.startswith("cuda"):
        raise RuntimeError(
            "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is "
            "False. If you are running on a CPU-only machine, please use torch.load with "
            "map_location=torch.device('cpu') to map your storages to the CPU."
        )
    raise RuntimeError(
        "don't know how to restore data location of torch.storage.UntypedStorage "
        f"(tagged with {place}); map_location='cpu' loads it to the CPU"
    )


def place_of(map_location: Any) -> PlaceOf:
    """A function that puts a storage, saved at a place such as "cpu", where it shall go."""
    if map_location is None:
        return _on_cpu
    if isinstance(map_location, dict):
        return lambda storage, place: _on_cpu(storage, str(map_location.get(place, place)))
    if callable(map_location):

        def placed(storage: UntypedStorage, place: str) -> Any:
            chosen = map_location(storage, place)
            return _on_cpu(storage, place) if chosen is None else chosen

        return placed
    fixed = map_location.decode() if isinstance(map_location, bytes) else str(map_location)
    return lambda storage, place: _on_cpu(storage, fixed)


def placed_bytes(place_of: PlaceOf, memory: np.ndarray, place: str) -> np.ndarray:
    """The bytes of a storage after `place_of` has had its say."""
    chosen = place_of(UntypedStorage(Storage(memory)), place)
    if isinstance(chosen, TypedStorage):
        chosen = chosen.untyped()
    if not isinstance(chosen, UntypedStorage):
        raise TypeError(f"map_location must return a storage or None, got {type(chosen)}")
    return chosen._bytes


# ---------------------------------------------------------------- filing


class FiledStorages:
    """The storages met while an object is pickled, each filed once under "0", "1" ...

    Two storages are the same if they start at the same address with the same length; those of
    tensors that share memory do.
    """

    def __init__(self) -> None:
        self._memory: dict[str, np.ndarray] = {}
        self._keys: dict[Any, str] = {}
        self._types: dict[int, StorageType] = {}
        self._kept: list[Any] = []  # what was looked at lives on: its address must stay its own

    def identify(self, storage: TypedStorage | UntypedStorage) -> tuple[Any, ...]:
        """The persistent id of a storage: ("storage", type, key, place, elements)."""
        dtype = storage.dtype if isinstance(storage, TypedStorage) else None
        kind = _BY_DTYPE[dtype]
        inner = storage._storage
        memory = memory_of(inner.owner).view(np.uint8)
        self._kept.append(inner)
        identity: Any = (address(memory), memory.size) if memory.size else ("empty", id(inner))
        if memory.size and self._types.setdefault(identity[0], kind) is not kind:
            raise CheckpointError(
                "Cannot save multiple tensors or storages that view the same "
                "data as different types"
            )
        key = self._keys.setdefault(identity, str(len(self._keys)))
        self._memory[key] = memory
        return ("storage", kind, key, "cpu", memory.size // kind.itemsize)

    def items(self) -> ItemsView[str, np.ndarray]:
        """Keys and bytes, in the order of first use."""
        return self._memory.items()
