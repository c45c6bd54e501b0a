"""Checks of arguments that many op families share, and arithmetic of the half types."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.errors import UnsupportedDtype
from taper.tensor import Tensor

FLOATING = "fcV"  # numpy kinds of the floating and complex dtypes; V is bfloat16


def refuse(input: Any, kinds: str, kernel: str) -> None:
    """Raises: NotImplementedError, naming PyTorch's kernel, for a dtype of one of the `kinds`."""
    if input._array.dtype.kind in kinds:
        raise UnsupportedDtype(f"\"{kernel}\" not implemented for '{dtypes.cpp_name(input.dtype)}'")


def require_tensor(name: str, argument: str, position: int, value: Any) -> None:
    """Raises: TypeError for anything but a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name}(): argument '{argument}' (position {position}) must be Tensor, "
            f"not {type(value).__name__}"
        )


def require_tensors(name: str, input: Any, other: Any) -> None:
    """Raises: TypeError unless both operands are tensors."""
    if not (isinstance(input, Tensor) and isinstance(other, Tensor)):
        require_tensor(name, "input", 1, input)
        require_tensor(name, "other", 2, other)


def is_complex(x: Any) -> bool:
    """Whether an array or tensor is complex."""
    return getattr(x, "_array", x).dtype.kind == "c"


def widened(x: Any) -> Any:
    """float32 for the half types: a formula of several steps is rounded once, at its end."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind in "fV" else x


def narrowed(result: Any, like: Any) -> Any:
    """The result of a formula on `widened(like)` in the dtype of `like`."""
    return result if result.dtype == like.dtype else result.astype(like.dtype)
