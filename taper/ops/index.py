"""Indexing: x[...], x[...] = value.

Integers, slices, None and Ellipsis give views. Index tensors (integers or masks) gather copies:
the basic part of the key is applied first, as PyTorch does, then all index tensors at once with
numpy's rule for the place of the result's dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import backends
from taper.autograd.grad_mode import mode
from taper.dispatch import (
    apply,
    assign,
    check_history,
    check_overlap,
    check_writable,
    look,
    looked,
    store,
    touch,
)
from taper.dtypes import c_name, cpp_name
from taper.errors import DimError, ShapeError, warn
from taper.op import Opaque, op, public
from taper.ops.arguments import require_tensor
from taper.ops.view_ops import Select, Slice, slicing
from taper.tensor import Tensor, wrap


@op
class Index(Opaque):
    """Gathers by index arrays; `spec` has, for each dimension, an index's number or None."""

    name = "index"
    node_name = "IndexBackward0"
    saves = ("input.shape", "indices")

    def forward(self, m: Any, input: Any, *indices: Any, spec: tuple[Any, ...]) -> Any:
        if spec == (0,) and indices[0].dtype.kind == "i" and indices[0].size:
            try:
                return m.take_slices(input, indices[0])
            except IndexError:
                pass  # there are negative ones, which count from the end
        # numpy lays the result of a key such as [:, index] out with the index's dimensions first.
        return np.asarray(input[numpy_key(indices, spec)], order="C")

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *indices: Any, spec: Any) -> Any:
        return (
            m.call(IndexAdjoint, grad, *indices, spec=spec, shape=input),
            *[None for _ in indices],
        )


@op
class IndexAdjoint(Opaque):
    """Zeros of `shape` with `source` added where the indices point."""

    saves = ("indices",)

    def forward(self, m: Any, source: Any, *indices: Any, spec: Any, shape: Any) -> Any:
        if spec == (0,) and indices[0].dtype.kind == "i" and source.size and source.itemsize > 2:
            index = indices[0].reshape(-1)
            try:
                made = m.sum_rows(source.reshape(index.size, -1), index, shape[0])
                return made.reshape(shape)
            except IndexError:
                pass  # there are negative ones, which count from the end
        made = np.zeros(shape, source.dtype)
        key = numpy_key(indices, spec)
        if all(i.dtype.kind == "b" for i in indices):
            made[key] = source  # a mask names no element twice
        else:
            np.add.at(made, key, source)
        return made

    def vjp(
        self, m: Any, grad: Any, out: Any, source: Any, *indices: Any, spec: Any, shape: Any
    ) -> Any:
        return m.call(Index, grad, *indices, spec=spec), *[None for _ in indices]


@op
class IndexPut(Opaque):
    """`input` with the indexed elements replaced by (or increased by) `values`."""

    name = "index_put"
    node_name = "IndexPutBackward0"
    saves = ("values.shape", "indices")

    def forward(
        self, m: Any, input: Any, values: Any, *indices: Any, spec: Any, accumulate: bool
    ) -> Any:
        made = input.copy()
        put(made, numpy_key(indices, spec), values, accumulate)
        return made

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        values: Any,
        *indices: Any,
        spec: Any,
        accumulate: bool,
        needs: Any,
    ) -> Any:
        rest = grad
        if needs[0] and not accumulate:
            rest = m.call(
                IndexPut, grad, m.zeros((), grad.dtype), *indices, spec=spec, accumulate=False
            )
        picked = None
        if needs[1]:
            picked = m.sum_to(m.call(Index, grad, *indices, spec=spec), values)
        return rest, picked, *[None for _ in indices]


def numpy_key(indices: Any, spec: tuple[Any, ...]) -> tuple[Any, ...]:
    """The numpy index of a spec; a mask stands for as many dimensions as it has."""
    return tuple(slice(None) if s is None else indices[s] for s in spec)


def put(array: np.ndarray, key: Any, values: Any, accumulate: bool) -> None:
    """array[key] = values, or += counting repeated indices."""
    if accumulate:
        np.add.at(array, key, values)
    else:
        array[key] = values


# ---------------------------------------------------------------- reading keys


def _as_index(item: Any) -> Tensor | None:
    """An index tensor for a list, array or tensor; None for anything else."""
    if isinstance(item, Tensor):
        return item
    if isinstance(item, np.ndarray):
        return wrap(item)
    if isinstance(item, (list, tuple, range)):
        from taper.ops.from_data import tensor

        made = tensor(list(item))
        # Lists of floats are truncated; tensors of floats are refused.
        return made.long() if made._array.dtype.kind == "f" else made
    return None


def _checked_index(index: Tensor) -> Tensor:
    kind = index._array.dtype.kind
    if kind in "iub":
        if index._array.dtype == np.uint8:
            warn(
                "indexing with dtype torch.uint8 is now deprecated, please use a dtype "
                "torch.bool instead."
            )
            return wrap(index._array != 0)
        return index
    raise DimError("tensors used as indices must be long, int, byte or bool tensors")


def _is_like_a_tuple(key: Any) -> bool:
    """Whether a list is read as one index for each dimension, which PyTorch took from old numpy."""
    if not isinstance(key, (list, range)) or len(key) >= 32:
        return False
    for each in key:
        if each is None or each is Ellipsis or isinstance(each, _INDICES):
            warn(
                "Using a non-tuple sequence for multidimensional indexing is deprecated and will "
                "be changed in pytorch 2.9; use x[tuple(seq)] instead of x[seq]. In pytorch 2.9 "
                "this will be interpreted as tensor index, x[torch.tensor(seq)], which will "
                "result either in an error or a different result"
            )
            return True
    return False


_INDICES = (slice, Tensor, list, tuple, range, np.ndarray)


def parse(shape: tuple[int, ...], key: Any) -> tuple[tuple[Any, ...], list[Tensor], list[Any]]:
    """(basic key, index tensors, spec over the dimensions that the basic key leaves)."""
    items = list(key) if isinstance(key, tuple) or _is_like_a_tuple(key) else [key]
    parsed: list[Any] = []
    used = 0
    for item in items:
        if item is None or item is Ellipsis or isinstance(item, (bool, np.bool_)):
            parsed.append(item)
            continue
        if isinstance(item, slice):
            parsed.append(_slice(item))
            used += 1
            continue
        if (
            isinstance(item, Tensor)
            and item._array.ndim == 0
            and item._array.dtype.kind in "iu"
            and item._array.dtype != np.uint8
        ):
            parsed.append(int(item._array))
            used += 1
            continue
        index = _as_index(item)
        if index is not None:
            index = _checked_index(index)
            parsed.append(index)
            used += index._array.ndim if index._array.dtype.kind == "b" else 1
        elif hasattr(item, "__index__"):
            parsed.append(item.__index__())
            used += 1
        else:
            if isinstance(item, str):
                raise TypeError("new(): invalid data type 'str'")
            raise DimError(
                "only integers, slices (`:`), ellipsis (`...`), None and long or byte "
                f"Variables are valid indices (got {type(item).__name__})"
            )
    if used > len(shape):
        if len(shape) == 0 and not isinstance(key, tuple) and isinstance(parsed[0], int):
            raise _index_of_number(parsed[0])
        raise DimError(f"too many indices for tensor of dimension {len(shape)}")
    # The first ellipsis stands for all dimensions that are not named; others for none.
    place = next((i for i, p in enumerate(parsed) if p is Ellipsis), len(parsed))
    parsed[place : place + 1] = [slice(None)] * (len(shape) - used)
    parsed = [p for p in parsed if p is not Ellipsis]
    return _split_key(shape, parsed)


def _index_of_number(index: int) -> DimError:
    """The error of indexing a 0-d tensor with an integer."""
    if index:
        return DimError(f"index {index} is out of bounds for dimension 0 with size 0")
    return DimError(
        "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or "
        "`tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
    )


def _slice(item: slice) -> slice:
    step = item.step
    if step is not None and int(step) <= 0:
        raise ValueError(
            "step must be greater than zero" if int(step) else "slice step cannot be zero"
        )
    if all(v is None or type(v) is int for v in (item.start, item.stop, step)):
        return item
    return slice(*[_bound(v) for v in (item.start, item.stop, step)])


def _bound(value: Any) -> int | None:
    if value is None:
        return None
    if not hasattr(value, "__index__"):
        raise TypeError("slice indices must be integers or None or have an __index__ method")
    return int(value.__index__())


def _split_key(shape: Any, parsed: list[Any]) -> tuple[tuple[Any, ...], list[Tensor], list[Any]]:
    basic: list[Any] = []
    indices: list[Tensor] = []
    spec: list[Any] = []
    dim = 0
    for item in parsed:
        if isinstance(item, Tensor):
            mask = item._array.dtype.kind == "b"
            count = item._array.ndim if mask else 1
            if mask:
                for k, n in enumerate(item._array.shape):
                    if n != shape[dim + k]:
                        raise DimError(
                            f"The shape of the mask {list(item._array.shape)} at index {k} does "
                            f"not match the shape of the indexed tensor {list(shape)} at index "
                            f"{dim + k}"
                        )
            if mask and count == 0:
                basic.append(None)
                item = wrap(item._array.reshape(1))
            else:
                basic.extend([slice(None)] * count)
            spec.append(len(indices))
            indices.append(item)
            dim += count
        elif isinstance(item, (bool, np.bool_)):
            basic.append(None)
            spec.append(len(indices))
            indices.append(wrap(np.array([bool(item)])))
        elif item is None:
            basic.append(None)
            spec.append(None)
        elif isinstance(item, slice):
            basic.append(item)
            spec.append(None)
            dim += 1
        else:
            extent = shape[dim]
            if not -extent <= item < extent:
                raise DimError(
                    f"index {item} is out of bounds for dimension {dim} with size {extent}"
                )
            basic.append(item)
            dim += 1
    return tuple(basic), indices, spec


def _trim(spec: list[Any]) -> tuple[Any, ...]:
    while spec and spec[-1] is None:
        spec.pop()
    return tuple(spec)


def _basic(input: Tensor, key: tuple[Any, ...]) -> Tensor:
    if all(type(k) is slice and k == slice(None) for k in key):
        return input
    return look(Slice, input, key=key)


def getitem(self: Tensor, key: Any) -> Tensor:
    """The elements that `key` selects: a view for basic keys, a copy for index tensors.

    Raises: IndexError for an index out of range or too many indices.
    """
    shape = self._array.shape
    if type(key) is int:
        if not shape:
            raise _index_of_number(key)
        extent = shape[0]
        if not -extent <= key < extent:
            raise DimError(f"index {key} is out of bounds for dimension 0 with size {extent}")
        return looked(Select, self, self._array[key, ...], {"axis": 0, "index": key % extent})
    basic = _plain(shape, key)
    if basic is not None:
        kind = Slice if type(key) is slice else slicing(basic)
        return looked(kind, self, self._array[(*basic, ...)], {"key": basic})
    basic, indices, spec = parse(shape, key)
    if indices:
        _check_bounds(self, basic, indices, spec)
        return apply(Index, _basic(self, basic), *indices, spec=_trim(spec))
    return look(Slice if type(key) is slice else slicing(basic), self, key=basic)


def _plain(shape: tuple[int, ...], key: Any) -> tuple[Any, ...] | None:
    """A key of integers within bounds and slices without steps as a tuple; None for any other."""
    items = key if type(key) is tuple else (key,)
    if len(items) > len(shape):
        return None
    for item, extent in zip(items, shape):  # noqa: B905 - there may be fewer items
        if type(item) is int:
            if not -extent <= item < extent:
                return None
        elif type(item) is not slice or item.step is not None:
            return None
        else:
            for bound in (item.start, item.stop):
                if bound is not None and type(bound) is not int:
                    return None
    return items


def _check_bounds(self: Tensor, basic: Any, indices: list[Tensor], spec: list[Any]) -> None:
    shape = np.broadcast_to(np.empty(()), self._array.shape)[basic].shape
    dim = 0
    used = []
    for s in spec:
        if s is None:
            dim += 1
            continue
        index = indices[s]._array
        if index.dtype.kind == "b":
            dim += index.ndim
            if len(indices) > 1:
                used.append((int(np.count_nonzero(index)),))
            continue
        extent = shape[dim]
        if index.size and not extent:
            raise DimError("index is out of bounds for dimension with size 0")
        if index.size and (index.min() < -extent or index.max() >= extent):
            bad = index[(index < -extent) | (index >= extent)].flat[0]
            raise DimError(f"index {bad} is out of bounds for dimension {dim} with size {extent}")
        used.append(index.shape)
        dim += 1
    try:
        np.broadcast_shapes(*used)
    except ValueError:
        raise DimError(
            "shape mismatch: indexing tensors could not be broadcast together with "
            "shapes " + ", ".join(str(list(s)) for s in used)
        ) from None


def setitem(self: Tensor, key: Any, value: Any) -> None:
    """Writes `value` (a number or a tensor that broadcasts) where `key` selects."""
    if key is False:
        return
    basic, indices, spec = parse(self._array.shape, None if key is True else key)
    number = False
    if not isinstance(value, Tensor):
        if not isinstance(value, (bool, int, float, complex, np.generic)):
            kind = cpp_name(self.dtype)
            raise TypeError(f"can't assign a {type(value).__name__} to a torch.{kind}Tensor")
        if isinstance(value, complex) and value.imag and not self.is_complex():
            raise _complex_into(self)
        value = wrap(np.asarray(value))
        number = True
    taped = mode.grad and (value.requires_grad or self.requires_grad)
    if indices:
        if taped:
            check_history(_basic(self, basic))
        _check_bounds(self, basic, indices, spec)
        if number:
            value = value.to(self.dtype)
        elif value.dtype is not self.dtype:
            key = numpy_key([i._array for i in indices], tuple(spec))
            shape = _picked_shape(self._array[(*basic, ...)], key)
            value = _as_stored(self, indices, value, shape)
        _put_indexed(self, basic, indices, _trim(spec), value, False, taped)
        return
    if not taped:
        place = self._array[(*basic, ...)]
        check_writable(wrap(place), "copy_", False)
        source = _fit(value._array, place.shape)
        if value._storage is not None and value._storage is self._storage:
            check_overlap("copy_", wrap(place), (wrap(source),))
        store(place, source)
        touch(self)
        return
    view: Tensor = look(Slice, self, key=basic)
    if view._array.shape == self._array.shape and all(
        type(k) is slice and not k.start and k.step in (None, 1) for k in basic
    ):
        view = self  # all of it: no view that the tape would have to follow
    if value._array.ndim > view._array.ndim:
        _fit(value._array, view._array.shape)
        value = value.reshape(value._array.shape[-view._array.ndim or value._array.ndim :])
    elif value._storage is not None and value._storage is view._storage:
        value = value.expand(view._array.shape)  # so that the two looks can be compared
    assign(view, value, "copy_")


def delitem(self: Tensor, key: Any) -> None:
    """Raises: TypeError. A tensor has a fixed size; index what is to stay."""
    raise TypeError("Tensor does not support deleting items")


def _fit(source: np.ndarray, shape: tuple[int, ...], indexed: bool = False) -> np.ndarray:
    """The source without leading dimensions of size 1 that the target lacks."""
    while source.ndim > len(shape) and source.shape[0] == 1:
        source = source[0]
    try:
        return np.broadcast_to(source, shape)
    except ValueError:
        for back in range(1, 0 if indexed else min(source.ndim, len(shape)) + 1):
            if source.shape[-back] not in (1, shape[-back]):
                raise ShapeError(
                    f"The expanded size of the tensor ({shape[-back]}) must match the existing "
                    f"size ({source.shape[-back]}) at non-singleton dimension "
                    f"{len(shape) - back}.  Target sizes: {list(shape)}.  Tensor sizes: "
                    f"{list(source.shape)}"
                ) from None
        raise ShapeError(_mismatch(source.shape, shape)) from None


def _mismatch(given: tuple[int, ...], shape: tuple[int, ...]) -> str:
    return (
        f"shape mismatch: value tensor of shape {list(given)} cannot be broadcast to indexing "
        f"result of shape {list(shape)}"
    )


def _put_indexed(
    self: Tensor,
    basic: Any,
    indices: list[Tensor],
    spec: Any,
    value: Tensor,
    accumulate: bool,
    taped: bool,
) -> None:
    shared = value is self or (value._storage is not None and value._storage is self._storage)
    if shared and value._array.size > 1 and _basic(self, basic) is self:
        check_overlap("index_put_", self, (value,))
    if not taped:
        check_writable(self, "index_put_", False)
        place = self._array[(*basic, ...)]
        source = value._array
        key = numpy_key([i._array for i in indices], spec)
        if not accumulate and source.size == 1 and _is_mask(key, place):
            # Everything is written: counting what a mask picks takes longer.
            store(place, backends.math().evaluate(_filled, place, key[0], source.reshape(())))
        else:
            shape = _picked_shape(place, key)
            put(place, key, _fit(source, shape, indexed=True), accumulate)
        touch(self)
        return
    view = _basic(self, basic)
    picked = _picked_shape(view._array, numpy_key([i._array for i in indices], spec))
    extra = value._array.ndim - len(picked)
    if extra > 0:
        value = value.reshape(value._array.shape[extra:])
    result = apply(IndexPut, view, value, *indices, spec=spec, accumulate=accumulate)
    assign(view if view is not self else self, result, "index_put_")


def _as_stored(self: Tensor, indices: list[Tensor], value: Tensor, shape: Any) -> Tensor:
    """The one element that a mask fills in, in the tensor's dtype; anything else must have it."""
    if len(indices) > 1 or indices[0]._array.dtype.kind != "b" or value._array.size != 1:
        _fit(value._array, shape, indexed=True)
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{cpp_name(self.dtype)} for the destination and {cpp_name(value.dtype)} for the source."
        )
    if not self.is_complex() and value._array.imag.any():
        raise _complex_into(self)
    return value.to(self.dtype)


def _complex_into(self: Tensor) -> Exception:
    kind = c_name(self.dtype).replace("long int", "int64_t")
    return RuntimeError(f"value cannot be converted to type {kind} without overflow")


def _is_mask(key: Any, place: np.ndarray) -> bool:
    """Whether the key is one mask of the array's shape."""
    return len(key) == 1 and key[0].dtype.kind == "b" and key[0].shape == place.shape


def _filled(m: Any, x: Any, mask: Any, value: Any) -> Any:
    return m.where(mask, value, x)


def _picked_shape(place: np.ndarray, key: Any) -> tuple[int, ...]:
    return np.broadcast_to(np.empty((), np.uint8), place.shape)[key].shape


def _key_of(indices: Any) -> tuple[Any, ...]:
    return tuple(slice(None) if i is None else i for i in indices)


@public(method=True, name="index_put_")
def index_put_(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """input[indices] = values (or += with `accumulate`, counting repeated indices)."""
    require_tensor("index_put_", "values", 2, values)
    basic, found, spec = parse(input._array.shape, _key_of(indices))
    if values.dtype is not input.dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got "
            f"{input.dtype.name} for the destination and {values.dtype.name} for "
            "the source."
        )
    taped = mode.grad and (values.requires_grad or input.requires_grad)
    if values is input or any(index is input for index in found):
        check_overlap("index_put_", input, (values, *found))
    _check_bounds(input, basic, found, spec)
    if values._array.ndim:
        key = numpy_key([i._array for i in found], tuple(spec))
        shape = _picked_shape(input._array[(*basic, ...)], key)
        if values._array.ndim > len(shape):  # x[i] = values would drop sizes of 1 in front
            raise ShapeError(_mismatch(values._array.shape, shape))
    _put_indexed(input, basic, found, _trim(spec), values, accumulate, taped)
    return input


@public(method=True)
def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of `input` with input[indices] = values (or += with `accumulate`)."""
    return index_put_(input.clone(), indices, values, accumulate)


setattr(Tensor, "__getitem__", getitem)  # noqa: B010 - mypy refuses the plain assignment
setattr(Tensor, "__setitem__", setitem)  # noqa: B010
setattr(Tensor, "__delitem__", delitem)  # noqa: B010
