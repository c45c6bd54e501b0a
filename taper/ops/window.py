"""Sizes as users give them to layers with windows; the arithmetic is in backends/windows.py."""

from __future__ import annotations

from typing import Any

from taper.backends.windows import Sizes, along, padded, tap, widened, windows
from taper.errors import ShapeError

__all__ = ["Sizes", "along", "integers", "padded", "tap", "widened", "windows"]


def integers(value: Any, n: int, name: str, argument: str) -> Sizes:
    """One int per spatial dimension from an int or a sequence of 1 or n ints.

    Raises: RuntimeError for another number of them, TypeError for anything but ints.
    """
    if type(value) is int:
        return (value,) * n
    if type(value) is tuple and len(value) == n:
        for each in value:
            if type(each) is not int:
                break
        else:
            return value
    if hasattr(value, "__index__") and not isinstance(value, bool):
        return (int(value.__index__()),) * n
    try:
        made = tuple(int(v.__index__()) for v in value)
    except (TypeError, AttributeError):
        raise TypeError(
            f"{name}(): argument '{argument}' must be tuple of ints, not {type(value).__name__}"
        ) from None
    if len(made) == 1:
        return made * n
    if len(made) != n:
        raise ShapeError(
            name,
            f"expected {argument} to be a single integer value or a list of {n} values to "
            f"match the convolution dimensions, but got {argument}={list(made)}",
        )
    return made
