"""Object code on disk: one file a kernel, in a private folder, bounded in size.

A file is its SHA-256 followed by the code. It is written under another name and renamed, so that
processes can share the folder; one whose checksum is wrong counts as absent and is removed. The
folder is TAPER_CACHE, else taper/kernels in the user's cache folder; TAPER_CACHE="" uses none.
Whatever is wrong with it (no space, no rights, damage), kernels are compiled, and nobody is told.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import secrets
import stat
import time
from pathlib import Path

# Bytes that the folder may hold, and the share that is kept when it is over.
MOST_BYTES = 256 << 20
_KEPT = 0.75

_written = 0


@functools.cache
def folder() -> Path | None:
    """The folder, made if need be; None where there is none that only this user can write."""
    named = os.environ.get("TAPER_CACHE")
    if named == "":
        return None
    if named is None:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        path = Path(base) / "taper" / "kernels"
    else:
        path = Path(named)
    if named is None and not path.is_absolute():  # no home: "~" is not a folder to make
        return None
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError:
        return None
    # Code from a folder that others can write would be their code.
    if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & stat.S_IWOTH):
        return None
    return path


def get(key: str) -> bytes | None:
    """The code under a key; None if there is none, or if its file is damaged."""
    place = folder()
    if place is None:
        return None
    path = place / (key + ".o")
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:32], content[32:]
    if hashlib.sha256(code).digest() != digest:
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    return code


def put(key: str, code: bytes) -> None:
    """Keeps the code under a key, where that is possible; a full disk is no reason to fail."""
    global _written
    place = folder()
    if place is None:
        return
    # A number alone would not do: containers that share the folder have processes of one number.
    beside = place / f"{key}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        beside.write_bytes(hashlib.sha256(code).digest() + code)
        os.replace(beside, place / (key + ".o"))
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        return
    _written += len(code)
    if _written > MOST_BYTES // 16:
        _written = 0
        trim()


def files() -> list[tuple[Path, int, float]]:
    """(path, bytes, time of last change) of every kept object."""
    place = folder()
    found = []
    for path in place.glob("*.o") if place else ():
        with contextlib.suppress(OSError):
            about = path.stat()
            found.append((path, about.st_size, about.st_mtime))
    return found


def trim(most: int = MOST_BYTES) -> int:
    """Removes the oldest objects if there are more than `most` bytes; how many went."""
    _sweep()
    kept = files()
    total = sum(size for _, size, _ in kept)
    if total <= most:
        return 0
    removed = 0
    for path, size, _ in sorted(kept, key=lambda each: each[2]):
        if total <= most * _KEPT:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            total -= size
            removed += 1
    return removed


def _sweep(age: float = 3600) -> None:
    """Removes what processes that were killed while they wrote have left behind."""
    place = folder()
    for path in place.glob("*.tmp") if place else ():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > age:
                path.unlink()


def clear() -> int:
    """Removes every object; how many there were."""
    _sweep()
    gone = 0
    for path, _, _ in files():
        with contextlib.suppress(OSError):
            path.unlink()
            gone += 1
    return gone
