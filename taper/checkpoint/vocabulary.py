"""What a checkpoint may name: the table of the data-only reader, and the trusting reader.

The table holds PyTorch's: tensors and how they are rebuilt, dtypes, sizes, devices, ordered
dictionaries, counters, sets, complex numbers and bytes. A user adds to it with `add_safe_globals`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Any, BinaryIO

from taper import devices, dtypes
from taper.checkpoint import names
from taper.checkpoint.rebuild import BUILDERS
from taper.checkpoint.storages import STORAGE_TYPES
from taper.checkpoint.unpickler import Vocabulary, checked_key
from taper.errors import CheckpointPickleError
from taper.size import Size
from taper.tensor import Tensor

# ---------------------------------------------------------------- what the user allows

_allowed: list[Any] = []
_BLOCKED = ("sys", "os", "posix", "nt")


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Lets `load` use these classes and functions: a file may then call them.

    An item is a class or function, or a pair of it and the full name that stands in the file.
    """
    _allowed.extend(item for item in safe_globals if item not in _allowed)


def get_safe_globals() -> list[Any]:
    """What `add_safe_globals` has allowed so far."""
    return list(_allowed)


def clear_safe_globals() -> None:
    """Takes back everything that `add_safe_globals` has allowed."""
    _allowed.clear()


class safe_globals:
    """Allows classes and functions inside a with block."""

    def __init__(self, safe_globals: list[Any]) -> None:
        self._added = safe_globals

    def __enter__(self) -> None:
        self._before = get_safe_globals()
        add_safe_globals(self._added)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _allowed[:] = self._before


def _user_names() -> dict[str, Any]:
    """Full name in the file -> what the user allows under it."""
    found: dict[str, Any] = {}
    for item in _allowed:
        if isinstance(item, tuple):
            if len(item) != 2:
                raise ValueError(
                    "Expected tuple of length 2 (global, str of callable full path), "
                    f"but got tuple of length: {len(item)}"
                )
            if type(item[1]) is not str:
                raise TypeError(
                    "Expected second item in tuple to be str of callable full path, "
                    f"but got: {type(item[1])}"
                )
            found[item[1]] = item[0]
            continue
        found[f"{item.__module__}.{item.__qualname__}"] = item
        torch_name = names.torch_name(item, item.__qualname__)
        if torch_name is not None:
            found[".".join(torch_name)] = item
    return found


# ---------------------------------------------------------------- the table


def _ordered_dict(items: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict((checked_key(key), value) for key, value in _pairs(items))


def _counter(items: Any = ()) -> Counter[Any]:
    return Counter({checked_key(key): value for key, value in _pairs(items)})


def _pairs(items: Any) -> Any:
    return items.items() if isinstance(items, dict) else items


def _set(items: Any = ()) -> set[Any]:
    return set(map(checked_key, items))


def _bytearray(data: Any = b"", encoding: Any = None) -> bytearray:
    # bytearray(n) makes n zeros: a few bytes of file could ask for all memory.
    if encoding is not None:
        data = _encode(data, encoding)
    if not isinstance(data, (bytes, bytearray)):
        raise CheckpointPickleError(f"bytearray() of {type(data)} is not allowed")
    return bytearray(data)


def _encode(text: Any, encoding: Any = "utf-8") -> bytes:
    # Pickle writes bytes in protocol 2 as encode(text, "latin1").
    if type(text) is not str or encoding not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise CheckpointPickleError(
            f"_codecs.encode of {type(text)} by {encoding!r} is not allowed"
        )
    return text.encode(encoding)


_CALLS: dict[str, tuple[Any, Callable[..., Any]]] = {
    # name: what stands on the stack, and what is called in its place
    "collections.OrderedDict": (OrderedDict, _ordered_dict),
    "collections.Counter": (Counter, _counter),
    "builtins.set": (set, _set),
    "builtins.complex": (complex, complex),
    "builtins.bytearray": (bytearray, _bytearray),
    "_codecs.encode": (_encode, _encode),
    "torch.Size": (Size, Size),
    "torch.device": (devices.device, devices.device),
    **{name: (function, function) for name, function in BUILDERS.items()},  # type: ignore[misc]
}


def _values() -> dict[str, Any]:
    values = {name: shown for name, (shown, _) in _CALLS.items()}
    values["torch.Tensor"] = Tensor
    for name, dtype in dtypes.names().items():
        values["torch." + name] = dtype
    for name, kind in STORAGE_TYPES.items():
        for module in ("torch", "torch.storage", "torch.cuda"):
            values[f"{module}.{name}"] = kind
    for name, found in vars(devices).items():
        if isinstance(found, devices.memory_format):
            values["torch." + name] = found
    return values


PARAMETER = "torch.nn.parameter.Parameter"
_VALUES = _values()
_CALLABLE = {id(shown): called for shown, called in _CALLS.values()}


def _value(full: str) -> Any:
    """What stands for a name in the table; None if it has none."""
    if full == PARAMETER:
        from taper.nn.parameter import Parameter

        return Parameter
    return _VALUES.get(full)


class CheckpointVocabulary(Vocabulary):
    """PyTorch's safe names and the user's; `find_storage` answers persistent ids."""

    def __init__(self, find_storage: Callable[[Any], Any]) -> None:
        self._find_storage = find_storage
        self._user = _user_names() if _allowed else {}

    def find(self, module: str, name: str) -> Any:
        """The object that stands for a name in the file."""
        full = f"{module}.{name}"
        if module.partition(".")[0] in _BLOCKED:
            raise CheckpointPickleError(
                f"Trying to load unsupported GLOBAL {full} whose module {module} is blocked."
            )
        found = _value(full)
        if found is None:
            found = self._user.get(full)
        if found is None:
            shown = full.removeprefix("builtins.")
            raise CheckpointPickleError(
                f"Unsupported global: GLOBAL {shown} was not an allowed global by default. Please "
                f"use `torch.serialization.add_safe_globals([{shown}])` or the "
                f"`torch.serialization.safe_globals([{shown}])` context manager to allowlist this "
                "global if you trust this class/function."
            )
        return found

    def _is_users(self, found: Any) -> bool:
        return any(found is item for item in self._user.values())

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        """Calls our own function for a name of the table, or what the user has allowed."""
        ours = _CALLABLE.get(id(function))
        if ours is not None:
            return ours(*args)
        if self._is_users(function):
            return function(*args)
        return super().call(function, args)

    def new(self, cls: Any, args: tuple[Any, ...]) -> Any:
        """An object of a class of the table, or of one that the user has allowed."""
        ours = _CALLABLE.get(id(cls))
        if ours is not None:
            return ours(*args)
        if args and isinstance(args[0], Tensor) and cls is _value(PARAMETER):
            return cls(*args)
        if self._is_users(cls):
            return cls.__new__(cls, *args)
        return super().new(cls, args)

    def build(self, instance: Any, state: Any) -> None:
        """Attributes of an ordered dictionary, or the state of a class that the user allowed."""
        if type(instance) is OrderedDict and isinstance(state, dict):
            instance.__dict__.update(state)  # state dicts carry _metadata
        elif self._is_users(type(instance)):
            _set_state(instance, state)
        else:
            super().build(instance, state)

    def persistent(self, key: Any) -> Any:
        """A storage."""
        return self._find_storage(key)


def _set_state(instance: Any, state: Any) -> None:
    """What pickle does with a state."""
    setter = getattr(instance, "__setstate__", None)
    if setter is not None:
        setter(state)
        return
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        instance.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(instance, name, value)


# ---------------------------------------------------------------- the trusting reader


def full_unpickler(
    module: Any, file: BinaryIO, find_storage: Callable[[Any], Any], options: dict[str, Any]
) -> Any:
    """An unpickler of `module` that finds taper's objects under PyTorch's names.

    It runs what the file names: for trusted files only.
    """

    class FullUnpickler(module.Unpickler):  # type: ignore[misc]
        def find_class(self, module_name: str, name: str) -> Any:
            found = _value(f"{module_name}.{name}")
            if found is not None:
                return found
            if module_name.partition(".")[0] != "torch":
                return super().find_class(module_name, name)
            try:
                return names.own_object(module_name, name)
            except AttributeError as error:
                raise CheckpointPickleError(
                    f"the file needs {module_name}.{name}, which taper does not have"
                ) from error

        def persistent_load(self, key: Any) -> Any:
            if isinstance(key, tuple) and key and key[0] == "module":
                return key[1]  # the old format keeps the source of classes beside them
            return find_storage(key)

    return FullUnpickler(file, **options)
