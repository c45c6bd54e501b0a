"""Section 3 of the learning path: data, network, training, on handwritten digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import taper as torch
import taper.nn.functional as F
from taper import nn, optim
from taper.utils.data import DataLoader, Dataset, TensorDataset


class MyDataset(Dataset):
    def __init__(self, x: Any, y: Any) -> None:
        super().__init__()
        self.x, self.y = x, y

    def __getitem__(self, index: int) -> Any:
        return self.x[index], self.y[index]

    def __len__(self) -> int:
        return len(self.x)


class Model(nn.Module):
    """Linear layers only, as in the section."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1 = nn.Linear(64, 64)
        self.linear2 = nn.Linear(64, 32)
        self.linear3 = nn.Linear(32, 10)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.linear1(x))
        x = F.relu(self.linear2(x))
        return self.linear3(x)


def test_a_dataset_of_ones_own_goes_through_the_loader_in_batches():
    x, y = torch.arange(300.0).reshape(300, 1), torch.arange(300)

    dataloader = DataLoader(MyDataset(x, y), batch_size=128, shuffle=True)
    batches = list(dataloader)

    assert len(dataloader) == 3
    assert [len(data) for data, _ in batches] == [128, 128, 44]
    assert all((data[:, 0].long() == label).all() for data, label in batches)
    assert sorted(label for _, labels in batches for label in labels.tolist()) == list(range(300))


def test_tensor_dataset_indexes_its_tensors_along_the_first_dimension():
    tensor_x, tensor_y = torch.arange(6.0).reshape(3, 2), torch.tensor([7, 8, 9])

    my_dataset = TensorDataset(tensor_x, tensor_y)

    assert len(my_dataset) == 3
    assert [part.tolist() for part in my_dataset[1]] == [[2.0, 3.0], 8]


def test_tensor_dataset_refuses_tensors_of_different_lengths():
    with pytest.raises(AssertionError, match="Size mismatch between tensors"):
        TensorDataset(torch.zeros(3), torch.zeros(4))


def test_a_module_registers_its_submodules():
    class Convolutions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(1, 20, 5)
            self.conv2 = nn.Conv2d(20, 20, 5)

        def forward(self, x: Any) -> Any:
            x = F.relu(self.conv1(x))
            return F.relu(self.conv2(x))

    model = Convolutions()

    assert [name for name, _ in model.named_parameters()] == [
        "conv1.weight",
        "conv1.bias",
        "conv2.weight",
        "conv2.bias",
    ]
    assert model(torch.zeros(1, 1, 28, 28)).shape == (1, 20, 20, 20)
    assert all(p.dtype == torch.float64 for p in model.to(torch.float64).parameters())


@pytest.mark.parametrize(
    "name",
    [
        "Linear",
        "Conv2d",
        "RNN",
        "Sigmoid",
        "Tanh",
        "ReLU",
        "CrossEntropyLoss",
        "MSELoss",
        "LayerNorm",
        "Dropout",
    ],
)
def test_nn_has_the_modules_the_section_names(name: str):
    assert issubclass(getattr(nn, name), nn.Module)


def test_labels_must_be_integers_for_the_cross_entropy():
    prob, label = torch.zeros(4, 10), torch.Tensor([1, 2, 3, 4])

    with pytest.raises(RuntimeError):
        nn.CrossEntropyLoss()(prob, label)

    assert nn.CrossEntropyLoss()(prob, label.long()).item() == pytest.approx(np.log(10))


def test_the_network_learns_scikit_learns_digits_beside_a_random_forest():
    datasets = pytest.importorskip("sklearn.datasets")
    ensemble = pytest.importorskip("sklearn.ensemble")
    selection = pytest.importorskip("sklearn.model_selection")
    X, y = datasets.load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = selection.train_test_split(X, y, random_state=1)
    forest = ensemble.RandomForestClassifier(n_estimators=30, random_state=0).fit(X_train, y_train)
    assert forest.score(X_test, y_test) > 0.95

    torch.manual_seed(0)
    X_train_tensor = torch.Tensor(X_train)
    y_train_tensor = torch.Tensor(y_train).long()
    dataset = TensorDataset(X_train_tensor, y_train_tensor)
    dataloader = DataLoader(dataset, batch_size=128, shuffle=True)
    X_test_tensor = torch.Tensor(X_test)
    y_test_tensor = torch.Tensor(y_test).long()

    model = Model()
    creterion = nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    history = []
    for epoch in range(15):
        for data, label in dataloader:
            optimizer.zero_grad()
            prob = model(data)
            loss = creterion(prob, label)
            loss.backward()
            optimizer.step()
        if (epoch + 1) % 5 == 0:
            with torch.no_grad():
                train_pred = model(X_train_tensor).argmax(dim=1)
                acc_train = (train_pred == y_train_tensor).float().mean()
                test_pred = model(X_test_tensor).argmax(dim=1)
                acc_test = (test_pred == y_test_tensor).float().mean()
                history.append((acc_train.item(), acc_test.item()))

    assert [train for train, _ in history] == sorted(train for train, _ in history)
    assert history[0][1] > 0.8
    assert history[-1][1] > 0.93
