"""Gradients of a convolution's weight and bias: sums over images and positions.

Sums of a block of the weight stay in registers for a whole image. With many output channels the
lanes are channels: the output's gradient is transposed to [position][channel] and every input pixel
is broadcast. With few, every sum is a vector over 16 columns of pixels, and its lanes are added up
once, after the last image. Both leave their sums in `sums`, which parts of a batch can be added to
separately; `finish` adds the parts and lays the result out as the weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from taper.backends.llvm.conv_channels import channel_vectors, most_pixels
from taper.backends.llvm.conv_tiles import (
    Plane,
    ceil_div,
    divisor,
    each_tile,
    load_pixels,
    pieces,
    transposed,
    zero,
)
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.text import Function, Pointer, Value

Pair = tuple[int, int]

# Positions of an image up to which all are written out.
_PLACED = 32


@dataclass(frozen=True)
class WeightJob:
    """A group of some images: sums[o, r, i, j] += grad[o, y, x] * source[r, y * stride[0] + i *
    dilation[0], x * stride[1] + j * dilation[1]] over all positions (y, x). From one image to the
    next it is `source_step` and `grad_step` elements. Several images at a time save loads and stores
    of the sums; of large images `rows_at_once` rows are transposed at a time, to stay in the cache.
    """

    reduced: int
    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    plane: Plane
    size: tuple[int, int]
    by_channels: bool
    source_step: int
    grad_step: int
    rows_at_once: int

    @property
    def taps(self) -> int:
        """Kernel positions."""
        return self.kernel[0] * self.kernel[1]

    @property
    def positions(self) -> int:
        """Positions of an image."""
        return self.size[0] * self.size[1]

    def wide(self, machine: Machine, lanes: int) -> int:
        """Output channels of a tile, where lanes are channels."""
        return lanes * channel_vectors(self.outputs, lanes, machine)

    def sums(self, machine: Machine, lanes: int) -> int:
        """Elements of a group's sums: [tile][r][kernel position][o], or [o][r][position][lane]."""
        if self.by_channels:
            wide = self.wide(machine, lanes)
            return ceil_div(self.outputs, wide) * self.reduced * self.taps * wide
        return self.outputs * self.reduced * self.taps * lanes

    def panels(self, machine: Machine, lanes: int) -> int:
        """Elements of the transposed gradient."""
        if not self.by_channels:
            return 0
        wide = self.wide(machine, lanes)
        return ceil_div(self.outputs, wide) * self.rows_at_once * self.size[1] * wide

    def meets(self, y: int, x: int, i: int, j: int) -> bool:
        """Whether kernel position (i, j) at position (y, x) meets the image, and not its padding."""
        plane = self.plane
        row = y * self.stride[0] + i * self.dilation[0] - plane.top
        col = x * self.stride[1] + j * self.dilation[1] - plane.left
        return 0 <= row < plane.height and 0 <= col < plane.width

    @property
    def is_mostly_edge(self) -> bool:
        """Whether there are few positions, and many products with padding."""
        if self.positions > _PLACED:
            return False
        ranges = map(range, (*self.size, *self.kernel))
        seen = sum(self.meets(*place) for place in product(*ranges))
        return seen < 0.9 * self.positions * self.taps

    def offsets(self) -> list[int]:
        """Where kernel positions begin in a channel of the source."""
        return [
            i * self.dilation[0] * self.plane.cols + j * self.dilation[1]
            for i in range(self.kernel[0])
            for j in range(self.kernel[1])
        ]


def add_images(
    f: Function,
    job: WeightJob,
    source: Pointer,
    grad: Pointer,
    sums: Pointer,
    panels: Pointer,
    images: Value,
) -> None:
    """Adds the share of some images to the sums of a group."""
    if not job.by_channels:
        _pixels(f, job, source, grad, sums, images)
        return
    machine, lanes = f.module.machine, f.module.lanes(source.element)
    wide, each = job.wide(machine, lanes), job.panels(machine, lanes)

    def some_rows(y: Value, rows: int) -> None:
        positions = rows * job.size[1]

        def lay(n: Value) -> None:
            given = grad.at(n * job.grad_step + y * job.size[1])
            _lay_panels(f, job, given, panels.at(n * each), wide, positions)

        def tile(t: Value) -> None:
            panel = panels.at(t * (positions * wide))
            own = sums.at(t * (job.reduced * job.taps * wide))
            here = source.at(y * (job.stride[0] * job.plane.cols))
            _channels(f, job, here, panel, own, wide // lanes, images, rows)

        f.loop(0, images, lay)
        f.loop(0, ceil_div(job.outputs, wide), tile)

    each_tile(f, job.size[0], job.rows_at_once, some_rows)


def add_bias(f: Function, job: WeightJob, grad: Pointer, sums: Pointer, images: Value) -> None:
    """Adds the gradient's positions to [o][lane]; up to four partial sums of an image at a time."""
    element, lanes = grad.element, f.module.lanes(grad.element)
    size = job.positions
    whole = size // (4 * lanes) * (4 * lanes)
    nothing = zero(f, element, lanes)

    def channel(o: Value) -> None:
        def image(n: Value, before: Value) -> list[Value]:
            line = grad.at(n * job.grad_step + o * size)
            parts = f.loop(
                0,
                whole,
                lambda i, *now: [n + line.load(i + lanes * k, lanes) for k, n in enumerate(now)],
                4 * lanes,
                [nothing] * 4,
            )
            total = (parts[0] + parts[1]) + (parts[2] + parts[3]) if whole else nothing
            for x in range(whole, size, lanes):
                total = total + line.load(x, lanes, f.mask(size - x, lanes))
            return [before + total]

        (total,) = f.loop(0, images, image, init=[sums.load(o * lanes, lanes)])
        sums.store(total, o * lanes)

    f.loop(0, job.outputs, channel)


def _lay_panels(
    f: Function, job: WeightJob, grad: Pointer, panels: Pointer, wide: int, size: int
) -> None:
    """`size` positions from [channel][position] to [tile][position][channel], padded with zeros."""
    element, lanes = grad.element, f.module.lanes(grad.element)
    nothing = zero(f, element, lanes)

    def block(p: Value, count: int, o: Value, live: int) -> None:
        rows = [
            grad.load((o + c) * job.positions + p, lanes, f.mask(count, lanes))
            if c < live
            else nothing
            for c in range(lanes)
        ]
        out = panels.at(o // wide * (size * wide) + o % wide)
        for i, value in enumerate(transposed(rows)[:count]):
            out.store(value, (p + i) * wide)

    def line(o: Value, live: int) -> None:
        whole = size // lanes * lanes
        f.loop(0, whole, lambda p: block(p, lanes, o, live), lanes)
        if size > whole:
            block(f.const(whole, "i64"), size - whole, o, live)

    full = job.outputs // lanes * lanes
    f.loop(0, full, lambda o: line(o, lanes), lanes)
    if job.outputs > full:
        line(f.const(full, "i64"), job.outputs - full)
    for empty in range(full + lanes * (job.outputs > full), ceil_div(full, wide) * wide, lanes):
        place = panels.at(empty // wide * (size * wide) + empty % wide)
        f.loop(0, size, lambda p, place=place: place.store(nothing, p * wide))


def _channels(
    f: Function,
    job: WeightJob,
    source: Pointer,
    panel: Pointer,
    sums: Pointer,
    vectors: int,
    images: Value,
    height: int,
) -> None:
    """A block of (r, kernel position) x channels at a time, over all rows that were laid out."""
    lanes = f.module.lanes(source.element)
    panels = job.panels(f.module.machine, lanes)
    wide, most = vectors * lanes, most_pixels(f.module.machine, vectors)
    width = job.size[1]
    unroll = divisor(width, 4)

    nothing = zero(f, source.element, lanes)
    # Few positions are written out one by one, without the products with padding.
    taps = list(product(range(job.kernel[0]), range(job.kernel[1])))
    placed = height == job.size[0] and job.taps <= most and job.is_mostly_edge

    def add(
        here: Pointer, given: Pointer, offsets: Sequence[tuple[int, int]], sums: Sequence[Value]
    ) -> list[Value]:
        """The products of one position; `offsets` has the numbers of sums, and where their pixels are."""
        made, hidden = list(sums), here.opaque()
        factors = [given.load(lanes * v, lanes) for v in range(vectors)]
        for m, offset in offsets:
            pixel = hidden.broadcast(offset, lanes)
            for v in range(vectors):
                number = m * vectors + v
                made[number] = f.fma(pixel, factors[v], made[number])
        return made

    def block(s: Pointer, place: Pointer, offsets: list[int]) -> None:
        def image(n: Value, *now: Value) -> list[Value]:
            own, given = s.at(n * job.source_step), panel.at(n * panels)
            if not placed:
                return f.loop(0, height, lambda y, *now: row(own, given, y, *now), init=now)
            sums = list(now)
            for number, (y, x) in enumerate(product(range(height), range(width))):
                here = own.at(y * job.stride[0] * job.plane.cols + x * job.stride[1])
                seen = [
                    (m, offset)
                    for m, offset in enumerate(offsets)
                    if job.meets(y, x, *taps[m % job.taps])
                ]
                sums = add(here, given.at(number * wide), seen, sums)
            return sums

        def row(own: Pointer, laid: Pointer, y: Value, *now: Value) -> list[Value]:
            def some(x: Value, *now: Value) -> list[Value]:
                here = own.at(y * (job.stride[0] * job.plane.cols) + x * job.stride[1])
                given = laid.at((y * width + x) * wide)
                sums = list(now)
                for u in range(unroll):
                    moved = [(m, at + u * job.stride[1]) for m, at in enumerate(offsets)]
                    sums = add(here, given.at(u * wide), moved, sums)
                return sums

            return f.loop(0, width, some, unroll, now)

        # What was summed before is added last: these sums are short, and so are their errors small.
        made = f.loop(0, images, image, init=[nothing] * (len(offsets) * vectors))
        for number, total in enumerate(made):
            m, v = divmod(number, vectors)
            at = m * wide + lanes * v
            place.store(place.load(at, lanes) + total, at)

    offsets, pitch = job.offsets(), job.plane.pitch
    if job.taps <= most:  # several input channels at a time
        for start, size, count in pieces(job.reduced, most // job.taps):
            several = [c * pitch + offset for c in range(size) for offset in offsets]

            def at(i: Value, start: int = start, size: int = size,
                   several: list[int] = several) -> None:  # fmt: skip
                r = i * size + start
                block(source.at(r * pitch), sums.at(r * (job.taps * wide)), several)

            f.loop(0, count, at)
        return

    def channel(r: Value) -> None:
        own, to = source.at(r * pitch), sums.at(r * (job.taps * wide))
        if job.taps > 4 * most:  # too many to be written out: each kernel row by itself
            columns = offsets[: job.kernel[1]]

            def row(i: Value) -> None:
                def some(j: Value, size: int) -> None:
                    block(
                        own.at(i * (job.dilation[0] * job.plane.cols) + j * job.dilation[1]),
                        to.at((i * job.kernel[1] + j) * wide),
                        columns[:size],
                    )

                each_tile(f, job.kernel[1], most, some)

            f.loop(0, job.kernel[0], row)
            return
        for start, size, count in pieces(job.taps, most):
            for first in range(start, start + count * size, size):
                block(own, to.at(first * wide), offsets[first : first + size])

    f.loop(0, job.reduced, channel)


def _pixels(
    f: Function, job: WeightJob, source: Pointer, grad: Pointer, sums: Pointer, images: Value
) -> None:
    """A block of channels x kernel positions at a time; lanes are columns of pixels."""
    lanes = f.module.lanes(source.element)
    height, width = job.size
    registers = f.module.machine.registers
    sums_at_most = 3 * registers // 4
    merged = job.taps <= sums_at_most // 2
    # Kernel rows and columns of a block.
    tall = job.kernel[0] if merged else 1
    broad = min(job.kernel[1], sums_at_most)
    most = max(1, sums_at_most // (tall * broad))

    def block(o: Value, channels: int, r: Value, i: Value, j: Value, taps: list[Pair]) -> None:
        places = [
            ((o + c) * (job.reduced * job.taps) + r * job.taps)
            + ((i + a) * job.kernel[1] + (j + b))
            for c in range(channels)
            for a, b in taps
        ]
        # With one channel, rows of the output share rows of the source.
        rows_at_once = divisor(height, 4) if channels == 1 else 1
        needed = sorted(
            (b * job.dilation[1], u * job.stride[0] + a * job.dilation[0], number, u)
            for u in range(rows_at_once)
            for number, (a, b) in enumerate(taps)
        )
        first = source.at(
            r * job.plane.pitch + i * (job.dilation[0] * job.plane.cols) + j * job.dilation[1]
        )

        def image(n: Value, *now: Value) -> list[Value]:
            own, line = first.at(n * job.source_step), grad.at(n * job.grad_step)
            return f.loop(
                0, height, lambda y, *now: rows(own, line, y, *now), rows_at_once, init=now
            )

        def rows(own: Pointer, line: Pointer, y: Value, *now: Value) -> list[Value]:
            def some(x: Value, *now: Value, count: int = lanes) -> list[Value]:
                mask = f.mask(count, lanes)
                given = [
                    [
                        line.load((o + c) * (height * width) + (y + u) * width + x, lanes, mask)
                        for c in range(channels)
                    ]
                    for u in range(rows_at_once)
                ]
                here = own.at(y * (job.stride[0] * job.plane.cols) + x * job.stride[1])
                made = list(now)
                for col, row, number, u in needed:
                    # Past the row's end the source is zero, too: its nan would stay nan.
                    place = here.at(row * job.plane.cols + col)
                    pixels = load_pixels(place, lanes, job.stride[1], count)
                    for c in range(channels):
                        at = c * len(taps) + number
                        made[at] = f.fma(pixels, given[u][c], made[at])
                return made

            whole = width // lanes * lanes
            made = f.loop(0, whole, some, lanes, now)
            return (
                some(f.const(whole, "i64"), *made, count=width - whole) if width > whole else made
            )

        start = [sums.load(place * lanes, lanes) for place in places]
        for place, total in zip(places, f.loop(0, images, image, init=start), strict=True):
            sums.store(total, place * lanes)

    def taps(o: Value, size: int, r: Value) -> None:
        def row(i: Value) -> None:
            def columns(j: Value, count: int) -> None:
                both = [(a, b) for a in range(tall) for b in range(count)]
                block(o, size, r, i, j, both)

            each_tile(f, job.kernel[1], broad, columns)

        f.loop(0, job.kernel[0] // tall, row)

    def channels(o: Value, size: int) -> None:
        f.loop(0, job.reduced, lambda r: taps(o, size, r))

    each_tile(f, job.outputs, most, channels)


def finish(f: Function, job: WeightJob, sums: Pointer, weight: Pointer) -> None:
    """Writes the weight of a group, [channel][r][kernel position], from its sums."""
    machine, lanes = f.module.machine, f.module.lanes(sums.element)
    depth = job.reduced * job.taps
    if not job.by_channels:
        f.loop(0, job.outputs * depth, lambda i: weight.store(sums.load(i * lanes, lanes).sum(), i))
        return
    wide = job.wide(machine, lanes)

    def some(o: Value, live: int) -> None:
        own, to = sums.at(o // wide * (depth * wide) + o % wide), weight.at(o * depth)

        def block(d: Value, count: int) -> None:
            rows = [own.load((d + i) * wide, lanes) for i in range(count)]
            for c, values in enumerate(transposed(rows)[:live]):
                to.store(values, d + c * depth, f.mask(count, lanes))

        whole = depth // lanes * lanes
        f.loop(0, whole, lambda d: block(d, lanes), lanes)
        if depth > whole:
            block(f.const(whole, "i64"), depth - whole)

    full = job.outputs // lanes * lanes
    f.loop(0, full, lambda o: some(o, lanes), lanes)
    if job.outputs > full:
        some(f.const(full, "i64"), job.outputs - full)
