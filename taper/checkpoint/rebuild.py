"""From what a file says of a tensor back to the tensor.

These functions answer to PyTorch's names (`_rebuild_tensor_v2` ...) and trust nothing: sizes,
strides and offset are checked against the storage, and attributes against taper's own fields.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.devices import layout
from taper.errors import CheckpointPickleError, MissingFeature
from taper.storage import Storage, memory_of
from taper.storage_view import TypedStorage, UntypedStorage
from taper.tensor import Tensor, wrap

_MOST_DIMS = 64  # numpy's limit


def _sizes(what: str, values: Any) -> tuple[int, ...]:
    good = isinstance(values, (tuple, list)) and all(type(n) is int and n >= 0 for n in values)
    if not good or len(values) > _MOST_DIMS:
        raise CheckpointPickleError(f"a tensor's {what} is damaged: {values!r}")
    return tuple(values)


def _looked_at(
    storage: Any, dtype: dtypes.dtype | None, offset: Any, size: Any, stride: Any
) -> Tensor:
    """A tensor over part of a storage; an error if it would reach beyond it."""
    if isinstance(storage, TypedStorage):
        dtype = dtype or storage.dtype
    elif not isinstance(storage, UntypedStorage):
        raise CheckpointPickleError(f"a tensor needs a storage, got {type(storage)}")
    if not isinstance(dtype, dtypes.dtype):
        raise CheckpointPickleError(f"{dtype!r} is not a dtype")
    size, stride = _sizes("size", size), _sizes("stride", stride)
    (offset,) = _sizes("storage offset", (offset,))
    if len(size) != len(stride):
        raise CheckpointPickleError(f"a tensor has {len(size)} sizes and {len(stride)} strides")
    inner = storage._storage
    memory = memory_of(inner.owner)
    if memory.dtype != dtype.numpy:
        if memory.nbytes % dtype.itemsize:
            raise CheckpointPickleError(f"a storage of {memory.nbytes} bytes cannot hold {dtype!r}")
        memory = memory.view(np.uint8).view(dtype.numpy)
        inner = Storage(memory)
    if 0 in size:
        array = np.empty(size, dtype.numpy)
    else:
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
        if last >= memory.size:
            raise CheckpointPickleError(
                f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset} "
                f"requiring {last + 1} elements are out of bounds for storage of {memory.size} "
                "elements"
            )
        step = dtype.itemsize
        array = np.ndarray(size, memory.dtype, memory, offset * step, [s * step for s in stride])
    made = wrap(array)
    made._storage = inner
    return made


def _require_grad(tensor: Tensor, wanted: Any) -> Tensor:
    if wanted:
        if tensor.dtype.category < dtypes.FLOAT:
            raise CheckpointPickleError(f"a tensor of {tensor.dtype!r} is said to require grad")
        tensor._requires_grad = True
    return tensor


def _resolved(tensor: Tensor, metadata: Any) -> Tensor:
    """Carries out the conjugation or negation that PyTorch only marks."""
    if not metadata:
        return tensor
    if not isinstance(metadata, dict) or metadata.keys() - {"conj", "neg"}:
        raise MissingFeature(
            "load",
            f"a tensor carries metadata {metadata!r}, which taper does "
            "not know; save a clone() of it",
        )
    array = tensor._array
    if metadata.get("conj"):
        array = np.conjugate(array)
    if metadata.get("neg"):
        array = np.negative(array)
    return wrap(array)


# Argument names below are those of PyTorch's functions of the same name.


def rebuild_tensor(storage: Any, storage_offset: Any, size: Any, stride: Any) -> Tensor:
    """torch._utils._rebuild_tensor: a plain tensor."""
    return _looked_at(storage, None, storage_offset, size, stride)


def rebuild_tensor_v2(
    storage: Any,
    storage_offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    backward_hooks: Any,
    metadata: Any = None,
) -> Tensor:
    """torch._utils._rebuild_tensor_v2: a tensor. Hooks are never restored."""
    made = _looked_at(storage, None, storage_offset, size, stride)
    return _require_grad(_resolved(made, metadata), requires_grad)


def rebuild_tensor_v3(
    storage: Any,
    storage_offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    backward_hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Tensor:
    """torch._utils._rebuild_tensor_v3: a tensor of a dtype that has no storage class."""
    made = _looked_at(storage, dtype, storage_offset, size, stride)
    return _require_grad(_resolved(made, metadata), requires_grad)


def rebuild_parameter(data: Any, requires_grad: Any, backward_hooks: Any) -> Tensor:
    """torch._utils._rebuild_parameter."""
    from taper.nn.parameter import Parameter

    if not isinstance(data, Tensor):
        raise CheckpointPickleError(f"a parameter needs a tensor, got {type(data)}")
    return Parameter(data, bool(requires_grad))


def rebuild_parameter_with_state(
    data: Any, requires_grad: Any, backward_hooks: Any, state: Any
) -> Tensor:
    """torch._utils._rebuild_parameter_with_state: a parameter with attributes of the user's."""
    return give_state(rebuild_parameter(data, requires_grad, backward_hooks), state)


def rebuild_from_type_v2(func: Any, new_type: Any, args: Any, state: Any) -> Tensor:
    """torch._tensor._rebuild_from_type_v2: a subclass of Tensor, or one with attributes."""
    if func not in TENSOR_BUILDERS or not isinstance(args, tuple):
        raise CheckpointPickleError(f"{func!r} does not build a tensor")
    made = func(*args)
    if type(made) is not new_type:
        if not isinstance(new_type, type) or not issubclass(new_type, Tensor):
            raise CheckpointPickleError(f"{new_type!r} is not a subclass of Tensor")
        made = made.as_subclass(new_type)
    return give_state(made, state)


def missing_sparse(*args: Any) -> Tensor:
    """Stands for PyTorch's sparse tensors."""
    raise MissingFeature("load", "the file holds a sparse tensor; save its to_dense() instead")


def missing_quantized(*args: Any) -> Tensor:
    """Stands for PyTorch's quantized tensors."""
    raise MissingFeature("load", "the file holds a quantized tensor; save its dequantize() instead")


def missing_meta(*args: Any) -> Tensor:
    """Stands for PyTorch's tensors without data."""
    raise MissingFeature("load", "the file holds a tensor on the 'meta' device, which has no data")


TENSOR_BUILDERS = (
    rebuild_tensor,
    rebuild_tensor_v2,
    rebuild_tensor_v3,
    rebuild_parameter,
    rebuild_parameter_with_state,
)

# PyTorch's names of the functions here.
BUILDERS = {
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": rebuild_parameter_with_state,
    "torch._tensor._rebuild_from_type_v2": rebuild_from_type_v2,
    "torch._utils._rebuild_sparse_tensor": missing_sparse,
    "torch._utils._rebuild_qtensor": missing_quantized,
    "torch._utils._rebuild_meta_tensor_no_storage": missing_meta,
}


def get_layout(name: Any) -> layout:
    """torch.serialization._get_layout: the layout called "torch.strided" and the like."""
    from taper import devices

    found = getattr(devices, str(name).removeprefix("torch."), None)
    if not isinstance(found, layout):
        raise CheckpointPickleError(f"there is no layout {name!r}")
    return found


BUILDERS["torch.serialization._get_layout"] = get_layout

# ---------------------------------------------------------------- attributes


def _is_own_field(key: Any) -> bool:
    """Whether an attribute belongs to taper and not to the user."""
    return (
        type(key) is not str
        or hasattr(Tensor, key)
        or key in Tensor.__annotations__
        or key in ("_post_accumulate", "__dict__", "__class__")
    )


def user_state(tensor: Tensor) -> dict[str, Any] | None:
    """Attributes that the user has set on the tensor; None if there are none."""
    state = {k: v for k, v in tensor.__dict__.items() if not _is_own_field(k)}
    return state or None


def give_state(tensor: Tensor, state: Any) -> Tensor:
    """Sets attributes from a file; those that would overwrite a tensor's own are refused."""
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    for part in parts:
        if not part:
            continue
        if not isinstance(part, dict):
            raise CheckpointPickleError(f"a tensor's attributes must be a dict, got {type(part)}")
        for key, value in part.items():
            if _is_own_field(key):
                raise CheckpointPickleError(f"a file may not set the tensor's attribute {key!r}")
            setattr(tensor, key, value)
    return tensor


def rebuild_plain(
    cls: type[Tensor] | None,
    array: np.ndarray,
    dtype: str,
    requires_grad: bool,
    state: dict[str, Any] | None,
) -> Tensor:
    """What a tensor pickled by `pickle` itself comes back as."""
    if dtype == "bfloat16" and array.dtype == np.uint16:
        array = array.view(dtypes.bfloat16.numpy)
    made = wrap(array, cls or Tensor)
    made._requires_grad = requires_grad
    made.__dict__.update(state or {})
    return made
