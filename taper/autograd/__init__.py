"""Automatic differentiation: PyTorch's torch.autograd."""

from __future__ import annotations

from typing import Any

from taper.autograd.anomaly import detect_anomaly, set_detect_anomaly
from taper.autograd.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
    set_multithreading_enabled,
)

__all__ = [
    "Function",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
    "set_multithreading_enabled",
]

_LATER = {
    "backward": "engine",
    "grad": "engine",
    "Function": "function",
    "NestedIOFunction": "function",
    "gradcheck": "gradcheck",
    "gradgradcheck": "gradcheck",
    "GradcheckError": "gradcheck",
    "Variable": "variable",
}
_MODULES = ("engine", "function", "functional", "graph", "variable", "profiler", "forward_ad")


def __getattr__(name: str) -> Any:
    import importlib
    import sys

    if name in _LATER:
        value = getattr(importlib.import_module("taper.autograd." + _LATER[name]), name)
        setattr(sys.modules[__name__], name, value)
        return value
    if name in _MODULES:
        try:
            return importlib.import_module("taper.autograd." + name)
        except ModuleNotFoundError:
            pass
    raise AttributeError(f"module 'taper.autograd' has no attribute {name!r}")
