"""Fused formulas, kernels over rows, and Adam: microseconds, and ratios to PyTorch, on one thread.

    python benchmarks/pointwise.py

What is timed is what an op or an optimizer calls: wrapper, kernel and a new array for the result.
PyTorch's side runs under no_grad, or its own backward functions. Needs torch.
"""

from __future__ import annotations

import os

os.environ["TAPER_BACKEND"] = "llvm"

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import taper
from benchmarks.vmath import best
from taper.backends.llvm.functions import fold, pointwise, rows


def random(*shape: int) -> np.ndarray:
    """Numbers between -0.5 and 0.5."""
    return np.random.default_rng(sum(shape)).random(shape, np.float32) - np.float32(0.5)


def gated(m: Any, x: Any, w: Any) -> Any:
    """The fused chain of the target table."""
    return x * m.sigmoid(w) + m.maximum(0, x)


def cases() -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """What -> (ours, PyTorch's)."""
    T = torch.from_numpy
    made: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {}
    for n in (1_000, 10_000, 100_000, 4_000_000):
        x, w = random(n), random(n)
        tx, tw = T(x), T(w)
        made[f"x * sigmoid(w) + relu(x), {n}"] = (
            lambda x=x, w=w: pointwise.fused(gated, x, w),
            lambda x=tx, w=tw: x * torch.sigmoid(w) + torch.relu(x),
        )
    for r, c in ((256, 10), (256, 64), (4096, 1000), (512, 50257)):
        x, g, t = random(r, c) * 8, random(r, c), np.random.default_rng(0).integers(0, c, r)
        share = np.array(1 / r, np.float32)
        tx, tg, tt = T(x), T(g), T(t)
        y, ty = rows.softmax(x, 1), torch.softmax(tx, 1)
        made[f"softmax {r} x {c}"] = (
            lambda x=x: rows.softmax(x, 1), lambda x=tx: torch.softmax(x, 1),
        )  # fmt: skip
        made[f"softmax backward {r} x {c}"] = (
            lambda g=g, y=y: rows.softmax_grad(g, y, 1),
            lambda g=tg, y=ty: torch.ops.aten._softmax_backward_data(g, y, 1, torch.float32),
        )

        def loss(x: Any = x, t: Any = t, share: Any = share) -> Any:
            softmax, each = rows.softmax_loss(x, t)
            return fold.sum(each), rows.softmax_loss_grad(softmax, t, share)

        def their_loss(x: Any = tx, t: Any = tt) -> Any:
            logs = torch.log_softmax(x, 1)
            value, total = torch.ops.aten.nll_loss_forward(logs, t, None, 1, -100)
            back = torch.ops.aten.nll_loss_backward(torch.ones(()), logs, t, None, 1, -100, total)
            return value, torch.ops.aten._log_softmax_backward_data(back, logs, 1, torch.float32)

        made[f"cross entropy, forward and backward {r} x {c}"] = loss, their_loss
    for r, c in ((256, 64), (4096, 768), (2048, 4096)):
        x, g, w, b = random(r, c), random(r, c), random(c), random(c)
        tx, tg, tw, tb = T(x), T(g), T(w), T(b)
        _, mean, scale, _ = rows.normalize_rows(x, w, b, 1e-5)
        _, tm, ts = torch.native_layer_norm(tx, [c], tw, tb, 1e-5)
        made[f"layer norm {r} x {c}"] = (
            lambda x=x, w=w, b=b: rows.normalize_rows(x, w, b, 1e-5),
            lambda x=tx, w=tw, b=tb, c=c: F.layer_norm(x, (c,), w, b),
        )
        made[f"layer norm backward {r} x {c}"] = (
            lambda g=g, x=x, w=w, m=mean, s=scale: rows.normalize_rows_grad(g, x, w, m, s, None, (True,) * 3),
            lambda g=tg, x=tx, w=tw, b=tb, m=tm, s=ts, c=c: torch.ops.aten.native_layer_norm_backward(
                g, x, [c], m, s, w, b, [True] * 3
            ),
        )  # fmt: skip
    for shape, axis in (((256, 64), 0), ((4096, 1000), 0), ((100_000, 10), 0), ((256, 64), 1),
                        ((4096, 1000), 1), ((1_000_000,), None)):  # fmt: skip
        x = random(*shape)
        tx = T(x)
        made[f"sum of {' x '.join(map(str, shape))} over {axis}"] = (
            lambda x=x, axis=axis: fold.sum(x, axis=axis),
            lambda x=tx, axis=axis: x.sum() if axis is None else x.sum(axis),
        )
    for r, c in ((256, 10), (4096, 1000)):
        x = random(r, c)
        tx = T(x)
        made[f"max of {r} x {c} over 1"] = (
            lambda x=x: fold.max(x, axis=1), lambda x=tx: torch.amax(x, 1),
        )  # fmt: skip
    network = [(64, 150), (64,), (32, 64), (32,), (8, 32), (8,), (1, 8), (1,)]
    for name, shapes in (("8 parameters, 12017", network), ("1e6", [(1000, 1000)])):
        for fused in (False, True):
            ours = [taper.nn.Parameter(taper.rand(*s)) for s in shapes]
            theirs = [torch.nn.Parameter(torch.rand(*s)) for s in shapes]
            for p, q in zip(ours, theirs, strict=True):
                p.grad, q.grad = taper.rand(*p.shape), torch.rand(*q.shape)
            made[f"Adam, {name}" + (" (torch: fused=True)" if fused else "")] = (
                taper.optim.Adam(ours).step, torch.optim.Adam(theirs, fused=fused).step,
            )  # fmt: skip
    return made


def main() -> None:
    """The table."""
    torch.set_num_threads(1)
    taper.set_num_threads(1)
    print("| | us | x torch |\n|---|---|---|")
    for name, (ours, theirs) in cases().items():
        with torch.no_grad():
            mine, other = best([ours, theirs], 25, 2)
        print(f"| {name} | {mine * 1e6:.1f} | {other / mine:.2f} |", flush=True)


if __name__ == "__main__":
    main()
