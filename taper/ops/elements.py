"""Rarely used methods: Python functions on each element, hashes, orders of dimensions, files."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from taper import dtypes
from taper.devices import channels_last, channels_last_3d
from taper.dispatch import check_writable, touch
from taper.errors import MissingFeature, ShapeError
from taper.op import METHODS, public
from taper.ops.arguments import require_tensor
from taper.ops.from_data import finish, from_numpy
from taper.ops.parts import diagonal
from taper.ops.view import view
from taper.shapes import canonical_dims, sizes_of
from taper.tensor import Tensor, wrap

# ---------------------------------------------------------------- Python functions


def _elementwise(name: str, tensor: Tensor, others: tuple[Any, ...], function: Any) -> Tensor:
    """Writes function(element, other elements ...) over each element."""
    if tensor.requires_grad or any(x.requires_grad for x in others):
        raise RuntimeError(
            f"Can't call {name}() on Variable that requires grad. Use var.detach().{name}() "
            "instead."
        )
    if not callable(function):
        raise TypeError(f"'{type(function).__name__}' object is not callable")
    check_writable(tensor, name, False)
    array = tensor._array
    rest = [x.expand(array.shape)._array for x in others]
    for place in np.ndindex(*array.shape):
        made = function(array[place].item(), *[x[place].item() for x in rest])
        if not hasattr(made, "__float__") and not isinstance(made, complex):
            raise TypeError(f"must be real number, not {type(made).__name__}")
        array[place] = made
    touch(tensor)
    return tensor


@public(method=True, namespaces=())
def apply_(input: Tensor, callable: Callable[[Any], Any]) -> Tensor:
    """Replaces each element x by callable(x), a call of Python for each: slow."""
    return _elementwise("apply_", input, (), callable)


@public(method=True, namespaces=())
def map_(input: Tensor, tensor: Tensor, callable: Callable[[Any, Any], Any]) -> Tensor:
    """Replaces each element x by callable(x, y), where y is of `tensor`, which may broadcast."""
    require_tensor("map_", "other", 1, tensor)
    return _elementwise("map_", input, (tensor,), callable)


@public(method=True, namespaces=())
def map2_(input: Tensor, x: Tensor, y: Tensor, callable: Callable[[Any, Any, Any], Any]) -> Tensor:
    """Replaces each element by callable(element, x, y), where x and y are of the other tensors."""
    require_tensor("map2_", "x", 1, x)
    require_tensor("map2_", "y", 2, y)
    return _elementwise("map2_", input, (x, y), callable)


@public(method=True, namespaces=())
def fill_diagonal_(input: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Sets the main diagonal; with `wrap`, that of a tall matrix begins anew below each square.

    Of more than two dimensions, which must be equal, it is the elements with all indices equal.
    """
    shape = input._array.shape
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    if len(shape) == 2:
        period = shape[1] + 1
        for start in range(0, shape[0] if wrap else 1, period):
            diagonal(input[start:]).fill_(fill_value)
        return input
    places = np.arange(shape[0])
    input[(places,) * len(shape)] = fill_value
    return input


# ---------------------------------------------------------------- shape and memory


@public(method=True, namespaces=())
def dim_order(input: Tensor, ambiguity_check: Any = False) -> tuple[int, ...]:
    """The dimensions from the outermost in memory to the innermost.

    Raises: RuntimeError if `ambiguity_check` is set and sizes of 1 leave several answers, or if
        none is that of the memory formats in `ambiguity_check`.
    """
    strides = input._array.strides
    order = tuple(sorted(range(len(strides)), key=lambda d: (-strides[d], d)))
    if ambiguity_check is not False:
        extents = [n for n in input._array.shape if n > 1]
        formats = ambiguity_check if isinstance(ambiguity_check, (list, tuple)) else ()
        known = [f for f in formats if input.is_contiguous(f)]
        if (len(extents) < len(strides) or len(set(strides)) < len(strides)) and len(known) != 1:
            raise RuntimeError(
                "The tensor does not have unique dim order, or cannot map to exact one of the "
                "given memory formats."
            )
        if known and known[0] in (channels_last, channels_last_3d):
            return (0, *range(2, len(strides)), 1)
        if known:
            return tuple(range(len(strides)))
    return order


@public(method=True, namespaces=())
def const_data_ptr(input: Tensor) -> int:
    """Address of the first element, for reading."""
    return input.data_ptr()


@public(method=True, namespaces=())
def resize(input: Tensor, *sizes: Any) -> Tensor:
    """The elements in another shape: a view. Raises: RuntimeError for another number of them."""
    wanted = sizes_of(sizes, "resize")
    if int(np.prod(wanted)) != input._array.size:
        raise ShapeError(
            f"requested resize to {'x'.join(map(str, wanted))} ({int(np.prod(wanted))} elements in "
            f"total), but the given tensor has a size of {'x'.join(map(str, input.shape))} "
            f"({input._array.size} elements). autograd's resize can only change the shape of a "
            "given tensor, while preserving the number of elements. "
        )
    return view(input, wanted)


@public(method=True, namespaces=())
def resize_as(input: Tensor, tensor: Tensor) -> Tensor:
    """resize to the shape of `tensor`."""
    return resize(input, tuple(tensor.shape))


@public(method=True, namespaces=())
def module_load(input: Tensor, other: Tensor, assign: bool = False) -> Tensor:
    """What load_state_dict puts in the place of this parameter or buffer when it loads `other`.

    With `assign` that is `other` itself, else this tensor's values, replaced.
    """
    return other.detach() if assign else input.copy_(other).detach()


@public(method=True, namespaces=())
def record_stream(input: Tensor, stream: Any) -> None:
    """Raises: RuntimeError: there are no streams without a GPU."""
    raise RuntimeError("record_stream: tensors on the CPU are not used by streams")


def _grad_dtype(self: Tensor) -> dtypes.dtype:
    """The dtype of the gradient: the tensor's own."""
    if not self.is_leaf:
        raise RuntimeError("grad_dtype can only be accessed on leaf tensors.")
    return self.dtype


def _set_grad_dtype(self: Tensor, wanted: dtypes.dtype | None) -> None:
    if wanted is not self.dtype:
        raise MissingFeature(
            "grad_dtype", "gradients have the dtype of their tensor; cast the gradient in a hook"
        )


METHODS["grad_dtype"] = property(_grad_dtype, _set_grad_dtype)  # type: ignore[assignment]


# ---------------------------------------------------------------- other sources and targets


@public()
def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of any object that has `__dlpack__`, such as an array."""
    if isinstance(ext_tensor, Tensor):
        return ext_tensor.clone() if copy else ext_tensor.detach()
    if not hasattr(ext_tensor, "__dlpack__"):
        raise TypeError(f"from_dlpack needs an object with __dlpack__, got {type(ext_tensor)}")
    array = np.from_dlpack(ext_tensor)
    return from_numpy(array.copy() if copy or not array.flags.writeable else array)


@public()
def to_dlpack(tensor: Tensor) -> Any:
    """A DLPack capsule of the tensor's memory."""
    return tensor.__dlpack__()


@public()
def from_file(
    filename: str | os.PathLike[str],
    shared: bool | None = None,
    size: int = 0,
    *,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """A 1-d tensor of `size` elements on the bytes of a file, mapped into memory.

    With `shared`, writes go to the file, which is created or lengthened if need be; without it
    they stay in memory, and the file must be long enough.
    """
    chosen = (dtype or dtypes.get_default_dtype()).numpy
    needed = size * chosen.itemsize
    if shared and (not os.path.exists(filename) or os.path.getsize(filename) < needed):
        with open(filename, "ab") as file:
            file.truncate(needed)
    if os.path.getsize(filename) < needed:
        raise RuntimeError(
            f"file {os.fspath(filename)} has {os.path.getsize(filename)} bytes, {needed} are needed"
        )
    if size == 0:
        return finish(np.empty(0, chosen), False, device, layout)
    mapped = np.memmap(filename, chosen, "r+" if shared else "c", shape=(size,))
    return finish(np.asarray(mapped), False, device, layout)


@public(method=True, out=True)
def hash_tensor(input: Tensor, dim: Any = None, *, keepdim: bool = False, mode: int = 0) -> Tensor:
    """The elements' 64-bit patterns, as float64 or int64, combined by exclusive or.

    Dtype: uint64. Raises: RuntimeError for another `mode` than 0, and for complex numbers.
    """
    array = input._array
    if mode != 0:
        raise RuntimeError(f"Unknown hash_tensor mode: {mode}")
    if array.dtype.kind == "c":
        raise NotImplementedError(
            f"\"hash_tensor\" not implemented for '{dtypes.cpp_name(input.dtype)}'"
        )
    wide = np.float64 if array.dtype.kind in "fV" else np.int64
    bits = array.astype(np.uint64 if array.dtype.kind == "u" else wide).view(np.uint64)
    axes = canonical_dims(dim, array.ndim)
    combined: Any = np.bitwise_xor
    return wrap(np.asarray(combined.reduce(bits, axis=axes, keepdims=keepdim)))
