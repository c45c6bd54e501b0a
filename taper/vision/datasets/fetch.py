"""Downloads: from the first mirror that answers, checked, and never half written."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Sequence

from taper.atomic import replacing
from taper.errors import DataFileError, DataFileMissing

# Seconds without an answer before the next mirror is asked.
_TIMEOUT = 30.0


def md5_of(path: str | os.PathLike[str]) -> str:
    """Checksum of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def fetch(urls: Sequence[str], md5: str) -> bytes:
    """The content of the first URL that has it, with the right checksum.

    Raises: DataFileMissing with the reason for each URL.
    """
    reasons = []
    for url in urls:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
                content: bytes = answer.read()
        except (OSError, http.client.HTTPException) as error:
            reasons.append(f"  {url}: {error}")
            continue
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found == md5:
            return content
        reasons.append(f"  {url}: the content has checksum {found} instead of {md5}")
    name = urls[0].rpartition("/")[2]
    raise DataFileMissing(f"Error downloading {name}\n" + "\n".join(reasons))


def write(path: str, content: bytes) -> None:
    """Writes a file beside its place and renames it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with replacing(path) as file:
        file.write(content)


def check(path: str, md5: str) -> None:
    """DataFileMissing or DataFileError unless the file is there and whole."""
    if not os.path.isfile(path):
        raise DataFileMissing(
            f"Dataset not found or corrupted. You can use download=True to download it: {path!r} "
            "is not there"
        )
    found = md5_of(path)
    if found != md5:
        raise DataFileError(
            f"Dataset not found or corrupted. You can use download=True to download it: {path!r} "
            f"has checksum {found} instead of {md5}"
        )
