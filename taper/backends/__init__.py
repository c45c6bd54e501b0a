"""Who evaluates: backends know arrays and kernels, not ops or tensors.

reference.py is numpy's meaning of every op. The modules named like PyTorch's (cudnn, mps, ...) are
the switches of libraries that taper does not use; programs set them.
"""

from __future__ import annotations

from typing import Any

_SWITCHES = ("cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp")


def __getattr__(name: str) -> Any:
    if name in _SWITCHES:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'torch.backends' has no attribute {name!r}")
