"""The reverse pass's two busiest steps in machine code: gradients along edges, gradients into leaves.

What they mean is in autograd/engine.py, `run_backward` and `_finish_leaves`, where Python goes on at
the first gradient that is not usual: one that is added to another, a leaf with hooks, a node of a
Function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taper.backends.llvm.call import IMMORTAL_NONE
from taper.backends.llvm.objects import (
    BASE,
    COUNT,
    FLAGS,
    ITEMS,
    TYPE,
    field,
    hold,
    hold_none,
    new_tuple,
    or_return_null,
    require,
)
from taper.backends.llvm.text import Pointer, Value

if TYPE_CHECKING:
    from taper.backends.llvm.tape import Writer

_WRITEABLE = 0x0400  # numpy's flag


def write_deliver(w: Writer, node: dict[str, int]) -> None:
    """deliver(edges, results, pending, heap, leaves): None, or the number of the first that is left."""
    f = w.f
    none = w.known("none")
    edges, edge_count = _sequence(w, w.argument(0))
    results, result_count = _sequence(w, w.argument(1))
    pending, heap, leaves = (w.argument(i) for i in (2, 3, 4))
    reached, given = f.local(1, "i64"), f.local(2, "ptr")
    left, failed = f.label("left"), f.label("failed")

    def send(i: Value) -> None:
        reached.store(i)
        edge, grad = edges.load(i), results.load(i)

        def along() -> None:
            ends = edge.pointer("i8").at(ITEMS).as_("ptr")
            target, number = ends.load(0).pointer("i8"), ends.load(1)
            kind = field(f, target, TYPE)
            is_leaf = kind.equals(w.known("tensor")) | kind.equals(w.known("parameter"))
            f.when(is_leaf, lambda: to_leaf(target))
            f.when(~is_leaf, lambda: to_node(target, kind, number))

        def to_leaf(target: Pointer) -> None:
            key = or_return_null(f, f.intrinsic("PyLong_FromVoidPtr", "ptr", target)).address
            absent_or_left(leaves, key)
            pair = new_tuple(f, hold(target.address), hold(grad)).address
            keep(leaves, key, pair)
            release(key)

        def to_node(target: Pointer, kind: Value, number: Value) -> None:
            is_node = f.intrinsic("PyType_IsSubtype", "i32", kind, w.known("node"))
            require(f, is_node.differs(0), left)
            own = field(f, target, node["number"])
            place = or_return_null(f, f.intrinsic("PyNumber_Negative", "ptr", own)).address
            absent_or_left(pending, place)
            outputs = f.intrinsic(
                "PyLong_AsLongLong", "i64", field(f, target, node["output_count"])
            )
            slots = or_return_null(f, f.intrinsic("PyList_New", "ptr", outputs))
            items = field(f, slots, ITEMS).pointer("ptr")
            f.loop(0, outputs, lambda k: items.store(hold_none(none), k))
            at = f.intrinsic("PyLong_AsLongLong", "i64", number)
            if not IMMORTAL_NONE:
                release(items.load(at))
            items.store(hold(grad), at)
            pair = new_tuple(f, hold(target.address), slots.address).address
            keep(pending, place, pair)
            given.store(heap.address)
            given.store(place, 1)
            pushed = f.intrinsic(
                "PyObject_Vectorcall", "ptr", w.known("heappush"), given, f.const(2, "i64"),
                f.const(0, "ptr"),
            )  # fmt: skip
            require(f, pushed.differs(0), failed)
            release(pushed)
            release(place)

        f.when(edge.differs(none) & grad.differs(none), along)

    def absent_or_left(table: Pointer, key: Value) -> None:
        """Leaves it to Python if something has arrived there before."""
        found = f.intrinsic("PyDict_GetItem", "ptr", table, key)
        present = found.differs(0)
        f.when(present, lambda: release(key))
        require(f, ~present, left)

    def keep(table: Pointer, key: Value, value: Value) -> None:
        state = f.intrinsic("PyDict_SetItem", "i32", table, key, value)
        release(value)
        require(f, state.equals(0), failed)

    def release(x: Value) -> None:
        f.intrinsic("Py_DecRef", "void", x)

    f.loop(0, f.minimum(edge_count, result_count), send)
    f.ret(hold_none(none))
    f.begin(left)
    f.ret(f.intrinsic("PyLong_FromLongLong", "ptr", reached.load()))
    f.begin(failed)
    f.ret(f.const(0, "ptr"))


def write_finish(w: Writer, fresh: tuple[tuple[str, int, str], ...]) -> None:
    """finish(leaves): gives leaves their first gradients, up to the first that is not usual.

    `leaves` has (leaf, gradient) by the leaf's identity; what was given is None afterwards. A
    gradient is given as it is only if nobody else has its array, or a part of it.
    """
    f = w.f
    none = w.known("none")
    leaves = w.argument(0)
    place, key, value = f.local(1, "i64"), f.local(1, "ptr"), f.local(1, "ptr")
    place.store(0)
    end, failed = f.label("end"), f.label("failed")

    def give(_: Value) -> None:
        more = f.intrinsic("PyDict_Next", "i32", leaves, place, key, value)
        require(f, more.differs(0), end)
        pair = value.load().pointer("i8").at(ITEMS).as_("ptr")
        leaf, grad = pair.load(0).pointer("i8"), pair.load(1).pointer("i8")
        usual = w.read(leaf, "requires_grad").equals(w.known("true"))
        for name in ("grad", "hooks", "accumulate", "post_accumulate"):
            usual = usual & w.read(leaf, name).equals(none)
        require(f, usual & field(f, grad, TYPE).equals(w.known("array")), end)
        whole = field(f, grad, BASE).equals(0)
        alone = grad.as_("i64").load().equals(1)
        writeable = (field(f, grad, FLAGS, "i32") & _WRITEABLE).differs(0)
        require(f, whole & alone & writeable, end)
        made = w.tensor(fresh, grad)
        w.replace_none(leaf, "grad", made.address)
        f.intrinsic("Py_DecRef", "void", made)
        state = f.intrinsic("PyDict_SetItem", "i32", leaves, key.load(), none)
        require(f, state.equals(0), failed)

    f.loop(0, f.intrinsic("PyDict_Size", "i64", leaves), give)
    f.branch(end)
    f.begin(end)
    f.ret(hold_none(none))
    f.begin(failed)
    f.ret(f.const(0, "ptr"))


def _sequence(w: Writer, x: Pointer) -> tuple[Pointer, Value]:
    """The items of a tuple or a list, and their number."""
    f = w.f
    is_list = field(f, x, TYPE).equals(w.known("list"))
    inside = x.at(ITEMS).address
    items = is_list.select(field(f, x, ITEMS), inside)
    return items.pointer("ptr"), field(f, x, COUNT, "i64")
