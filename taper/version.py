"""torch.version: the release whose interface taper has, and what it was built with."""

from __future__ import annotations

from typing import Any

debug = False
cuda: str | None = None
hip: str | None = None
xpu: str | None = None
git_version: str | None = None


def __getattr__(name: str) -> Any:
    if name == "__version__":
        import taper

        return taper.__version__
    raise AttributeError(f"module 'torch.version' has no attribute {name!r}")
