"""Correlation with a vector's lanes on the pixels of a row.

For few output channels, and for depthwise and grouped convolutions: a few channels x rows x vectors
of pixels are summed at a time, weights are broadcast, and each vector of pixels that is loaded
serves all channels of the tile. The job is described in conv_channels.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from taper.backends.llvm.conv_channels import Batch, Correlation, chained, walk
from taper.backends.llvm.conv_tiles import ceil_div, each_tile, load_pixels, store_pixels, zero
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.text import Function, Pointer, Value


def block(job: Correlation, lanes: int, machine: Machine) -> tuple[int, int, int]:
    """(channels, rows, vectors) of the register tile with the fewest loads for a product."""
    height, width = job.size
    vectors = min(2, ceil_div(width, lanes))

    def cost(channels: int, rows: int) -> float:
        sums = channels * rows * vectors
        # Fewer than eight sums would wait for each other.
        return (channels + 1.5 * rows * vectors) / sums + (1 if sums < 8 else 0)

    fitting = [
        (channels, rows, vectors)
        for channels in range(1, min(job.outputs, 12) + 1)
        if job.outputs % channels == 0
        for rows in range(1, min(8, height) + 1)
        if (channels + 1) * rows * vectors <= machine.registers - 2
    ]
    return min(fitting, key=lambda b: cost(b[0], b[1]), default=(1, 1, vectors))


def tile_lanes(job: Correlation, lanes: int, machine: Machine) -> int:
    """Output channels of a tile."""
    return block(job, lanes, machine)[0]


def write(
    f: Function,
    job: Correlation,
    source: Pointer,
    packed: Pointer,
    bias: Pointer | None,
    target: Pointer,
    batch: Batch,
) -> None:
    """All tiles of some images. Vector loads may read past a row's end: the plane needs slack."""
    batch.each(f, source, target, lambda s, t: _image(f, job, s, packed, bias, t))


def _image(
    f: Function,
    job: Correlation,
    source: Pointer,
    packed: Pointer,
    bias: Pointer | None,
    target: Pointer,
) -> None:
    """All tiles of one image."""
    element = source.element
    lanes = f.module.lanes(element)
    height, width = job.size
    channels, most_rows, most_vectors = block(job, lanes, f.module.machine)
    pitch = job.plane.cols

    def tile(o: Value, y: Value, x: Value, rows: int, columns: int) -> None:
        vectors = ceil_div(columns, lanes)
        weights = packed.at(o * (job.reduced * job.taps * channels))
        here = job.start(source, y, x)
        start = [
            zero(f, element, lanes) if bias is None else bias.broadcast(o * channels + c, lanes)
            for c in range(channels)
        ]
        # sums[(c * rows + i) * vectors + v]
        sums = [s for s in start for _ in range(rows * vectors)]

        def line(s: Pointer, row: int, col: int) -> list[Value]:
            offset = row * pitch + col
            return [
                load_pixels(s.at(offset + lanes * v * job.step[1]), lanes, job.step[1])
                for v in range(vectors)
            ]

        def row_of_taps(
            s: Pointer, w: Pointer, columns: Sequence[int], sums: list[Value]
        ) -> list[Value]:
            for tap, col in enumerate(columns):
                lines = [line(s, i * job.step[0], col) for i in range(rows)]
                made = []
                for c in range(channels):
                    factor = w.broadcast(tap * channels + c, lanes)
                    for i in range(rows):
                        for v in range(vectors):
                            number = (c * rows + i) * vectors + v
                            made.append(f.fma(lines[i][v], factor, sums[number]))
                sums = made
            return sums

        if channels == 1 and job.taps <= 32:
            sums = _all_taps(f, job, here, weights, rows, vectors, sums, line)
        else:
            sums = chained(
                f, job.reduced, job.taps, sums,
                lambda first, last, sums: walk(
                    f, job, here, weights, channels, y, rows, sums, row_of_taps, (first, last)
                ),
            )  # fmt: skip
        to_channel, to_row, to_col = job.target
        place = target.at(o * (channels * to_channel) + y * to_row + x * to_col)
        for number, total in enumerate(sums):
            rest, v = divmod(number, vectors)
            c, i = divmod(rest, rows)
            where = place.at(c * to_channel + i * to_row + lanes * v * to_col)
            count = min(lanes, columns - lanes * v)
            store_pixels(where, job.end(f, total), count, to_col)

    def row_of_tiles(o: Value, y: Value, rows: int) -> None:
        wide = lanes * most_vectors
        whole = width // wide
        f.loop(0, whole, lambda i: tile(o, y, i * wide, rows, wide))
        if width % wide:
            tile(o, y, f.const(whole * wide, "i64"), rows, width % wide)

    f.loop(
        0,
        job.outputs // channels,
        lambda o: each_tile(f, height, most_rows, lambda y, rows: row_of_tiles(o, y, rows)),
    )


def _all_taps(
    f: Function,
    job: Correlation,
    here: Pointer,
    weights: Pointer,
    rows: int,
    vectors: int,
    sums: list[Value],
    line: Callable[[Pointer, int, int], list[Value]],
) -> list[Value]:
    """One output channel: every source row is loaded once for all kernel rows that meet it."""
    needed = sorted(
        (
            (col, i * job.step[0] + row, a * len(job.cols) + b, i)
            for i in range(rows)
            for a, row in enumerate(job.rows)
            for b, col in enumerate(job.cols)
        ),
    )
    lanes = sums[0].lanes

    def channel(r: Value, *now: Value) -> list[Value]:
        s, w = here.at(r * job.plane.pitch), weights.at(r * job.taps)
        made = list(now)
        for col, row, tap, i in needed:
            factor = w.broadcast(tap, lanes)
            for v, pixels in enumerate(line(s, row, col)):
                number = i * vectors + v
                made[number] = f.fma(pixels, factor, made[number])
        return made

    return f.loop(0, job.reduced, channel, init=sums)
