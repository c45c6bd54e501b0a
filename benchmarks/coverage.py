"""Common operations beside PyTorch, forward and with the gradient, one thread: what is slow?

    python benchmarks/coverage.py [--match REGEX] [--sizes 1e3,1e5,1e7] [--seconds 0.2] [--threads 1]

Both sides run the same public calls, taking turns in one process; a row has the best of many rounds.
Prints a markdown table, the worst ratio first. Needs torch.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import taper

Case = Callable[..., Any]


def _arrays(n: int) -> dict[str, np.ndarray]:
    """Inputs of about n elements, by the names that cases ask for."""
    draw = np.random.default_rng(n)
    side = round(n**0.5)
    cube = max(2, round((n / 8) ** (1 / 3)))
    plane = max(8, round((n / 64) ** 0.5))
    planes = max(1, n // (plane * plane))
    channels = min(64, planes)
    images = max(1, planes // channels)

    def normal(*shape: int) -> np.ndarray:
        return draw.standard_normal(shape, np.float32)

    return {
        "x": normal(n),
        "y": normal(n),
        "p": np.abs(normal(n)) + np.float32(0.1),
        "d": normal(n).astype(np.float64),
        "h": normal(n).astype(np.float16),
        "i": draw.integers(-100, 100, n),
        "b": draw.random(n) < 0.5,
        "m": normal(side, side),
        "w": normal(side, side),
        "v": normal(side),
        "c": normal(8, cube, cube, cube),
        "n": normal(images, channels, plane, plane),
        "tall": normal(n // 8, 8),
        "rows": draw.integers(0, side, side),
        "picked": draw.integers(0, side, (side, side)),
        "mask": draw.random((side, side)) < 0.5,
    }


# name: a function of the framework and the arrays that its parameters name. An asterisk: the first
# input wants a gradient too, in a row of its own.
CASES: dict[str, Case] = {
    # elementwise
    "x + y *": lambda t, x, y: x + y,
    "x - 1.5": lambda t, x: x - 1.5,
    "x * y *": lambda t, x, y: x * y,
    "x / y *": lambda t, x, y: x / y,
    "matrix + row *": lambda t, m, v: m + v,
    "matrix * column *": lambda t, m, v: m * v[:, None],
    "x ** 2 *": lambda t, x: x**2,
    "x ** 0.7": lambda t, p: p**0.7,
    "neg": lambda t, x: -x,
    "abs *": lambda t, x: x.abs(),
    "sign": lambda t, x: x.sign(),
    "floor": lambda t, x: x.floor(),
    "round": lambda t, x: x.round(),
    "reciprocal *": lambda t, p: p.reciprocal(),
    "sqrt *": lambda t, p: p.sqrt(),
    "rsqrt *": lambda t, p: p.rsqrt(),
    "exp *": lambda t, x: x.exp(),
    "log *": lambda t, p: p.log(),
    "tanh *": lambda t, x: x.tanh(),
    "sigmoid *": lambda t, x: x.sigmoid(),
    "erf *": lambda t, x: t.erf(x),
    "sin *": lambda t, x: x.sin(),
    "exp, float64": lambda t, d: d.exp(),
    "log, float64": lambda t, d: d.abs().log(),
    "tanh, float64": lambda t, d: d.tanh(),
    "erf, float64": lambda t, d: t.erf(d),
    "relu *": lambda t, x: t.relu(x),
    "leaky_relu *": lambda t, x: t.nn.functional.leaky_relu(x, 0.1),
    "elu *": lambda t, x: t.nn.functional.elu(x),
    "softplus *": lambda t, x: t.nn.functional.softplus(x),
    "hardtanh *": lambda t, x: t.nn.functional.hardtanh(x),
    "clamp *": lambda t, x: x.clamp(-0.5, 0.5),
    "clamp_min": lambda t, x: x.clamp(min=0.0),
    "maximum *": lambda t, x, y: t.maximum(x, y),
    "where *": lambda t, x, y, b: t.where(b, x, y),
    "masked_fill *": lambda t, x, b: x.masked_fill(b, 0.0),
    "lerp *": lambda t, x, y: t.lerp(x, y, 0.3),
    "addcmul": lambda t, x, y, p: t.addcmul(x, y, p, value=0.5),
    "mse_loss *": lambda t, x, y: t.nn.functional.mse_loss(x, y),
    "l1_loss *": lambda t, x, y: t.nn.functional.l1_loss(x, y),
    "smooth_l1_loss *": lambda t, x, y: t.nn.functional.smooth_l1_loss(x, y),
    "bce_with_logits *": lambda t, x, b: t.nn.functional.binary_cross_entropy_with_logits(
        x, b.float()
    ),
    "x > y": lambda t, x, y: x > y,
    "x > 0": lambda t, x: x > 0,
    "x == y": lambda t, x, y: x == y,
    "logical_and": lambda t, b, x: b & b,
    "isnan": lambda t, x: x.isnan(),
    "ints + 1": lambda t, i: i + 1,
    "ints == 3": lambda t, i: i == 3,
    # in place
    "add_": lambda t, x, y: x.add_(y, alpha=1e-9),
    "mul_": lambda t, x: x.mul_(1.0),
    "zero_": lambda t, w: w.zero_(),
    "fill_": lambda t, w: w.fill_(0.5),
    "copy_": lambda t, w, m: w.copy_(m),
    "relu_": lambda t, w: t.relu_(w),
    # casts
    "float to double": lambda t, x: x.double(),
    "double to float": lambda t, d: d.float(),
    "int64 to float": lambda t, i: i.float(),
    "float to int64": lambda t, x: x.long(),
    "bool to float": lambda t, b: b.float(),
    "float to half": lambda t, x: x.half(),
    "half to float": lambda t, h: h.float(),
    "float to bfloat16": lambda t, x: x.bfloat16(),
    "half + half": lambda t, h: h + h,
    "half.exp": lambda t, h: h.exp(),
    "bfloat16 * bfloat16": lambda t, x: x.bfloat16() * x.bfloat16(),
    # reductions
    "sum *": lambda t, x: x.sum(),
    "sum of rows *": lambda t, m: m.sum(1),
    "sum of columns *": lambda t, m: m.sum(0),
    "sum over the middle": lambda t, c: c.sum((1, 2)),
    "sum over (0, 2, 3)": lambda t, n: n.sum((0, 2, 3)),
    "sum of rows, n x 8": lambda t, tall: tall.sum(1),
    "sum of columns, n x 8": lambda t, tall: tall.sum(0),
    "sum, transposed": lambda t, m: m.t().sum(1),
    "sum, float64": lambda t, d: d.sum(),
    "sum of ints": lambda t, i: i.sum(),
    "sum of bools": lambda t, b: b.sum(),
    "mean *": lambda t, x: x.mean(),
    "mean of rows *": lambda t, m: m.mean(1),
    "mean of columns": lambda t, m: m.mean(0),
    "var *": lambda t, x: x.var(),
    "var of rows *": lambda t, m: m.var(1),
    "var of columns": lambda t, m: m.var(0),
    "std over (0, 2, 3)": lambda t, n: n.std((0, 2, 3)),
    "norm *": lambda t, x: x.norm(),
    "norm of rows": lambda t, m: m.norm(dim=1),
    "prod of rows": lambda t, m: m.prod(1),
    "amax": lambda t, x: x.amax(),
    "max of rows with index *": lambda t, m: m.max(1),
    "max of columns with index": lambda t, m: m.max(0),
    "amax of rows": lambda t, m: m.amax(1),
    "amax of columns": lambda t, m: m.amax(0),
    "argmax": lambda t, x: x.argmax(),
    "argmax of rows": lambda t, m: m.argmax(1),
    "argmax of columns": lambda t, m: m.argmax(0),
    "any of bools": lambda t, b: (~b).all(),
    "any of rows": lambda t, mask: mask.any(1),
    "isfinite all": lambda t, x: x.isfinite().all(),
    "logsumexp of rows *": lambda t, m: m.logsumexp(1),
    "count_nonzero": lambda t, x: x.count_nonzero(),
    "dot": lambda t, x, y: x.dot(y),
    "allclose": lambda t, x: t.allclose(x, x),
    # scans and order
    "cumsum": lambda t, x: x.cumsum(0),
    "cumsum of rows *": lambda t, m: m.cumsum(1),
    "cumsum of columns": lambda t, m: m.cumsum(0),
    "cumprod of rows": lambda t, m: m.cumprod(1),
    "cummax of rows": lambda t, m: m.cummax(1),
    "sort": lambda t, x: x.sort(),
    "sort of rows": lambda t, m: m.sort(1),
    "argsort": lambda t, x: x.argsort(),
    "topk of rows *": lambda t, m: m.topk(5, 1),
    "topk": lambda t, x: x.topk(10),
    "median": lambda t, x: x.median(),
    "unique": lambda t, i: i.unique(),
    "bincount": lambda t, i: t.bincount(i + 100),
    # moving elements
    "clone *": lambda t, x: x.clone(),
    "transpose copied": lambda t, m: m.t().contiguous(),
    "permute copied": lambda t, n: n.permute(0, 2, 3, 1).contiguous(),
    "m + w.T *": lambda t, m, w: m + w.t(),
    "cat *": lambda t, x, y: t.cat((x, y)),
    "cat of columns": lambda t, m, w: t.cat((m, w), 1),
    "stack *": lambda t, x, y: t.stack((x, y)),
    "stack at the end": lambda t, x, y: t.stack((x, y), -1),
    "index_select *": lambda t, m, rows: m.index_select(0, rows),
    "index_select of columns": lambda t, m, rows: m.index_select(1, rows),
    "x[rows] *": lambda t, m, rows: m[rows],
    "x[mask]": lambda t, m, mask: m[mask],
    "x[mask] = 0": lambda t, w, mask: w.__setitem__(mask, 0.0),
    "nonzero": lambda t, mask: mask.nonzero(),
    "gather *": lambda t, m, picked: m.gather(1, picked),
    "scatter": lambda t, w, m, picked: w.scatter(1, picked, m),
    "flip": lambda t, m: m.flip(1),
    "roll": lambda t, m: m.roll(3, 1),
    "tril": lambda t, m: m.tril(),
    "repeat": lambda t, v: v.repeat(100),
    "expand copied": lambda t, m, v: v.expand(len(v), -1).contiguous(),
    "strided copy": lambda t, x: x[::2].contiguous(),
    "pad *": lambda t, n: t.nn.functional.pad(n, (1, 1, 1, 1)),
    "one_hot": lambda t, rows: t.nn.functional.one_hot(rows % 100, 100),
    "tensor.zeros": lambda t, x: t.zeros(x.shape),
    "tensor.ones": lambda t, x: t.ones(x.shape),
    "full_like": lambda t, x: t.full_like(x, 0.5),
    "arange": lambda t, x: t.arange(len(x)),
    "rand": lambda t, x: t.rand(x.shape),
    "randn": lambda t, x: t.randn(x.shape),
    "dropout *": lambda t, x: t.nn.functional.dropout(x, 0.5),
    # layers
    "softmax *": lambda t, m: m.softmax(1),
    "softmax of columns *": lambda t, m: m.softmax(0),
    "log_softmax *": lambda t, m: m.log_softmax(1),
    "cross_entropy *": lambda t, m, rows: t.nn.functional.cross_entropy(m, rows),
    "layer_norm *": lambda t, m, v: t.nn.functional.layer_norm(m, v.shape, v, v),
    "batch_norm *": lambda t, n: t.nn.functional.batch_norm(n, None, None, training=True),
    "normalize *": lambda t, m: t.nn.functional.normalize(m),
    "max_pool2d 2 *": lambda t, n: t.nn.functional.max_pool2d(n, 2),
    "max_pool2d 3 s2 p1 *": lambda t, n: t.nn.functional.max_pool2d(n, 3, 2, 1),
    "max_pool2d 3 s1 p1 *": lambda t, n: t.nn.functional.max_pool2d(n, 3, 1, 1),
    "max_pool2d 2 with indices *": lambda t, n: t.nn.functional.max_pool2d(
        n, 2, return_indices=True
    ),
    "avg_pool2d 2 *": lambda t, n: t.nn.functional.avg_pool2d(n, 2),
    "avg_pool2d 3 s1 p1 *": lambda t, n: t.nn.functional.avg_pool2d(n, 3, 1, 1),
    "adaptive_avg_pool2d 1 *": lambda t, n: t.nn.functional.adaptive_avg_pool2d(n, 1),
    "adaptive_avg_pool2d 7 *": lambda t, n: t.nn.functional.adaptive_avg_pool2d(n, 7),
    "adaptive_max_pool2d 1 *": lambda t, n: t.nn.functional.adaptive_max_pool2d(n, 1),
    "adaptive_max_pool2d 7 *": lambda t, n: t.nn.functional.adaptive_max_pool2d(n, 7),
    "upsample nearest *": lambda t, n: t.nn.functional.interpolate(n, scale_factor=2.0),
}
OPTIMIZERS = ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad")


def _first(out: Any) -> Any:
    return out if hasattr(out, "dtype") else out[0]


def _runs(t: Any, case: Case, arrays: list[np.ndarray], gradient: bool) -> Callable[[], Any]:
    tensors = [t.from_numpy(a.copy()) for a in arrays]
    if not gradient:
        return lambda: case(t, *tensors)
    source = tensors[0].requires_grad_()
    grad = t.ones_like(_first(case(t, *tensors)).detach())

    def both() -> None:
        source.grad = None
        _first(case(t, *tensors)).backward(grad)

    return both


def _optimizer(t: Any, name: str, n: int) -> Callable[[], Any]:
    parts = [n // 2, n // 4, n // 8, n - n // 2 - n // 4 - n // 8]
    parameters = [t.nn.Parameter(t.ones(k)) for k in parts]
    for p in parameters:
        p.grad = t.full_like(p, 0.01)
    return getattr(t.optim, name)(parameters, lr=1e-3).step


def race(one: Callable[[], Any], other: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """The best time of each, taking turns."""
    one(), other()
    start = time.perf_counter()
    one(), other()
    calls = max(1, int(0.004 / (time.perf_counter() - start)))
    best = [float("inf")] * 2
    stop = time.perf_counter() + seconds
    rounds = 0
    while rounds < 5 or time.perf_counter() < stop:
        for which, run in enumerate((one, other)):
            start = time.perf_counter()
            for _ in range(calls):
                run()
            best[which] = min(best[which], (time.perf_counter() - start) / calls)
        rounds += 1
    return best[0], best[1]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--match", default="")
    parser.add_argument("--sizes", default="1e3,1e5,1e7")
    parser.add_argument("--seconds", type=float, default=0.2, help="that a row takes at least")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    taper.set_num_threads(options.threads)
    wanted = re.compile(options.match)
    rows = []

    def add(name: str, n: int, made: list[Callable[[], Any]]) -> None:
        own, theirs = race(made[0], made[1], options.seconds)
        rows.append((theirs / own, f"{name} | {n:.0e} | {own * 1e6:.1f} | {theirs * 1e6:.1f}"))

    for n in [int(float(s)) for s in options.sizes.split(",")]:
        arrays = _arrays(n)
        for title, case in CASES.items():
            name = title.removesuffix(" *")
            if not wanted.search(name):
                continue
            parameters = case.__code__.co_varnames[1 : case.__code__.co_argcount]
            given = [arrays[p] for p in parameters]
            for gradient in (False, True)[: 2 if title.endswith("*") else 1]:
                made = [_runs(t, case, given, gradient) for t in (taper, torch)]
                add(name + (", and gradient" if gradient else ""), n, made)
        for name in OPTIMIZERS:
            if wanted.search(name):
                add(name, n, [_optimizer(t, name, n) for t in (taper, torch)])
    print("| what | elements | taper us | PyTorch us | ratio |\n|---|---|---|---|---|")
    for ratio, row in sorted(rows):
        print(f"| {row} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
