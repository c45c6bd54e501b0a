"""Times forward and backward of recurrent, convolutional and pooling layers beside PyTorch.

    OMP_NUM_THREADS=1 python benchmarks/layers.py [part of a name]

Prints the least CPU time of a step (forward, sum, backward) in microseconds, and the quotient.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import taper

Make = Callable[[Any], Any]  # from nn to a layer

CASES: list[tuple[str, Make, tuple[int, ...], bool]] = [
    # name, layer, shape of the input, whether its gradient is wanted
    ("gru 5-4", lambda nn: nn.GRU(5, 4, batch_first=True), (64, 30, 5), False),
    ("lstm 5-4", lambda nn: nn.LSTM(5, 4, batch_first=True), (64, 30, 5), False),
    ("rnn 5-4", lambda nn: nn.RNN(5, 4, batch_first=True), (64, 30, 5), False),
    ("gru 128-256", lambda nn: nn.GRU(128, 256), (50, 64, 128), False),
    ("lstm 128-256", lambda nn: nn.LSTM(128, 256), (50, 64, 128), False),
    ("conv1d 5-8", lambda nn: nn.Conv1d(5, 8, 3), (64, 5, 30), False),
    ("conv1d 8-4", lambda nn: nn.Conv1d(8, 4, 3), (64, 8, 14), True),
    ("avg_pool1d", lambda nn: nn.AvgPool1d(2), (64, 8, 28), True),
    ("conv2d 1-6 5x5", lambda nn: nn.Conv2d(1, 6, 5, padding=2), (256, 1, 28, 28), False),
    ("conv2d 6-16 5x5", lambda nn: nn.Conv2d(6, 16, 5), (256, 6, 14, 14), True),
    ("conv2d 64-64 3x3", lambda nn: nn.Conv2d(64, 64, 3, padding=1), (4, 64, 56, 56), True),
    ("conv2d 3-64 7x7", lambda nn: nn.Conv2d(3, 64, 7, 2, 3), (8, 3, 64, 64), False),
    ("max_pool2d", lambda nn: nn.MaxPool2d(2), (256, 6, 28, 28), True),
    ("avg_pool2d", lambda nn: nn.AvgPool2d(2), (256, 6, 28, 28), True),
]


def microseconds(torch: Any, make: Make, shape: tuple[int, ...], wanted: bool) -> float:
    """The least CPU time of a step, of as many as fit into a second."""
    torch.manual_seed(0)
    layer = make(torch.nn)
    x = torch.randn(*shape).requires_grad_(wanted)
    best, end = float("inf"), time.perf_counter() + 1
    while time.perf_counter() < end:
        layer.zero_grad()
        x.grad = None
        start = time.thread_time()
        out = layer(x)
        (out[0] if isinstance(out, tuple) else out).sum().backward()
        best = min(best, time.thread_time() - start)
    return best * 1e6


def main() -> None:
    """Prints the table."""
    import torch

    torch.set_num_threads(1)
    print(f"{'':18}{'PyTorch':>10}{'taper':>10}{'quotient':>10}")
    for name, *case in CASES:
        if all(part in name for part in sys.argv[1:]):
            theirs, ours = microseconds(torch, *case), microseconds(taper, *case)
            print(f"{name:18}{theirs:10.0f}{ours:10.0f}{ours / theirs:10.2f}")


if __name__ == "__main__":
    main()
