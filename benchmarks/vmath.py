"""Elementary functions: elements per nanosecond, and ratios to PyTorch and numpy, on one thread.

    python benchmarks/vmath.py [elements ...]

All are timed in turns in one process and the best of many short rounds is kept; the arrays are of
numbers between 0.1 and 4.1. Needs torch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from taper.backends.llvm import vmath
from taper.backends.llvm.functions.pointwise import kernel_of
from taper.backends.llvm.pointwise import Pointwise, trace

ATEN = {"silu": torch.ops.aten.silu.out, "softplus": torch.ops.aten.softplus.out,
        "gelu": torch.ops.aten.gelu.out}  # fmt: skip


def best(functions: list[Callable[[], Any]], rounds: int = 40, calls: int = 3) -> list[float]:
    """Seconds of each function, the best of all rounds, taken in turns."""
    found = [1e9] * len(functions)
    for _ in range(rounds):
        for i, function in enumerate(functions):
            start = time.perf_counter()
            for _ in range(calls):
                function()
            found[i] = min(found[i], (time.perf_counter() - start) / calls)
    return found


def rows(count: int) -> list[str]:
    """A line of the table for each function and dtype."""
    made = []
    for code, dtype in (("f", np.float32), ("d", np.float64)):
        for name in vmath.FUNCTIONS:
            if name in ("absolute", "gelu_slope"):  # nothing to compare with
                continue
            inputs = 2 if name == "pow" else 1
            step = "power" if name == "pow" else name
            program = trace(lambda m, *x, step=step: m.apply(step, *x), code * inputs)
            kernel = kernel_of(Pointwise(program, code * inputs, 0, (1,) * inputs))
            x = (np.random.default_rng(0).random(count) * 4 + 0.1).astype(dtype)
            out = np.empty_like(x)
            operands = [x] * inputs
            tensors, target = (
                [torch.from_numpy(x)] * inputs,
                torch.empty(count, dtype=torch.from_numpy(x).dtype),
            )
            theirs = ATEN.get(name) or getattr(torch, name)
            plain = getattr(np, step, None)
            timed: list[Callable[[], Any]] = [
                lambda: kernel(0, *operands, out, count),  # noqa: B023
                lambda: theirs(*tensors, out=target),  # noqa: B023
            ]
            if plain is not None:
                timed.append(lambda: plain(*operands, out=out))  # noqa: B023
            times = best(timed)
            to_numpy = f"{times[2] / times[0]:.2f}" if plain is not None else "-"
            made.append(
                f"| {name} {dtype.__name__} | {count / times[0] / 1e9:.2f} | "
                f"{times[1] / times[0]:.2f} | {to_numpy} |"
            )
    return made


def main() -> None:
    """The table for each number of elements."""
    torch.set_num_threads(1)
    for count in [int(a) for a in sys.argv[1:]] or [100_000]:
        print(f"\n| {count} elements | per ns | x torch | x numpy |\n|---|---|---|---|")
        print("\n".join(rows(count)))


if __name__ == "__main__":
    main()
