"""torch.utils: data loading, recomputation instead of memory, timing; each loads when named."""

from __future__ import annotations

from typing import Any

_MODULES = frozenset(
    ("_pytree", "benchmark", "checkpoint", "data", "dlpack", "hooks", "tensorboard")
)


def __getattr__(name: str) -> Any:
    import importlib

    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
