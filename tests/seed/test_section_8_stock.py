"""Section 8 of the learning path: DNN, CNN and GRU on a series of prices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import taper as torch
from taper import nn, optim
from taper.utils.data import DataLoader, TensorDataset

FIELDS = ["Open", "High", "Low", "Close", "Vol"]


class ModelDNN(nn.Module):
    def __init__(self, input_size: int, hiddens: list[int] = [64, 32, 8]) -> None:  # noqa: B006
        super().__init__()
        self.hiddens = hiddens
        self.net = nn.Sequential(nn.Flatten())
        for pre, nxt in zip([input_size] + hiddens[:-1], hiddens):  # noqa: B905, RUF005
            self.net.append(nn.Linear(pre, nxt))
            self.net.append(nn.ReLU())
        self.net.append(nn.Linear(hiddens[-1], 1))

    def forward(self, x: Any) -> Any:
        return self.net(x)


class ModelCNN(nn.Module):
    def __init__(self, in_channels: int, hidden_channels: list[int] = [8, 4]) -> None:  # noqa: B006
        super().__init__()
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels
        self.net = nn.Sequential()
        channels = [in_channels] + hidden_channels[:-1]  # noqa: RUF005
        for in_channels, out_channels in zip(channels, hidden_channels):  # noqa: B905
            self.net.append(nn.Conv1d(in_channels, out_channels, kernel_size=3))
            self.net.append(nn.AvgPool1d(kernel_size=2))
        self.net.append(nn.Flatten())
        self.net.append(nn.Linear(6 * hidden_channels[-1], 1))

    def forward(self, x: Any) -> Any:
        x = x.permute(0, 2, 1)
        return self.net(x)


class ModelRNN(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.gru = nn.GRU(input_size=input_size, hidden_size=hidden_size, batch_first=True)
        self.activation = nn.ReLU()
        self.output = nn.Linear(hidden_size, 1)

    def forward(self, x: Any) -> Any:
        _, hidden = self.gru(x)
        hidden = hidden.squeeze(0)
        hidden = self.activation(hidden)
        return self.output(hidden)


NETWORKS = {
    "DNN": lambda: ModelDNN(30 * 5),
    "CNN": lambda: ModelCNN(5),
    "RNN": lambda: ModelRNN(5, 4),
}


def _series(rows: int) -> np.ndarray:
    """Made-up prices of the section's five fields."""
    generator = np.random.RandomState(0)
    close = 1000 + 200 * np.sin(np.arange(rows) / 150) + generator.normal(0, 4, rows).cumsum()
    return np.stack(
        [
            close + generator.normal(0, 3, rows),
            close + 5,
            close - 5,
            close,
            generator.uniform(1e5, 5e5, rows),
        ],
        axis=1,
    )


def _windows(scaled: np.ndarray, N: int = 30) -> tuple[Any, Any]:
    X = np.stack([scaled[i : i + N] for i in range(len(scaled) - N)])
    return torch.tensor(X).float(), torch.tensor(scaled[N:, 3:4]).float()


def test_the_scale_is_fitted_on_the_training_part_alone():
    pandas = pytest.importorskip("pandas")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    from taper.studies.prices import Scaler

    df = pandas.DataFrame(_series(1000), columns=FIELDS)
    mms = preprocessing.MinMaxScaler()
    mms.fit(df.iloc[:-200][FIELDS])
    expected = mms.transform(df[FIELDS])
    ours = Scaler(_series(1000)[:-200]).scale(_series(1000))

    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)
    assert ours[:-200].min() == 0
    assert ours[:-200].max() == pytest.approx(1)


def test_4027_rows_give_3197_windows_to_learn_from_and_800_to_test():
    X, y = _windows(_series(4027))

    N = -800
    X_train, X_test = X[:N], X[N:]
    y_train, y_test = y[:N], y[N:]
    trainloader = DataLoader(TensorDataset(X_train, y_train), 64, True)

    assert str((X_train.shape, X_test.shape)) == (
        "(torch.Size([3197, 30, 5]), torch.Size([800, 30, 5]))"
    )
    assert y_train.shape == (3197, 1)
    assert y_test.shape == (800, 1)
    assert len(trainloader) == 50


def test_the_cnn_shortens_thirty_days_to_six():
    net = ModelCNN(5).net
    x = torch.zeros(2, 5, 30)
    lengths = [x.shape[2]]

    for layer in net[:4]:
        x = layer(x)
        lengths.append(x.shape[2])

    assert lengths == [30, 28, 14, 12, 6]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns_by_the_loop_of_the_section(name: str):
    values = _series(430)
    low, high = values[:-100].min(axis=0), values[:-100].max(axis=0)
    X, y = _windows((values - low) / (high - low))
    X_train, X_test, y_train, y_test = X[:-100], X[-100:], y[:-100], y[-100:]
    torch.manual_seed(0)
    trainloader = DataLoader(TensorDataset(X_train, y_train), 64, True)
    model = NETWORKS[name]()
    optimizer = optim.Adam(model.parameters(), lr=0.005)
    criterion = nn.MSELoss()
    history = []

    for i in range(20):
        for data, target in trainloader:
            y_pred = model(data)
            loss = criterion(y_pred, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if (i + 1) % 10 == 0:
            with torch.no_grad():
                train_mse = criterion(model(X_train), y_train)
                test_mse = criterion(model(X_test), y_test)
                history.append((train_mse.item(), test_mse.item()))

    assert history[-1][0] < 0.7 * y_train.var().item()
    assert history[-1][0] < history[0][0]
    assert all(np.isfinite(test) for _, test in history)
