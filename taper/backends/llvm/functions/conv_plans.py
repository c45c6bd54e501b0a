"""Kernels of convolution made ready to be called: from shapes and dtypes to the function that runs them.

functions/conv.py remembers what is made here, and imports this file when the first is needed.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from taper.backends.convolution import out_size
from taper.backends.llvm import call, conv_winograd
from taper.backends.llvm.conv import Forward
from taper.backends.llvm.conv_adjoints import InputGrad, WeightGrad
from taper.backends.llvm.conv_shape import Shape
from taper.backends.llvm.functions.conv import ELEMENTS, known
from taper.backends.llvm.functions.ranges import Ranged, cut
from taper.backends.llvm.machine import host

Sizes = tuple[int, ...]
Array = np.ndarray

# Products of a batch from which on handing ranges to threads pays.
_PARALLEL = 1_000_000


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
    if len(size) > 2 or not call.has_fast_calls() or min(padding) < 0:
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


def strategy(shape: Shape, dtype: np.dtype) -> str:
    """What is asked for; empty for the kernels' own choice."""
    if os.environ.get("TAPER_WINOGRAD") != "1":
        return ""
    suits = conv_winograd.suits(
        shape.outputs, shape.channels, shape.kernel, shape.stride, shape.dilation, shape.padding,
        shape.groups, host().lanes(dtype.itemsize),
    )  # fmt: skip
    return "winograd" if suits else ""


class _Convolve(Ranged):
    """A kernel that packs a weight and runs over images, ready to be called."""

    __slots__ = ("out", "pack", "unit")

    def __init__(self, spec: Forward | InputGrad, out: Sizes, dtype: np.dtype) -> None:
        super().__init__(spec, dtype, spec.shape.products, _PARALLEL)
        self.pack = self.exported("pack_entry")
        self.out = out
        # Images that are worked on together: a range has a multiple of them.
        by_lanes = spec.chosen(host()) == "images"
        self.unit = host().lanes(dtype.itemsize) if by_lanes else spec.at_once(host())

    def __call__(self, x: Array, w: Array, *bias: Array) -> Array:
        images = len(x)
        piece, ranges = cut(images, self.unit)
        threads, scratch = self.room(images, ranges)
        y = np.empty((images, *self.out), self.element)
        self.pack(w, scratch)
        self.entry(threads, x, *bias, y, scratch, piece, images, ranges)
        return y


class _WeightGrad(Ranged):
    """The kernel of the weight's gradient, ready to be called."""

    __slots__ = ("finish", "outputs", "piece", "sums", "w")

    def __init__(self, spec: WeightGrad, w: Sizes, dtype: np.dtype) -> None:
        super().__init__(spec, dtype, spec.shape.products, _PARALLEL)
        self.finish = self.exported("finish_entry")
        self.w, self.outputs = w, w[0]
        self.piece, self.sums = spec.piece, spec.sums(host())

    def __call__(self, x: Array, grad: Array) -> tuple[Array, Array]:
        images = len(x)
        piece = self.piece(images)
        ranges = -(-images // piece)
        threads, scratch = self.room(images, ranges)
        sums = np.empty(ranges * self.sums, self.element)
        dw, db = np.empty(self.w, self.element), np.empty(self.outputs, self.element)
        self.entry(threads, x, grad, sums, scratch, piece, images, ranges)
        self.finish(sums, dw, db, ranges)
        return dw, db


def forward(
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
    out = out_size(x[1:], w[2:], stride, padding, dilation)
    shape = _shape(x[0], w[0], x[1:], out, w[2:], stride, padding, dilation, groups)
    if shape is None or not known(dtype, w_dtype, bias):
        return None
    spec = Forward(shape, ELEMENTS[dtype], strategy(shape, dtype), bias=bias is not None)
    return _Convolve(spec, (w[0], *out), dtype)


def input_grad(
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
    if shape is None or not known(dtype, w_dtype):
        return None
    spec = InputGrad(shape, ELEMENTS[dtype], strategy(shape, dtype))
    return _Convolve(spec, (channels, *size), dtype)


def weight_grad(
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
    if shape is None or not known(dtype, grad_dtype):
        return None
    spec = WeightGrad(shape, ELEMENTS[dtype], bias=bias)
    return _WeightGrad(spec, (grad[0], x[0] // groups, *kernel), dtype)
