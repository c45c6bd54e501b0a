"""Event files: records with checksums, each a message in the wire format of protocol buffers.

    file    = record*
    record  = length (8 bytes), masked checksum of it, message, masked checksum of it
    message = field*
    field   = number * 8 + kind (varint), then by kind: 0 a varint, 1 eight bytes, 2 a length
              (varint) and so many bytes, 5 four bytes

Numbers are little-endian. The numbers of fields are those of TensorFlow's event.proto and
summary.proto, which TensorBoard reads.
"""

from __future__ import annotations

import functools
import os
import socket
import struct
import time
from collections.abc import Iterable
from itertools import count


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the high bit says that more follow."""
    number &= 2**64 - 1  # negative numbers are written in two's complement
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def whole(field: int, number: int) -> bytes:
    """A field that holds an integer."""
    return varint(field << 3) + varint(number)


def double(field: int, number: float) -> bytes:
    """A field that holds eight bytes of floating point."""
    return varint(field << 3 | 1) + struct.pack("<d", number)


def single(field: int, number: float) -> bytes:
    """A field that holds four bytes of floating point."""
    return varint(field << 3 | 5) + struct.pack("<f", number)


def message(field: int, content: bytes | str) -> bytes:
    """A field that holds a text, bytes or another message."""
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def doubles(field: int, numbers: Iterable[float]) -> bytes:
    """A field that holds many floating point numbers, packed."""
    packed = b"".join(struct.pack("<d", number) for number in numbers)
    return message(field, packed)


@functools.cache
def _table() -> tuple[int, ...]:
    """What each byte does to CRC-32C (Castagnoli's polynomial, lowest bit first)."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


def checksum(data: bytes) -> int:
    """CRC-32C of the data."""
    table = _table()
    state = 0xFFFFFFFF
    for byte in data:
        state = state >> 8 ^ table[(state ^ byte) & 255]
    return state ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    # Rotated and shifted, so that the checksum of data with checksums in it stays a good one.
    state = checksum(data)
    rotated = (state >> 15 | state << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


def record(content: bytes) -> bytes:
    """One record of an event file."""
    length = struct.pack("<Q", len(content))
    return length + _masked(length) + content + _masked(content)


_files = count()


class FileWriter:
    """Writes events into a new file of the folder `log_dir`, which is made if need be."""

    def __init__(
        self, log_dir: str, max_queue: int = 10, flush_secs: float = 120, filename_suffix: str = ""
    ) -> None:
        self._folder = os.fspath(log_dir)
        os.makedirs(self._folder, exist_ok=True)
        name = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_files)}"
        self.path = os.path.join(self._folder, f"events.out.tfevents.{name}{filename_suffix}")
        self._file = open(self.path, "wb")  # noqa: SIM115 - closed by close()
        self._max_queue, self._flush_secs = max_queue, flush_secs
        self._waiting, self._flushed = 0, time.monotonic()
        self._write(double(1, time.time()) + message(3, "brain.Event:2"))
        self.flush()

    def get_logdir(self) -> str:
        """The folder."""
        return self._folder

    def add_summary(
        self, summary: bytes, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """Writes an event with the values of a summary."""
        event = double(1, time.time() if walltime is None else walltime)
        if global_step is not None:
            event += whole(2, int(global_step))
        self._write(event + message(5, summary))

    def _write(self, event: bytes) -> None:
        self._file.write(record(event))
        self._waiting += 1
        late = time.monotonic() - self._flushed > self._flush_secs
        if self._waiting >= self._max_queue or late:
            self.flush()

    def flush(self) -> None:
        """Hands everything written so far to the operating system."""
        self._file.flush()
        self._waiting, self._flushed = 0, time.monotonic()

    def close(self) -> None:
        """Ends the file."""
        self._file.close()
