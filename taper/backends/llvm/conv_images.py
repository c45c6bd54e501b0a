"""Correlation with a vector's lanes on images.

For few output channels and rows shorter than a vector: as many images as a vector has lanes are
transposed into [channel][row][column][image], so that all lanes work whatever the width, and kernel
positions that meet padding are left out exactly. It suits the gradient of the input of a
convolution with a wide kernel, whose padding is most of its work (LeNet's second layer: twice as
fast as lanes on pixels).

When fewer images are left than lanes, the last one stands in for the missing ones: its results are
computed and written several times, the same each time.
"""

from __future__ import annotations

from dataclasses import dataclass

from taper.backends.llvm.conv_tiles import divisor, pieces, transposed, zero
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.text import Function, Pointer, Value


@dataclass(frozen=True)
class ImagesJob:
    """With stride 1: result[o, y, x] is the sum over r, i, j of weight[o, r, i, j] times
    source[r, y - up + i * dilation[0], x - left + j * dilation[1]], where that is in the image.
    """

    reduced: int
    outputs: int
    source: tuple[int, int]
    size: tuple[int, int]
    kernel: tuple[int, int]
    dilation: tuple[int, int]
    up: int
    left: int

    @property
    def taps(self) -> int:
        """Kernel positions."""
        return self.kernel[0] * self.kernel[1]

    @property
    def staged(self) -> int:
        """Vectors of the staged source."""
        return self.reduced * self.source[0] * self.source[1]

    @property
    def scratch(self) -> int:
        """Vectors of scratch: the staged source, then the result."""
        return self.staged + self.outputs * self.size[0] * self.size[1]


def tile_lanes(job: ImagesJob) -> int:
    """Output channels of a tile."""
    return divisor(job.outputs, 6)


def write(
    f: Function,
    job: ImagesJob,
    source: Pointer,
    packed: Pointer,
    scratch: Pointer,
    target: Pointer,
    begin: Value,
    end: Value,
) -> None:
    """Images begin to end of the batch. `packed` is [tile][reduced][kernel position][channel]."""
    lanes = f.module.lanes(source.element)
    staged, made = scratch, scratch.at(job.staged * lanes)

    def some(first: Value) -> None:
        # The images of the lanes; the last stands in for those past the end.
        images = [f.minimum(first + lane, end - 1) for lane in range(lanes)]
        _gather(f, job, source, staged, images)
        _correlate(f, job, staged, packed, made)
        _scatter(f, job, made, target, images)

    f.loop(begin, end, some, lanes)


def _gather(
    f: Function, job: ImagesJob, source: Pointer, staged: Pointer, images: list[Value]
) -> None:
    """To [channel][row][column][image]."""
    lanes = len(images)
    height, width = job.source
    each = [source.at(image * (job.reduced * height * width)) for image in images]

    def row(r: Value) -> None:
        for x in range(0, width, lanes):
            count = min(lanes, width - x)
            rows = [s.load(r * width + x, lanes, f.mask(count, lanes)) for s in each]
            place = staged.at((r * width + x) * lanes)
            for i, value in enumerate(transposed(rows)[:count]):
                place.store(value, i * lanes)

    f.loop(0, job.reduced * height, row)


def _scatter(
    f: Function, job: ImagesJob, made: Pointer, target: Pointer, images: list[Value]
) -> None:
    """Back to one image after another."""
    lanes = len(images)
    total = job.outputs * job.size[0] * job.size[1]
    each = [target.at(image * total) for image in images]

    def part(p: Value, count: int) -> None:
        rows = [made.load((p + i) * lanes, lanes) for i in range(count)]
        for place, value in zip(each, transposed(rows), strict=True):
            place.store(value, p, f.mask(count, lanes))

    whole = total // lanes * lanes
    f.loop(0, whole, lambda p: part(p, lanes), lanes)
    if total > whole:
        part(f.const(whole, "i64"), total - whole)


def most_pixels(machine: Machine, channels: int) -> int:
    """Pixels of a tile: sums, and a vector of every pixel, in registers."""
    return max(1, (machine.registers - 4) // (channels + 1))


def _correlate(
    f: Function, job: ImagesJob, staged: Pointer, packed: Pointer, made: Pointer
) -> None:
    element, lanes = staged.element, f.module.lanes(staged.element)
    channels = tile_lanes(job)
    height, width = job.source
    down, right = job.dilation

    def tile(o: Value, y: Value, first: Value, last: Value, x: int, pixels: int) -> None:
        # The pixels of the tile at which each kernel column meets the image.
        meeting = [
            [p for p in range(pixels) if 0 <= x + p + j * right - job.left < width]
            for j in range(job.kernel[1])
        ]

        def reduced(r: Value, *now: Value) -> list[Value]:
            def row(i: Value, *now: Value) -> list[Value]:
                level = (r * height + (y - job.up)) + i * down
                line = staged.at((level * width + (x - job.left)) * lanes)
                weights = packed.at(
                    ((o * job.reduced + r) * job.taps + i * job.kernel[1]) * channels
                )
                sums = list(now)
                for j, met in enumerate(meeting):
                    hidden = line.opaque()
                    seen = {p: hidden.load((p + j * right) * lanes, lanes) for p in met}
                    for c in range(channels if met else 0):
                        factor = weights.broadcast(j * channels + c, lanes)
                        for p in met:
                            number = c * pixels + p
                            sums[number] = f.fma(seen[p], factor, sums[number])
                return sums

            return f.loop(first, last, row, init=now)

        sums = f.loop(0, job.reduced, reduced, init=[zero(f, element, lanes)] * (channels * pixels))
        for number, total in enumerate(sums):
            c, p = divmod(number, pixels)
            at = ((o * channels + c) * job.size[0] + y) * job.size[1] + (x + p)
            made.store(total, at * lanes)

    def line(o: Value, y: Value) -> None:
        span = job.kernel[0] * down

        def within(value: Value) -> Value:
            return f.minimum(f.maximum(value, 0), span) // down

        first = within((job.up + down - 1) - y)
        last = within((job.up + height - 1 + down) - y)
        for start, size, count in pieces(job.size[1], most_pixels(f.module.machine, channels)):
            for x in range(start, start + count * size, size):
                tile(o, y, first, last, x, size)

    f.loop(
        0,
        job.outputs // channels,
        lambda o: f.loop(0, job.size[0], lambda y: line(o, y)),
    )
