"""Small elementwise calls start to end in machine code: checks, result and loop in one built-in.

`x + y` on a few hundred elements is a matter of 30 ns of arithmetic and a microsecond of asking: are
these arrays, of which dtype, of one shape, in one piece? `Direct` asks in machine code. It reads the
fields of the objects themselves (objects.py), makes the result through numpy's C interface, runs the
formula's loop, and returns the array. Operands that broadcast, or have gaps, are walked row by row
with the same loop. What it does not take (other dtypes, transposed arrays, many elements, other
objects) it answers with None before anything is done, and the caller goes the general way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm import call
from taper.backends.llvm.loaded import kept_library
from taper.backends.llvm.machine import host
from taper.backends.llvm.objects import (
    ARRAY,
    CODES,
    DTYPE,
    DTYPES,
    FLOAT,
    HEADER,
    INT,
    NDIM,
    NONE,
    SHAPE,
    STRIDES,
    TYPE,
    field,
    hold_none,
    is_aligned,
    is_in_one_piece,
    new_array,
    new_tuple,
    readable,
    require,
    table,
)
from taper.backends.llvm.pack import least
from taper.backends.llvm.pointwise import HALVES, Pointwise, Program, stored, supported, trace
from taper.backends.llvm.text import SIZES, Function, Module, Pointer, Value

# Elements up to which one thread is quicker than several.
MOST = 1 << 16
# Dimensions up to which operands that broadcast are taken.
MOST_DIMS = 8
# Elements of a row that are computed in one go where an operand must be copied.
CHUNK = 512

# Words of the plan of how operands are walked: dimensions of the result, and of the loops after
# neighbours are joined; the result's shape; extents of the loops; each operand's steps in bytes.
_NDIM, _LOOPS, _SHAPE = 0, 1, 2
_EXTENTS = _SHAPE + MOST_DIMS
_STEPS = _EXTENTS + MOST_DIMS
_HUGE = 1 << 31  # stands for any larger number of elements


@dataclass(frozen=True)
class Variant:
    """A formula for operands of certain kinds: a letter for each.

    An array's dtype, "w" for a number, "n" for None.
    """

    program: Program
    kinds: str

    @property
    def arrays(self) -> str:
        """The kinds that are arrays."""
        return self.kinds.replace("w", "").replace("n", "")

    @property
    def most(self) -> int:
        """Elements up to which it computes.

        As many as there are of bfloat16 with a number: elsewhere numpy would round the number first.
        """
        return _HUGE if "E" in self.kinds and "w" in self.kinds else MOST

    @property
    def pointwise(self) -> Pointwise:
        """The loop: a kernel of arrays without gaps."""
        return Pointwise(self.program, self.arrays, self.kinds.count("w"), (1,) * len(self.arrays))


@dataclass(frozen=True)
class Direct:
    """The built-in of a formula: its first variant that fits computes, else the answer is None.

    Call: the operands, numpy arrays and Python numbers. Gives an array, or a tuple of them if the
    formula has several outputs. Bits are those of Pointwise.
    """

    variants: tuple[Variant, ...]

    exports = ("entry",)

    def interpret(self, *operands: Any) -> Any:
        """The meaning, by numpy."""
        for variant in self.variants:
            if len(operands) == len(variant.kinds) and all(map(_fits, variant.kinds, operands)):
                arrays = [x for x in operands if type(x) is np.ndarray]
                try:
                    shape = np.broadcast_shapes(*[x.shape for x in arrays])
                except ValueError:
                    return None
                if np.prod(shape) > variant.most or len(shape) > MOST_DIMS:
                    return None
                numbers = [float(x) for x in operands if type(x) in (int, float)]
                made = [np.ascontiguousarray(x).reshape(shape)
                        for x in variant.program.evaluate(arrays, numbers)]  # fmt: skip
                return made[0] if len(made) == 1 else tuple(made)
        return None

    def write(self, module: Module) -> None:
        """The kernels, and the entry that tries them in turn."""
        entry = module.function(
            "entry", "ptr", False, ("owner", "args"), owner="ptr", args="ptr", nargs="i64"
        )
        known = field(entry, entry.pointer("owner", "i8"), HEADER).pointer("ptr")
        for number, variant in enumerate(self.variants):
            following = entry.label("next")
            _Writer(entry, known, variant, number, following).write()
            entry.begin(following)
        entry.ret(hold_none(known.load(NONE)))


class _Writer:
    """Writes what the entry does for one variant."""

    def __init__(
        self, f: Function, known: Pointer, variant: Variant, number: int, following: str
    ) -> None:
        self.f, self.table, self.variant, self.following = f, known, variant, following
        self.name = f"kernel{number}"
        self.kernel = variant.pointwise.write_kernel(f.module, self.name, True)
        self.outputs = variant.program.dtypes

    def write(self) -> None:
        """The questions, and the loop that the answers lead to."""
        f, known, following, kinds = self.f, self.table, self.following, self.variant.kinds
        held = [f.pointer("args", "ptr").load(i).pointer("i8") for i in range(len(kinds))]
        require(f, f.arg("nargs").equals(len(kinds)), following)
        for x, kind in zip(held, kinds, strict=True):
            if kind == "n":
                require(f, x.address.equals(known.load(NONE)), following)
            elif kind != "w":
                require(f, field(f, x, TYPE).equals(known.load(ARRAY)), following)
                dtype = known.load(DTYPES + CODES.index(kind))
                require(f, field(f, x, DTYPE).equals(dtype) & is_aligned(f, x), following)
        arrays = [x for x, kind in zip(held, kinds, strict=True) if kind in CODES]
        numbers = [
            _number(f, known, x, following)
            for x, kind in zip(held, kinds, strict=True)
            if kind == "w"
        ]
        spread = f.label("spread")
        self._write_flat(arrays, numbers, spread)
        f.begin(spread)
        self._write_spread(arrays, numbers)

    def _write_flat(self, arrays: list[Pointer], numbers: list[Value], otherwise: str) -> None:
        """Arrays of one shape, each in one piece."""
        f = self.f
        ndim = field(f, arrays[0], NDIM, "i32")
        for x in arrays:
            same = is_in_one_piece(f, x) & field(f, x, NDIM, "i32").equals(ndim)
            require(f, same, otherwise)
        shape, *others = (field(f, x, SHAPE).pointer("i64") for x in arrays)

        def step(d: Value, size: Value, same: Value) -> tuple[Value, Value]:
            extent = shape.load(d)
            for other in others:
                same = same & other.load(d).equals(extent)
            return size * extent, same

        init = (f.const(1, "i64"), f.const(True, "i1"))
        size, same = f.loop(0, ndim.cast("sext", "i64"), step, init=init)
        require(f, same, otherwise)
        require(f, size <= self.variant.most, self.following)
        results = self._results(ndim, shape)
        data = [field(f, x, HEADER) for x in [*arrays, *results]]
        f.call(self.kernel, *data, *numbers, 0, size)
        self._return(results)

    def _write_spread(self, arrays: list[Pointer], numbers: list[Value]) -> None:
        """Arrays that broadcast together, or have gaps."""
        f, count = self.f, len(arrays)
        given = f.local(count, "ptr")
        for k, x in enumerate(arrays):
            given.store(x.address, k)
        plan = f.local(_STEPS + MOST_DIMS * count, "i64")
        write = f.module.once(
            "plan", _write_plan, "i64", ("given",), given="ptr", count="i64", plan="ptr"
        )
        size = f.call(write, given, count, plan)
        require(f, (size >= 0) & (size <= self.variant.most), self.following)
        results = self._results(plan.load(_NDIM).cast("trunc", "i32"), plan.at(_SHAPE))
        data = [field(f, x, HEADER) for x in [*arrays, *results]]
        f.call(self._rows(), plan, *data, *numbers)
        self._return(results)

    def _rows(self) -> Function:
        """The kernel, row by row as a plan says."""
        params: dict[str, str] = {"plan": "ptr"}
        params.update({k: v for k, v in self.kernel.params.items() if k not in ("begin", "end")})
        f = self.f.module.function(f"{self.name}_rows", "void", True, (), **params)
        codes = self.variant.arrays
        plan, count = f.pointer("plan", "i64"), len(codes)
        inputs = [f.pointer(f"a{k}", "i8") for k in range(count)]
        outputs = [f.pointer(f"o{k}", stored(code)) for k, code in enumerate(self.outputs)]
        numbers = [f.arg(f"n{k}") for k in range(self.variant.kinds.count("w"))]
        buffers = [f.local(CHUNK, stored(code)) for code in codes]
        last = plan.load(_LOOPS) - 1  # at least one: _write_plan sees to it
        inner = plan.load(last + _EXTENTS)
        steps = [plan.load(last * count + (_STEPS + k)) for k in range(count)]
        (rows,) = f.loop(
            0, last, lambda d, n: (n * plan.load(d + _EXTENTS),), init=(f.const(1, "i64"),)
        )

        def row(number: Value) -> None:
            def outwards(turn: Value, rest: Value, *places: Value) -> list[Value]:
                d = last - 1 - turn
                above = rest // plan.load(d + _EXTENTS)
                place = rest - above * plan.load(d + _EXTENTS)
                moved = [
                    p + place * plan.load(d * count + (_STEPS + k)) for k, p in enumerate(places)
                ]
                return [above, *moved]

            none = f.const(0, "i64")
            _, *places = f.loop(0, last, outwards, init=[number, *[none] * count])

            def chunk(begin: Value) -> None:
                length = least(inner - begin, CHUNK)
                given = [
                    _in_a_row(f, x.at(place + begin * step), step, length, buffer)
                    for x, place, step, buffer in zip(inputs, places, steps, buffers, strict=True)
                ]
                made = [o.at(number * inner + begin) for o in outputs]
                f.call(self.kernel, *given, *made, *numbers, 0, length)

            f.loop(0, inner, chunk, CHUNK)

        f.loop(0, rows, row)
        f.ret()
        return f

    def _results(self, ndim: Value, shape: Pointer) -> list[Pointer]:
        return [new_array(self.f, self.table, code, ndim, shape) for code in self.outputs]

    def _return(self, results: list[Pointer]) -> None:
        made = [x.address for x in results]
        self.f.ret(made[0] if len(made) == 1 else new_tuple(self.f, *made).address)


def _in_a_row(f: Function, x: Pointer, step: Value, length: Value, buffer: Pointer) -> Value:
    """The address of elements that lie `step` bytes apart; of a copy, if there are gaps."""
    size = SIZES[buffer.element]
    lanes = f.module.lanes(buffer.element)
    close = step.equals(size)
    spread = step.equals(0)

    def repeat() -> None:
        value = f.splat(x.as_(buffer.element).load(), lanes)
        f.loop(0, length, lambda i: buffer.store(value, i), lanes)

    def copy() -> None:
        f.loop(0, length, lambda i: buffer.store(x.at(i * step).as_(buffer.element).load(), i))

    f.when(spread, repeat)
    f.when(~(close | spread), copy)
    return close.select(x.address, buffer.address)


def _write_plan(f: Function) -> None:
    """How `count` arrays that broadcast are walked; gives the number of elements, or -1.

    Refused are shapes that do not fit together, many dimensions, and arrays whose memory does not
    follow the order of the dimensions: their result would not, either.
    """
    arrays, plan, count = f.pointer("given", "ptr"), f.pointer("plan", "i64"), f.arg("count")
    refused = f.label("refused")
    absent = f.local(2, "i64")  # extent and stride of a dimension that an array has not
    absent.store(1)
    absent.store(0, 1)
    before = f.local(MOST_DIMS, "i64")  # of each array the last stride
    zero, one, yes = f.const(0, "i64"), f.const(1, "i64"), f.const(True, "i1")

    def ndim_of(k: Value) -> Value:
        return field(f, arrays.load(k).pointer("i8"), NDIM, "i32").cast("sext", "i64")

    def start(k: Value, most: Value) -> tuple[Value]:
        before.store((1 << 63) - 1, k)
        return (f.maximum(ndim_of(k), most),)

    (ndim,) = f.loop(0, count, start, init=(zero,))
    require(f, ndim <= MOST_DIMS, refused)
    plan.store(ndim, _NDIM)

    def extent_of(k: Value, d: Value) -> tuple[Value, Value]:
        """Of an array in a dimension of the result: extent, and stride, or 0 if it broadcasts."""
        x, own = arrays.load(k).pointer("i8"), d - (ndim - ndim_of(k))
        has = own >= 0
        extent = has.select(field(f, x, SHAPE).pointer("i64").at(own).address, absent.address)
        stride = has.select(
            field(f, x, STRIDES).pointer("i64").at(own).address, absent.at(1).address
        )
        size = extent.pointer("i64").load()
        return size, size.equals(1).select(0, stride.pointer("i64").load())

    def dimension(d: Value, total: Value, loops: Value, fits: Value) -> list[Value]:
        def widest(k: Value, extent: Value) -> tuple[Value]:
            return (extent.equals(1).select(extent_of(k, d)[0], extent),)

        (extent,) = f.loop(0, count, widest, init=(one,))
        plan.store(extent, d + _SHAPE)
        above = loops - 1
        joins = loops > 0

        def check(k: Value, fits: Value, joins: Value) -> tuple[Value, Value]:
            size, stride = extent_of(k, d)
            broadcasts = stride.equals(0)
            previous = before.load(k)
            fits = fits & (size.equals(extent) | size.equals(1))
            fits = fits & (broadcasts | ((stride > 0) & (stride <= previous)))
            before.store(broadcasts.select(previous, stride), k)
            outer = plan.load(f.maximum(above, 0) * count + k + _STEPS)
            return fits, joins & outer.equals(stride * extent)

        fits, joins = f.loop(0, count, check, init=(fits, joins))

        def keep() -> list[Value]:
            place = joins.select(above, loops)
            outer = joins.select(plan.load(f.maximum(above, 0) + _EXTENTS), one)
            plan.store(outer * extent, place + _EXTENTS)

            def store(k: Value) -> None:
                plan.store(extent_of(k, d)[1], place * count + k + _STEPS)

            f.loop(0, count, store)
            return [place + 1]

        (loops,) = f.when(extent.differs(1), keep, [loops])
        total = least(total, _HUGE) * least(extent, _HUGE)
        return [total, loops, fits]

    total, loops, fits = f.loop(0, ndim, dimension, init=(one, zero, yes))
    require(f, fits, refused)

    def single() -> list[Value]:
        """One element: a loop of one turn."""
        plan.store(1, _EXTENTS)
        f.loop(0, count, lambda k: plan.store(0, k + _STEPS))
        return [one]

    (loops,) = f.when(loops.equals(0), single, [loops])
    plan.store(loops, _LOOPS)
    f.ret(total)
    f.begin(refused)
    f.ret(f.const(-1, "i64"))


def _fits(kind: str, x: Any) -> bool:
    if kind == "n":
        return x is None
    if kind == "w":
        return type(x) is float or (type(x) is int and abs(x) <= 1 << 53)
    if type(x) is not np.ndarray or x.dtype.char != kind or not x.flags.aligned:
        return False
    strides = [s for s, n in zip(x.strides, x.shape, strict=True) if n != 1 and s]
    return strides == sorted(map(abs, strides), reverse=True)


def _number(f: Function, known: Pointer, x: Pointer, following: str) -> Value:
    """The value of a Python float, or of an int that a double holds exactly."""
    kind = field(f, x, TYPE)
    is_float = kind.equals(known.load(FLOAT))
    require(f, is_float | kind.equals(known.load(INT)), following)
    floating, integer, after = f.label("float"), f.label("int"), f.label("number")
    f.line(f"br i1 {is_float.name}, label %{floating}, label %{integer}")
    f.begin(floating)
    value = field(f, x, HEADER, "double")
    f.branch(after)
    f.begin(integer)
    overflow = f.local(1, "i32")
    whole = f.intrinsic("PyLong_AsLongLongAndOverflow", "i64", x, overflow)
    small = (whole <= 1 << 53) & (whole >= -(1 << 53)) & overflow.load().equals(0)
    exact = f.label("exact")
    f.line(f"br i1 {small.name}, label %{exact}, label %{following}")
    f.begin(exact)
    converted = whole.cast("sitofp", "double")
    f.branch(after)
    f.begin(after)
    return f.emit(
        "double", f"phi double [ {value.name}, %{floating} ], [ {converted.name}, %{exact} ]"
    )


def kinds_of(inputs: int, unpromoted: int, floating: bool, halves: bool = False) -> list[str]:
    """The kinds of operands that a formula of so many inputs has a variant for."""
    floats = "fd" + (HALVES if halves else "")
    if unpromoted:
        return [f"?{code}{code}" for code in floats] if (inputs, unpromoted) == (3, 1) else []
    made = []
    for code in floats if floating else floats + "l":
        made.append(code * inputs)
        if inputs == 2 and code != "l":
            made += [code + "w", "w" + code]
    return [kinds for kinds in made if supported(host(), kinds)]


def built_in(
    formula: Callable[..., Any], inputs: int, unpromoted: int, floating: bool, halves: bool = False
) -> Callable[..., Any] | None:
    """The built-in of an op's formula; None where there is no variant, or objects are not readable.

    With `halves` also for float16 and bfloat16, which few programs need.
    """
    variants = []
    for kinds in kinds_of(inputs, unpromoted, floating, halves) if readable() else ():
        try:
            variants.append(Variant(trace(formula, kinds), kinds))
        except Exception:  # whatever it is: the general way will do it, or say what is wrong
            continue
    return of_variants(tuple(variants))


def of_variants(variants: tuple[Variant, ...]) -> Callable[..., Any] | None:
    """The built-in of these variants; None where there are none, or objects are not readable."""
    if not variants or not readable():
        return None
    address = kept_library(Direct(variants)).addresses["entry"]
    return call.builtin("direct", address, table())
