"""Data sets: samples, lengths, splits and their errors."""

from __future__ import annotations

import pytest

import taper as torch
from taper.utils.data import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)


class Count(IterableDataset):
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return iter(range(self.n))

    def __len__(self):
        return self.n


def test_a_sample_of_tensors_is_a_tuple_of_their_elements():
    data = TensorDataset(torch.arange(6).reshape(3, 2), torch.tensor([7.0, 8.0, 9.0]))

    x, y = data[1]

    assert len(data) == 3 and x.tolist() == [2, 3] and y.item() == 8
    assert data[1:][1].tolist() == [8, 9]


def test_tensors_of_different_lengths_are_refused():
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        TensorDataset(torch.zeros(3), torch.zeros(4))


def test_stacked_sets_give_tuples_or_dicts():
    squares = [n * n for n in range(5)]

    pairs = StackDataset(range(5), squares)
    named = StackDataset(n=range(5), square=Subset(squares, range(5)))

    assert pairs[3] == (3, 9) and len(pairs) == 5
    assert named[2] == {"n": 2, "square": 4}
    assert pairs.__getitems__([1, 4]) == [(1, 1), (4, 16)]
    assert named.__getitems__([3]) == [{"n": 3, "square": 9}]


def test_concatenated_sets_are_counted_through():
    data = ConcatDataset(["ab", "cde", "f"])

    assert [data[i] for i in range(-6, 6)] == list("abcdef") * 2
    assert data.cumulative_sizes == [2, 5, 6]
    assert isinstance(Subset("ab", [0]) + Subset("c", [0]), ConcatDataset)


def test_chained_sets_follow_each_other():
    data = Count(2) + Count(3)

    assert isinstance(data, ChainDataset)
    assert list(data) == [0, 1, 0, 1, 2] and len(data) == 5


def test_a_subset_asks_for_many_at_once_where_it_can():
    class Many(Dataset):
        def __getitems__(self, indices):
            return [("many", i) for i in indices]

    assert Subset(Many(), [4, 5, 6]).__getitems__([0, 2]) == [("many", 4), ("many", 6)]
    assert Subset("abc", [2, 1]).__getitems__([0, 1]) == ["c", "b"]


def test_a_subset_that_changes_single_samples_alone_is_refused():
    class Changed(Subset):
        def __getitem__(self, index):
            return -index

    with pytest.raises(NotImplementedError, match="Changed overrides __getitem__ but not"):
        Changed("abc", [0])


def test_a_split_deals_all_samples_out():
    parts = random_split(range(10), [3, 7])

    assert [len(part) for part in parts] == [3, 7]
    assert sorted(i for part in parts for i in part) == list(range(10))


def test_the_remainder_of_fractions_goes_round():
    parts = random_split(range(11), [0.3, 0.3, 0.4])

    assert [len(part) for part in parts] == [4, 3, 4]


def test_a_split_depends_on_its_generator_alone():
    made = [
        [part.indices for part in random_split(range(10), [3, 7], torch.Generator().manual_seed(9))]
        for _ in range(2)
    ]

    # As PyTorch 2.13 gives.
    assert made[0] == made[1]
    assert made[0][0] == [0, 5, 8]


WRONG = [
    (lambda: StackDataset(), ValueError, "At least one dataset"),
    (lambda: StackDataset("ab", x="ab"), ValueError, "both types are given"),
    (lambda: StackDataset("ab", "c"), ValueError, "Size mismatch between datasets"),
    (lambda: ConcatDataset([]), AssertionError, "should not be an empty iterable"),
    (lambda: ConcatDataset([Count(1)]), AssertionError, "does not support IterableDataset"),
    (lambda: list(ChainDataset([[1]])), AssertionError, "only supports IterableDataset"),
    (lambda: ConcatDataset(["ab"])[-3], ValueError, "should not exceed dataset length"),
    (lambda: random_split(range(4), [1, 2]), ValueError, "Sum of input lengths does not equal"),
    (lambda: random_split(range(4), [1.5, -0.5]), ValueError, "index 0 is not between 0 and 1"),
    (lambda: Dataset()[0], NotImplementedError, "should implement __getitem__"),
]


@pytest.mark.parametrize(("make", "kind", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_wrong_arguments_are_refused(make, kind, words):
    with pytest.raises(kind, match=words):
        make()


def test_an_empty_part_is_warned_of():
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        random_split(range(2), [0.9, 0.1])
