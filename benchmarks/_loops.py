"""The five training loops of the learning path, written once for any framework with the interface.

`loops(torch)` gives them by name; `torch` is PyTorch or taper. Each is (one pass over its loader,
steps in the pass): the networks, batch sizes, optimizers and the order of the five lines are the
path's; the data are random numbers of the same shapes, because time does not depend on values.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np


class Loop(NamedTuple):
    """One pass over the training data, and the number of its steps."""

    epoch: Callable[[], None]
    steps: int


def _windows(torch: Any) -> tuple[Any, Any]:
    """3,197 windows of 30 days with 5 columns, and tomorrow's price."""
    draw = np.random.default_rng(0)
    x = draw.random((3197, 30, 5), np.float32)
    return torch.from_numpy(x), torch.from_numpy(x[:, -1:, 3].copy())


def _networks(torch: Any) -> dict[str, Any]:
    nn = torch.nn

    class DNN(nn.Module):  # type: ignore[misc]
        def __init__(self, input_size: int, hiddens: list[int] = [64, 32, 8]) -> None:  # noqa: B006
            super().__init__()
            self.net = nn.Sequential(nn.Flatten())
            for before, after in zip([input_size, *hiddens[:-1]], hiddens, strict=True):
                self.net.append(nn.Linear(before, after))
                self.net.append(nn.ReLU())
            self.net.append(nn.Linear(hiddens[-1], 1))

        def forward(self, x: Any) -> Any:
            return self.net(x)

    class CNN(nn.Module):  # type: ignore[misc]
        def __init__(self, in_channels: int, hidden_channels: list[int] = [8, 4]) -> None:  # noqa: B006
            super().__init__()
            self.net = nn.Sequential()
            sizes = [in_channels, *hidden_channels]
            for before, after in pairwise(sizes):
                self.net.append(nn.Conv1d(before, after, kernel_size=3))
                self.net.append(nn.AvgPool1d(kernel_size=2))
            self.net.append(nn.Flatten())
            self.net.append(nn.Linear(6 * hidden_channels[-1], 1))

        def forward(self, x: Any) -> Any:
            return self.net(x.permute(0, 2, 1))

    class RNN(nn.Module):  # type: ignore[misc]
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__()
            self.gru = nn.GRU(input_size=input_size, hidden_size=hidden_size, batch_first=True)
            self.activation = nn.ReLU()
            self.output = nn.Linear(hidden_size, 1)

        def forward(self, x: Any) -> Any:
            _, hidden = self.gru(x)
            return self.output(self.activation(hidden.squeeze(0)))

    class Digits(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear1 = nn.Linear(64, 64)
            self.linear2 = nn.Linear(64, 32)
            self.linear3 = nn.Linear(32, 10)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.linear1(x))
            x = torch.relu(self.linear2(x))
            return self.linear3(x)

    class LeNet5(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
            self.pool1 = nn.MaxPool2d((2, 2))
            self.conv2 = nn.Conv2d(6, 16, 5)
            self.pool2 = nn.MaxPool2d((2, 2))
            self.fc1 = nn.Linear(16 * 5 * 5, 120)
            self.fc2 = nn.Linear(120, 84)
            self.fc3 = nn.Linear(84, 10)

        def forward(self, x: Any) -> Any:
            relu = nn.functional.relu
            x = self.pool1(relu(self.conv1(x)))
            x = self.pool2(relu(self.conv2(x)))
            x = x.view(len(x), -1)
            x = relu(self.fc1(x))
            x = relu(self.fc2(x))
            return self.fc3(x)

    return {"DNN": DNN, "CNN": CNN, "RNN": RNN, "Digits": Digits, "LeNet5": LeNet5}


def _loop(torch: Any, model: Any, x: Any, y: Any, batch: int, criterion: Any) -> Loop:
    from_data = torch.utils.data
    loader = from_data.DataLoader(from_data.TensorDataset(x, y), batch_size=batch, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters())

    def epoch() -> None:
        for inputs, targets in loader:
            prediction = model(inputs)
            loss = criterion(prediction, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return Loop(epoch, len(loader))


def loops(torch: Any) -> dict[str, Loop]:
    """The five loops, by the names of the learning path."""
    torch.manual_seed(0)
    networks = _networks(torch)
    windows = _windows(torch)
    draw = np.random.default_rng(0)
    digits = (
        torch.from_numpy(draw.integers(0, 17, (1347, 64)).astype(np.float32)),
        torch.from_numpy(draw.integers(0, 10, 1347)),
    )
    pictures = (
        torch.from_numpy(draw.random((2048, 1, 28, 28), np.float32)),
        torch.from_numpy(draw.integers(0, 10, 2048)),
    )
    square, entropy = torch.nn.MSELoss(), torch.nn.CrossEntropyLoss()
    return {
        "stock DNN": _loop(torch, networks["DNN"](150), *windows, 64, square),
        "stock CNN": _loop(torch, networks["CNN"](5), *windows, 64, square),
        "stock GRU": _loop(torch, networks["RNN"](5, 4), *windows, 64, square),
        "digits": _loop(torch, networks["Digits"](), *digits, 128, entropy),
        "LeNet-5": _loop(torch, networks["LeNet5"](), *pictures, 256, entropy),
    }
