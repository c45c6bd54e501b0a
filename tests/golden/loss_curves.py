"""Loss curves of the learning path's networks over five epochs, on taper or on PyTorch.

Run as a script, with PyTorch installed, it writes loss_curves.json: what taper must reproduce.
The networks, data loading and training loops are the studies' own.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
from typing import Any

import numpy as np

from taper.studies import engine

EPOCHS = 5
SEED = 0
PATH = os.path.join(os.path.dirname(__file__), "loss_curves.json")
STOCK = ("DNN", "CNN", "GRU")
OPTIMIZERS = {
    "SGD": lambda optim, parameters: optim.SGD(parameters, lr=0.01),
    "Adam": lambda optim, parameters: optim.Adam(parameters, lr=0.001),
}


def synthetic_prices() -> Any:
    """400 days of made-up prices: a slow wave, a trend, and noise, always the same."""
    from taper.studies.prices import Prices

    generator = np.random.RandomState(7)
    days = np.arange(400)
    close = 100 + 0.05 * days + 8 * np.sin(days / 25) + generator.normal(0, 1, 400).cumsum() * 0.3
    spread = np.abs(generator.normal(0, 0.7, (2, 400)))
    opening = close + generator.normal(0, 0.5, 400)
    high, low = np.maximum(opening, close) + spread[0], np.minimum(opening, close) - spread[1]
    volume = generator.uniform(1e6, 5e6, 400)
    first = datetime.date(2020, 1, 1)
    dates = [first + datetime.timedelta(days=int(day)) for day in days]
    return Prices("synthetic", dates, np.stack([opening, high, low, close, volume], axis=1))


def digits_curve(name: str, optimizer: str) -> list[float]:
    """Mean loss of each epoch of the digits network, on the engine called `name`."""
    study = engine.load("digits", name)
    study.torch.manual_seed(SEED)
    model = study.Model()
    made = OPTIMIZERS[optimizer](study.optim, model.parameters())
    with contextlib.redirect_stderr(io.StringIO()):
        data = study.load_digits(split=1)
        return study.train(model, made, data, EPOCHS, study.Stopwatch())["loss"]


def stock_curve(name: str, network: str, optimizer: str) -> list[float]:
    """Mean loss of each epoch of one of the stock networks, on the engine called `name`."""
    study = engine.load("stock", name)
    market = study.prepare(synthetic_prices())
    study.torch.manual_seed(SEED)
    model = study.NETWORKS[network]()
    made = OPTIMIZERS[optimizer](study.optim, model.parameters())
    with contextlib.redirect_stderr(io.StringIO()):
        return study.train(model, made, market, EPOCHS, study.Stopwatch(), network)["loss"]


def main() -> None:
    """Writes the curves that PyTorch gives."""
    torch = engine.use("torch")
    torch.set_num_threads(1)
    curves = {f"digits {optimizer}": digits_curve("torch", optimizer) for optimizer in OPTIMIZERS}
    for network in STOCK:
        for optimizer in OPTIMIZERS:
            curves[f"{network} {optimizer}"] = stock_curve("torch", network, optimizer)
    content = {"torch": torch.__version__.partition("+")[0], "seed": SEED, "curves": curves}
    with open(PATH, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
