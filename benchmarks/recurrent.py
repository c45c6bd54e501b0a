"""Times recurrent layers beside PyTorch, one thread: forward alone, and forward with backward.

    TAPER_BACKEND=llvm python benchmarks/recurrent.py [part of a name] [--rounds N]

Prints a markdown table: milliseconds of nn.GRU and so on, Python included, for the forward and
backward pass; the share of the processor's multiply-add peak; PyTorch's time over ours, and what of
ours is spent in the arithmetic on arrays. The two take turns in short rounds, by the CPU time of
the thread; the best of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# (batch, steps, inputs, hidden, whether the input has a gradient)
SIZES = {
    "64x30x5 -> 4": (64, 30, 5, 4, False),
    "64x30x5 -> 4, dx": (64, 30, 5, 4, True),
    "64x50x128 -> 256, dx": (64, 50, 128, 256, True),
    "20x35x650 -> 650, dx": (20, 35, 650, 650, True),
}
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def step_of(framework: Any, kind: str, sizes: Any, values: Any) -> tuple[Callable[[], Any], Any]:
    """One forward and backward pass, and one forward pass, in a framework."""
    batch, steps, inputs, hidden, to_input = sizes
    layer = getattr(framework.nn, kind)(inputs, hidden, batch_first=True)
    with framework.no_grad():
        for parameter, value in zip(layer.parameters(), values, strict=True):
            parameter.copy_(framework.tensor(value))
    draw = np.random.default_rng(1)
    x = framework.tensor(draw.standard_normal((batch, steps, inputs)).astype("f"))
    grad = framework.tensor(draw.standard_normal((batch, steps, hidden)).astype("f"))
    x.requires_grad_(to_input)

    def both() -> Any:
        layer.zero_grad()
        x.grad = None
        out = layer(x)[0]
        out.backward(grad)
        return [p.grad.numpy() for p in layer.parameters()]

    def forward() -> Any:
        with framework.no_grad():
            return layer(x)[0].numpy()

    return both, forward


def race(calls: list[Callable[[], Any]], rounds: int) -> list[float]:
    """The best seconds of each."""
    best = [float("inf")] * len(calls)
    counts = []
    for action in calls:
        action()
        start = time.thread_time()
        action()
        counts.append(max(1, int(0.02 / max(1e-6, time.thread_time() - start))))
    for _ in range(rounds):
        for i, (action, count) in enumerate(zip(calls, counts, strict=True)):
            start = time.thread_time()
            for _ in range(count):
                action()
            best[i] = min(best[i], (time.thread_time() - start) / count)
    return best


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    import torch
    from conv import peak

    import taper

    torch.set_num_threads(1)
    taper.set_num_threads(1)
    most = peak()
    print("| layer | forward ms | ratio | both ms | % of peak | ratio |")
    print("|---|---|---|---|---|---|")
    for kind, gates in GATES.items():
        for name, sizes in SIZES.items():
            if options.name not in f"{kind} {name}":
                continue
            batch, steps, inputs, hidden, to_input = sizes
            draw, rows = np.random.default_rng(0), gates * hidden
            shapes = [(rows, inputs), (rows, hidden), (rows,), (rows,)]
            values = [(draw.random(s) * 2 - 1).astype("f") / hidden**0.5 for s in shapes]
            ours = step_of(taper, kind, sizes, values)
            theirs = step_of(torch, kind, sizes, values)
            for a, b in zip(ours[0](), theirs[0](), strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max())
            both, forward, torch_both, torch_forward = race([*ours, *theirs], options.rounds)
            work = batch * steps * rows * 2
            flops = work * (3 * hidden + (3 if to_input else 2) * inputs)
            print(
                f"| {kind} {name} | {forward * 1e3:.3f} | {torch_forward / forward:.1f} "
                f"| {both * 1e3:.3f} | {flops / both / most:.0%} | {torch_both / both:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
