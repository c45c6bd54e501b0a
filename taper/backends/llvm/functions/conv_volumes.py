"""Convolution of volumes by the kernels for images.

The depths that a window meets become channels: (batch, channels, depth, height, width) is stacked as
(batch * depth of the result, channels * depth of the kernel, height, width). A convolution of the
stack is that of the volume, and the adjoints are those of the stack, taken apart again. The copies
are as many as the kernel is deep, little beside the products.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from taper.backends.windows import Sizes

Array = np.ndarray


class Volumes:
    """The maps of one geometry. `flat` is what is left of it for images."""

    __slots__ = ("depth", "dilation", "flat", "groups", "kernel", "padding", "stride")

    def __init__(
        self,
        kernel: Sizes,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        groups: int,
    ) -> None:
        self.kernel, self.stride = kernel[0], stride[0]
        self.padding, self.dilation = padding[0], dilation[0]
        self.groups = groups
        self.flat = (stride[1:], padding[1:], dilation[1:], groups)
        self.depth = dilation[0] * (kernel[0] - 1) + 1

    def _rows(self, position: int, out: int) -> slice:
        """Depths of the padded input that kernel depth `position` meets, one per output."""
        first = position * self.dilation
        return slice(first, first + self.stride * (out - 1) + 1, self.stride)

    def _padded(self, depth: int, out: int) -> int:
        return max(self.padding + depth, (out - 1) * self.stride + self.depth)

    def stacked(self, x: Array, out: int) -> Array:
        """(batch * out, channels * kernel, height, width)."""
        batch, channels, depth, *size = x.shape
        if self.padding or self._padded(depth, out) > depth:
            padded = np.zeros((batch, channels, self._padded(depth, out), *size), x.dtype)
            padded[:, :, self.padding : self.padding + depth] = x
            x = padded
        made = np.empty((batch, out, channels, self.kernel, *size), x.dtype)
        for k in range(self.kernel):
            made[:, :, :, k] = x[:, :, self._rows(k, out)].swapaxes(1, 2)
        return made.reshape(batch * out, channels * self.kernel, *size)

    def unstacked(self, stack: Array, batch: int, depth: int, out: int) -> Array:
        """The adjoint of `stacked`."""
        size = stack.shape[2:]
        parts = stack.reshape(batch, out, -1, self.kernel, *size).swapaxes(1, 2)
        total = np.zeros((batch, parts.shape[1], self._padded(depth, out), *size), stack.dtype)
        for k in range(self.kernel):
            seen = total[:, :, self._rows(k, out)]
            np.add(seen, parts[:, :, :, k], out=seen)
        return np.ascontiguousarray(total[:, :, self.padding : self.padding + depth])

    def forward(
        self, x: Array, w: Array, bias: Array | None, out: int, run: Callable[..., Array]
    ) -> Array:
        """The convolution; `run` is that of images."""
        made = run(self.stacked(x, out), _flat(w), bias, *self.flat)
        split = made.reshape(len(x), out, *made.shape[1:])
        return np.ascontiguousarray(split.swapaxes(1, 2))

    def input_grad(self, grad: Array, w: Array, size: Sizes, run: Callable[..., Array]) -> Array:
        """The adjoint in the input; `run` is that of images."""
        batch, _, out = grad.shape[:3]
        stack = run(in_depth(grad), _flat(w), size[1:], *self.flat)
        return self.unstacked(stack, batch, size[0], out)


def _flat(w: Array) -> Array:
    """The weight with its depth among the channels."""
    return w.reshape(len(w), w.shape[1] * w.shape[2], *w.shape[3:])


def in_depth(x: Array) -> Array:
    """(batch * depth, channels, height, width)."""
    batch, channels, depth, *size = x.shape
    return np.ascontiguousarray(x.swapaxes(1, 2)).reshape(batch * depth, channels, *size)
