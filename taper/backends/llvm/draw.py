"""Random fills: MT19937 words made and used in one kernel, a chunk at a time.

Every kernel takes the address of the engine's state, as numpy keeps it: 624 words and, after them,
the place of the next one (624: none is left, the words are mixed anew before the next is used).
It leaves the state as drawing the words one by one would have. The numpy meaning, bit for bit, is
generator/fills.py and generator/choice.py.

log, sin and cos of the float32 normal numbers are polynomials with fused multiply-adds; the other
transcendental functions are the C library's, number by number, since their bits are the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from taper.backends.llvm import call
from taper.backends.llvm.text import Function, Module, Pointer, Value

WORDS = 624
_SHIFT = 397
# Words made at a time: they stay in the first cache with what is made of them.
_CHUNK = 1024
_LOW_24 = 0xFFFFFF
_LOW_53 = (1 << 53) - 1

ITEMSIZES = {"float": 4, "double": 8}


# ---------------------------------------------------------------- the engine


def _mixed(upper: Value, lower: Value, far: Value) -> Value:
    """The next generation's word: `upper` and `lower` are neighbours, `far` is 397 places on."""
    joined = (upper & 0x80000000) | (lower & 0x7FFFFFFF)
    return far ^ joined.shifted_right(1) ^ (-(joined & 1) & 0x9908B0DF)


def _write_refill(f: Function) -> None:
    state = f.pointer("state", "i32")
    lanes = f.module.lanes("i32")

    def run(start: int, stop: int, far: int) -> None:
        """Words from `start` on; a vector is read before it is written, and never meets itself."""

        def step(i: Value | int, mask: Value | None = None) -> None:
            here = state.at(i)
            upper, lower = here.load(0, lanes, mask), here.load(1, lanes, mask)
            here.store(_mixed(upper, lower, here.load(far, lanes, mask)), 0, mask)

        whole = start + (stop - start) // lanes * lanes
        f.loop(start, whole, step, lanes)
        if whole < stop:
            step(whole, f.mask(stop - whole, lanes))

    turn = WORDS - _SHIFT
    run(0, turn, _SHIFT)
    run(turn, WORDS - 1, -turn)
    last = _mixed(state.load(WORDS - 1), state.load(0), state.load(_SHIFT - 1))
    state.store(last, WORDS - 1)
    f.ret()


def _tempered(word: Value) -> Value:
    word = word ^ word.shifted_right(11)
    word = word ^ ((word << 7) & 0x9D2C5680)
    word = word ^ ((word << 15) & 0xEFC60000)
    return word ^ word.shifted_right(18)


def _write_words(f: Function) -> None:
    """Writes `count` words into `into`, and the state's new place."""
    state, into, count = f.pointer("state", "i32"), f.pointer("into", "i32"), f.arg("count")
    lanes = f.module.lanes("i32")
    refill = f.module.once("refill", _write_refill, state="ptr")
    place = state.load(WORDS).cast("zext", "i64")

    def generation(_: Value, place: Value, done: Value) -> tuple[Value, Value]:
        # Mixed only when a word is wanted, as numpy does: the state tells the difference.
        spent = place.equals(WORDS) & (done < count)
        f.when(spent, lambda: f.call(refill, state))
        place = spent.select(f.const(0, "i64"), place)
        taken = f.minimum(f.const(WORDS, "i64") - place, count - done)

        def step(i: Value, mask: Value | None = None) -> None:
            word = state.load(place + i, lanes, mask)
            into.store(_tempered(word), done + i, mask)

        _vectors(f, taken, lanes, step)
        return place + taken, done + taken

    rounds = (place + count + (WORDS - 1)) // WORDS
    place, _ = f.loop(0, rounds, generation, init=(place, f.const(0, "i64")))
    state.store(place.cast("trunc", "i32"), WORDS)
    f.ret()


def _vectors(f: Function, count: Value, lanes: int, step: Callable[..., object]) -> None:
    """step(i) for whole vectors, step(i, mask) for what is left."""
    whole = count // lanes * lanes
    f.loop(0, whole, step, lanes)
    rest = count - whole
    f.when(rest > 0, lambda: step(whole, f.mask(rest, lanes)))


def _in_chunks(
    f: Function, count: Value, words_each: int, consume: Callable[[Pointer, Value, Value], None]
) -> None:
    """consume(words, start, number) for chunks of `count` elements; each has its words made."""
    words = Pointer(f, f.emit("ptr", f"alloca [{_CHUNK} x i32], align 64").name, "i32")
    state = f.pointer("state", "i32")
    make = f.module.once(
        "words", _write_words, aliased=("state",), state="ptr", into="ptr", count="i64"
    )
    size = _CHUNK // words_each

    def chunk(start: Value) -> None:
        number = f.minimum(count - start, f.const(size, "i64"))
        f.call(make, state, words, number * words_each)
        consume(words, start, number)

    f.loop(0, count, chunk, size)


def _word64(f: Function, words: Pointer, index: Value, lanes: int, mask: Value | None) -> Value:
    """53 bits of 64-bit words; the first of two words is the high half."""
    pair = words.as_("i64").load(index, lanes, mask)
    return f.same("llvm.fshl", pair, pair, f.const(32, pair.type)) & _LOW_53


def _unit(f: Function, words: Pointer, index: Value, lanes: int, mask: Value | None,
          element: str) -> Value:  # fmt: skip
    """Uniform numbers in [0, 1): 24 bits of one word, or 53 of two."""
    if element == "float":
        bits = words.load(index, lanes, mask) & _LOW_24
        return bits.cast("sitofp", "float") * 2.0**-24
    return _word64(f, words, index, lanes, mask).cast("sitofp", "double") * 2.0**-53


# ---------------------------------------------------------------- uniform numbers and masks


@dataclass(frozen=True)
class Uniform:
    """low + span * unit, rounded once; `low` in the place of results that reach `high`.

    kernel(state, out, low, span, high, count)
    """

    element: str
    exports = ("kernel", "entry")
    kinds = ("array", "array", "float", "float", "float", "int")

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function(
            "kernel", state="ptr", out="ptr", low="double", span="double", high="double",
            count="i64",
        )  # fmt: skip
        element, lanes = self.element, module.lanes(self.element)
        out = f.pointer("out", element)
        low, span, high = (
            f.splat(narrowed(f.arg(name), element), lanes) for name in ("low", "span", "high")
        )

        def consume(words: Pointer, start: Value, number: Value) -> None:
            def step(i: Value, mask: Value | None = None) -> None:
                made = f.fma(_unit(f, words, i, lanes, mask, element), span, low)
                out.store(made.equals(high).select(low, made), start + i, mask)

            _vectors(f, number, lanes, step)

        _in_chunks(f, f.arg("count"), ITEMSIZES[element] // 4, consume)
        f.ret()
        call.write_entry(module, "entry", f, self.kinds)


@dataclass(frozen=True)
class Below:
    """`value` where 53 random bits are below `limit`, else 0; the element is i8 ... i64.

    Numbers of any dtype are given by their bits. kernel(state, out, limit, value, count)
    """

    element: str
    exports = ("kernel", "entry")
    kinds = ("array", "array", "int", "int", "int")

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function("kernel", state="ptr", out="ptr", limit="i64", value="i64", count="i64")
        out = f.pointer("out", self.element)
        value = f.arg("value")
        if self.element != "i64":
            value = value.cast("trunc", self.element)

        def consume(words: Pointer, start: Value, number: Value) -> None:
            def step(i: Value, lanes: int) -> None:
                drawn = _word64(f, words, i, lanes, None)
                hit = drawn < f.splat(f.arg("limit"), lanes)
                made = f.splat(value, lanes)
                out.store(hit.select(made, f.const(0, made.type)), start + i)

            lanes = module.lanes("i64")
            whole = number // lanes * lanes
            f.loop(0, whole, lambda i: step(i, lanes), lanes)
            # One by one at the end: not every processor has masks for small elements.
            f.loop(whole, number, lambda i: step(i, 1))

        _in_chunks(f, f.arg("count"), 2, consume)
        f.ret()
        call.write_entry(module, "entry", f, self.kinds)


@dataclass(frozen=True)
class Remainders:
    """Words modulo `span`, plus `low`, as int64; words of 64 bits if `wide`, else of 32.

    kernel(state, out, span, low, count), span an unsigned number of as many bits, not 0
    """

    wide: bool
    exports = ("kernel", "entry")
    kinds = ("array", "array", "int", "int", "int")

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function("kernel", state="ptr", out="ptr", span="i64", low="i64", count="i64")
        out, span, low = f.pointer("out", "i64"), f.arg("span"), f.arg("low")
        consume = self._wide if self.wide else self._narrow
        _in_chunks(
            f,
            f.arg("count"),
            2 if self.wide else 1,
            lambda words, start, number: consume(f, words, out.at(start), number, span, low),
        )
        f.ret()
        call.write_entry(module, "entry", f, self.kinds)

    @staticmethod
    def _wide(f: Function, words: Pointer, out: Pointer, number: Value, span: Value,
              low: Value) -> None:  # fmt: skip
        def step(i: Value) -> None:
            pair = words.as_("i64").load(i)
            out.store(f.same("llvm.fshl", pair, pair, f.const(32, "i64")) % span + low, i)

        f.loop(0, number, step)

    @staticmethod
    def _narrow(f: Function, words: Pointer, out: Pointer, number: Value, span: Value,
                low: Value) -> None:  # fmt: skip
        lanes = f.module.lanes("i64")
        spans, lows = f.splat(span, lanes), f.splat(low, lanes)

        def step(i: Value, mask: Value | None = None) -> None:
            word = words.load(i, lanes, mask).cast("zext", "i64")
            out.store(word - _quotient(word, spans) * spans + lows, i, mask)

        _vectors(f, number, lanes, step)


def _quotient(word: Value, divisor: Value) -> Value:
    """word // divisor of i64 numbers from 0, and from 1, to below 2**32.

    Their quotient in float64, cut off, is the exact one: what a true quotient lacks to the next
    integer is more than the rounding adds.
    """
    quotient = word.cast("sitofp", "double") / divisor.cast("sitofp", "double")
    return quotient.cast("fptosi", "i64")


def narrowed(value: Value, element: str) -> Value:
    """A double as the element type."""
    return value if element == "double" else value.cast("fptrunc", element)


# ---------------------------------------------------------------- normal numbers

_LOG = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)
_LN2_LOW, _LN2_HIGH = -2.12194440e-4, 0.693359375
_ROOT_HALF = 0.707106781186547524
_QUARTER_PI = (-0.78515625, -2.4187564849853515625e-4, -3.77489497744594108e-8)
_OCTANTS = 1.27323954473516
_COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
_SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)


def _log_single(f: Function, x: Value) -> Value:
    """log of float32 numbers in (0, 1], as generator/fused.py has it."""
    bits = x.bits("i32")
    mantissa = ((bits & 0x007FFFFF) | 0x3F000000).bits("float")
    small = mantissa < _ROOT_HALF
    exponent = bits.shifted_right(23) - 126
    e = small.select(exponent - 1, exponent).cast("sitofp", "float")
    less = mantissa - 1.0
    m = small.select(less + mantissa, less)
    z = m * m
    y = f.const(_LOG[0], x.type)
    for coefficient in _LOG[1:]:
        y = f.fma(y, m, f.const(coefficient, x.type))
    y = f.fma(y * m, z, e * _LN2_LOW)
    y = f.fma(-z, f.const(0.5, x.type), y)
    return f.fma(e, f.const(_LN2_HIGH, x.type), m + y)


def _sin_cos_single(f: Function, angle: Value) -> tuple[Value, Value]:
    """sin and cos of float32 numbers of at least 0, as generator/fused.py has them."""
    kind = angle.type
    octant = ((angle * _OCTANTS).cast("fptosi", "i32") + 1) & ~1
    turns, x = octant.cast("sitofp", "float"), angle
    for part in _QUARTER_PI:
        x = f.fma(turns, f.const(part, kind), x)
    z = x * x
    even, odd = (
        f.fma(f.fma(f.const(a, kind), z, f.const(b, kind)), z, f.const(c, kind)) * z
        for a, b, c in (_COS, _SIN)
    )
    even = f.fma(even, z, -(z * 0.5)) + 1.0
    odd = f.fma(odd, x, x)
    swapped = (octant & 2).differs(0)
    sin = swapped.select(even, odd).bits("i32") ^ ((octant & 4) << 29)
    cos = swapped.select(odd, even).bits("i32") ^ ((~(octant - 2) & 4) << 29)
    return sin.bits("float"), cos.bits("float")


@dataclass(frozen=True)
class Normal:
    """Blocks of 16 normal numbers: 8 uniform ones give the radii, 8 more the angles.

    kernel(state, out, mean, std, count), count being a multiple of 16
    """

    element: str
    exports = ("kernel", "entry")
    kinds = ("array", "array", "float", "float", "int")

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function(
            "kernel", state="ptr", out="ptr", mean="double", std="double", count="i64"
        )
        consume = self._singles(f) if self.element == "float" else self._doubles(f)
        _in_chunks(f, f.arg("count"), ITEMSIZES[self.element] // 4, consume)
        f.ret()
        call.write_entry(module, "entry", f, self.kinds)

    def _singles(self, f: Function) -> Callable[[Pointer, Value, Value], None]:
        out = f.pointer("out", "float")
        mean, std = (f.arg(name).cast("fptrunc", "float") for name in ("mean", "std"))

        def blocks(words: Pointer, start: Value, i: Value, lanes: int) -> None:
            """The numbers from i on; two blocks in 16 lanes, half of a block in 4."""

            def units(offset: int) -> Value:
                if lanes < 16:
                    return _unit(f, words, i + offset, lanes, None, "float")
                first = _unit(f, words, i + offset, 8, None, "float")
                second = _unit(f, words, i + offset + 16, 8, None, "float")
                return first.shuffle(second, range(16))

            one = units(0)
            radius = f.same("llvm.sqrt", _log_single(f, f.const(1.0, one.type) - one) * -2.0)
            sin, cos = _sin_cos_single(f, units(8) * (2.0 * math.pi))
            for offset, wave in ((0, cos), (8, sin)):
                made = f.fma(radius * wave, f.splat(std, lanes), f.splat(mean, lanes))
                if lanes < 16:
                    out.store(made, start + i + offset)
                else:
                    out.store(made.shuffle(made, range(8)), start + i + offset)
                    out.store(made.shuffle(made, range(8, 16)), start + i + offset + 16)

        def consume(words: Pointer, start: Value, number: Value) -> None:
            lanes = min(f.module.lanes("float"), 16)
            if lanes == 16:
                pairs = number // 32 * 32
                f.loop(0, pairs, lambda i: blocks(words, start, i, 16), 32)
                f.loop(pairs, number, lambda i: blocks(words, start, i, 8), 16)
            else:

                def block(i: Value) -> None:
                    for part in range(0, 8, lanes):
                        blocks(words, start, i + part, lanes)

                f.loop(0, number, block, 16)

        return consume

    def _doubles(self, f: Function) -> Callable[[Pointer, Value, Value], None]:
        out = f.pointer("out", "double")

        def consume(words: Pointer, start: Value, number: Value) -> None:
            def pair(i: Value) -> None:
                first = _unit(f, words, i, 1, None, "double")
                second = _unit(f, words, i + 8, 1, None, "double")
                logarithm = f.intrinsic("log", "double", f.const(1.0, "double") - first)
                for offset, wave in zip((0, 8), _waves(f, logarithm, second), strict=True):
                    out.store(f.fma(wave, f.arg("std"), f.arg("mean")), start + i + offset)

            f.loop(0, number, lambda block: f.loop(0, 8, lambda i: pair(block + i)) and None, 16)

        return consume


def _waves(f: Function, logarithm: Value, unit: Value) -> tuple[Value, Value]:
    """A pair of normal numbers: a radius by a logarithm, and cosine and sine of an angle."""
    radius = f.same("llvm.sqrt", logarithm * -2.0)
    angle = unit * (2.0 * math.pi)
    return (
        radius * f.intrinsic("cos", "double", angle),
        radius * f.intrinsic("sin", "double", angle),
    )


@dataclass(frozen=True)
class Pairs:
    """Pairs of float64 normal numbers: a uniform one gives the angle, the next one the radius.

    kernel(state, out, count), count being even
    """

    exports = ("kernel", "entry")
    kinds = ("array", "array", "int")

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function("kernel", state="ptr", out="ptr", count="i64")
        out = f.pointer("out", "double")

        def consume(words: Pointer, start: Value, number: Value) -> None:
            def pair(i: Value) -> None:
                first = _unit(f, words, i, 1, None, "double")
                second = _unit(f, words, i + 1, 1, None, "double")
                logarithm = f.intrinsic("log1p", "double", -second)
                for offset, wave in enumerate(_waves(f, logarithm, first)):
                    out.store(wave, start + i + offset)

            f.loop(0, number, pair, 2)

        _in_chunks(f, f.arg("count"), 2, consume)
        f.ret()
        call.write_entry(module, "entry", f, self.kinds)


# ---------------------------------------------------------------- functions of the C library

Formula = Callable[[Function, Value, Value, Value], Value]


def _exponential(f: Function, unit: Value, scale: Value, _: Value) -> Value:
    return f.intrinsic("log1p", "double", -unit) * scale


def _geometric(f: Function, unit: Value, divisor: Value, _: Value) -> Value:
    return f.same("llvm.ceil", f.intrinsic("log", "double", unit) / divisor)


def _cauchy(f: Function, unit: Value, sigma: Value, median: Value) -> Value:
    return f.fma(f.intrinsic("tan", "double", (unit - 0.5) * math.pi), sigma, median)


_FORMULAS: dict[str, Formula] = {
    "exponential": _exponential,
    "geometric": _geometric,
    "cauchy": _cauchy,
}


@dataclass(frozen=True)
class Mapped:
    """A formula of a uniform float64 number and two parameters, rounded to `element`.

    kernel(state, out, first, second, count)
    """

    formula: str
    element: str
    exports = ("kernel", "entry")
    kinds = ("array", "array", "float", "float", "int")

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function(
            "kernel", state="ptr", out="ptr", first="double", second="double", count="i64"
        )
        out, formula = f.pointer("out", self.element), _FORMULAS[self.formula]
        first, second = f.arg("first"), f.arg("second")

        def consume(words: Pointer, start: Value, number: Value) -> None:
            def step(i: Value) -> None:
                made = formula(f, _unit(f, words, i, 1, None, "double"), first, second)
                out.store(narrowed(made, self.element), start + i)

            f.loop(0, number, step)

        _in_chunks(f, f.arg("count"), 2, consume)
        f.ret()
        call.write_entry(module, "entry", f, self.kinds)


# ---------------------------------------------------------------- permutations


@dataclass(frozen=True)
class Permutation:
    """0 ... count - 1 in random order: each place is swapped with one at or behind it.

    kernel(state, out, count), count from 2 to 2**31
    """

    exports = ("kernel", "entry")
    kinds = ("array", "array", "int")

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function("kernel", state="ptr", out="ptr", count="i64")
        out, count = f.pointer("out", "i64"), f.arg("count")
        lanes = module.lanes("i64")
        steps = f.lanes_const(range(lanes), "i64")
        _vectors(
            f, count, lanes, lambda i, mask=None: out.store(f.splat(i, lanes) + steps, i, mask)
        )

        def consume(words: Pointer, start: Value, number: Value) -> None:
            def remainders(i: Value, mask: Value | None = None) -> None:
                word = words.load(i, lanes, mask).cast("zext", "i64")
                left = f.splat(count - start - i, lanes) - steps
                words.store((word - _quotient(word, left) * left).cast("trunc", "i32"), i, mask)

            def swap(i: Value) -> None:
                here = out.at(start + i)
                there = here.at(words.load(i).cast("zext", "i64"))
                one, other = here.load(), there.load()
                here.store(other)
                there.store(one)

            _vectors(f, number, lanes, remainders)
            f.loop(0, number, swap)

        _in_chunks(f, count - 1, 1, consume)
        f.ret()
        call.write_entry(module, "entry", f, self.kinds)
