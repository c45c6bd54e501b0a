"""Weight normalization by a hook: weight = g * v / |v|, computed anew before every forward.

parametrizations.weight_norm does the same by a parametrization.
"""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

import taper
from taper.nn.modules.module import Module
from taper.nn.parameter import Parameter, UninitializedParameter
from taper.tensor import Tensor

__all__ = ["WeightNorm", "remove_weight_norm", "weight_norm"]

T_module = TypeVar("T_module", bound=Module)


class WeightNorm:
    """The hook: keeps the name of the weight and the dimension whose slices have a norm each."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Any:
        """The weight as a function of its magnitude and direction."""
        magnitude = getattr(module, self.name + "_g")
        direction = getattr(module, self.name + "_v")
        return taper._weight_norm(direction, magnitude, self.dim)

    @staticmethod
    def apply(module: Module, name: str, dim: int | None) -> WeightNorm:
        """Replaces the parameter by its two parts and registers the hook."""
        warnings.warn(
            "`torch.nn.utils.weight_norm` is deprecated in favor of "
            "`torch.nn.utils.parametrizations.weight_norm`.",
            FutureWarning,
            stacklevel=3,
        )
        if any(isinstance(h, WeightNorm) and h.name == name for h in _hooks(module).values()):
            raise RuntimeError(
                f"Cannot register two weight_norm hooks on the same parameter {name}"
            )
        weight = getattr(module, name)
        if isinstance(weight, UninitializedParameter):
            raise ValueError(
                "The module passed to `WeightNorm` can't have uninitialized parameters. Make sure "
                "to run the dummy forward before applying weight normalization"
            )
        hook = WeightNorm(name, dim)
        del module._parameters[name]
        magnitude = taper.norm_except_dim(weight, 2, hook.dim)
        module.register_parameter(name + "_g", Parameter(magnitude.data))
        module.register_parameter(name + "_v", Parameter(weight.data))
        setattr(module, name, hook.compute_weight(module))
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module: Module) -> None:
        """Makes the present weight a parameter again."""
        weight = self.compute_weight(module)
        delattr(module, self.name)
        for part in ("_g", "_v"):
            del module._parameters[self.name + part]
        setattr(module, self.name, Parameter(weight.data))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def _hooks(module: Module) -> Any:
    return module._forward_pre_hooks


def weight_norm(module: T_module, name: str = "weight", dim: int = 0) -> T_module:
    """Splits a parameter into magnitude `name_g` and direction `name_v`; returns the module.

    Every slice along `dim` has a magnitude of its own; with None the whole weight has one.
    Deprecated in favour of parametrizations.weight_norm: warns.

    Source: Salimans and Kingma, Weight normalization, 2016.
    """
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: T_module, name: str = "weight") -> T_module:
    """Joins the parts again. Raises: ValueError if the parameter has no weight norm."""
    hooks = _hooks(module)
    for key, hook in hooks.items():
        if isinstance(hook, WeightNorm) and hook.name == name:
            hook.remove(module)
            del hooks[key]
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """The weight as a matrix whose rows are the slices along `dim`."""
    if dim != 0:
        weight = weight.permute(dim, *(d for d in range(weight.dim()) if d != dim))
    return weight.reshape(weight.size(0), -1)
