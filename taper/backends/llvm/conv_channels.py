"""Correlation with a vector's lanes on output channels; and the job that both correlations take.

Every pixel of the input is broadcast straight from its plane and multiplied with the weights of 16
or 32 output channels: no columns are made. A tile of channels x pixels is transposed in registers
when it is stored. conv_pixels.py has the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from taper.backends.llvm.conv_tiles import (
    Plane,
    ceil_div,
    divisor,
    fill_zero,
    pieces,
    store_pixels,
    transposed,
    zero,
)
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.text import Function, Number, Pointer, Value


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


@dataclass(frozen=True)
class Batch:
    """Images that share a walk over the weights: how many, and their distances in source and target."""

    count: Number
    source: int
    target: int

    def each(
        self,
        f: Function,
        source: Pointer,
        target: Pointer,
        body: Callable[[Pointer, Pointer], None],
    ) -> None:
        """body(source, target) for every image."""
        f.loop(
            0, self.count, lambda n: body(source.at(n * self.source), target.at(n * self.target))
        )


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
    channels: tuple[Number, Number],
) -> list[Value]:
    """sums = body(source, weights, columns, sums) at every (reduced channel, kernel row), of these
    channels, for some kernel columns at a time, given as offsets in the source.

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

    return f.loop(*channels, channel, init=sums)


# Products that are added up in registers before their sum joins the others. What is rounded away
# grows with the square root of the sums in a row: sums of sums keep it at that of some 100 terms.
_CHAIN = 96
# Products that are not worth cutting.
_SHORT = 160


def chained(
    f: Function,
    reduced: int,
    taps: int,
    start: Sequence[Value],
    channels: Callable[[Number, Number, Sequence[Value]], list[Value]],
) -> list[Value]:
    """start + channels(0, reduced, zeros), some channels of `taps` products at a time. `channels`
    goes on with sums over the channels from a first to a last one.
    """
    each = max(1, _CHAIN // max(1, taps))
    if reduced <= each or reduced * taps <= _SHORT:
        return channels(0, reduced, start)
    element, lanes = start[0].element, start[0].lanes
    nothing = [zero(f, element, lanes)] * len(start)
    totals = f.local(len(start) * lanes, element)
    for n, total in enumerate(start):
        totals.store(total, n * lanes)

    def some(first: Value) -> None:
        made = channels(first, f.minimum(first + each, reduced), nothing)
        for n, part in enumerate(made):
            totals.store(totals.load(n * lanes, lanes) + part, n * lanes)

    f.loop(0, reduced, some, each)
    return [totals.load(n * lanes, lanes) for n in range(len(start))]


# Instructions of products of an image's tiles up to which each kind of tile has code of its own.
_PLACED = 1024


@dataclass(frozen=True)
class Strip:
    """`count` tiles of `size` pixels in one direction from `start` on, all alike. `seen` has those of
    (offset of a kernel position, pixel of the tile) that meet the image and not its padding; it is
    empty where code does not depend on it.
    """

    start: int
    size: int
    count: int
    seen: frozenset[tuple[int, int]] = frozenset()

    def each(self, f: Function, body: Callable[[Value], None]) -> None:
        """body(first pixel) for every tile."""
        f.loop(0, self.count, lambda i: body(i * self.size + self.start))


def _strips(
    job: Correlation, rows: int, cols: int, vectors: int
) -> tuple[list[Strip], list[Strip]]:
    """How the image is cut into tiles down and across. Where it has padding and needs few kinds of
    tiles, products with padding are left out of each.
    """
    plane, (height, width) = job.plane, job.size
    plain = (
        [Strip(*cut) for cut in pieces(height, rows)],
        [Strip(*cut) for cut in pieces(width, cols)],
    )
    if (plane.rows, plane.cols) == (plane.height, plane.width):
        return plain
    down = _by_padding(plain[0], job.rows, job.step[0], plane.top, plane.height)
    across = _by_padding(plain[1], job.cols, job.step[1], plane.left, plane.width)
    written = vectors
    for strips in (down, across):
        written *= sum(len(strip.seen) for strip in strips)
    return (down, across) if written <= _PLACED else plain


def _by_padding(
    strips: list[Strip], offsets: tuple[int, ...], step: int, first: int, extent: int
) -> list[Strip]:
    """The strips, cut where tiles meet the image differently, which is at `first` in its plane."""
    made: list[Strip] = []
    for strip in strips:
        for number in range(strip.count):
            start = strip.start + number * strip.size
            seen = frozenset(
                (offset, i)
                for offset in offsets
                for i in range(strip.size)
                if first <= (start + i) * step + offset < first + extent
            )
            if made and (made[-1].size, made[-1].seen) == (strip.size, seen):
                made[-1] = replace(made[-1], count=made[-1].count + 1)
            else:
                made.append(Strip(start, strip.size, 1, seen))
    return made


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
    batch: Batch,
) -> None:
    """All tiles of some images. `bias` has an element for each output channel."""
    machine, element = f.module.machine, source.element
    lanes = f.module.lanes(element)
    vectors = channel_vectors(job.outputs, lanes, machine)
    wide = lanes * vectors
    height, width = job.size
    most = most_pixels(machine, vectors)
    cols = min(width, lanes, most)
    rows = divisor(height, max(1, most // cols)) if width <= cols else 1
    down, across = _strips(job, rows, cols, vectors)

    def tile(
        o: Value, valid: int, y: Value, x: Value, above: Strip, left: Strip, source: Pointer,
        target: Pointer,
    ) -> None:  # fmt: skip
        rows, cols = above.size, left.size
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
        places = [(i, p) for i in range(rows) for p in range(cols)]

        def add(s: Pointer, w: Pointer, offset: int, seen: list[int], sums: list[Value]) -> None:
            """A kernel position's products, for the pixels of the tile that are `seen`."""
            hidden = s.opaque()
            factors = [w.load(lanes * v, lanes) for v in range(count)]
            for number in seen:
                i, p = places[number]
                at = i * job.step[0] * job.plane.cols + p * job.step[1] + offset
                pixel = hidden.broadcast(at, lanes)
                for v in range(count):
                    place = number * count + v
                    sums[place] = f.fma(pixel, factors[v], sums[place])

        def row_of_taps(
            s: Pointer, w: Pointer, columns: Sequence[int], sums: list[Value]
        ) -> list[Value]:
            for tap, col in enumerate(columns):
                add(s, w.at(tap * wide), col, list(range(len(places))), sums)
            return sums

        def channel_of_taps(r: Value, *now: Value) -> list[Value]:
            s, w, sums = here.at(r * job.plane.pitch), weights.at(r * (job.taps * wide)), list(now)
            for tap, (row, col) in enumerate(product(job.rows, job.cols)):
                seen = [
                    number
                    for number, (i, p) in enumerate(places)
                    if (row, i) in above.seen and (col, p) in left.seen
                ]
                if seen:
                    add(s, w.at(tap * wide), row * job.plane.cols + col, seen, sums)
            return sums

        def channels(first: Number, last: Number, sums: Sequence[Value]) -> list[Value]:
            if above.seen and left.seen:
                return f.loop(first, last, channel_of_taps, init=sums)
            return walk(f, job, here, weights, wide, y, rows, sums, row_of_taps, (first, last))

        sums = chained(f, job.reduced, job.taps, start * len(places), channels)
        to_channel, to_row, to_col = job.target
        place = target.at(o * (wide * to_channel) + y * to_row + x * to_col)
        for v, n in enumerate(live):
            for i in range(rows):
                line = [job.end(f, sums[(i * cols + p) * count + v]) for p in range(cols)]
                for c, pixels in enumerate(transposed(line)[:n]):
                    where = place.at((lanes * v + c) * to_channel + i * to_row)
                    store_pixels(where, pixels, cols, to_col)

    def tiles(o: Value, valid: int, above: Strip, left: Strip) -> None:
        def image(source: Pointer, target: Pointer) -> None:
            def row(y: Value) -> None:
                left.each(f, lambda x: tile(o, valid, y, x, above, left, source, target))

            above.each(f, row)

        batch.each(f, source, target, image)

    def channels_of_tile(o: Value, valid: int) -> None:
        for above, left in product(down, across):
            tiles(o, valid, above, left)

    full = job.outputs // wide
    f.loop(0, full, lambda o: channels_of_tile(o, wide))
    if job.outputs % wide:
        channels_of_tile(f.const(full, "i64"), job.outputs % wide)
