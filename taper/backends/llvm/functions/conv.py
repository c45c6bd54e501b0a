"""Convolution on arrays: `m.convolution` and its adjoints, by the kernels of conv.py.

Kernels take float32 and float64, one or two spatial dimensions; volumes become stacks of images
(conv_volumes.py). Which kernel runs follows from the shape of an image and the dtype, never from the
number of images. float16 and bfloat16 are widened to float32 and rounded at the end. What is left
goes to the reference: other and mixed dtypes, empty arrays.

TAPER_WINOGRAD=1 lets 3x3 kernels between many channels use Winograd's method, forward and for the
gradient of the input. It takes about half the time, and its errors are about ten times as large.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import convolution as reference
from taper.backends.llvm import build, call, conv_winograd, pool
from taper.backends.llvm.conv import Forward
from taper.backends.llvm.conv_adjoints import InputGrad, WeightGrad
from taper.backends.llvm.conv_shape import Shape
from taper.backends.llvm.functions.conv_volumes import Volumes, in_depth
from taper.backends.llvm.functions.gemm import Plans
from taper.backends.llvm.machine import host
from taper.backends.windows import widened

PUBLISHED = (
    "convolution",
    "convolution_transposed",
    "convolution_weight_grad",
    "convolution_gradients",
)

Sizes = tuple[int, ...]
Array = np.ndarray

_ELEMENTS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
# Ranges that a batch is cut into at most; each has scratch of its own.
_RANGES = 32
# Products of a batch from which on handing ranges to threads pays.
_PARALLEL = 1_000_000
_has_calls = call.has_fast_calls()


def _shape(
    channels: int,
    outputs: int,
    size: Sizes,
    out: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Shape | None:
    """The kernels' name of a convolution, if they know it."""
    if len(size) > 2 or not _has_calls or min(padding) < 0:
        return None
    if 0 in (channels, outputs, *size, *out, *kernel):
        return None
    if len(size) == 1:
        height: Any = (1,)
        size, out, kernel, stride, dilation = (
            height + each for each in (size, out, kernel, stride, dilation)
        )
        padding = (0, *padding)
    return Shape(channels, outputs, size, out, kernel, stride, padding, dilation, groups)  # type: ignore[arg-type]  # two sizes each


def _entry(library: build.Library, name: str) -> Callable[..., None]:
    return call.builtin(f"{type(library.spec).__name__}_{name}", library.addresses[name])


class _Convolve:
    """A kernel that packs a weight and runs over images, ready to be called."""

    __slots__ = ("element", "entry", "library", "out", "pack", "products", "scratch", "spare")

    def __init__(self, spec: Forward | InputGrad, out: Sizes, dtype: np.dtype) -> None:
        self.library = build.library(spec)  # the code lives as long as it is held
        self.pack = _entry(self.library, "pack_entry")
        self.entry = _entry(self.library, "entry")
        self.out, self.element, self.products = out, dtype, spec.shape.products
        self.scratch = spec.scratch(host(), 1)
        self.spare = spec.scratch(host(), 2) - self.scratch

    def __call__(self, x: Array, w: Array, *bias: Array) -> Array:
        images = len(x)
        piece = -(-images // _RANGES)
        ranges = -(-images // piece)
        threads = pool.address() if images * self.products > _PARALLEL else 0
        y = np.empty((images, *self.out), self.element)
        own = self.scratch + (ranges - 1) * self.spare if threads else self.scratch
        scratch = np.empty(own, self.element)
        self.pack(w, scratch)
        self.entry(threads, x, *bias, y, scratch, piece, images, ranges)
        return y


class _WeightGrad:
    """The kernel of the weight's gradient, ready to be called."""

    __slots__ = (
        "element", "entry", "finish", "library", "outputs", "piece", "products", "scratch", "spare", "sums",
        "w",
    )  # fmt: skip

    def __init__(self, spec: WeightGrad, w: Sizes, dtype: np.dtype) -> None:
        self.library = build.library(spec)  # the code lives as long as it is held
        self.entry = _entry(self.library, "entry")
        self.finish = _entry(self.library, "finish_entry")
        self.w, self.outputs, self.element = w, w[0], dtype
        self.piece, self.products = spec.piece, spec.shape.products
        self.sums = spec.sums(host())
        self.scratch = spec.scratch(host(), 1)
        self.spare = spec.scratch(host(), 2) - self.scratch

    def __call__(self, x: Array, grad: Array) -> tuple[Array, Array]:
        images = len(x)
        piece = self.piece(images)
        ranges = -(-images // piece)
        sums = np.empty(ranges * self.sums, self.element)
        threads = pool.address() if images * self.products > _PARALLEL else 0
        own = self.scratch + (ranges - 1) * self.spare if threads else self.scratch
        scratch = np.empty(own, self.element)
        dw, db = np.empty(self.w, self.element), np.empty(self.outputs, self.element)
        self.entry(threads, x, grad, sums, scratch, piece, images, ranges)
        self.finish(sums, dw, db, ranges)
        return dw, db


def _plain(*arrays: Array | None) -> bool:
    """Whether kernels take these: of one dtype that they know."""
    return _known(*(None if a is None else a.dtype for a in arrays))


def _is_half(dtype: np.dtype) -> bool:
    return dtype.itemsize == 2 and dtype.kind in "fV"


def _known(*dtypes: np.dtype | None) -> bool:
    return dtypes[0] in _ELEMENTS and all(d is None or d == dtypes[0] for d in dtypes)


def _strategy(shape: Shape, dtype: np.dtype) -> str:
    """What is asked for; empty for the kernels' own choice."""
    if os.environ.get("TAPER_WINOGRAD") != "1":
        return ""
    suits = conv_winograd.suits(
        shape.outputs, shape.channels, shape.kernel, shape.stride, shape.dilation, shape.padding,
        shape.groups, host().lanes(dtype.itemsize),
    )  # fmt: skip
    return "winograd" if suits else ""


def _volumes(
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
    *arrays: Array | None,
) -> Volumes | None:
    """How kernels for images serve these volumes, if they do."""
    if len(kernel) != 3 or not _has_calls or min(padding) < 0 or not _plain(*arrays):
        return None
    if any(a is not None and not a.size for a in arrays):
        return None
    return Volumes(kernel, stride, padding, dilation, groups)


def _new_forward(
    x: Sizes,
    w: Sizes,
    dtype: np.dtype,
    w_dtype: np.dtype,
    bias: np.dtype | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Any:
    """From the shapes of an image and the weight to the kernel, or None."""
    out = reference.out_size(x[1:], w[2:], stride, padding, dilation)
    shape = _shape(x[0], w[0], x[1:], out, w[2:], stride, padding, dilation, groups)
    if shape is None or not _known(dtype, w_dtype, bias):
        return None
    spec = Forward(shape, _ELEMENTS[dtype], _strategy(shape, dtype), bias=bias is not None)
    return _Convolve(spec, (w[0], *out), dtype)


_forward = Plans(_new_forward)


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


def _new_input_grad(
    grad: Sizes,
    w: Sizes,
    size: Sizes,
    dtype: np.dtype,
    w_dtype: np.dtype,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Any:
    """From the shapes of an image's gradient and the weight to the kernel, or None."""
    channels = w[1] * groups
    shape = _shape(channels, w[0], size, grad[1:], w[2:], stride, padding, dilation, groups)
    if shape is None or not _known(dtype, w_dtype):
        return None
    spec = InputGrad(shape, _ELEMENTS[dtype], _strategy(shape, dtype))
    return _Convolve(spec, (channels, *size), dtype)


_input_grad = Plans(_new_input_grad)


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


def _new_weight_grad(
    x: Sizes,
    grad: Sizes,
    kernel: Sizes,
    dtype: np.dtype,
    grad_dtype: np.dtype,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
    bias: bool,
) -> Any:
    """From the shapes of an image and its result's gradient to the kernel, or None."""
    shape = _shape(x[0], grad[0], x[1:], grad[1:], kernel, stride, padding, dilation, groups)
    if shape is None or not _known(dtype, grad_dtype):
        return None
    spec = WeightGrad(shape, _ELEMENTS[dtype], bias=bias)
    return _WeightGrad(spec, (grad[0], x[0] // groups, *kernel), dtype)


_weight_grad = Plans(_new_weight_grad)


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
