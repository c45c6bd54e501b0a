"""Layers, models and their functions: torch.nn.

The classes live in nn.modules, the functions in nn.functional; both are loaded when first named.
"""

# ruff: noqa: F403 - the names of nn.modules are those of nn
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taper.nn.modules import _HOME as _CLASSES

if TYPE_CHECKING:
    from taper.nn.modules import *
    from taper.nn.parallel import DataParallel as DataParallel
    from taper.nn.parameter import Buffer as Buffer
    from taper.nn.parameter import Parameter as Parameter
    from taper.nn.parameter import UninitializedBuffer as UninitializedBuffer
    from taper.nn.parameter import UninitializedParameter as UninitializedParameter

_PARAMETERS = ("Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter")
_MODULES = (
    "attention",
    "common_types",
    "functional",
    "grad",
    "init",
    "modules",
    "parallel",
    "parameter",
    "utils",
)

__all__ = [*_CLASSES, *_PARAMETERS, *_MODULES, "DataParallel", "factory_kwargs"]  # noqa: PLE0604 - strings


def factory_kwargs(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """The device, dtype and memory_format among a layer's keywords, also from `factory_kwargs`.

    Raises: TypeError for other keywords, or for one that is given twice.
    """
    if kwargs is None:
        return {}
    simple = {"device", "dtype", "memory_format"}
    unexpected = kwargs.keys() - {*simple, "factory_kwargs"}
    if unexpected:
        raise TypeError(f"unexpected kwargs {unexpected}")
    found = dict(kwargs.get("factory_kwargs", {}))
    for name in simple & kwargs.keys():
        if name in found:
            raise TypeError(f"{name} specified twice, in **kwargs and in factory_kwargs")
        found[name] = kwargs[name]
    return found


def __getattr__(name: str) -> Any:
    import importlib

    if name in _CLASSES:
        found = getattr(importlib.import_module(f"{__name__}.modules.{_CLASSES[name]}"), name)
    elif name == "DataParallel":
        from taper.nn.parallel import DataParallel as found
    elif name in _PARAMETERS:
        found = getattr(importlib.import_module(f"{__name__}.parameter"), name)
    elif name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(
            f"module 'torch.nn' has no attribute {name!r} (taper does not have it)"
        )
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
