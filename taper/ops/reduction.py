"""The reductions of a loss: "none", "mean", "sum", and the older arguments that say the same."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from taper.ops.arguments import widened
from taper.tensor import Tensor

REDUCTIONS = ("mean", "sum", "none")


def reduction_of(size_average: Any, reduce: Any, reduction: str) -> str:
    """The reduction that is meant; `size_average` and `reduce` are the older way to say it.

    Raises: ValueError for any other name.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    if reduction not in REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def legacy(size_average: Any, reduce: Any, emit_warning: bool = True) -> str:
    """`size_average` and `reduce` as the name of a reduction, with PyTorch's warning."""
    if reduce is not None and not reduce:
        meant = "none"
    else:
        meant = "mean" if size_average is None or size_average else "sum"
    if emit_warning:
        warnings.warn(
            "size_average and reduce args will be deprecated, please use "
            f"reduction='{meant}' instead.",
            stacklevel=4,
        )
    return meant


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """A loss per element, reduced."""
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


def folded(m: Any, values: np.ndarray, reduction: str, dtype: np.dtype) -> Any:
    """The same on an array, whose sum may be wider than the result."""
    if reduction != "none":
        count = values.size
        values = m.sum(widened(values))
        if reduction == "mean":
            values = values / count
    return values if values.dtype == dtype else values.astype(dtype)


def from_number(reduction: int) -> str:
    """PyTorch's number of a reduction as its name; any other number means "none"."""
    return {1: "mean", 2: "sum"}.get(reduction, "none")


def wide(m: Any, x: Any) -> Any:
    """float32 for the half types, in either kind of arithmetic."""
    return m.astype(x, np.float32) if x.dtype.itemsize == 2 else x


def scaled(grad: Any, reduction: str, count: int) -> Any:
    """The gradient of one element's loss (0-d unless nothing is reduced)."""
    return grad * (1 / count if count else math.nan) if reduction == "mean" else grad
