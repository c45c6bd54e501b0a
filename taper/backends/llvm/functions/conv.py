"""Convolution on arrays: `m.convolution` and its adjoints, by the kernels of conv.py.

Kernels take float32 and float64, one or two spatial dimensions; volumes become stacks of images
(conv_volumes.py). Which kernel runs follows from the shape of an image and the dtype, never from the
number of images. What has no kernel goes to the reference: other and mixed dtypes, empty arrays.

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
from taper.backends.llvm.conv import Forward, InputGrad, Shape, WeightGrad
from taper.backends.llvm.functions.conv_volumes import Volumes, in_depth
from taper.backends.llvm.machine import host

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
_NONE: Any = object()
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


def _entry(spec: Any, name: str) -> Callable[..., None]:
    return call.builtin(f"{type(spec).__name__}_{name}", build.library(spec).addresses[name])


class _Convolve:
    """A kernel that packs a weight and runs over images, ready to be called."""

    __slots__ = ("element", "entry", "out", "pack", "products", "scratch", "spare")

    def __init__(self, spec: Forward | InputGrad, out: Sizes, dtype: np.dtype) -> None:
        self.pack, self.entry = _entry(spec, "pack_entry"), _entry(spec, "entry")
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
        "element", "entry", "finish", "outputs", "piece", "products", "scratch", "spare", "sums",
        "w",
    )  # fmt: skip

    def __init__(self, spec: WeightGrad, w: Sizes, dtype: np.dtype) -> None:
        self.entry, self.finish = _entry(spec, "entry"), _entry(spec, "finish_entry")
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
    dtype = arrays[0].dtype  # type: ignore[union-attr]  # the first is never None
    return dtype in _ELEMENTS and all(a is None or a.dtype is dtype for a in arrays)


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


_forward: dict[Any, Any] = {}
_input_grad: dict[Any, Any] = {}
_weight_grad: dict[Any, Any] = {}


def _new_forward(
    x: Array, w: Array, bias: Any, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Any:
    out = reference.out_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    shape = _shape(
        x.shape[1], w.shape[0], x.shape[2:], out, w.shape[2:], stride, padding, dilation, groups
    )
    if shape is None or not _plain(x, w, bias):
        return _NONE
    strategy = _strategy(shape, x.dtype)
    spec = Forward(shape, _ELEMENTS[x.dtype], strategy, bias=bias is not None)
    return _Convolve(spec, (w.shape[0], *out), x.dtype)


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
    found = _forward.get(key)
    if found is None:
        found = _forward[key] = _new_forward(x, w, bias, stride, padding, dilation, groups)
    if found is _NONE or not len(x):
        deep = _volumes(w.shape[2:], stride, padding, dilation, groups, x, w, bias)
        if deep is not None:
            (out,) = reference.out_size(
                x.shape[2:3], w.shape[2:3], stride[:1], padding[:1], dilation[:1]
            )
            return deep.forward(x, w, bias, out, convolution)
        return reference.convolution(x, w, bias, stride, padding, dilation, groups)
    w = np.ascontiguousarray(w)
    return found(np.ascontiguousarray(x), w, w if bias is None else np.ascontiguousarray(bias))


def _new_input_grad(
    grad: Array,
    w: Array,
    size: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
) -> Any:
    channels = w.shape[1] * groups
    shape = _shape(
        channels, w.shape[0], size, grad.shape[2:], w.shape[2:], stride, padding, dilation, groups
    )
    if shape is None or not _plain(grad, w):
        return _NONE
    spec = InputGrad(shape, _ELEMENTS[w.dtype], _strategy(shape, w.dtype))
    return _Convolve(spec, (channels, *size), w.dtype)


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
    found = _input_grad.get(key)
    if found is None:
        found = _new_input_grad(grad, w, size, stride, padding, dilation, groups)
        _input_grad[key] = found
    if found is _NONE or not len(grad):
        deep = _volumes(w.shape[2:], stride, padding, dilation, groups, grad, w)
        if deep is not None and 0 not in size:
            return deep.input_grad(grad, w, size, convolution_transposed)
        return reference.convolution_transposed(grad, w, size, stride, padding, dilation, groups)
    return found(np.ascontiguousarray(grad), np.ascontiguousarray(w))


def _new_weight_grad(
    x: Array,
    grad: Array,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    groups: int,
    bias: bool,
) -> Any:
    channels, outputs = x.shape[1], grad.shape[1]
    shape = _shape(
        channels, outputs, x.shape[2:], grad.shape[2:], kernel, stride, padding, dilation, groups
    )
    if shape is None or not _plain(x, grad):
        return _NONE
    spec = WeightGrad(shape, _ELEMENTS[x.dtype], bias=bias)
    return _WeightGrad(spec, (outputs, channels // groups, *kernel), x.dtype)


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
    found = _weight_grad.get(key)
    if found is None:
        found = _new_weight_grad(x, grad, kernel, stride, padding, dilation, groups, bias)
        _weight_grad[key] = found
    if found is _NONE or not len(x):
        deep = _volumes(kernel, stride, padding, dilation, groups, x, grad)
        if deep is None:
            return None
        stack, rows = deep.stacked(x, grad.shape[2]), in_depth(grad)
        both = _weight_and_bias(stack, rows, kernel[1:], *deep.flat, bias)
        assert both is not None
        return both[0].reshape(grad.shape[1], x.shape[1] // groups, *kernel), both[1]
    made: tuple[Array, Array] = found(np.ascontiguousarray(x), np.ascontiguousarray(grad))
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
