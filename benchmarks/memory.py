"""Memory: what steps with large arrays take and keep, and whether kernels and memory stay bounded.

    python benchmarks/memory.py [--seconds S] [--shapes N]

The first table has, for a step of three networks, the milliseconds (median), the peak of resident
memory above that of the imports, and what is left of it after the step, with taper's buffers
(backends/llvm/buffers.py), without (TAPER_BUFFERS=0), and in PyTorch. Each cell is a process of its
own. The second part runs N random shapes and batch sizes through layers and formulas, and shows
resident memory and compiled kernels as they go.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def resident(name: str = "VmRSS") -> float:
    """MiB of resident memory; of the peak for "VmHWM"."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024


def _lenet(torch: Any) -> tuple[Any, Any]:
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, 10),
    )  # fmt: skip
    return model, torch.rand(256, 1, 28, 28)


def _gru(torch: Any) -> tuple[Any, Any]:
    class Last(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.gru = torch.nn.GRU(128, 256, batch_first=True)
            self.out = torch.nn.Linear(256, 10)

        def forward(self, x: Any) -> Any:
            return self.out(self.gru(x)[0][:, -1])

    return Last(), torch.rand(64, 50, 128)


def _residual(torch: Any) -> tuple[Any, Any]:
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.one = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.first = nn.BatchNorm2d(channels)
            self.two = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.second = nn.BatchNorm2d(channels)

        def forward(self, x: Any) -> Any:
            made = torch.relu(self.first(self.one(x)))
            return torch.relu(self.second(self.two(made)) + x)

    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), Block(64), nn.Conv2d(64, 128, 3, stride=2, padding=1),
        Block(128), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    return model, torch.rand(32, 3, 32, 32)


NETWORKS: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "LeNet-5, batch 256": _lenet,
    "GRU 64x50x128 -> 256": _gru,
    "residual, 32 x 3x32x32": _residual,
}


def step_of(torch: Any, name: str) -> Callable[[], None]:
    """One training step of a network on random numbers."""
    torch.manual_seed(0)
    model, x = NETWORKS[name](torch)
    target = torch.arange(len(x)) % 10
    criterion, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters())

    def step() -> None:
        loss = criterion(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def child(framework: str, name: str, seconds: float) -> None:
    """Prints the figures of one process."""
    if framework == "torch":
        import torch
    else:
        import taper as torch
    torch.set_num_threads(1)
    torch.ones(1, requires_grad=True).exp().sum().backward()
    before = resident()
    step = step_of(torch, name)
    for _ in range(3):
        step()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    gc.collect()
    found = {
        "ms": statistics.median(times) * 1e3, "best": min(times) * 1e3,
        "peak": resident("VmHWM") - before, "rest": resident() - before,
    }  # fmt: skip
    print(json.dumps(found))


CHOICES = {
    "taper": ("taper", {}),
    "taper, no buffers": ("taper", {"TAPER_BUFFERS": "0"}),
    "PyTorch": ("torch", {}),
}


def steps(seconds: float) -> None:
    """The table of steps."""
    print("| step | with | ms, median (best) | peak MiB | at rest MiB |\n|---|---|---|---|---|")
    for name in NETWORKS:
        for label, (framework, variables) in CHOICES.items():
            done = subprocess.run(
                [sys.executable, __file__, "--child", framework, name, str(seconds)],
                env={**os.environ, **variables}, capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode:
                print(f"| {name} | {label} | {done.stderr.strip().splitlines()[-1]} | | |")
                continue
            found = json.loads(done.stdout)
            print(
                f"| {name} | {label} | {found['ms']:.2f} ({found['best']:.2f}) "
                f"| {found['peak']:.0f} | {found['rest']:.0f} |",
                flush=True,
            )


def random_layers(torch: Any, chance: np.random.Generator) -> Callable[[int], None]:
    """What runs some layer or formula on random sizes, batch sizes, strides and ranks."""
    nn = torch.nn
    pictures = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 8)
    )
    any_size = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    flat = nn.Sequential(nn.Linear(50, 40), nn.Tanh(), nn.Linear(40, 10))
    small, large = nn.GRU(5, 4, batch_first=True), nn.GRU(8, 32)

    def count(most: int) -> int:
        return int(chance.integers(1, most))

    def pointwise() -> None:
        shape = [count(12) for _ in range(count(5))]
        x = torch.rand(*shape, 1 + count(40))
        y = x.transpose(0, -1) if count(3) == 1 else x[..., :: count(4)]
        (y * torch.sigmoid(y) + 1).exp().sum()

    def varied() -> None:
        size = 16 + 4 * count(12), 16 + 4 * count(12)
        any_size(torch.rand(count(4), 1, *size)).sum().backward()

    runs: list[Callable[[], Any]] = [
        lambda: pictures(torch.rand(count(40), 3, 16, 16)).sum().backward(),
        lambda: flat(torch.rand(count(400), 50)).sum().backward(),
        lambda: small(torch.rand(count(50), count(40), 5))[0].sum().backward(),
        lambda: large(torch.rand(count(20), count(20), 8))[0].sum().backward(),
        lambda: torch.softmax(torch.rand(count(60), count(300)), count(3) - 2),
        lambda: torch.rand(count(80), 30) @ torch.rand(30, count(80)),
        pointwise,
    ]

    def run(turn: int) -> None:
        # Kernels of convolutions are made for a size of picture, so few turns have another.
        if turn % 100 == 0:
            varied()
        else:
            runs[turn % len(runs)]()

    return run


def stability(turns: int, shown: int = 10) -> list[tuple[int, float, int, int]]:
    """(turns, resident MiB, kernels in memory, kernels compiled or loaded) as the shapes go by."""
    import taper as torch
    from taper.backends.llvm import build

    torch.set_num_threads(1)
    run = random_layers(torch, np.random.default_rng(0))
    rows = []
    for turn in range(turns):
        run(turn)
        if (turn + 1) % max(1, turns // shown) == 0:
            gc.collect()
            made = build.counts["compiled"] + build.counts["disk"]
            rows.append((turn + 1, resident(), len(build._libraries), made))
    return rows


def main() -> None:
    """Runs both parts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of a cell of the first table")
    parser.add_argument("--shapes", type=int, default=10_000, help="of the second part")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], options.child[1], float(options.child[2]))
        return
    steps(options.seconds)
    print("\n| shapes | resident MiB | kernels in memory | made |\n|---|---|---|---|")
    for turn, size, kernels, made in stability(options.shapes):
        print(f"| {turn} | {size:.0f} | {kernels} | {made} |")


if __name__ == "__main__":
    main()
