"""torch.backends.mkldnn: taper does not use oneDNN."""

from __future__ import annotations


def is_available() -> bool:
    """False."""
    return False
