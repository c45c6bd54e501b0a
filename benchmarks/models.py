"""Times and memory of training steps of convolutional networks, on taper and on PyTorch.

    python benchmarks/models.py [--rounds N] [--threads 1 2] [--only NAME] [--part times|memory]

A step is zero_grad, forward, loss, backward and the optimizer's step. ResNet-18 is the variant for
pictures of 32x32 (a stem of 3x3, no pooling behind it), 32 of them, with SGD and momentum; the MNIST
CNN is the network of PyTorch's basic example, 64 pictures, with Adadelta. Data are random numbers:
time does not depend on values. Prints markdown tables; _models.py says how they are measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from _models import classes, main


def _trained(
    torch: Any, model: Any, optimizer: Any, pictures: tuple[int, ...], loss: Any
) -> Callable[[], Any]:
    """A training step of the model."""
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(pictures, np.float32))
    y = torch.from_numpy(classes(pictures[0], 10))

    def step() -> Any:
        optimizer.zero_grad()
        made = loss(model(x), y)
        made.backward()
        optimizer.step()
        return made

    return step


def resnet18(torch: Any) -> Callable[[], Any]:
    """ResNet-18 for pictures of 32x32."""
    nn, F = torch.nn, torch.nn.functional

    def convolution(before: int, after: int, size: int, stride: int) -> Any:
        return nn.Conv2d(before, after, size, stride, size // 2, bias=False)

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1 = convolution(before, after, 3, stride)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = convolution(after, after, 3, 1)
            self.bn2 = nn.BatchNorm2d(after)
            self.shortcut = nn.Sequential()
            if stride != 1 or before != after:
                self.shortcut.append(convolution(before, after, 1, stride))
                self.shortcut.append(nn.BatchNorm2d(after))

        def forward(self, x: Any) -> Any:
            made = F.relu(self.bn1(self.conv1(x)))
            made = self.bn2(self.conv2(made))
            return F.relu(made + self.shortcut(x))

    class ResNet(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = convolution(3, 64, 3, 1)
            self.bn1 = nn.BatchNorm2d(64)
            self.layers = nn.Sequential()
            before = 64
            for after, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
                self.layers.append(Block(before, after, stride))
                self.layers.append(Block(after, after, 1))
                before = after
            self.fc = nn.Linear(512, 10)

        def forward(self, x: Any) -> Any:
            x = self.layers(F.relu(self.bn1(self.conv1(x))))
            return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))

    torch.manual_seed(0)
    model = ResNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    return _trained(torch, model, optimizer, (32, 3, 32, 32), F.cross_entropy)


def mnist_cnn(torch: Any) -> Callable[[], Any]:
    """The network of PyTorch's basic MNIST example."""
    nn, F = torch.nn, torch.nn.functional

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(1, 32, 3, 1)
            self.conv2 = nn.Conv2d(32, 64, 3, 1)
            self.dropout1 = nn.Dropout(0.25)
            self.dropout2 = nn.Dropout(0.5)
            self.fc1 = nn.Linear(9216, 128)
            self.fc2 = nn.Linear(128, 10)

        def forward(self, x: Any) -> Any:
            x = F.relu(self.conv1(x))
            x = F.relu(self.conv2(x))
            x = self.dropout1(F.max_pool2d(x, 2))
            x = F.relu(self.fc1(torch.flatten(x, 1)))
            return F.log_softmax(self.fc2(self.dropout2(x)), dim=1)

    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    return _trained(torch, model, optimizer, (64, 1, 28, 28), F.nll_loss)


MODELS = {
    "MNIST CNN, 64 of 28x28": mnist_cnn,
    "ResNet-18, 32 of 32x32": resnet18,
}

if __name__ == "__main__":
    main(__doc__.partition("\n")[0], MODELS)
