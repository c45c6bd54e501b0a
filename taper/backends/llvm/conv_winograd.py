"""Winograd's convolution F(4x4, 3x3): 36 products for 16 outputs and a pair of channels, not 144.

For kernels of 3x3 with stride 1. A tile of 6x6 inputs d and the kernel g are transformed, multiplied
element by element and summed over channels, and transformed back:

    output = At [ sum over channels of (G g Gt) * (Bt d B) ] A

    weights   U[e][tile of channels][r][lane], e = 0 ... 35, once a call
    input     V[e][r][tile], half a vector of tiles at a time
    product   M[e][tile][channel]: 36 matrix products, lanes are output channels
    output    lanes are channels; transposed on the way out

Error: some ten times that of the direct sum, relative to the largest output 2e-6 to 4e-6 in float32
with 64 to 512 channels. Hence it is used on request only.
Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2015); the points are those of
Barabasz et al., Error analysis and improving the accuracy of Winograd convolution (2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taper.backends.llvm.conv_channels import chained, most_pixels
from taper.backends.llvm.conv_tiles import (
    Plane,
    ceil_div,
    each_tile,
    fill_zero,
    padded_plane,
    stage,
    transposed,
    zero,
)
from taper.backends.llvm.text import Function, Number, Pointer, Value

Matrix = Sequence[Sequence[float]]

# Of the points 0, 1, -1, 1/2, -2, which round less than 0, 1, -1, 2, -2 do.
INPUT: Matrix = (
    (1, -3 / 2, -2, 3 / 2, 1, 0),
    (0, -1, 1 / 2, 5 / 2, 1, 0),
    (0, 1, -5 / 2, 1 / 2, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 1 / 2, -1, -1 / 2, 1, 0),
    (0, 1, -3 / 2, -2, 3 / 2, 1),
)
WEIGHT: Matrix = (
    (1, 0, 0),
    (1 / 3, 1 / 3, 1 / 3),
    (-1 / 3, 1 / 3, -1 / 3),
    (-16 / 15, -8 / 15, -4 / 15),
    (1 / 15, -2 / 15, 4 / 15),
    (0, 0, 1),
)
OUTPUT: Matrix = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 1 / 2, -2, 0),
    (0, 1, 1, 1 / 4, 4, 0),
    (0, 1, -1, 1 / 8, -8, 1),
)
_POINTS = 36
_VECTORS = 2  # of output channels in a tile of the products
_TILES = 32  # 4x4 outputs that go through the three steps together, at least a row of them


@dataclass(frozen=True)
class WinogradJob:
    """`reduced` channels of `source` size give `outputs` channels of `size`; `turned` for the
    gradient of the input, whose kernel is reversed and exchanges its two kinds of channels.
    """

    reduced: int
    outputs: int
    source: tuple[int, int]
    size: tuple[int, int]
    padding: tuple[int, int]
    turned: bool
    itemsize: int
    relu: bool = False

    @property
    def across(self) -> int:
        """Tiles in a row."""
        return ceil_div(self.size[1], 4)

    @property
    def down(self) -> int:
        """Rows of tiles."""
        return ceil_div(self.size[0], 4)

    @property
    def rows(self) -> int:
        """Rows of tiles that go through the three steps together."""
        return max(1, min(self.down, _TILES // self.across))

    @property
    def tiles(self) -> int:
        """Tiles that go through the three steps together."""
        return self.rows * self.across

    def groups(self, lanes: int) -> int:
        """Groups of half a vector of tiles in a row."""
        return ceil_div(self.across, lanes // 2)

    def pitch(self, lanes: int) -> int:
        """Elements of a transformed line: what groups of tiles read, and a vector more."""
        return 2 * lanes * self.groups(lanes) + 2 * lanes

    def plane(self, lanes: int) -> Plane:
        """The padded input."""
        return padded_plane(
            self.reduced,
            self.source,
            4 * self.down + 2,
            2 * lanes * self.groups(lanes) + 2,
            *self.padding,
            self.itemsize,
        )

    def channels(self, lanes: int) -> int:
        """Output channels in whole tiles of the products."""
        return ceil_div(self.outputs, _VECTORS * lanes) * _VECTORS * lanes

    def packed(self, lanes: int) -> int:
        """Elements of the transformed weights."""
        return _POINTS * self.reduced * self.channels(lanes)

    def parts(self, lanes: int) -> tuple[int, int, int, int]:
        """Elements of the scratch of a call: plane, lines, V, M; each in whole cache lines."""
        sizes = (
            self.plane(lanes).size + 2 * lanes,
            6 * self.pitch(lanes),
            _POINTS * self.reduced * self.tiles,
            _POINTS * self.channels(lanes) * self.tiles,
        )
        plane, lines, inputs, products = (ceil_div(size, 16) * 16 + 16 for size in sizes)
        return plane, lines, inputs, products


def _combined(f: Function, row: Sequence[float], values: Sequence[Value]) -> Value:
    """Sum of row[i] * values[i]."""
    total: Value | None = None
    for factor, value in zip(row, values, strict=True):
        if not factor:
            continue
        if total is None:
            total = value if factor == 1 else value * float(factor)
        elif factor == 1:
            total = total + value
        elif factor == -1:
            total = total - value
        else:
            total = f.fma(value, float(factor), total)
    assert total is not None
    return total


def _both_sides(f: Function, matrix: Matrix, grid: list[list[Value]]) -> list[list[Value]]:
    """matrix @ grid @ matrix.T"""
    columns = range(len(grid[0]))
    half = [[_combined(f, row, [line[j] for line in grid]) for j in columns] for row in matrix]
    return [[_combined(f, row, line) for row in matrix] for line in half]


def pack(f: Function, job: WinogradJob, w: Pointer, packed: Pointer) -> None:
    """Transforms the weight, a vector of output channels at a time."""
    lanes = f.module.lanes(w.element)
    wide = _VECTORS * lanes
    if job.outputs % wide:
        fill_zero(f, packed, job.packed(lanes))

    def vector(o: Value, live: int, r: Value) -> None:
        def tap(number: int) -> Value:
            made = zero(f, w.element, lanes)
            for lane in range(live):
                if job.turned:
                    place = (r * job.outputs + (o + lane)) * 9 + (8 - number)
                else:
                    place = ((o + lane) * job.reduced + r) * 9 + number
                made = made.with_lane(lane, w.load(place))
            return made

        kernel = [[tap(3 * i + j) for j in range(3)] for i in range(3)]
        place = (o // wide * job.reduced + r) * wide + o % wide
        for i, line in enumerate(_both_sides(f, WEIGHT, kernel)):
            for j, value in enumerate(line):
                point = (6 * i + j) * (job.reduced * job.channels(lanes))
                packed.store(value, place + point)

    def channels(o: Value, live: int) -> None:
        f.loop(0, job.reduced, lambda r: vector(o, live, r))

    full = job.outputs // lanes * lanes
    f.loop(0, full, lambda o: channels(o, lanes), lanes)
    if job.outputs > full:
        channels(f.const(full, "i64"), job.outputs - full)


def write(
    f: Function,
    job: WinogradJob,
    packed: Pointer,
    scratch: Pointer,
    bias: Pointer | None,
    source: Pointer,
    target: Pointer,
) -> None:
    """One image. The plane in the scratch was filled with zeros before the first."""
    lanes = f.module.lanes(source.element)
    sizes = job.parts(lanes)
    plane, lines, inputs, products = (scratch.at(sum(sizes[:i])) for i in range(4))
    stage(f, job.plane(lanes), source, plane)

    def block(first: Value, rows: int) -> None:
        _transform_input(f, job, plane, lines, inputs, first, rows)
        _multiply(f, job, inputs, packed, products, rows * job.across)
        _transform_output(f, job, products, bias, target, first, rows)

    each_tile(f, job.down, job.rows, block)


def _transform_input(
    f: Function,
    job: WinogradJob,
    plane: Pointer,
    lines: Pointer,
    inputs: Pointer,
    first: Value,
    rows: int,
) -> None:
    """V from the plane: down the columns first, into lines, then along these."""
    lanes = f.module.lanes(plane.element)
    half, pitch, layout = lanes // 2, job.pitch(lanes), job.plane(lanes)
    columns = 2 * lanes * job.groups(lanes) + 4

    def row(i: Value, r: Value) -> None:
        above = plane.at(r * layout.pitch + (first + i) * (4 * layout.cols))

        def down(x: Value) -> None:
            seen = [above.load(j * layout.cols + x, lanes) for j in range(6)]
            for j, factors in enumerate(INPUT):
                lines.store(_combined(f, factors, seen), j * pitch + x)

        f.loop(0, columns, down, lanes)

        def along(group: Value, live: int) -> None:
            place = (r * job.tiles + i * job.across) + group * half
            for j in range(6):
                line = lines.at(group * (2 * lanes) + j * pitch)
                near = line.load(0, lanes), line.load(lanes, lanes)
                far = line.load(4, lanes), line.load(lanes + 4, lanes)
                # Column m of every tile: elements m, m + 4, m + 8 ...
                seen = [
                    pair[0].shuffle(pair[1], [4 * t + m % 4 for t in range(half)])
                    for m, pair in enumerate([near] * 4 + [far] * 2)
                ]
                for m, factors in enumerate(INPUT):
                    e = j * 6 + m
                    inputs.store(
                        _combined(f, factors, seen),
                        place + e * (job.reduced * job.tiles),
                        f.mask(live, half),
                    )

        whole = job.across // half
        f.loop(0, whole, lambda group: along(group, half))
        if job.across % half:
            along(f.const(whole, "i64"), job.across % half)

    f.loop(0, rows, lambda i: f.loop(0, job.reduced, lambda r: row(i, r)))


def _multiply(
    f: Function, job: WinogradJob, inputs: Pointer, packed: Pointer, products: Pointer, tiles: int
) -> None:
    """M: for each of the 36 points, a matrix product over channels."""
    lanes = f.module.lanes(inputs.element)
    wide, channels = _VECTORS * lanes, job.channels(lanes)
    nothing = zero(f, inputs.element, lanes)

    def point(e: Value) -> None:
        given = inputs.at(e * (job.reduced * job.tiles))
        weights = packed.at(e * (job.reduced * channels))
        made = products.at(e * (channels * job.tiles))

        def panel(o: Value) -> None:
            own = weights.at(o * (job.reduced * wide))

            def some(tile: Value, count: int) -> None:
                def channel(r: Value, *now: Value) -> list[Value]:
                    factors = [own.load(r * wide + lanes * v, lanes) for v in range(_VECTORS)]
                    seen = given.at(r * job.tiles + tile)
                    sums = []
                    for i in range(count):
                        value = seen.broadcast(i, lanes)
                        for v in range(_VECTORS):
                            sums.append(f.fma(value, factors[v], now[i * _VECTORS + v]))
                    return sums

                def over(first: Number, last: Number, sums: Sequence[Value]) -> list[Value]:
                    return f.loop(first, last, channel, init=sums)

                sums = chained(f, job.reduced, 1, [nothing] * (count * _VECTORS), over)
                for number, total in enumerate(sums):
                    i, v = divmod(number, _VECTORS)
                    made.store(total, (tile + i) * channels + o * wide + lanes * v)

            each_tile(f, tiles, most_pixels(f.module.machine, _VECTORS), some)

        f.loop(0, channels // wide, panel)

    f.loop(0, _POINTS, point)


def _transform_output(
    f: Function,
    job: WinogradJob,
    products: Pointer,
    bias: Pointer | None,
    target: Pointer,
    first: Value,
    rows: int,
) -> None:
    """Outputs from M: 4x4 of a vector of channels at a time."""
    lanes = f.module.lanes(products.element)
    channels, (height, width) = job.channels(lanes), job.size
    at_once = lanes // 4  # rows of a tile that a transpose takes

    def tile(o: Value, live: int, row: Value, i: Value, t: Value, tall: int, broad: int) -> None:
        place = (i * job.across + t) * channels + o
        grid = [
            [products.load(place + (y * 6 + x) * (channels * job.tiles), lanes) for x in range(6)]
            for y in range(6)
        ]
        made = _both_sides(f, OUTPUT, grid)
        if bias is not None:
            offset = bias.load(o, lanes, f.mask(live, lanes))
            made = [[value + offset for value in line] for line in made]
        if job.relu:
            made = [[(value < 0.0).select(0.0, value) for value in line] for line in made]
        for y in range(0, tall, at_once):
            values = [value for line in made[y : y + at_once] for value in line]
            for c, pixels in enumerate(transposed(values)[:live]):
                for k in range(min(at_once, tall - y)):
                    part = pixels.shuffle(pixels, range(4 * k, 4 * k + 4))
                    at = (o + c) * (height * width) + (row * 4 + (y + k)) * width + t * 4
                    target.store(part, at, f.mask(broad, 4))

    def line(o: Value, live: int, row: Value, i: Value, tall: int) -> None:
        whole = width // 4
        f.loop(0, whole, lambda t: tile(o, live, row, i, t, tall, 4))
        if width % 4:
            tile(o, live, row, i, f.const(whole, "i64"), tall, width % 4)

    def vector(o: Value, live: int) -> None:
        def each(i: Value) -> None:
            row = first + i
            if height % 4 == 0:
                line(o, live, row, i, 4)
                return
            last = row.equals(job.down - 1)
            f.when(last, lambda: line(o, live, row, i, height % 4))
            f.when(~last, lambda: line(o, live, row, i, 4))

        f.loop(0, rows, each)

    full = job.outputs // lanes * lanes
    f.loop(0, full, lambda o: vector(o, lanes), lanes)
    if job.outputs > full:
        vector(f.const(full, "i64"), job.outputs - full)


def suits(
    outputs: int, channels: int, kernel: tuple[int, int], stride: tuple[int, int],
    dilation: tuple[int, int], padding: tuple[int, int], groups: int, lanes: int,
) -> bool:  # fmt: skip
    """Whether a convolution can be computed so, and has the channels to pay for the transforms."""
    return (
        kernel == (3, 3)
        and stride == dilation == (1, 1)
        and groups == 1
        and max(padding) <= 2
        and min(outputs, channels) >= 32
        and lanes >= 4
    )
