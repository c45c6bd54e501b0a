"""The data loader, its samplers and random_split draw what PyTorch's draw, in the same order."""

from __future__ import annotations

import pytest

import taper as torch
from random_golden import CASES, WEIGHTS, check, name_of
from taper.utils import data


def _epochs(dtype, n, batch_size, epochs, generator=None, drop_last=False):
    """Of every epoch the seed of the workers, then the indices in the order of the batches."""
    source = None if generator is None else torch.Generator().manual_seed(generator)
    loader = data.DataLoader(
        range(n), batch_size, shuffle=True, drop_last=drop_last, generator=source
    )
    seen = []
    for _ in range(epochs):
        batches = iter(loader)
        seen.append(batches._base_seed)
        seen += [int(index) for batch in batches for index in batch]
    return torch.tensor(seen)


def _sampled(dtype, n, num_samples, replacement=False):
    return torch.tensor(list(data.RandomSampler(range(n), replacement, num_samples)))


def _split(dtype, n, lengths):
    parts = data.random_split(range(n), lengths)
    return torch.tensor([index for part in parts for index in part.indices])


def _weighted(dtype, k, replacement):
    return torch.tensor(list(data.WeightedRandomSampler(WEIGHTS, k, replacement)))


CALLS = {
    "dataloader": _epochs,
    "random_sampler": _sampled,
    "random_split": _split,
    "weighted_sampler": _weighted,
}


@pytest.mark.parametrize("case", [c for c in CASES if c["fn"] in CALLS], ids=name_of)
def test_the_order_is_that_of_pytorch(case):
    check(case, CALLS[case["fn"]])


def test_a_shuffled_epoch_takes_four_words_from_the_default_generator():
    """Two for the workers' seed and two for the sampler's, however long the data are."""
    torch.manual_seed(3)
    list(data.DataLoader(range(100), 7, shuffle=True))
    after = torch.rand(1)

    torch.manual_seed(3)
    torch.rand(4)

    assert torch.rand(1) == after


def test_a_pass_without_shuffling_still_draws_the_workers_seed():
    torch.manual_seed(3)
    list(data.DataLoader(range(10), 2))
    after = torch.rand(1)

    torch.manual_seed(3)
    torch.rand(2)

    assert torch.rand(1) == after
