"""DistributedSampler: each of several processes reads its own share of the data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from taper.utils.data.sampler import Sampler

__all__ = ["DistributedSampler"]


class DistributedSampler(Sampler[int]):
    """Every `num_replicas`-th index, beginning with `rank`.

    All processes shuffle alike, from `seed` and the epoch that set_epoch() names. So that all get
    equally many, indices from the beginning are repeated at the end or, with `drop_last`, some at
    the end are left out.
    Raises: ValueError for a rank outside the group, RuntimeError where neither the sizes nor a
        process group are given.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None:
            num_replicas = _process_group().get_world_size()
        if rank is None:
            rank = _process_group().get_rank()
        assert num_replicas is not None and rank is not None
        if not 0 <= rank < num_replicas:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        self.shuffle = shuffle
        self.seed = seed
        count = len(dataset)
        self.num_samples = count // num_replicas if drop_last else math.ceil(count / num_replicas)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        import taper

        count = len(self.dataset)
        if self.shuffle:
            generator = taper.Generator()
            generator.manual_seed(self.seed + self.epoch)
            indices = taper.randperm(count, generator=generator).tolist()
        else:
            indices = list(range(count))
        if self.drop_last:
            indices = indices[: self.total_size]
        elif indices:
            indices = (indices * math.ceil(self.total_size / count))[: self.total_size]
        if len(indices) != self.total_size:
            raise AssertionError(
                f"Number of indices ({len(indices)}) does not match total_size ({self.total_size})"
            )
        return iter(indices[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Names the epoch, so that each has an order of its own."""
        self.epoch = epoch


def _process_group() -> Any:
    """taper.distributed, if it can be used here."""
    distributed: Any = None
    try:
        from taper import distributed
    except ImportError:
        pass
    if distributed is None or not distributed.is_available():
        raise RuntimeError("Requires distributed package to be available")
    return distributed
