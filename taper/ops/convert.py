"""Copies and casts: clone, contiguous, detach, to, and the named casts."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.autograd.grad_mode import mode
from taper.autograd.node import next_number
from taper.devices import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    device,
    preserve_format,
    require_cpu,
)
from taper.dispatch import apply, as_array, assign
from taper.errors import MissingFeature
from taper.op import METHODS, Opaque, op, public
from taper.storage import empty_in_order, storage_of
from taper.tensor import Tensor, wrap


def _dense_copy(array: np.ndarray) -> np.ndarray:
    """A copy with the dimensions in the same order in memory; broadcast ones where they stand."""
    made = empty_in_order(array, array.dtype)
    made[...] = array
    return made


@op
class Clone(Opaque):
    """A copy; `order` is numpy's: K keeps the order of dimensions in memory, C makes it plain."""

    node_name = "CloneBackward0"

    def forward(self, m: Any, input: Any, *, order: str) -> Any:
        if order == "C":
            return m.row_major_copy(input)
        return _dense_copy(input) if order == "K" and 0 in input.strides else input.copy(order)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, order: str) -> Any:
        return grad


@op
class Cast(Opaque):
    """The elements in another dtype."""

    name = "to"
    node_name = "ToCopyBackward0"

    def forward(self, m: Any, input: Any, *, to: dtypes.dtype, source: dtypes.dtype) -> Any:
        if 0 in input.strides:
            input = _dense_copy(input)
        if input.dtype.kind == "c" and not to.is_complex:
            input = (input != 0) if to is dtypes.bool_ else input.real
        if input.dtype.kind in "fV" and to.is_floating_point and input.dtype != to.numpy:
            return m.astype(input, to.numpy)
        return cast_array(input, to.numpy)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, to: Any, source: Any) -> Any:
        if to.is_complex and not source.is_complex:
            grad = m.real(grad)
        return m.astype(grad, source.numpy)


def cast_array(array: np.ndarray, to: np.dtype) -> np.ndarray:
    """array.astype as C++ casts: a float out of an integer's range wraps through int64."""
    if array.dtype.kind == "f" and to.kind in "iu" and to.itemsize < 8:
        return array.astype(np.int64).astype(to)
    return array.astype(to)


def _order(array: np.ndarray, memory_format: Any) -> str | None:
    if memory_format is None or memory_format is preserve_format:
        return "K"
    return "C" if memory_format is contiguous_format else None


def _channels_last(input: Tensor, memory_format: Any) -> Tensor:
    """A copy whose channels lie together in memory."""
    wanted = 4 if memory_format is channels_last else 5
    if input._array.ndim != wanted:
        raise RuntimeError(f"required rank {wanted} tensor to use {memory_format.name} format")
    there = (0, *range(2, wanted), 1)
    back = (0, wanted - 1, *range(1, wanted - 1))
    return apply(Clone, input.permute(there), order="C").permute(back)


@public(method=True)
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy that stays on the tape."""
    if memory_format in (channels_last, channels_last_3d):
        return _channels_last(input, memory_format)
    return apply(Clone, input, order=_order(input._array, memory_format))


@public(method=True, namespaces=())
def contiguous(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself if its memory is in row-major order, else a copy that is."""
    if memory_format in (channels_last, channels_last_3d):
        return input if input.is_contiguous(memory_format) else _channels_last(input, memory_format)
    return input if input._array.flags.c_contiguous else apply(Clone, input, order="C")


@public(method=True)
def detach(input: Tensor) -> Tensor:
    """The same memory, cut off the tape."""
    made = wrap(input._array)
    made._storage = storage_of(input)
    return made


def _detach_(self: Tensor) -> Tensor:
    """Cuts the tensor off the tape."""
    if self._base is not None and self._view_version is not None:
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using "
            "DistributedDataParallel (DDP) for training, and gradient_as_bucket_view "
            "is set as True, gradients are views of DDP buckets, and hence detach_() "
            "cannot be called on these gradients. To fix this error, please refer "
            "to the Optimizer.zero_grad() function in torch/optim/optimizer.py as the "
            "solution."
        )
    self._grad_fn = None
    self._output_nr = 0
    self._requires_grad = False
    self._view_version = None
    self._view_origin = ""
    return self


METHODS["detach_"] = _detach_


def cast(input: Tensor, to: dtypes.dtype) -> Tensor:
    """The tensor in another dtype; itself if it has it already."""
    array = input._array
    if array.dtype is to._numpy or array.dtype == to.numpy:
        return input
    return apply(Cast, input, to=to, source=input.dtype)


@public(method=True, namespaces=())
def to(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The tensor in another dtype or on another device: to(dtype), to(device, dtype), to(other).

    Keywords: dtype, device, non_blocking, copy, memory_format. Returns the tensor itself if
    nothing changes and `copy` is False.
    """
    dtype, copy, memory_format = _parse_to(args, kwargs)
    made = input if dtype is None else cast(input, dtype)
    if memory_format is not None and memory_format is not preserve_format:
        if not made.is_contiguous(memory_format):
            return clone(made, memory_format=memory_format)
    if copy and made is input:
        return clone(input)
    return made


def _parse_to(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, bool, Any]:
    dtype = kwargs.pop("dtype", None)
    where = kwargs.pop("device", None)
    copy = kwargs.pop("copy", False)
    memory_format = kwargs.pop("memory_format", None)
    other = kwargs.pop("other", None)
    kwargs.pop("non_blocking", None)
    if kwargs:
        raise TypeError(
            f"to() received an invalid combination of arguments - got unexpected "
            f"keyword arguments {sorted(kwargs)}"
        )
    flags = []
    for a in args:
        if isinstance(a, dtypes.dtype):
            dtype = a
        elif isinstance(a, Tensor):
            other = a
        elif isinstance(a, bool):
            flags.append(a)
        elif isinstance(a, (str, device, int)):
            where = a
        elif a is not None:
            raise TypeError(
                "to() received an invalid combination of arguments - got "
                f"({type(a).__name__}), but expected one of: (torch.device device, "
                "torch.dtype dtype, ...), (torch.dtype dtype, ...), (Tensor other, "
                "...)"
            )
    if len(flags) > 1:
        copy = flags[1]
    if other is not None:
        dtype = other.dtype
    require_cpu(where)
    return dtype, copy, memory_format


_NAMED = {
    "double": dtypes.float64,
    "float": dtypes.float32,
    "half": dtypes.float16,
    "bfloat16": dtypes.bfloat16,
    "long": dtypes.int64,
    "int": dtypes.int32,
    "short": dtypes.int16,
    "char": dtypes.int8,
    "byte": dtypes.uint8,
    "bool": dtypes.bool_,
    "cfloat": dtypes.complex64,
    "cdouble": dtypes.complex128,
}


def _named_cast(name: str, chosen: dtypes.dtype) -> Any:
    def method(self: Tensor, memory_format: Any = None) -> Tensor:
        return to(self, chosen, memory_format=memory_format)

    method.__name__ = name
    method.__doc__ = f"The tensor as {chosen!r}."
    return method


for _name, _dtype in _NAMED.items():
    METHODS[_name] = _named_cast(_name, _dtype)


def _chalf(self: Tensor, *, memory_format: Any = None) -> Tensor:
    """Raises: NotImplementedError: complex numbers of half precision are not available."""
    raise MissingFeature("chalf", "complex32 is not available; use cfloat(), which is complex64")


METHODS["chalf"] = _chalf


_TYPE_NAMES = {
    "FloatTensor": dtypes.float32,
    "DoubleTensor": dtypes.float64,
    "HalfTensor": dtypes.float16,
    "BFloat16Tensor": dtypes.bfloat16,
    "ByteTensor": dtypes.uint8,
    "CharTensor": dtypes.int8,
    "ShortTensor": dtypes.int16,
    "IntTensor": dtypes.int32,
    "LongTensor": dtypes.int64,
    "BoolTensor": dtypes.bool_,
    "ComplexFloatTensor": dtypes.complex64,
    "ComplexDoubleTensor": dtypes.complex128,
}


def dtype_of_type(kind: Any) -> dtypes.dtype:
    """The dtype meant by torch.FloatTensor, "torch.FloatTensor" or a dtype."""
    if isinstance(kind, dtypes.dtype):
        return kind
    if kind is Tensor or kind == "torch.Tensor":
        return dtypes.get_default_dtype()
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    found = _TYPE_NAMES.get(name.rpartition(".")[2])
    if name.startswith("torch.cuda."):
        require_cpu("cuda")
    if found is None:
        raise ValueError(f"invalid type: '{name}'")
    return found


@public(method=True, namespaces=())
def type(input: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The name of the tensor's type ("torch.FloatTensor"), or the tensor cast to a type."""
    if dtype is None:
        own = input.dtype
        return "torch." + next(k for k, v in _TYPE_NAMES.items() if v is own)
    return cast(input, dtype_of_type(dtype))


@public(method=True, namespaces=())
def type_as(input: Tensor, other: Tensor) -> Tensor:
    """The tensor in the dtype of `other`."""
    return cast(input, other.dtype)


@public(method=True, namespaces=())
def cpu(input: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself: it is on the CPU."""
    return input


@public(method=True, namespaces=())
def cuda(
    input: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None
) -> Tensor:
    """Raises: AssertionError, as PyTorch does on a machine without a GPU."""
    require_cpu("cuda")
    return input


@public(method=True, namespaces=())
def pin_memory(input: Tensor, device: Any = None) -> Tensor:
    """Raises: RuntimeError, as PyTorch does on a machine without a GPU."""
    raise RuntimeError("Cannot access accelerator device when none is available.")


@public(method=True, namespaces=())
def share_memory_(input: Tensor) -> Tensor:
    """The tensor itself; worker processes get copies."""
    return input


@public(method=True, namespaces=())
def copy_(input: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Writes the elements of `src` (broadcast and cast) into the tensor.

    Raises: RuntimeError if the shapes do not fit.
    """
    if not isinstance(src, Tensor):
        src = wrap(np.asarray(src))
    return assign(input, src, "copy_")


class _Filling(Opaque):
    """The value in the shape of input."""

    name = "fill"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, value: Any) -> Any:
        made = np.empty_like(input)
        made[...] = value
        return made

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, value: Any, *, needs: Any) -> Any:
        return m.zeros(input, grad.dtype), m.sum(grad) if needs[1] else None


@op
class Fill(_Filling):
    """A number in the shape of input."""

    node_name = "FillBackward0"


@op
class FillNumber(_Filling):
    """A number written over input."""

    node_name = "FillBackward2"


@op
class FillTensor(_Filling):
    """A 0-d tensor written over input."""

    node_name = "FillBackward3"


@op
class FillZero(_Filling):
    """Zero written over input."""

    node_name = "ZeroBackward0"


@public()
def fill(input: Tensor, value: Any) -> Tensor:
    """A tensor of the input's shape and dtype with every element `value`."""
    return apply(Fill, input, _filling(input, value))


def _filling(input: Tensor, value: Any) -> Tensor:
    """A number or 0-d tensor as a 0-d tensor of the input's dtype."""
    if not isinstance(value, Tensor):
        return wrap(as_array(value, input._array.dtype))
    if value._array.ndim:
        raise RuntimeError(
            "fill_ only supports 0-dimension value tensor but got tensor with "
            f"{value._array.ndim} dimensions."
        )
    return cast(value, input.dtype)


def fill_(input: Tensor, value: Any) -> Tensor:
    """Sets every element to `value`, a number or a 0-d tensor."""
    return _filled(input, value, FillTensor if isinstance(value, Tensor) else FillNumber)


def _filled(input: Tensor, value: Any, kind: Any) -> Tensor:
    source = _filling(input, value)
    if mode.grad and (input.requires_grad or source.requires_grad):
        since = next_number()
        return assign(input, apply(kind, input, source), "fill_", since)
    return assign(input, source, "fill_")


METHODS["fill_"] = fill_


def _zero_(self: Tensor) -> Tensor:
    """Sets every element to zero."""
    return _filled(self, 0, FillZero)


METHODS["zero_"] = _zero_


@public()
def zero_(input: Tensor) -> Tensor:
    """Sets every element to zero."""
    return _filled(input, 0, FillZero)


@public(name="fill_")
def _fill_function(input: Tensor, value: Any) -> Tensor:
    """Sets every element to `value`."""
    return fill_(input, value)


@public(name="detach_")
def _detach_function(input: Tensor) -> Tensor:
    """Cuts the tensor off the tape."""
    return _detach_(input)


@public()
def is_tensor(obj: Any) -> bool:
    """Whether `obj` is a tensor."""
    return isinstance(obj, Tensor)


@public()
def is_floating_point(input: Tensor) -> bool:
    """Whether the dtype is a floating one."""
    return input.is_floating_point()


@public()
def is_complex(input: Tensor) -> bool:
    """Whether the dtype is complex."""
    return input.is_complex()


@public()
def is_nonzero(input: Tensor) -> bool:
    """Whether the one element is not zero."""
    if input._array.size != 1:
        raise RuntimeError(
            "Boolean value of Tensor with "
            + ("no values" if input._array.size == 0 else "more than one value")
            + " is ambiguous"
        )
    return bool(input)


METHODS["is_nonzero"] = is_nonzero


@public()
def numel(input: Tensor) -> int:
    """Number of elements."""
    return input._array.size


@public()
def get_device(input: Tensor) -> int:
    """-1: the CPU."""
    return -1


@public(name="is_signed")
def _is_signed(input: Tensor) -> bool:
    """Whether the dtype has negative numbers."""
    return input.dtype.is_signed


@public(name="is_neg")
def _is_neg(input: Tensor) -> bool:
    """Always False."""
    return False


@public(name="is_conj")
def _is_conj(input: Tensor) -> bool:
    """Always False: taper conjugates at once."""
    return False


@public(name="is_inference")
def _is_inference(input: Tensor) -> bool:
    """Whether the tensor was made in inference mode."""
    return input._is_inference


@public(name="is_same_size")
def _is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape."""
    return input._array.shape == other._array.shape


@public()
def result_type(tensor1: Any, tensor2: Any) -> dtypes.dtype:
    """The dtype that an arithmetic op on the two gives."""
    return dtypes.of_operands(
        [x._array if isinstance(x, Tensor) else x for x in (tensor1, tensor2)]
    )
