"""Sequences of different lengths: padded with a value to one length, or packed without padding.

Packed, the rows of all sequences alive in the first step come first, then those of the second,
and so on; a recurrent layer then computes nothing that is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

import taper
from taper.tensor import Tensor, wrap

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class PackedSequence_(NamedTuple):
    """The fields of a PackedSequence."""

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(PackedSequence_):
    """Sequences of different lengths without padding; made by `pack_sequence` and its like.

    data: the rows of all sequences, step after step; batch_sizes: how many sequences there are in
    each step; sorted_indices: the order by length in which they are packed, or None if they came
    in that order; unsorted_indices: the way back.
    """

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def _with(self, data: Tensor) -> PackedSequence:
        if data is self.data:
            return self
        return type(self)(data, *self[1:])

    def pin_memory(self) -> PackedSequence:
        """The same sequences with data in pinned memory."""
        return self._with(self.data.pin_memory())

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same sequences with `data.to(...)`; itself if that changes nothing."""
        return self._with(self.data.to(*args, **kwargs))

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same sequences on a GPU."""
        return self._with(self.data.cuda(*args, **kwargs))

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same sequences in main memory."""
        return self.to(*args, device="cpu", **kwargs)

    def double(self) -> PackedSequence:
        """The same sequences in float64."""
        return self.to(dtype=taper.float64)

    def float(self) -> PackedSequence:
        """The same sequences in float32."""
        return self.to(dtype=taper.float32)

    def half(self) -> PackedSequence:
        """The same sequences in float16."""
        return self.to(dtype=taper.float16)

    def long(self) -> PackedSequence:
        """The same sequences in int64."""
        return self.to(dtype=taper.int64)

    def int(self) -> PackedSequence:
        """The same sequences in int32."""
        return self.to(dtype=taper.int32)

    def short(self) -> PackedSequence:
        """The same sequences in int16."""
        return self.to(dtype=taper.int16)

    def char(self) -> PackedSequence:
        """The same sequences in int8."""
        return self.to(dtype=taper.int8)

    def byte(self) -> PackedSequence:
        """The same sequences in uint8."""
        return self.to(dtype=taper.uint8)

    @property
    def is_cuda(self) -> bool:
        """Whether the data is on a GPU."""
        return bool(self.data.is_cuda)

    def is_pinned(self) -> bool:
        """Whether the data is in pinned memory."""
        return bool(self.data.is_pinned())


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """Where each number stands in the permutation; None for None."""
    if permutation is None:
        return None
    return permutation.argsort()


def pack_padded_sequence(
    input: Tensor,
    lengths: Tensor | list[int],
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """Packs padded sequences, of which only the first `lengths` steps count.

    Shape: input (steps, batch, ...), or (batch, steps, ...) with batch_first; lengths (batch,),
        not increasing unless enforce_sorted is False.
    Raises: RuntimeError for lengths that are not sorted, not positive or not one per sequence.
    """
    if isinstance(lengths, Tensor):
        lengths = lengths.to(dtype=taper.int64)
    else:
        lengths = taper.as_tensor(lengths, dtype=taper.int64)
    order = None
    if not enforce_sorted:
        lengths, order = taper.sort(lengths, descending=True)
        input = input.index_select(0 if batch_first else 1, order)
    data, batch_sizes = taper._pack_padded_sequence(input, lengths, batch_first)
    return PackedSequence(data, batch_sizes, order, None)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The sequences padded to the longest (or to total_length), and their lengths.

    Shape: (steps, batch, ...), or (batch, steps, ...) with batch_first; lengths (batch,).
    Raises: ValueError if total_length is less than the longest sequence.
    """
    steps = sequence.batch_sizes.size(0)
    if total_length is not None and total_length < steps:
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, "
            f"but got total_length={total_length} and max sequence length being {steps}"
        )
    padded, lengths = taper._pad_packed_sequence(
        sequence.data,
        sequence.batch_sizes,
        batch_first,
        padding_value,
        steps if total_length is None else total_length,
    )
    order = sequence.unsorted_indices
    if order is None:
        return padded, lengths
    return padded.index_select(0 if batch_first else 1, order), lengths[order]


def pad_sequence(
    sequences: Any,
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """The sequences in one tensor, each padded to the length of the longest.

    Shape: sequences (length, *), with any lengths; result (longest, number, *), or (number,
        longest, *) with batch_first.
    Dtype: that of the first sequence.
    Raises: RuntimeError without sequences, or if they differ in more than their length.
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences)}"
        )
    given: tuple[Tensor, ...] = tuple(sequences)
    if not given:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            f"Expected padding_side to be one of left or right, but got {padding_side}."
        )
    first = given[0]
    rest = tuple(first.shape[1:])
    for each in given:
        if each.dim() == 0:
            raise RuntimeError("pad_sequence: a sequence must have at least one dimension")
        _check_rest(rest, tuple(each.shape[1:]))
    counts = np.array([len(s) for s in given])
    longest, batch = int(counts.max()), len(given)
    numbers = np.repeat(np.arange(batch), counts)
    steps = np.concatenate([np.arange(n) for n in counts])
    if padding_side == "left":
        steps += (longest - counts)[numbers]
    shape = (batch, longest) if batch_first else (longest, batch)
    out: Tensor = first.new_full((*shape, *rest), padding_value)
    where = (numbers, steps) if batch_first else (steps, numbers)
    out[tuple(wrap(w) for w in where)] = taper.cat([s.to(first.dtype) for s in given])
    return out


def _check_rest(wanted: tuple[int, ...], given: tuple[int, ...]) -> None:
    """Two sequences may differ in length only."""
    if wanted == given:
        return
    for back in range(1, min(len(wanted), len(given)) + 1):
        if wanted[-back] != given[-back]:
            raise RuntimeError(
                f"The size of tensor a ({wanted[-back]}) must match the size of tensor b "
                f"({given[-back]}) at non-singleton dimension {len(wanted) - back + 1}"
            )
    raise RuntimeError(
        f"pad_sequence: the sequences' shapes without their length, {list(wanted)} and "
        f"{list(given)}, must be the same"
    )


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """The first `lengths` steps of each sequence, the reverse of `pad_sequence`.

    Like PyTorch, swaps the first two dimensions of `padded_sequences` itself without batch_first.
    """
    if not batch_first:
        padded_sequences.transpose_(0, 1)
    steps = taper.arange(padded_sequences.shape[1])
    return [
        sequence[steps < length] for sequence, length in zip(padded_sequences, lengths, strict=True)
    ]


def pack_sequence(sequences: list[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Packs a list of sequences (length, *), sorted by length unless enforce_sorted is False."""
    lengths = taper.as_tensor([s.size(0) for s in sequences])
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a PackedSequence in their first order."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
