"""The cells of recurrent layers as kernels see them: what one step does to vectors.

A cell has `gates`, `states` that run along the sequence (h, and c of an LSTM), `saved` values per
unit and step that the derivative needs, and `grads`, the distinct gradients of what its gates add
up: a GRU has four, because the reset gate stands between the two parts of its last gate. The
vectors may hold units or sequences: recurrent_lanes.py has a sequence in each lane, for small
hidden sizes, recurrent_units.py a unit in each lane, for larger ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taper.backends.llvm.coefficients import EXP_F32, EXP_F64, LN2_F32, LN2_F64
from taper.backends.llvm.text import SIZES, Function, Value

Values = Sequence[Value]


@dataclass(frozen=True)
class Cell:
    """One step, forward and backward.

    forward(f, ax, ah, state) has per gate what the input and what the state contribute, and gives
    the new states and what is saved. backward(f, saved, before, after, grads) has the states
    around the step and the gradients of those after it; it gives `moved`, the `grads` gradients of
    what the gates add up, and what reaches each earlier state other than through the gates.
    `of_input` and `of_hidden` say which of `moved` each gate's weights see.
    """

    gates: int
    states: int
    saved: int
    grads: int
    of_input: tuple[int, ...]
    of_hidden: tuple[int, ...]
    forward: Callable[[Function, Values, Values, Values], tuple[list[Value], list[Value]]]
    backward: Callable[[Function, Values, Values, Values, Values], tuple[list[Value], list[Value]]]


# ---------------------------------------------------------------- activations
#
# A step spends most of its time in these. Those of vmath.py make up for roundings, which costs a
# quarter of a layer's time; here sigmoid is within 2.5 units of the last place and tanh within 3.


def _exponential(f: Function, x: Value) -> tuple[Value, Value, Value]:
    """n + magic, n and p with exp(x) = 2^n (1 + p), n whole."""
    single = x.element == "float"
    magic = 1.5 * 2.0 ** (23 if single else 52)  # added, it leaves n in the low bits
    high, low = LN2_F32 if single else LN2_F64
    polynomial = EXP_F32 if single else EXP_F64
    shifted = f.fma(x, 1.4426950408889634, magic)
    n = shifted - magic
    r = f.fma(n, -low, f.fma(n, -high, x))
    p = f.const(polynomial[-1], x.type)
    for c in reversed(polynomial[:-1]):
        p = f.fma(p, r, c)
    return shifted, n, f.fma(r * r, p, r)


def _power(n: Value, like: Value) -> Value:
    """2^n for the whole number in the low bits of each lane, if that is a normal number."""
    bits, bias = (23, 127) if like.element == "float" else (52, 1023)
    return ((n << bits) + (bias << bits)).bits(like.element)


def _scaled(f: Function, x: Value, shifted: Value, n: Value) -> Value:
    """x * 2^n, denormal or not."""
    single = x.element == "float"
    integer, bits = ("i32", 23) if single else ("i64", 52)
    if f.module.machine.target == "avx512" and x.lanes * SIZES[x.element] == 64:
        word, mask = ("ps", "i16") if single else ("pd", "i8")
        return f.intrinsic(
            f"llvm.x86.avx512.mask.scalef.{word}.512", x.type, x, n, x,
            f.const(-1, mask), f.const(4, "i32"),
        )  # fmt: skip
    # Two factors that are normal numbers. The bits of the sum above n are cut off.
    whole = (shifted.bits(integer) << (8 * SIZES[x.element] - bits)) >> (
        8 * SIZES[x.element] - bits
    )
    half = whole >> 1
    return x * _power(half, x) * _power(whole - half, x)


def sigmoid(x: Value) -> Value:
    """1 / (1 + exp(-x)), through exp(-|x|), which never overflows."""
    f = x.f
    least = -104.0 if x.element == "float" else -746.0
    shifted, n, p = _exponential(f, f.maximum(least, -f.same("llvm.fabs", x)))
    e = _scaled(f, p + 1.0, shifted, n)
    return (x < 0.0).select(e, 1.0) / (e + 1.0)


def tanh(x: Value) -> Value:
    """t / (t + 2) with t = exp(2|x|) - 1: exact near zero, without a branch."""
    f = x.f
    most = 9.02 if x.element == "float" else 19.1
    size = f.minimum(most, f.same("llvm.fabs", x))
    shifted, _, p = _exponential(f, size + size)
    power = _power(shifted.bits("i32" if x.element == "float" else "i64"), x)
    t = f.fma(power, p, power - 1.0)
    return f.same("llvm.copysign", t / (t + 2.0), x)


# ---------------------------------------------------------------- the cells


def _gru_forward(
    f: Function, ax: Values, ah: Values, state: Values
) -> tuple[list[Value], list[Value]]:
    r, z = sigmoid(ax[0] + ah[0]), sigmoid(ax[1] + ah[1])
    n = tanh(f.fma(r, ah[2], ax[2]))
    return [f.fma(z, state[0] - n, n)], [r, z, n, ah[2]]


def _gru_backward(
    f: Function, saved: Values, before: Values, after: Values, grads: Values
) -> tuple[list[Value], list[Value]]:
    r, z, n, hidden = saved
    (grad,) = grads
    kept = grad * z
    of_n = (grad - kept) * (1.0 - n * n)
    of_hidden = of_n * r
    of_r = of_hidden * hidden * (1.0 - r)
    of_z = kept * (before[0] - n) * (1.0 - z)
    return [of_r, of_z, of_n, of_hidden], [kept]


def _lstm_forward(
    f: Function, ax: Values, ah: Values, state: Values
) -> tuple[list[Value], list[Value]]:
    i, forget, g, o = (x + h for x, h in zip(ax, ah, strict=True))
    i, forget, g, o = sigmoid(i), sigmoid(forget), tanh(g), sigmoid(o)
    cell = f.fma(forget, state[1], i * g)
    bent = tanh(cell)
    return [o * bent, cell], [i, forget, g, o, bent]


def _lstm_backward(
    f: Function, saved: Values, before: Values, after: Values, grads: Values
) -> tuple[list[Value], list[Value]]:
    i, forget, g, o, bent = saved
    to_cell = f.fma(grads[0] * o, 1.0 - bent * bent, grads[1])
    kept = to_cell * forget
    moved = [
        to_cell * g * i * (1.0 - i),
        kept * before[1] * (1.0 - forget),
        to_cell * i * (1.0 - g * g),
        grads[0] * bent * o * (1.0 - o),
    ]
    return moved, [f.const(0.0, i.type), kept]


def _tanh_forward(
    f: Function, ax: Values, ah: Values, state: Values
) -> tuple[list[Value], list[Value]]:
    return [tanh(ax[0] + ah[0])], []


def _tanh_backward(
    f: Function, saved: Values, before: Values, after: Values, grads: Values
) -> tuple[list[Value], list[Value]]:
    return [grads[0] * (1.0 - after[0] * after[0])], [f.const(0.0, after[0].type)]


def _relu_forward(
    f: Function, ax: Values, ah: Values, state: Values
) -> tuple[list[Value], list[Value]]:
    total = ax[0] + ah[0]
    return [(total < 0.0).select(0.0, total)], []  # this way round, nan stays


def _relu_backward(
    f: Function, saved: Values, before: Values, after: Values, grads: Values
) -> tuple[list[Value], list[Value]]:
    zero = f.const(0.0, after[0].type)
    return [(after[0] > 0.0).select(grads[0], zero)], [zero]


CELLS = {
    "gru": Cell(3, 1, 4, 4, (0, 1, 2), (0, 1, 3), _gru_forward, _gru_backward),
    "lstm": Cell(4, 2, 5, 4, (0, 1, 2, 3), (0, 1, 2, 3), _lstm_forward, _lstm_backward),
    "tanh": Cell(1, 1, 0, 1, (0,), (0,), _tanh_forward, _tanh_backward),
    "relu": Cell(1, 1, 0, 1, (0,), (0,), _relu_forward, _relu_backward),
}
