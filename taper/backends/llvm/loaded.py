"""A kernel of one function as a Python function: compiled or found, linked, and kept for good."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from taper.backends.llvm import build, call

_kept: list[build.Library] = []  # the code must outlive its callers


def kept_library(spec: Any) -> build.Library:
    """The machine code of a specification, kept for good: for functions that are remembered so."""
    library = build.library(spec)
    _kept.append(library)
    return library


@functools.cache
def kernel(spec: Any, result: str = "void") -> Callable[..., Any]:
    """The function "kernel" of a specification, which has the words for its arguments as `kinds`.

    `result` is "i64" if it returns a number.
    """
    library = kept_library(spec)
    if call.has_fast_calls():
        return call.builtin(type(spec).__name__, library.addresses["entry"])
    return call.through_ctypes(library.addresses["kernel"], spec.kinds, result)
