"""Packed and padded sequences, and recurrent layers on them."""

from __future__ import annotations

import numpy as np
import pytest

import taper
from taper import nn
from taper.nn.utils.rnn import (
    PackedSequence,
    invert_permutation,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)


def sequences():
    return [taper.arange(2 * n).reshape(n, 2).double() + 10 * n for n in (2, 4, 1)]


def test_packed_rows_come_step_after_step():
    packed = pack_sequence([taper.tensor([1, 2, 3]), taper.tensor([4, 5]), taper.tensor([6])])

    assert packed.data.tolist() == [1, 4, 6, 2, 5, 3]
    assert packed.batch_sizes.tolist() == [3, 2, 1]
    assert packed.sorted_indices is None


def test_unsorted_sequences_come_back_in_their_order():
    given = sequences()

    packed = pack_sequence(given, enforce_sorted=False)

    assert packed.sorted_indices.tolist() == [1, 0, 2]
    for one, other in zip(unpack_sequence(packed), given, strict=True):
        assert taper.equal(one, other)


@pytest.mark.parametrize("batch_first", [False, True])
def test_padding_and_packing_undo_each_other(batch_first):
    padded = pad_sequence(sequences(), batch_first=batch_first, padding_value=-1)
    packed = pack_padded_sequence(padded, [2, 4, 1], batch_first, enforce_sorted=False)

    again, lengths = pad_packed_sequence(packed, batch_first, padding_value=-1)

    assert taper.equal(again, padded)
    assert lengths.tolist() == [2, 4, 1]


def test_padding_can_be_on_the_left_and_longer():
    left = pad_sequence([taper.tensor([1, 2]), taper.tensor([3])], padding_side="left")
    packed = pack_sequence([taper.tensor([1, 2]), taper.tensor([3])])

    longer, _ = pad_packed_sequence(packed, batch_first=True, total_length=4, padding_value=9)

    assert left.tolist() == [[1, 0], [2, 3]]
    assert longer.tolist() == [[1, 2, 9, 9], [3, 9, 9, 9]]


def test_unpad_gives_the_sequences_back():
    given = sequences()
    found = unpad_sequence(pad_sequence(given, True), taper.tensor([2, 4, 1]), True)

    assert all(taper.equal(a, b) for a, b in zip(found, given, strict=True))


def test_gradients_flow_through_packing_and_not_into_the_padding():
    x = taper.ones(3, 2, requires_grad=True)

    packed = pack_padded_sequence(x, [3, 1])
    padded, _ = pad_packed_sequence(packed, padding_value=5.0)
    (padded * taper.arange(6.0).reshape(3, 2)).sum().backward()

    assert x.grad.tolist() == [[0, 1], [2, 0], [4, 0]]


def test_gradients_flow_through_pad_sequence():
    one, other = taper.ones(2, requires_grad=True), taper.ones(1, requires_grad=True)

    (pad_sequence([one, other]) * taper.tensor([[1.0, 2], [3, 4]])).sum().backward()

    assert one.grad.tolist() == [1, 3]
    assert other.grad.tolist() == [2]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_layer_treats_each_packed_sequence_as_if_alone(kind):
    taper.manual_seed(0)
    layer = getattr(nn, kind)(2, 3, num_layers=2, bidirectional=True).double()
    given = [s.requires_grad_() for s in sequences()]

    out, state = layer(pack_sequence(given, enforce_sorted=False))
    found = unpack_sequence(out)
    sum((f * f).sum() for f in found).backward()
    grads = [s.grad.clone() for s in given]
    weights = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()

    for number, each in enumerate(given):
        each.grad = None
        expected, last = layer(each.unsqueeze(1))
        (expected * expected).sum().backward()
        np.testing.assert_allclose(
            found[number].detach().numpy(), expected[:, 0].detach().numpy(), rtol=1e-12, atol=1e-14
        )
        np.testing.assert_allclose(grads[number].numpy(), each.grad.numpy(), atol=1e-12)
        pairs = zip(state, last, strict=True) if kind == "LSTM" else [(state, last)]
        for own, alone in pairs:
            np.testing.assert_allclose(
                own[:, number].detach().numpy(),
                alone[:, 0].detach().numpy(),
                rtol=1e-12,
                atol=1e-14,
            )
    for grad, parameter in zip(weights, layer.parameters(), strict=True):
        np.testing.assert_allclose(grad.numpy(), parameter.grad.numpy(), atol=1e-12)


def test_packed_sequences_change_dtype_with_their_order():
    packed = pack_sequence(sequences(), enforce_sorted=False)

    assert packed.double() is packed
    assert packed.float().data.dtype == taper.float32
    assert packed.half().sorted_indices is packed.sorted_indices
    assert isinstance(packed.to(taper.float16), PackedSequence)
    assert not packed.is_cuda


def test_a_permutation_is_inverted():
    assert invert_permutation(taper.tensor([2, 0, 1])).tolist() == [1, 2, 0]
    assert invert_permutation(None) is None


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: pack_padded_sequence(x, [1, 3, 2]), RuntimeError, "sorted in decreasing order"),
        (lambda x: pack_padded_sequence(x, [3, 2]), RuntimeError, r"got 2 \(batch_size=3\)"),
        (lambda x: pack_padded_sequence(x, [3, 2, 0]), RuntimeError, "is <= 0"),
        (lambda x: pack_padded_sequence(x, [9, 2, 1]), RuntimeError, "longest sequence has 9"),
        (lambda x: pack_padded_sequence(x[:0], [3, 2, 1]), RuntimeError, "Cannot pack empty"),
        (lambda x: pad_sequence([]), RuntimeError, "empty list of sequences"),
        (lambda x: pad_sequence([x, x[0]]), RuntimeError, "must be the same"),
        (lambda x: pad_sequence([x], padding_side="up"), RuntimeError, "one of left or right"),
        (
            lambda x: pad_packed_sequence(pack_padded_sequence(x, [3, 2, 1]), total_length=2),
            ValueError,
            "total_length=2 and max sequence length being 3",
        ),
    ],
)
def test_mistakes_are_named(call, error, text):
    with pytest.raises(error, match=text):
        call(taper.ones(4, 3, 2))
