"""The short way from tensors to batches: one gathering per tensor instead of a sample at a time.

It is taken for a TensorDataset, or a Subset of one, whose samples nothing changes on the way: no
overridden method, no collate function of the user's, a sampler of ours. The batches are those of
the long way, and so is every random draw and its moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from taper.backends import math
from taper.tensor import Tensor, quick
from taper.utils.data._utils.collate import default_collate, default_collate_fn_map
from taper.utils.data.dataset import Subset, TensorDataset
from taper.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
)

_DEFAULT_MAP = dict(default_collate_fn_map)


def index_batches(sampler: Any) -> Iterator[Any] | None:
    """The batches of indices as arrays, or slices where they follow each other; None if the
    sampler is not one whose indices are certainly ints.
    """
    if type(sampler) is not BatchSampler:
        return None
    inner, size, drop_last = sampler.sampler, sampler.batch_size, sampler.drop_last
    if type(inner) is SequentialSampler:
        return _slices(inner, size, drop_last)
    if type(inner) is RandomSampler:
        return _regrouped(inner.parts(), size, drop_last)
    if type(inner) is SubsetRandomSampler and set(map(type, inner.indices)) == {int}:
        return _regrouped(_chosen(inner), size, drop_last)
    return None


def _slices(sampler: SequentialSampler, size: int, drop_last: bool) -> Iterator[slice]:
    count = len(sampler.data_source)
    for start in range(0, count - count % size if drop_last else count, size):
        yield slice(start, min(start + size, count))


def _chosen(sampler: SubsetRandomSampler) -> Iterator[np.ndarray]:
    yield np.fromiter(sampler, np.int64)


def _regrouped(parts: Iterator[np.ndarray], size: int, drop_last: bool) -> Iterator[np.ndarray]:
    """The same numbers in arrays of `size`; a part is asked for when its first number is."""
    rest = None
    for part in parts:
        if rest is not None:
            part = np.concatenate((rest, part))
        full = len(part) - len(part) % size
        for start in range(0, full, size):
            yield part[start : start + size]
        rest = part[full:] if full < len(part) else None
    if rest is not None and not drop_last:
        yield rest


def gathering(
    dataset: Any, collate_fn: Any, general: Callable[[list[int]], Any]
) -> Callable[[Any], Any] | None:
    """A function from an index array or slice to the batch; None if the long way is needed.

    `general` is the long way, which is asked whenever a batch turns out to be special.
    """
    if collate_fn is not default_collate or default_collate_fn_map != _DEFAULT_MAP:
        return None
    subsets = []
    while isinstance(dataset, Subset):
        cls = type(dataset)
        if cls.__getitems__ is not Subset.__getitems__ or "__getitems__" in dataset.__dict__:
            return None
        subsets.append(dataset)
        dataset = dataset.dataset
    if not isinstance(dataset, TensorDataset) or hasattr(dataset, "__getitems__"):
        return None
    if type(dataset).__getitem__ is not TensorDataset.__getitem__:
        return None
    source = dataset
    take_slices = math().take_slices

    def fetch(index: Any) -> Any:
        own = index
        if subsets:
            numbers = _numbers(index)
            for subset in subsets:
                indices = subset.indices
                numbers = [indices[i] for i in numbers]
            if set(map(type, numbers)) != {int}:
                return general(_numbers(index))
            own = np.array(numbers, np.int64)
        tensors = source.tensors
        if type(tensors) is not tuple:
            return general(_numbers(index))
        batch = []
        for tensor in tensors:
            if type(tensor) is not Tensor or tensor.requires_grad or tensor._is_inference:
                return general(_numbers(index))
            array = tensor._array
            try:
                found = array[own].copy() if type(own) is slice else take_slices(array, own)
            except IndexError:
                return general(_numbers(index))  # which says it in PyTorch's words
            if found.ndim != array.ndim or len(found) != _count(own):
                return general(_numbers(index))
            batch.append(quick.wrap(found))
        return batch

    return fetch


def _count(index: Any) -> int:
    return index.stop - index.start if type(index) is slice else len(index)


def _numbers(index: Any) -> list[int]:
    """A batch of indices as the samplers give it."""
    if type(index) is slice:
        return list(range(index.start, index.stop))
    return index.tolist()
