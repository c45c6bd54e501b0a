"""Times the convolution kernels beside PyTorch, one thread: forward and both gradients.

    python benchmarks/conv.py [part of a name] [--rounds N]

Prints a markdown table: milliseconds, the share of the processor's own multiply-add peak, and the
quotient of PyTorch's time and ours. The two take turns within short rounds, by the CPU time of the
thread; the best of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import taper
from taper.backends.llvm import build, call
from taper.backends.llvm.functions import conv
from taper.backends.llvm.text import Module


@dataclass(frozen=True)
class Case:
    """A convolution of `images` images."""

    images: int
    channels: int
    size: tuple[int, ...]
    outputs: int
    kernel: tuple[int, ...]
    stride: int = 1
    padding: int = 0
    groups: int = 1


CASES = {
    "LeNet conv1 256x1x28x28 -> 6, k5 p2": Case(256, 1, (28, 28), 6, (5, 5), padding=2),
    "LeNet conv2 256x6x14x14 -> 16, k5": Case(256, 6, (14, 14), 16, (5, 5)),
    "64x64x32x32 -> 64, k3 p1": Case(64, 64, (32, 32), 64, (3, 3), padding=1),
    "32x256x14x14 -> 256, k3 p1": Case(32, 256, (14, 14), 256, (3, 3), padding=1),
    "64x128x16x16 -> 256, k3 s2 p1": Case(64, 128, (16, 16), 256, (3, 3), 2, 1),
    "8x3x224x224 -> 64, k7 s2 p3": Case(8, 3, (224, 224), 64, (7, 7), 2, 3),
    "32x256x14x14 -> 1024, k1": Case(32, 256, (14, 14), 1024, (1, 1)),
    "depthwise 32x96x28x28, k3 p1": Case(32, 96, (28, 28), 96, (3, 3), padding=1, groups=96),
    "conv1d 64x5x30 -> 8, k3": Case(64, 5, (30,), 8, (3,)),
    "conv1d 64x8x14 -> 4, k3": Case(64, 8, (14,), 4, (3,)),
}


@dataclass(frozen=True)
class Peak:
    """Independent multiply-adds in registers: what the processor can do at most."""

    CHAINS = 24

    @property
    def exports(self) -> tuple[str, ...]:
        """The loop."""
        return ("kernel",)

    def write(self, module: Module) -> None:
        """x[i] = x[i] * c + c in registers, n times."""
        f = module.function("kernel", x="ptr", n="i64")
        lanes, x = module.lanes("float"), f.pointer("x", "float")
        chains = min(self.CHAINS, module.machine.registers - 4)
        factor = x.load(0, lanes)
        made = f.loop(
            0,
            f.arg("n"),
            lambda i, *now: [f.fma(value, factor, factor) for value in now],
            init=[x.load(lanes * (1 + i), lanes) for i in range(chains)],
        )
        for i, value in enumerate(made):
            x.store(value, lanes * (1 + i))
        f.ret()


def peak() -> float:
    """Floating-point operations a second, the best of some attempts."""
    from taper.backends.llvm.machine import host

    run = call.through_ctypes(build.library(Peak()).addresses["kernel"], ("array", "int"))
    x, times = np.ones(1024, np.float32), 200_000
    count = 2 * min(Peak.CHAINS, host().registers - 4) * host().lanes(4) * times
    return count / race([lambda: run(x, times)], 20)[0]


def race(functions: list[Callable[[], Any]], rounds: int) -> list[float]:
    """The least CPU seconds of a call of each; they take turns."""
    best, repeats, clock = [], [], time.thread_time
    for function in functions:
        function()
        start = clock()
        function()
        spent = clock() - start
        best.append(spent)
        repeats.append(max(1, int(0.02 / max(spent, 1e-7))))
    for _ in range(rounds):
        for i, function in enumerate(functions):
            start = clock()
            for _ in range(repeats[i]):
                function()
            best[i] = min(best[i], (clock() - start) / repeats[i])
    return best


def measure(name: str, case: Case, rounds: int, most: float) -> None:
    """Prints the three rows of a case."""
    import torch

    rank = len(case.size)
    draw = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray:
        return draw.random(shape, np.float32) - 0.5

    stride, padding, dilation = ((n,) * rank for n in (case.stride, case.padding, 1))
    geometry = (stride, padding, dilation, case.groups)
    x = random(case.images, case.channels, *case.size)
    w = random(case.outputs, case.channels // case.groups, *case.kernel)
    bias = random(case.outputs)
    y = conv.convolution(x, w, bias, *geometry)
    grad = random(*y.shape)
    tx, tw, tb, tg = (torch.from_numpy(a) for a in (x, w, bias, grad))
    forward = getattr(torch.nn.functional, f"conv{rank}d")

    def backward(*wanted: bool) -> Any:
        return torch.ops.aten.convolution_backward(
            tg, tx, tw, [case.outputs], stride, padding, dilation, False, [0], case.groups, wanted
        )

    products = case.images * y[0].size * w[0].size
    for what, ours, theirs in (
        (
            "forward",
            lambda: conv.convolution(x, w, bias, *geometry),
            lambda: forward(tx, tw, tb, *geometry),
        ),
        (
            "input gradient",
            lambda: conv.convolution_transposed(grad, w, case.size, *geometry),
            lambda: backward(True, False, False)[0],
        ),
        (
            "weight gradient",
            lambda: conv.convolution_gradients(x, w, grad, (False, True, True), *geometry)[1],
            lambda: backward(False, True, True)[1],
        ),
    ):
        made, expected = ours(), theirs().numpy()
        error = np.abs(made - expected).max() / np.abs(expected).max()
        assert error < 1e-4, (name, what, error)
        own, other = race([ours, theirs], rounds)
        share = 2 * products / own / most
        print(
            f"| {name} | {what} | {own * 1e3:.4f} | {share:.0%} | {other * 1e3:.4f} "
            f"| {other / own:.2f} |",
            flush=True,
        )


def main() -> None:
    """Prints the table."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("only", nargs="?", default="", help="cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    taper.set_num_threads(1)
    most = peak()
    print(f"multiply-add peak {most / 1e9:.0f} GFLOP/s\n")
    print("| convolution | what | ms | of peak | PyTorch ms | ratio |\n|---|---|---|---|---|---|")
    with torch.no_grad():
        for name, case in CASES.items():
            if options.only in name:
                measure(name, case, options.rounds, most)


if __name__ == "__main__":
    main()
