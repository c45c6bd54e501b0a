"""Times recurrent layers beside PyTorch, one thread: forward alone, and forward with backward.

    python benchmarks/recurrent.py [part of a name] [--rounds N]

Prints a markdown table: milliseconds of nn.GRU and so on, Python included, for the forward pass and
for both passes; the share of the processor's multiply-add peak; and PyTorch's time over ours. The two
take turns in short rounds, by the CPU time of the thread; the best of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """A batch and a layer; "dx" with the input's gradient."""

    batch: int
    steps: int
    inputs: int
    hidden: int
    dx: bool = True
    packed: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Sizes, and what is unusual."""
        marks = {"dx": self.dx, "packed": self.packed, **self.options}
        shown = [k if v is True else f"{v} {k[4:]}" for k, v in marks.items() if v]
        sizes = f"{self.batch}x{self.steps}x{self.inputs} -> {self.hidden}"
        return ", ".join([sizes, *shown])

    @property
    def lengths(self) -> list[int]:
        """The length of each sequence, longest first: all the same unless packed."""
        if not self.packed:
            return [self.steps] * self.batch
        drawn = np.random.default_rng(2).integers(self.steps // 4, self.steps + 1, self.batch)
        return [self.steps, *sorted(drawn.tolist(), reverse=True)[1:]]

    def flops(self, gates: int) -> int:
        """Multiplications and additions of both passes, activations left out."""
        directions = 1 + self.options.get("bidirectional", False)
        total = 0
        for layer in range(self.options.get("num_layers", 1)):
            seen = self.inputs if layer == 0 else self.hidden * directions
            to_input = self.dx or layer > 0
            total += 3 * self.hidden + (3 if to_input else 2) * seen
        return total * directions * sum(self.lengths) * gates * self.hidden * 2


_DEEP = {"num_layers": 2}
_BOTH_WAYS = {"bidirectional": True}
CASES = [
    Case(64, 30, 5, 4, dx=False),
    Case(64, 30, 5, 4),
    Case(64, 50, 128, 256),
    Case(20, 35, 650, 650),
    Case(64, 30, 5, 16, dx=False),
    Case(64, 30, 16, 16),
    Case(64, 30, 32, 32),
    Case(32, 50, 64, 64),
    Case(8, 20, 32, 128),
    Case(64, 1, 32, 32),
    Case(1, 30, 5, 4),
    Case(1, 30, 32, 32),
    Case(1, 100, 128, 256),
    Case(64, 30, 5, 4, options=_DEEP),
    Case(64, 30, 5, 4, options=_BOTH_WAYS),
    Case(32, 30, 32, 64, options={**_DEEP, **_BOTH_WAYS}),
    Case(32, 30, 5, 4, packed=True),
    Case(32, 30, 32, 64, packed=True),
    Case(32, 30, 32, 64, packed=True, options=_BOTH_WAYS),
    Case(32, 30, 128, 256, packed=True),
]
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


def step_of(framework: Any, kind: str, case: Case) -> tuple[Callable[[], Any], Any]:
    """One forward and backward pass, and one forward pass, in a framework."""
    layer = getattr(framework.nn, kind)(case.inputs, case.hidden, batch_first=True, **case.options)
    draw = np.random.default_rng(1)

    def normal(*shape: int) -> Any:
        return framework.tensor(draw.standard_normal(shape).astype("f"))

    with framework.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(normal(*parameter.shape) / case.hidden**0.5)
    x = normal(case.batch, case.steps, case.inputs)
    width = case.hidden * (1 + layer.bidirectional)
    rows = (sum(case.lengths),) if case.packed else (case.batch, case.steps)
    grad = normal(*rows, width)
    lengths = framework.tensor(case.lengths)
    x.requires_grad_(case.dx)

    def outputs() -> Any:
        if not case.packed:
            return layer(x)[0]
        pack = framework.nn.utils.rnn.pack_padded_sequence
        return layer(pack(x, lengths, batch_first=True))[0].data

    def both() -> Any:
        layer.zero_grad()
        x.grad = None
        outputs().backward(grad)
        return [p.grad.numpy() for p in layer.parameters()]

    def forward() -> Any:
        with framework.no_grad():
            return outputs().numpy()

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
        for case in CASES:
            name = f"{kind} {case.name}"
            if options.name not in name:
                continue
            ours, theirs = step_of(taper, kind, case), step_of(torch, kind, case)
            for a, b in zip(ours[0](), theirs[0](), strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max())
            both, forward, torch_both, torch_forward = race([*ours, *theirs], options.rounds)
            print(
                f"| {name} | {forward * 1e3:.3f} | {torch_forward / forward:.1f} | {both * 1e3:.3f} "
                f"| {case.flops(gates) / both / most:.0%} | {torch_both / both:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
