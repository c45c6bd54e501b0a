"""torch.accelerator: what a program asks before it uses a GPU of any make; there is none."""

from __future__ import annotations

from typing import Any

__all__ = ["current_accelerator", "current_device_index", "device_count", "is_available",
           "synchronize"]  # fmt: skip


def is_available() -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def current_accelerator(check_available: bool = False) -> Any:
    """None."""
    return None


def current_device_index() -> int:
    """Raises: RuntimeError."""
    raise RuntimeError("Cannot access accelerator device when none is available.")


def synchronize(device: Any = None, /) -> None:
    """Raises: RuntimeError."""
    raise RuntimeError("Cannot access accelerator device when none is available.")
