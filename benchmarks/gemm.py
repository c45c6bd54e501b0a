"""Times matrix products beside PyTorch and numpy, one thread: a linear layer and its gradients.

    python benchmarks/gemm.py [part of a size] [--dtype float64] [--rounds N]

Prints a markdown table: microseconds with the call included, the share of the processor's own
multiply-add peak, and the quotients of the others' times and ours. All take turns within short
rounds, the peak too (it moves with the clock), by the CPU time of the thread; the best of each
counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from conv import Peak, race

from taper.backends import products as reference
from taper.backends.llvm import build, call
from taper.backends.llvm.functions import gemm
from taper.backends.llvm.machine import host

# Rows, in_features, out_features.
SIZES = [
    (64, 150, 64),
    (64, 64, 32),
    (64, 32, 8),
    (64, 8, 1),
    (128, 64, 64),
    (256, 400, 120),
    (256, 120, 84),
    (256, 84, 10),
    (1, 512, 512),
    (512, 512, 512),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
    (4096, 1024, 1024),
]
_PEAK_ROUNDS = 20_000


def peak_loop() -> tuple[Callable[[], None], float]:
    """A loop of nothing but multiply-adds, and how many floating-point operations it does."""
    run = call.through_ctypes(build.library(Peak()).addresses["kernel"], ("array", "int"))
    x = np.ones(1024, np.float32)
    chains = min(Peak.CHAINS, host().registers - 4)
    return lambda: run(x, _PEAK_ROUNDS), 2.0 * chains * host().lanes(4) * _PEAK_ROUNDS


def measure(size: tuple[int, int, int], dtype: str, rounds: int) -> None:
    """Prints the rows of a layer: forward and the two gradients."""
    import torch

    m, k, n = size
    draw = np.random.default_rng(0)
    x, w, bias, grad = (
        (draw.random(shape) - 0.5).astype(dtype) for shape in ((m, k), (n, k), n, (m, n))
    )
    tx, tw, tb, tg = (torch.from_numpy(a) for a in (x, w, bias, grad))
    linear = torch.nn.functional.linear
    rows: list[tuple[str, Callable[[], Any], Callable[[], Any], Callable[[], Any]]] = [
        (
            "x @ W.T + b",
            lambda: gemm.linear(x, w, bias),
            lambda: linear(tx, tw, tb),
            lambda: reference.linear(x, w, bias),
        ),
        (
            "grad @ W",
            lambda: gemm.linear(grad, w.T, None),
            lambda: torch.mm(tg, tw),
            lambda: reference.linear(grad, w.T, None),
        ),
        (
            "grad.T @ x",
            lambda: gemm.linear(grad.T, x.T, None),
            lambda: torch.mm(tg.T, tx),
            lambda: reference.linear(grad.T, x.T, None),
        ),
    ]
    loop, operations = peak_loop()
    for what, ours, theirs, numpys in rows:
        mine, torchs, numpy_time, peak_time = race([ours, theirs, numpys, loop], rounds)
        peak = operations / peak_time / (x.itemsize // 4)
        rate = 2 * m * k * n / mine
        print(
            f"| {m} {k} {n} | {what} | {mine * 1e6:.2f} | {rate / 1e9:.0f} | {rate / peak:.0%} | "
            f"{torchs / mine:.2f} | {numpy_time / mine:.2f} |",
            flush=True,
        )


def main() -> None:
    """The table."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", default="")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| m k n, {given.dtype} | product | us | GFLOP/s | of the peak | x PyTorch | x numpy |")
    print("|---|---|---|---|---|---|---|")
    with torch.no_grad():
        for size in SIZES:
            if given.part in " ".join(map(str, size)):
                measure(size, given.dtype, given.rounds)


if __name__ == "__main__":
    # One thread for taper too: its products share the pool's threads otherwise.
    from taper import settings

    settings.set_num_threads(1)
    main()
