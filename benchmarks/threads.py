"""One thread and two: how far work on large arrays scales, and that the results are the same bits.

    python benchmarks/threads.py [--rounds N]

Each row is timed with one thread and with two, taking turns in one process; the best round counts.
"same" says whether the results of both are equal bit for bit. On a machine with fewer than two free
cores the second column shows how little is lost.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from _loops import loops

import taper


def _arrays(*results: Any) -> list[np.ndarray]:
    return [result.detach().numpy().copy() for result in results]


def _adam(size: int) -> Callable[[], list[np.ndarray]]:
    parameter = taper.zeros(size, requires_grad=True)
    parameter.grad = taper.linspace(-1, 1, size)
    optimizer = taper.optim.Adam([parameter])

    def run() -> list[np.ndarray]:
        optimizer.step()
        return []

    return run


def _adam_bits() -> list[np.ndarray]:
    parameter = taper.zeros(1_000_000, requires_grad=True)
    parameter.grad = taper.linspace(-1, 1, 1_000_000)
    optimizer = taper.optim.Adam([parameter])
    for _ in range(3):
        optimizer.step()
    return _arrays(parameter)


def _lenet_bits() -> list[np.ndarray]:
    taper.manual_seed(0)
    model = taper.nn.Sequential(
        taper.nn.Conv2d(1, 6, 5, padding=2), taper.nn.ReLU(), taper.nn.MaxPool2d(2),
        taper.nn.Conv2d(6, 16, 5), taper.nn.ReLU(), taper.nn.MaxPool2d(2), taper.nn.Flatten(),
        taper.nn.Linear(400, 10),
    )  # fmt: skip
    optimizer = taper.optim.Adam(model.parameters())
    for _ in range(3):
        loss = model(taper.rand(256, 1, 28, 28)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return _arrays(*model.parameters())


def cases() -> Iterator[tuple[str, Callable[[], Any], Callable[[], list[np.ndarray]]]]:
    """(name, what is timed, results to compare)."""
    functional = taper.nn.functional
    taper.manual_seed(0)
    a, b = taper.rand(1024, 1024), taper.rand(1024, 1024)
    yield "product 1024 x 1024 x 1024", lambda: a @ b, lambda: _arrays(a @ b)
    x, w = taper.rand(64, 64, 32, 32, requires_grad=True), taper.rand(64, 64, 3, 3)
    w.requires_grad_()

    def convolve() -> tuple[Any, ...]:
        out = functional.conv2d(x, w, padding=1)
        return out, *taper.autograd.grad(out.sum(), (x, w))

    yield "convolution 64x64x32x32, both ways", convolve, lambda: _arrays(*convolve())
    gru, steps = taper.nn.GRU(128, 256, batch_first=True), taper.rand(64, 50, 128)

    def recur() -> tuple[Any, ...]:
        out = gru(steps)[0]
        return out, *taper.autograd.grad(out.sum(), list(gru.parameters()))

    yield "GRU 64x50x128 -> 256, both ways", recur, lambda: _arrays(*recur())
    rows = taper.rand(10_000, 1000)
    yield "softmax of 1e7", lambda: taper.softmax(rows, 1), lambda: _arrays(taper.softmax(rows, 1))
    yield "Adam of 1e7", _adam(10_000_000), _adam_bits
    long = taper.rand(10_000_000)
    yield "exp of 1e7", lambda: taper.exp(long), lambda: _arrays(taper.exp(long))
    loop = loops(taper)["LeNet-5"]
    yield "LeNet-5, batch 256, an epoch", loop.epoch, _lenet_bits


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=12, help="of each row (default: 12)")
    options = parser.parse_args()
    print("| work | one thread, ms | two, ms | ratio | same |\n|---|---|---|---|---|")
    for name, run, results in cases():
        made = {}
        for threads in (1, 2):
            taper.set_num_threads(threads)
            made[threads] = results()
            run()
        same = all(np.array_equal(p, q) for p, q in zip(made[1], made[2], strict=True))
        best = {1: float("inf"), 2: float("inf")}
        for turn in range(2 * options.rounds):
            threads = 1 + turn % 2
            taper.set_num_threads(threads)
            for _ in range(3):  # the first of them starts the threads
                start = time.perf_counter()
                run()
                best[threads] = min(best[threads], time.perf_counter() - start)
        one, two = best[1] * 1e3, best[2] * 1e3
        print(f"| {name} | {one:.2f} | {two:.2f} | {one / two:.2f} | {'yes' if same else 'NO'} |")


if __name__ == "__main__":
    main()
