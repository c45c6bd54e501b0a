"""Packed sequences: the rows of padded sequences that hold something, step after step.

Sequences are sorted by length, the longest first, so the rows alive in a step are its first ones,
and `sizes`, how many they are in each step, says everything. The class PackedSequence and what
users call are in nn/utils/rnn.py.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from taper.backends.recurrent import places
from taper.dispatch import apply
from taper.errors import ShapeError
from taper.op import Opaque, op, public
from taper.tensor import Tensor, wrap


def _rows(sizes: Any, batch: int, length: int, batch_first: bool) -> np.ndarray:
    return places(sizes, length, 1) if batch_first else places(sizes, 1, batch)


@op
class PackPadded(Opaque):
    """The rows that hold something of (steps, batch, ...), or of (batch, steps, ...)."""

    name = "_pack_padded_sequence"
    node_name = "PackPaddedSequenceBackward0"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, sizes: Any, batch_first: bool) -> Any:
        one, other, *rest = input.shape
        batch, length = (one, other) if batch_first else (other, one)
        return input.reshape(one * other, *rest)[_rows(sizes, batch, length, batch_first)]

    def vjp(self, m: Any, grad: Any, out: Any, shape: Any, *, sizes: Any, batch_first: bool) -> Any:
        return m.call(
            PadPacked,
            grad,
            sizes=sizes,
            batch=shape[0 if batch_first else 1],
            length=shape[1 if batch_first else 0],
            batch_first=batch_first,
            value=0.0,
        )


@op
class PadPacked(Opaque):
    """Packed rows at their places in (length, batch, ...) or (batch, length, ...) full of `value`."""

    name = "_pad_packed_sequence"
    node_name = "CopySlices"

    def forward(
        self,
        m: Any,
        data: Any,
        *,
        sizes: Any,
        batch: int,
        length: int,
        batch_first: bool,
        value: float,
    ) -> Any:
        # Steps lead in memory, as in PyTorch; batch_first is another look at it.
        padded = np.full((length * batch, *data.shape[1:]), value, data.dtype)
        padded[places(sizes, 1, batch)] = data
        padded = padded.reshape(length, batch, *data.shape[1:])
        return padded.swapaxes(0, 1) if batch_first else padded

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        data: Any,
        *,
        sizes: Any,
        batch: int,
        length: int,
        batch_first: bool,
        value: float,
    ) -> Any:
        return m.call(PackPadded, grad, sizes=sizes, batch_first=batch_first)


def _check_counts(name: str, counts: Tensor) -> list[int]:
    if counts.dim() != 1 or counts.dtype.name != "int64":
        kind = {"int64": "Long", "int32": "Int"}.get(counts.dtype.name, counts.dtype.name.title())
        raise ShapeError(
            name,
            "'lengths' argument should be a 1D CPU int64 tensor, but got "
            f"{counts.dim()}D cpu {kind} tensor",
        )
    return counts.tolist()


@public()
def _pack_padded_sequence(
    input: Tensor, lengths: Tensor, batch_first: bool = False
) -> tuple[Tensor, Tensor]:
    """The packed rows of sorted sequences, and how many there are in each step.

    Shape: input (steps, batch, ...), or (batch, steps, ...) with batch_first; lengths (batch,),
        not increasing; results (sum of lengths, ...) and (longest,), int64.
    Raises: RuntimeError for lengths that are not sorted, not positive or not one per sequence.
    """
    name = "_pack_padded_sequence"
    counts = _check_counts(name, lengths)
    if input._array.size == 0:
        raise ShapeError(name, "Cannot pack empty tensors.")
    batch, steps = input.size(0 if batch_first else 1), input.size(1 if batch_first else 0)
    if len(counts) != batch:
        raise ShapeError(
            name,
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(counts)} "
            f"(batch_size={batch})",
        )
    if min(counts) <= 0:
        raise ShapeError(
            name,
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that is <= 0",
        )
    if any(later > earlier for earlier, later in pairwise(counts)):
        raise ShapeError(
            name,
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. "
            "You can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to "
            "sidestep this requirement if you do not need ONNX exportability.",
        )
    if counts[0] > steps:
        raise ShapeError(
            name, f"the longest sequence has {counts[0]} steps, but the input only {steps}"
        )
    alive = (np.array(counts)[:, None] > np.arange(counts[0])).sum(0)
    made = apply(PackPadded, input, sizes=tuple(alive.tolist()), batch_first=bool(batch_first))
    return made, wrap(alive)


@public()
def _pad_packed_sequence(
    data: Tensor,
    batch_sizes: Tensor,
    batch_first: bool,
    padding_value: float,
    total_length: int = -1,
) -> tuple[Tensor, Tensor]:
    """Packed rows as (steps, batch, ...), padded with `padding_value`, and the lengths.

    Shape: the reverse of `_pack_padded_sequence`, with max(longest, total_length) steps.
    Raises: RuntimeError for a total_length that is less than the longest sequence.
    """
    name = "_pad_packed_sequence"
    sizes = _check_counts(name, batch_sizes)
    length = len(sizes)
    if total_length > 0:
        if total_length < length:
            raise ShapeError(
                name,
                "Expected total_length to be at least the length of the longest sequence in "
                f"input, but got total_length={total_length} and max sequence length being "
                f"{length}",
            )
        length = total_length
    made = apply(
        PadPacked,
        data,
        sizes=tuple(sizes),
        batch=sizes[0],
        length=length,
        batch_first=bool(batch_first),
        value=padding_value,
    )
    lengths = (np.array(sizes)[:, None] > np.arange(sizes[0])).sum(0)
    return made, wrap(lengths)
