"""Correlation with a vector's lanes on output channels; and the job that both correlations take.

Every pixel of the input is broadcast straight from its plane and multiplied with the weights of 16
or 32 output channels: no columns are made. A tile of channels x pixels is transposed in registers
when it is stored. conv_pixels.py has the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taper.backends.llvm.conv_tiles import (
    Plane,
    ceil_div,
    divisor,
    each_tile,
    fill_zero,
    pieces,
    store_pixels,
    transposed,
    zero,
)
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.text import Function, Pointer, Value


@dataclass(frozen=True)
class Correlation:
    """One image and group: for every output channel o and position (y, x), the sum over channels r
    and kernel positions (i, j), in this order, of

        weight[o, r, i, j] * source[r, y * step[0] + rows[i], x * step[1] + cols[j]]

    `rows` are equally far apart, and so are `cols`. `target` has the strides of the output: channel, row, column.
    """

    reduced: int
    outputs: int
    rows: tuple[int, ...]
    cols: tuple[int, ...]
    plane: Plane
    step: tuple[int, int]
    size: tuple[int, int]
    target: tuple[int, int, int]
    relu: bool = False

    @property
    def taps(self) -> int:
        """Kernel positions."""
        return len(self.rows) * len(self.cols)

    def start(self, source: Pointer, y: Value, x: Value) -> Pointer:
        """Where the windows of the tile at (y, x) begin."""
        return source.at(y * (self.step[0] * self.plane.cols) + x * self.step[1])

    def end(self, f: Function, total: Value) -> Value:
        """What is done with a finished sum. Written so, zero is one instruction and nan stays."""
        return (total < 0.0).select(0.0, total) if self.relu else total


# Kernel columns that are written out one after another; more of them make a loop.
_UNROLLED = 8


def walk(
    f: Function,
    job: Correlation,
    source: Pointer,
    weights: Pointer,
    lanes: int,
    y: Value,
    height: int,
    sums: Sequence[Value],
    body: Callable[[Pointer, Pointer, Sequence[int], list[Value]], list[Value]],
) -> list[Value]:
    """sums = body(source, weights, columns, sums) at every (reduced channel, kernel row), for some
    kernel columns at a time, given as offsets in the source.

    The loops stay loops: of unrolled kernel rows LLVM would merge the loads that they share, and
    run out of registers. Kernel rows that meet only padding, for all of the tile's rows, are left
    out; what they would add is zero.
    """
    plane, count = job.plane, len(job.rows)
    if not job.taps:
        return list(sums)
    step = job.rows[1] - job.rows[0] if count > 1 else 1
    apart = job.cols[1] - job.cols[0] if len(job.cols) > 1 else 1
    first: int | Value = 0
    last: int | Value = count
    if plane.top or plane.rows > plane.height:

        def within(value: Value) -> Value:
            return f.minimum(f.maximum(value, 0), count * step) // step

        above = plane.top - job.rows[0] - y * job.step[0]
        first = within(above + (step - 1 - (height - 1) * job.step[0]))
        last = within(above + (plane.height - 1 + step))

    def columns(s: Pointer, w: Pointer, now: list[Value]) -> list[Value]:
        for start, size, times in pieces(len(job.cols), _UNROLLED):
            offsets = [i * apart for i in range(size)]

            def some(i: Value, *now: Value, start: int = start, size: int = size,
                     offsets: list[int] = offsets) -> list[Value]:  # fmt: skip
                here = s.at(i * (size * apart) + start * apart)
                return body(here, w.at(i * (size * lanes) + start * lanes), offsets, list(now))

            now = f.loop(0, times, some, init=now)
        return now

    def channel(r: Value, *now: Value) -> list[Value]:
        s = source.at(r * plane.pitch + (job.rows[0] * plane.cols + job.cols[0]))
        w = weights.at(r * (job.taps * lanes))

        def row(i: Value, *now: Value) -> list[Value]:
            place = i * (len(job.cols) * lanes)
            return columns(s.at(i * (step * plane.cols)), w.at(place), list(now))

        return columns(s, w, list(now)) if count == 1 else f.loop(first, last, row, init=now)

    return f.loop(0, job.reduced, channel, init=sums)


def most_pixels(machine: Machine, vectors: int) -> int:
    """Pixels of a tile of `vectors` vectors of channels: sums, weights and one pixel in registers."""
    return max(1, (machine.registers - 3 - vectors) // vectors)


def channel_vectors(outputs: int, lanes: int, machine: Machine) -> int:
    """Vectors of channels in a tile: two, or what divides their number. Three with 32 registers."""
    vectors = ceil_div(outputs, lanes)
    return next(v for v in ((2, 3, 1) if machine.registers >= 32 else (2, 1)) if vectors % v == 0)


def packed_size(job: Correlation, lanes: int) -> int:
    """Elements of packed weights: [tile][reduced][kernel position][lane]."""
    return ceil_div(job.outputs, lanes) * job.reduced * job.taps * lanes


# Kernel positions up to which packing a weight is written out.
_WRITTEN_OUT = 32


def pack(
    f: Function,
    job: Correlation,
    weights: Pointer,
    packed: Pointer,
    taps: Sequence[int],
    lanes: int,
    output_stride: int,
    reduced_stride: int,
) -> None:
    """Lays strided weights out for `write`; the direction that is contiguous goes innermost.

    `taps` are the kernel positions of the job's rows and columns: equally far apart, as these are.
    """
    if not taps:
        return
    cols = len(job.cols)
    across = taps[1] - taps[0] if cols > 1 else 0
    down = taps[cols] - taps[0] if len(job.rows) > 1 else 0
    if job.outputs % lanes:
        fill_zero(f, packed, packed_size(job, lanes))

    def move(o: Value, r: Value) -> None:
        place = (o // lanes * job.reduced + r) * (len(taps) * lanes) + o % lanes
        given = weights.at(o * output_stride + r * reduced_stride)
        if len(taps) <= _WRITTEN_OUT:
            for i, tap in enumerate(taps):
                packed.store(given.load(tap), place + i * lanes)
            return

        def one(i: Value, j: Value) -> None:
            tap = i * down + j * across + taps[0]
            packed.store(given.load(tap), place + (i * cols + j) * lanes)

        f.loop(0, len(job.rows), lambda i: f.loop(0, cols, lambda j: one(i, j)))

    if output_stride > reduced_stride:
        f.loop(0, job.outputs, lambda o: f.loop(0, job.reduced, lambda r: move(o, r)))
    else:
        f.loop(0, job.reduced, lambda r: f.loop(0, job.outputs, lambda o: move(o, r)))


def pack_vectors(
    f: Function,
    job: Correlation,
    weights: Pointer,
    packed: Pointer,
    taps: Sequence[int],
    wide: int,
    output_stride: int,
    reduced_stride: int,
) -> None:
    """As `pack`, a vector of output channels at a time; `wide` is a multiple of the lanes."""
    element, lanes = weights.element, f.module.lanes(weights.element)
    if not taps:
        return
    nothing = zero(f, element, lanes)
    depth = job.reduced * len(taps)
    in_order = list(taps) == list(range(reduced_stride)) and output_stride == depth

    def rows(first: Pointer, live: int, count: int) -> list[Value]:
        """Transposed: what `count` elements from there on are in each output channel."""
        mask = f.mask(count, lanes)
        given = [
            first.load(lane * output_stride, lanes, mask) if lane < live else nothing
            for lane in range(lanes)
        ]
        return transposed(given)[:count]

    def vector(o: Value, live: int) -> None:
        own = weights.at(o * output_stride)
        place = packed.at(o // wide * (depth * wide) + o % wide)

        def block(d: Value, count: int) -> None:
            for i, value in enumerate(rows(own.at(d), live, count)):
                place.store(value, (d + i) * wide)

        def reduced(r: Value) -> None:
            here, to = own.at(r * reduced_stride), place.at(r * (len(taps) * wide))
            if output_stride == 1:  # one kernel position: channels lie side by side
                to.store(here.load(0, lanes, f.mask(live, lanes)))
                return
            for start in range(0, output_stride, lanes):
                count = min(lanes, output_stride - start)
                if not any(start <= tap < start + count for tap in taps):
                    continue
                values = rows(here.at(start), live, count)
                for i, tap in enumerate(taps):
                    if start <= tap < start + count:
                        to.store(values[tap - start], i * wide)

        if in_order:
            whole = depth // lanes * lanes
            f.loop(0, whole, lambda d: block(d, lanes), lanes)
            if depth > whole:
                block(f.const(whole, "i64"), depth - whole)
        else:
            f.loop(0, job.reduced, reduced)

    full = job.outputs // lanes * lanes
    f.loop(0, full, lambda o: vector(o, lanes), lanes)
    if job.outputs > full:
        vector(f.const(full, "i64"), job.outputs - full)
    # The last tile may have vectors without channels.
    for empty in range(
        ceil_div(job.outputs, lanes) * lanes, packed_size(job, wide) // depth, lanes
    ):
        place = packed.at(empty // wide * (depth * wide) + empty % wide)
        f.loop(0, depth, lambda d, place=place: place.store(nothing, d * wide))


def tile_lanes(job: Correlation, lanes: int, machine: Machine) -> int:
    """Output channels of a tile."""
    return lanes * channel_vectors(job.outputs, lanes, machine)


def write(
    f: Function,
    job: Correlation,
    source: Pointer,
    packed: Pointer,
    bias: Pointer | None,
    target: Pointer,
) -> None:
    """All tiles of one image. `bias` has an element for each output channel."""
    machine, element = f.module.machine, source.element
    lanes = f.module.lanes(element)
    vectors = channel_vectors(job.outputs, lanes, machine)
    wide = lanes * vectors
    height, width = job.size
    most = most_pixels(machine, vectors)
    cols = min(width, lanes, most)
    rows = divisor(height, max(1, most // cols)) if width <= cols else 1

    def tile(o: Value, valid: int, y: Value, x: Value, rows: int, cols: int) -> None:
        live = [min(lanes, valid - lanes * v) for v in range(vectors)]
        live = [n for n in live if n > 0]
        weights = packed.at(o * (job.reduced * job.taps * wide))
        start = [
            zero(f, element, lanes)
            if bias is None
            else bias.load(o * wide + lanes * v, lanes, f.mask(n, lanes))
            for v, n in enumerate(live)
        ]
        count = len(live)
        here = job.start(source, y, x)
        offsets = [
            i * job.step[0] * job.plane.cols + p * job.step[1]
            for i in range(rows)
            for p in range(cols)
        ]

        def row_of_taps(
            s: Pointer, w: Pointer, columns: Sequence[int], sums: list[Value]
        ) -> list[Value]:
            for tap, col in enumerate(columns):
                hidden = s.opaque()
                factors = [w.load(tap * wide + lanes * v, lanes) for v in range(count)]
                made = []
                for number, offset in enumerate(offsets):
                    pixel = hidden.broadcast(offset + col, lanes)
                    made += [
                        f.fma(pixel, factors[v], sums[number * count + v]) for v in range(count)
                    ]
                sums = made
            return sums

        sums = walk(f, job, here, weights, wide, y, rows, start * (rows * cols), row_of_taps)
        to_channel, to_row, to_col = job.target
        place = target.at(o * (wide * to_channel) + y * to_row + x * to_col)
        for v, n in enumerate(live):
            for i in range(rows):
                line = [job.end(f, sums[(i * cols + p) * count + v]) for p in range(cols)]
                for c, pixels in enumerate(transposed(line)[:n]):
                    where = place.at((lanes * v + c) * to_channel + i * to_row)
                    store_pixels(where, pixels, cols, to_col)

    def image(o: Value, valid: int) -> None:
        each_tile(
            f, height, rows,
            lambda y, r: each_tile(
                f, width, cols, lambda x, c: tile(o, valid, y, x, r, c)
            ),
        )  # fmt: skip

    full = job.outputs // wide
    f.loop(0, full, lambda o: image(o, wide))
    if job.outputs % wide:
        image(f.const(full, "i64"), job.outputs % wide)
