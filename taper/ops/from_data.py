"""Tensors from data: numbers, nested sequences, arrays, buffers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from taper import dtypes
from taper.devices import require_cpu, require_strided
from taper.dispatch import as_array
from taper.op import public
from taper.shapes import checked_sizes
from taper.storage import Storage
from taper.storage_view import elements_of
from taper.tensor import Tensor, wrap


def finish(
    array: np.ndarray,
    requires_grad: bool = False,
    device: Any = None,
    layout: Any = None,
) -> Tensor:
    """A new leaf around `array`, after the checks that all creation functions share."""
    if device is not None:
        require_cpu(device)
    if layout is not None:
        require_strided(layout)
    made = wrap(array)
    if requires_grad:
        made.requires_grad = True
    return made


# ---------------------------------------------------------------- from data


def array_of(data: Any, dtype: dtypes.dtype | None) -> np.ndarray:
    """A fresh array from numbers, nested sequences, arrays or tensors."""
    if isinstance(data, Tensor):
        array = data._array
        return array.astype(dtype.numpy if dtype else array.dtype, order="K", copy=True)
    if isinstance(data, np.ndarray):
        if not data.dtype.isnative:
            raise ValueError(
                "given numpy array has byte order different from the native byte "
                "order. Conversion between byte orders is currently not supported."
            )
        own = dtypes.of(data.dtype)
        return np.array(data, (dtype or own).numpy, order="C")
    if isinstance(data, np.generic):
        return np.array(data, (dtype or dtypes.of(data.dtype)).numpy)
    if isinstance(data, (bool, int, float, complex)):
        return np.array(as_array(data, (dtype or dtypes.of_scalar(data)).numpy))
    if isinstance(data, (bytes, bytearray, memoryview)):
        return np.array(list(data), (dtype or dtypes.int64).numpy)
    if hasattr(data, "untyped"):
        own = getattr(data, "dtype", dtypes.int64)
        return elements_of(data, dtype or own).copy()
    if hasattr(data, "__array__") and not isinstance(data, (list, tuple)):
        return array_of(np.asarray(data), dtype)
    if isinstance(data, (str, dict, set)) or not isinstance(data, Sequence):
        if not isinstance(data, str) and hasattr(data, "__len__") and hasattr(data, "__getitem__"):
            data = [data[i] for i in range(len(data))]
        else:
            raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    return _array_of_nested(data, dtype)


def _array_of_nested(data: Any, dtype: dtypes.dtype | None) -> np.ndarray:
    shape = _nested_shape(data)
    numbers = _plain_numbers(data, shape)
    if numbers is None:
        numbers, dtype = _mixed_numbers(data, shape, dtype)
    elif dtype is None:
        dtype = dtypes.of_scalar(numbers[0])
    if dtype.category <= dtypes.INTEGER:
        if dtype is dtypes.bool_:
            numbers = [bool(x) for x in numbers]
        else:
            numbers = _integers(numbers, dtype)
    try:
        with np.errstate(over="ignore"):
            array = np.array(numbers, dtype.numpy)
    except OverflowError:
        raise _overflow(dtype) from None
    except TypeError as error:
        if dtype.category < dtypes.COMPLEX:
            raise RuntimeError(
                f"value cannot be converted to type {dtype.name} without overflow"
            ) from error
        raise
    return array.reshape(shape)


def _integers(numbers: list[Any], dtype: dtypes.dtype) -> list[int]:
    """The numbers cut to integers; of bytes, negative ones count from 256 down."""
    try:
        whole = [int(x) for x in numbers]
    except (OverflowError, ValueError):
        raise _overflow(dtype) from None
    if dtype is dtypes.uint8:
        return [x + 256 if -256 < x < 0 else x for x in whole]
    return whole


def _overflow(dtype: dtypes.dtype) -> RuntimeError:
    if dtype.itemsize == 8:
        return RuntimeError("Overflow when unpacking long long")
    return RuntimeError(f"value cannot be converted to type {dtype.name} without overflow")


def _plain_numbers(data: Any, shape: tuple[int, ...]) -> list[Any] | None:
    """The numbers in lists of equal lengths, all int or all float or all bool; else None.

    Most data are such, and looking at each number by itself takes ten times as long.
    """
    level = [data]
    for extent in shape:
        for row in level:
            if type(row) not in (list, tuple) or len(row) != extent:
                return None
        level = list(chain.from_iterable(level))
    kinds = set(map(type, level))
    return level if len(kinds) == 1 and kinds <= {int, float, bool} else None


def _mixed_numbers(
    data: Any, shape: tuple[int, ...], dtype: dtypes.dtype | None
) -> tuple[list[Any], dtypes.dtype]:
    """The numbers in any nested data, and their common dtype unless one is given."""
    flat = list(_leaves(data, shape, 0))
    if dtype is None:
        found = None
        for x in flat:
            own = (
                dtypes.of(x.dtype)
                if isinstance(x, (np.ndarray, np.generic))
                else dtypes.of_scalar(x)
            )
            found = own if found is None else dtypes.promote_types(found, own)
            if found.is_complex:
                break
        dtype = found or dtypes.get_default_dtype()
    return [x.item() if isinstance(x, (np.ndarray, np.generic)) else x for x in flat], dtype


def _is_sequence(x: Any) -> bool:
    if isinstance(x, Tensor):
        return x._array.ndim > 0
    if isinstance(x, np.ndarray):
        return x.ndim > 0
    return isinstance(x, (list, tuple, range)) or (
        isinstance(x, Sequence) and not isinstance(x, (str, bytes))
    )


def _nested_shape(data: Any) -> tuple[int, ...]:
    shape: list[int] = []
    while _is_sequence(data):
        if isinstance(data, Tensor):
            return (*shape, *data._array.shape)
        if isinstance(data, np.ndarray):
            return (*shape, *data.shape)
        shape.append(len(data))
        if len(data) == 0:
            break
        data = data[0]
    return tuple(shape)


def _leaves(data: Any, shape: tuple[int, ...], depth: int) -> Any:
    if depth == len(shape):
        if isinstance(data, Tensor):
            data = data._array
        if _is_sequence(data):
            raise ValueError(
                f"only one element tensors can be converted to Python scalars, or "
                f"expected a number at dim {depth}"
            )
        if isinstance(data, (bool, int, float, complex, np.ndarray, np.generic)):
            yield data
            return
        if hasattr(data, "__index__"):
            yield data.__index__()
            return
        if hasattr(data, "__float__"):
            yield float(data)
            return
        name = type(data).__name__
        if isinstance(data, str):
            raise ValueError(f"too many dimensions '{name}'")
        raise TypeError(
            f"must be real number, not {name}"
            if data is not None
            else "Could not infer dtype of NoneType"
        )
    if isinstance(data, Tensor):
        data = data._array
    if not _is_sequence(data):
        raise TypeError(
            f"expected a sequence of length {shape[depth]} at dim {depth}, got "
            f"{type(data).__name__}"
        )
    if len(data) != shape[depth]:
        raise ValueError(
            f"expected sequence of length {shape[depth]} at dim {depth} (got {len(data)})"
        )
    if isinstance(data, np.ndarray):
        yield from data.reshape(-1)
        return
    for each in data:
        yield from _leaves(each, shape, depth + 1)


@public()
def tensor(
    data: Any,
    *,
    dtype: dtypes.dtype | None = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A new tensor holding a copy of `data` (numbers, nested sequences, an array, a tensor).

    Dtype: of arrays and tensors their own; of Python numbers int64, the default float, bool.
    Raises: ValueError if nested sequences have unequal lengths, TypeError for other data.
    """
    if isinstance(data, Tensor):
        import warnings

        warnings.warn(
            "To copy construct from a tensor, it is recommended to use sourceTensor.detach()"
            ".clone() or sourceTensor.detach().clone().requires_grad_(True), rather than "
            "torch.tensor(sourceTensor).",
            UserWarning,
            stacklevel=2,
        )
    return finish(array_of(data, dtype), requires_grad, device)


@public()
def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor that shares the array's memory.

    Raises: TypeError for anything but a numpy array or for a dtype that tensors lack, ValueError
        for negative strides.
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    dtypes.of(ndarray.dtype)
    if not ndarray.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. "
            "Conversion between byte orders is currently not supported."
        )
    for stride in ndarray.strides:
        if stride < 0:
            raise ValueError(
                "At least one stride in the given numpy array is negative, and "
                "tensors with negative strides are not currently supported. (You can "
                "probably work around this by making a copy of your array  with "
                "array.copy().) "
            )
        if stride % ndarray.itemsize:
            raise ValueError(
                "given numpy array strides not a multiple of the element byte size. "
                "Copy the numpy array to reallocate the memory."
            )
    if not ndarray.flags.writeable:
        import warnings

        warnings.warn(
            "The given NumPy array is not writable, and PyTorch does not support "
            "non-writable tensors. This means writing to this tensor will result in "
            "undefined behavior.",
            UserWarning,
            stacklevel=2,
        )
    made = wrap(np.asarray(ndarray))
    made._storage = Storage(ndarray)
    return made


@public()
def as_tensor(data: Any, dtype: dtypes.dtype | None = None, device: Any = None) -> Tensor:
    """`data` as a tensor, sharing memory with an array or tensor where dtype allows."""
    require_cpu(device)
    if isinstance(data, Tensor):
        return data if dtype is None or data.dtype is dtype else data.to(dtype)
    if isinstance(data, np.ndarray):
        made = from_numpy(data)
        return made if dtype is None or made.dtype is dtype else made.to(dtype)
    return wrap(array_of(data, dtype))


@public(aliases=("asanyarray",), namespaces=("torch",))
def asarray(
    obj: Any,
    *,
    dtype: dtypes.dtype | None = None,
    device: Any = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`obj` as a tensor; `copy` decides whether memory must (True) or must not (False) be copied."""
    if isinstance(obj, Tensor):
        same = dtype is None or obj.dtype is dtype
        if copy or not same:
            if copy is False:
                raise ValueError("can't alias tensor with dtype different from the requested one")
            made = obj.to(dtype or obj.dtype).clone() if copy else obj.to(dtype)
        else:
            made = obj
        return made if not requires_grad or made.requires_grad else made.detach().requires_grad_()
    if isinstance(obj, np.ndarray) and not copy:
        made = as_tensor(obj, dtype)
        if copy is False and not np.may_share_memory(made._array, obj):
            raise ValueError("can't alias NumPy array with dtype different from the requested one")
        return made.requires_grad_(requires_grad)
    if copy is False:
        raise ValueError("can't alias arbitrary sequence")
    return finish(array_of(obj, dtype), requires_grad, device)


@public()
def scalar_tensor(
    s: Any,
    *,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """A 0-d tensor with value `s`, of the default dtype unless told otherwise."""
    value = s.item() if isinstance(s, Tensor) else s
    chosen = dtype or dtypes.get_default_dtype()
    return finish(np.array(as_array(value, chosen.numpy)), requires_grad, device, layout)


@public()
def frombuffer(
    buffer: Any,
    *,
    dtype: dtypes.dtype,
    count: int = -1,
    offset: int = 0,
    requires_grad: bool = False,
) -> Tensor:
    """A 1-d tensor that shares the memory of a Python buffer.

    Raises: ValueError if the buffer is empty, too small, or not a multiple of the element size.
    """
    view = memoryview(buffer)
    if view.nbytes == 0 or count == 0:
        raise ValueError(f"both buffer length ({view.nbytes}) and count ({count}) must not be 0")
    if not 0 <= offset < view.nbytes:
        raise ValueError(
            f"offset ({offset} bytes) must be non-negative and no greater than buffer "
            f"length ({view.nbytes} bytes) minus 1"
        )
    rest = view.nbytes - offset
    if count < 0 and rest % dtype.itemsize:
        raise ValueError(
            f"buffer length ({rest} bytes) after offset ({offset} bytes) must be a "
            f"multiple of element size ({dtype.itemsize})"
        )
    if count > 0 and count * dtype.itemsize > rest:
        raise ValueError(
            f"requested buffer length ({count} * {dtype.itemsize} bytes) after offset "
            f"({offset} bytes) must not be greater than actual buffer length "
            f"({view.nbytes} bytes)"
        )
    return finish(np.frombuffer(buffer, dtype.numpy, count, offset), requires_grad)


def legacy_tensor(
    cls: type[Tensor],
    dtype: dtypes.dtype,
    *args: Any,
    size: Any = None,
    data: Any = None,
    other: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """What the class constructors FloatTensor(...), LongTensor(...) and Tensor(...) give.

    Integers are sizes, one sequence or array is data; so are `size`, `data` and `other`, a tensor.
    """
    if device is not None and getattr(device, "type", str(device).partition(":")[0]) != "cpu":
        raise RuntimeError(
            f"legacy constructor expects device type: cpu but device type: {device} was passed"
        )
    if size is not None:
        args = tuple(size)
    elif data is not None or other is not None:
        args = (data if other is None else other,)
    if not args:
        array = np.empty(0, dtype.numpy)
    elif len(args) == 1 and isinstance(args[0], Tensor):
        if args[0].dtype is not dtype:
            raise TypeError(f"expected {cls.__name__} (got {args[0].dtype!r})")
        return wrap(args[0].detach()._array, cls)
    elif len(args) == 1 and isinstance(args[0], np.ndarray):
        array = np.array(args[0], dtype.numpy)
    elif len(args) == 1 and hasattr(args[0], "untyped"):
        made = wrap(elements_of(args[0], dtype), cls)
        made._storage = args[0]._storage
        return made
    elif len(args) == 1 and isinstance(args[0], dtypes_size()):
        array = np.zeros(args[0], dtype.numpy)
    elif len(args) == 1 and (data is not None or not hasattr(args[0], "__index__")):
        if isinstance(args[0], (int, float, complex)):
            raise TypeError(f"new(): data must be a sequence (got {type(args[0]).__name__})")
        array = array_of(args[0], dtype)
    else:
        # PyTorch leaves the memory as it finds it; the seed shows zeros, and zeros cost little.
        array = np.zeros(checked_sizes(args, "new"), dtype.numpy)
    made = wrap(array, cls)
    if requires_grad:
        made._requires_grad = True
    return made


def dtypes_size() -> type:
    """The class Size."""
    from taper.size import Size

    return Size
