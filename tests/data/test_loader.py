"""DataLoader in one process: options, batches, and the short way that nobody can see."""

from __future__ import annotations

import numpy as np
import pytest

import taper as torch
from taper.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)
from taper.utils.data._utils.collate import default_collate_fn_map


def numbered(count=10):
    x = torch.arange(count * 2).reshape(count, 2).float()
    return TensorDataset(x, torch.arange(count))


class Count(IterableDataset):
    def __init__(self, n, said=None):
        self.n = n
        self.said = n if said is None else said

    def __iter__(self):
        return iter(range(self.n))

    def __len__(self):
        return self.said


def as_lists(loader):
    return [batch.tolist() for batch in loader]


def test_batches_come_in_order_and_the_last_may_be_short():
    assert as_lists(DataLoader(range(5), batch_size=2)) == [[0, 1], [2, 3], [4]]
    assert as_lists(DataLoader(range(5), batch_size=2, drop_last=True)) == [[0, 1], [2, 3]]
    assert len(DataLoader(range(5), batch_size=2)) == 3


def test_without_batch_size_samples_are_converted_singly():
    loader = DataLoader([np.ones(2), "text", 3], batch_size=None)

    first, second, third = loader

    assert first.dtype is torch.float64 and second == "text" and third == 3
    assert len(loader) == 3


def test_a_batch_sampler_decides_everything():
    loader = DataLoader(range(9), batch_sampler=[[8, 1], [3]])

    assert as_lists(loader) == [[8, 1], [3]]
    assert loader.batch_size is None and len(loader) == 2


def test_a_set_that_gives_many_at_once_is_asked_once():
    asked = []

    class Many(Dataset):
        def __len__(self):
            return 4

        def __getitems__(self, indices):
            asked.append(indices)
            return indices

    assert as_lists(DataLoader(Many(), batch_size=2)) == [[0, 1], [2, 3]]
    assert asked == [[0, 1], [2, 3]]


def test_an_iterable_set_is_cut_into_batches():
    assert as_lists(DataLoader(Count(5), batch_size=2)) == [[0, 1], [2, 3], [4]]
    assert as_lists(DataLoader(Count(5), batch_size=2, drop_last=True)) == [[0, 1], [2, 3]]
    assert list(DataLoader(Count(3), batch_size=None)) == [0, 1, 2]
    assert len(DataLoader(Count(5), batch_size=2)) == 3
    assert len(DataLoader(Count(5), batch_size=2, drop_last=True)) == 2


def test_more_samples_than_promised_are_warned_of():
    loader = DataLoader(Count(3, said=2), batch_size=None)
    assert len(loader) == 2

    with pytest.warns(UserWarning, match="was reported to be 2.*but 3 samples have been fetched"):
        list(loader)


def test_an_iterator_that_is_exhausted_stays_so():
    iterator = iter(DataLoader(numbered(3)))
    list(iterator)

    with pytest.raises(StopIteration):
        next(iterator)


def test_memory_cannot_be_pinned_without_a_gpu():
    loader = DataLoader(range(2), pin_memory=True)

    with pytest.warns(UserWarning, match="no accelerator is found"):
        assert as_lists(loader) == [[0], [1]]


WRONG = [
    ({"num_workers": -1}, ValueError, "num_workers option should be non-negative"),
    ({"timeout": -1}, ValueError, "timeout option should be non-negative"),
    ({"prefetch_factor": 2}, ValueError, "prefetch_factor option could only be specified in"),
    ({"prefetch_factor": -1, "num_workers": 1}, ValueError, "prefetch_factor option should be"),
    ({"persistent_workers": True}, ValueError, "persistent_workers option needs num_workers > 0"),
    ({"shuffle": True, "sampler": [1]}, ValueError, "mutually exclusive with shuffle"),
    ({"batch_sampler": [[1]], "batch_size": 3}, ValueError, "batch_sampler option is mutually"),
    ({"batch_size": None, "drop_last": True}, ValueError, "batch_size=None option disables"),
    ({"multiprocessing_context": "fork"}, ValueError, "can only be used with multi-process"),
    (
        {"multiprocessing_context": "boat", "num_workers": 1},
        ValueError,
        "should specify a valid start method in .*'boat'",
    ),
    (
        {"multiprocessing_context": 3, "num_workers": 1},
        TypeError,
        "should be a valid context object or a string",
    ),
    ({"batch_size": 0}, ValueError, "batch_size should be a positive integer"),
    ({"shuffle": True, "dataset": Count(1)}, ValueError, "expected unspecified shuffle option"),
    ({"sampler": [1], "dataset": Count(1)}, ValueError, "expected unspecified sampler option"),
    ({"batch_sampler": [[1]], "dataset": Count(1)}, ValueError, "unspecified batch_sampler option"),
    ({"dataset": [], "shuffle": True}, ValueError, "num_samples should be a positive integer"),
]


@pytest.mark.parametrize(("options", "kind", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_options_that_exclude_each_other_are_refused(options, kind, words):
    with pytest.raises(kind, match=words):
        DataLoader(**{"dataset": range(3), **options})


@pytest.mark.parametrize(
    "name", ["batch_size", "sampler", "batch_sampler", "drop_last", "dataset", "persistent_workers"]
)
def test_what_makes_the_batches_cannot_be_changed_later(name):
    loader = DataLoader(range(3))

    with pytest.raises(ValueError, match=f"{name} attribute should not be set after DataLoader is"):
        setattr(loader, name, None)


def test_an_unknown_length_has_no_length():
    class Endless(IterableDataset):
        def __iter__(self):
            return iter([1])

    with pytest.raises(TypeError):
        len(DataLoader(Endless()))


# ---------------------------------------------------------------- the short way


def both_ways(dataset, **options):
    """Batches by default, and by a collate function that the loader does not know."""
    results = []
    for collate in (None, lambda batch: default_collate(batch)):
        torch.manual_seed(1)
        loader = DataLoader(dataset, collate_fn=collate, **options)
        results.append([[t.tolist() for t in batch] for _ in range(2) for batch in loader])
    return results


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size", [1, 3, 5, 10, 11])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("part", [None, [9, 2, 2, -1, 0, 5], range(8)])
def test_the_short_way_gives_the_batches_of_the_long_one(part, shuffle, size, drop_last):
    dataset = numbered() if part is None else Subset(numbered(), part)

    short, long = both_ways(dataset, batch_size=size, shuffle=shuffle, drop_last=drop_last)

    assert short == long


@pytest.mark.parametrize("indices", [torch.arange(4), np.arange(4), [True] * 4])
def test_indices_that_are_no_ints_take_the_long_way(indices):
    short, long = both_ways(Subset(numbered(), indices), batch_size=2)

    assert short == long


def test_parts_of_parts_are_followed():
    dataset = Subset(Subset(numbered(), [5, 3, 1, 9]), [3, 0])

    ((_, labels),) = DataLoader(dataset, batch_size=2)

    assert labels.tolist() == [9, 5]


def test_a_batch_does_not_share_memory_with_the_data():
    data = numbered()
    for x, _ in DataLoader(data, batch_size=5):
        x.zero_()

    assert data.tensors[0].sum() == 190


def test_overridden_samples_are_seen():
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            return tuple(t * 2 for t in super().__getitem__(index))

    class Reversed(Subset):
        def __getitem__(self, index):
            return super().__getitem__(len(self) - 1 - index)

        def __getitems__(self, indices):
            return [self[i] for i in indices]

    doubled = Doubled(torch.arange(4))

    assert [b[0].tolist() for b in DataLoader(doubled, batch_size=2)] == [[0, 2], [4, 6]]
    part = Reversed(TensorDataset(torch.arange(4)), range(4))
    assert [b[0].tolist() for b in DataLoader(part, batch_size=2)] == [[3, 2], [1, 0]]


def test_an_overridden_sampler_is_seen():
    class Backwards(SequentialSampler):
        def __iter__(self):
            return reversed(range(len(self)))

    class Twice(BatchSampler):
        def __iter__(self):
            for batch in super().__iter__():
                yield batch * 2

    loader = DataLoader(numbered(3), batch_size=3, sampler=Backwards(range(3)))
    assert next(iter(loader))[1].tolist() == [2, 1, 0]
    twice = DataLoader(numbered(2), batch_sampler=Twice(RandomSampler(range(2)), 2, False))
    assert len(next(iter(twice))[1]) == 4


def test_a_changed_table_of_collate_functions_is_seen(monkeypatch):
    monkeypatch.setitem(
        default_collate_fn_map, torch.Tensor, lambda batch, *, collate_fn_map: len(batch)
    )

    assert list(DataLoader(numbered(4), batch_size=2)) == [[2, 2], [2, 2]]


def test_tensors_that_require_grad_stay_on_the_tape():
    w = torch.ones(4, requires_grad=True)
    for (batch,) in DataLoader(TensorDataset(w * 2), batch_size=2):
        batch.sum().backward(retain_graph=True)

    assert w.grad.tolist() == [2.0] * 4


def test_tensors_replaced_during_a_pass_are_seen():
    data = TensorDataset(torch.zeros(4))
    seen = []
    for (batch,) in DataLoader(data, batch_size=2):
        seen.append(batch.tolist())
        data.tensors = (torch.ones(4),)

    assert seen == [[0, 0], [1, 1]]


def test_a_length_that_promises_too_much_gives_the_long_ways_error():
    class Longer(TensorDataset):
        def __len__(self):
            return 6

    with pytest.raises(IndexError, match="index 4 is out of bounds for dimension 0 with size 4"):
        list(DataLoader(Longer(torch.zeros(4)), batch_size=3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.complex64, torch.uint8])
def test_every_dtype_is_gathered(dtype):
    data = TensorDataset(torch.tensor([0, 1, 1]).to(dtype))

    ((batch,),) = DataLoader(data, batch_size=3, shuffle=True)

    assert batch.dtype is dtype and batch.sum().item() == 2


def test_tensors_in_any_order_of_memory_give_contiguous_batches():
    data = TensorDataset(torch.arange(24).reshape(2, 3, 4).permute(2, 1, 0))
    for shuffle in (False, True):
        ((batch,),) = DataLoader(data, batch_size=4, shuffle=shuffle)

        assert batch.is_contiguous() and batch.shape == (4, 3, 2)
