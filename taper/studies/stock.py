"""Tomorrow's closing price from the last thirty days: a DNN, a CNN and a GRU beside a baseline.

The baseline says that tomorrow equals today. Prices move little from one day to the next, so it
scores a high R2 on the price; only R2 on daily returns shows whether a network learned anything.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from taper.studies import plots, prices
from taper.studies.engine import DataLoader, TensorDataset, nn, optim, torch
from taper.studies.progress import progress
from taper.studies.report import Report
from taper.studies.training import Stopwatch, train_epoch

TITLE = "Three networks and a baseline predict a stock"
EPOCHS = 100
DAYS = 30
BASELINE = "tomorrow = today"


class ModelDNN(nn.Module):
    """All days and fields at once through fully connected layers."""

    def __init__(self, input_size: int, hiddens: tuple[int, ...] = (64, 32, 8)) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten())
        for before, after in zip((input_size, *hiddens), hiddens, strict=False):
            self.net.append(nn.Linear(before, after))
            self.net.append(nn.ReLU())
        self.net.append(nn.Linear(hiddens[-1], 1))

    def forward(self, x: Any) -> Any:
        """Prices of shape (batch, 1) from windows of shape (batch, days, fields)."""
        return self.net(x)


class ModelCNN(nn.Module):
    """Convolution along the days, with the fields as channels: 30 > 28 > 14 > 12 > 6 days."""

    def __init__(self, in_channels: int, hidden_channels: tuple[int, ...] = (8, 4)) -> None:
        super().__init__()
        self.net = nn.Sequential()
        for before, after in zip((in_channels, *hidden_channels), hidden_channels, strict=False):
            self.net.append(nn.Conv1d(before, after, kernel_size=3))
            self.net.append(nn.AvgPool1d(kernel_size=2))
        self.net.append(nn.Flatten())
        self.net.append(nn.Linear(6 * hidden_channels[-1], 1))

    def forward(self, x: Any) -> Any:
        """Prices of shape (batch, 1) from windows of shape (batch, days, fields)."""
        return self.net(x.permute(0, 2, 1))


class ModelRNN(nn.Module):
    """Day by day through a GRU; the price is read off its last state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(input_size=input_size, hidden_size=hidden_size, batch_first=True)
        self.activation = nn.ReLU()
        self.output = nn.Linear(hidden_size, 1)

    def forward(self, x: Any) -> Any:
        """Prices of shape (batch, 1) from windows of shape (batch, days, fields)."""
        _, hidden = self.gru(x)
        return self.output(self.activation(hidden.squeeze(0)))


# Each makes an untrained network for windows of DAYS days of FIELDS.
NETWORKS: dict[str, Callable[[], Any]] = {
    "DNN": lambda: ModelDNN(DAYS * len(prices.FIELDS)),
    "CNN": lambda: ModelCNN(len(prices.FIELDS)),
    "GRU": lambda: ModelRNN(len(prices.FIELDS), 4),
}


class Market(NamedTuple):
    """Windows and next closing prices, scaled, as tensors; the last part is for testing."""

    X_train: Any
    y_train: Any
    X_test: Any
    y_test: Any
    scaler: prices.Scaler
    test_dates: list[datetime.date]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The study's own options."""
    parser.add_argument(
        "--csv",
        metavar="FILE",
        help="daily prices with the columns Date, Open, "
        "High, Low, Close, Volume (default: matplotlib's GOOG sample)",
    )
    parser.add_argument("--rows", type=int, metavar="N", help="take the last N rows only")


def run(options: argparse.Namespace, report: Report) -> None:
    """Trains the three networks on the older windows and compares them on the newer ones."""
    series = prices.read_csv(options.csv) if options.csv else prices.sample()
    series = prices.cut(series, options.rows, DAYS)
    market = prepare(series)
    report.text(
        f"{series.name}: {len(series.dates)} days from {series.dates[0]} to "
        f"{series.dates[-1]}. Each sample is {DAYS} days of open, high, low, close and "
        f"volume; the answer is the next day's close. {len(market.X_train)} windows to "
        f"learn from, the last {len(market.X_test)} to be tested on. The scale is fitted "
        "on the training part alone.",
        say=True,
    )
    report.metrics["windows"] = {"train": len(market.X_train), "test": len(market.X_test)}

    predictions = {BASELINE: market.X_test[:, -1:, prices.CLOSE]}
    for name, make in NETWORKS.items():
        watch = Stopwatch()
        torch.manual_seed(options.seed)
        network = make()
        optimizer = optim.Adam(network.parameters())
        report.histories[name] = train(network, optimizer, market, options.epochs, watch, name)
        report.timings[name] = watch.seconds
        with torch.no_grad():
            predictions[name] = network(market.X_test)

    for name, predicted in predictions.items():
        report.metrics[name] = score(predicted, market)
    report.table(
        ("model", "training", "R2 of price", "MSE of price", "R2 of return"),
        [
            (
                name,
                f"{report.timings.get(name, 0):.1f} s",
                f"{scores['r2']:.4f}",
                f"{scores['mse']:.6f}",
                f"{scores['r2_of_return']:.4f}",
            )
            for name, scores in ((name, report.metrics[name]) for name in predictions)
        ],
        f"On the test windows, after {options.epochs} epochs; prices are scaled",
    )
    report.text(
        "The baseline's R2 of price is high because tomorrow's price is nearly today's. R2 of "
        "return asks how much of the day's change was foreseen; the baseline foresees none and "
        "gets about 0, and below that is worse than knowing nothing. A GRU's state stays between "
        "-1 and 1, so it cannot follow prices far above those it learned from.",
        say=True,
    )
    _draw(predictions, market, report)


def prepare(series: prices.Prices) -> Market:
    """Scales the series and cuts it into windows; the last 800, or a fifth if fewer, are tests."""
    count = len(series.dates) - DAYS
    test = min(800, -(-count // 5))
    scaler = prices.Scaler(series.values[:-test])
    X, y = (
        torch.tensor(part, dtype=torch.float32)
        for part in prices.windows(scaler.scale(series.values), DAYS)
    )
    return Market(X[:-test], y[:-test], X[-test:], y[-test:], scaler, series.dates[-test:])


def train(
    network: Any, optimizer: Any, market: Market, epochs: int, watch: Stopwatch, label: str
) -> dict[str, list[float]]:
    """Trains the network; its loss in each epoch, and both errors after every tenth."""
    trainloader = DataLoader(TensorDataset(market.X_train, market.y_train), 64, True)
    criterion = nn.MSELoss()
    history: dict[str, list[float]] = {"loss": [], "epoch": [], "train_mse": [], "test_mse": []}
    for epoch in progress(range(epochs), label):
        with watch:
            history["loss"].append(train_epoch(network, trainloader, criterion, optimizer))
        if (epoch + 1) % 10 == 0:
            with torch.no_grad():
                history["epoch"].append(epoch + 1)
                for part, X, y in (
                    ("train_mse", market.X_train, market.y_train),
                    ("test_mse", market.X_test, market.y_test),
                ):
                    history[part].append(criterion(network(X), y).item())
    return history


def r2(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the variance of `actual` that `predicted` explains; 1 is perfect."""
    return float(1 - ((actual - predicted) ** 2).sum() / ((actual - actual.mean()) ** 2).sum())


def score(predicted: Any, market: Market) -> dict[str, float]:
    """R2 and mean squared error of the scaled price, and R2 of the daily return."""
    actual, guess, today = (
        t.numpy().astype(np.float64).ravel()
        for t in (market.y_test, predicted, market.X_test[:, -1, prices.CLOSE])
    )
    unscaled = [market.scaler.unscale_column(part, prices.CLOSE) for part in (actual, guess, today)]
    returns, foreseen = (price / unscaled[2] - 1 for price in unscaled[:2])
    return {
        "r2": r2(actual, guess),
        "mse": float(((actual - guess) ** 2).mean()),
        "r2_of_return": r2(returns, foreseen),
    }


def _draw(predictions: dict[str, Any], market: Market, report: Report) -> None:
    actual = market.y_test.ravel().tolist()
    truth = {"actual": {"color": "#1a202c", "linewidth": 1.0}}
    for name in NETWORKS:
        curves = {"actual": actual, name: predictions[name].ravel().tolist()}
        report.figure(
            f"prediction-{name}",
            plots.lines(
                curves, xlabel="", ylabel="scaled close", x=market.test_dates, styles=truth
            ),
            f"{name}: the test days and what was predicted the day before.",
        )
    report.figure(
        "comparison",
        plots.lines(
            {"actual": actual, **{name: predictions[name].ravel().tolist() for name in NETWORKS}},
            xlabel="",
            ylabel="scaled close",
            x=market.test_dates,
            styles=truth,
        ),
        "All networks on the test days.",
    )
    report.figure(
        "loss",
        plots.lines(
            {name: report.histories[name]["loss"] for name in NETWORKS},
            xlabel="epoch",
            ylabel="mean squared error",
            log=True,
        ),
        "Training loss of each network.",
    )
