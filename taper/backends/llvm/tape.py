"""The tape's smallest steps in machine code: making a tensor or a view, and recording a call.

A recorded op pays for its arithmetic once and for Python's bookkeeping each time: a dozen slots to
fill, a tuple for each edge, another for each saved tensor. In Python that is `wrap` of tensor.py,
`join` and `record` of dispatch.py, which say what is meant; here it is the same, in a tenth of the time, for
what every training step consists of. Whatever is unusual (a view whose base was written to, operands
that broadcast, other subclasses than Parameter) gets the answer None, and Python does it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from taper.backends.llvm import call
from taper.backends.llvm.call import IMMORTAL_NONE
from taper.backends.llvm.loaded import kept_library
from taper.backends.llvm.objects import (
    COUNT,
    ITEMS,
    NDIM,
    SHAPE,
    TYPE,
    field,
    hold,
    hold_none,
    new_tuple,
    or_return_null,
    readable,
    require,
    slot,
)
from taper.backends.llvm.reverse import write_deliver, write_finish
from taper.backends.llvm.text import Function, Module, Pointer, Value
from taper.backends.llvm.update_many import write_holds

_VALUE, _SHAPE = 1, 2  # op.VALUE and op.SHAPE

# The owner's table: objects that the machine code compares with, or hands out.
_OBJECTS = ("none", "false", "true", "zero", "one", "empty", "no_sizes", "unchecked", "tensor", "parameter",
            "tuple", "float", "int", "bool", "count", "node", "list", "array", "heappush")  # fmt: skip


@dataclass(frozen=True)
class Tape:
    """`wrap(array)`, `view(array, source)`, `record(node class, plan, inputs, result, attrs)`, and
    for the reverse pass `deliver` and `finish`, of reverse.py; `holds`, of update_many.py.

    Fields are the places of slots in bytes: of tensors by name, each with the object of the table
    that a new tensor has there; of Storage's version; of nodes.
    """

    fresh: tuple[tuple[str, int, str], ...]
    version: int
    node: tuple[tuple[str, int], ...]

    exports = ("wrap", "view", "record", "deliver", "finish", "holds")

    def write(self, module: Module) -> None:
        """The built-ins."""
        places = {name: place for name, place, _ in self.fresh}
        words: dict[str, Any] = {"owner": "ptr", "args": "ptr", "nargs": "i64"}
        f = module.function("wrap", "ptr", False, ("owner", "args"), **words)
        Writer(f, places).wrap(self.fresh)
        f = module.function("view", "ptr", False, ("owner", "args"), **words)
        Writer(f, places).view(self.fresh, self.version)
        f = module.function("record", "ptr", False, ("owner", "args"), **words)
        Writer(f, places).record(self.version, dict(self.node))
        f = module.function("deliver", "ptr", False, ("owner", "args"), **words)
        write_deliver(Writer(f, places), dict(self.node))
        f = module.function("finish", "ptr", False, ("owner", "args"), **words)
        write_finish(Writer(f, places), self.fresh)
        f = module.function("holds", "ptr", False, ("owner", "args"), **words)
        write_holds(Writer(f, places))


class Writer:
    """Writes one of the built-ins."""

    def __init__(self, f: Function, places: dict[str, int]) -> None:
        self.f, self.places = f, places
        self.table = field(f, f.pointer("owner", "i8"), COUNT).pointer("ptr")

    def known(self, name: str) -> Value:
        """An object of the table."""
        return self.table.load(_OBJECTS.index(name))

    def argument(self, index: int) -> Pointer:
        """An object that the built-in was called with."""
        return self.f.pointer("args", "ptr").load(index).pointer("i8")

    def new(self, kind: Value) -> Pointer:
        """An object of a class of Python, its slots empty."""
        f = self.f
        return or_return_null(f, f.intrinsic("PyType_GenericAlloc", "ptr", kind, f.const(0, "i64")))

    def wrap(self, fresh: tuple[tuple[str, int, str], ...]) -> None:
        """A tensor around an array."""
        self.f.ret(self.tensor(fresh, self.argument(0)).address)

    def view(self, fresh: tuple[tuple[str, int, str], ...], version: int) -> None:
        """A tensor around an array that is a look at another tensor's memory.

        None if the other has no storage yet, or its views are not of the usual origin.
        """
        f = self.f
        source, none = self.argument(1), self.known("none")
        kind, unusual = field(f, source, TYPE), f.label("unusual")
        known = kind.equals(self.known("tensor")) | kind.equals(self.known("parameter"))
        require(f, known, unusual)
        storage, base = self.read(source, "storage"), self.read(source, "base")
        usual = self.read(source, "view_origin").equals(self.known("empty"))
        require(f, storage.differs(none) & usual, unusual)
        made = self.tensor(fresh, self.argument(0))
        first = base.equals(none)
        self.replace_none(made, "storage", storage)
        self.replace_none(made, "base", first.select(source.address, base))
        follows = first | self.read(source, "view_version").differs(none)
        now = field(f, storage.pointer("i8"), version)
        self.replace_none(made, "view_version", follows.select(now, none))
        f.ret(made.address)
        f.begin(unusual)
        f.ret(hold_none(none))

    def tensor(self, fresh: tuple[tuple[str, int, str], ...], array: Pointer) -> Pointer:
        """A new tensor around an array."""
        made = self.new(self.known("tensor"))
        given = {name: self.known(name) for name in {name for *_, name in fresh if name}}
        for _, place, name in fresh:
            value = array.address if not name else given[name]
            if name == "none":
                hold_none(value)
            else:
                hold(value)
            made.at(place).as_("ptr").store(value)
        return made

    def replace_none(self, x: Pointer, name: str, value: Value) -> None:
        """Fills a slot of a new tensor that has None."""
        if not IMMORTAL_NONE:
            count = self.known("none").pointer("i64")
            count.store(count.load() - 1)
        x.at(self.places[name]).as_("ptr").store(hold(value))

    def record(self, version: int, node: dict[str, int]) -> None:
        """A node of the tape with its edges and what its derivative needs."""
        f = self.f
        inputs, attrs = self.argument(2), self.argument(4)
        plan = field(f, self.argument(1), COUNT).pointer("i64")
        none = self.known("none")
        count = field(f, inputs, COUNT, "i64")
        edges = or_return_null(f, f.intrinsic("PyTuple_New", "ptr", count))
        saved = or_return_null(f, f.intrinsic("PyList_New", "ptr", count))
        edge_items = edges.at(ITEMS).as_("ptr")
        saved_items = field(f, saved, ITEMS).pointer("ptr")
        given = inputs.at(ITEMS).as_("ptr")
        unusual = f.label("unusual")
        require(f, plan.load(0).equals(count), unusual)
        broadcasts = plan.load(1)
        result = self.argument(3)

        def step(i: Value) -> None:
            x = given.load(i).pointer("i8")
            wanted = plan.load(i * 2 + 2)
            kind = field(f, x, TYPE)
            is_tensor = kind.equals(self.known("tensor")) | kind.equals(self.known("parameter"))
            tensor, other, done = f.label("tensor"), f.label("other"), f.label("done")
            f.line(f"br i1 {is_tensor.name}, label %{tensor}, label %{other}")
            f.begin(tensor)
            self._not_overtaken(x, none, version, unusual)
            array = self.read(x, "array").pointer("i8")
            self._same_shape(array, result, broadcasts, unusual)
            edge_items.store(self._edge(x), i)
            saved_items.store(self._saved(x, array, wanted, version), i)
            f.branch(done)
            f.begin(other)
            number = x.address.equals(none)
            for name in ("float", "int", "bool"):
                number = number | kind.equals(self.known(name))
            require(f, number, unusual)
            edge_items.store(hold_none(none), i)
            value = wanted.equals(_VALUE).select(x.address, none)
            value = wanted.equals(_SHAPE).select(self.known("no_sizes"), value)
            saved_items.store(hold(value), i)
            f.branch(done)
            f.begin(done)

        f.loop(0, count, step)
        f.loop(0, count, lambda i: self._spare(i, plan, edge_items, saved_items, none))
        made = self.new(self.argument(0).address)
        number = f.intrinsic("PyObject_CallNoArgs", "ptr", self.known("count"))
        for name, value in (
            ("edges", edges.address),
            ("saved", saved.address),
            ("number", number),
            ("attrs", hold(attrs.address)),
            ("out", hold_none(none)),
            ("output_count", hold(self.known("one"))),
        ):
            made.at(node[name]).as_("ptr").store(value)
        f.ret(made.address)
        f.begin(unusual)
        f.intrinsic("Py_DecRef", "void", edges)
        f.intrinsic("Py_DecRef", "void", saved)
        f.ret(hold_none(none))

    def read(self, x: Pointer, name: str) -> Value:
        """What a tensor has in a slot."""
        return field(self.f, x, self.places[name])

    def _not_overtaken(self, x: Pointer, none: Value, version: int, unusual: str) -> None:
        """Leaves a view to Python if its place on the tape may have changed since it was made."""
        f = self.f
        known = self.read(x, "view_version")

        def compare() -> None:
            storage = self.read(x, "storage").pointer("i8")
            require(f, field(f, storage, version).equals(known), unusual)
            recorded = self.read(x, "grad_fn").differs(none)
            base = self.read(x, "base").pointer("i8")
            idle = self.read(base, "requires_grad").equals(self.known("false"))
            require(f, recorded | idle, unusual)

        f.when(known.differs(none), compare)

    def _same_shape(self, array: Pointer, result: Pointer, broadcasts: Value, unusual: str) -> None:
        """Leaves it to Python if an operand of an elementwise op has not the result's shape."""
        f = self.f

        def compare() -> None:
            ndim = field(f, array, NDIM, "i32")
            require(f, ndim.equals(field(f, result, NDIM, "i32")), unusual)
            one, other = (field(f, a, SHAPE).pointer("i64") for a in (array, result))

            def step(d: Value, same: Value) -> tuple[Value]:
                return (same & one.load(d).equals(other.load(d)),)

            (same,) = f.loop(0, ndim.cast("sext", "i64"), step, init=(f.const(True, "i1"),))
            require(f, same, unusual)

        f.when(broadcasts.differs(0), compare)

    def _edge(self, x: Pointer) -> Value:
        """Where the input's gradient goes: (node, output number), (leaf, 0) or None."""
        f = self.f
        none, zero = self.known("none"), self.known("zero")
        function = self.read(x, "grad_fn")
        inner = function.differs(none)
        leaf = ~inner & self.read(x, "requires_grad").equals(self.known("true"))
        (edge,) = f.when(
            inner,
            lambda: [new_tuple(f, hold(function), hold(self.read(x, "output_nr"))).address],
            [none],
        )
        (edge,) = f.when(leaf, lambda: [new_tuple(f, hold(x.address), hold(zero)).address], [edge])
        f.when(~(inner | leaf), lambda: hold_none(none))
        return edge

    def _saved(self, x: Pointer, array: Pointer, wanted: Value, version: int) -> Value:
        """What the derivative needs of the input: (tensor, array, version), its shape or None."""
        f = self.f
        none = self.known("none")

        def value() -> list[Value]:
            storage = self.read(x, "storage")
            (now,) = f.when(
                storage.differs(none),
                lambda: [field(f, storage.pointer("i8"), version)],
                [self.known("zero")],
            )
            return [new_tuple(f, hold(x.address), hold(array.address), hold(now)).address]

        def shape() -> list[Value]:
            ndim = field(f, array, NDIM, "i32").cast("sext", "i64")
            sizes = field(f, array, SHAPE).pointer("i64")
            made = or_return_null(f, f.intrinsic("PyTuple_New", "ptr", ndim))
            items = made.at(ITEMS).as_("ptr")
            f.loop(
                0,
                ndim,
                lambda d: items.store(f.intrinsic("PyLong_FromLongLong", "ptr", sizes.load(d)), d),
            )
            return [made.address]

        (kept,) = f.when(wanted.equals(_VALUE), value, [none])
        (kept,) = f.when(wanted.equals(_SHAPE), shape, [kept])
        f.when(wanted.equals(0), lambda: hold_none(none))
        return kept

    def _spare(self, i: Value, plan: Pointer, edges: Pointer, saved: Pointer, none: Value) -> None:
        """Lets go of a saved tensor, or of its version, that no wanted gradient will need."""
        f = self.f
        reader = plan.load(i * 2 + 3)

        def reader_idles() -> None:
            f.when(edges.load(reader).equals(none), is_saved)

        def is_saved() -> None:
            item = saved.load(i).pointer("i8")
            f.when(field(f, item, TYPE).equals(self.known("tuple")), lambda: spare(item))

        def spare(item: Pointer) -> None:
            elementwise = plan.load(1).differs(0)

            def forget() -> None:
                saved.store(hold_none(none), i)
                f.intrinsic("Py_DecRef", "void", item)

            def uncheck() -> None:
                place = item.at(ITEMS).as_("ptr")
                f.intrinsic("Py_DecRef", "void", place.load(2))
                place.store(hold(self.known("unchecked")), 2)

            f.when(elementwise, forget)
            f.when(~elementwise, uncheck)

        f.when(reader >= 0, reader_idles)


_kept: list[Any] = []  # what the table has the addresses of


@dataclass(frozen=True)
class Layout:
    """The classes of tensors, and where their slots and those of storages are, in bytes."""

    tensor: type
    parameter: type
    places: dict[str, int]
    version: int


layout: Layout | None = None  # known once `built_ins` was called


def built_ins(
    tensor: type, parameter: type, storage: type, node: type, count: Callable[[], int],
    unchecked: int,
) -> tuple[Callable[..., Any], ...] | None:  # fmt: skip
    """(wrap, view, record, deliver, finish, holds) for these classes; None where objects are not readable."""
    if not readable():
        return None
    objects = [None, False, True, 0, 1, "", (), unchecked, tensor, parameter, tuple, float, int, bool,
               count, node, list, np.ndarray, heapq.heappush]  # fmt: skip
    new = {"requires_grad": "false", "is_inference": "false", "output_nr": "zero",
           "view_origin": "empty", "array": ""}  # fmt: skip
    names = [name for name in tensor.__dict__["__slots__"] if not name.startswith("__")]
    try:
        fresh = tuple((n[1:], slot(tensor, n), new.get(n[1:], "none")) for n in names)
        places = [
            (n, slot(node, n)) for n in ("edges", "saved", "number", "attrs", "out", "output_count")
        ]
        version = slot(storage, "version")
    except ValueError:
        return None  # a Python that keeps slots elsewhere
    global layout
    layout = Layout(tensor, parameter, {name: place for name, place, _ in fresh}, version)
    code = kept_library(Tape(fresh, version, tuple(places)))
    table = np.array([id(x) for x in objects], np.int64)
    _kept.append(objects)
    return tuple([call.builtin(name, code.addresses[name], table) for name in Tape.exports])
