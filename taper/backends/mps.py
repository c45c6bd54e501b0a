"""torch.backends.mps: taper does not use Apple's GPU."""

from __future__ import annotations


def is_available() -> bool:
    """False."""
    return False


def is_built() -> bool:
    """False."""
    return False
