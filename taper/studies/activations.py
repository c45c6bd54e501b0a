"""Six activation functions: their curves, and their derivatives as the tape computes them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from taper.studies import plots
from taper.studies.engine import functional, torch
from taper.studies.report import Report

TITLE = "Activation functions and their derivatives"
EPOCHS = None

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": functional.relu,
    "elu": functional.elu,
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.1),
    "gelu": functional.gelu,
}
_ABOUT = {
    "sigmoid": "the oldest; flat on both sides, so gradients fade",
    "tanh": "2 sigmoid(2x) - 1: the same shape, odd, with four times the slope at 0",
    "relu": "the most used; cheap, and its gradient is 0 or 1",
    "elu": "relu with a smooth corner and a small negative side",
    "leaky_relu": "relu whose negative side keeps a little slope (here 0.1)",
    "gelu": "x times the normal distribution function; not monotonic",
}


def curve(function: Callable[[Any], Any], x: Any) -> tuple[Any, Any]:
    """Values and derivatives of `function` at the points x."""
    x = x.detach().clone().requires_grad_()
    y = function(x)
    # The sum's gradient is each point's own derivative, because y[i] depends on x[i] alone.
    y.sum().backward()
    return y.detach(), x.grad


def run(options: argparse.Namespace, report: Report) -> None:
    """Draws the curves, and checks the derivatives against differences."""
    del options  # nothing here is random or trained
    report.text(
        "Between two linear layers there must be something that is not linear, or the two "
        "are no more than one. These are the usual choices."
    )
    x = torch.linspace(-4, 4, 401, dtype=torch.float64)
    rows = []
    curves = {}
    for name, function in ACTIVATIONS.items():
        y, slope = curve(function, x)
        curves[name] = (y.tolist(), slope.tolist())
        error = _difference_error(function, x, slope)
        report.metrics[name] = {"largest_error_of_the_derivative": error}
        at = [curve(function, torch.tensor([p], dtype=torch.float64)) for p in (-1.0, 1.0)]
        rows.append(
            (
                name,
                *(f"{value.item():.4f}" for pair in at for value in pair),
                f"{error:.1e}",
                _ABOUT[name],
            )
        )
    report.table(
        ("function", "f(-1)", "f'(-1)", "f(1)", "f'(1)", "error", "about"),
        rows,
        "Values and derivatives; the error is against a central difference",
    )
    report.figure(
        "activations",
        _draw(x.tolist(), curves),
        "Each function (solid) and its derivative (dashed).",
    )


def _difference_error(function: Callable[[Any], Any], x: Any, slope: Any) -> float:
    """Largest gap between the tape's derivative and a central difference, away from corners."""
    step = 1e-6
    difference = (function(x + step) - function(x - step)) / (2 * step)
    away = x.abs() > 1e-3  # relu has no derivative at 0
    return float((difference - slope)[away].abs().max().item())


def _draw(x: list[float], curves: dict[str, tuple[list[float], list[float]]]) -> Any:
    drawing, grid = plots.axes(2, 3, 9, 5)
    for place, (name, (y, slope)) in zip(grid.flat, curves.items(), strict=True):
        place.plot(x, y, color=plots.COLORS[0], label="f(x)")
        place.plot(x, slope, color=plots.COLORS[1], linestyle="--", label="f'(x)")
        place.set_title(name)
        place.set_ylim(-1.5, 4.1)
    grid[0, 0].legend(frameon=False)
    return drawing
