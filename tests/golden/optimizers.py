"""Parameters after some steps of every optimizer, on taper or on PyTorch.

Run as a script, with PyTorch installed, it writes optimizers.json: what taper must reproduce.
"""

from __future__ import annotations

import json
import os
import warnings

STEPS = 7
PATH = os.path.join(os.path.dirname(__file__), "optimizers.json")

CASES = {
    "SGD": ("SGD", {"lr": 0.1}),
    "SGD momentum": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.1}),
    "SGD nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "SGD maximize": ("SGD", {"lr": 0.1, "maximize": True}),
    "Adam": ("Adam", {"lr": 0.1}),
    "Adam amsgrad": ("Adam", {"lr": 0.1, "amsgrad": True, "weight_decay": 0.1}),
    "AdamW": ("AdamW", {"lr": 0.1, "weight_decay": 0.3}),
    "Adamax": ("Adamax", {"lr": 0.1, "weight_decay": 0.1}),
    "Adadelta": ("Adadelta", {"lr": 1.0, "weight_decay": 0.1}),
    "Adafactor": ("Adafactor", {"lr": 0.1}),
    "Adagrad": ("Adagrad", {"lr": 0.1, "lr_decay": 0.1}),
    "ASGD": ("ASGD", {"lr": 0.1, "t0": 3}),
    "NAdam": ("NAdam", {"lr": 0.1, "decoupled_weight_decay": True, "weight_decay": 0.1}),
    "RAdam": ("RAdam", {"lr": 0.1, "weight_decay": 0.1}),
    "RMSprop": ("RMSprop", {"lr": 0.1}),
    "RMSprop centered": ("RMSprop", {"lr": 0.1, "centered": True, "momentum": 0.5}),
    "Rprop": ("Rprop", {"lr": 0.1}),
    "LBFGS": ("LBFGS", {"lr": 0.5, "max_iter": 3}),
    "LBFGS strong Wolfe": ("LBFGS", {"max_iter": 3, "line_search_fn": "strong_wolfe"}),
    "Muon": ("Muon", {"lr": 0.1}),
}


def parameters(torch, name):
    """A matrix and, where the optimizer takes it, a vector, with values that look random."""
    matrix = torch.tensor([[0.5, -1.5, 2.0], [1.25, 0.75, -0.5]], dtype=torch.float64)
    vector = torch.tensor([3.0, -2.0], dtype=torch.float64)
    chosen = [matrix] if name.startswith("Muon") else [matrix, vector]
    return [tensor.requires_grad_() for tensor in chosen]


def loss_of(params):
    """A bowl whose curvature differs by element, with a ripple."""
    total = 0.0
    for number, p in enumerate(params):
        total = total + ((p - 0.3) ** 2 * (1 + number)).sum() + (p * 3).sin().sum()
    return total


def make(torch, name, params):
    kind, options = CASES[name]
    return getattr(torch.optim, kind)(params, **options)


def advance(optimizer, params):
    """One step of any optimizer."""

    def closure():
        optimizer.zero_grad()
        loss = loss_of(params)
        loss.backward()
        return loss

    return optimizer.step(closure)


def run(torch, name, steps=STEPS):
    """All parameters after the steps, as one list."""
    params = parameters(torch, name)
    optimizer = make(torch, name, params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(steps):
            advance(optimizer, params)
    return [value for p in params for value in p.detach().reshape(-1).tolist()]


if __name__ == "__main__":
    import torch

    values = {name: run(torch, name) for name in CASES}
    with open(PATH, "w", encoding="utf-8") as file:
        json.dump({"torch": torch.__version__, "parameters": values}, file, indent=1)
        file.write("\n")
