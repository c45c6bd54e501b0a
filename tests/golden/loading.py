"""The order in which samples are loaded, and what is left in the generators, on taper or PyTorch.

Run as a script, with PyTorch installed, it writes loading.json: what taper must reproduce.
"""

from __future__ import annotations

import itertools
import json
import os

PATH = os.path.join(os.path.dirname(__file__), "loading.json")
SIZES = [(10, 3, False), (10, 5, False), (10, 3, True), (10, 5, True), (7, 7, False)]


def data_of(torch, n):
    return torch.utils.data.TensorDataset(torch.arange(n).float(), torch.arange(n))


def collate_slowly(torch):
    """The default collation, which the loader does not know for it."""
    return lambda batch: torch.utils.data.default_collate(batch)


def samplers(torch, n, generator):
    """Name -> sampler, of all kinds."""
    data = torch.utils.data
    weights = [1, 3, 5, 2, 6.0, 1, 1]
    return {
        "subset": data.SubsetRandomSampler([1, 3, 5, 2, 6], generator),
        "weighted": data.WeightedRandomSampler(weights, 12, generator=generator),
        "weighted once": data.WeightedRandomSampler(weights, 5, False, generator),
        "replaced": data.RandomSampler(range(n), True, None, generator),
        "replaced many": data.RandomSampler(range(n), True, 70, generator),
        "many": data.RandomSampler(range(n), False, 25, generator),
        "few": data.RandomSampler(range(n), False, 4, generator),
        "twice": data.RandomSampler(range(n), False, 20, generator),
    }


def loaders(torch, n, size, drop_last, generator):
    """Name -> loader, shuffled or with a sampler."""
    data = torch.utils.data
    options = {"batch_size": size, "drop_last": drop_last, "generator": generator}
    made = {
        "in order": data.DataLoader(data_of(torch, n), **options),
        "shuffled": data.DataLoader(data_of(torch, n), shuffle=True, **options),
        "slowly": data.DataLoader(
            data_of(torch, n), shuffle=True, collate_fn=collate_slowly(torch), **options
        ),
        "part": data.DataLoader(
            data.Subset(data_of(torch, n), list(range(n - 1, 0, -1))), shuffle=True, **options
        ),
    }
    for name, sampler in samplers(torch, n, generator).items():
        made[name] = data.DataLoader(data_of(torch, n), sampler=sampler, **options)
    return made


def labels(loader, count=None):
    return [batch[1].tolist() for batch in itertools.islice(loader, count)]


def run(torch):
    """Key -> orders of two passes and one broken off, then the next numbers of both generators."""
    found = {}
    for n, size, drop_last in SIZES:
        for own in (False, True):
            generator = torch.Generator() if own else None
            for name, loader in loaders(torch, n, size, drop_last, generator).items():
                torch.manual_seed(1)
                if own:
                    generator.manual_seed(5)
                orders = [labels(loader), labels(loader), labels(loader, 1)]
                left = torch.randint(0, 2**31 - 1, (2,)).tolist()
                if own:
                    left += torch.randint(0, 2**31 - 1, (2,), generator=generator).tolist()
                found[f"{n} {size} {drop_last} {own} {name}"] = [orders, left]
    return found


if __name__ == "__main__":
    import torch

    with open(PATH, "w", encoding="utf-8") as file:
        json.dump({"torch": torch.__version__, "orders": run(torch)}, file)
        file.write("\n")
