"""Elementary functions of vectors, written as LLVM text: exp, log, tanh, erf, sin, pow and others.

Each takes Values of text.py with float or double elements and any number of lanes, and writes
straight-line code (sin and cos branch for huge arguments only). None uses instructions of one
processor, but for one that scales by a power of two, whose result is the same as that of the
longer way. So the bits agree on all processors that have fused multiply-add, and where they do not,
LLVM calls the C library's.

Largest errors in units of the last place: float32 over every 97th of all numbers, float64 over a million
of all sizes (benchmarks/_ulp.py; erf, sin, cos against 1300 bits):

              exp   exp2  expm1  log   log2  log1p tanh  sigmoid silu  softplus erf   sin   cos   pow
    float32   0.77  0.77  1.50   0.89  1.66  1.66  1.45  1.89    1.99  1.68     1.07  1.49  1.48  0.53
    float64   0.75  0.62  1.49   0.84  1.36  1.46  1.43  1.90    1.89  1.70     0.92  1.35  1.30  0.75

gelu 3.8 and 2.4, far out in its negative tail; rsqrt 1.5; sqrt 0.5.

Infinities, nan and signed zeros are as C99 has them; silu of minus infinity is nan, as in PyTorch.

Sources: Cody and Waite's reductions; Payne and Hanek's for huge angles; polynomials from
benchmarks/_fit.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taper.backends.llvm import coefficients as c
from taper.backends.llvm.text import SIZES, Value, vector


@dataclass(frozen=True)
class _Format:
    """What the functions must know of float or double."""

    integer: str
    fraction: int  # bits behind the point
    bias: int  # of the exponent
    magic: float  # numbers added to it are rounded to whole ones, which stand in its low bits
    smallest: float  # normal number
    three_quarters: int  # its bits
    exp_low: float  # exp of less is 0
    exp_high: float  # exp of more is inf
    tanh_high: float  # tanh of more is 1
    erf_high: float  # erf of more is 1
    tail_high: float  # the normal distribution has less than half the least denormal beyond it
    tail_center: float
    angle_high: float  # above, angles are reduced the long way
    exp: Sequence[float]
    log: Sequence[float]
    tanh: Sequence[float]
    erf: tuple[float, Sequence[float], Sequence[float], Sequence[Sequence[float]]]
    mills: Sequence[float]  # of float64; float32 has pieces
    sin: Sequence[float]
    cos: Sequence[float]
    ln2: Sequence[float]  # the first with trailing zeros
    ln2_pair: Sequence[float]
    log2e: Sequence[float]
    half_pi: Sequence[float]


_FORMATS = {
    "float": _Format(
        "i32", 23, 127, 1.5 * 2.0**23, 2.0**-126, 0x3F400000, -104.0, 89.0, 9.02, 3.95, 14.6, 2.0, 1e5,
        c.EXP_F32, c.LOG_F32, c.TANH_F32, (c.ERF_STEP_F32, c.ERF_NODES_F32, c.ERF_VALUES_F32, c.ERF_F32), (), c.SIN_F32, c.COS_F32,
        c.LN2_F32, c.LN2_PAIR_F32, c.LOG2E_F32, c.HALF_PI_F32,
    ),
    "double": _Format(
        "i64", 52, 1023, 1.5 * 2.0**52, 2.0**-1022, 0x3FE8000000000000, -746.0, 710.0, 20.0, 5.95, 39.0,
        4.0, 2.0**30,
        c.EXP_F64, c.ATANH_F64, c.TANH_F64, (c.ERF_STEP_F64, c.ERF_NODES_F64, c.ERF_VALUES_F64, c.ERF_F64), c.MILLS_F64, c.SIN_F64, c.COS_F64,
        c.LN2_F64, c.LN2_PAIR_F64, c.LOG2E_F64, c.HALF_PI_F64,
    ),
}  # fmt: skip


def _format(x: Value) -> _Format:
    return _FORMATS[x.element]


# ---------------------------------------------------------------- building blocks


def _horner(x: Value, polynomial: Sequence[float]) -> Value:
    """The polynomial at x, lowest coefficient first."""
    result = x.f.const(polynomial[-1], x.type)
    for coefficient in polynomial[-2::-1]:
        result = x.f.fma(result, x, coefficient)
    return result


def absolute(x: Value) -> Value:
    """x without its sign."""
    return x.f.same("llvm.fabs", x)


def _copy_sign(size: Value, sign: Value) -> Value:
    return size.f.same("llvm.copysign", size, sign)


def _clamp(x: Value, low: float, high: float) -> Value:
    """x within bounds; nan stays."""
    return x.f.minimum(high, x.f.maximum(low, x))


def _whole(x: Value, factor: float, form: _Format) -> tuple[Value, Value]:
    """(x * factor rounded to a whole number, the same with it in the low bits)."""
    shifted = x.f.fma(x, factor, form.magic)
    return shifted - form.magic, shifted


def _power(shifted: Value, form: _Format, less: int = 0) -> Value:
    """2^(n - less), for an n that gives a normal number; `shifted` is n with form.magic added."""
    exponent = shifted.bits(form.integer) << form.fraction
    return (exponent + ((form.bias - less) << form.fraction)).bits(shifted.element)


def _wide(x: Value) -> bool:
    """Whether x fills a register of AVX-512, which has instructions for exponents."""
    return x.f.module.machine.target == "avx512" and x.lanes * SIZES[x.element] == 64


def _scale(x: Value, shifted: Value, form: _Format) -> Value:
    """x * 2^n for any n in the range of exp, rounded once even if the result is denormal."""
    f = x.f
    if _wide(x):
        word, bits = ("ps", "i16") if form.fraction == 23 else ("pd", "i8")
        n = shifted - form.magic
        return f.intrinsic(
            f"llvm.x86.avx512.mask.scalef.{word}.512", x.type, x, n, x,
            f.const(-1, bits), f.const(4, "i32"),
        )  # fmt: skip
    # Two factors that are both normal; the first product is normal too, hence exact.
    n = shifted.bits(form.integer) << (1 + SIZES[x.element] * 8 - form.fraction)
    n = n >> (1 + SIZES[x.element] * 8 - form.fraction)
    half = n >> 1

    def power(m: Value) -> Value:
        return ((m + form.bias) << form.fraction).bits(x.element)

    return x * power(half) * power(n - half)


def _split_exponent(x: Value, form: _Format) -> tuple[Value, Value]:
    """(e, m) with x = 2^e m and m in [3/4, 3/2), for a positive x, denormal or not."""
    f = x.f
    if _wide(x):
        word, bits = ("ps", "i16") if form.fraction == 23 else ("pd", "i8")
        all_lanes, here = f.const(-1, bits), f.const(4, "i32")
        name = f"llvm.x86.avx512.mask.getmant.{word}.512"
        # 11: between 3/4 and 3/2, nan for negative numbers.
        m = f.intrinsic(name, x.type, x, f.const(11, "i32"), x, all_lanes, here)
        name = f"llvm.x86.avx512.mask.getexp.{word}.512"
        high = f.intrinsic(name, x.type, x, x, all_lanes, here)
        return high - f.intrinsic(name, x.type, m, m, all_lanes, here), m
    tiny = x < form.smallest
    held = tiny.select(x * 2.0**form.fraction, x).bits(form.integer)
    exponent = (held - form.three_quarters) >> form.fraction
    mantissa = (held - (exponent << form.fraction)).bits(x.element)
    # The exponent becomes a number by way of its bits: vectors of i64 are slow to convert.
    magic = f.const(form.magic, x.type).bits(form.integer)
    shifted = (exponent + magic).bits(x.element)
    return shifted - tiny.select(f.const(form.magic + form.fraction, x.type), form.magic), mantissa


# ---------------------------------------------------------------- exponentials


def _reduce_exp(x: Value, form: _Format) -> tuple[Value, Value, Value]:
    """(n + magic, r, low) with x = n ln(2) + r + low; n times the first part of ln(2) is exact."""
    n, shifted = _whole(x, 1 / math.log(2), form)
    high, low = form.ln2
    return shifted, x.f.fma(n, -high, x), n * -low


def _exp_pair(r: Value, low: Value, form: _Format) -> tuple[Value, Value]:
    """exp(r + low) as a sum, for r up to half of ln(2); the rounding of 1 + r is made up for."""
    full = r + low
    tail = r.f.fma(full * full, _horner(full, form.exp), low)
    head = r + 1.0
    return head, ((1.0 - head) + r) + tail


def _exp_near(r: Value, low: Value, form: _Format) -> Value:
    head, rest = _exp_pair(r, low, form)
    return head + rest


def _expm1_near(r: Value, low: Value, form: _Format) -> Value:
    full = r + low
    return r + r.f.fma(full * full, _horner(full, form.exp), low)


def exp(x: Value) -> Value:
    """e^x."""
    form = _format(x)
    shifted, r, low = _reduce_exp(_clamp(x, form.exp_low, form.exp_high), form)
    return _scale(_exp_near(r, low, form), shifted, form)


def exp_below(x: Value) -> Value:
    """e^x for x that is at most 0, or nan: a third shorter than exp, with an error up to 1.1."""
    form, f = _format(x), x.f
    x = f.maximum(form.exp_low, x)
    n, shifted = _whole(x, 1 / math.log(2), form)
    high, low = form.ln2
    r = f.fma(n, -low, f.fma(n, -high, x))
    return _scale(f.fma(r * r, _horner(r, form.exp), r) + 1.0, shifted, form)


def exp2(x: Value) -> Value:
    """2^x."""
    form, f = _format(x), x.f
    x = _clamp(x, form.exp_low * 1.45, form.exp_high * 1.45)
    n, shifted = _whole(x, 1.0, form)
    rest = x - n
    high, low = form.ln2_pair
    r = rest * high
    left = f.fma(rest, high, -r)
    return _scale(_exp_near(r, f.fma(rest, low, left), form), shifted, form)


def expm1(x: Value) -> Value:
    """e^x - 1, without cancellation near 0."""
    form = _format(x)
    low = -20.0 if form.fraction == 23 else -40.0
    shifted, r, rest = _reduce_exp(_clamp(x, low, form.exp_high), form)
    near = _expm1_near(r, rest, form)
    # Half of it is in range where the power itself is not.
    half = _power(shifted, form, 1)
    y = x.f.fma(half, near, half - 0.5) * 2.0
    return (absolute(x) < 2.0 ** -(form.fraction + 2)).select(x, y)


def sigmoid(x: Value) -> Value:
    """1 / (1 + e^-x): of the exponential that cannot overflow."""
    form = _format(x)
    shifted, r, low = _reduce_exp(x.f.maximum(form.exp_low, -absolute(x)), form)
    e = _scale(_exp_near(r, low, form), shifted, form)
    below = e + 1.0
    y = (x < 0.0).select(e, 1.0) / below
    # Made good for what the sum gained in rounding, where that counts, at a sum near 1.
    return x.f.fma(y, (below - 1.0) - e, y)


def silu(x: Value) -> Value:
    """x / (1 + e^-x). The power of two comes last, so that a small result has all its bits."""
    form, f = _format(x), x.f
    least = form.exp_low - 16  # the result below is zero
    size = absolute(x)
    shifted, r, low = _reduce_exp(f.maximum(least, -size), form)
    head, rest = _exp_pair(r, low, form)
    near = head + rest
    negative = x < 0.0
    e = _scale(near, shifted, form)
    below = e + 1.0
    # Above the line x times the exponential without its power, or x itself.
    x_most = f.maximum(least, x)
    above = negative.select(f.fma(x_most, near, x_most * ((head - near) + rest)), x)
    y = above / below
    y = f.fma(y, (below - 1.0) - e, y)
    y = _scale(y, negative.select(shifted, form.magic), form)
    return (size < math.inf).select(y, (x > 0.0).select(x, math.nan))


def tanh(x: Value) -> Value:
    """A polynomial below 0.55, beyond it 1 - 2 / (e^2|x| + 1), whose error shrinks with it."""
    form, f = _format(x), x.f
    size = absolute(x)
    square = size * size
    small = f.fma(size * square, _horner(square, form.tanh), size)
    size_most = f.minimum(form.tanh_high, size)
    shifted, r, low = _reduce_exp(size_most + size_most, form)
    e = _exp_near(r, low, form) * _power(shifted, form)
    large = 1.0 - 2.0 / (e + 1.0)
    return _copy_sign((size < 0.55).select(small, large), x)


# ---------------------------------------------------------------- logarithms


def _log_near(m: Value, form: _Format) -> tuple[Value, Value]:
    """(m - 1, tail), whose sum is log(m), for m in [3/4, 3/2]."""
    f = m.f
    away = m - 1.0
    if form.fraction == 23:
        return away, (away * away) * f.fma(away, _horner(away, form.log), -0.5)
    s = away / (m + 1.0)
    square = s * s
    half = away * away * 0.5
    return away, f.fma(s, f.fma(square, _horner(square, form.log), half), -half)


def _log_edges(x: Value, y: Value) -> Value:
    """y where x is positive and finite, else what a logarithm is there."""
    if _wide(x):  # the parts of the number have given it
        return y
    y = (x < math.inf).select(y, x)
    return (x > 0.0).select(y, x.equals(0.0).select(x.f.const(-math.inf, x.type), math.nan))


def log(x: Value) -> Value:
    """Natural logarithm."""
    form, f = _format(x), x.f
    e, m = _split_exponent(x, form)
    away, tail = _log_near(m, form)
    high, low = form.ln2
    return _log_edges(x, f.fma(e, high, away + f.fma(e, low, tail)))


def log2(x: Value) -> Value:
    """Logarithm to the base 2."""
    form, f = _format(x), x.f
    e, m = _split_exponent(x, form)
    away, tail = _log_near(m, form)
    high, low = form.log2e
    return _log_edges(x, e + f.fma(away, high, f.fma(tail, high, away * low)))


def _log1p(x: Value, rest: Value | None = None) -> tuple[Value, Value]:
    """(1 + x rounded, log(1 + x + rest)), where that is finite; `rest` is below x's last place."""
    form, f = _format(x), x.f
    u = x + 1.0
    large = f.maximum(x, 1.0)
    lost = f.minimum(x, 1.0) - (u - large)
    e, m = _split_exponent(u, form)
    near = e.equals(0.0)
    # Near 0, x itself is m - 1. Elsewhere what 1 + x lost is scaled as it was, and added; where the
    # power would not be normal it does not count.
    away, tail = _log_near(m, form)
    bits = m.bits(form.integer) - u.bits(form.integer)
    power = (bits + (form.bias << form.fraction)).bits(x.element)
    scaled = (lost if rest is None else lost + rest) * power
    scaled = near.select(
        f.const(0.0, x.type) if rest is None else rest, (e < 100.0).select(scaled, 0.0)
    )
    scaled = f.fma(-away, scaled, scaled)
    away = near.select(x, away)
    high, low = form.ln2
    return u, f.fma(e, high, away + f.fma(e, low, tail + scaled))


def log1p(x: Value) -> Value:
    """log(1 + x), without cancellation near 0."""
    u, y = _log1p(x)
    y = _log_edges(u, y)
    return x.equals(0.0).select(x, y)


def softplus(x: Value) -> Value:
    """log(1 + e^x)."""
    form, f = _format(x), x.f
    shifted, r, low = _reduce_exp(f.maximum(form.exp_low, -absolute(x)), form)
    head, rest = _exp_pair(r, low, form)
    near = head + rest
    e = _scale(near, shifted, form)
    _, y = _log1p(e, ((head - near) + rest) * e)
    return f.maximum(0.0, x) + y


# ---------------------------------------------------------------- the error function


def _look_up(table: Sequence[float], place: Value, element: str) -> Value:
    """Of each lane the element of a table of 16 that the low four bits of `place` name."""
    f, lanes = place.f, place.lanes
    target = f.module.machine.target
    half = [f.lanes_const(part, element) for part in (table[:8], table[8:])]
    if target == "avx512" and lanes == 16 and element == "float":
        whole = f.lanes_const(table, element)
        return f.intrinsic("llvm.x86.avx512.permvar.sf.512", whole.type, whole, place)
    if target == "avx512" and lanes == 8 and element == "double":
        name = "llvm.x86.avx512.vpermi2var.pd.512"
        return f.intrinsic(name, half[0].type, half[0], place, half[1])
    if target in ("avx512", "avx2") and lanes == 8 and element == "float":
        name = "llvm.x86.avx2.permps"
        low, high = (f.intrinsic(name, part.type, part, place) for part in half)
        return (place & 8).differs(0).select(high, low)
    # Each of the 16 in turn where there is no such instruction, half of them at each bit.
    found = [f.const(v, vector(element, lanes)) for v in table]
    for bit in (1, 2, 4, 8):
        odd = (place & bit).differs(0)
        found = [odd.select(b, a) for a, b in zip(found[::2], found[1::2], strict=True)]
    return found[0]


def erf(x: Value) -> Value:
    """Around the nearest of 16 nodes: erf(node) + d * polynomial(d), d = |x| - node."""
    form, f = _format(x), x.f
    size = f.minimum(form.erf_high, absolute(x))
    step, nodes, values, table = form.erf
    _, shifted = _whole(size, 1 / step, form)
    place = shifted.bits(form.integer)
    d = size - _look_up(nodes, place, x.element)
    slope = _look_up(table[-1], place, x.element)
    for row in table[-2::-1]:
        slope = f.fma(slope, d, _look_up(row, place, x.element))
    # Around 0 the polynomial is that of erf(d) / d - 1: the sum with d itself rounds less.
    value = (place & 15).equals(0).select(d, _look_up(values, place, x.element))
    return _copy_sign(f.fma(d, slope, value), x)


def _mills_single(size: Value) -> Value:
    """The normal distribution beyond `size` over exp(-size^2 / 2): around the nearest of 16 nodes."""
    f = size.f
    place = (size + 1.0).bits("i32").shifted_right(21)
    d = size - _look_up(c.MILLS_NODES_F32, place, "float")
    ratio = _look_up(c.MILLS_F32[-1], place, "float")
    for row in c.MILLS_F32[-2::-1]:
        ratio = f.fma(ratio, d, _look_up(row, place, "float"))
    return ratio


def _mills_double(size: Value, form: _Format) -> Value:
    """The same by a quotient, which is small for far tails, and its last bits."""
    f = size.f
    below = size + form.tail_center
    below_low = size - (below - form.tail_center)
    inverse = 1.0 / below

    def divided(above: Value) -> Value:
        quotient = above * inverse
        left = f.fma(-quotient, below_low, f.fma(-quotient, below, above))
        return f.fma(left, inverse, quotient)

    return divided(_horner(divided(size - form.tail_center), form.mills))


def _normal_tail(size: Value, form: _Format, density: float = 0) -> tuple[Value, Value]:
    """(p, n + magic): 2^n p is the normal distribution beyond `size`, a number without sign.

    Less `density` times the size and exp(-size^2 / 2).
    """
    f = size.f
    ratio = _mills_single(size) if size.element == "float" else _mills_double(size, form)
    if density:
        ratio = f.fma(size, -density, ratio)
    # The square's own rounding would be magnified by its size.
    square = size * size
    left = f.fma(size, size, -square)
    shifted, r, low = _reduce_exp(square * -0.5, form)
    head, rest = _exp_pair(r, f.fma(left, -0.5, low), form)
    return f.fma(head, ratio, rest * ratio), shifted


def gelu(x: Value) -> Value:
    """x times the normal distribution up to x, exact in its negative tail too."""
    form, f = _format(x), x.f
    size = f.minimum(form.tail_high, absolute(x))
    p, shifted = _normal_tail(size, form)
    # On the left minus 0, from which the least of tails still gives minus 0.
    return f.maximum(-0.0, x) - _scale(size * p, shifted, form)


def gelu_slope(x: Value) -> Value:
    """The derivative of gelu: the distribution plus x times its density, an error of 2^-24 or so."""
    form, f = _format(x), x.f
    size = f.minimum(form.tail_high, absolute(x))
    p, shifted = _normal_tail(size, form, 1 / math.sqrt(2 * math.pi))
    below = _scale(p, shifted, form)
    return (x < 0.0).select(below, 1.0 - below)


# ---------------------------------------------------------------- angles


def _sine(x: Value, quarter: int) -> Value:
    """The sine of x plus `quarter` right angles."""
    form, f = _format(x), x.f
    n, shifted = _whole(x, 2 / math.pi, form)
    r = x
    for part in form.half_pi:
        r = f.fma(n, -part, r)
    turns = shifted.bits(form.integer)
    size = absolute(x)
    huge = (size > form.angle_high) & (size < math.inf)
    r, turns = f.when(huge.any(), lambda: _each_reduced(x, huge, r, turns), (r, turns))
    square = r * r
    sine = f.fma(r * square, _horner(square, form.sin), r)
    # 1 - square / 2 with what its rounding lost.
    head = f.fma(square, -0.5, 1.0)
    cosine = head + f.fma(square * square, _horner(square, form.cos),
                          f.fma(square, -0.5, 1.0 - head))  # fmt: skip
    turns = turns + quarter
    y = (turns & 1).equals(0).select(sine, cosine)
    sign = (turns & 2) << (SIZES[x.element] * 8 - 2)
    y = (y.bits(form.integer) ^ sign).bits(x.element)
    return x.equals(0.0).select(x, y) if quarter == 0 else y


def _each_reduced(x: Value, huge: Value, r: Value, turns: Value) -> list[Value]:
    """r and turns with the huge elements reduced, one after the other."""
    f = x.f

    def step(i: Value, r: Value, turns: Value) -> list[Value]:
        def reduced() -> list[Value]:
            rest, count = _reduce_huge(x.lane(i) if x.lanes > 1 else x)
            if x.lanes == 1:
                return [rest, count]
            return [r.with_lane(i, rest), turns.with_lane(i, count)]

        return f.when(huge.lane(i) if x.lanes > 1 else huge, reduced, (r, turns))

    return f.loop(0, x.lanes, step, init=[r, turns])


def _reduce_huge(x: Value) -> tuple[Value, Value]:
    """(r, n) of one finite number of at least 2^12: x - n pi / 2, and n modulo 4.

    x is a whole number times 2^e. Its product with the bits of 2 / pi that stand for less than 4
    is kept modulo 4 with 126 bits behind the point; no float64 comes nearer to a multiple of pi / 2
    than 2^-61 or so, which leaves enough of them.
    """
    f, element = x.f, x.element
    if element == "float":
        x = x.cast("fpext", "double")
    bits = x.bits("i64")
    exponent = bits.shifted_right(52) & 0x7FF
    whole = (bits & ((1 << 52) - 1)) | (1 << 52)
    table = f.module.constant(f, "two_over_pi", "i64", [_signed(w) for w in (0, *c.TWO_OVER_PI)])
    start = exponent - (1075 + 2 - 64)
    word = start.shifted_right(6)
    words = [table.load(word + i) for i in range(4)]
    shift = start & 63
    high, middle, low = (f.same("llvm.fshl", words[i], words[i + 1], shift) for i in range(3))
    wide = whole.cast("zext", "i128")
    carried = (wide * low.cast("zext", "i128")).shifted_right(64)
    product = wide * middle.cast("zext", "i128") + carried
    product = product + ((wide * high.cast("zext", "i128")) << 64)
    turns = (product + (1 << 125)).shifted_right(126)
    part = product - (turns << 126)
    # The signed fraction, 126 bits long, as a sum of two doubles.
    top = part.shifted_right(64).cast("trunc", "i64")
    head = top.cast("sitofp", "double")
    left = (top - head.cast("fptosi", "i64")).cast("sitofp", "double")
    bottom = (part.cast("trunc", "i64").shifted_right(1)).cast("sitofp", "double")
    left = f.fma(bottom, f.const(2.0**-63, "double"), left)
    pi_high, pi_low, _ = c.HALF_PI_F64
    total = head + left
    rest = (head - total) + left
    made = f.fma(
        total, f.const(pi_high, "double"), f.fma(total, f.const(pi_low, "double"), rest * pi_high)
    )
    made = made * 2.0**-62
    negative = x < 0.0
    made = negative.select(-made, made)
    count = turns.cast("trunc", "i64")
    count = negative.select(-count, count)
    if element == "float":
        return made.cast("fptrunc", "float"), count.cast("trunc", "i32")
    return made, count


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def sin(x: Value) -> Value:
    """Sine."""
    return _sine(x, 0)


def cos(x: Value) -> Value:
    """Cosine."""
    return _sine(x, 1)


# ---------------------------------------------------------------- roots and powers


def sqrt(x: Value) -> Value:
    """Square root, correctly rounded."""
    return x.f.same("llvm.sqrt", x)


def rsqrt(x: Value) -> Value:
    """1 / sqrt(x), rounded twice."""
    return 1.0 / sqrt(x)


def pow(x: Value, y: Value) -> Value:
    """x to the power of y: exp(y log|x|) with more bits than the result has, then the sign."""
    f = x.f
    form = _format(x)
    size = absolute(x)
    near = _pow_single(size, y) if x.element == "float" else _pow_double(size, y)
    whole = f.same("llvm.rint", y).equals(y)
    half = y * 0.5
    odd = whole & f.same("llvm.rint", half).differs(half)
    negative = x.bits(form.integer) < 0
    near = (negative & odd).select(-near, near)
    near = ((x < 0.0) & (size < math.inf) & ~whole).select(f.const(math.nan, x.type), near)
    near = (x.equals(-1.0) & absolute(y).equals(math.inf)).select(f.const(1.0, x.type), near)
    return (x.equals(1.0) | y.equals(0.0)).select(f.const(1.0, x.type), near)


def _pow_single(size: Value, y: Value) -> Value:
    """Through float64: 2^(y log2(size))."""
    f, form = size.f, _FORMATS["double"]
    x, y = size.cast("fpext", "double"), y.cast("fpext", "double")
    e, m = _split_exponent(x, form)
    away = m - 1.0
    s = away / (m + 1.0)
    square = s * s
    log2 = f.fma(s * (1 / math.log(2)), f.fma(square, _horner(square, c.ATANH_WIDE), 2.0), e)
    log2 = x.equals(0.0).select(f.const(-math.inf, x.type), (x < math.inf).select(log2, x))
    exponent = y * log2
    clamped = _clamp(exponent, -200.0, 200.0)
    n, shifted = _whole(clamped, 1.0, form)
    made = _horner(clamped - n, c.EXP2_WIDE) * _power(shifted, form)
    return made.cast("fptrunc", "float")


def _pow_double(size: Value, y: Value) -> Value:
    """exp(y log(size)), the logarithm as a sum of two numbers."""
    f, form = size.f, _FORMATS["double"]
    high, low = _log_pair(size, form)
    p = y * high
    rest = f.fma(y, low, f.fma(y, high, -p))
    rest = (absolute(p) < 760.0).select(rest, 0.0)
    p = _clamp(p, -760.0, 720.0)
    shifted, r, r_low = _reduce_exp(p, form)
    return _scale(_exp_near(r, r_low + rest, form), shifted, form)


def _two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    """a + b and what its rounding lost, for |a| >= |b|."""
    total = a + b
    return total, (a - total) + b


def _log_pair(x: Value, form: _Format) -> tuple[Value, Value]:
    """log(x) as a sum of two numbers, right to some 2^-66 of it.

    log(m) = 2 s + 2/3 s^3 + ..., s = (m - 1) / (m + 1); the first two terms have twice the bits.
    """
    f = x.f
    e, m = _split_exponent(x, form)
    away = m - 1.0
    below = m + 1.0
    below_low = m - (below - 1.0)
    s = away / below
    s_low = f.fma(-s, below_low, f.fma(-s, below, away)) / below
    z = s * s
    z_low = f.fma(s, s, -z) + 2.0 * s * s_low
    cube = z * s
    cube_low = f.fma(z, s, -cube) + f.fma(z, s_low, z_low * s)
    third, third_low = 2 / 3, 3.700743415417188e-17
    term = cube * third
    term_low = f.fma(cube, third, -term) + f.fma(cube, third_low, cube_low * third)
    term_low = f.fma(cube * z, _horner(z, c.ATANH_REST), term_low)
    ln2, ln2_low = form.ln2
    near, near_low = _two_sum(2.0 * s, term)
    near_low = near_low + f.fma(2.0, s_low, term_low)
    whole, whole_low = _two_sum(e * ln2, near)
    large = e.equals(0.0)
    high = large.select(near, whole)
    rest = large.select(near_low, f.fma(e, ln2_low, near_low) + whole_low)
    high, rest = _two_sum(high, rest)
    high = x.equals(0.0).select(f.const(-math.inf, x.type), (x < math.inf).select(high, x))
    return high, rest


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "exp": exp, "exp2": exp2, "expm1": expm1, "log": log, "log2": log2, "log1p": log1p,
    "tanh": tanh, "sigmoid": sigmoid, "silu": silu, "softplus": softplus, "erf": erf, "gelu": gelu,
    "gelu_slope": gelu_slope,
    "sin": sin, "cos": cos, "sqrt": sqrt, "rsqrt": rsqrt, "pow": pow, "absolute": absolute,
}  # fmt: skip
