"""What the kernels of conv.py and conv_adjoints.py have in common: ranges, scratch, packed weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from taper.backends.llvm import conv_channels, conv_pixels, conv_winograd
from taper.backends.llvm.call import write_entry
from taper.backends.llvm.conv_channels import pack, pack_vectors
from taper.backends.llvm.conv_shape import Shape, area
from taper.backends.llvm.conv_tiles import CACHE_LINE, Plane, aligned, ceil_div, fill_zero, stage
from taper.backends.llvm.conv_winograd import WinogradJob
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.pool import write_parallel_entry
from taper.backends.llvm.text import SIZES, Function, Module, Number, Pointer, Value


def laying(family: Any) -> Callable[..., None]:
    """How weights are packed for a family of kernels."""
    return pack_vectors if family is conv_channels else pack


# Images at most that share a walk over the weights.
_TOGETHER = 4

BY_LANES = {"channels": conv_channels, "pixels": conv_pixels}


@dataclass(frozen=True)
class ConvKernel:
    """What the three kernels have in common."""

    shape: Shape
    element: str = "float"
    strategy: str = ""

    KINDS: ClassVar[tuple[str, ...]] = ()

    @property
    def exports(self) -> tuple[str, ...]:
        """The functions, and their entries for Python."""
        return ("pack", "pack_entry", "kernel", "entry")

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return SIZES[self.element]

    @property
    def _line(self) -> int:
        """Elements of a cache line; scratch begins at one."""
        return CACHE_LINE // self.itemsize

    def _up(self, size: int) -> int:
        return ceil_div(size, self._line) * self._line

    def _write_pack(
        self, module: Module, pack_group: Callable[[Function, Pointer, Pointer, Value], None]
    ) -> None:
        f = module.function("pack", w="ptr", scratch="ptr")
        packed = aligned(f, f.pointer("scratch", self.element))
        w = f.pointer("w", self.element)
        f.loop(0, self.shape.groups, lambda g: pack_group(f, w, packed, g))
        f.ret()
        write_entry(module, "pack_entry", f, ("array", "array"))

    def _begin(self, module: Module, *names: str) -> tuple[Function, list[Pointer]]:
        """The kernel with arrays of these names, and its range's scratch as the last pointer."""
        addresses = dict.fromkeys(names, "ptr")
        f = module.function(
            "kernel", "void", False, names, **addresses,
            piece="i64", images="i64", begin="i64", end="i64",
        )  # fmt: skip
        return f, [f.pointer(name, self.element) for name in names]

    def _own(self, f: Function, first: Pointer, size: int) -> Pointer:
        """The part of the scratch that belongs to this call."""
        return first.at(f.arg("begin") * self._up(size))

    def _images_of(self, f: Function, begin: Value, end: Value) -> tuple[Value, Value]:
        """The images of these ranges."""
        piece, images = f.arg("piece"), f.arg("images")
        return begin * piece, f.minimum(end * piece, images)

    def at_once(self, machine: Machine) -> int:
        """Images that share a walk over the weights. A range should have so many."""
        return 1

    def _share(self, machine: Machine, packed: int, plane: int) -> int:
        """Images that do, for a group's weights and an image of so many elements: some, if the weights
        must come from afar and the cache holds several images.
        """
        if packed * self.itemsize < machine.l2:
            return 1
        return max(1, min(_TOGETHER, machine.l2 // 2 // (plane * self.itemsize)))

    def _over(
        self,
        f: Function,
        begin: Value,
        end: Value,
        body: Callable[[Value, Value, Number], None],
        at_once: int = 1,
    ) -> None:
        """body(n, g, count) for the images of these ranges, some at a time from n on, and groups."""
        first, last = self._images_of(f, begin, end)

        def some(n: Value) -> None:
            count = 1 if at_once == 1 else f.minimum(last - n, at_once)
            f.loop(0, self.shape.groups, lambda g: body(n, g, count))

        f.loop(first, last, some, at_once)

    def _staged(
        self, f: Function, plane: Plane, given: Pointer, apart: int, scratch: Pointer, count: Number
    ) -> int:
        """Copies images, `apart` elements from each other, into planes; the distance of these."""
        step = self._up(plane.size)
        f.loop(0, count, lambda i: stage(f, plane, given.at(i * apart), scratch.at(i * step)))
        return step

    def _winograd_scratch(self, job: WinogradJob, machine: Machine, pieces: int) -> int:
        lanes = machine.lanes(self.itemsize)
        own = self._up(sum(job.parts(lanes)))
        return self._up(job.packed(lanes)) + own * pieces + self._line

    def _write_winograd(self, module: Module, job: WinogradJob, *names: str) -> None:
        """The functions; `names` are of the source, perhaps a bias, and the target."""
        lanes = module.lanes(self.element)
        self._write_pack(module, lambda f, w, packed, _: conv_winograd.pack(f, job, w, packed))
        f, (source, *bias, target, scratch) = self._begin(module, *names, "scratch")
        packed = aligned(f, scratch)
        first = packed.at(self._up(job.packed(lanes)))
        own = self._own(f, first, sum(job.parts(lanes)))
        fill_zero(f, own, job.plane(lanes).size)
        given, made = job.reduced * area(job.source), job.outputs * area(job.size)
        offset = bias[0] if bias and getattr(self, "bias", False) else None

        def image(n: Value, _: Value, __: Number) -> None:
            conv_winograd.write(
                f, job, packed, own, offset, source.at(n * given), target.at(n * made)
            )

        self._over(f, f.arg("begin"), f.arg("end"), image)
        self._end(module, f)

    def _end(self, module: Module, f: Function) -> None:
        f.ret()
        write_parallel_entry(module, "entry", f, self.KINDS, 1)
