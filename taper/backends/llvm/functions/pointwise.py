"""Elementwise functions on arrays: `m.exp(x)`, `m.maximum(0, x)`, and whole formulas as one kernel.

Each looks at the dtype and the size, and calls a kernel or numpy. The sizes from which a kernel pays
were measured by benchmarks/pointwise.py. A kernel needs arrays that numpy itself would walk in order:
all of one layout without gaps, or broadcast together in rows. Others go to numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import reference
from taper.backends.llvm import build, call, pool
from taper.backends.llvm.pointwise import (
    DTYPES,
    Pointwise,
    Program,
    Unsupported,
    trace,
)

Array = np.ndarray
Kernel = Callable[..., None]

# Elements from which a kernel beats numpy. exp and log of numpy are vectorised with AVX-512 only.
LEAST = 64
# Elements from which threads pay: some 20 us of work.
PARALLEL = 1 << 16
# Elements of a row below which the loop around the rows costs more than it saves.
LEAST_ROW = 16

_has_calls = call.has_fast_calls()
_math = reference.math
_empty = np.empty
_ndarray = np.ndarray


def kernel_of(spec: Any) -> Kernel:
    """The kernel as a Python function of the pool (or 0), its arguments, and the range's end."""
    library = build.library(spec)
    _kept.append(library)
    if _has_calls:
        return call.builtin(type(spec).__name__, library.addresses["entry"])
    plain = call.through_ctypes(library.addresses["kernel"], spec.kinds)
    return lambda pool, *arguments: plain(*arguments[:-1], 0, arguments[-1])


def threads(elements: int) -> int:
    """The pool for work on so many elements, 0 where one thread is quicker."""
    return pool.address() if elements >= PARALLEL else 0


_kept: list[Any] = []  # the code must outlive its callers


# ---------------------------------------------------------------- functions of one array


def _function_of_one(name: str, formula: Callable[..., Any], least: int = LEAST) -> Any:
    """numpy's or the reference's function `name`, by a kernel where that pays."""
    kernels: dict[Any, Kernel] = {}
    codes = {np.dtype(np.float32): "f", np.dtype(np.float64): "d"}

    def function(x: Any, *more: Any, **keywords: Any) -> Any:
        if type(x) is _ndarray and x.size >= least and not more and not keywords:
            dtype = x.dtype
            kernel = kernels.get(dtype)
            if kernel is None and dtype in codes:
                kernel = _flat_kernel(trace(formula, codes[dtype]), codes[dtype])
                kernels[dtype] = kernel
            if kernel is not None:
                if x.flags.c_contiguous:
                    out = _empty(x.shape, dtype)
                    kernel(threads(x.size), x, out, x.size)
                    return out
                if dense(x):
                    out = np.empty_like(x)
                    kernel(threads(x.size), x, out, x.size)
                    return out
        return getattr(_math, name)(x, *more, **keywords)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"`{name}` of every element."
    return function


def _flat_kernel(program: Program, codes: str, numbers: int = 0) -> Kernel:
    return kernel_of(Pointwise(program, codes, numbers, (1,) * len(codes)))


def dense(x: Array) -> bool:
    """Whether the elements fill their memory, in whatever order of dimensions."""
    step = x.itemsize
    for stride, extent in sorted(zip(x.strides, x.shape, strict=True)):
        if extent != 1:
            if stride != step:
                return False
            step *= extent
    return True


exp = _function_of_one("exp", lambda m, x: m.exp(x))
exp2 = _function_of_one("exp2", lambda m, x: m.exp2(x))
expm1 = _function_of_one("expm1", lambda m, x: m.expm1(x))
log = _function_of_one("log", lambda m, x: m.log(x))
log2 = _function_of_one("log2", lambda m, x: m.log2(x))
log1p = _function_of_one("log1p", lambda m, x: m.log1p(x))
tanh = _function_of_one("tanh", lambda m, x: m.tanh(x))
sigmoid = _function_of_one("sigmoid", lambda m, x: m.sigmoid(x))
erf = _function_of_one("erf", lambda m, x: m.erf(x))
sin = _function_of_one("sin", lambda m, x: m.sin(x))
cos = _function_of_one("cos", lambda m, x: m.cos(x))


# ---------------------------------------------------------------- whole formulas


class Formula:
    """A program and its kernels for each layout of its arrays."""

    __slots__ = ("_kernels", "codes", "dtypes", "flat", "numbers", "program")

    def __init__(self, program: Program, codes: str, numbers: int) -> None:
        self.program, self.codes, self.numbers = program, codes, numbers
        self.dtypes = program.dtypes
        self.flat: Kernel | None = None
        self._kernels: dict[Any, Kernel] = {}

    def run(self, arrays: list[Array], numbers: list[float]) -> tuple[Array, ...] | None:
        """The outputs on arrays that broadcast together; None where it needs numpy."""
        first = arrays[0]
        shape = first.shape
        if not first.flags.c_contiguous:
            return self._run_broadcast(arrays, numbers)
        for x in arrays[1:]:
            if x.shape != shape or not x.flags.c_contiguous:
                return self._run_broadcast(arrays, numbers)
        if first.size < LEAST:
            return None
        return self._run_flat(arrays, numbers, [_empty(shape, code) for code in self.dtypes])

    def _run_flat(
        self, arrays: list[Array], numbers: list[float], made: list[Array]
    ) -> tuple[Array, ...]:
        kernel = self.flat
        if kernel is None:
            kernel = self.flat = _flat_kernel(self.program, self.codes, self.numbers)
        size = arrays[0].size
        kernel(threads(size), *arrays, *made, *numbers, size)
        return tuple(made)

    def _run_broadcast(self, arrays: list[Array], numbers: list[float]) -> tuple[Array, ...] | None:
        first = arrays[0]
        if dense(first) and all(
            x.shape == first.shape and x.strides == first.strides and x.itemsize == first.itemsize
            for x in arrays
        ):
            if first.size < LEAST:
                return None
            made = [np.empty_like(first, code) for code in self.dtypes]
            return self._run_flat(arrays, numbers, made)
        try:
            shape = np.broadcast_shapes(*[x.shape for x in arrays])
        except ValueError:
            return None
        layout = rows_of(arrays, shape)
        if layout is None:
            return None
        extents, strides, inner = layout
        rows = math.prod(extents)
        if inner < LEAST_ROW or inner * rows < LEAST:
            return None
        classes = tuple([s[-1] if s[-1] in (0, 1) else "s" for s in strides])
        key = (classes, len(extents))
        kernel = self._kernels.get(key)
        if kernel is None:
            spec = Pointwise(self.program, self.codes, self.numbers, classes, len(extents))
            kernel = self._kernels[key] = kernel_of(spec)
        made = [_empty(shape, code) for code in self.dtypes]
        if extents:
            geometry = np.array([*extents, *(n for own in strides for n in own)], np.int64)
            kernel(threads(inner * rows), *arrays, *made, *numbers, geometry, inner, rows)
        else:
            kernel(threads(inner), *arrays, *made, *numbers, inner)
        return tuple(made)


_formulas: dict[Any, Formula | None] = {}


def formula_of(formula: Callable[..., Any], kinds: str, attrs: dict[str, Any]) -> Formula | None:
    """What a formula does with operands of these kinds; None if a kernel cannot do it."""
    key = (formula, kinds, *sorted(attrs.items())) if attrs else (formula, kinds)
    try:
        return _formulas[key]
    except KeyError:
        pass
    except TypeError:  # an attribute that cannot be a key
        return None
    try:
        program = trace(formula, kinds, **attrs)
        found: Formula | None = Formula(program, kinds.replace("w", ""), kinds.count("w"))
    except (Unsupported, TypeError, AttributeError, ValueError):
        found = None
    _formulas[key] = found
    return found


def fused(formula: Callable[..., Any], *operands: Any, **attrs: Any) -> Any:
    """`formula(m, *operands, **attrs)` by one kernel; None where it needs numpy.

    Operands are arrays and Python numbers. The result is an array, or a tuple if the formula's is.
    """
    arrays: list[Array] = []
    numbers: list[float] = []
    kinds = ""
    for x in operands:
        if type(x) is _ndarray:
            code = x.dtype.char
            if code not in DTYPES:
                return None
            kinds += code
            arrays.append(x)
        elif type(x) is float or type(x) is int:
            kinds += "w"
            numbers.append(float(x))
        else:
            return None
    found = formula_of(formula, kinds, attrs)
    if found is None or not arrays:
        return None
    made = found.run(arrays, numbers)
    return made[0] if made is not None and len(made) == 1 else made


def rows_of(
    arrays: list[Array], shape: tuple[int, ...]
) -> tuple[list[int], list[list[int]], int] | None:
    """(outer extents, strides of each array in elements, inner extent), dimensions merged.

    None if the result would not be laid out in the order of its dimensions.
    """
    strides: list[list[int]] = []
    for x in arrays:
        own = [0] * (len(shape) - x.ndim)
        for stride, extent in zip(x.strides, x.shape, strict=True):
            if stride < 0 or stride % x.itemsize:
                return None
            own.append(0 if extent == 1 else stride // x.itemsize)
        counted = [s for s in own if s]
        if counted != sorted(counted, reverse=True):
            return None
        strides.append(own)
    extents: list[int] = []
    merged: list[list[int]] = [[] for _ in arrays]
    for d, extent in enumerate(shape):
        if extent == 1:
            continue
        joins = extents and all(
            have[-1] == own[d] * extent for have, own in zip(merged, strides, strict=True)
        )
        if joins:
            extents[-1] *= extent
            for have, own in zip(merged, strides, strict=True):
                have[-1] = own[d]
        else:
            extents.append(extent)
            for have, own in zip(merged, strides, strict=True):
                have.append(own[d])
    if not extents:
        return [], [[0] for _ in arrays], 1
    inner = extents.pop()
    if not extents and any(own[-1] not in (0, 1) for own in merged):
        extents.insert(0, 1)
        for own in merged:
            own.insert(0, 0)
    return extents, merged, inner


PUBLISHED = ("exp", "exp2", "expm1", "log", "log2", "log1p", "tanh", "sigmoid", "erf", "sin", "cos",
             "fused")  # fmt: skip
