"""The training loop that the studies share: the five lines everybody writes with PyTorch."""

from __future__ import annotations

import time
from typing import Any


def train_epoch(network: Any, loader: Any, criterion: Any, optimizer: Any) -> float:
    """One pass over the data; the mean loss of its batches."""
    total = 0.0
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = criterion(network(inputs), targets)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


def accuracy(scores: Any, labels: Any) -> float:
    """Share of rows whose largest score is at the label."""
    return float((scores.argmax(dim=1) == labels).float().mean().item())


class Stopwatch:
    """Adds up the seconds spent in its with blocks.

    >>> watch = Stopwatch()
    >>> with watch:
    ...     pass
    >>> watch.seconds < 1
    True
    """

    seconds = 0.0

    def __enter__(self) -> Stopwatch:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds += time.perf_counter() - self._start
