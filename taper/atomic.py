"""Writing a file so that a crash at any instant leaves the old file or the new one, whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file open for writing that takes the place of `path` when the with block ends well.

    It is written beside `path`, forced to the disk and renamed. When the block raises, it is
    removed and `path` stays as it was. What is not a regular file (a pipe, /dev/null) cannot be
    replaced and is written directly.
    """
    path = os.path.realpath(path)  # through a symbolic link, so that the link survives
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:
            yield file
        return
    beside = f"{path}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(path):
            os.chmod(beside, os.stat(path).st_mode & 0o7777)
        os.replace(beside, path)
    except BaseException:
        if os.path.exists(beside):
            os.unlink(beside)
        raise
    _sync_folder(os.path.dirname(path))


def _sync_folder(folder: str) -> None:
    """Forces the renaming itself to the disk, where the system can do that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems refuse to sync a folder; the file itself is written
    finally:
        os.close(handle)
