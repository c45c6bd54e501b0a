"""torch.utils.data: data sets, samplers and the loader.

dataset.py says what can be loaded, sampler.py in which order, dataloader.py puts batches together:
in this process (batches.py takes the short way where it can) or in worker processes (workers.py).
"""

from __future__ import annotations

from taper.utils.data._utils.collate import default_collate, default_convert
from taper.utils.data._utils.worker import get_worker_info
from taper.utils.data.dataloader import DataLoader
from taper.utils.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from taper.utils.data.distributed import DistributedSampler
from taper.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "random_split",
]
