"""Elementwise functions on arrays: `m.exp(x)`, `m.maximum(0, x)`, and whole formulas as one kernel.

Each looks at the dtype and the size, and calls a kernel or numpy. The sizes from which a kernel pays
were measured by benchmarks/pointwise.py. A kernel needs arrays that numpy itself would walk in order:
all of one layout without gaps, or broadcast together in rows. Others go to numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from taper.backends import reference
from taper.backends.llvm import call, direct, pool
from taper.backends.llvm.direct import Variant
from taper.backends.llvm.functions.fusing import LEAST
from taper.backends.llvm.loaded import kept_library
from taper.backends.llvm.machine import host
from taper.backends.llvm.objects import code_of, dtype_of
from taper.backends.llvm.pointwise import (
    HALVES,
    Pointwise,
    Program,
    Traced,
    Unsupported,
    supported,
    trace,
)

Array = np.ndarray
Kernel = Callable[..., None]

# Elements from which threads pay: some 20 us of work.
PARALLEL = 1 << 16
# Layouts of arrays that broadcast that a formula remembers.
MOST_LAYOUTS = 1024
# Elements of a row below which the loop around the rows costs more than it saves.
LEAST_ROW = 16

_has_calls = call.has_fast_calls()
_math = reference.math
_empty = np.empty
_ndarray = np.ndarray


def kernel_of(spec: Any) -> Kernel:
    """The kernel as a Python function of the pool (or 0), its arguments, and the range's end."""
    library = kept_library(spec)
    if _has_calls:
        return call.builtin(type(spec).__name__, library.addresses["entry"])
    plain = call.through_ctypes(library.addresses["kernel"], spec.kinds)
    return lambda pool, *arguments: plain(*arguments[:-1], 0, arguments[-1])


def threads(elements: int) -> int:
    """The pool for work on so many elements, 0 where one thread is quicker."""
    return pool.address() if elements >= PARALLEL else 0


# ---------------------------------------------------------------- functions of one array


def _function_of_one(name: str, formula: Callable[..., Any]) -> Any:
    """The function `name` of float32 and float64 by a kernel; of the rest numpy's or the reference's.

    By the kernel whatever the size and the strides, so that an element's bits never depend on what
    it is computed together with.
    """
    kernels: dict[np.dtype, Kernel] = {}
    plain: Any = getattr(np, name, None) or getattr(_math, name)

    def prepare(dtype: np.dtype) -> Kernel | None:
        code = dtype.char
        if code not in "fd":
            return None
        made = kernels[dtype] = _flat_kernel(trace(formula, code), code)
        return made

    def function(x: Any, *more: Any, **keywords: Any) -> Any:
        if type(x) is _ndarray and not more and not keywords:
            dtype = x.dtype
            kernel = kernels.get(dtype) or prepare(dtype)
            if kernel is not None:
                if x.flags.c_contiguous:
                    out = _empty(x.shape, dtype)
                elif dense(x):
                    out = np.empty_like(x)
                else:
                    x = np.ascontiguousarray(x)
                    out = np.empty_like(x)
                size = x.size
                kernel(0 if size < PARALLEL else pool.address(), x, out, size)
                return out
        return plain(x, *more, **keywords)

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

    __slots__ = ("_kernels", "_layouts", "codes", "dtypes", "flat", "halves", "least", "light",
                 "numbers", "program")  # fmt: skip

    def __init__(self, program: Program, codes: str, numbers: int) -> None:
        self.program, self.codes, self.numbers = program, codes, numbers
        self.dtypes = [dtype_of(code) for code in program.dtypes]
        self.halves = not set(HALVES).isdisjoint(codes)
        self.least = 0 if self.halves else LEAST  # elements from which it beats numpy
        self.light = False  # a pass that one thread of numpy makes as quickly
        self.flat: Kernel | None = None
        self._kernels: dict[Any, Kernel] = {}
        self._layouts: dict[Any, Any] = {}

    def run(self, arrays: Sequence[Array], numbers: Sequence[float]) -> list[Array] | None:
        """The outputs on arrays that broadcast together; None where it needs numpy."""
        first = arrays[0]
        shape = first.shape
        if not first.flags.c_contiguous:
            return self._run_broadcast(arrays, numbers)
        for x in arrays[1:]:
            if x.shape != shape or not x.flags.c_contiguous:
                return self._run_broadcast(arrays, numbers)
        size = first.size
        if size < self.least or (self.light and not _is_shared(size)):
            return None
        made = [_empty(shape, code) for code in self.dtypes]
        kernel = self.flat
        if kernel is None:
            return self._run_flat(arrays, numbers, made)
        kernel(0 if size < PARALLEL else pool.address(), *arrays, *made, *numbers, size)
        return made

    def _run_flat(
        self, arrays: Sequence[Array], numbers: Sequence[float], made: list[Array]
    ) -> list[Array]:
        kernel = self.flat
        if kernel is None:
            kernel = self.flat = _flat_kernel(self.program, self.codes, self.numbers)
        size = arrays[0].size
        kernel(threads(size), *arrays, *made, *numbers, size)
        return made

    def _run_broadcast(
        self, arrays: Sequence[Array], numbers: Sequence[float]
    ) -> list[Array] | None:
        key = tuple([(x.shape, x.strides) for x in arrays])
        layouts = self._layouts
        layout = layouts.get(key, layouts)
        if layout is layouts:
            if len(layouts) >= MOST_LAYOUTS:
                layouts.clear()
            layout = layouts[key] = self._layout(arrays)
        if layout is None:
            # Of the half types in the kernel's way: computed in float32, and rounded once.
            return self.program.evaluate(arrays, numbers) if self.halves else None
        if layout == "dense":
            made = [np.empty_like(arrays[0], code) for code in self.dtypes]
            return self._run_flat(arrays, numbers, made)
        kernel, shape, rest, size = layout
        made = [_empty(shape, code) for code in self.dtypes]
        kernel(threads(size), *arrays, *made, *numbers, *rest)
        return made

    def _layout(self, arrays: Sequence[Array]) -> Any:
        """The kernel, the result's shape, the last arguments and the size; "dense"; or None."""
        first = arrays[0]
        if dense(first) and all(
            x.shape == first.shape and x.strides == first.strides and x.itemsize == first.itemsize
            for x in arrays
        ):
            return "dense" if first.size >= self.least and not self.light else None
        try:
            shape = np.broadcast_shapes(*[x.shape for x in arrays])
        except ValueError:
            return None
        layout = rows_of(arrays, shape)
        if layout is None:
            return None
        extents, strides, inner = layout
        rows = math.prod(extents)
        if (inner < LEAST_ROW and not self.halves) or inner * rows < self.least:
            return None
        classes = tuple([s[-1] if s[-1] in (0, 1) else "s" for s in strides])
        key = (classes, len(extents))
        kernel = self._kernels.get(key)
        if kernel is None:
            spec = Pointwise(self.program, self.codes, self.numbers, classes, len(extents))
            kernel = self._kernels[key] = kernel_of(spec)
        if not extents:
            return kernel, shape, (inner,), inner
        geometry = np.array([*extents, *(n for own in strides for n in own)], np.int64)
        return kernel, shape, (geometry, inner, rows), inner * rows


def _kinds(operands: tuple[Any, ...]) -> str | None:
    """A letter for each operand: an array's dtype, "w" for a number, "n" for None."""
    kinds = ""
    for x in operands:
        if type(x) is _ndarray:
            code = code_of(x.dtype)
            if code is None:
                return None
            kinds += code
        elif type(x) is float or type(x) is int:
            kinds += "w"
        elif x is None:
            kinds += "n"
        else:
            return None
    return kinds if supported(host(), kinds) else None


def _formula(formula: Callable[..., Any], kinds: str, attrs: dict[str, Any]) -> Formula | None:
    """What a formula does with operands of these kinds; None if a kernel cannot do it."""
    try:
        program = trace(formula, kinds, **attrs)
    except Exception:  # whatever it is: numpy will do it, or say what is wrong
        return None
    arrays = kinds.replace("w", "").replace("n", "")
    return Formula(program, arrays, kinds.count("w")) if arrays else None


def _split(operands: tuple[Any, ...]) -> tuple[list[Array], list[float]]:
    arrays, numbers = [], []
    for x in operands:
        if type(x) is _ndarray:
            arrays.append(x)
        elif x is not None:
            numbers.append(float(x))
    return arrays, numbers


_formulas: dict[Any, Formula | None] = {}


def fused(formula: Callable[..., Any], *operands: Any, **attrs: Any) -> Any:
    """`formula(m, *operands, **attrs)` by one kernel; None where it needs numpy.

    Operands are arrays and Python numbers. The result is an array, or a tuple if the formula's is.
    """
    kinds = _kinds(operands)
    if kinds is None:
        return None
    key = (formula, kinds, *attrs.items()) if attrs else (formula, kinds)
    found = _formulas.get(key, _formulas)
    if found is _formulas:
        found = _formulas[key] = _formula(formula, kinds, attrs)
    if found is None:
        return None
    made = found.run(*_split(operands))  # type: ignore[union-attr]
    return made if made is None else made[0] if len(made) == 1 else tuple(made)


def evaluate(formula: Callable[..., Any], *operands: Any) -> Any:
    """`formula(m, *operands)`, by one kernel where there is one."""
    made = fused(formula, *operands)
    return formula(_math, *operands) if made is None else made


class Way:
    """What an op does with operands of some dtypes: by a kernel, or not if `formula` is None."""

    __slots__ = ("arrays", "derivative", "formula", "halves", "numbers", "traced")

    def __init__(
        self, body: Callable[..., Any], operands: Any, attrs: Any, derivative: bool
    ) -> None:
        places = range(len(operands))
        self.arrays: Any = [i for i in places if type(operands[i]) is _ndarray]
        self.numbers: Any = [i for i in places if type(operands[i]) in (int, float)]
        if len(self.arrays) == len(operands):
            self.arrays = None  # all of them
        self.formula: Formula | None = None
        self.derivative: _Derivative | None = None
        self.halves = self.traced = False
        kinds = _kinds(operands)
        if kinds is None:
            return
        self.halves = not set(HALVES).isdisjoint(kinds)
        if derivative:
            self.derivative = _Derivative(body, kinds, attrs)
            self.formula = self.derivative.formula
            self.traced = self.derivative.program is not None
        else:
            found = _formula(body, kinds, attrs)
            self.formula, self.traced = _worthwhile(found), found is not None

    def run(self, operands: Any) -> list[Array] | None:
        """The kernel's outputs; None where it needs numpy."""
        if self.arrays is None:
            return self.formula.run(operands, ())  # type: ignore[union-attr]
        return self.formula.run(  # type: ignore[union-attr]
            [operands[i] for i in self.arrays], [float(operands[i]) for i in self.numbers]
        )

    def quick(self, vjp: Callable[..., Any], operands: Any, attrs: dict[str, Any]) -> Any:
        """A built-in of the derivative for small arrays, and what arranges its results; or None."""
        kinds = _kinds(operands)
        if kinds is None or kinds[0] not in "fdeE" or any(code in "il?" for code in kinds):
            return None
        variants = []
        for code in "fd" if kinds[0] in "fd" else kinds[0]:
            own = kinds.replace("f", code).replace("d", code)
            derivative = _Derivative(vjp, own, attrs)
            if derivative.program is not None:
                variants.append(Variant(derivative.program, own))
        made = direct.of_variants(tuple(variants))
        return None if made is None else (made, derivative.arranged())


# Steps that are one function to a kernel and several to numpy.
_SEVERAL = frozenset(("gelu", "silu", "softplus", "rsqrt"))
# Those that numpy computes as fast as memory gives the elements, where nothing broadcasts.
_LIGHT = frozenset(("add", "subtract", "multiply", "divide", "negative", "absolute"))
LEAST_SHARED = 1 << 19
# Single functions that take numpy 2 to 20 times the kernel's time: it has no vectors for them, or
# branches that the processor cannot foresee. Up to LEAST_SINGLE elements its shorter call wins.
_SLOW = frozenset(("where", "maximum", "minimum", "sign", "sqrt"))
LEAST_SINGLE = 2048


def _worthwhile(found: Formula | None) -> Formula | None:
    """The formula if it takes numpy several passes, or a slow one."""
    if found is None:
        return None
    names = [step[0] for step in found.program.steps]
    count = sum(name not in ("input", "number", "constant", "astype") for name in names)
    if count > 1 or not _SEVERAL.isdisjoint(names) or found.halves:
        return found
    if not _LIGHT.isdisjoint(names):
        found.light = True
        return found
    found.least = LEAST_SINGLE
    return None if _SLOW.isdisjoint(names) else found


def _is_shared(size: int) -> bool:
    """Whether several threads share the work of one light pass."""
    return size >= LEAST_SHARED and pool.current().threads > 1


class _Derivative:
    """A derivative's formula, and where its results stand among the gradients of the inputs."""

    __slots__ = ("formula", "places", "program", "single")

    def __init__(self, vjp: Callable[..., Any], kinds: str, attrs: dict[str, Any]) -> None:
        self.places: list[int] = []  # of the next result (>= 0), the gradient itself, or none
        self.single = False

        def computed(m: Any, *operands: Any) -> Any:
            made = vjp(m, *operands, **attrs)
            self.single = not isinstance(made, tuple)
            results: list[Any] = []
            for x in (made,) if self.single else made:
                if x is None:
                    self.places.append(_NONE)
                elif isinstance(x, Traced) and x.number == operands[0].number:
                    self.places.append(_GRAD)
                else:
                    self.places.append(len(results))
                    results.append(x)
            if not results:
                raise Unsupported("nothing to compute")
            return tuple(results)

        found = _formula(computed, kinds, {})
        if found is not None and any(code != kinds[0] for code in found.program.dtypes):
            found = None
        self.program: Program | None = None if found is None else found.program
        self.formula = _worthwhile(found)

    def gradients(self, grad: Array, made: list[Array]) -> Any:
        """The gradients of all inputs."""
        if self.single:
            return made[0]
        return tuple([None if p == _NONE else grad if p == _GRAD else made[p] for p in self.places])

    def arranged(self) -> Callable[[Array, Any], Any]:
        """`gradients` of what a built-in gives, an array or a tuple of several."""
        if self.single or self.places == [0, 1]:
            return lambda grad, made: made
        if sum(p >= 0 for p in self.places) == 1:
            return lambda grad, made: self.gradients(grad, [made])
        return self.gradients


_NONE, _GRAD = -1, -2


def rows_of(
    arrays: Sequence[Array], shape: tuple[int, ...]
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
