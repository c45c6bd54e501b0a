"""Writing LLVM IR: a Module of Functions, Values with Python's operators, Pointers, loops.

    module = Module(host())
    f = module.function("scale", x="ptr", n="i64")
    x = f.pointer("x", "float")
    f.loop(0, f.arg("n"), lambda i: x.at(i).store(x.load(i) * 2.0))
    f.ret()
    module.text()

The text is in SSA form as it is written: a loop carries its values as arguments of its body, there
are no variables in memory. So LLVM's code generator alone makes good code of it and its module
passes, which take most of the compile time elsewhere, are not run (measured in docs/kernels.md).

Types are LLVM's own words: "float", "i64", "<16 x float>", "ptr". Offsets count elements. Python
numbers mix with Values and are folded where both sides are known.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Union

from taper.backends.llvm.machine import Machine

SIZES = {"half": 2, "bfloat": 2, "float": 4, "double": 8, "i1": 1, "i8": 1, "i16": 2, "i32": 4,
         "i64": 8, "ptr": 8}  # fmt: skip
FLOATS = ("half", "bfloat", "float", "double")

Number = Union[int, float, "Value"]


def vector(element: str, lanes: int) -> str:
    """The type of `lanes` elements; of one, the element's."""
    return element if lanes == 1 else f"<{lanes} x {element}>"


def element_of(kind: str) -> str:
    """The type of a vector's elements; a scalar's own."""
    return kind.rpartition(" x ")[2].rstrip(">") if kind[0] == "<" else kind


def lanes_of(kind: str) -> int:
    """The number of a vector's elements; 1 for a scalar."""
    return int(kind[1:].partition(" ")[0]) if kind[0] == "<" else 1


def _suffix(kind: str) -> str:
    """The type in the name of an intrinsic: v16f32, i64, p0."""
    element = element_of(kind)
    short = {"half": "f16", "bfloat": "bf16", "float": "f32", "double": "f64", "ptr": "p0"}
    name = short.get(element, element)
    return f"v{lanes_of(kind)}{name}" if kind[0] == "<" else name


def literal(value: float | int | bool, element: str) -> str:
    """A number in LLVM's words. Floats are written as bits: no decimal is rounded twice."""
    if element in ("float", "double"):
        if element == "float":
            try:
                value = struct.unpack("f", struct.pack("f", value))[0]
            except OverflowError:
                value = float("inf") if value > 0 else float("-inf")
        return "0x" + struct.pack(">d", float(value)).hex().upper()
    if element == "half":
        return "0xH" + struct.pack(">e", float(value)).hex().upper()
    if element == "bfloat":
        return "0xR" + struct.pack(">f", float(value)).hex().upper()[:4]
    if element == "i1":
        return "true" if value else "false"
    return str(int(value))


class Value:
    """A result in SSA form, or a constant."""

    __slots__ = ("f", "name", "type")

    def __init__(self, f: Function, name: str, type: str) -> None:
        self.f, self.name, self.type = f, name, type

    @property
    def element(self) -> str:
        """Type of the elements."""
        return element_of(self.type)

    @property
    def lanes(self) -> int:
        """Number of elements."""
        return lanes_of(self.type)

    @property
    def is_float(self) -> bool:
        """Whether the elements are floating-point numbers."""
        return self.element in FLOATS

    def _with(self, other: Any, floating: str, integer: str, swapped: bool = False) -> Value:
        other = self.f.const(other, self.type)
        left, right = (other, self) if swapped else (self, other)
        word = floating if self.is_float else integer
        return self.f.emit(self.type, f"{word} {self.type} {left.name}, {right.name}")

    def __add__(self, other: Any) -> Value:
        return self if _is(other, 0) and not self.is_float else self._with(other, "fadd", "add")

    __radd__ = __add__

    def __sub__(self, other: Any) -> Value:
        return self if _is(other, 0) else self._with(other, "fsub", "sub")

    def __rsub__(self, other: Any) -> Value:
        return self._with(other, "fsub", "sub", True)

    def __mul__(self, other: Any) -> Value:
        return self if _is(other, 1) else self._with(other, "fmul", "mul")

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Value:
        return self._with(other, "fdiv", "sdiv")

    def __rtruediv__(self, other: Any) -> Value:
        return self._with(other, "fdiv", "sdiv", True)

    def __floordiv__(self, other: Any) -> Value:
        """Of non-negative integers."""
        return self if _is(other, 1) else self._with(other, "", "udiv")

    def __mod__(self, other: Any) -> Value:
        """Of non-negative integers."""
        return self._with(other, "frem", "urem")

    def __and__(self, other: Any) -> Value:
        return self._with(other, "", "and")

    def __or__(self, other: Any) -> Value:
        return self._with(other, "", "or")

    def __xor__(self, other: Any) -> Value:
        return self._with(other, "", "xor")

    def __lshift__(self, other: Any) -> Value:
        return self._with(other, "", "shl")

    def __rshift__(self, other: Any) -> Value:
        """Arithmetic: the sign is kept."""
        return self._with(other, "", "ashr")

    def shifted_right(self, other: Any) -> Value:
        """Logical shift: zeros come in."""
        return self._with(other, "", "lshr")

    def __neg__(self) -> Value:
        if self.is_float:
            return self.f.emit(self.type, f"fneg {self.type} {self.name}")
        return self.f.const(0, self.type) - self

    def __invert__(self) -> Value:
        return self ^ (1 if self.element == "i1" else -1)

    def compare(self, word: str, other: Any) -> Value:
        """A comparison by LLVM's word: "olt", "une", "slt", "ult" ..."""
        other = self.f.const(other, self.type)
        kind = vector("i1", self.lanes)
        name = "fcmp" if self.is_float else "icmp"
        return self.f.emit(kind, f"{name} {word} {self.type} {self.name}, {other.name}")

    def __lt__(self, other: Any) -> Value:
        return self.compare("olt" if self.is_float else "slt", other)

    def __le__(self, other: Any) -> Value:
        return self.compare("ole" if self.is_float else "sle", other)

    def __gt__(self, other: Any) -> Value:
        return self.compare("ogt" if self.is_float else "sgt", other)

    def __ge__(self, other: Any) -> Value:
        return self.compare("oge" if self.is_float else "sge", other)

    def equals(self, other: Any) -> Value:
        """Elementwise ==; false for nan."""
        return self.compare("oeq" if self.is_float else "eq", other)

    def differs(self, other: Any) -> Value:
        """Elementwise !=; true for nan."""
        return self.compare("une" if self.is_float else "ne", other)

    def select(self, yes: Any, no: Any) -> Value:
        """`yes` where this mask is true, else `no`; a scalar mask chooses whole vectors."""
        kind = yes.type if isinstance(yes, Value) else no.type
        yes, no = self.f.const(yes, kind), self.f.const(no, kind)
        text = f"select {self.type} {self.name}, {kind} {yes.name}, {kind} {no.name}"
        return self.f.emit(kind, text)

    def cast(self, word: str, element: str) -> Value:
        """A conversion by LLVM's word: "fpext", "fptrunc", "sitofp", "trunc", "zext" ..."""
        kind = vector(element, self.lanes)
        return self.f.emit(kind, f"{word} {self.type} {self.name} to {kind}")

    def bits(self, element: str) -> Value:
        """The same bits as elements of another type of the same size."""
        return self.cast("bitcast", element)

    def lane(self, index: Number) -> Value:
        """One element of a vector."""
        place = self.f.const(index, "i64")
        text = f"extractelement {self.type} {self.name}, i64 {place.name}"
        return self.f.emit(self.element, text)

    def with_lane(self, index: Number, value: Value) -> Value:
        """The vector with one element replaced."""
        place = self.f.const(index, "i64")
        return self.f.emit(
            self.type,
            f"insertelement {self.type} {self.name}, {value.type} {value.name}, i64 {place.name}",
        )

    def any(self) -> Value:
        """Whether a mask is true in some lane."""
        if self.lanes == 1:
            return self
        bits = f"i{self.lanes}"
        seen = self.f.emit(bits, f"bitcast {self.type} {self.name} to {bits}")
        return seen.differs(0)

    def shuffle(self, other: Value, indices: Sequence[int]) -> Value:
        """Elements of this vector (from 0) and the other (from `lanes`), in the order of `indices`."""
        picked = ", ".join(f"i32 {i}" for i in indices)
        kind = vector(self.element, len(indices))
        return self.f.emit(
            kind,
            f"shufflevector {self.type} {self.name}, {other.type} {other.name}, "
            f"<{len(indices)} x i32> <{picked}>",
        )

    def fold(self, combine: Callable[[Value, Value], Value]) -> Value:
        """All elements combined, halves with halves: the order is that of a tree."""
        folded, count = self, self.lanes
        while count > 2:
            count //= 2
            low = folded.shuffle(folded, range(count))
            folded = combine(low, folded.shuffle(folded, range(count, 2 * count)))
        return combine(folded.lane(0), folded.lane(1)) if count == 2 else folded

    def sum(self) -> Value:
        """Sum of the elements."""
        return self.fold(lambda a, b: a + b)

    def pointer(self, element: str) -> Pointer:
        """This address, as one of elements of a type."""
        return Pointer(self.f, self.name, element)


def _is(value: Any, number: int) -> bool:
    return type(value) is int and value == number


class Pointer:
    """An address and the type of the elements there."""

    __slots__ = ("element", "f", "name")

    def __init__(self, f: Function, name: str, element: str) -> None:
        self.f, self.name, self.element = f, name, element

    def at(self, offset: Number) -> Pointer:
        """The address `offset` elements further."""
        if _is(offset, 0):
            return self
        place = self.f.const(offset, "i64")
        made = self.f.emit(
            "ptr", f"getelementptr {self.element}, ptr {self.name}, i64 {place.name}"
        )
        return Pointer(self.f, made.name, self.element)

    @property
    def address(self) -> Value:
        """The address as a value, which a loop can carry and `select` can choose."""
        return Value(self.f, self.name, "ptr")

    def as_(self, element: str) -> Pointer:
        """The same address, for elements of another type."""
        return Pointer(self.f, self.name, element)

    def load(self, offset: Number = 0, lanes: int = 1, mask: Value | None = None) -> Value:
        """The element there, or a vector; elements outside the mask read as 0 and touch nothing."""
        where = self.at(offset)
        kind = vector(self.element, lanes)
        size = SIZES[self.element]
        if mask is None:
            return self.f.emit(kind, f"load {kind}, ptr {where.name}, align {size}")
        zero = self.f.const(0, kind)
        return self.f.intrinsic(
            f"llvm.masked.load.{_suffix(kind)}.p0",
            kind,
            where,
            self.f.const(size, "i32"),
            mask,
            zero,
        )

    def store(self, value: Any, offset: Number = 0, mask: Value | None = None,
              stream: bool = False) -> None:  # fmt: skip
        """Writes a value or vector. `stream` goes past the caches; the address must be aligned."""
        where = self.at(offset)
        value = self.f.const(value, self.element)
        size = SIZES[self.element]
        if mask is not None:
            self.f.intrinsic(
                f"llvm.masked.store.{_suffix(value.type)}.p0", "void", value, where,
                self.f.const(size, "i32"), mask,
            )  # fmt: skip
            return
        align = size * value.lanes if stream else size
        note = ", !nontemporal !0" if stream else ""
        self.f.line(f"store {value.type} {value.name}, ptr {where.name}, align {align}{note}")

    def broadcast(self, offset: Number, lanes: int) -> Value:
        """The element there in every lane."""
        return self.f.splat(self.load(offset), lanes)

    def opaque(self) -> Pointer:
        """The same address, but no longer known to be: loads through it are not merged with others.

        Where unrolled steps read overlapping elements, merged loads would stay in registers that
        the sums need. Costs no instruction.
        """
        made = self.f.emit("ptr", f'call ptr asm "", "=r,0"(ptr {self.name})')
        return Pointer(self.f, made.name, self.element)

    def prefetch(self, offset: Number = 0) -> None:
        """Asks for the cache line."""
        one, three = self.f.const(1, "i32"), self.f.const(3, "i32")
        self.f.intrinsic(
            "llvm.prefetch.p0", "void", self.at(offset), self.f.const(0, "i32"), three, one
        )


class Function:
    """A function under construction. Its text grows block by block."""

    def __init__(self, module: Module, name: str, result: str, params: dict[str, str],
                 internal: bool, aliased: Sequence[str] = ()) -> None:  # fmt: skip
        self.module, self.name, self.result, self.params = module, name, result, params
        shown = ", ".join(
            f"{kind}{' noalias' if kind == 'ptr' and p not in aliased else ''} %{p}"
            for p, kind in params.items()
        )
        linkage = "internal " if internal else ""
        self.lines = [f"define {linkage}{result} @{name}({shown}) nounwind {{", "entry:"]
        self.block = "entry"
        self._locals: list[str] = []
        self._count = 0

    # ------------------------------------------------------------ text

    def line(self, text: str) -> None:
        """Appends an instruction without result."""
        self.lines.append("  " + text)

    def emit(self, kind: str, text: str) -> Value:
        """Appends an instruction with a result."""
        self._count += 1
        name = f"%v{self._count}"
        self.lines.append(f"  {name} = {text}")
        return Value(self, name, kind)

    def label(self, hint: str) -> str:
        """A name for a block."""
        self._count += 1
        return f"{hint}{self._count}"

    def begin(self, block: str) -> None:
        """Starts a block."""
        self.lines.append(f"{block}:")
        self.block = block

    def branch(self, block: str) -> None:
        """Goes on at a block."""
        self.line(f"br label %{block}")

    def ret(self, value: Value | None = None) -> None:
        """Ends the function."""
        self.line("ret void" if value is None else f"ret {value.type} {value.name}")

    def text(self) -> str:
        """The definition."""
        return "\n".join([*self.lines[:2], *self._locals, *self.lines[2:], "}"])

    # ------------------------------------------------------------ values

    def arg(self, name: str) -> Value:
        """A parameter."""
        return Value(self, "%" + name, self.params[name])

    def pointer(self, name: str, element: str) -> Pointer:
        """A parameter that is an address."""
        return Pointer(self, "%" + name, element)

    def local(self, count: int, element: str) -> Pointer:
        """Memory of this call's own, at a cache line. In a loop it is the same for every turn."""
        self._count += 1
        name = f"%v{self._count}"
        self._locals.append(f"  {name} = alloca [{count} x {element}], align 64")
        return Pointer(self, name, element)

    def const(self, value: Any, kind: str) -> Any:
        """A Python number as a constant of the type; Values and Pointers as they are."""
        if isinstance(value, (Value, Pointer)):
            return value
        element, lanes = element_of(kind), lanes_of(kind)
        if kind == "ptr":
            return Value(self, "null", "ptr")
        word = literal(value, element)
        if lanes == 1:
            return Value(self, word, kind)
        if value == 0 and word.strip("0xHR") == "":
            return Value(self, "zeroinitializer", kind)
        return Value(self, "<" + ", ".join([f"{element} {word}"] * lanes) + ">", kind)

    def lanes_const(self, values: Sequence[Any], element: str) -> Value:
        """A constant vector."""
        inner = ", ".join(f"{element} {literal(v, element)}" for v in values)
        return Value(self, f"<{inner}>", vector(element, len(values)))

    def splat(self, value: Value, lanes: int) -> Value:
        """The scalar in every lane."""
        if lanes == 1:
            return value
        kind = vector(value.type, lanes)
        first = self.emit(kind, f"insertelement {kind} poison, {value.type} {value.name}, i32 0")
        return self.emit(
            kind,
            f"shufflevector {kind} {first.name}, {kind} poison, <{lanes} x i32> zeroinitializer",
        )

    def mask(self, count: Number, lanes: int) -> Value | None:
        """True in the first `count` lanes; None where that is known to be all of them."""
        if isinstance(count, int):
            if count >= lanes:
                return None
            return self.lanes_const([i < count for i in range(lanes)], "i1")
        assert isinstance(count, Value)
        return self.lanes_const(range(lanes), "i64").compare("slt", self.splat(count, lanes))

    def intrinsic(self, name: str, kind: str, *args: Any) -> Value:
        """A call of an LLVM intrinsic or another external function, declared on first use."""
        given = ", ".join(f"{_type(a)} {a.name}" for a in args)
        self.module.declare(name, kind, [_type(a) for a in args])
        if kind == "void":
            self.line(f"call void @{name}({given})")
            return Value(self, "", "void")
        return self.emit(kind, f"call {kind} @{name}({given})")

    def call(self, function: Function, *args: Any, at: Value | None = None) -> Value:
        """A call of a function of this module, or `at` an address of one with the same parameters."""
        kinds = list(function.params.values())
        given = [self.const(a, k) for a, k in zip(args, kinds, strict=True)]
        text = ", ".join(f"{k} {a.name}" for k, a in zip(kinds, given, strict=True))
        target = f"@{function.name}" if at is None else at.name
        if function.result == "void":
            self.line(f"call void {target}({text})")
            return Value(self, "", "void")
        return self.emit(function.result, f"call {function.result} {target}({text})")

    def call_address(self, address: Value, kind: str, *args: Value) -> Value:
        """A call of the function at an address, which takes just these values."""
        given = ", ".join(f"{a.type} {a.name}" for a in args)
        return self.emit(kind, f"call {kind} {address.name}({given})")

    def same(self, name: str, *args: Value) -> Value:
        """An intrinsic whose operands and result are of one type: same("llvm.fma", x, y, z)."""
        kind = next(a.type for a in args if isinstance(a, Value))
        given = [self.const(a, kind) for a in args]
        return self.intrinsic(f"{name}.{_suffix(kind)}", kind, *given)

    def fma(self, x: Any, y: Any, z: Any) -> Value:
        """x * y + z, rounded once."""
        return self.same("llvm.fma", x, y, z)

    def maximum(self, x: Any, y: Any) -> Value:
        """The larger; y where x is nan. One instruction on x86."""
        kind = (x if isinstance(x, Value) else y).type
        x, y = self.const(x, kind), self.const(y, kind)
        return (x > y).select(x, y)

    def minimum(self, x: Any, y: Any) -> Value:
        """The smaller; y where x is nan."""
        kind = (x if isinstance(x, Value) else y).type
        x, y = self.const(x, kind), self.const(y, kind)
        return (x < y).select(x, y)

    # ------------------------------------------------------------ control

    def loop(self, start: Number, stop: Number, body: Callable[..., Any], step: int = 1,
             init: Sequence[Value] = ()) -> list[Value]:  # fmt: skip
        """for i in range(start, stop, step): carried = body(i, *carried). Returns `carried`.

        A loop whose bounds are known and that runs once or never is not written as a loop.
        """
        known = isinstance(start, int) and isinstance(stop, int)
        if known and len(range(start, stop, step)) <= 1:  # type: ignore[arg-type]
            if not len(range(start, stop, step)):  # type: ignore[arg-type]
                return list(init)
            return list(body(self.const(start, "i64"), *init) or ())
        begin, end = self.const(start, "i64"), self.const(stop, "i64")
        head, inside, after = self.label("loop"), self.label("body"), self.label("done")
        before = self.block
        # The test comes at the end; a loop that may be empty is skipped here.
        if known:
            self.branch(inside)
        else:
            some = begin < end
            self.branch(head)
            self.begin(head)
            before = head
            self.line(f"br i1 {some.name}, label %{inside}, label %{after}")
        self.begin(inside)
        index_at = len(self.lines)
        self._count += 1
        index = Value(self, f"%i{self._count}", "i64")
        carried = []
        for value in init:
            self._count += 1
            carried.append(Value(self, f"%c{self._count}", value.type))
        self.lines.extend([""] * (1 + len(carried)))
        new = [
            self.const(n, c.type) for n, c in zip(body(index, *carried) or (), carried, strict=True)
        ]
        following = self.emit("i64", f"add nsw i64 {index.name}, {step}")
        again = following < end
        latch = self.block
        self.line(f"br i1 {again.name}, label %{inside}, label %{after}")
        self.lines[index_at] = (
            f"  {index.name} = phi i64 [ {begin.name}, %{before} ], [ {following.name}, %{latch} ]"
        )
        for place, (value, first, last) in enumerate(
            zip(carried, init, new, strict=True), index_at + 1
        ):
            self.lines[place] = (
                f"  {value.name} = phi {value.type} [ {first.name}, %{before} ], "
                f"[ {last.name}, %{latch} ]"
            )
        self.begin(after)
        if known:
            return new
        return [
            self.emit(
                last.type,
                f"phi {last.type} [ {first.name}, %{before} ], [ {last.name}, %{latch} ]",
            )
            for first, last in zip(init, new, strict=True)
        ]

    def when(self, condition: Value, body: Callable[[], Any],
             otherwise: Sequence[Value] = ()) -> list[Value]:  # fmt: skip
        """Runs `body` only if the condition holds; gives what it returns, or else `otherwise`."""
        then, after = self.label("then"), self.label("after")
        before = self.block
        self.line(f"br i1 {condition.name}, label %{then}, label %{after}")
        self.begin(then)
        made = body()
        latch = self.block
        self.branch(after)
        self.begin(after)
        return [
            self.emit(
                old.type,
                f"phi {old.type} [ {old.name}, %{before} ], [ {new.name}, %{latch} ]",
            )
            for old, new in zip(otherwise, made if otherwise else (), strict=True)
        ]


def _type(value: Any) -> str:
    return "ptr" if isinstance(value, Pointer) else value.type


class Module:
    """Functions that are compiled together."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.functions: dict[str, Function] = {}
        self.definitions: list[str] = []  # functions that are given as text
        self.declared: dict[str, str] = {}
        self.constants: dict[str, str] = {}

    def lanes(self, element: str) -> int:
        """Elements of a full vector."""
        return self.machine.lanes(SIZES[element])

    def function(self, name: str, result: str = "void", internal: bool = False,
                 aliased: Sequence[str] = (), **params: str) -> Function:  # fmt: skip
        """Begins a function. `aliased` names address parameters that may overlap others."""
        if name in self.functions:
            raise ValueError(f"the module has a function {name!r} already")
        made = self.functions[name] = Function(self, name, result, params, internal, aliased)
        return made

    def once(self, name: str, write: Callable[[Function], None], result: str = "void",
             aliased: Sequence[str] = (), **params: str) -> Function:  # fmt: skip
        """An internal function, written by `write` the first time it is asked for."""
        found = self.functions.get(name)
        if found is None:
            found = self.function(name, result, True, aliased, **params)
            write(found)
        return found

    def constant(self, f: Function, name: str, element: str, values: Sequence[Any]) -> Pointer:
        """The address, for use in `f`, of a constant table; the same name is the same table."""
        inner = ", ".join(f"{element} {literal(v, element)}" for v in values)
        kind = f"[{len(values)} x {element}]"
        self.constants[name] = (
            f"@{name} = internal unnamed_addr constant {kind} [{inner}], align 64"
        )
        return Pointer(f, "@" + name, element)

    def declare(self, name: str, result: str, params: Sequence[str]) -> None:
        """Declares an external function or intrinsic."""
        if name not in self.declared:
            self.declared[name] = f"declare {result} @{name}({', '.join(params)})"

    def text(self) -> str:
        """The whole module."""
        return "\n\n".join(
            [
                *self.declared.values(),
                *self.constants.values(),
                *self.definitions,
                *(f.text() for f in self.functions.values()),
                "!0 = !{i32 1}\n",
            ]
        )
