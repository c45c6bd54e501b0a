"""Convolution on arrays: `m.convolution` and its adjoints, by the kernels of conv.py.

Kernels take float32 and float64, one or two spatial dimensions; volumes become stacks of images
(conv_volumes.py). Which kernel runs follows from the shape of an image and the dtype, never from the
number of images. float16 and bfloat16 are widened to float32 and rounded at the end. What is left
goes to the reference: other and mixed dtypes, empty arrays.

TAPER_WINOGRAD=1 lets 3x3 kernels between many channels use Winograd's method, forward and for the
gradient of the input. It takes about half the time, and its errors are about ten times as large.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import convolution as reference
from taper.backends.llvm import call
from taper.backends.llvm.functions.conv_volumes import Volumes, in_depth
from taper.backends.llvm.functions.gemm import MOST_KERNELS, Plans
from taper.backends.windows import widened

Sizes = tuple[int, ...]
Array = np.ndarray

ELEMENTS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


def known(*dtypes: np.dtype | None) -> bool:
    """Whether kernels take arrays of these dtypes: all of one that they know."""
    return dtypes[0] in ELEMENTS and all(d is None or d == dtypes[0] for d in dtypes)


def _is_half(dtype: np.dtype) -> bool:
    return dtype.itemsize == 2 and dtype.kind in "fV"


def _volumes(
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
    *arrays: Array | None,
) -> Volumes | None:
    """How kernels for images serve these volumes, if they do."""
    if len(kernel) != 3 or not call.has_fast_calls() or min(padding) < 0:
        return None
    if not known(*(None if a is None else a.dtype for a in arrays)):
        return None
    if any(a is not None and not a.size for a in arrays):
        return None
    return Volumes(kernel, stride, padding, dilation, groups)


def _made(name: str) -> Callable[..., Any]:
    """What makes a plan. The kernels' generators are not loaded before there is one to make."""

    def make(*key: Any) -> Any:
        plans = importlib.import_module("taper.backends.llvm.functions.conv_plans")
        return getattr(plans, name)(*key)

    return make


_forward = Plans(_made("forward"), MOST_KERNELS)


def convolution(
    x: Array,
    w: Array,
    bias: Array | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Array:
    """Convolution of (batch, channels, *size) with (outputs, channels / groups, *kernel)."""
    key = (
        x.shape[1:], w.shape, x.dtype, w.dtype, None if bias is None else bias.dtype, stride,
        padding, dilation, groups,
    )  # fmt: skip
    found = _forward[key]
    if found is None or not len(x):
        return _without_kernel(x, w, bias, stride, padding, dilation, groups)
    w = np.ascontiguousarray(w)
    return found(np.ascontiguousarray(x), w, w if bias is None else np.ascontiguousarray(bias))


def _without_kernel(
    x: Array,
    w: Array,
    bias: Array | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Array:
    """`convolution` of halves, of volumes, and of all that the reference is left with."""
    geometry = (stride, padding, dilation, groups)
    if _is_half(x.dtype):
        offset = None if bias is None else widened(bias)
        return convolution(widened(x), widened(w), offset, *geometry).astype(x.dtype)
    deep = _volumes(w.shape[2:], *geometry, x, w, bias)
    if deep is None:
        return reference.convolution(x, w, bias, *geometry)
    (out,) = reference.out_size(x.shape[2:3], w.shape[2:3], stride[:1], padding[:1], dilation[:1])
    return deep.forward(x, w, bias, out, convolution)


_input_grad = Plans(_made("input_grad"), MOST_KERNELS)


def convolution_transposed(
    grad: Array,
    w: Array,
    size: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Array:
    """Adjoint of `convolution` in its input: (batch, channels, *size) from (batch, outputs, *out)."""
    key = (grad.shape[1:], w.shape, size, grad.dtype, w.dtype, stride, padding, dilation, groups)
    found = _input_grad[key]
    if found is None or not len(grad):
        if _is_half(grad.dtype):
            wide = widened(grad), widened(w)
            made = convolution_transposed(*wide, size, stride, padding, dilation, groups)
            return made.astype(grad.dtype)
        deep = _volumes(w.shape[2:], stride, padding, dilation, groups, grad, w)
        if deep is not None and 0 not in size:
            return deep.input_grad(grad, w, size, convolution_transposed)
        return reference.convolution_transposed(grad, w, size, stride, padding, dilation, groups)
    return found(np.ascontiguousarray(grad), np.ascontiguousarray(w))


_weight_grad = Plans(_made("weight_grad"), MOST_KERNELS)


def _weight_and_bias(
    x: Array,
    grad: Array,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
    bias: bool,
) -> tuple[Array, Array | None] | None:
    key = (
        x.shape[1:], grad.shape[1:], kernel, x.dtype, grad.dtype, stride, padding, dilation, groups,
        bias,
    )  # fmt: skip
    found = _weight_grad[key]
    if found is None or not len(x):
        if _is_half(x.dtype):
            wide = widened(x), widened(grad)
            total = _weight_and_bias(*wide, kernel, stride, padding, dilation, groups, bias)
            if total is None:
                return None
            to_bias = None if total[1] is None else total[1].astype(x.dtype)
            return total[0].astype(x.dtype), to_bias
        deep = _volumes(kernel, stride, padding, dilation, groups, x, grad)
        if deep is None:
            return None
        stack, rows = deep.stacked(x, grad.shape[2]), in_depth(grad)
        both = _weight_and_bias(stack, rows, kernel[1:], *deep.flat, bias)
        assert both is not None
        return both[0].reshape(grad.shape[1], x.shape[1] // groups, *kernel), both[1]
    made = found(np.ascontiguousarray(x), np.ascontiguousarray(grad))
    return made[0], made[1] if bias else None


def convolution_weight_grad(
    x: Array,
    grad: Array,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Array:
    """Sum over images and positions of output gradient times window: shaped as the weight."""
    made = _weight_and_bias(x, grad, kernel, stride, padding, dilation, groups, False)
    if made is None:
        return reference.convolution_weight_grad(x, grad, kernel, stride, padding, dilation, groups)
    return made[0]


def convolution_gradients(
    x: Array,
    w: Array,
    grad: Array,
    needs: tuple[bool, bool, bool],
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of `convolution` in x, w and the bias; None for what `needs` does not ask for."""
    kernel = w.shape[2:]
    geometry = (stride, padding, dilation, groups)
    made = None
    if needs[1]:
        made = _weight_and_bias(x, grad, kernel, *geometry, needs[2])
        if made is None:
            return reference.convolution_gradients(x, w, grad, needs, *geometry)
    to_x = convolution_transposed(grad, w, x.shape[2:], *geometry) if needs[0] else None
    if made is None:
        return to_x, None, reference.channel_sum(grad) if needs[2] else None
    return to_x, *made
