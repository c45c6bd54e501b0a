"""A formula as one kernel: traced once, then one loop over all elements.

`trace` calls a function with stand-ins for its arrays and writes down what it does with them, as a
Program:

    program := steps, outputs                  outputs are numbers of steps
    step    := ("input", dtype, i)             array i
             | ("number", "w", j)              number j, given at run time
             | ("constant", dtype, value)
             | (operation, dtype, step, ...)   numpy's name, the result's dtype, earlier steps

    dtype   := "f" | "d" | "i" | "l" | "?"     numpy's letters: float32, float64, int32, int64, bool
             | "e" | "E"                       float16, bfloat16: of inputs and outputs only
             | "w"                             a Python number, which adapts to the array it meets

The stand-ins promote dtypes as numpy does. What the tracer does not know raises Unsupported, and the
caller stays with numpy.

A formula of float16 or bfloat16 is computed in float32 and rounded once, at its end.

`Pointwise` is the kernel of a program for arrays of one layout; `interpret` is its meaning. Of +, -,
*, /, sqrt, min, max, comparisons and where the kernel gives numpy's bits: nothing is contracted or
reassociated. Elementary functions are those of vmath.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends import reference
from taper.backends.llvm import cast, vmath
from taper.backends.llvm.machine import Machine
from taper.backends.llvm.objects import dtype_of
from taper.backends.llvm.pool import write_parallel_entry
from taper.backends.llvm.text import Function, Module, Pointer, Value

Step = tuple[Any, ...]

_ELEMENTS = {"f": "float", "d": "double", "i": "i32", "l": "i64", "?": "i1"}
_BYTES = {"f": 4, "d": 8, "i": 4, "l": 8, "?": 1, "e": 2, "E": 2}
DTYPES = frozenset(_ELEMENTS)
_FLOATS = "fd"
HALVES = "eE"
_HALF_WORDS = {"e": "half", "E": "bfloat"}  # of cast.py
_ROUNDED = {"round_half": "e", "round_bfloat": "E"}  # steps: a float32 with a half type's precision


# Elements that a thread takes at least.
GRAIN = 1 << 14


class Unsupported(Exception):
    """The formula does something that a kernel cannot: the caller lets numpy do it."""


@dataclass(frozen=True)
class Program:
    """What a formula does, one step after another."""

    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The outputs' dtypes."""
        return tuple(self.steps[o][1] for o in self.outputs)

    def evaluate(self, arrays: Sequence[Any], numbers: Sequence[float] = ()) -> list[Any]:
        """The outputs by numpy."""
        found: list[Any] = []
        token = reference.silence()
        try:
            for name, dtype, *rest in self.steps:
                if name == "input":
                    found.append(np.asarray(arrays[rest[0]]))
                elif name == "number":
                    found.append(float(numbers[rest[0]]))
                elif name == "constant":
                    found.append(rest[0] if dtype == "w" else np.dtype(dtype).type(rest[0]))
                elif name == "astype":
                    found.append(np.asarray(found[rest[0]]).astype(dtype_of(dtype)))
                elif name in _ROUNDED:
                    half = np.asarray(found[rest[0]], "f").astype(dtype_of(_ROUNDED[name]))
                    found.append(half.astype(dtype))
                else:
                    given = [found[i] for i in rest]
                    if dtype == "w":
                        given = [float(g) for g in given]
                    made = getattr(_numpy, name)(*given)
                    found.append(float(made) if dtype == "w" else made)
        finally:
            reference.restore(token)
        return [np.asarray(found[o]) for o in self.outputs]


class _Numpy:
    """numpy and the reference backend under the names of the steps."""

    def __getattr__(self, name: str) -> Any:
        return getattr(reference.math, name)

    def softplus(self, x: Any) -> Any:
        return np.logaddexp(x, x.dtype.type(0))

    def silu(self, x: Any) -> Any:
        return x * reference.math.sigmoid(x)

    def rsqrt(self, x: Any) -> Any:
        return 1 / np.sqrt(x)

    def gelu(self, x: Any) -> Any:
        return x * reference.math.ndtr(x)

    def gelu_slope(self, x: Any) -> Any:
        x = np.clip(x, -40, 40)
        return reference.math.ndtr(x) + x * np.exp(x * x * -0.5) * (0.5 / np.pi) ** 0.5


_numpy = _Numpy()


# ---------------------------------------------------------------- tracing


class Traced:
    """Stands for an array in a formula that is traced."""

    __slots__ = ("code", "number", "trace")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, trace: Trace, number: int, code: str) -> None:
        self.trace, self.number, self.code = trace, number, code

    @property
    def dtype(self) -> np.dtype:
        """numpy's dtype."""
        return np.dtype("d" if self.code == "w" else self.code)

    def astype(self, dtype: Any, copy: bool = True) -> Traced:
        """Cast."""
        return self.trace.astype(self, dtype)

    def __bool__(self) -> bool:
        raise Unsupported(
            "the truth of an array's elements is not known when its formula is traced"
        )

    def __iter__(self) -> Any:
        raise Unsupported("a formula sees elements, not rows")

    def __array__(self, *args: Any, **keywords: Any) -> Any:
        raise Unsupported("the elements are not known when the formula is traced")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        if method != "__call__" or keywords:
            raise Unsupported(f"numpy.{ufunc.__name__} by way of {method}")
        return self.trace.apply(ufunc.__name__, *inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any:
        if keywords:
            raise Unsupported(f"numpy.{function.__name__} with keywords")
        return getattr(self.trace, function.__name__)(*args)


def _operator(name: str, swapped: bool = False) -> Any:
    if swapped:
        return lambda self, other: self.trace.apply(name, other, self)
    return lambda self, other: self.trace.apply(name, self, other)


for _word, _name in {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide",
                     "pow": "power", "and": "bitwise_and", "or": "bitwise_or"}.items():  # fmt: skip
    setattr(Traced, f"__{_word}__", _operator(_name))
    setattr(Traced, f"__r{_word}__", _operator(_name, True))
for _word, _name in {"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
                     "eq": "equal", "ne": "not_equal"}.items():  # fmt: skip
    setattr(Traced, f"__{_word}__", _operator(_name))
for _word, _name in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(Traced, f"__{_word}__", lambda self, name=_name: self.trace.apply(name, self))

_ARITHMETIC = (
    "add",
    "subtract",
    "multiply",
    "maximum",
    "minimum",
    "negative",
    "absolute",
    "square",
)
_COMPARISONS = {"less": ("olt", "slt"), "less_equal": ("ole", "sle"), "greater": ("ogt", "sgt"),
                "greater_equal": ("oge", "sge"), "equal": ("oeq", "eq"),
                "not_equal": ("une", "ne")}  # fmt: skip
_LOGIC = ("logical_and", "logical_or", "logical_not")
_TESTS = ("isnan", "isinf", "isfinite", "signbit")
_ROUNDING = {"floor": "floor", "ceil": "ceil", "trunc": "trunc", "rint": "rint"}
_VMATH = {**{name: name for name in vmath.FUNCTIONS if name not in ("pow", "absolute")},
          "power": "pow"}  # fmt: skip
_FLOATING = ("divide", "reciprocal", "copysign", "sign", *_ROUNDING, *_VMATH)
_ALIASES = {"abs": "absolute", "true_divide": "divide", "pow": "power", "fabs": "absolute"}
# Of bools these are the logical ones; of integers they have no kernel.
_BITWISE = {"bitwise_and": "logical_and", "bitwise_or": "logical_or", "invert": "logical_not",
            "bitwise_not": "logical_not"}  # fmt: skip
_ARGUMENTS = {"negative": 1, "absolute": 1, "square": 1, "reciprocal": 1, "sign": 1,
              "logical_not": 1, "power": 2}  # fmt: skip


class Trace:
    """The namespace `m` that writes down what a formula does."""

    on_arrays = False

    def __init__(self, half: str = "") -> None:
        self.half = half  # the half type that is computed in float32, if one is
        self.steps: list[Step] = []
        self._known: dict[Step, int] = {}

    def add_step(self, name: str, code: str, *rest: Any) -> Traced:
        """The step's result; a step that was made before is not made again."""
        step = (name, code, *rest)
        # 0.0 equals -0.0 and 1 equals True, so constants are told apart by how they are written.
        key = (*step[:2], repr(rest[0])) if name == "constant" else step
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self.steps)
            self.steps.append(step)
        return Traced(self, number, code)

    def lift(self, x: Any) -> Traced:
        """A value of the formula as a step."""
        if isinstance(x, Traced):
            return x
        if type(x) in (int, float):
            return self.add_step("constant", "w", float(x))
        if type(x) is bool or type(x) is np.bool_:
            return self.add_step("constant", "?", bool(x))
        if isinstance(x, (np.generic, np.ndarray)) and x.ndim == 0 and x.dtype.char in DTYPES:
            return self.add_step("constant", x.dtype.char, x.item())
        raise Unsupported(f"{type(x).__name__} in a formula")

    def _common(self, operands: Sequence[Traced]) -> str:
        codes = {o.code for o in operands if o.code != "w"}
        if not codes:
            return "w"
        if len(codes) == 1:
            return codes.pop()
        return np.result_type(*codes).char.replace("q", "l")

    def cast(self, x: Traced, code: str) -> Traced:
        """x with another dtype; a Python number takes any."""
        if x.code == code:
            return x
        step = self.steps[x.number]
        if step[0] == "constant" and x.code == "w":
            value: Any = step[2]
            if code in "il":
                if value != int(value):
                    raise Unsupported("a fraction among integers")
                value = int(value)
            return self.add_step("constant", code, value)
        if x.code == "w" and code in HALVES:
            x = self.cast(x, "f")
        if x.code == "w" and code not in _FLOATS:
            raise Unsupported("a number that is known at run time only, among integers")
        if x.code in _FLOATS and code in "il":
            raise Unsupported("a cast of floats to integers")
        return self.add_step("astype", code, x.number)

    def _rounded(self, x: Traced, kinds: tuple[str, ...]) -> Traced:
        """A Python number with the precision of the half type it meets."""
        if self.half and x.code == "w" and self.steps[x.number][0] in kinds:
            word = f"round_{_HALF_WORDS[self.half]}"
            return self.add_step(word, "f", self.cast(x, "f").number)
        return x

    def apply(self, name: str, *operands: Any) -> Traced:
        """The step of a numpy function."""
        name = _ALIASES.get(name, name)
        given = [self.lift(x) for x in operands]
        if name in _BITWISE:
            if any(x.code != "?" for x in given):
                raise Unsupported(f"{name} of numbers")
            name = _BITWISE[name]
        common = self._common(given)
        wanted = _ARGUMENTS.get(name, 1 if name in (*_VMATH, *_ROUNDING, *_TESTS) else 2)
        if len(given) != wanted:
            raise Unsupported(f"{name} of {len(given)} operands")
        if name in _LOGIC:
            made = [
                self.cast(x, "?") if x.code == "?" else self.apply("not_equal", x, 0) for x in given
            ]
            return self.add_step(name, "?", *(x.number for x in made))
        if name in _COMPARISONS or name in _TESTS:
            if common in "w?" or (name in _TESTS and common not in _FLOATS):
                raise Unsupported(f"{name} of {common}")
            given = [self._rounded(x, ("number", "constant")) for x in given]
            return self.add_step(name, "?", *(self.cast(x, common).number for x in given))
        if common == "?":
            raise Unsupported(f"{name} of bools")
        if any(x.code == "?" for x in given):
            given = [self.cast(x, common) for x in given]
        if name in _FLOATING:
            if common in "il":
                if name != "divide":
                    raise Unsupported(f"{name} of integers")
                common = "d"
            if common == "w" and name not in ("divide", "sqrt"):
                raise Unsupported(f"{name} of numbers")
        elif name not in _ARITHMETIC:
            raise Unsupported(name)
        if name in ("add", "subtract"):  # products and quotients take a number as it is
            given = [self._rounded(x, ("number",)) for x in given]
        if name == "square":
            return self.apply("multiply", given[0], given[0])
        if name == "reciprocal":
            return self.apply("divide", 1.0, given[0])
        return self.add_step(name, common, *(self.cast(x, common).number for x in given))

    def __getattr__(self, name: str) -> Callable[..., Traced]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *operands: self.apply(name, *operands)

    def astype(self, x: Any, dtype: Any) -> Traced:
        """Cast to a dtype."""
        code = np.dtype(dtype).char.replace("q", "l")
        if code not in DTYPES:
            raise Unsupported(f"a cast to {dtype}")
        x = self.lift(x)
        if code == "?" and x.code != "?":
            return self.apply("not_equal", x, 0)
        return self.cast(x, code)

    def asarray(self, x: Any) -> Traced:
        """The same."""
        return self.lift(x)

    def where(self, condition: Any, x: Any, y: Any) -> Traced:
        """x where the condition holds, else y."""
        condition, x, y = self.lift(condition), self.lift(x), self.lift(y)
        if condition.code != "?":
            condition = self.apply("not_equal", condition, 0)
        common = self._common((x, y))
        if common == "w":
            common = "d"
        return self.add_step("where", common, condition.number, self.cast(x, common).number,
                             self.cast(y, common).number)  # fmt: skip

    def clip(self, x: Any, low: Any, high: Any) -> Traced:
        """x within bounds."""
        return self.apply("minimum", self.apply("maximum", x, low), high)

    def zeros_like(self, x: Traced) -> Traced:
        """Zeros."""
        return self.add_step("constant", x.code, 0)

    def ones_like(self, x: Traced) -> Traced:
        """Ones."""
        return self.add_step("constant", x.code, 1)

    def call(self, op: Any, *inputs: Any, **attrs: Any) -> Any:
        """Another op's formula, if each element is computed by itself."""
        if not getattr(op, "elements", False):
            raise Unsupported(f"{op.name} in a formula")
        return (op.formula if op.elementwise else op.forward)(self, *inputs, **attrs)

    def kept(self, x: Any, mask: Any) -> Traced:
        """x where the mask is true, else 0."""
        return self.where(mask, x, 0)

    def either(self, mask: Any, x: Any, y: Any) -> Traced:
        """x where the mask is true, else y."""
        return self.where(mask, x, y)

    def program(self, made: Any) -> Program:
        """The finished program; steps that no output needs are left out."""
        outputs = [self.lift(x) for x in (made if isinstance(made, tuple) else (made,))]
        outputs = [self.cast(x, "d") if x.code == "w" else x for x in outputs]
        needed = {o.number for o in outputs}
        for number in range(len(self.steps) - 1, -1, -1):
            if number in needed and self.steps[number][0] not in ("input", "number", "constant"):
                needed.update(self.steps[number][2:])
        places = {old: new for new, old in enumerate(sorted(needed))}
        steps = []
        for old in places:
            name, code, *rest = self.steps[old]
            if name not in ("input", "number", "constant"):
                rest = [places[r] for r in rest]
            steps.append((name, code, *rest))
        return Program(tuple(steps), tuple(places[o.number] for o in outputs))


def trace(function: Callable[..., Any], kinds: str, **attrs: Any) -> Program:
    """What `function(m, *operands, **attrs)` does with operands of these kinds: dtypes, "w", "n" (None).

    The function sees float32 in the place of a half type, and its float32 results become of that.

    Raises: Unsupported.
    """
    floats = {kind for kind in kinds if kind in HALVES + _FLOATS}
    half = "".join(floats.intersection(HALVES))
    if half and len(floats) > 1:
        raise Unsupported("several floating dtypes, one of them of two bytes")
    m = Trace(half)
    operands: list[Traced | None] = []
    arrays = numbers = 0
    for kind in kinds:
        if kind == "n":
            operands.append(None)
        elif kind == "w":
            operands.append(m.add_step("number", "w", numbers))
            numbers += 1
        else:
            x = m.add_step("input", kind, arrays)
            operands.append(m.cast(x, "f") if kind in HALVES else x)
            arrays += 1
    made = function(m, *operands, **attrs)
    if half:
        results = [m.lift(x) for x in (made if isinstance(made, tuple) else (made,))]
        made = tuple([m.cast(x, half) if x.code in "fw" else x for x in results])
    return m.program(made)


# ---------------------------------------------------------------- the kernel


@dataclass(frozen=True)
class Pointwise:
    """A program as a kernel.

    `inputs` has the dtypes of the arrays, `steps` the distance of each from element to element
    along the innermost dimension: 0, 1, or "s" for any other. `outer` is the number of dimensions
    around it. `targets` names for each output the input that it overwrites, or None.

    Call: inputs, outputs (those that overwrite no input), numbers, [geometry, inner,] begin, end;
    the entry takes the pool before and the end after them (pool.write_parallel_entry).
    Without outer dimensions begin and end count elements. With them they count rows of `inner`
    elements, and geometry, an array of int64, has the outer extents, then for each input its
    outer strides in elements, then its inner stride. Outputs are contiguous.
    """

    program: Program
    inputs: str
    numbers: int
    strides: tuple[int | str, ...]
    outer: int = 0
    targets: tuple[int | None, ...] = ()

    @property
    def exports(self) -> tuple[str, ...]:
        """The kernel, and its entry for Python."""
        return ("kernel", "entry")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kernel's parameters, in call.py's words."""
        free = sum(t is None for t in self._targets)
        return (*("array",) * (len(self.inputs) + free), *("float",) * self.numbers,
                *(("array", "int") if self.outer else ()), "int", "int")  # fmt: skip

    @property
    def _targets(self) -> tuple[int | None, ...]:
        return self.targets or (None,) * len(self.program.outputs)

    def interpret(self, arrays: Sequence[Any], numbers: Sequence[float] = ()) -> list[Any]:
        """The outputs by numpy, broadcast."""
        return self.program.evaluate(arrays, numbers)

    # ------------------------------------------------------------ writing

    def write(self, module: Module) -> None:
        """The kernel and its entry."""
        f = self.write_kernel(module, "kernel")
        write_parallel_entry(module, "entry", f, self.kinds[:-2], 1 if self.outer else GRAIN)

    def write_kernel(self, module: Module, name: str, internal: bool = False) -> Function:
        """The kernel alone; `internal` if only functions of the same module call it."""
        params: dict[str, str] = {f"a{i}": "ptr" for i in range(len(self.inputs))}
        targets = self._targets
        params.update({f"o{j}": "ptr" for j, t in enumerate(targets) if t is None})
        params.update({f"n{j}": "double" for j in range(self.numbers)})
        if self.outer:
            params.update(geometry="ptr", inner="i64")
        overwritten = tuple(f"a{t}" for t in targets if t is not None)
        f = module.function(name, "void", internal, overwritten, **params, begin="i64", end="i64")
        body = _Body(self, f)
        inputs = [f.pointer(f"a{i}", stored(code)) for i, code in enumerate(self.inputs)]
        outputs = [
            f.pointer(f"o{j}" if t is None else f"a{t}", stored(code))
            for j, (t, code) in enumerate(zip(targets, self.program.dtypes, strict=True))
        ]
        if self.outer:
            self._write_rows(f, body, inputs, outputs)
        else:
            body.run(inputs, outputs, [None] * len(inputs), f.arg("begin"), f.arg("end"))
        f.ret()
        return f

    def _write_rows(
        self, f: Function, body: _Body, inputs: list[Pointer], outputs: list[Pointer]
    ) -> None:
        geometry, inner, outer = f.pointer("geometry", "i64"), f.arg("inner"), self.outer
        extents = [geometry.load(d) for d in range(outer)]
        strides = [
            [geometry.load(outer + i * (outer + 1) + d) for d in range(outer + 1)]
            for i in range(len(inputs))
        ]

        def row(number: Value) -> None:
            places: list[Value] = []
            rest = number
            for d in range(outer - 1, 0, -1):
                above = rest // extents[d]
                places.insert(0, rest - above * extents[d])
                rest = above
            places.insert(0, rest)
            here = []
            for pointer, own in zip(inputs, strides, strict=True):
                offset = places[0] * own[0]
                for d in range(1, outer):
                    offset = offset + places[d] * own[d]
                here.append(pointer.at(offset))
            there = [o.at(number * inner) for o in outputs]
            body.run(here, there, [s[-1] for s in strides], f.const(0, "i64"), inner)

        f.loop(f.arg("begin"), f.arg("end"), row)


def stored(code: str) -> str:
    """The type of an element in memory."""
    return "i8" if code == "?" else "i16" if code in HALVES else _ELEMENTS[code]


def supported(machine: Machine, kinds: str) -> bool:
    """Whether the processor has what kernels of these kinds of operands need."""
    return "e" not in kinds or cast.is_native(machine)


# Steps up to which a loop's body is written twice, to halve the loop's own cost.
_SHORT = 8


class _Body:
    """The loop over elements that lie in a row."""

    def __init__(self, kernel: Pointwise, f: Function) -> None:
        self.kernel, self.f = kernel, f
        steps = kernel.program.steps
        if "s" in kernel.strides:
            self.lanes = 1
        else:
            widest = max(_BYTES[step[1]] for step in steps if step[1] != "w")
            self.lanes = f.module.machine.vector // max(widest, 4)
        simple = all(step[0] not in _VMATH for step in steps)
        self.unroll = 2 if simple and len(steps) <= _SHORT and self.lanes > 1 else 1
        # What depends on numbers only is computed once, as scalars in double precision.
        self.fixed: dict[int, Value] = {}
        for number, (name, code, *rest) in enumerate(steps):
            if name == "number":
                self.fixed[number] = f.arg(f"n{rest[0]}")
            elif name == "constant":
                self.fixed[number] = self._constant(code, rest[0])
            elif code == "w":
                self.fixed[number] = _emit(f, name, [self.fixed[r] for r in rest], "d")
            elif name == "astype" and steps[rest[0]][1] == "w":
                scalar = self.fixed[rest[0]]
                scalar = scalar.cast("fptrunc", "float") if code == "f" else scalar
                self.fixed[number] = f.splat(scalar, self.lanes)
            elif name in _ROUNDED and rest[0] in self.fixed:
                self.fixed[number] = _emit(f, name, [self.fixed[rest[0]]], "f")

    def _constant(self, code: str, value: Any) -> Value:
        if code == "w":
            return self.f.const(value, "double")
        element = _ELEMENTS[code]
        kind = element if self.lanes == 1 else f"<{self.lanes} x {element}>"
        return self.f.const(value, kind)

    def run(self, inputs: Sequence[Pointer], outputs: Sequence[Pointer],
            strides: Sequence[Value | None], begin: Value, end: Value) -> None:  # fmt: skip
        """Writes the loop."""
        f, lanes = self.f, self.lanes
        spread = {
            i: self._load(inputs[i], self.kernel.inputs[i], f.const(0, "i64"), True, None)
            for i, stride in enumerate(self.kernel.strides)
            if stride == 0
        }

        def step(i: Value, mask: Value | None) -> None:
            def read(which: int) -> Value:
                if which in spread:
                    return spread[which]
                stride = strides[which] if self.kernel.strides[which] == "s" else None
                place = i if stride is None else i * stride
                return self._load(inputs[which], self.kernel.inputs[which], place, False, mask)

            for output, value in zip(outputs, self._evaluate(read), strict=True):
                if value.element == "i1":
                    value = value.cast("zext", "i8")
                output.store(value, i, mask)

        if lanes == 1:
            f.loop(begin, end, lambda i: step(i, None))
            return
        each = lanes * self.unroll
        whole = end - (end - begin) % each

        def many(i: Value) -> None:
            for u in range(self.unroll):
                step(i + u * lanes, None)

        f.loop(begin, whole, many, each)
        f.loop(whole, end, lambda i: step(i, f.mask(end - i, lanes)), lanes)

    def _load(
        self, pointer: Pointer, code: str, place: Value, spread: bool, mask: Value | None
    ) -> Value:
        value = (
            pointer.broadcast(place, self.lanes) if spread
            else pointer.load(place, self.lanes, mask)
        )  # fmt: skip
        if code in HALVES:
            return cast.FORMULAS[_HALF_WORDS[code], "float"](self.f, value)
        return value.differs(0) if code == "?" else value

    def _evaluate(self, read: Callable[[int], Value]) -> list[Value]:
        program = self.kernel.program
        found: list[Any] = []
        for number, (name, code, *rest) in enumerate(program.steps):
            if number in self.fixed:
                found.append(self.fixed[number])
            elif name == "input":
                found.append(read(rest[0]))
            elif name == "maximum" or name == "minimum":
                plain = [program.steps[r][0] == "constant" for r in rest]
                found.append(_extreme(self.f, name, found[rest[0]], found[rest[1]], *plain))
            else:
                found.append(_emit(self.f, name, [found[r] for r in rest], code))
        return [self._full(found[o]) for o in program.outputs]

    def _full(self, value: Value) -> Value:
        return self.f.splat(value, self.lanes) if value.lanes != self.lanes else value


_OPERATORS: dict[str, Callable[..., Value]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "negative": lambda x: -x,
    "logical_and": lambda x, y: x & y,
    "logical_or": lambda x, y: x | y,
    "logical_not": lambda x: ~x,
    "where": lambda c, x, y: c.select(x, y),
    "isnan": lambda x: x.compare("uno", x),
    "isinf": lambda x: vmath.absolute(x).equals(float("inf")),
    "isfinite": lambda x: vmath.absolute(x) < float("inf"),
    "copysign": lambda x, y: x.f.same("llvm.copysign", x, y),
}


def _emit(f: Function, name: str, given: list[Value], code: str) -> Value:
    """The instructions of one step."""
    found = _OPERATORS.get(name)
    if found is not None:
        return found(*given)
    x = given[0]
    if name in _VMATH:
        return vmath.FUNCTIONS[_VMATH[name]](*given)
    if name in _COMPARISONS:
        floating, integer = _COMPARISONS[name]
        return x.compare(floating if x.is_float else integer, given[1])
    if name in _ROUNDING:
        return f.same(f"llvm.{_ROUNDING[name]}", x)
    if name == "absolute":
        return vmath.absolute(x) if x.is_float else (x < 0).select(-x, x)
    if name == "sign":
        one = f.const(1.0, x.type)
        near = (x.compare("uno", x) | x.equals(0.0)).select(x, f.same("llvm.copysign", one, x))
        return x.equals(0.0).select(f.const(0.0, x.type), near)
    if name == "signbit":
        return x.bits("i32" if x.element == "float" else "i64") < 0
    if name == "astype":
        return _convert(x, code)
    if name in _ROUNDED:
        word = _HALF_WORDS[_ROUNDED[name]]
        return cast.FORMULAS[word, "float"](f, cast.FORMULAS["float", word](f, x))
    if name in ("maximum", "minimum"):
        return _extreme(f, name, x, given[1], False, False)
    raise AssertionError(f"no instructions for {name}")


def _convert(x: Value, code: str) -> Value:
    """x as another dtype; in a half type as its bits."""
    if code in HALVES:
        return cast.FORMULAS["float", _HALF_WORDS[code]](x.f, x)
    element = _ELEMENTS[code]
    if x.element == element:  # of a half type, which was widened when it was loaded
        return x
    if element == "i1":
        return x.differs(0)
    if x.element == "i1":
        return x.cast("uitofp" if code in _FLOATS else "zext", element)
    if x.is_float:
        return x.cast("fpext" if code == "d" else "fptrunc", element)
    if code in _FLOATS:
        return x.cast("sitofp", element)
    return x.cast("sext" if code == "l" else "trunc", element)


def _extreme(f: Function, name: str, x: Value, y: Value, x_plain: bool, y_plain: bool) -> Value:
    """numpy's maximum or minimum: nan wins. An operand that is a constant is never nan."""
    larger = name == "maximum"
    if not x.is_float:
        return (x > y if larger else x < y).select(x, y)
    combine = f.maximum if larger else f.minimum  # give y where either is nan
    if x_plain:
        return combine(x, y)
    if y_plain:
        return combine(y, x)
    return x.compare("uno", x).select(x, combine(x, y))
