"""Casts between float32 and the half types, where numpy goes number by number.

The rounding is numpy's and ml_dtypes': to the nearest, of two the even one; too large is infinite,
denormals are kept. nan stays nan: as float16 with its leading bits, as bfloat16 with its sign alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taper.backends.llvm import call
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.text import Function, Module, Value

Array = np.ndarray


# Vectors that are converted in one turn of the loop.
_UNROLLED = 4


def _to_bfloat(f: Function, x: Value) -> Value:
    """The upper 16 bits, rounded, as i16. The processor's own instruction has no denormals."""
    bits = x.bits("i32")
    odd = bits.shifted_right(16) & 1
    rounded = (bits + 0x7FFF + odd).shifted_right(16)
    silent = (bits.shifted_right(16) & 0x8000) | 0x7FC0
    return x.differs(x).select(silent, rounded).cast("trunc", "i16")


def _to_half(f: Function, x: Value) -> Value:
    return x.cast("fptrunc", "half").bits("i16")


def _from_half(f: Function, x: Value) -> Value:
    return x.bits("half").cast("fpext", "float")


def _from_bfloat(f: Function, x: Value) -> Value:
    return (x.cast("zext", "i32") << 16).bits("float")


FORMULAS = {
    ("float", "half"): _to_half,
    ("float", "bfloat"): _to_bfloat,
    ("half", "float"): _from_half,
    ("bfloat", "float"): _from_bfloat,
}


def is_native(machine: Machine) -> bool:
    """Whether the processor converts float16 itself."""
    return machine.target == "neon" or "+f16c" in machine.features.split(",")


@dataclass(frozen=True)
class Cast:
    """out[i] = x[i] in another type for i in [begin, end): "float" to "half" or "bfloat", or back.

    kernel(x, out, begin, end)
    """

    source: str
    target: str
    exports = ("kernel", "entry")
    kinds = ("array", "array", "int", "int")

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = module.function("kernel", x="ptr", out="ptr", begin="i64", end="i64")
        formula, lanes = FORMULAS[self.source, self.target], module.lanes("float")
        x = f.pointer("x", "float" if self.source == "float" else "i16")
        out = f.pointer("out", "float" if self.target == "float" else "i16")
        begin, end = f.arg("begin"), f.arg("end")
        turn = _UNROLLED * lanes
        whole = begin + (end - begin) // turn * turn

        def vectors(i: Value) -> None:
            for part in range(_UNROLLED):
                place = i + part * lanes
                out.store(formula(f, x.load(place, lanes)), place)

        f.loop(begin, whole, vectors, turn)
        # Number by number at the end: not every processor has masks for elements of two bytes.
        f.loop(whole, end, lambda i: out.store(formula(f, x.load(i)), i))
        f.ret()
        call.write_entry(module, "entry", f, self.kinds)

    def interpret(self, x: Array, out: Array) -> None:
        """The meaning; `out` has the wanted dtype."""
        out[...] = x.astype(out.dtype)
