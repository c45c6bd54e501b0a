"""torch.backends.nnpack: taper does not use NNPACK."""

from __future__ import annotations


def is_available() -> bool:
    """False."""
    return False
