"""The shape of a convolution, all that its kernels are specialised to; and its meaning in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from taper.backends.llvm.conv_tiles import Plane, ceil_div, padded_plane

Pair = tuple[int, int]

# Bytes of an image's channel that are a multiple of this fall on the same few places of the cache.
_CONFLICT = 1024


@dataclass(frozen=True)
class Shape:
    """A convolution but for the number of images. Sizes are (height, width)."""

    channels: int
    outputs: int
    size: Pair
    out: Pair
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def channels_each(self) -> int:
        """Input channels of a group."""
        return self.channels // self.groups

    @property
    def outputs_each(self) -> int:
        """Output channels of a group."""
        return self.outputs // self.groups

    @property
    def taps(self) -> int:
        """Kernel positions."""
        return self.kernel[0] * self.kernel[1]

    @property
    def products(self) -> int:
        """Multiplications for one image."""
        return self.outputs * self.channels_each * self.taps * self.out[0] * self.out[1]

    def flat(self) -> Shape:
        """A 1x1 kernel sees its image as one long row."""
        plain = self.kernel == self.stride == (1, 1) and self.padding == (0, 0)
        if not plain or self.out != self.size:
            return self
        row = (1, self.size[0] * self.size[1])
        return replace(self, size=row, out=row, dilation=(1, 1))

    def reach(self, axis: int) -> int:
        """Rows or columns of the padded image that windows meet."""
        return (self.out[axis] - 1) * self.stride[axis] + self.span(axis)

    def span(self, axis: int) -> int:
        """Rows or columns of a window."""
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def source(self, itemsize: int) -> Plane:
        """The padded plane of a group of the input."""
        return padded_plane(
            self.channels_each, self.size, self.reach(0), self.reach(1), *self.padding, itemsize
        )


def area(size: Pair) -> int:
    return size[0] * size[1]


def fills_channels(outputs: int, width: int, lanes: int) -> bool:
    """Whether output channels fill vectors about as well as pixels of a row would."""
    channels = outputs / (lanes * ceil_div(outputs, lanes))
    return channels >= min(0.99, width / (lanes * ceil_div(width, lanes)))


def conflicts(size: Pair, itemsize: int) -> bool:
    return size[0] * size[1] * itemsize % _CONFLICT == 0


def windows(shape: Shape, x: np.ndarray) -> Iterator[tuple[int, int, np.ndarray, int, int]]:
    """For each output channel, channel of its group and kernel position: what the windows see."""
    rows, cols = (shape.reach(a) for a in (0, 1))
    around = [
        (p, max(0, reach - n - p))
        for p, reach, n in zip(shape.padding, (rows, cols), shape.size, strict=True)
    ]
    padded = np.pad(x, [(0, 0), (0, 0), *around])
    for o in range(shape.outputs):
        group = o // shape.outputs_each
        for r in range(shape.channels_each):
            for i, j in np.ndindex(*shape.kernel):
                top, left = i * shape.dilation[0], j * shape.dilation[1]
                yield (
                    o,
                    r,
                    padded[
                        :,
                        group * shape.channels_each + r,
                        top : top + (shape.out[0] - 1) * shape.stride[0] + 1 : shape.stride[0],
                        left : left + (shape.out[1] - 1) * shape.stride[1] + 1 : shape.stride[1],
                    ],
                    i,
                    j,
                )
