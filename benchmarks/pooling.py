"""Times the pooling kernels beside PyTorch, one thread: values and gradients.

    python benchmarks/pooling.py [--rounds N]

Prints a markdown table of milliseconds and the quotient of PyTorch's time and ours. PyTorch's maximum
saves where it was, which its gradient then uses; ours finds it again.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from conv import race

import taper
from taper.backends.llvm.functions import pool

CASES = {
    # name: (images, channels, size, kernel, stride, padding)
    "256x6x28x28, 2x2": (256, 6, (28, 28), 2, 2, 0),
    "256x16x10x10, 2x2": (256, 16, (10, 10), 2, 2, 0),
    "16x64x56x56, 3x3 s2 p1": (16, 64, (56, 56), 3, 2, 1),
    "16x64x28x28, 3x3 s1 p1": (16, 64, (28, 28), 3, 1, 1),
    "32x256x7x7, 7x7": (32, 256, (7, 7), 7, 7, 0),
    "64x8x28, 2": (64, 8, (28,), 2, 2, 0),
}


def measure(name: str, rounds: int) -> None:
    """Prints the rows of a case."""
    import torch

    images, channels, size, *numbers = CASES[name]
    rank = len(size)
    kernel, stride, padding = ((n,) * rank for n in numbers)
    out = tuple((n + 2 * numbers[2] - numbers[0]) // numbers[1] + 1 for n in size)
    draw = np.random.default_rng(0)
    x = draw.standard_normal((images, channels, *size), np.float32)
    grad = draw.standard_normal((images, channels, *out), np.float32)
    tx, tg = torch.from_numpy(x), torch.from_numpy(grad)
    geometry, mean = (kernel, stride, padding), (kernel, stride, padding, out, True, None)
    functional = torch.nn.functional
    pairs: dict[str, tuple[Any, Any]] = {
        "maximum": (
            lambda: pool.max_pool(x, *geometry, (1,) * rank, out),
            lambda: getattr(functional, f"max_pool{rank}d")(tx, *geometry),
        ),
        "mean": (
            lambda: pool.avg_pool(x, *mean),
            lambda: getattr(functional, f"avg_pool{rank}d")(tx, *geometry),
        ),
    }
    if rank == 2:
        aten = torch.ops.aten
        _, index = aten.max_pool2d_with_indices(tx, *geometry)
        pairs["gradient of the maximum"] = (
            lambda: pool.max_pool_grad(grad, x, *geometry, (1, 1), out),
            lambda: aten.max_pool2d_with_indices_backward(tg, tx, *geometry, (1, 1), False, index),
        )
        pairs["gradient of the mean"] = (
            lambda: pool.avg_pool_grad(grad, size, *mean),
            lambda: aten.avg_pool2d_backward(tg, tx, *geometry, False, True, None),
        )
    for what, (ours, theirs) in pairs.items():
        np.testing.assert_allclose(ours(), theirs().numpy(), rtol=1e-4, atol=1e-5)
        own, other = race([ours, theirs], rounds)
        print(
            f"| {name} | {what} | {own * 1e3:.4f} | {other * 1e3:.4f} | {other / own:.2f} |",
            flush=True,
        )


def main() -> None:
    """Prints the table."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    taper.set_num_threads(1)
    print("| pool | what | ms | PyTorch ms | ratio |\n|---|---|---|---|---|")
    with torch.no_grad():
        for name in CASES:
            measure(name, options.rounds)


if __name__ == "__main__":
    main()
