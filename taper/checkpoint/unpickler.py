"""A reader of pickles that calls nothing a file names.

A pickle is a program for a stack machine:

    pickle   = PROTO? opcode* STOP
    opcode   = constant | container | memo | GLOBAL module name | REDUCE | NEWOBJ | BUILD | PERSID

Constants and containers are carried out here. Everything that could reach code is put to a
Vocabulary, which looks names up in tables of its own and answers only for what it knows; the rest
is an error that says which name, which opcode and which byte.
"""

from __future__ import annotations

import pickle
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

from taper.errors import CheckpointPickleError, TruncatedCheckpoint


class Vocabulary:
    """What a pickle may name, and what becomes of it. This one knows nothing."""

    def find(self, module: str, name: str) -> Any:
        """The object that stands for a name in the file."""
        raise CheckpointPickleError(f"GLOBAL {module}.{name} was not an allowed global by default")

    def call(self, function: Any, args: Any) -> Any:
        """What REDUCE gives for an object from `find` and arguments from the file."""
        raise CheckpointPickleError(f"Trying to call reduce for unrecognized function {function}")

    def new(self, cls: Any, args: Any) -> Any:
        """What NEWOBJ gives."""
        raise CheckpointPickleError(
            f"Can only create new object for nn.Parameter or classes "
            f"allowlisted via `add_safe_globals` but got {cls}"
        )

    def build(self, instance: Any, state: Any) -> None:
        """Gives an object made by `call` or `new` its state."""
        raise CheckpointPickleError(
            f"Can only build Tensor, Parameter, OrderedDict or types "
            f"allowlisted via `add_safe_globals`, but got {type(instance)}"
        )

    def persistent(self, key: Any) -> Any:
        """The object outside the pickle that is filed under `key`."""
        raise CheckpointPickleError(f"the pickle refers to something outside of it: {key!r}")


Handler = Callable[["DataUnpickler"], None]
_HANDLERS: dict[int, Handler] = {}
_ITEM_TARGETS = (dict, OrderedDict, Counter)
_DEEPEST_KEY = 100


def checked_key(key: Any) -> Any:
    """The key, unless it is a tower of tuples: hashing one would overflow the C stack."""
    level, depth = [key], 0
    while level := [part for item in level if type(item) is tuple for part in item]:
        depth += 1
        if depth > _DEEPEST_KEY or len(level) > 10_000:
            raise CheckpointPickleError("a dictionary key or set element is nested too deeply")
    return key


def _opcode(code: bytes) -> Callable[[Handler], Handler]:
    def enter(handler: Handler) -> Handler:
        _HANDLERS[code[0]] = handler
        return handler

    return enter


class DataUnpickler:
    """Reads one pickle from `file`, which is called `name` in errors."""

    def __init__(
        self,
        file: BinaryIO,
        vocabulary: Vocabulary,
        name: str = "the file",
        encoding: str = "utf-8",
    ) -> None:
        self.file = file
        self.vocabulary = vocabulary
        self.name = name
        self.encoding = encoding
        self.memo: dict[int, Any] = {}
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []

    def load(self) -> Any:
        """The pickled object.

        Raises: CheckpointPickleError for anything that is not plain data or not a pickle,
            TruncatedCheckpoint if the file ends early.
        """
        read = self.file.read
        handlers = _HANDLERS
        while True:
            code = read(1)
            if code == b".":
                break
            if not code:
                raise TruncatedCheckpoint(
                    f"{self.name} ends in the middle of a pickle (Ran out of input)"
                )
            handler = handlers.get(code[0])
            if handler is None:
                self.fail(code[0], f"Unsupported operand {code[0]}")
            try:
                handler(self)
            except TruncatedCheckpoint:
                raise
            except CheckpointPickleError as error:
                self.fail(code[0], str(error), error.__cause__)
            except (
                IndexError,
                KeyError,
                ValueError,
                TypeError,
                AttributeError,
                OverflowError,
                struct.error,
            ) as error:
                self.fail(
                    code[0], f"the pickle is damaged ({type(error).__name__}: {error})", error
                )
        if len(self.stack) != 1 or self.marked:
            self.fail(
                46, f"the pickle is damaged (it ends with {len(self.stack)} objects instead of one)"
            )
        return self.stack.pop()

    def fail(self, code: int, text: str, cause: BaseException | None = None) -> NoReturn:
        """Raises the error with the place in the file."""
        raise CheckpointPickleError(
            f"{text} (in {self.name}, opcode {bytes([code])!r} before byte {self.file.tell()})"
        ) from cause

    # ------------------------------------------------------------ reading

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        data = self.file.read(count) if count < 1 << 20 else self._take_much(count)
        if len(data) != count:
            raise TruncatedCheckpoint(
                f"{self.name} ends in the middle of a pickle: {count} bytes "
                f"wanted, {len(data)} left (Ran out of input)"
            )
        return data

    def _take_much(self, count: int) -> bytes:
        # A file may claim any length; piece by piece, memory grows only with what is there.
        pieces = []
        while count > 0:
            piece = self.file.read(min(count, 1 << 24))
            if not piece:
                break
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def number(self, layout: struct.Struct) -> int:
        """One number of a fixed layout."""
        return layout.unpack(self.take(layout.size))[0]

    def line(self) -> str:
        """Text up to the end of the line."""
        data = self.file.readline()
        if not data.endswith(b"\n"):
            raise TruncatedCheckpoint(
                f"{self.name} ends in the middle of a pickle (Ran out of input)"
            )
        return data[:-1].decode("utf-8")

    # ------------------------------------------------------------ the stack

    def push(self, value: Any) -> None:
        """Puts a value on the stack."""
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        """What was pushed since the last mark, which goes."""
        items = self.stack
        self.stack = self.marked.pop()
        return items

    def fill(self, opcode: str, items: list[Any]) -> None:
        """Puts alternating keys and values into the dict on top of the stack."""
        target = self.stack[-1]
        if type(target) not in _ITEM_TARGETS:
            raise CheckpointPickleError(
                f"Can only {opcode} for dict, collections.OrderedDict, collections.Counter, but "
                f"got {type(target)}"
            )
        for i in range(0, len(items), 2):
            target[checked_key(items[i])] = items[i + 1]

    def extend(self, opcode: str, items: list[Any]) -> None:
        """Appends to the list on top of the stack."""
        if type(self.stack[-1]) is not list:
            raise CheckpointPickleError(f"Can only {opcode} lists, but got {type(self.stack[-1])}")
        self.stack[-1].extend(items)

    def named(self, module: str, name: str) -> None:
        """Pushes what a name stands for, Python 2's spelling included."""
        from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

        if (module, name) in NAME_MAPPING:
            module, name = NAME_MAPPING[(module, name)]
        elif module in IMPORT_MAPPING:
            module = IMPORT_MAPPING[module]
        self.push(self.vocabulary.find(module, name))

    def text(self, data: bytes) -> Any:
        """A Python 2 str as the reader asked for it."""
        return data if self.encoding == "bytes" else data.decode(self.encoding)


_U1, _U2, _U4, _U8 = (struct.Struct("<" + kind) for kind in "BHIQ")
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")


@_opcode(pickle.PROTO)
def _protocol(reader: DataUnpickler) -> None:
    version = reader.number(_U1)
    if version > 5:
        raise CheckpointPickleError(f"unsupported pickle protocol: {version}")


@_opcode(pickle.FRAME)
def _frame(reader: DataUnpickler) -> None:
    reader.take(8)


# ---------------------------------------------------------------- constants

for _code, _value in (
    (pickle.NONE, None),
    (pickle.NEWTRUE, True),
    (pickle.NEWFALSE, False),
    (pickle.EMPTY_TUPLE, ()),
):
    _HANDLERS[_code[0]] = lambda reader, value=_value: reader.push(value)  # type: ignore[misc]

for _code, _make in ((pickle.EMPTY_LIST, list), (pickle.EMPTY_DICT, dict), (pickle.EMPTY_SET, set)):
    _HANDLERS[_code[0]] = lambda reader, make=_make: reader.push(make())  # type: ignore[misc]

for _code, _layout in (
    (pickle.BININT, _I4),
    (pickle.BININT1, _U1),
    (pickle.BININT2, _U2),
    (pickle.BINFLOAT, _F8),
):
    _HANDLERS[_code[0]] = (
        lambda reader, layout=_layout: reader.push(reader.number(layout))  # type: ignore[misc]
    )

for _code, _layout in ((pickle.LONG1, _U1), (pickle.LONG4, _I4)):
    _HANDLERS[_code[0]] = lambda reader, layout=_layout: reader.push(  # type: ignore[misc]
        int.from_bytes(reader.take(reader.number(layout)), "little", signed=True)
    )

for _code, _layout in (
    (pickle.SHORT_BINUNICODE, _U1),
    (pickle.BINUNICODE, _U4),
    (pickle.BINUNICODE8, _U8),
):
    _HANDLERS[_code[0]] = lambda reader, layout=_layout: reader.push(  # type: ignore[misc]
        reader.take(reader.number(layout)).decode("utf-8", "surrogatepass")
    )

for _code, _layout in (
    (pickle.SHORT_BINBYTES, _U1),
    (pickle.BINBYTES, _U4),
    (pickle.BINBYTES8, _U8),
):
    _HANDLERS[_code[0]] = (
        lambda reader, layout=_layout: reader.push(reader.take(reader.number(layout)))  # type: ignore[misc]
    )

for _code, _layout in ((pickle.SHORT_BINSTRING, _U1), (pickle.BINSTRING, _I4)):
    _HANDLERS[_code[0]] = (
        lambda reader, layout=_layout: reader.push(reader.text(reader.take(reader.number(layout))))  # type: ignore[misc]
    )


@_opcode(pickle.BYTEARRAY8)
def _bytearray(reader: DataUnpickler) -> None:
    reader.push(bytearray(reader.take(reader.number(_U8))))


# ---------------------------------------------------------------- stack and memo


@_opcode(pickle.MARK)
def _mark(reader: DataUnpickler) -> None:
    reader.marked.append(reader.stack)
    reader.stack = []


@_opcode(pickle.POP)
def _pop(reader: DataUnpickler) -> None:
    if reader.stack:
        reader.stack.pop()
    else:
        reader.since_mark()


@_opcode(pickle.POP_MARK)
def _pop_mark(reader: DataUnpickler) -> None:
    reader.since_mark()


@_opcode(pickle.DUP)
def _duplicate(reader: DataUnpickler) -> None:
    reader.push(reader.stack[-1])


for _code, _layout in ((pickle.BINGET, _U1), (pickle.LONG_BINGET, _U4)):
    _HANDLERS[_code[0]] = (
        lambda reader, layout=_layout: reader.push(reader.memo[reader.number(layout)])  # type: ignore[misc]
    )


def _remember(reader: DataUnpickler, layout: struct.Struct) -> None:
    reader.memo[reader.number(layout)] = reader.stack[-1]


for _code, _layout in ((pickle.BINPUT, _U1), (pickle.LONG_BINPUT, _U4)):
    _HANDLERS[_code[0]] = (
        lambda reader, layout=_layout: _remember(reader, layout)  # type: ignore[misc]
    )


@_opcode(pickle.MEMOIZE)
def _memoize(reader: DataUnpickler) -> None:
    reader.memo[len(reader.memo)] = reader.stack[-1]


# ---------------------------------------------------------------- containers


@_opcode(pickle.TUPLE)
def _tuple(reader: DataUnpickler) -> None:
    items = reader.since_mark()
    reader.push(tuple(items))


for _code, _count in ((pickle.TUPLE1, 1), (pickle.TUPLE2, 2), (pickle.TUPLE3, 3)):

    def _short_tuple(reader: DataUnpickler, count: int = _count) -> None:
        items = reader.stack[-count:]
        if len(items) != count:
            raise IndexError("stack underflow")
        reader.stack[-count:] = [tuple(items)]

    _HANDLERS[_code[0]] = _short_tuple


@_opcode(pickle.LIST)
def _list(reader: DataUnpickler) -> None:
    items = reader.since_mark()
    reader.push(items)


@_opcode(pickle.DICT)
def _dict(reader: DataUnpickler) -> None:
    items = reader.since_mark()
    reader.push({})
    reader.fill("DICT", items)


@_opcode(pickle.FROZENSET)
def _frozenset(reader: DataUnpickler) -> None:
    items = reader.since_mark()
    reader.push(frozenset(map(checked_key, items)))


@_opcode(pickle.ADDITEMS)
def _add_items(reader: DataUnpickler) -> None:
    items = reader.since_mark()
    if type(reader.stack[-1]) is not set:
        raise CheckpointPickleError(f"Can only add to sets, but got {type(reader.stack[-1])}")
    reader.stack[-1].update(map(checked_key, items))


@_opcode(pickle.APPEND)
def _append(reader: DataUnpickler) -> None:
    item = reader.stack.pop()
    reader.extend("append to", [item])


@_opcode(pickle.APPENDS)
def _appends(reader: DataUnpickler) -> None:
    items = reader.since_mark()
    reader.extend("extend", items)


@_opcode(pickle.SETITEM)
def _set_item(reader: DataUnpickler) -> None:
    value = reader.stack.pop()
    key = reader.stack.pop()
    reader.fill("SETITEM", [key, value])


@_opcode(pickle.SETITEMS)
def _set_items(reader: DataUnpickler) -> None:
    items = reader.since_mark()
    reader.fill("SETITEMS", items)


# ---------------------------------------------------------------- names and objects


@_opcode(pickle.GLOBAL)
def _global(reader: DataUnpickler) -> None:
    module = reader.line()
    reader.named(module, reader.line())


@_opcode(pickle.STACK_GLOBAL)
def _stack_global(reader: DataUnpickler) -> None:
    name, module = reader.stack.pop(), reader.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise CheckpointPickleError("STACK_GLOBAL requires str")
    reader.named(module, name)


@_opcode(pickle.REDUCE)
def _reduce(reader: DataUnpickler) -> None:
    args = reader.stack.pop()
    function = reader.stack.pop()
    if type(args) is not tuple:
        raise CheckpointPickleError(f"REDUCE needs a tuple of arguments, got {type(args)}")
    reader.push(reader.vocabulary.call(function, args))


@_opcode(pickle.NEWOBJ)
def _new_object(reader: DataUnpickler) -> None:
    args = reader.stack.pop()
    cls = reader.stack.pop()
    if type(args) is not tuple:
        raise CheckpointPickleError(f"NEWOBJ needs a tuple of arguments, got {type(args)}")
    reader.push(reader.vocabulary.new(cls, args))


@_opcode(pickle.BUILD)
def _build(reader: DataUnpickler) -> None:
    state = reader.stack.pop()
    reader.vocabulary.build(reader.stack[-1], state)


@_opcode(pickle.BINPERSID)
def _persistent(reader: DataUnpickler) -> None:
    reader.push(reader.vocabulary.persistent(reader.stack.pop()))
