"""The pickler of checkpoints: tensors by storage, taper's classes under PyTorch's names."""

from __future__ import annotations

import pickle
import sys
from collections import OrderedDict
from types import FunctionType
from typing import Any, BinaryIO

from taper import dtypes
from taper.checkpoint import names, rebuild
from taper.checkpoint.storages import FiledStorages, StorageType, has_storage_type
from taper.devices import device, layout, memory_format
from taper.size import Size
from taper.storage import storage_of
from taper.storage_view import TypedStorage, UntypedStorage
from taper.tensor import Tensor

_TORCH_NAMES: dict[Any, tuple[str, str]] = {
    function: (path.rpartition(".")[0], path.rpartition(".")[2])
    for path, function in rebuild.BUILDERS.items()
}
_TORCH_NAMES.update(
    {Size: ("torch", "Size"), device: ("torch", "device"), Tensor: ("torch", "Tensor")}
)


def _reduced(tensor: Tensor) -> tuple[Any, ...]:
    """The call that rebuilds a tensor, in PyTorch's terms."""
    state = rebuild.user_state(tensor)
    args: tuple[Any, ...]
    hooks: OrderedDict[Any, Any] = OrderedDict()  # hooks are code and are not saved
    parameter = _parameter()
    if parameter is not None and isinstance(tensor, parameter):
        args = (tensor.data, tensor.requires_grad, hooks)
        if state is None:
            return rebuild.rebuild_parameter, args
        return rebuild.rebuild_parameter_with_state, (*args, state)
    storage: Any = storage_of(tensor)
    layout_of = (
        tensor.storage_offset(),
        tuple(tensor.shape),
        tensor.stride(),
        tensor.requires_grad,
        hooks,
    )
    function: Any
    if has_storage_type(tensor.dtype):
        function = rebuild.rebuild_tensor_v2
        args = (TypedStorage(storage, tensor.dtype), *layout_of)
    else:
        function = rebuild.rebuild_tensor_v3
        args = (UntypedStorage(storage), *layout_of, tensor.dtype)
    if type(tensor) is Tensor and state is None:
        return function, args
    return rebuild.rebuild_from_type_v2, (function, type(tensor), args, state)


class _Filing:
    """What every pickler of checkpoints does: storages are filed, tensors refer to them."""

    storages: FiledStorages

    def persistent_id(self, obj: Any) -> Any:
        """The id of a storage; None for what is pickled in place."""
        if type(obj) is TypedStorage or type(obj) is UntypedStorage:
            return self.storages.identify(obj)
        return None

    def reducer_override(self, obj: Any) -> Any:
        """How tensors and layouts are pickled; the rest as ever."""
        if isinstance(obj, Tensor) and type(obj).__reduce_ex__ in _own_reductions():
            return _reduced(obj)
        if isinstance(obj, layout):
            return rebuild.get_layout, (repr(obj),)
        return NotImplemented


def _parameter() -> Any:
    """The class of parameters; None if taper.nn was never loaded, so that there are none."""
    module = sys.modules.get("taper.nn.parameter")
    return None if module is None else module.Parameter


def _own_reductions() -> tuple[Any, ...]:
    """The ways to pickle a tensor that are taper's and not a subclass's own."""
    parameter = _parameter()
    return Tensor.__reduce_ex__, getattr(parameter, "__reduce_ex__", None)


class NamedPickler(_Filing, pickle._Pickler):
    """Writes PyTorch's names for what is taper's.

    It stands on Python's own pickler written in Python, because the compiled one does not let the
    name of a class be chosen; large memory goes round it anyway.
    """

    dispatch = dict(pickle._Pickler.dispatch)

    def reducer_override(self, obj: Any) -> Any:
        """As above; a storage type is written as a name."""
        return obj.name if type(obj) is StorageType else super().reducer_override(obj)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """Writes a class or function by name."""
        own = name or getattr(obj, "__qualname__", None) or obj.__name__
        named = _torch_name(obj, own)
        if named is None or "." in named[1]:
            super().save_global(obj, name)  # type: ignore[misc]
            return
        self.write(b"c" + f"{named[0]}\n{named[1]}\n".encode())  # type: ignore[attr-defined]
        self.memoize(obj)  # type: ignore[attr-defined]

    dispatch[FunctionType] = save_global  # type: ignore[assignment]


def _torch_name(obj: Any, name: str) -> tuple[str, str] | None:
    if isinstance(obj, (dtypes.dtype, memory_format)):
        return "torch", obj.name
    if type(obj) is StorageType:
        return ("torch.storage" if obj.dtype is None else "torch"), obj.name
    try:
        known = _TORCH_NAMES.get(obj)
    except TypeError:  # not hashable
        known = None
    return known or names.torch_name(obj, name)


def checkpointer(file: BinaryIO, protocol: int, storages: FiledStorages, module: Any) -> Any:
    """A pickler that writes to `file`; `module` is the caller's pickle module, if any.

    A foreign pickler names taper's classes by taper's own names: PyTorch cannot read such files.
    """
    if module is None or module is pickle:
        made = NamedPickler(file, protocol)
    else:
        made = type("ForeignPickler", (_Filing, module.Pickler), {})(file, protocol)
    made.storages = storages
    return made
