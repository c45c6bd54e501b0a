"""LinearCrossEntropyOptions: how PyTorch's linear_cross_entropy goes through a batch in pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taper import dtypes

__all__ = ["LinearCrossEntropyOptions"]

_POLICIES = ("accurate", "balanced", "compact", "auto")
_DTYPES = (dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64)


def _is_method(method: Any) -> bool:
    """Whether this is a way to choose the pieces' size: auto, none, or a ratio of their sides."""
    if method is None or method == "auto":
        return True
    name, _, ratio = method.partition(":") if isinstance(method, str) else ("", "", "")
    return name == "aspect_ratio" and ratio.isdigit()


@dataclass(frozen=True)
class LinearCrossEntropyOptions:
    """Accepted and checked for programs written for PyTorch; taper computes the loss at once.

    Raises: ValueError for a value that PyTorch does not take.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: dtypes.dtype | None = None

    def __post_init__(self) -> None:
        if self.acc_policy not in _POLICIES:
            raise ValueError(f"invalid acc_policy: {self.acc_policy!r}")
        if not _is_method(self.chunking_method):
            raise ValueError(f"invalid chunking_method: {self.chunking_method!r}")
        size = self.batch_chunk_size
        if size is not None and (not isinstance(size, int) or size <= 0):
            raise ValueError(f"batch_chunk_size must be positive int or None, got {size!r}")
        if self.acc_dtype is not None and self.acc_dtype not in _DTYPES:
            raise ValueError(
                "acc_dtype must be one of {None, torch.float16, torch.bfloat16, torch.float32, "
                f"torch.float64}}, got {self.acc_dtype}. Pass acc_dtype=None to let the op pick "
                "automatically."
            )
