"""`concatenate` and `stack` of a few small arrays by the built-ins of direct_join.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper.backends.llvm import direct_join

# Arrays up to which the built-in is asked: each is passed as an argument.
MOST_ARRAYS = 64

directly = direct_join.built_in
_concatenate, _stack = directly("concatenate"), directly("stack")


def concatenate(arrays: Any, axis: int = 0) -> Any:
    """numpy's concatenate."""
    made = _concatenate(*arrays, axis) if len(arrays) <= MOST_ARRAYS else None
    return np.concatenate(arrays, axis) if made is None else made


def stack(arrays: Any, axis: int = 0) -> Any:
    """numpy's stack."""
    made = _stack(*arrays, axis) if len(arrays) <= MOST_ARRAYS else None
    return np.stack(arrays, axis) if made is None else made
