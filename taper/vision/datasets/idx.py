"""The IDX format of the MNIST files.

file:    0x00 0x00 type dimensions, the sizes, the elements row by row
type:    one byte, see _TYPES
sizes:   one big-endian unsigned 32-bit integer for each dimension
elements: big-endian
"""

from __future__ import annotations

import gzip
import os
import zlib

import numpy as np

from taper.errors import DataFileError, DataFileMissing

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file, plain or packed by gzip.

    Raises: DataFileMissing if there is no such file, DataFileError if it is damaged, too short,
        too long or in another format.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError as error:
        raise DataFileMissing(f"{os.fspath(path)!r} is not there") from error
    try:
        return parse_idx(gzip.decompress(content) if content[:2] == _GZIP else content)
    except (EOFError, OSError, zlib.error) as error:
        raise DataFileError(f"{os.fspath(path)!r} is damaged: {error}") from error
    except DataFileError as error:
        raise DataFileError(f"{os.fspath(path)!r} {error}") from None


def parse_idx(content: bytes) -> np.ndarray:
    """The array in the bytes of an IDX file."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise DataFileError(f"is not an IDX file: it begins with {content[:4].hex(' ')!r}")
    dtype, ndim = np.dtype(_TYPES[content[2]]), content[3]
    start = 4 + 4 * ndim
    if len(content) < start:
        raise DataFileError(f"is truncated: {len(content)} bytes, its head alone has {start}")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", ndim, 4))
    wanted = start + int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(content) != wanted:
        fault = "is truncated" if len(content) < wanted else "is too long"
        raise DataFileError(
            f"{fault}: an array of shape {shape} takes {wanted} bytes, there are {len(content)}"
        )
    elements = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return elements.astype(dtype.newbyteorder("="))
