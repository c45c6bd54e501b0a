"""Section 6 of the learning path: convolution, pooling, LeNet-5 on MNIST's files."""

from __future__ import annotations

import inspect
import pathlib
import struct
from typing import Any

import numpy as np
import pytest

import taper as torch
import taper.nn.functional as F
from taper import nn, optim
from taper.utils.data import DataLoader, TensorDataset


class LeNet5(nn.Module):
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
        x = F.relu(self.conv1(x))
        x = self.pool1(x)
        x = F.relu(self.conv2(x))
        x = self.pool2(x)
        x = x.view(len(x), -1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        x = self.fc3(x)
        return x


def test_one_convolution_is_the_sum_of_the_products():
    picture = torch.tensor([[0.0, 1.0, 0.0]] * 3)
    kernel = torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])

    assert F.conv2d(picture[None, None], kernel[None, None]).item() == -1.0


def test_pooling_folds_each_two_by_two_field():
    feature_map = torch.tensor([[6.0, 6, 6, 6], [4, 5, 5, 4], [2, 4, 4, 2], [2, 4, 4, 2]])[None]

    assert nn.MaxPool2d(2)(feature_map).tolist() == [[[6, 6], [4, 4]]]
    assert nn.AvgPool2d(2)(feature_map).tolist() == [[[5.25, 5.25], [3, 3]]]
    assert (4 * nn.AvgPool2d(2)(feature_map)).tolist() == [[[21, 21], [12, 12]]]


def _write_idx(path: pathlib.Path, values: np.ndarray) -> None:
    path.write_bytes(
        struct.pack(f">BBBB{values.ndim}i", 0, 0, 8, values.ndim, *values.shape)
        + values.astype(np.uint8).tobytes()
    )


def test_mnists_files_become_the_data_of_the_section(tmp_path: pathlib.Path):
    from taper.vision import datasets

    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pictures = {}
    for part, count in (("train", 12), ("t10k", 5)):
        pictures[part] = np.random.RandomState(0).randint(0, 256, (count, 28, 28))
        _write_idx(raw / f"{part}-images-idx3-ubyte", pictures[part])
        _write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)

    train = datasets.MNIST(str(tmp_path), download=False, train=True)
    test = datasets.MNIST(str(tmp_path), download=False, train=False)
    X_train = train.data.unsqueeze(1) / 255.0
    y_train = train.targets
    trainloader = DataLoader(TensorDataset(X_train, y_train), batch_size=256, shuffle=True)
    X_test = test.data.unsqueeze(1) / 255.0

    assert X_train.shape == (12, 1, 28, 28)
    assert X_train.dtype == torch.float32
    np.testing.assert_allclose(X_train[:, 0].numpy(), pictures["train"] / 255, rtol=1e-6)
    np.testing.assert_allclose(X_test[:, 0].numpy(), pictures["t10k"] / 255, rtol=1e-6)
    assert y_train.tolist() == [*range(10), 0, 1]
    assert test.targets.tolist() == [0, 1, 2, 3, 4]
    assert len(next(iter(trainloader))[0]) == 12


def test_lenet_has_the_shapes_of_the_section():
    model = LeNet5()
    x = torch.zeros(2, 1, 28, 28)

    first = model.conv1(x)
    second = model.conv2(model.pool1(first))

    assert first.shape == (2, 6, 28, 28)
    assert second.shape == (2, 16, 10, 10)
    assert model(x).shape == (2, 10)
    assert sum(p.numel() for p in model.parameters()) == 61706


def test_lenet_learns_by_the_loop_of_the_section():
    """Two kinds of bars stand in for digits, so that a few steps must be enough."""
    torch.manual_seed(0)
    X = torch.zeros(64, 1, 28, 28)
    X[:32, :, 8:12] = 1.0
    X[32:, :, :, 8:12] = 1.0
    X += 0.1 * torch.rand(64, 1, 28, 28)
    y = torch.arange(64) // 32
    trainloader = DataLoader(TensorDataset(X, y), batch_size=16, shuffle=True)
    model = LeNet5()
    optimizer = optim.Adam(model.parameters())
    criterion = nn.CrossEntropyLoss()

    for _ in range(8):
        for data, label in trainloader:
            pred = model(data)
            loss = criterion(pred, label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        acc = (model(X).argmax(dim=1) == y).float().mean().item()

    assert acc == 1.0


def test_conv2d_has_the_signature_of_the_section():
    parameters = inspect.signature(nn.Conv2d).parameters

    assert {
        name: p.default
        for name, p in parameters.items()
        if p.default is not inspect.Parameter.empty
    } == {
        "stride": 1,
        "padding": 0,
        "dilation": 1,
        "groups": 1,
        "bias": True,
        "padding_mode": "zeros",
        "device": None,
        "dtype": None,
    }
    assert list(parameters)[:3] == ["in_channels", "out_channels", "kernel_size"]


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (8, 18)),
        ({"padding": 1}, (10, 20)),
        ({"stride": 2, "padding": 1}, (5, 10)),
        ({"dilation": 2}, (6, 16)),
        ({"stride": (2, 1), "padding": (2, 0), "dilation": (1, 3)}, (6, 14)),
        ({"padding": "same"}, (10, 20)),
    ],
)
def test_the_height_and_width_after_a_convolution(options: dict[str, Any], shape: tuple[int, int]):
    convolution = nn.Conv2d(3, 4, 3, **options)

    assert convolution(torch.zeros(2, 3, 10, 20)).shape == (2, 4, *shape)


def test_kernels_need_not_be_square_and_exist_in_one_and_three_dimensions():
    assert nn.Conv2d(1, 2, (3, 5))(torch.zeros(1, 1, 10, 10)).shape == (1, 2, 8, 6)
    assert nn.Conv1d(5, 8, 3)(torch.zeros(1, 5, 30)).shape == (1, 8, 28)
    assert nn.Conv3d(1, 2, 3)(torch.zeros(1, 1, 5, 6, 7)).shape == (1, 2, 3, 4, 5)


def test_pooling_keeps_the_channels():
    assert nn.MaxPool1d(2)(torch.zeros(1, 3, 9)).shape == (1, 3, 4)
    assert nn.MaxPool2d((2, 3))(torch.zeros(1, 3, 8, 9)).shape == (1, 3, 4, 3)
    assert nn.MaxPool3d(2)(torch.zeros(1, 3, 4, 6, 8)).shape == (1, 3, 2, 3, 4)
    assert nn.AvgPool3d(2)(torch.zeros(1, 3, 4, 6, 8)).shape == (1, 3, 2, 3, 4)


def test_maxpool2d_takes_the_parameters_of_the_section():
    x = torch.arange(25.0).reshape(1, 1, 5, 5)
    pool = nn.MaxPool2d(
        kernel_size=2, stride=None, padding=1, dilation=1, return_indices=True, ceil_mode=True
    )

    values, indices = pool(x)

    assert values.tolist() == [[[[0, 2, 4], [10, 12, 14], [20, 22, 24]]]]
    assert indices.tolist() == values.long().tolist()
