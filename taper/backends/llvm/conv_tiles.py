"""What the convolution kernels are made of: near-equal tiles, rows of pixels, transposes, planes.

A kernel's body works on a register tile, a few channels by a few pixels, whose sums stay in
registers while it walks over channels and kernel positions. The extents of an image are cut into
tiles that differ by one at most, so there is no slow remainder and at most two sizes of code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taper.backends.llvm.pack import transpose
from taper.backends.llvm.text import Function, Number, Pointer, Value, vector

CACHE_LINE = 64


def ceil_div(total: int, part: int) -> int:
    """How many parts it takes."""
    return -(-total // part)


def divisor(total: int, most: int) -> int:
    """The largest divisor of `total` up to `most`."""
    return max(d for d in range(1, max(1, min(total, most)) + 1) if total % d == 0)


def pieces(total: int, most: int) -> list[tuple[int, int, int]]:
    """`total` in near-equal pieces of at most `most`: (start, size, count), two entries at most."""
    count = ceil_div(total, most)
    size, larger = divmod(total, max(1, count))
    cut = ((0, size + 1, larger), (larger * (size + 1), size, count - larger))
    return [piece for piece in cut if piece[2]]


def each_tile(f: Function, total: int, most: int, body: Callable[[Value, int], None]) -> None:
    """body(start, size) for near-equal tiles: one loop at run time for each size."""
    for start, size, count in pieces(total, most):
        f.loop(0, count, lambda i, start=start, size=size: body(i * size + start, size))


def zero(f: Function, element: str, lanes: int) -> Value:
    """A vector of zeros."""
    made: Value = f.const(0.0, vector(element, lanes))
    return made


def fill_zero(f: Function, target: Pointer, count: Number) -> None:
    """Writes `count` zeros; up to one vector more, so the target needs that much slack."""
    lanes = f.module.lanes(target.element)
    nothing = zero(f, target.element, lanes)
    f.loop(0, count, lambda i: target.store(nothing, i), lanes)


def aligned(f: Function, pointer: Pointer) -> Pointer:
    """The first address at or after this one where a cache line begins."""
    number = f.emit("i64", f"ptrtoint ptr {pointer.name} to i64")
    up = (number + (CACHE_LINE - 1)) & -CACHE_LINE
    return Pointer(f, f.emit("ptr", f"inttoptr i64 {up.name} to ptr").name, pointer.element)


def transposed(rows: Sequence[Value]) -> list[Value]:
    """As many vectors as each has lanes, transposed.

    Fewer rows are filled up with copies of the first, whose lanes nobody must use.
    """
    return transpose([*rows, *[rows[0]] * (rows[0].lanes - len(rows))])


def load_pixels(source: Pointer, lanes: int, step: int, count: int | None = None) -> Value:
    """`lanes` pixels at distance `step`; with `count`, lanes from there on are zero."""
    f = source.f
    count = lanes if count is None else min(count, lanes)
    if step == 1:
        return source.load(0, lanes, f.mask(count, lanes))
    if step == 2 and lanes > 1:
        # The last pixel of the first load is the first of the second: nothing is read beyond.
        halves = [
            source.load(start, lanes, f.mask(2 * count - 1 - start, lanes))
            if 2 * count - 1 > start
            else zero(f, source.element, lanes)
            for start in (0, lanes - 1)
        ]
        return halves[0].shuffle(halves[1], [2 * i + (i >= lanes // 2) for i in range(lanes)])
    made = zero(f, source.element, lanes)
    for i in range(count):
        made = made.with_lane(i, source.load(i * step))
    return made


def store_pixels(target: Pointer, value: Value, count: int, step: int) -> None:
    """Writes the first `count` lanes at distance `step` and nothing between them."""
    f, lanes = target.f, value.lanes
    if step == 1 or count == 1:
        target.store(value, 0, f.mask(count, lanes))
    elif step == 2:
        half = lanes // 2
        for part in range(ceil_div(count, half)):
            spread = value.shuffle(value, [half * part + i // 2 for i in range(lanes)])
            left = min(half, count - half * part)
            mask = f.lanes_const([i % 2 == 0 and i // 2 < left for i in range(lanes)], "i1")
            target.store(spread, lanes * part, mask)
    else:
        for i in range(count):
            target.store(value.lane(i), i * step)


@dataclass(frozen=True)
class Plane:
    """Channels of an image in scratch or in place: `rows` x `cols`, the image's `height` rows of
    `width` starting at (top, left). `pitch` is the distance of channels.
    """

    channels: int
    height: int
    width: int
    rows: int
    cols: int
    top: int
    left: int
    pitch: int
    slack: int = 0

    @property
    def origin(self) -> int:
        """Where the image starts."""
        return self.top * self.cols + self.left

    @property
    def size(self) -> int:
        """Elements, with the slack that vector loads past the last row need."""
        return self.channels * self.pitch + self.slack


def in_place(channels: int, height: int, width: int) -> Plane:
    """The plane that an image is by itself."""
    return Plane(channels, height, width, height, width, 0, 0, height * width)


def padded_plane(
    channels: int, size: tuple[int, int], rows: int, cols: int, top: int, left: int, itemsize: int
) -> Plane:
    """A plane in scratch with zeros around the image.

    Its channels are an odd number of cache lines apart: with a power of two between them they would
    fall on the same few places of the cache.
    """
    line = CACHE_LINE // itemsize
    rows, cols = max(rows, top + size[0]), max(cols, left + size[1])
    lines = ceil_div(rows * cols, line)
    pitch = line * (lines + 1 - lines % 2)
    return Plane(channels, *size, rows, cols, top, left, pitch, 2 * line)


def stage(f: Function, plane: Plane, source: Pointer, target: Pointer) -> None:
    """Copies an image into the interior of its plane, whose border was zeroed before."""
    height, width = plane.height, plane.width
    lanes = f.module.lanes(source.element)
    whole = width // lanes * lanes

    def row(c: Value, y: Value) -> None:
        s = source.at(c * (height * width) + y * width)
        t = target.at(c * plane.pitch + y * plane.cols + plane.origin)
        f.loop(0, whole, lambda x: t.store(s.load(x, lanes), x), lanes)
        if width > whole:
            mask = f.mask(width - whole, lanes)
            t.store(s.load(whole, lanes, mask), whole, mask)

    f.loop(0, plane.channels, lambda c: f.loop(0, height, lambda y: row(c, y)))
