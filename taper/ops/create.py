"""Tensors filled with a constant or a sequence: zeros, full, arange, linspace, eye."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.devices import channels_last, contiguous_format, preserve_format
from taper.dispatch import as_array
from taper.errors import ShapeError
from taper.op import public
from taper.ops.arguments import invalid_combination
from taper.ops.from_data import array_of, finish, legacy_tensor
from taper.shapes import checked_sizes, sizes_of
from taper.storage import empty_in_order
from taper.tensor import Tensor

# ---------------------------------------------------------------- filled


def _chosen(dtype: dtypes.dtype | None) -> np.dtype:
    return (dtype or dtypes.get_default_dtype()).numpy


def _filled(shape: tuple[int, ...], value: Any, dtype: np.dtype) -> np.ndarray:
    """numpy's `full`, whose checks take longer than a small array."""
    made = np.empty(shape, dtype)
    made.fill(value)
    return made


@public(out=True)
def zeros(
    *sizes: Any,
    size: Any = None,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    names: Any = None,
) -> Tensor:
    """A tensor of zeros."""
    shape = checked_sizes(sizes if size is None else (size,), "zeros")
    return finish(np.zeros(shape, _chosen(dtype)), requires_grad, device, layout)


@public(out=True)
def ones(
    *sizes: Any,
    size: Any = None,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    names: Any = None,
) -> Tensor:
    """A tensor of ones."""
    shape = checked_sizes(sizes if size is None else (size,), "ones")
    return finish(_filled(shape, 1, _chosen(dtype)), requires_grad, device, layout)


@public(out=True)
def empty(
    *sizes: Any,
    size: Any = None,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: Any = None,
    names: Any = None,
) -> Tensor:
    """A tensor whose values are whatever the memory held."""
    shape = checked_sizes(sizes if size is None else (size,), "empty")
    if memory_format is None or memory_format is contiguous_format:
        return finish(np.empty(shape, _chosen(dtype)), requires_grad, device, layout)
    return finish(_ordered(shape, _chosen(dtype), memory_format), requires_grad, device, layout)


@public(out=True)
def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    names: Any = None,
) -> Tensor:
    """A tensor of one value; its dtype is the value's unless told otherwise."""
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    chosen = (
        dtype or (fill_value.dtype if isinstance(fill_value, Tensor) else dtypes.of_scalar(value))
    ).numpy
    shape = checked_sizes((size,), "full")
    filled = _filled(shape, as_array(value, chosen), chosen)
    return finish(filled, requires_grad, device, layout)


def like(array: np.ndarray, dtype: dtypes.dtype | None, memory_format: Any = None) -> np.ndarray:
    """An empty array of the same shape: dense ones keep their order of dimensions."""
    chosen = array.dtype if dtype is None else dtype.numpy
    if memory_format is None or memory_format is preserve_format:
        return empty_in_order(array, chosen)
    return _ordered(array.shape, chosen, memory_format)


def _ordered(shape: tuple[int, ...], dtype: np.dtype, memory_format: Any) -> np.ndarray:
    """An empty array in a memory format. RuntimeError for a shape that cannot have it."""
    if memory_format is contiguous_format:
        return np.empty(shape, dtype)
    if memory_format is preserve_format:
        raise RuntimeError("unsupported memory format Preserve")
    rank = 4 if memory_format is channels_last else 5
    if len(shape) != rank:
        raise RuntimeError(f"required rank {rank} tensor to use {memory_format.name} format")
    batch, channels, *rest = shape
    return np.moveaxis(np.empty((batch, *rest, channels), dtype), -1, 1)


def _like(
    input: Tensor,
    value: Any,
    dtype: Any,
    layout: Any,
    device: Any,
    requires_grad: bool,
    memory_format: Any,
) -> Tensor:
    array = like(input._array, dtype, memory_format)
    if value is not None:
        array[...] = as_array(value, array.dtype)
    return finish(array, requires_grad, device, layout)


@public()
def zeros_like(
    input: Tensor,
    *,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Zeros in the shape and dtype of `input`."""
    return _like(input, 0, dtype, layout, device, requires_grad, memory_format)


@public()
def ones_like(
    input: Tensor,
    *,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Ones in the shape and dtype of `input`."""
    return _like(input, 1, dtype, layout, device, requires_grad, memory_format)


@public()
def empty_like(
    input: Tensor,
    *,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """An uninitialised tensor in the shape and dtype of `input`."""
    return _like(input, None, dtype, layout, device, requires_grad, memory_format)


@public()
def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """One value in the shape and dtype of `input`."""
    value = fill_value.item() if isinstance(fill_value, Tensor) else fill_value
    return _like(input, value, dtype, layout, device, requires_grad, memory_format)


def _bounds(*values: Any) -> tuple[Any, ...]:
    return tuple(v.item() if isinstance(v, Tensor) else v for v in values)


@public(out=True)
def arange(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... below `end`. int64 if all three are integers.

    Raises: RuntimeError for a zero step or bounds on the wrong side of each other.
    """
    if end is None:
        start, end = 0, start
    start, end, step = _bounds(start, end, step)
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if any((isinstance(v, float) and v in (np.inf, -np.inf)) or v != v for v in (start, end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * (1 if step > 0 else -1) < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is None:
        integral = all(isinstance(v, (int, np.integer)) for v in (start, end, step))
        dtype = dtypes.int64 if integral else dtypes.get_default_dtype()
    if dtype is dtypes.int64:
        start, end, step = int(start), int(end), int(step)
        if step == 0:
            raise ValueError("step must be nonzero")
    if all(isinstance(v, (int, np.integer)) for v in (start, end, step)):
        count = max(0, -((start - end) // step))
        values = start + step * np.arange(count, dtype=np.int64)
    else:
        count = max(0, int(np.ceil((end - start) / step)))
        if dtype.category <= dtypes.INTEGER:
            start, step = int(start), int(step)
        values = start + step * np.arange(count, dtype=np.float64)
    return finish(values.astype(dtype.numpy), requires_grad, device, layout)


@public(out=True, name="range")
def closed_range(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Like arange, but with `end` included."""
    if end is None:
        start, end = 0, start
    start, end, step = _bounds(start, end, step)
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * (1 if step > 0 else -1) < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    count = int(np.floor((end - start) / step)) + 1
    values = start + step * np.arange(count, dtype=np.float64)
    return finish(values.astype(_chosen(dtype)), requires_grad, device, layout)


@public(out=True)
def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` values from `start` to `end`, both included, evenly apart.

    Raises: RuntimeError for a negative number of steps.
    """
    start, end = _ends("linspace", start, end, steps)
    if dtype is None and (isinstance(start, complex) or isinstance(end, complex)):
        dtype = dtypes.default_complex()
    chosen = _chosen(dtype)
    return finish(_spaced(start, end, steps, chosen), requires_grad, device, layout)


def _ends(name: str, start: Any, end: Any, steps: Any) -> tuple[Any, Any]:
    """Both ends as numbers. Raises: for tensors with dimensions, for steps that are no number."""
    if not hasattr(steps, "__index__"):
        raise invalid_combination(
            name,
            start,
            end,
            steps,
            expected="(Number start, Number end, int steps, ...)",
        )
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    ranks = [x._array.ndim if isinstance(x, Tensor) else 0 for x in (start, end)]
    if any(ranks):
        raise RuntimeError(
            f"{name} only supports 0-dimensional start and end tensors, but got start with "
            f"{ranks[0]} dimension(s) and end with {ranks[1]} dimension(s)."
        )
    return _bounds(start, end)


def _spaced(start: Any, end: Any, steps: int, chosen: np.dtype) -> np.ndarray:
    """Counts from both ends, as PyTorch does, so that the middle is symmetric."""
    if steps == 1:
        return np.full(1, as_array(start, chosen))
    if chosen.kind in "iu":
        start, end = int(start), int(end)
    work = chosen if chosen.kind in "fc" else np.dtype(np.float64)
    number = work.type
    step = (number(end) - number(start)) / number(max(steps - 1, 1))
    index = np.arange(steps).astype(work)
    half = steps // 2
    low = number(start) + step * index
    high = number(end) - step * (number(steps - 1) - index)
    values = np.where(np.arange(steps) < half, low, high)
    return np.trunc(values).astype(chosen) if chosen.kind in "iu" else values.astype(chosen)


@public(out=True)
def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """base ** start to base ** end in `steps` even steps of the exponent."""
    start, end = _ends("logspace", start, end, steps)
    chosen = _chosen(dtype)
    if chosen.kind in "iu":
        start, end = int(start), int(end)
    work = np.dtype(
        np.complex128 if isinstance(start, complex) or isinstance(end, complex) else np.float64
    )
    values = np.power(work.type(base), _spaced(start, end, steps, work))
    return finish(values.astype(chosen), requires_grad, device, layout)


@public(out=True)
def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Ones on the diagonal of an n x m matrix, zeros elsewhere."""
    columns = n if m is None else m
    if n < 0:
        raise RuntimeError(f"n must be greater or equal to 0, got {n}")
    if columns < 0:
        raise RuntimeError(f"m must be greater or equal to 0, got {columns}")
    return finish(np.eye(n, columns, dtype=_chosen(dtype)), requires_grad, device, layout)


@public()
def empty_strided(
    size: Any,
    stride: Any,
    *,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """An uninitialised tensor with the given strides (elements)."""
    shape, strides = sizes_of((size,)), sizes_of((stride,))
    if len(shape) != len(strides):
        raise ShapeError("empty_strided", "dimensionality of sizes and strides must match")
    chosen = np.dtype(_chosen(dtype))
    span = (
        1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if 0 not in shape else 0
    )
    memory = np.empty(span, chosen)
    array = np.lib.stride_tricks.as_strided(memory, shape, [s * chosen.itemsize for s in strides])
    return finish(array, requires_grad, device, layout)


@public()
def empty_permuted(
    size: Any,
    physical_layout: Any,
    *,
    dtype: dtypes.dtype | None = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """An uninitialised dense tensor whose dimensions lie in memory in the given order."""
    shape, order = sizes_of((size,)), sizes_of((physical_layout,))
    if len(shape) != len(order):
        raise ShapeError(
            "empty_permuted",
            f"Number of dimensions in size does not match the length of the "
            f"physical_layout; i.e. len(size) = {len(shape)} is not equal to "
            f"len(physical_layout) = {len(order)}",
        )
    for place, d in enumerate(order):
        if not 0 <= d < len(shape):
            raise ShapeError(
                f"Dimension out of range (expected to be between 0 and {len(shape) - 1}, but got "
                f"{d} at index {place}).  NB: negative dims not currently supported; file an issue "
                "if you want it."
            )
    if len(set(order)) != len(order):
        raise RuntimeError("Duplicate dim not allowed")
    memory = np.empty([shape[d] for d in order], _chosen(dtype))
    array = memory.transpose(np.argsort(order)) if order else memory
    return finish(array, requires_grad, device, layout)


# ---------------------------------------------------------------- new_*: dtype of another tensor


def _method(function: Any) -> Any:
    return public(method=True, namespaces=())(function)


@_method
def new_zeros(
    input: Tensor,
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """Zeros of the given size in this tensor's dtype."""
    return zeros(
        *sizes,
        size=size,
        dtype=dtype or input.dtype,
        device=device,
        requires_grad=requires_grad,
    )


@_method
def new_ones(
    input: Tensor,
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """Ones of the given size in this tensor's dtype."""
    return ones(
        *sizes,
        size=size,
        dtype=dtype or input.dtype,
        device=device,
        requires_grad=requires_grad,
    )


@_method
def new_empty(
    input: Tensor,
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """An uninitialised tensor of the given size in this tensor's dtype."""
    return empty(
        *sizes,
        size=size,
        dtype=dtype or input.dtype,
        device=device,
        requires_grad=requires_grad,
    )


@_method
def new_empty_strided(
    input: Tensor,
    size: Any,
    stride: Any,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """An uninitialised tensor with the given strides in this tensor's dtype."""
    return empty_strided(size, stride, dtype=dtype or input.dtype, requires_grad=requires_grad)


@_method
def new_full(
    input: Tensor,
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """One value in the given size in this tensor's dtype."""
    return full(
        size,
        fill_value,
        dtype=dtype or input.dtype,
        device=device,
        requires_grad=requires_grad,
    )


@_method
def new_tensor(
    input: Tensor,
    data: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """A copy of `data` in this tensor's dtype."""
    return finish(array_of(data, dtype or input.dtype), requires_grad, device)


@_method
def new(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """The legacy constructor in this tensor's dtype: sizes or data."""
    return legacy_tensor(Tensor, input.dtype, *args, **kwargs)
