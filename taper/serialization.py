"""save and load: PyTorch's checkpoint files, written and read without running what they name.

A checkpoint is a zip archive: `data.pkl` describes the object, `data/0`, `data/1` ... hold the
memory of its tensors, each shared storage once. `load` reads the description with a reader of our
own that knows data and a short table of names (checkpoint/unpickler.py); only
`weights_only=False` lets pickle run what the file names. The format that PyTorch wrote before
1.6, one pickle after another and then the memory, is in checkpoint/legacy.py.

What stands in a file for a tensor: `_rebuild_tensor_v2(storage, offset, size, stride,
requires_grad, hooks)`, with the storage as a persistent id ("storage", type, key, place, elements).
"""

from __future__ import annotations

import os
import pickle
import sys
import warnings
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from taper.atomic import replacing
from taper.checkpoint.archive import ALIGNMENT, ArchiveReader, ArchiveWriter
from taper.checkpoint.pickler import checkpointer
from taper.checkpoint.rebuild import rebuild_plain, user_state
from taper.checkpoint.storages import (
    FiledStorages,
    PlaceOf,
    StorageType,
    place_of,
    placed_bytes,
    storage_key,
)
from taper.checkpoint.unpickler import DataUnpickler, Vocabulary
from taper.checkpoint.vocabulary import (
    CheckpointVocabulary,
    add_safe_globals,
    clear_safe_globals,
    full_unpickler,
    get_safe_globals,
    safe_globals,
)
from taper.errors import ByteOrderError, CheckpointError, CheckpointPickleError, TruncatedCheckpoint
from taper.tensor import Tensor

DEFAULT_PROTOCOL = 2

# ---------------------------------------------------------------- save


def save(
    obj: object,
    f: Any,
    pickle_module: Any = None,
    pickle_protocol: int = DEFAULT_PROTOCOL,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Writes `obj` to the path or file object `f`, in PyTorch's format.

    A path is written beside its target and renamed, so that a crash leaves the old file or the
    new one. Tensors that share memory share it again when loaded. Classes and functions of taper
    are named as PyTorch names them, except through a `pickle_module` with a compiled pickler of
    its own.

    Raises: CheckpointError if the folder does not exist, AttributeError if `f` cannot be written.
    """
    write = _write_archive if _use_new_zipfile_serialization else _write_legacy
    options = (pickle_module, pickle_protocol, _disable_byteorder_record)
    if isinstance(f, (str, os.PathLike)):
        path = os.fspath(f)
        folder = os.path.dirname(path)
        if folder and not os.path.isdir(folder):
            raise CheckpointError(f"Parent directory {folder} does not exist.")
        if os.path.isdir(path):
            raise CheckpointError(f"open file failed with strerror: Is a directory: {path}")
        with replacing(path) as file:
            write(obj, file, _stem(path), *options)
        return
    if not hasattr(f, "write"):
        raise AttributeError(
            "expected 'f' to be string, path, or a file-like object with a 'write' attribute"
        )
    if not callable(f.write):
        raise TypeError(f"Buffer of {type(f)} has no callable attribute 'write'")
    write(obj, f, "archive", *options)
    if hasattr(f, "flush"):
        f.flush()


def _stem(path: str) -> str:
    """The folder inside the archive: the file's name without its ending."""
    name = os.path.basename(path)
    stem = name.rpartition(".")[0] or name
    return stem if stem.isascii() else "archive"


def _write_archive(
    obj: object, file: BinaryIO, folder: str, pickle_module: Any, protocol: int, no_byteorder: bool
) -> None:
    import io

    text = io.BytesIO()
    storages = FiledStorages()
    checkpointer(text, protocol, storages, pickle_module).dump(obj)
    archive = ArchiveWriter(file.write, folder)
    checksum = 0
    records: list[tuple[str, Any]] = [
        ("data.pkl", text.getbuffer()),
        (".format_version", b"1"),
        (".storage_alignment", str(ALIGNMENT).encode()),
    ]
    if not no_byteorder:
        records.append(("byteorder", sys.byteorder.encode()))
    records += [(f"data/{key}", memory.data) for key, memory in storages.items()]
    records.append(("version", b"3\n"))
    for name, data in records:
        archive.add(name, data)
        checksum = zlib.crc32(f"{name} {len(data)}".encode(), checksum)
    # PyTorch puts two hashes here, for statistics; nothing reads them back.
    archive.add(".data/serialization_id", f"{checksum:020d}{len(records):020d}".encode())
    archive.close()


def _write_legacy(
    obj: object, file: BinaryIO, folder: str, pickle_module: Any, protocol: int, no_byteorder: bool
) -> None:
    from taper.checkpoint.legacy import write

    write(obj, file, pickle_module, protocol)


# ---------------------------------------------------------------- load


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Reads what `save`, taper's or PyTorch's, wrote to the path or file object `f`.

    By default only data are read: tensors, numbers, texts, containers, and what
    `add_safe_globals` allows. `weights_only=False` (or a `pickle_module` of the caller's choice)
    also loads whole pickled modules, and with them any code the file names: only for files from a
    trusted source. `mmap=True` maps the tensors' memory instead of reading it; writing to them
    does not change the file. A path that ends in .safetensors is read by that library.

    Memory: the file's size and what its largest record takes while it is checked.
    Raises: CheckpointPickleError (an UnpicklingError and a RuntimeError) for a name that is not
        allowed, CheckpointError (a RuntimeError) for a damaged file.
    """
    if isinstance(f, (str, os.PathLike)) and os.fspath(f).endswith(".safetensors"):
        _check_safetensors_location(map_location)
        return load_safetensors(f)
    weights_only = _wants_weights_only(weights_only, pickle_module)
    if weights_only and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    if weights_only and pickle_load_args.keys() - {"encoding"}:
        warnings.warn("pickle_load_args only works if `weights_only=False`.", stacklevel=2)
    pickle_load_args.setdefault("encoding", "utf-8")
    reader = Reading(
        place_of(map_location), None if weights_only else pickle_module or pickle, pickle_load_args
    )
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return reader.load(file, os.fspath(f), bool(mmap))
    _check_seekable(f)
    if mmap:
        raise ValueError("f must be a file path in order to use the mmap argument")
    return reader.load(f, str(getattr(f, "name", "the file")), False)


def _wants_weights_only(asked: bool | None, pickle_module: Any) -> bool:
    """Whether to read data only: as asked, else as the environment says, else yes."""

    def is_set(name: str) -> bool:
        return os.environ.get(name, "0").lower() in ("1", "y", "yes", "true")

    safe = is_set("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    unsafe = is_set("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    if safe and unsafe:
        raise RuntimeError(
            "Only one of `TORCH_FORCE_WEIGHTS_ONLY_LOAD` or "
            "`TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD` should be set, but both were set."
        )
    if safe:
        return True
    if asked is None:
        return pickle_module is None and not unsafe
    return asked


def _check_seekable(file: Any) -> None:
    import io

    try:
        file.seek(file.tell())
    except (io.UnsupportedOperation, AttributeError) as error:
        raise type(error)(
            f"{error}. You can only torch.load from a file that is seekable. Please pre-load the "
            "data into a buffer like io.BytesIO and try to load from it instead."
        ) from error


class Reading:
    """How one file is read: where storages go and who reads the pickle.

    `pickler` is None for our data-only reader, else the module whose Unpickler is trusted.
    """

    def __init__(self, place: PlaceOf, pickler: Any, pickle_args: dict[str, Any]) -> None:
        self.place = place
        self.pickler = pickler
        self.pickle_args = pickle_args

    def load(self, file: BinaryIO, name: str, mmap: bool) -> Any:
        """The object in the file."""
        start = file.tell()
        magic = file.read(4)
        file.seek(start)
        if not magic:
            raise TruncatedCheckpoint(f"{name} is empty (Ran out of input)")
        if magic == b"PK\3\4":
            return self._load_archive(file, name, mmap)
        if mmap:
            raise RuntimeError(
                "mmap can only be used with files saved with "
                "`torch.save(_use_new_zipfile_serialization=True)`; save "
                f"{name} again with this option in order to use mmap."
            )
        from taper.checkpoint.legacy import read

        return read(self, file, name)

    def _load_archive(self, file: BinaryIO, name: str, mmap: bool) -> Any:
        import io

        archive = ArchiveReader(file, name)
        if "constants.pkl" in archive:
            raise RuntimeError(
                f"{name} is a TorchScript archive. Cannot use ``weights_only=True`` with "
                "TorchScript archives passed to ``torch.load``, and taper does not run TorchScript "
                "at all: save the model's state_dict() instead."
            )
        storages = _ArchivedStorages(archive, self.place, name if mmap else None)
        text = archive.read("data.pkl")
        return self.unpickled(io.BytesIO(text), f"data.pkl of {name}", storages.find)

    def unpickled(self, file: BinaryIO, name: str, find_storage: Callable[[Any], Any]) -> Any:
        """The object that one pickle describes."""
        if self.pickler is not None:
            return full_unpickler(self.pickler, file, find_storage, self.pickle_args).load()
        return self.data_unpickler(file, CheckpointVocabulary(find_storage), name).load()

    def data_unpickler(self, file: BinaryIO, vocabulary: Vocabulary, name: str) -> _Explaining:
        """A data-only reader of one pickle."""
        return _Explaining(file, vocabulary, name, self.pickle_args["encoding"])


class _Explaining(DataUnpickler):
    """The data-only reader, with PyTorch's words before an error and a way out after it."""

    def load(self) -> Any:
        """The pickled object."""
        try:
            return super().load()
        except TruncatedCheckpoint:
            raise
        except CheckpointPickleError as error:
            raise CheckpointPickleError(
                f"Weights only load failed. {error}\n  load reads data only, so that a file "
                "cannot run code. If the file comes from a source you trust, "
                "load(f, weights_only=False) loads all of it."
            ) from error.__cause__


class _ArchivedStorages:
    """The storages of an archive, each read once."""

    def __init__(self, archive: ArchiveReader, place: PlaceOf, mapped: str | None) -> None:
        self._archive = archive
        self._place = place
        self._made: dict[str, np.ndarray] = {}
        self._typed: dict[tuple[str, str], Any] = {}
        self._map = None if mapped is None else np.memmap(mapped, np.uint8, "c")
        order = archive.read("byteorder") if "byteorder" in archive else b"little"
        if order not in (b"little", b"big"):
            raise ByteOrderError(
                f"Unknown endianness type: {order.decode(errors='replace')} (in {archive.name})"
            )
        self._swap = order.decode() != sys.byteorder

    def find(self, key: Any) -> Any:
        """The storage that a persistent id names."""
        kind, name, place, count = storage_key(key, 5)
        wanted = count * kind.itemsize
        memory = self._made.get(name)
        if memory is None:
            size = self._archive.size(f"data/{name}")
            if size != wanted:
                raise CheckpointError(
                    f"record size ({size} bytes) does not match expected size ({wanted} bytes = "
                    f"{count} elements * {kind.itemsize} bytes/element) for {kind}: record "
                    f"data/{name} of {self._archive.name}"
                )
            memory = placed_bytes(self._place, self._read(name, kind), place)
            self._made[name] = memory
        elif memory.size != wanted:
            raise CheckpointError(
                f"record data/{name} of {self._archive.name} is used with two "
                f"sizes, {memory.size} and {wanted} bytes"
            )
        found = self._typed.get((name, kind.name))
        if found is None:
            found = self._typed[name, kind.name] = kind.over(memory)
        return found

    def _read(self, name: str, kind: StorageType) -> np.ndarray:
        record = f"data/{name}"
        if self._map is not None:
            start = self._archive.offset(record)
            memory = np.asarray(self._map[start : start + self._archive.size(record)])
        else:
            memory = self._archive.array(record)
        if self._swap:
            part = kind.itemsize // 2 if "Complex" in kind.name else kind.itemsize
            memory = memory.reshape(-1, part)[:, ::-1].reshape(-1)
        return memory


# ---------------------------------------------------------------- pickle and copy


def reduce_tensor(tensor: Tensor) -> tuple[Any, ...]:
    """What `pickle` and `copy.copy` make a tensor from: its own elements, not its storage's.

    A view of a large tensor is pickled small. Sharing between tensors is kept by `save` alone.
    """
    array, dtype = tensor._array, tensor.dtype
    if dtype.name == "bfloat16":
        array = array.view(np.uint16)
    cls = None if type(tensor) is Tensor else type(tensor)
    state = user_state(tensor)
    return rebuild_plain, (cls, array, dtype.name, tensor.requires_grad, state)


# ---------------------------------------------------------------- safetensors


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise RuntimeError(
            "Attempting to load a safetensors file but safetensors is not installed. Please "
            "install safetensors with: pip install safetensors"
        ) from error
    return safetensors.numpy


def _check_safetensors_location(map_location: Any) -> None:
    if isinstance(map_location, dict) or (callable(map_location)):
        raise RuntimeError(
            "a safetensors file is loaded to one device: map_location must be a "
            "device or its name, not a dict or a function"
        )
    if map_location is not None:
        from taper.devices import require_cpu

        require_cpu(map_location)


def save_safetensors(
    tensors: dict[str, Tensor], path: str | os.PathLike[str], metadata: dict[str, str] | None = None
) -> None:
    """Writes tensors by name to a .safetensors file, through that library.

    Raises: RuntimeError if the library is not installed.
    """
    arrays = {name: np.ascontiguousarray(t._array) for name, t in tensors.items()}
    data = _safetensors().save(arrays, metadata=metadata)
    with replacing(path) as file:
        file.write(data)


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a .safetensors file by name, through that library.

    Raises: RuntimeError if the library is not installed, CheckpointError for a damaged file.
    """
    from taper.tensor import wrap

    library = _safetensors()
    try:
        arrays = library.load_file(os.fspath(path))
    except OSError:
        raise
    except Exception as error:  # the library's own error class lives in its compiled part
        raise CheckpointError(f"{os.fspath(path)}: {error}") from error
    return {name: wrap(array) for name, array in arrays.items()}


__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "load",
    "load_safetensors",
    "reduce_tensor",
    "safe_globals",
    "save",
    "save_safetensors",
]
