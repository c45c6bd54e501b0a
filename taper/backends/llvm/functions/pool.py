"""Pooling on arrays: `m.max_pool`, `m.avg_pool` and their adjoints, by the kernels of pooling.py.

Kernels take float32 and float64, one or two spatial dimensions, windows of at most 64 positions.
What has no kernel goes to the reference.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import pooling as reference
from taper.backends.llvm.functions.gemm import MOST_KERNELS, Plans
from taper.backends.windows import widened

Sizes = tuple[int, ...]
Array = np.ndarray


def _made(name: str) -> Callable[..., Any]:
    """What makes a plan. The kernels' generators are not loaded before there is one to make."""

    def make(*key: Any) -> Any:
        plans = importlib.import_module("taper.backends.llvm.functions.pool_plans")
        return getattr(plans, name)(*key)

    return make


_maxima = Plans(_made("maximum"), MOST_KERNELS)


def max_pool(
    x: Array, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, out: Sizes
) -> Array:
    """Maximum of every window; nan where a window holds one."""
    rank, dtype = len(kernel), x.dtype
    key = ("values", x.shape[-rank:], dtype, dtype, kernel, stride, padding, dilation, out)
    found = _maxima[key]
    if found is None or not x.size:
        if dtype.itemsize == 2 and dtype.kind in "fV":  # a maximum is not rounded
            return max_pool(widened(x), kernel, stride, padding, dilation, out).astype(dtype)
        return reference.max_pool(x, kernel, stride, padding, dilation, out)
    lead = x.shape[: x.ndim - rank]
    y = np.empty((*lead, *out), x.dtype)
    return found(_count(lead), np.ascontiguousarray(x), y)


def max_pool_grad(
    grad: Array,
    x: Array,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    out: Sizes,
) -> Array:
    """Each window's gradient at the position of its maximum, shaped as x."""
    rank = len(kernel)
    key = (
        "gradient", x.shape[-rank:], x.dtype, grad.dtype, kernel, stride, padding, dilation, out,
    )  # fmt: skip
    found = _maxima[key]
    if found is None or not x.size:
        return reference.max_pool_grad(grad, x, kernel, stride, padding, dilation, out)
    given = np.ascontiguousarray(grad), np.ascontiguousarray(x)
    made = np.empty(x.shape, x.dtype)
    return found(_count(x.shape[: x.ndim - rank]), *given, made)


def _count(lead: Sizes) -> int:
    """How many planes: the product of the leading dimensions."""
    count = 1
    for n in lead:
        count *= n
    return count


_means = Plans(_made("mean"), MOST_KERNELS)


def avg_pool(
    x: Array,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    out: Sizes,
    whole: bool,
    override: int | None,
) -> Array:
    """Mean of every window."""
    rank = len(kernel)
    size = x.shape[-rank:]
    key = ("values", size, x.dtype, kernel, stride, padding, out, whole, override)
    found = _means[key]
    if found is None or not x.size:
        return reference.avg_pool(x, kernel, stride, padding, out, whole, override)
    run, table = found
    lead = x.shape[: x.ndim - rank]
    y = np.empty((*lead, *out), x.dtype)
    return run(_count(lead), np.ascontiguousarray(x), table, y)


def avg_pool_grad(
    grad: Array,
    size: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    out: Sizes,
    whole: bool,
    override: int | None,
) -> Array:
    """Each window's gradient, divided, at all its positions: adjoint of `avg_pool`."""
    key = ("gradient", size, grad.dtype, kernel, stride, padding, out, whole, override)
    found = _means[key]
    if found is None or not grad.size:
        return reference.avg_pool_grad(grad, size, kernel, stride, padding, out, whole, override)
    run, table = found
    lead = grad.shape[: grad.ndim - len(kernel)]
    made = np.empty((*lead, *size), grad.dtype)
    return run(_count(lead), np.ascontiguousarray(grad), table, made)
