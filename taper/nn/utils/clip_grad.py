"""Clipping of gradients, by their common norm or value by value.

All of it works on the arrays: one pass to measure and, where there is something to clip, one to
scale, without an op per parameter.
"""

from __future__ import annotations

import math
import types
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from taper import dtypes
from taper.backends import reference
from taper.dispatch import store, touch
from taper.ops.arguments import widened
from taper.tensor import Tensor, wrap

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_"]


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """The gradients there are."""
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    elif isinstance(parameters, types.GeneratorType):
        parameters = list(parameters)
        if not parameters:
            warnings.warn(
                "`parameters` is an empty generator, no gradient clipping will occur.",
                stacklevel=3,
            )
    return [p.grad for p in parameters if p.grad is not None]


def _norm(values: np.ndarray, order: float) -> float:
    """The p-norm of an array."""
    x = widened(values)
    if order == 2:
        flat = x.ravel(order="K")
        return math.sqrt(np.vdot(flat, flat).real)
    size = np.abs(x)
    if order == math.inf:
        return float(size.max(initial=0))
    if order == -math.inf:
        return float(size.min())
    if order == 0:
        return float(np.count_nonzero(size))
    if order == 1:
        return float(size.sum())
    return float(np.power(size, order).sum(dtype=np.float64)) ** (1 / order)


def _total(tensors: list[Tensor], order: float) -> np.ndarray:
    """The norm of the tensors' norms, in their common dtype."""
    arrays = [t._array for t in tensors]
    common = dtypes.of_operands([np.empty(1, dtype) for dtype in {a.dtype for a in arrays}]).numpy
    if common.kind == "c":
        common = np.empty(0, common).real.dtype
    token = reference.silence()
    try:
        if order == 2:
            squares = 0.0
            for array in arrays:
                flat = widened(array).ravel(order="K")
                squares += float(np.vdot(flat, flat).real)
            return np.asarray(math.sqrt(squares) if squares >= 0 else math.nan).astype(common)
        norms = np.array([_norm(array, order) for array in arrays])
        return np.asarray(_norm(norms, order)).astype(common)
    finally:
        reference.restore(token)


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all tensors together, as if they were one vector.

    Raises: RuntimeError for a total of nan or inf if error_if_nonfinite.
    """
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    norm_type = float(norm_type)
    if not tensors:
        return wrap(np.zeros((), dtypes.get_default_dtype().numpy))
    total = _total(tensors, norm_type)
    if error_if_nonfinite and not np.isfinite(total):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, "
            "so it cannot be clipped. To disable this error and scale the gradients by the "
            "non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return wrap(total)


def _scale(grads: list[Tensor], max_norm: float, total: np.ndarray) -> None:
    token = reference.silence()
    try:
        share = max_norm / (widened(total) + 1e-6)
        if share >= 1:  # false for nan, which must spread
            return
        for grad in grads:
            array = grad._array
            if array.dtype.kind == "V" or array.dtype.itemsize == 2:
                store(array, widened(array) * share)
            else:
                np.multiply(array, array.dtype.type(share), out=array)
            touch(grad)
    finally:
        reference.restore(token)


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    total_norm: Tensor,
    foreach: bool | None = None,
) -> None:
    """Scales the gradients by max_norm / total_norm where that is below 1, in place."""
    grads = _gradients(parameters)
    total = total_norm._array if isinstance(total_norm, Tensor) else np.asarray(total_norm)
    if grads:
        _scale(grads, float(max_norm), total)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scales the gradients so that their common norm is at most max_norm; returns the norm before.

    `foreach` is accepted and changes nothing: the gradients are always taken together.

    Raises: RuntimeError for a norm of nan or inf if error_if_nonfinite.
    """
    grads = _gradients(parameters)
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    if grads:
        _scale(grads, float(max_norm), total._array)
    return total


def clip_grad_norm(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """clip_grad_norm_ under its old name; warns."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of "
        "`torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Moves every element of the gradients into [-clip_value, clip_value], in place."""
    bound: Any = float(clip_value)
    for grad in _gradients(parameters):
        array = grad._array
        limit = array.dtype.type(bound)
        np.maximum(np.minimum(array, limit, out=array), -limit, out=array)
        touch(grad)
