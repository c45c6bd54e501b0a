"""torch.nn.attention: the choice of a kernel for scaled_dot_product_attention, which has one here.

The choice is recorded, so that a program may ask for it, and changes no result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

__all__ = ["WARN_FOR_UNFUSED_KERNELS", "SDPBackend", "sdpa_kernel"]

WARN_FOR_UNFUSED_KERNELS = False


class SDPBackend(IntEnum):
    """The kernels that PyTorch chooses from."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


_chosen: list[SDPBackend] = [backend for backend in SDPBackend if backend is not SDPBackend.ERROR]


def _cur_sdpa_kernel_backends(with_priority: bool = False) -> list[SDPBackend]:
    """The kernels that may be chosen from now."""
    return list(_chosen)


@contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[dict[Any, Any]]:
    """Context in which attention may use these kernels only.

    Raises: AssertionError for anything but SDPBackend or a list of them.
    """
    if not isinstance(backends, (list, SDPBackend)):
        raise AssertionError(
            "Backend must be an instance of SDPBackend or a list of SDPBackend instances, got "
            f"{type(backends).__name__}"
        )
    before = list(_chosen)
    _chosen[:] = [backends] if isinstance(backends, SDPBackend) else dict.fromkeys(backends)
    try:
        yield {}
    finally:
        _chosen[:] = before
