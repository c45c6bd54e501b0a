"""torch.backends.mkl: taper does not use Intel's MKL."""

from __future__ import annotations


def is_available() -> bool:
    """False."""
    return False
