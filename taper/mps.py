"""torch.mps on a machine without Apple's GPU: the questions have answers."""

from __future__ import annotations


def is_available() -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def manual_seed(seed: int) -> None:
    """Nothing: there is no generator to seed."""


def empty_cache() -> None:
    """Nothing: no memory of a GPU is held."""


def synchronize() -> None:
    """Nothing: no work is pending."""
