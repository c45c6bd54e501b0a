"""Pictures: data sets, transforms and grids, under torchvision's names.

pillow is optional: with it samples are its images, as in torchvision; without it they are numpy
arrays of shape (height, width[, channels]), which ToTensor takes as well.
"""

from __future__ import annotations

from typing import Any

_MODULES = frozenset(("datasets", "transforms", "utils"))


def __getattr__(name: str) -> Any:
    import importlib

    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
