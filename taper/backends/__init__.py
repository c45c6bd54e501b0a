"""Who evaluates: backends know arrays and kernels, not ops or tensors.

reference.py is numpy's meaning of every op; llvm/ has kernels for many of them. `math` is the
namespace in which formulas are evaluated: with the kernels where llvmlite is installed, unless
TAPER_BACKEND=reference. The modules named like PyTorch's (cudnn, mps, ...) are the switches of
libraries that taper does not use; programs set them.
"""

from __future__ import annotations

import functools
import os
from typing import Any

_SWITCHES = (
    "cuda", "cudnn", "mkl", "mkldnn", "mps", "nnpack", "openmp", "opt_einsum", "quantized",
)  # fmt: skip


@functools.cache
def math() -> Any:
    """The namespace `m` of formulas on arrays.

    Raises: ValueError if TAPER_BACKEND names none.
    """
    from taper.backends import reference

    name = os.environ.get("TAPER_BACKEND") or "llvm"
    if name not in ("llvm", "reference"):
        raise ValueError(f"TAPER_BACKEND is {name!r}; choose from llvm, reference")
    if name == "reference" or not has_llvm():
        return reference.math
    from taper.backends.llvm.functions import LlvmMath

    return LlvmMath()


def has_llvm() -> bool:
    """Whether llvmlite is installed; it is not imported before a kernel is needed."""
    import importlib.util

    return importlib.util.find_spec("llvmlite") is not None


def __getattr__(name: str) -> Any:
    if name in _SWITCHES:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'torch.backends' has no attribute {name!r}")
