"""What an eager call costs: small ops on taper and on PyTorch, and what Python does for one.

    python benchmarks/dispatch.py [--rounds N] [--counts]

The operands have 8 x 8 elements, so that the arithmetic takes some 10 ns and all the rest is the
road to it. A row gives nanoseconds of a call, the best of many short rounds that take turns, and the
ratio (above 1: taper is quicker). `--counts` gives instead how many Python functions and built-ins a
call runs and how many blocks of memory its result holds; docs/kernels.md lists these, and
tests/test_dispatch_costs.py holds them there.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable
from itertools import repeat
from typing import Any

import taper


def calls(torch: Any) -> dict[str, Callable[[], Any]]:
    """The calls by name, of PyTorch or taper."""
    functional = torch.nn.functional
    x, y, row, into = torch.rand(8, 8), torch.rand(8, 8), torch.rand(8), torch.rand(8, 8)
    g = torch.rand(8, 8).requires_grad_()
    layer = torch.nn.Linear(8, 8)
    classes = torch.zeros(8, dtype=torch.int64)
    return {
        "x + y": lambda: x + y,
        "x * 2": lambda: x * 2,
        "x + row": lambda: x + row,
        "x > 0": lambda: x > 0,
        "relu(x)": lambda: torch.relu(x),
        "x.exp()": lambda: x.exp(),
        "x @ y": lambda: x @ y,
        "x.view(64)": lambda: x.view(64),
        "x.t()": lambda: x.t(),
        "x.transpose(0, 1)": lambda: x.transpose(0, 1),
        "x[0]": lambda: x[0],
        "x[1:3]": lambda: x[1:3],
        "x.unsqueeze(0)": lambda: x.unsqueeze(0),
        "x.sum()": lambda: x.sum(),
        "x.sum(1)": lambda: x.sum(1),
        "x.mean()": lambda: x.mean(),
        "x.argmax(1)": lambda: x.argmax(1),
        "softmax(x, 1)": lambda: torch.softmax(x, 1),
        "cat((x, y))": lambda: torch.cat((x, y)),
        "x.clone()": lambda: x.clone(),
        "x.detach()": lambda: x.detach(),
        "zeros(8, 8)": lambda: torch.zeros(8, 8),
        "x.add_(y)": lambda: into.add_(y),
        "x[0, 0].item()": lambda: x[0, 0].item(),
        "g + y, recorded": lambda: g + y,
        "g * y, recorded": lambda: g * y,
        "relu(g), recorded": lambda: torch.relu(g),
        "g.view(64), recorded": lambda: g.view(64),
        "g.sum(), recorded": lambda: g.sum(),
        "Linear(8, 8)(x)": lambda: layer(x),
        "cross_entropy(g, y)": lambda: functional.cross_entropy(g, classes),
        "(g * y).sum().backward()": lambda: (g * y).sum().backward(),
        "mse_loss(layer(x), y).backward()": lambda: functional.mse_loss(layer(x), y).backward(),
    }


def nanoseconds(call: Callable[[], Any], count: int = 200) -> float:
    """Of one call, in one round."""
    start = time.perf_counter()
    for _ in repeat(None, count):
        call()
    return (time.perf_counter() - start) / count * 1e9


def counted(call: Callable[[], Any]) -> tuple[int, int, float]:
    """Python functions and built-ins that a call runs, and blocks of memory that its result holds."""
    for _ in range(3):  # kernels are made, shapes become known
        call()
    seen = {"call": 0, "c_call": 0}

    def watch(frame: Any, event: str, argument: Any) -> None:
        if event in seen:
            seen[event] += 1

    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    held: list[Any] = [None] * 200
    gc.collect()
    gc.disable()
    try:
        before = sys.getallocatedblocks()
        for i in range(200):
            held[i] = call()
        blocks = (sys.getallocatedblocks() - before) / 200
    finally:
        gc.enable()
    # Without the lambda's own call, and that of setprofile.
    return seen["call"] - 1, seen["c_call"] - 1, blocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--counts", action="store_true")
    options = parser.parse_args()
    ours = calls(taper)
    if options.counts:
        print("| call | Python functions | built-ins | blocks held |\n| --- | --- | --- | --- |")
        for name, call in ours.items():
            if "backward" not in name:
                functions, built_ins, blocks = counted(call)
                print(f"| `{name}` | {functions} | {built_ins} | {blocks:.0f} |")
        return
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed; its columns are left out.")
        theirs: dict[str, Callable[[], Any]] = {}
    else:
        torch.set_num_threads(1)
        theirs = calls(torch)
    print("| call | taper ns | PyTorch ns | ratio |\n| --- | --- | --- | --- |")
    for name, call in ours.items():
        own, other = [], []
        for _ in range(options.rounds):
            own.append(nanoseconds(call))
            if theirs:
                other.append(nanoseconds(theirs[name]))
        ratio = f"{min(other):.0f} | {min(other) / min(own):.2f}" if theirs else " | "
        print(f"| `{name}` | {min(own):.0f} | {ratio} |")


if __name__ == "__main__":
    main()
