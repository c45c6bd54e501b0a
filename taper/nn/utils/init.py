"""Making a module without the initial values of its parameters."""

from __future__ import annotations

import inspect
from typing import Any

import taper
from taper.nn.modules.module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """A module whose parameters and buffers hold arbitrary values; no random number is drawn.

    The class must take `device`, as all layers do, because PyTorch asks for it.

    Raises: RuntimeError for anything but a Module class that takes `device`.
    """
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    # Without a device that has no memory the constructor fills the parameters; what counts is that
    # the random numbers of the program stay the same.
    state = taper.get_rng_state()
    try:
        return module_cls(*args, **kwargs).to_empty(device=kwargs.get("device") or "cpu")
    finally:
        taper.set_rng_state(state)
