"""Kernels of convolution, specialised to its shape: forward, gradient of the input, of the weight.

    Forward       y = convolution of x with w, plus bias, optionally relu; here
    InputGrad     its adjoint in x; also what a transposed convolution computes
    WeightGrad    its adjoints in w and bias; these two in conv_adjoints.py

The number of images is an argument, and what an image gives does not depend on the others. A batch
is cut into ranges of `piece` images; a kernel works on ranges begin to end, one call after the other
or several at once, each with scratch of its own. Images of one dimension have height 1.

Strategies, by shape alone (`strategy` of a specification overrides the choice, for tests):
    channels   lanes are output channels (conv_channels.py): where these fill vectors well
    pixels     lanes are pixels of a row (conv_pixels.py): few channels, grouped, depthwise
    images     lanes are images (conv_images.py): input gradients of small images, few channels
    winograd   fewer products, larger errors (conv_winograd.py): forward and input gradients of 3x3
               kernels, on request only

The sum of an element is over channels, then kernel rows, then columns; with one output channel per
group and lanes of pixels, over channels, columns, rows. Each product is added with one rounding.
Long sums are sums of sums of some 100 products (`chained` in conv_channels.py): their rounding errors
do not grow with the number of channels. Weight gradients add positions in reading order (channels),
or in as many partial sums as lanes (pixels); sums of some images at a time, image after image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taper.backends.llvm.conv_channels import Batch, Correlation, packed_size
from taper.backends.llvm.conv_kernel import BY_LANES, ConvKernel, laying
from taper.backends.llvm.conv_shape import area, conflicts, fills_channels, windows
from taper.backends.llvm.conv_tiles import aligned, fill_zero, in_place
from taper.backends.llvm.conv_winograd import WinogradJob
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.text import Function, Module, Number, Pointer, Value


@dataclass(frozen=True)
class Forward(ConvKernel):
    """pack(w, scratch), then kernel(x, bias, y, scratch, piece, images, begin, end).

    Without `bias`, that argument is not looked at.
    """

    bias: bool = True
    relu: bool = False

    KINDS = ("array", "array", "array", "array", "int", "int")

    def chosen(self, machine: Machine) -> str:
        """The strategy."""
        shape = self.shape.flat()
        lanes = machine.lanes(self.itemsize)
        fills = fills_channels(shape.outputs_each, shape.out[1], lanes)
        return self.strategy or ("channels" if fills else "pixels")

    def _job(self, machine: Machine) -> tuple[Correlation, bool]:
        """The correlation of an image and group, and whether it reads the image in place."""
        shape = self.shape.flat()
        direct = (
            self.chosen(machine) == "channels"
            and shape.padding == (0, 0)
            and not conflicts(shape.size, self.itemsize)
        )
        plane = (
            in_place(shape.channels_each, *shape.size) if direct else shape.source(self.itemsize)
        )
        rows = tuple(i * shape.dilation[0] for i in range(shape.kernel[0]))
        cols = tuple(j * shape.dilation[1] for j in range(shape.kernel[1]))
        return (
            Correlation(
                shape.channels_each,
                shape.outputs_each,
                rows,
                cols,
                plane,
                shape.stride,
                shape.out,
                (shape.out[0] * shape.out[1], shape.out[1], 1),
                self.relu,
            ),
            direct,
        )

    def _sizes(self, machine: Machine) -> tuple[int, int]:
        """Elements of a group's packed weights and of the plane."""
        job, direct = self._job(machine)
        lanes = machine.lanes(self.itemsize)
        wide = BY_LANES[self.chosen(machine)].tile_lanes(job, lanes, machine)
        return self._up(packed_size(job, wide)), 0 if direct else job.plane.size

    def scratch(self, machine: Machine, pieces: int = 1) -> int:
        """Elements of scratch that a batch of so many ranges needs."""
        if self.strategy == "winograd":
            return self._winograd_scratch(self._winograd(), machine, pieces)
        packed, plane = self._sizes(machine)
        own = self.at_once(machine) * self._up(plane)
        return self.shape.groups * packed + own * pieces + self._line

    def at_once(self, machine: Machine) -> int:
        """Images that share a walk over the weights."""
        if self.chosen(machine) != "channels":
            return 1
        return self._share(machine, self._sizes(machine)[0], self._job(machine)[0].plane.size)

    def _winograd(self) -> WinogradJob:
        s = self.shape
        return WinogradJob(
            s.channels, s.outputs, s.size, s.out, s.padding, False, self.itemsize, self.relu
        )

    def write(self, module: Module) -> None:
        """The functions and their entries."""
        if self.strategy == "winograd":
            self._write_winograd(module, self._winograd(), "x", "bias", "y")
            return
        shape, machine = self.shape.flat(), module.machine
        family = BY_LANES[self.chosen(machine)]
        job, direct = self._job(machine)
        packed_each, _ = self._sizes(machine)
        depth = shape.channels_each * shape.taps
        wide = family.tile_lanes(job, module.lanes(self.element), machine)

        def pack_group(f: Function, w: Pointer, packed: Pointer, g: Value) -> None:
            given = w.at(g * (shape.outputs_each * depth))
            laying(family)(
                f, job, given, packed.at(g * packed_each), range(shape.taps), wide, depth,
                shape.taps,
            )  # fmt: skip

        self._write_pack(module, pack_group)
        f, (x, bias, y, scratch) = self._begin(module, "x", "bias", "y", "scratch")
        packed = aligned(f, scratch)
        at_once, size = self.at_once(machine), self._up(job.plane.size)
        plane = self._own(f, packed.at(shape.groups * packed_each), at_once * size)
        if not direct:
            fill_zero(f, plane, at_once * size)

        def some(n: Value, g: Value, count: Number) -> None:
            source = x.at((n * shape.channels + g * shape.channels_each) * area(shape.size))
            apart = shape.channels * area(shape.size)
            if not direct:
                apart = self._staged(f, job.plane, source, apart, plane, count)
                source = plane
            place = n * shape.outputs + g * shape.outputs_each
            family.write(
                f, job, source, packed.at(g * packed_each),
                bias.at(g * shape.outputs_each) if self.bias else None,
                y.at(place * area(shape.out)),
                Batch(count, apart, shape.outputs * area(shape.out)),
            )  # fmt: skip

        self._over(f, f.arg("begin"), f.arg("end"), some, at_once)
        self._end(module, f)

    def interpret(self, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        """The same in numpy: what the kernel must agree with."""
        shape = self.shape
        y = np.zeros((len(x), shape.outputs, *shape.out), x.dtype)
        for o, r, window, i, j in windows(shape, x):
            y[:, o] += w[o, r, i, j] * window
        if bias is not None:
            y += bias[:, None, None]
        return np.where(y < 0, 0, y).astype(x.dtype) if self.relu else y
