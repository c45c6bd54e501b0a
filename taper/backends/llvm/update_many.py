"""An optimizer's step over many small parameters as one built-in.

A step of Adam on a dozen small parameters is 5 us of arithmetic; to gather parameters and gradients
into flat arrays and to scatter the results takes three times as long. Here machine code finds the
arrays itself, in the slots of the parameters and of their gradients, and runs the rule on each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taper.backends.llvm.call import read_argument
from taper.backends.llvm.objects import (
    COUNT,
    DTYPE,
    HEADER,
    ITEMS,
    NDIM,
    SHAPE,
    TYPE,
    field,
    hold,
    hold_none,
    is_in_one_piece,
    object_at,
    require,
)
from taper.backends.llvm.pointwise import Pointwise
from taper.backends.llvm.text import Module, Pointer, Value

if TYPE_CHECKING:
    from taper.backends.llvm.tape import Writer


@dataclass(frozen=True)
class Together:
    """A rule's kernel on many parameters in one call, each with its gradient read from its tensor.

    Call: the parameters and, as they should be, their arrays (tuples), then the state arrays, in
    which the parameters' parts lie one behind the other, and the numbers. Gives None, with nothing
    done, unless each parameter still has its array and a gradient of the same dtype and shape, all
    in one piece. Counts a write to each parameter's memory.
    """

    kernel: Pointwise
    # Bytes to the slots: a tensor's array, gradient and storage, the storage's version.
    array: int
    grad: int
    storage: int
    version: int

    exports = ("entry",)

    def write(self, module: Module) -> None:
        """The kernel, and the entry: all is checked first, then all is done."""
        kernel = self.kernel.write_kernel(module, "kernel", True)
        words: dict[str, Any] = {"owner": "ptr", "args": "ptr", "nargs": "i64"}
        f = module.function("entry", "ptr", False, ("owner", "args"), **words)
        table = field(f, f.pointer("owner", "i8"), COUNT).pointer("ptr")
        none, dtype, *kinds = (table.load(i) for i in range(4))
        params, arrays = (
            f.pointer("args", "ptr").load(i).pointer("i8").at(ITEMS).as_("ptr") for i in range(2)
        )
        count = field(f, f.pointer("args", "ptr").load(0).pointer("i8"), COUNT, "i64")
        unusual = f.label("unusual")

        def is_tensor(x: Pointer) -> Value:
            kind = field(f, x, TYPE)
            return kind.equals(kinds[0]) | kind.equals(kinds[1])

        def check(i: Value) -> None:
            param = params.load(i).pointer("i8")
            require(f, is_tensor(param), unusual)
            array = field(f, param, self.array)
            grad = field(f, param, self.grad)
            known = array.equals(arrays.load(i)) & field(f, param, self.storage).differs(none)
            require(f, known & grad.differs(none), unusual)
            require(f, is_tensor(grad.pointer("i8")), unusual)
            own, other = array.pointer("i8"), object_at(f, grad.pointer("i8"), self.array)
            right = is_in_one_piece(f, own) & is_in_one_piece(f, other)
            right = right & field(f, own, DTYPE).equals(dtype)
            right = right & field(f, other, DTYPE).equals(dtype)
            ndim = field(f, own, NDIM, "i32")
            require(f, right & ndim.equals(field(f, other, NDIM, "i32")), unusual)
            one, two = (field(f, x, SHAPE).pointer("i64") for x in (own, other))
            (same,) = f.loop(
                0, ndim.cast("sext", "i64"),
                lambda d, same: (same & one.load(d).equals(two.load(d)),),
                init=(f.const(True, "i1"),),
            )  # fmt: skip
            require(f, same, unusual)

        f.loop(0, count, check)
        states = len(self.kernel.inputs) - 2
        element = "float" if self.kernel.inputs[0] == "f" else "double"
        flat = [
            field(f, f.pointer("args", "ptr").load(2 + j).pointer("i8"), HEADER).pointer(element)
            for j in range(states)
        ]
        numbers = [read_argument(f, 2 + states + j, "float") for j in range(self.kernel.numbers)]

        def update(i: Value, offset: Value) -> tuple[Value]:
            param = params.load(i).pointer("i8")
            own = object_at(f, param, self.array)
            other = object_at(f, object_at(f, param, self.grad), self.array)
            sizes = field(f, own, SHAPE).pointer("i64")
            (size,) = f.loop(
                0, field(f, own, NDIM, "i32").cast("sext", "i64"),
                lambda d, size: (size * sizes.load(d),), init=(f.const(1, "i64"),),
            )  # fmt: skip
            data = [field(f, x, HEADER) for x in (own, other)]
            f.call(kernel, *data, *[x.at(offset).address for x in flat], *numbers, 0, size)
            storage = object_at(f, param, self.storage)
            before = field(f, storage, self.version)
            version = f.intrinsic("PyLong_AsLongLong", "i64", before) + 1
            after = f.intrinsic("PyLong_FromLongLong", "ptr", version)
            storage.at(self.version).as_("ptr").store(after)
            f.intrinsic("Py_DecRef", "void", before)
            return (offset + size,)

        f.loop(0, count, update, init=(f.const(0, "i64"),))
        f.ret(hold(dtype))  # something that is not None
        f.begin(unusual)
        f.ret(hold_none(none))


def write_holds(w: Writer) -> None:
    """holds(params, known, arrays, entries, names, held): whether an optimizer's plan may be used again.

    `params` (a list) has the parameters `known`, with the arrays `arrays`; None stands for one that
    has no gradient. In the dictionary entries[i] the tensor names[i] has the array held[i]. All but
    the first are tuples. Gives None if something is not so, and True.
    """
    f = w.f
    none = w.known("none")
    changed = f.label("changed")
    params = field(f, w.argument(0), ITEMS).pointer("ptr")
    known, arrays, entries, names, held = (w.argument(i).at(ITEMS).as_("ptr") for i in range(1, 6))

    def is_tensor(x: Pointer) -> Value:
        kind = field(f, x, TYPE)
        return kind.equals(w.known("tensor")) | kind.equals(w.known("parameter"))

    def look_at_param(i: Value) -> None:
        param = params.load(i).pointer("i8")
        require(f, param.address.equals(known.load(i)) & is_tensor(param), changed)
        idle = w.read(param, "grad").equals(none)
        require(f, idle.select(none, w.read(param, "array")).equals(arrays.load(i)), changed)

    def look_at_entry(i: Value) -> None:
        entry = entries.load(i).pointer("i8")
        found = f.intrinsic("PyDict_GetItem", "ptr", entry, names.load(i)).pointer("i8")
        require(f, found.address.differs(0), changed)
        require(f, is_tensor(found), changed)
        require(f, w.read(found, "array").equals(held.load(i)), changed)

    count = field(f, w.argument(0), COUNT, "i64")
    is_list = field(f, w.argument(0), TYPE).equals(w.known("list"))
    require(f, is_list & count.equals(field(f, w.argument(1), COUNT, "i64")), changed)
    f.loop(0, count, look_at_param)
    f.loop(0, field(f, w.argument(3), COUNT, "i64"), look_at_entry)
    f.ret(hold(w.known("true")))
    f.begin(changed)
    f.ret(hold_none(none))
