"""Learning rates and momenta of all schedulers over 25 steps, on taper or on PyTorch.

Run as a script, with PyTorch installed, it writes schedules.json: what taper must reproduce.
"""

from __future__ import annotations

import json
import os
import warnings

STEPS = 25
PATH = os.path.join(os.path.dirname(__file__), "schedules.json")


def groups(torch, lr=0.4, kind="SGD"):
    """An optimizer with two groups whose learning rates differ."""
    params = [torch.zeros(2, requires_grad=True) for _ in range(2)]
    options = {"momentum": 0.9} if kind == "SGD" else {}
    return getattr(torch.optim, kind)(
        [{"params": params[:1]}, {"params": params[1:], "lr": lr / 4}], lr=lr, **options
    )


CASES = {
    "LambdaLR": lambda s, o: s.LambdaLR(o, [lambda e: 0.9**e, lambda e: 1 / (1 + e)]),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.95),
    "StepLR": lambda s, o: s.StepLR(o, 4, 0.3),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, [3, 7, 7, 20], 0.5),
    "ConstantLR": lambda s, o: s.ConstantLR(o, 0.25, 6),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.2, 0.9, 8),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.87),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, 9, 1.7),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, 7, 0.01),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, 0.01),
    "CyclicLR": lambda s, o: s.CyclicLR(o, [0.1, 0.02], 0.5, 4, 3),
    "CyclicLR triangular2": lambda s, o: s.CyclicLR(o, 0.1, 0.5, 4, mode="triangular2"),
    "CyclicLR exp_range": lambda s, o: s.CyclicLR(o, 0.1, 0.5, 3, mode="exp_range", gamma=0.97),
    "CyclicLR function": lambda s, o: s.CyclicLR(
        o, 0.1, 0.5, 3, scale_fn=lambda x: 1 / x, cycle_momentum=False
    ),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, [0.5, 0.7], total_steps=STEPS),
    "OneCycleLR linear": lambda s, o: s.OneCycleLR(
        o, 0.5, epochs=5, steps_per_epoch=5, anneal_strategy="linear", pct_start=0.4
    ),
    "OneCycleLR three phases": lambda s, o: s.OneCycleLR(
        o, 0.5, total_steps=STEPS, three_phase=True
    ),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 5), s.ExponentialLR(o, 0.9), s.StepLR(o, 3)], [5, 14]
    ),
    "SequentialLR within": lambda s, o: s.SequentialLR(
        o,
        [
            s.SequentialLR(o, [s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9)], [4]),
            s.CosineAnnealingLR(o, 6),
        ],
        [9],
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler(
        [s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9)], o
    ),
    "SWALR": lambda s, o: s.SWALR(o, 0.05, 6),
    "SWALR linear": lambda s, o: s.SWALR(o, [0.05, 0.3], 6, "linear"),
    "ReduceLROnPlateau": lambda s, o: s.ReduceLROnPlateau(
        o, "min", 0.5, patience=2, cooldown=1, min_lr=[0.05, 0.01]
    ),
    "ReduceLROnPlateau max": lambda s, o: s.ReduceLROnPlateau(
        o, "max", 0.5, patience=1, threshold=0.1, threshold_mode="abs"
    ),
}


class Names:
    """The schedulers of a package, those of swa_utils included."""

    def __init__(self, torch):
        self.torch = torch

    def __getattr__(self, name):
        place = self.torch.optim.swa_utils if name == "SWALR" else self.torch.optim.lr_scheduler
        return getattr(place, name)


def metric(step):
    """A loss that falls, stays and jumps."""
    return [1.0, 0.8, 0.75, 0.75, 0.76, 0.75, 0.74, 0.9, 0.7, 0.7][step % 10]


def advance(scheduler, optimizer, step):
    optimizer.step()
    if type(scheduler).__name__ == "ReduceLROnPlateau":
        scheduler.step(metric(step))
    else:
        scheduler.step()


def read(optimizer):
    """Learning rates and momenta of all groups."""
    row = []
    for group in optimizer.param_groups:
        row.append(float(group["lr"]))
        row.append(float(group["momentum"] if "momentum" in group else group["betas"][0]))
    return row


def run(torch, name, kind="SGD", lr=0.4, steps=STEPS):
    """Learning rates and momenta before and after each step."""
    optimizer = groups(torch, lr, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parts of SequentialLR step before the optimizer
        scheduler = CASES[name](Names(torch), optimizer)
        rows = [read(optimizer)]
        for step in range(steps):
            advance(scheduler, optimizer, step)
            rows.append(read(optimizer))
    return rows


if __name__ == "__main__":
    import torch

    curves = {name: run(torch, name) for name in CASES}
    with open(PATH, "w", encoding="utf-8") as file:
        json.dump({"torch": torch.__version__, "curves": curves}, file)
        file.write("\n")
