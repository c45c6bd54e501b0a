"""Kernels of the gradients of a convolution: of its input, and of its weight and bias.

The gradient of the input is a correlation of the output's gradient with the kernel turned around; with
a stride, one for each remainder of the position by the stride. conv.py says how kernels are called
and which strategies there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from taper.backends.llvm import conv_images, conv_weight
from taper.backends.llvm.call import write_entry
from taper.backends.llvm.conv_channels import Batch, Correlation, pack, packed_size
from taper.backends.llvm.conv_images import ImagesJob
from taper.backends.llvm.conv_kernel import BY_LANES, ConvKernel, laying
from taper.backends.llvm.conv_shape import (
    Pair,
    Shape,
    area,
    conflicts,
    fills_channels,
    windows,
)
from taper.backends.llvm.conv_tiles import (
    aligned,
    ceil_div,
    fill_zero,
    in_place,
    padded_plane,
    zero,
)
from taper.backends.llvm.conv_weight import WeightJob
from taper.backends.llvm.conv_winograd import WinogradJob
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.text import Function, Module, Number, Pointer, Value


def _phases(kernel: int, stride: int, padding: int, dilation: int) -> list[list[Pair]]:
    """For each remainder of an input position by the stride, the kernel positions that reach it:
    (where in the output's gradient, kernel position), by rising place.
    """
    return [
        [
            ((f + padding - i * dilation) // stride, i)
            for i in reversed(range(kernel))
            if (f + padding - i * dilation) % stride == 0
        ]
        for f in range(stride)
    ]


@dataclass(frozen=True)
class _Phase:
    """Every stride-th row and column of the input's gradient: an ordinary correlation of the
    output's gradient with some of the kernel's positions. No zeros are multiplied.
    """

    shift: int
    taps: tuple[int, ...]
    job: Correlation

    @property
    def first(self) -> int:
        """The first kernel position."""
        return self.taps[0] if self.taps else 0

    @property
    def origin(self) -> int:
        """Where in the plane the window of the first output begins."""
        job = self.job
        return job.rows[0] * job.plane.cols + job.cols[0] if self.taps else 0

    @property
    def alike(self) -> tuple[Correlation, tuple[int, ...]]:
        """The phase as seen from there: what equals others of this can be computed by their code."""
        job = self.job
        own = job.plane  # as if it had no padding: nothing is left out
        plane = replace(own, top=0, left=0, height=own.rows, width=own.cols)
        rows = tuple(row - job.rows[0] for row in job.rows)
        cols = tuple(col - job.cols[0] for col in job.cols)
        relative = tuple(tap - self.first for tap in self.taps)
        return replace(job, rows=rows, cols=cols, plane=plane), relative


# Phases up to which each has code of its own, which leaves out rows of padding.
_INLINE = 4


@dataclass(frozen=True)
class InputGrad(ConvKernel):
    """pack(w, scratch), then kernel(grad, dx, scratch, piece, images, begin, end)."""

    KINDS = ("array", "array", "array", "int", "int")

    def chosen(self, machine: Machine) -> str:
        """The strategy."""
        shape = self.shape.flat()
        lanes = machine.lanes(self.itemsize)
        if self.strategy:
            return self.strategy
        small = shape.channels < lanes and shape.out[1] <= lanes and shape.out[0] > 1
        small = small and shape.kernel[1] <= lanes
        reaching = all(shape.padding[a] < shape.span(a) for a in (0, 1))
        if small and reaching and shape.stride == (1, 1) and shape.groups == 1:
            return "images"
        width = ceil_div(shape.size[1], shape.stride[1])
        fills = fills_channels(shape.channels_each, width, lanes)
        return "channels" if fills else "pixels"

    def _phases(self, machine: Machine) -> tuple[list[_Phase], bool]:
        """The correlations of an image and group, and whether they read the gradient in place."""
        shape = self.shape.flat()
        phases = [
            _phases(shape.kernel[a], shape.stride[a], shape.padding[a], shape.dilation[a])
            for a in (0, 1)
        ]
        top, left = (max([0, *(-at for p in both for at, _ in p)]) for both in phases)
        before = (top, left)
        needed = [
            max(
                (ceil_div(shape.size[a] - first, shape.stride[a]) + at
                 for first, phase in enumerate(phases[a]) for at, _ in phase),
                default=0,
            )
            for a in (0, 1)
        ]  # fmt: skip
        rows, cols = (before[a] + max(shape.out[a], needed[a]) for a in (0, 1))
        direct = (
            self.chosen(machine) == "channels"
            and (rows, cols) == shape.out
            and not conflicts(shape.out, self.itemsize)
        )
        plane = (
            in_place(shape.outputs_each, *shape.out)
            if direct
            else padded_plane(shape.outputs_each, shape.out, rows, cols, top, left, self.itemsize)
        )
        found = []
        for y, in_rows in enumerate(phases[0]):
            for x, in_cols in enumerate(phases[1]):
                size = (
                    ceil_div(shape.size[0] - y, shape.stride[0]),
                    ceil_div(shape.size[1] - x, shape.stride[1]),
                )
                if min(size) <= 0:
                    continue
                job = Correlation(
                    shape.outputs_each,
                    shape.channels_each,
                    tuple(before[0] + at for at, _ in in_rows),
                    tuple(before[1] + at for at, _ in in_cols),
                    plane,
                    (1, 1),
                    size,
                    (area(shape.size), shape.stride[0] * shape.size[1], shape.stride[1]),
                )
                taps = tuple(i * shape.kernel[1] + j for _, i in in_rows for _, j in in_cols)
                found.append(_Phase(y * shape.size[1] + x, taps, job))
        return found, direct

    def _winograd(self) -> WinogradJob:
        s = self.shape
        around = (2 - s.padding[0], 2 - s.padding[1])
        return WinogradJob(s.outputs, s.channels, s.out, s.size, around, True, self.itemsize)

    def _images(self) -> ImagesJob:
        shape = self.shape
        return ImagesJob(
            shape.outputs,
            shape.channels,
            shape.out,
            shape.size,
            shape.kernel,
            shape.dilation,
            shape.span(0) - 1 - shape.padding[0],
            shape.span(1) - 1 - shape.padding[1],
        )

    def scratch(self, machine: Machine, pieces: int = 1) -> int:
        """Elements of scratch that a batch of so many ranges needs."""
        lanes = machine.lanes(self.itemsize)
        if self.strategy == "winograd":
            return self._winograd_scratch(self._winograd(), machine, pieces)
        if self.chosen(machine) == "images":
            job = self._images()
            packed = self._up(job.reduced * job.outputs * job.taps)
            return packed + self._up(job.scratch * lanes) * pieces + self._line
        phases, direct = self._phases(machine)
        packed = sum(self._packed(phase, machine)[1] for phase in phases)
        plane = 0 if direct or not phases else phases[0].job.plane.size
        own = self.at_once(machine) * self._up(plane)
        return self.shape.groups * packed + own * pieces + self._line

    def at_once(self, machine: Machine) -> int:
        """Images that share a walk over the weights."""
        if self.chosen(machine) != "channels":
            return 1
        phases, _ = self._phases(machine)
        if not 0 < len(phases) <= _INLINE:
            return 1
        packed = max(self._packed(phase, machine)[1] for phase in phases)
        return self._share(machine, packed, phases[0].job.plane.size)

    def _packed(self, phase: _Phase, machine: Machine) -> Pair:
        """Channels of a tile and elements of a group's packed weights."""
        family = BY_LANES[self.chosen(machine)]
        wide = family.tile_lanes(phase.job, machine.lanes(self.itemsize), machine)
        return wide, self._up(packed_size(phase.job, wide))

    def write(self, module: Module) -> None:
        """The functions and their entries."""
        if self.strategy == "winograd":
            self._write_winograd(module, self._winograd(), "grad", "dx")
        elif self.chosen(module.machine) == "images":
            self._write_images(module)
        else:
            self._write_phases(module)

    def _write_images(self, module: Module) -> None:
        shape, job = self.shape, self._images()
        wide = conv_images.tile_lanes(job)
        plain = Correlation(
            job.reduced, job.outputs, (0,) * job.kernel[0], (0,) * job.kernel[1],
            in_place(job.reduced, *job.source), (1, 1), job.size, (0, 0, 0),
        )  # fmt: skip
        turned = range(shape.taps - 1, -1, -1)

        def pack_group(f: Function, w: Pointer, packed: Pointer, _: Value) -> None:
            pack(f, plain, w, packed, turned, wide, shape.taps, shape.channels * shape.taps)

        self._write_pack(module, pack_group)
        f, (grad, dx, scratch) = self._begin(module, "grad", "dx", "scratch")
        packed = aligned(f, scratch)
        first = packed.at(self._up(job.reduced * job.outputs * job.taps))
        own = self._own(f, first, job.scratch * module.lanes(self.element))
        conv_images.write(
            f, job, grad, packed, own, dx, *self._images_of(f, f.arg("begin"), f.arg("end"))
        )
        self._end(module, f)

    def _write_phases(self, module: Module) -> None:
        shape, machine = self.shape.flat(), module.machine
        phases, direct = self._phases(machine)
        laid = [self._packed(phase, machine) for phase in phases]
        starts = [sum(size for _, size in laid[:i]) for i in range(len(laid) + 1)]
        each, depth = starts[-1], shape.channels_each * shape.taps
        lay, correlate = self._shared if len(phases) > _INLINE else self._own_code

        def pack_group(f: Function, w: Pointer, packed: Pointer, g: Value) -> None:
            own = w.at(g * (shape.outputs_each * depth))
            for phase, (wide, _), start in zip(phases, laid, starts, strict=False):
                lay(f, phase, wide, own, packed.at(g * each + start))

        self._write_pack(module, pack_group)
        f, (grad, dx, scratch) = self._begin(module, "grad", "dx", "scratch")
        packed = aligned(f, scratch)
        at_once, size = self.at_once(machine), self._up(phases[0].job.plane.size) if phases else 0
        plane = self._own(f, packed.at(shape.groups * each), at_once * size)
        if not direct:
            fill_zero(f, plane, at_once * size)

        def some(n: Value, g: Value, count: Number) -> None:
            source = grad.at((n * shape.outputs + g * shape.outputs_each) * area(shape.out))
            apart = shape.outputs * area(shape.out)
            if not direct and phases:
                apart = self._staged(f, phases[0].job.plane, source, apart, plane, count)
                source = plane
            to = dx.at((n * shape.channels + g * shape.channels_each) * area(shape.size))
            batch = Batch(count, apart, shape.channels * area(shape.size))
            for phase, start in zip(phases, starts, strict=False):
                here = packed.at(g * each + start)
                correlate(f, phase, source, here, to.at(phase.shift), batch)

        self._over(f, f.arg("begin"), f.arg("end"), some, at_once)
        self._end(module, f)

    @property
    def _strides(self) -> Pair:
        """Of the weight: from one input channel to the next, from one output channel to the next."""
        shape = self.shape.flat()
        return shape.taps, shape.channels_each * shape.taps

    @property
    def _own_code(self) -> tuple[Callable[..., None], Callable[..., None]]:
        """How a phase's weight is packed and how it is computed, in place."""

        def lay(f: Function, phase: _Phase, wide: int, w: Pointer, packed: Pointer) -> None:
            laying(self._family(f))(f, phase.job, w, packed, phase.taps, wide, *self._strides)

        def correlate(
            f: Function,
            phase: _Phase,
            source: Pointer,
            packed: Pointer,
            target: Pointer,
            batch: Batch,
        ) -> None:
            self._family(f).write(f, phase.job, source, packed, None, target, batch)

        return lay, correlate

    @property
    def _shared(self) -> tuple[Callable[..., None], Callable[..., None]]:
        """The same as calls of functions that phases of one kind have in common."""
        kinds: dict[Any, int] = {}

        def lay(f: Function, phase: _Phase, wide: int, w: Pointer, packed: Pointer) -> None:
            job, taps = phase.alike

            def write(g: Function) -> None:
                own, to = (g.pointer(name, self.element) for name in ("w", "packed"))
                pack(g, job, own, to, taps, wide, *self._strides)
                g.ret()

            name = f"pack_phase{kinds.setdefault(phase.alike, len(kinds))}"
            f.call(f.module.once(name, write, w="ptr", packed="ptr"), w.at(phase.first), packed)

        def correlate(
            f: Function, phase: _Phase, source: Pointer, packed: Pointer, target: Pointer, _: Batch
        ) -> None:
            def write(g: Function) -> None:
                here, weights, to = (
                    g.pointer(name, self.element) for name in ("source", "packed", "target")
                )
                self._family(g).write(g, phase.alike[0], here, weights, None, to, Batch(1, 0, 0))
                g.ret()

            name = f"phase{kinds.setdefault(phase.alike, len(kinds))}"
            made = f.module.once(name, write, source="ptr", packed="ptr", target="ptr")
            f.call(made, source.at(phase.origin), packed, target)

        return lay, correlate

    def _family(self, f: Function) -> Any:
        return BY_LANES[self.chosen(f.module.machine)]

    def interpret(self, grad: np.ndarray, w: np.ndarray) -> np.ndarray:
        """The same in numpy: what the kernel must agree with."""
        shape = self.shape
        # Windows of an array that holds its own positions say where each product belongs.
        places = np.arange(1, 1 + shape.channels * area(shape.size))
        total = np.zeros((len(grad), len(places) + 1), grad.dtype)
        for o, r, window, i, j in windows(shape, places.reshape(1, shape.channels, *shape.size)):
            total[:, window[0].ravel()] += w[o, r, i, j] * grad[:, o].reshape(len(grad), -1)
        return total[:, 1:].reshape(len(grad), shape.channels, *shape.size)


@dataclass(frozen=True)
class WeightGrad(ConvKernel):
    """kernel(x, grad, sums, scratch, piece, images, begin, end) writes the sums of each range behind
    those of the ranges before it; finish(sums, dw, db, ranges) adds them up in their order.
    """

    bias: bool = True

    KINDS = ("array", "array", "array", "array", "int", "int")
    FINISH = ("array", "array", "array", "int")

    @property
    def exports(self) -> tuple[str, ...]:
        """Both functions, and their entries for Python."""
        return ("kernel", "entry", "finish", "finish_entry")

    def chosen(self, machine: Machine) -> str:
        """The strategy."""
        shape = self.shape.flat()
        fills = fills_channels(shape.outputs_each, shape.out[1], machine.lanes(self.itemsize))
        return self.strategy or ("channels" if fills else "pixels")

    def _seen(self, machine: Machine) -> Shape:
        """The convolution as the kernel sees it: flat, unless its one row would be too long."""
        flat = self.shape.flat()
        return flat if self._rows(flat, machine) else self.shape

    def _rows(self, shape: Shape, machine: Machine) -> int:
        """Rows of the gradient whose transpose takes up to a quarter of the cache."""
        row = shape.out[1] * shape.outputs_each * self.itemsize
        return min(shape.out[0], machine.l2 // 4 // row)

    def _job(self, machine: Machine) -> tuple[WeightJob, bool]:
        shape = self._seen(machine)
        by_channels = self.chosen(machine) == "channels"
        direct = by_channels and shape.padding == (0, 0)
        plane = (
            in_place(shape.channels_each, *shape.size) if direct else shape.source(self.itemsize)
        )
        job = WeightJob(
            shape.channels_each, shape.outputs_each, shape.kernel, shape.stride, shape.dilation,
            plane, shape.out, by_channels,
            shape.channels * area(shape.size) if direct else self._up(plane.size),
            shape.outputs * area(shape.out),
            max(1, self._rows(shape, machine)),
        )  # fmt: skip
        return job, direct

    def sums(self, machine: Machine) -> int:
        """Elements of the sums of one part: of each group's weight, then of the bias."""
        return self._weights(machine) + self._biases(machine)

    def _weights(self, machine: Machine) -> int:
        job, _ = self._job(machine)
        return self.shape.groups * self._up(job.sums(machine, machine.lanes(self.itemsize)))

    def _biases(self, machine: Machine) -> int:
        return self._up(self.shape.outputs * machine.lanes(self.itemsize)) if self.bias else 0

    def scratch(self, machine: Machine, pieces: int = 1) -> int:
        """Elements of scratch that a batch of so many ranges needs."""
        return self._each(machine) * pieces + self._line

    def at_once(self, machine: Machine) -> int:
        """Images that are worked on together, up to 16: what a tile of channels is summed from should
        fit the innermost cache, and all of it the next.
        """
        job, _ = self._job(machine)
        lanes = machine.lanes(self.itemsize)
        panels = job.panels(machine, lanes)
        whole = (job.plane.size + max(panels, job.grad_step)) * self.itemsize
        if not job.by_channels:
            return max(1, min(16, machine.l1 // 2 // whole))
        tile = job.rows_at_once * job.size[1] * job.wide(machine, lanes) * self.itemsize
        return max(1, min(16, machine.l1 // 2 // tile, machine.l2 // whole))

    def _each(self, machine: Machine) -> int:
        """Elements of the scratch of one call: transposed gradients, then planes."""
        job, direct = self._job(machine)
        panels = job.panels(machine, machine.lanes(self.itemsize))
        plane = 0 if direct else self._up(job.plane.size)
        return self.at_once(machine) * (self._up(panels) + plane)

    def piece(self, images: int) -> int:
        """Images of a range: an eighth of them, but enough to be worth sums of their own. It depends
        on nothing else, so neither does the order in which images are added.
        """
        positions = area(self.shape.out)
        return max(1, ceil_div(images, 8), ceil_div(2048, max(1, positions)))

    def write(self, module: Module) -> None:
        """Both functions and their entries."""
        machine = module.machine
        shape = self._seen(machine)
        job, direct = self._job(machine)
        lanes = module.lanes(self.element)
        each = self._weights(machine) // shape.groups
        f, (x, grad, sums, scratch) = self._begin(module, "x", "grad", "sums", "scratch")
        panels = self._own(f, aligned(f, scratch), self._each(machine))
        at_once = self.at_once(machine)
        planes = panels.at(at_once * self._up(job.panels(machine, lanes)))
        whole = self.sums(machine)
        nothing = zero(f, self.element, lanes)
        if not direct:
            fill_zero(f, planes, at_once * self._up(job.plane.size))

        def group(sums: Pointer, n: Value, count: Value, g: Value) -> None:
            source = x.at((n * shape.channels + g * shape.channels_each) * area(shape.size))
            if not direct:
                image = shape.channels * area(shape.size)
                self._staged(f, job.plane, source, image, planes, count)
                source = planes
            place = n * shape.outputs + g * shape.outputs_each
            here = grad.at(place * area(shape.out))
            if self.bias:
                first = g * (shape.outputs_each * lanes) + self._weights(machine)
                conv_weight.add_bias(f, job, here, sums.at(first), count)
            conv_weight.add_images(f, job, source, here, sums.at(g * each), panels, count)

        def range_of_images(r: Value) -> None:
            own = sums.at(r * whole)
            f.loop(0, whole, lambda i: own.store(nothing, i), lanes)
            first, last = self._images_of(f, r, r + 1)

            def some(n: Value) -> None:
                count = f.minimum(last - n, at_once)
                f.loop(0, shape.groups, lambda g: group(own, n, count, g))

            f.loop(first, last, some, at_once)

        f.loop(f.arg("begin"), f.arg("end"), range_of_images)
        self._end(module, f)
        self._write_finish(module, job, each)

    def _write_finish(self, module: Module, job: WeightJob, each: int) -> None:
        shape, lanes = self.shape, module.lanes(self.element)
        f = module.function("finish", sums="ptr", dw="ptr", db="ptr", ranges="i64")
        sums, dw, db = (f.pointer(name, self.element) for name in ("sums", "dw", "db"))
        whole = self.sums(module.machine)

        def add(part: Value) -> None:
            def some(i: Value) -> None:
                sums.store(sums.load(i, lanes) + sums.load(part * whole + i, lanes), i)

            f.loop(0, whole, some, lanes)

        f.loop(1, f.arg("ranges"), add)
        depth = shape.channels_each * shape.taps

        def group(g: Value) -> None:
            own, to = sums.at(g * each), dw.at(g * (shape.outputs_each * depth))
            conv_weight.finish(f, job, own, to)

        f.loop(0, shape.groups, group)
        if self.bias:
            biases = sums.at(self._weights(module.machine))
            f.loop(0, shape.outputs, lambda o: db.store(biases.load(o * lanes, lanes).sum(), o))
        f.ret()
        write_entry(module, "finish_entry", f, self.FINISH)

    def interpret(self, x: np.ndarray, grad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same in numpy: what the kernel must agree with."""
        shape = self.shape
        dw = np.zeros((shape.outputs, shape.channels_each, *shape.kernel), x.dtype)
        for o, r, window, i, j in windows(shape, x):
            dw[o, r, i, j] = (window * grad[:, o]).sum()
        return dw, grad.sum((0, 2, 3))
