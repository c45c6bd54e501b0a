"""The format that PyTorch wrote before 1.6: pickles one after another, then the memory.

magic number | protocol version | system | object | keys of the storages | for each key:
number of elements (8 bytes) and the elements
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from taper.checkpoint.archive import read_into
from taper.checkpoint.pickler import checkpointer
from taper.checkpoint.storages import FiledStorages, StorageType, placed_bytes, storage_key
from taper.checkpoint.unpickler import DataUnpickler, Vocabulary
from taper.errors import CheckpointError, TruncatedCheckpoint

if TYPE_CHECKING:
    from taper.serialization import Reading

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001


class _LegacyStorages(FiledStorages):
    """Filed as the old format wants it: an id has a sixth part, for parts of storages."""

    def __init__(self) -> None:
        super().__init__()
        self.itemsizes: dict[str, int] = {}

    def identify(self, storage: Any) -> tuple[Any, ...]:
        """The persistent id of a storage."""
        found = super().identify(storage)
        self.itemsizes[found[2]] = found[1].itemsize
        return (*found, None)


def write(obj: object, file: BinaryIO, pickle_module: Any, protocol: int) -> None:
    """Writes `obj` in the old format."""
    machine = {
        "protocol_version": VERSION,
        "little_endian": sys.byteorder == "little",
        "type_sizes": {"short": 2, "int": 4, "long": 8},
    }
    for header in (MAGIC, VERSION, machine):
        file.write(pickle.dumps(header, protocol))
    storages = _LegacyStorages()
    text = io.BytesIO()
    checkpointer(text, protocol, storages, pickle_module).dump(obj)
    file.write(text.getbuffer())
    keys = sorted(key for key, _ in storages.items())
    file.write(pickle.dumps(keys, protocol))
    for key in keys:
        memory = dict(storages.items())[key]
        file.write(struct.pack("<q", memory.size // storages.itemsizes[key]))
        file.write(memory.data)


def read(reading: Reading, file: BinaryIO, name: str) -> Any:
    """The object in a file of the old format."""
    _refuse_tar(file, name)
    if reading.data_unpickler(file, Vocabulary(), name).load() != MAGIC:
        raise CheckpointError(f"Invalid magic number; corrupt file? ({name})")
    version = reading.data_unpickler(file, Vocabulary(), name).load()
    if version != VERSION:
        raise CheckpointError(f"Invalid protocol version: {version} ({name})")
    machine = reading.data_unpickler(file, Vocabulary(), name).load()
    little = not isinstance(machine, dict) or bool(machine.get("little_endian", True))
    storages = _Awaited(reading, _rest(file), name)
    made = reading.unpickled(file, name, storages.find)
    keys = DataUnpickler(file, Vocabulary(), name).load()
    if not isinstance(keys, list) or set(keys) != set(storages.memory):
        raise CheckpointError(f"the storages in {name} are not those that its tensors use")
    for key in keys:
        storages.read(key, file, little)
    return made


def _refuse_tar(file: BinaryIO, name: str) -> None:
    start = file.tell()
    is_tar = file.read(262)[257:] == b"ustar"
    file.seek(start)
    if is_tar:
        raise CheckpointError(
            f"Cannot use ``weights_only=True`` with files saved in the legacy .tar format: {name} "
            "comes from PyTorch before 0.2. Load it with an old PyTorch and save it again."
        )


def _rest(file: BinaryIO) -> int:
    """Bytes from here to the end."""
    here = file.tell()
    end = file.seek(0, 2)
    file.seek(here)
    return end - here


class _Awaited:
    """Storages that tensors refer to before their memory is read."""

    def __init__(self, reading: Reading, available: int, name: str) -> None:
        self.memory: dict[str, np.ndarray] = {}
        self._kinds: dict[str, StorageType] = {}
        self._typed: dict[Any, Any] = {}
        self._reading = reading
        self._available = available
        self._name = name

    def find(self, key: Any) -> Any:
        """The storage of a persistent id, still without its content."""
        kind, name, place, count = storage_key(key, 6)
        size = count * kind.itemsize
        if name not in self.memory:
            # Nothing is allocated that the file cannot fill.
            self._available -= size
            if self._available < 0:
                raise TruncatedCheckpoint(
                    f"{self._name} is too short for the storage {name} of {size} bytes"
                )
            memory = placed_bytes(self._reading.place, np.empty(size, np.uint8), place)
            self.memory[name] = memory
            self._kinds[name] = kind
        memory = self.memory[name]
        if memory.size != size:
            raise CheckpointError(
                f"storage {name} of {self._name} is used with two sizes, "
                f"{memory.size} and {size} bytes"
            )
        part = key[5]
        if part is not None:
            memory = self._part(memory, kind, part)
        identity = (name, kind.name, part if part is None else tuple(part[1:]))
        if identity not in self._typed:
            self._typed[identity] = kind.over(memory)
        return self._typed[identity]

    def _part(self, memory: np.ndarray, kind: StorageType, part: Any) -> np.ndarray:
        if (
            type(part) is not tuple
            or len(part) != 3
            or not all(type(n) is int and n >= 0 for n in part[1:])
        ):
            raise CheckpointError(f"the part {part!r} of a storage in {self._name} is damaged")
        start, size = part[1] * kind.itemsize, part[2] * kind.itemsize
        if start + size > memory.size:
            raise CheckpointError(f"a part of a storage in {self._name} reaches beyond its end")
        return memory[start : start + size]

    def read(self, key: str, file: BinaryIO, little: bool) -> None:
        """Fills one storage from the file."""
        memory, kind = self.memory[key], self._kinds[key]
        header = file.read(8)
        count = int.from_bytes(header, "little" if little else "big")
        if len(header) != 8 or count * kind.itemsize != memory.size:
            raise CheckpointError(
                f"storage {key} of {self._name} should have "
                f"{memory.size // kind.itemsize} elements, the file has {count}"
            )
        if read_into(file, memory) != memory.size:
            raise TruncatedCheckpoint(f"{self._name} ends inside storage {key}")
        if little != (sys.byteorder == "little"):
            part = kind.itemsize // 2 if "Complex" in kind.name else kind.itemsize
            memory[:] = memory.reshape(-1, part)[:, ::-1].reshape(-1)
