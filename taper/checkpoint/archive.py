"""The zip container of a checkpoint: records stored as they are, each starting at a multiple of 64.

Only stored (not deflated) records are written, with the sizes after the data, so that a file can
be streamed; the layout is the one PyTorch writes, so that its memory mapping finds each record by
arithmetic. Zip64 fields appear where a size or an offset needs more than 32 bits.

    local header | name | extra: [zip64] padding | data | descriptor      for each record
    central directory | [zip64 end record and locator] | end record
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from taper.errors import CheckpointError

ALIGNMENT = 64
LIMIT32 = 0xFFFFFFFF

_UTF8, _SIZES_FOLLOW = 0x0800, 0x0008
_DOS_DATE = 0x21  # 1 January 1980: the same data give the same file
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")

# Inflating may at most grow a file by this factor (above a floor): nobody compresses weights, and
# a small file that claims to hold terabytes is an attack.
_MOST_INFLATION = 100
_INFLATION_FLOOR = 64 << 20


class ArchiveWriter:
    """Writes records `folder/name` through `write`, front to back, without seeking."""

    def __init__(self, write: Callable[[Any], Any], folder: str) -> None:
        self._write = write
        self._folder = folder
        self._position = 0
        self._directory: list[bytes] = []

    def _put(self, data: Any, size: int) -> None:
        self._write(data)
        self._position += size

    def add(self, name: str, data: bytes | memoryview) -> None:
        """Writes one record."""
        encoded = f"{self._folder}/{name}".encode()
        size = len(data)
        start = self._position
        wide = _zip64_field(size, start)
        flags = _UTF8 | (_SIZES_FOLLOW if size else 0)
        fixed = start + _LOCAL.size + len(encoded) + len(wide) + 4
        padding = -fixed % ALIGNMENT
        extra = wide + struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        header = _LOCAL.pack(
            b"PK\3\4", 0, flags, 0, 0, _DOS_DATE, 0, 0, 0, len(encoded), len(extra)
        )
        self._put(header + encoded + extra, len(header) + len(encoded) + len(extra))
        checksum = zlib.crc32(data)
        if size:
            self._put(data, size)
            sizes = "<4sLQQ" if wide else "<4sLLL"
            self._put(struct.pack(sizes, b"PK\7\x08", checksum, size, size), struct.calcsize(sizes))
        narrow = min(size, LIMIT32)
        self._directory.append(
            _CENTRAL.pack(
                b"PK\1\2",
                0,
                0,
                flags,
                0,
                0,
                _DOS_DATE,
                checksum,
                narrow,
                narrow,
                len(encoded),
                len(wide),
                0,
                0,
                0,
                0,
                min(start, LIMIT32),
            )
            + encoded
            + wide
        )

    def close(self) -> None:
        """Writes the directory; the archive is complete."""
        start, directory, count = self._position, b"".join(self._directory), len(self._directory)
        size = len(directory)
        self._put(directory, size)
        if start >= LIMIT32 or size >= LIMIT32 or count >= 0xFFFF:
            end = self._position
            self._write(
                struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
                + struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
            )
        few = min(count, 0xFFFF)
        self._write(
            struct.pack(
                "<4s4H2LH", b"PK\5\6", 0, 0, few, few, min(size, LIMIT32), min(start, LIMIT32), 0
            )
        )


def _zip64_field(size: int, start: int) -> bytes:
    values = [size, size] if size >= LIMIT32 else []
    values += [start] if start >= LIMIT32 else []
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values) if values else b""


_BROKEN = "PytorchStreamReader failed reading zip archive: "


class ArchiveReader:
    """Reads records by name, without their folder. Raises CheckpointError for what is damaged.

    `name` is what the file is called in errors.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        import zipfile

        self.name = name
        self._file = file
        self._size = file.seek(0, 2)
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError) as error:
            raise CheckpointError(
                f"{_BROKEN}failed finding central directory ({error}). {name} has {self._size} "
                "bytes and was probably cut off while it was written or copied."
            ) from error
        self._records: dict[str, zipfile.ZipInfo] = {}
        entries = self._zip.infolist()
        folder = entries[0].filename.partition("/")[0] + "/" if entries else ""
        for entry in entries:
            record = entry.filename.removeprefix(folder)
            if record in self._records:
                raise CheckpointError(f"{_BROKEN}{name} has two records {record}")
            self._records[record] = entry
        self._check_sizes()

    def _check_sizes(self) -> None:
        """Refuses archives whose records overlap or would inflate to something huge."""
        packed = sum(entry.compress_size for entry in self._records.values())
        full = sum(entry.file_size for entry in self._records.values())
        if packed > self._size:
            raise CheckpointError(
                f"{_BROKEN}the records of {self.name} claim {packed} bytes, the "
                f"file has {self._size}: they overlap or are cut off"
            )
        if full > max(_INFLATION_FLOOR, _MOST_INFLATION * self._size):
            raise CheckpointError(
                f"{_BROKEN}{self.name} has {self._size} bytes and would inflate "
                f"to {full}; such a file is refused"
            )

    def __contains__(self, record: object) -> bool:
        return record in self._records

    def size(self, record: str) -> int:
        """Bytes of a record."""
        return self._entry(record).file_size

    def _entry(self, record: str) -> Any:
        found = self._records.get(record)
        if found is None:
            raise CheckpointError(
                f"PytorchStreamReader failed locating file {record}: file not found. {self.name} "
                "lacks this record: it is damaged, or not a checkpoint."
            )
        if found.flag_bits & 1:
            raise CheckpointError(f"{_BROKEN}record {record} of {self.name} is encrypted")
        return found

    def read(self, record: str) -> bytes:
        """A whole record."""
        return self.array(record).tobytes()

    def array(self, record: str) -> np.ndarray:
        """A whole record as uint8 array with memory of its own."""
        entry = self._entry(record)
        made = np.empty(entry.file_size, np.uint8)
        if entry.compress_type == 0:
            self._file.seek(self.offset(record))
            got = read_into(self._file, made)
        else:
            got = self._inflate(entry, made)
        if got != made.size:
            raise CheckpointError(
                f"{_BROKEN}record {record} of {self.name} should have "
                f"{made.size} bytes, {got} could be read"
            )
        # A checksum of 0 means that the writer computed none.
        if entry.CRC and zlib.crc32(made.data) != entry.CRC:
            raise CheckpointError(
                f"{_BROKEN}record {record} of {self.name} is damaged: its checksum is "
                f"{zlib.crc32(made.data):08x}, the archive says {entry.CRC:08x}"
            )
        return made

    def _inflate(self, entry: Any, made: np.ndarray) -> int:
        import zipfile

        try:
            with self._zip.open(entry) as stream:
                return read_into(stream, made)  # type: ignore[arg-type]
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise CheckpointError(
                f"{_BROKEN}record {entry.filename} of {self.name}: {error}"
            ) from error

    def offset(self, record: str) -> int:
        """Where a stored record's data begin in the file."""
        entry = self._entry(record)
        if entry.compress_type != 0:
            raise CheckpointError(
                f"record {record} of {self.name} is compressed and cannot be "
                "mapped; load without mmap=True"
            )
        self._file.seek(max(entry.header_offset, 0))
        header = self._file.read(_LOCAL.size)
        if entry.header_offset < 0 or len(header) < _LOCAL.size or not header.startswith(b"PK\3\4"):
            raise CheckpointError(
                f"{_BROKEN}{self.name} has no record header at byte "
                f"{entry.header_offset}, where {record} should be"
            )
        name_size, extra_size = _LOCAL.unpack(header)[-2:]
        start: int = entry.header_offset + _LOCAL.size + name_size + extra_size
        if start + entry.file_size > self._size:
            raise CheckpointError(
                f"{_BROKEN}record {record} of {self.name} reaches beyond the end of the file"
            )
        return start


def read_into(file: BinaryIO, array: np.ndarray) -> int:
    """Fills a uint8 array from the file; how many bytes there were."""
    view = memoryview(array.data)
    into = getattr(file, "readinto", None)
    done = 0
    while done < len(view):
        if into is not None:
            got = into(view[done:]) or 0
        else:
            piece = file.read(min(len(view) - done, 1 << 24))
            got = len(piece)
            view[done : done + got] = piece
        if not got:
            break
        done += got
    return done
