"""Variable: the old name of a tensor that requires grad."""

from __future__ import annotations

from typing import Any

from taper.tensor import Tensor


class _VariableMeta(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor)


class Variable(metaclass=_VariableMeta):
    """Variable(tensor, requires_grad) gives a tensor that shares the memory."""

    def __new__(cls, data: Tensor, requires_grad: bool = False, volatile: bool = False) -> Any:
        made = data.detach() if not data.requires_grad or data.is_leaf else data
        if requires_grad:
            made.requires_grad_()
        return made
