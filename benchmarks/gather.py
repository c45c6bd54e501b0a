"""Times indexing, running sums, random fills and casts beside PyTorch, one thread.

    python benchmarks/gather.py [part of a name] [--rounds N]

Prints a markdown table: microseconds of each, and the quotient of PyTorch's time and ours. The calls
are the public ones, with the kernels (TAPER_BACKEND=llvm unless set). The two take turns within short
rounds, by the CPU time of the thread; the best of each counts.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

os.environ.setdefault("TAPER_BACKEND", "llvm")

Call = Callable[[], Any]
SECONDS = 2e-3  # of one round, at least


def cases(torch: Any) -> dict[str, Call]:
    """The calls, in `torch` or in taper under that name."""
    rng = np.random.default_rng(0)
    functional = torch.nn.functional

    def numbers(*shape: int) -> Any:
        return torch.tensor(rng.standard_normal(shape).astype(np.float32))

    def places(extent: int, *shape: int) -> Any:
        return torch.tensor(rng.integers(0, extent, shape))

    matrix, vector, short = numbers(1000, 1000), numbers(1_000_000), numbers(100_000)
    table, words, above = numbers(10_000, 64), places(10_000, 64, 35), numbers(64, 35, 64)
    table.requires_grad_(True)
    small, letters, below = numbers(65, 64), places(65, 64, 32), numbers(64, 32, 64)
    small.requires_grad_(True)
    index, chosen = places(1000, 1000, 1000), places(1000, 500)
    half, brief = matrix.to(torch.float16), matrix.to(torch.bfloat16)
    data = torch.utils.data.TensorDataset(numbers(64_000, 30, 5))
    loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True)

    def embedding(weight: Any, at: Any, grad: Any) -> Call:
        def step() -> None:
            weight.grad = None
            functional.embedding(at, weight).backward(grad)

        return step

    def epoch() -> None:
        for _ in loader:
            pass

    return {
        "embedding 10000x64 by 64x35": lambda: functional.embedding(words, table),
        "the same, forward and backward": embedding(table, words, above),
        "embedding 65x64 by 64x32, both": embedding(small, letters, below),
        "index_select 500 of 1000x1000, dim 0": lambda: matrix.index_select(0, chosen),
        "the same, dim 1": lambda: matrix.index_select(1, chosen),
        "index_add 500 to 1000x1000": lambda: matrix.index_add(0, chosen, matrix[:500]),
        "gather 1000x1000, dim 1": lambda: matrix.gather(1, index),
        "gather 1000x1000, dim 0": lambda: matrix.gather(0, index),
        "scatter_add 1000x1000, dim 1": lambda: matrix.scatter_add(1, index, matrix),
        "DataLoader, 1000 batches of 64x30x5": epoch,
        "cumsum 1e6": lambda: vector.cumsum(0),
        "cumsum 1000x1000, dim 1": lambda: matrix.cumsum(1),
        "cumsum 1000x1000, dim 0": lambda: matrix.cumsum(0),
        "cumprod 1000x1000, dim 1": lambda: matrix.cumprod(1),
        "rand 1e6": lambda: torch.rand(1_000_000),
        "rand 1e6 float64": lambda: torch.rand(1_000_000, dtype=torch.float64),
        "randn 1e4": lambda: torch.randn(10_000),
        "randn 1e6": lambda: torch.randn(1_000_000),
        "randn 1e5 float64": lambda: torch.randn(100_000, dtype=torch.float64),
        "randperm 1e3": lambda: torch.randperm(1000),
        "randperm 1e6": lambda: torch.randperm(1_000_000),
        "bernoulli 1e5": lambda: torch.bernoulli(short, 0.3),
        "dropout 1e5": lambda: functional.dropout(short, 0.3),
        "exponential_ 1e5": lambda: torch.empty(100_000).exponential_(),
        "float32 to float16, 1e6": lambda: matrix.to(torch.float16),
        "float16 to float32, 1e6": half.float,
        "float32 to bfloat16, 1e6": lambda: matrix.to(torch.bfloat16),
        "bfloat16 to float32, 1e6": brief.float,
    }


def timed(call: Call, repeats: int) -> float:
    """Microseconds of a call, by the thread's CPU time."""
    start = time.thread_time()
    for _ in range(repeats):
        call()
    return (time.thread_time() - start) / repeats * 1e6


def race(ours: Call, theirs: Call, rounds: int) -> tuple[float, float]:
    """The best times of each, in turn."""
    ours(), theirs()
    repeats = [max(1, int(SECONDS * 1e6 / max(timed(c, 1), 1e-3))) for c in (ours, theirs)]
    best = [float("inf")] * 2
    for _ in range(rounds):
        for i, each in enumerate((ours, theirs)):
            best[i] = min(best[i], timed(each, repeats[i]))
    return best[0], best[1]


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    import torch

    import taper

    torch.set_num_threads(1)
    taper.set_num_threads(1)
    ours, theirs = cases(taper), cases(torch)
    print("| call | us | PyTorch | ratio |\n|---|---|---|---|")
    for name in ours:
        if args.name in name:
            own, other = race(ours[name], theirs[name], args.rounds)
            print(f"| {name} | {own:.1f} | {other:.1f} | {other / own:.2f}x |", flush=True)


if __name__ == "__main__":
    main()
