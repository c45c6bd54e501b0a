"""Samples into batches: default_collate stacks, default_convert only makes tensors.

Both follow the structure of a sample (dicts, named tuples, lists) down to its leaves.
`default_collate_fn_map` says what is done with each kind of leaf; programs may add to it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from taper.devices import sparse_bsc, sparse_bsr, sparse_coo, sparse_csc, sparse_csr
from taper.tensor import Tensor

__all__ = ["collate", "default_collate", "default_collate_fn_map", "default_convert"]

_Map = dict[type | tuple[type, ...], Callable[..., Any]]

_SPARSE = (sparse_coo, sparse_csr, sparse_bsr, sparse_csc, sparse_bsc)
_NO_NUMBERS = "SUOa"  # numpy's letters of strings and objects

default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)


def _has_no_numbers(array: np.ndarray) -> bool:
    return any(letter in _NO_NUMBERS for letter in array.dtype.str)


def default_convert(data: Any) -> Any:
    """The sample with numpy arrays and scalars made tensors; everything else is left alone."""
    import taper

    kind: Any = type(data)
    if isinstance(data, Tensor):
        return data
    if kind.__module__ == "numpy" and kind.__name__ not in ("str_", "bytes_"):
        if kind is np.ndarray and _has_no_numbers(data):
            return data
        return taper.as_tensor(data)
    if isinstance(data, Mapping):
        return _mapping_like(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple):
        parts = [default_convert(part) for part in data]
        return kind(*parts) if hasattr(data, "_fields") else parts
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _sequence_like(data, [default_convert(part) for part in data])
    return data


def _mapping_like(model: Mapping[Any, Any], content: dict[Any, Any]) -> Any:
    """`content` as a mapping of the model's class, with its attributes; a dict if that fails."""
    try:
        if isinstance(model, MutableMapping):
            made = copy.copy(model)
            made.update(content)
            return made
        return type(model)(content)  # type: ignore[call-arg]
    except TypeError:
        return content


def _sequence_like(model: Sequence[Any], content: list[Any]) -> Any:
    """`content` as a sequence of the model's class, with its attributes; a list if that fails."""
    try:
        if isinstance(model, MutableSequence):
            made = copy.copy(model)
            for i, part in enumerate(content):
                made[i] = part
            return made
        return type(model)(content)  # type: ignore[call-arg]
    except TypeError:
        return content


def collate(batch: Any, *, collate_fn_map: _Map | None = None) -> Any:
    """One structure with batches for leaves, from a list of samples of that structure.

    `collate_fn_map` maps a class (or a tuple of classes) to function(batch, *, collate_fn_map).
    Raises: TypeError for leaves of another class, RuntimeError for lists of unequal length.
    """
    first = batch[0]
    kind: Any = type(first)
    if collate_fn_map is not None:
        if kind in collate_fn_map:
            return collate_fn_map[kind](batch, collate_fn_map=collate_fn_map)
        for each in collate_fn_map:
            if isinstance(first, each):
                return collate_fn_map[each](batch, collate_fn_map=collate_fn_map)
    if isinstance(first, Mapping):
        return _mapping_like(
            first,
            {
                key: collate([sample[key] for sample in batch], collate_fn_map=collate_fn_map)
                for key in first
            },
        )
    if isinstance(first, Sequence):
        named = isinstance(first, tuple) and hasattr(first, "_fields")
        if not named and any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        parts = [
            collate(samples, collate_fn_map=collate_fn_map) for samples in zip(*batch, strict=False)
        ]
        if named:
            return kind(*parts)
        return parts if isinstance(first, tuple) else _sequence_like(first, parts)
    raise TypeError(default_collate_err_msg_format.format(kind))


def collate_tensor_fn(batch: Sequence[Tensor], *, collate_fn_map: _Map | None = None) -> Tensor:
    """Tensors of one shape stacked along a new first dimension."""
    import taper

    first = batch[0]
    for unwanted, name in ((first.is_nested, "nested"), (first.layout in _SPARSE, "sparse")):
        if unwanted:
            raise RuntimeError(
                f"Batches of {name} tensors are not currently supported by the default "
                "collate_fn; please provide a custom collate_fn to handle them appropriately."
            )
    return taper.stack(batch, 0)


def collate_numpy_array_fn(
    batch: Sequence[np.ndarray], *, collate_fn_map: _Map | None = None
) -> Any:
    """Arrays as tensors, then as these are collated."""
    import taper

    if _has_no_numbers(batch[0]):
        raise TypeError(default_collate_err_msg_format.format(batch[0].dtype))
    tensors = [taper.as_tensor(array) for array in batch]
    return collate(tensors, collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: Iterable[Any], *, collate_fn_map: _Map | None = None) -> Tensor:
    """numpy scalars as a tensor of their dtype."""
    import taper

    return taper.as_tensor(batch)


def collate_float_fn(batch: Iterable[float], *, collate_fn_map: _Map | None = None) -> Tensor:
    """Python floats as float64, which loses nothing."""
    from taper.dtypes import float64
    from taper.ops.from_data import tensor

    return tensor(batch, dtype=float64)


def collate_int_fn(batch: Iterable[int], *, collate_fn_map: _Map | None = None) -> Tensor:
    """Python ints as int64, bools as bool."""
    from taper.ops.from_data import tensor

    return tensor(batch)


def collate_str_fn(batch: Any, *, collate_fn_map: _Map | None = None) -> Any:
    """Strings stay as they are."""
    return batch


default_collate_fn_map: _Map = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def default_collate(batch: Any) -> Any:
    """A batch from a list of samples: tensors, arrays and numbers stacked, strings listed.

    Structures are kept, except that a plain tuple becomes a list.
    Raises: TypeError for what cannot be stacked, RuntimeError for unequal lengths or shapes.
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
