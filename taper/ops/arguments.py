"""Checks of arguments that many op families share, arithmetic of the half types, and selections."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import backends, dtypes
from taper.backends.selection import either, kept
from taper.errors import UnsupportedDtype
from taper.tensor import Tensor

__all__ = [
    "FLOATING",
    "either",
    "invalid_combination",
    "is_complex",
    "kept",
    "narrowed",
    "refuse",
    "refuse_common",
    "require_tensor",
    "require_tensors",
    "widened",
]

FLOATING = "fcV"  # numpy kinds of the floating and complex dtypes; V is bfloat16


def refuse(input: Any, kinds: str, kernel: str) -> None:
    """Raises: NotImplementedError, naming PyTorch's kernel, for a dtype of one of the `kinds`."""
    if input._array.dtype.kind in kinds:
        raise UnsupportedDtype(f"\"{kernel}\" not implemented for '{dtypes.cpp_name(input.dtype)}'")


def refuse_common(kinds: str, kernel: str, *operands: Any) -> None:
    """Raises: NotImplementedError if the operands' common dtype is of one of the `kinds`."""
    common = dtypes.of_operands([x._array if isinstance(x, Tensor) else x for x in operands])
    if common.numpy.kind in kinds:
        raise UnsupportedDtype(f"\"{kernel}\" not implemented for '{dtypes.cpp_name(common)}'")


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


def invalid_combination(name: str, *values: Any, expected: str) -> TypeError:
    """The error for arguments that fit none of a function's forms."""
    got = ", ".join("Tensor" if isinstance(x, Tensor) else type(x).__name__ for x in values)
    return TypeError(
        f"{name}() received an invalid combination of arguments - got ({got}), but expected one "
        f"of: {expected}"
    )


def is_complex(x: Any) -> bool:
    """Whether an array or tensor is complex."""
    return getattr(x, "_array", x).dtype.kind == "c"


def widened(x: Any) -> Any:
    """float32 for the half types: a formula of several steps is rounded once, at its end."""
    if x.dtype.itemsize == 2 and x.dtype.kind in "fV":
        return backends.math().astype(x, np.float32)
    return x


def narrowed(result: Any, like: Any) -> Any:
    """The result of a formula on `widened(like)` in the dtype of `like`."""
    return result if result.dtype == like.dtype else backends.math().astype(result, like.dtype)
