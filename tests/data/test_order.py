"""The order of samples and the random words it costs: PyTorch's, for every sampler and loader."""

from __future__ import annotations

import json
import pathlib
from itertools import islice

import pytest

import taper as torch
from golden import loading
from taper.utils import data

STORED = json.loads(pathlib.Path(loading.PATH).read_text(encoding="utf-8"))["orders"]


@pytest.fixture(scope="module")
def found():
    return loading.run(torch)


@pytest.mark.parametrize("key", STORED)
def test_orders_and_generators_are_those_of_pytorch(found, key):
    assert found[key] == STORED[key]


@pytest.mark.parametrize("rank", range(3))
@pytest.mark.parametrize(("count", "drop_last"), [(10, False), (10, True), (2, False)])
def test_each_process_reads_its_own_share(rank, count, drop_last):
    shares = []
    for each in range(3):
        sampler = data.DistributedSampler(range(count), 3, each, drop_last=drop_last, seed=3)
        sampler.set_epoch(2)
        shares.append(list(sampler))

    wanted = set(range(count)) if not drop_last else set().union(*shares)
    assert set().union(*shares) == wanted
    assert len({len(share) for share in shares}) == 1
    assert len(shares[rank]) == len(
        data.DistributedSampler(range(count), 3, rank, False, 0, drop_last)
    )


def test_the_share_without_shuffling_is_every_nth():
    assert list(data.DistributedSampler(range(7), 3, 1, shuffle=False)) == [1, 4, 0]
    assert list(data.DistributedSampler(range(7), 3, 1, shuffle=False, drop_last=True)) == [1, 4]


def test_batches_are_cut_from_any_iterable():
    assert list(data.BatchSampler("abcde", 2, False)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(data.BatchSampler("abcde", 2, True)) == [["a", "b"], ["c", "d"]]
    assert len(data.BatchSampler("abcde", 2, False)) == 3


WRONG = [
    (lambda: data.BatchSampler([1], 0, False), ValueError, "batch_size should be a positive"),
    (lambda: data.BatchSampler([1], True, False), ValueError, "but got batch_size=True"),
    (lambda: data.BatchSampler([1], 1, 1), ValueError, "drop_last should be a boolean"),
    (lambda: data.RandomSampler([1], 1), TypeError, "replacement should be a boolean"),
    (lambda: data.RandomSampler([]), ValueError, "num_samples should be a positive integer"),
    (lambda: data.WeightedRandomSampler([1.0], 0), ValueError, "num_samples should be a positive"),
    (lambda: data.WeightedRandomSampler([1.0], 1, 2), ValueError, "replacement should be a bool"),
    (lambda: data.WeightedRandomSampler([[1.0]], 1), ValueError, "weights should be a 1d sequence"),
    (lambda: data.DistributedSampler([1], 2, 2), ValueError, "in the interval"),
    (lambda: iter(data.Sampler()), NotImplementedError, "^$"),
]


@pytest.mark.parametrize(("make", "kind", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_wrong_arguments_are_refused(make, kind, words):
    with pytest.raises(kind, match=words):
        make()


def test_a_sampler_that_never_ends_begins_at_once():
    """Infinite loaders ask for 10 ** 10 samples with replacement; a list of them fills the memory."""
    many = data.RandomSampler(range(10), replacement=True, num_samples=10**10)
    again = data.RandomSampler(range(10), num_samples=10**12)

    assert all(0 <= i < 10 for i in islice(many, 100))
    assert sorted(islice(again, 10)) == list(range(10))
