"""What distributions share: parameters broadcast together, probabilities and their logarithms."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

import taper
from taper.nn import functional
from taper.tensor import Tensor

euler_constant = 0.57721566490153286060


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """The values as tensors of one shape; numbers take the dtype of the first tensor.

    Raises: ValueError for what is neither a number nor a tensor.
    """
    if not all(isinstance(value, (Tensor, Number)) for value in values):
        raise ValueError(
            "Input arguments must all be instances of Number, torch.Tensor or objects implementing "
            "__torch_function__."
        )
    given = [value for value in values if isinstance(value, Tensor)]
    dtype = given[0].dtype if given else taper.get_default_dtype()
    tensors = [v if isinstance(v, Tensor) else taper.as_tensor(v, dtype=dtype) for v in values]
    return tuple(taper.broadcast_tensors(*tensors))


def standard_normal(shape: Any, dtype: Any, device: Any = None) -> Tensor:
    """Numbers of mean 0 and deviation 1."""
    return taper.normal(taper.zeros(shape, dtype=dtype), taper.ones(shape, dtype=dtype))


def sum_rightmost(value: Tensor, dim: int) -> Tensor:
    """The sum over the last `dim` dimensions."""
    if dim == 0:
        return value
    return value.reshape((*value.shape[:-dim], -1)).sum(-1)


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities kept off 0 and 1, so that their logarithms are finite."""
    eps = taper.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Logarithms of probabilities; of the odds if there are two outcomes."""
    kept = clamp_probs(probs)
    return taper.log(kept) - taper.log1p(-kept) if is_binary else taper.log(kept)


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Probabilities from logarithms, which need not be normalized."""
    return taper.sigmoid(logits) if is_binary else functional.softmax(logits, dim=-1)


class lazy_property:
    """A value that is computed when first asked for, and kept under its name."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        self.__doc__ = wrapped.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        with taper.enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.name, value)
        return value
