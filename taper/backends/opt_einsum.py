"""torch.backends.opt_einsum: einsum multiplies from left to right; opt_einsum is not asked."""

from __future__ import annotations

from typing import Any

enabled = False
strategy: str | None = None


def is_available() -> bool:
    """False."""
    return False


def get_opt_einsum() -> Any:
    """None: the package is not used."""
    return None
