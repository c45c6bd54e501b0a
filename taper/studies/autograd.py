"""Gradients: a straight line is fitted by hand, and every step of the record is looked at.

`walkthrough` is the code that the report shows.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator
from typing import Any

from taper.studies import plots, tape_drawing, walk
from taper.studies.engine import torch
from taper.studies.progress import progress
from taper.studies.report import Report

TITLE = "Gradients: how they are recorded and sent back"
EPOCHS = 200


def run(options: argparse.Namespace, report: Report) -> None:
    """Walks through one forward and one backward pass, then lets gradient descent finish."""
    report.text(
        "While the forward pass computes, it also records: each result remembers the "
        "function that made it, in grad_fn. `backward` follows that record the other way "
        "round and leaves the gradients in the leaves that asked for one."
    )
    report.heading("One pass forward, one pass back")
    names = walk.show(walkthrough, report)
    _tabulate(names, report)
    report.figure(
        "graph",
        tape_drawing.draw(names["loss2_sum"], {"w": names["w"], "b": names["b"]}),
        "What was recorded: backward starts at the top and ends in the leaves w and b.",
    )
    report.metrics["w.grad"] = names["w"].grad.item()
    report.metrics["b.grad"] = names["b"].grad.item()

    report.heading("From gradients to learning")
    losses, w, b = descend(options.epochs)
    report.text(
        f"{options.epochs} steps of gradient descent along these gradients give "
        f"w = {w:.4f}, b = {b:.4f}. The data were made with w = 2, b = 3.",
        say=True,
    )
    report.figure(
        "descent",
        plots.lines({"loss": losses}, xlabel="step", ylabel="sum of squares", log=True),
        "The loss at each step of gradient descent.",
    )
    report.metrics.update({"w": w, "b": b})
    report.histories["loss"] = losses


def walkthrough() -> Generator[str, None, dict[str, Any]]:
    """A linear regression of one variable, one step of it."""
    yield "Data for y = 2 x + 3, and first weights w = 1, b = 0."
    x = torch.tensor([1.0, 2.0])
    y = torch.tensor([5.0, 7.0])
    w = torch.tensor(1.0, requires_grad=True)
    b = torch.tensor(0.0, requires_grad=True)

    yield "No gradient yet, no function either: all four are leaves."
    print(x.grad, x.grad_fn, x.is_leaf, y.grad, y.grad_fn, y.is_leaf)
    print(w.grad, w.grad_fn, w.is_leaf, b.grad, b.grad_fn, b.is_leaf)

    yield "Forward, one operation at a time."
    wx = w * x
    wx_b = wx + b
    loss = wx_b - y
    loss2 = loss**2
    loss2_sum = sum(loss2)

    yield "What was computed is no leaf."
    print(wx.is_leaf, wx_b.is_leaf, loss.is_leaf, loss2.is_leaf, loss2_sum.is_leaf)

    yield "It keeps no gradient, and says so when asked."
    print(wx.grad, wx_b.grad, loss.grad, loss2.grad, loss2_sum.grad)

    yield "It knows the function that made it."
    for tensor in (wx, wx_b, loss, loss2, loss2_sum):
        print(tensor.grad_fn.name())

    yield "Backward."
    loss2_sum.backward()

    yield "The leaves that asked for a gradient have one; x and y did not ask."
    print(w.grad, b.grad, x.grad, y.grad)

    yield "By hand: the derivatives of (w x + b - y)**2, summed over both points, agree."
    print(2 * (1 * 1 + 0 - 5) * 1 + 2 * (1 * 2 + 0 - 7) * 2)
    print(2 * (1 * 1 + 0 - 5) + 2 * (1 * 2 + 0 - 7))

    return {
        "x": x,
        "y": y,
        "w": w,
        "b": b,
        "wx": wx,
        "wx_b": wx_b,
        "loss": loss,
        "loss2": loss2,
        "loss2_sum": loss2_sum,
    }


def _tabulate(tensors: dict[str, Any], report: Report) -> None:
    rows = []
    for name, tensor in tensors.items():
        grad = tensor.grad if tensor.is_leaf else None
        node = tensor.grad_fn
        rows.append(
            (
                name,
                tensor.requires_grad,
                tensor.is_leaf,
                None if grad is None else f"{grad.item():.0f}",
                None if node is None else node.name(),
            )
        )
    report.table(
        ("tensor", "requires_grad", "is_leaf", "grad", "grad_fn"),
        rows,
        "All tensors after backward",
    )


def descend(steps: int, rate: float = 0.1) -> tuple[list[float], float, float]:
    """The losses of gradient descent on the same data, and the w and b it ends at."""
    x = torch.tensor([1.0, 2.0])
    y = torch.tensor([5.0, 7.0])
    w = torch.tensor(1.0, requires_grad=True)
    b = torch.tensor(0.0, requires_grad=True)
    losses = []
    for _ in progress(range(steps), "gradient descent", "step"):
        loss = ((w * x + b - y) ** 2).sum()
        loss.backward()
        with torch.no_grad():
            for weight in (w, b):
                weight -= rate * weight.grad
                weight.grad = None
        losses.append(loss.item())
    return losses, w.item(), b.item()
