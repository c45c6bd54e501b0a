"""Time and memory of a training step of two language models: taper beside PyTorch.

    python benchmarks/sequences.py [--rounds N] [--threads 1 2] [--only NAME] [--no-memory]

"transformer" is a small decoder in the manner of nanoGPT: 4 layers of 4 heads, 128 wide, 64 long,
batches of 12, 65 letters. The LSTMs are those of PyTorch's word_language_model example: 2 layers of
200 units, 35 steps, batches of 20, and as many words as the row says. The models are written once,
for any framework with the interface.

Steps of the two take turns within one process. A row gives the milliseconds of a step, median (best),
the ratio of the medians (above 1: taper is faster), and the most memory that a fresh process of such
steps held, with in brackets what of it came after the import. With one thread the time is that of
the processor, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Step = Callable[[], Any]


def transformer(
    torch: Any, *, layers: int = 4, width: int = 128, heads: int = 4, length: int = 64,
    batch: int = 12, letters: int = 65,
) -> Step:  # fmt: skip
    """A step of the decoder with AdamW, its weight decay for matrices only, and clipped gradients."""
    nn, functional = torch.nn, torch.nn.functional

    class Attention(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Linear(width, 3 * width, bias=False)
            self.out = nn.Linear(width, width, bias=False)

        def forward(self, x: Any) -> Any:
            rows, steps, _ = x.size()
            q, k, v = (
                part.view(rows, steps, heads, width // heads).transpose(1, 2)
                for part in self.project(x).split(width, dim=2)
            )
            y = functional.scaled_dot_product_attention(q, k, v, dropout_p=0.0, is_causal=True)
            return self.out(y.transpose(1, 2).contiguous().view(rows, steps, width))

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.before_attention = nn.LayerNorm(width, bias=False)
            self.attention = Attention()
            self.before_mlp = nn.LayerNorm(width, bias=False)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width, bias=False),
                nn.GELU(),
                nn.Linear(4 * width, width, bias=False),
            )

        def forward(self, x: Any) -> Any:
            x = x + self.attention(self.before_attention(x))
            return x + self.mlp(self.before_mlp(x))

    class Decoder(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(letters, width)
            self.positions = nn.Embedding(length, width)
            self.blocks = nn.ModuleList([Block() for _ in range(layers)])
            self.norm = nn.LayerNorm(width, bias=False)
            self.head = nn.Linear(width, letters, bias=False)
            self.tokens.weight = self.head.weight

        def forward(self, text: Any, targets: Any) -> Any:
            x = self.tokens(text) + self.positions(torch.arange(text.size(1)))
            for block in self.blocks:
                x = block(x)
            scores = self.head(self.norm(x))
            return functional.cross_entropy(scores.view(-1, letters), targets.view(-1))

    torch.manual_seed(0)
    model = Decoder()
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=1e-3, betas=(0.9, 0.99),
    )  # fmt: skip
    draw = np.random.default_rng(0)
    text, targets = (torch.from_numpy(draw.integers(0, letters, (batch, length))) for _ in range(2))

    def step() -> Any:
        loss = model(text, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return step


def words(
    torch: Any, vocabulary: int, *, size: int = 200, steps: int = 35, batch: int = 20
) -> Step:
    """A step of the LSTM language model, with dropout and plain descent by hand."""
    nn, functional = torch.nn, torch.nn.functional

    class Words(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.2)
            self.encoder = nn.Embedding(vocabulary, size)
            self.rnn = nn.LSTM(size, size, 2, dropout=0.2)
            self.decoder = nn.Linear(size, vocabulary)
            nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
            nn.init.zeros_(self.decoder.bias)
            nn.init.uniform_(self.decoder.weight, -0.1, 0.1)

        def forward(self, text: Any, hidden: Any) -> Any:
            output, hidden = self.rnn(self.drop(self.encoder(text)), hidden)
            decoded = self.decoder(self.drop(output)).view(-1, vocabulary)
            return functional.log_softmax(decoded, dim=1), hidden

    torch.manual_seed(0)
    model, criterion = Words(), nn.NLLLoss()
    draw = np.random.default_rng(0)
    text = torch.from_numpy(draw.integers(0, vocabulary, (steps, batch)))
    targets = torch.from_numpy(draw.integers(0, vocabulary, steps * batch))
    state = [(torch.zeros(2, batch, size), torch.zeros(2, batch, size))]

    def step() -> Any:
        model.zero_grad()
        hidden = tuple(each.detach() for each in state[0])
        output, state[0] = model(text, hidden)
        loss = criterion(output, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-0.1)
        return loss

    return step


MODELS: dict[str, Callable[[Any], Step]] = {
    "transformer": transformer,
    "LSTM, 10,000 words": lambda torch: words(torch, 10_000),
    "LSTM, 33,278 words": lambda torch: words(torch, 33_278),
}


def milliseconds(steps: list[Step], rounds: int, clock: Callable[[], float]) -> list[list[float]]:
    """Of each, the times of steps that take turns."""
    found: list[list[float]] = [[] for _ in steps]
    for step in steps:
        for _ in range(3):
            step()
    gc.collect()
    for turn in range(rounds):
        for which in range(len(steps)) if turn % 2 else reversed(range(len(steps))):
            start = clock()
            steps[which]()
            found[which].append((clock() - start) * 1e3)
    return found


def peak(framework: str, name: str, threads: int, steps: int = 12) -> str:
    """MB that a fresh process of steps needs, and those above what the import took."""
    shown = subprocess.run(
        [sys.executable, __file__, "--steps-of", framework, name, str(threads), str(steps)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    most, after = map(float, shown.split())
    return f"{most:.0f} ({after:.0f})"


def _most_held() -> float:
    """MB of memory that this process held at most. `getrusage` would count its parent's too."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def _steps_of(framework: str, name: str, threads: str, steps: str) -> None:
    torch = importlib.import_module(framework)
    torch.set_num_threads(int(threads))
    before = _most_held()
    step = MODELS[name](torch)
    for _ in range(int(steps)):
        loss = float(step().detach())
    if not math.isfinite(loss):
        raise ArithmeticError(f"the loss is {loss}")
    most = _most_held()
    print(most, most - before)


def main() -> None:
    """Runs the comparison and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="steps of each (default: 15)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--steps-of", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.steps_of:
        _steps_of(*given.steps_of)
        return
    import torch

    import taper

    print("| step | threads | taper ms | PyTorch ms | ratio | taper MB | PyTorch MB |")
    print("|---|---|---|---|---|---|---|")
    for name, make in MODELS.items():
        if given.only not in name:
            continue
        steps = [make(taper), make(torch)]
        for threads in given.threads:
            for framework in (taper, torch):
                framework.set_num_threads(threads)
            ours, theirs = milliseconds(
                steps, given.rounds, time.process_time if threads == 1 else time.perf_counter
            )
            ratio = statistics.median(theirs) / statistics.median(ours)
            shown = [f"{statistics.median(t):.2f} ({min(t):.2f})" for t in (ours, theirs)]
            memory = ["-", "-"]
            if not given.no_memory:
                memory = [peak(each, name, threads) for each in ("taper", "torch")]
            row = " | ".join([name, str(threads), *shown, f"{ratio:.2f}", *memory])
            print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
