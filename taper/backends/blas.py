"""The number of threads of numpy's own BLAS, set through the library numpy has loaded."""

from __future__ import annotations

import ctypes
from typing import Any

_NAMES = (
    "scipy_openblas_set_num_threads64_",
    "openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads",
    "MKL_Set_Num_Threads",
)


def _setters() -> list[Any]:
    """The set-threads functions of the BLAS libraries in this process."""
    found = []
    try:
        with open("/proc/self/maps") as maps:
            paths = {line.split()[-1] for line in maps if "blas" in line and "/" in line}
    except OSError:
        return []
    for path in sorted(paths):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for name in _NAMES:
            if hasattr(library, name):
                found.append(getattr(library, name))
                break
    return found


def set_threads(count: int) -> None:
    """Makes numpy's matrix products use `count` threads, where its BLAS can be told."""
    for setter in _setters():
        setter(count)
