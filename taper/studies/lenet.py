"""LeNet-5 reads handwritten digits; its two convolutions are looked at from inside."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from taper.studies import mnist, plots
from taper.studies.engine import DataLoader, StudyError, TensorDataset, functional, nn, optim, torch
from taper.studies.progress import progress
from taper.studies.report import Report
from taper.studies.training import Stopwatch, accuracy, train_epoch

TITLE = "LeNet-5 and what its convolutions see"
EPOCHS = 10
# With few pictures, batches of 256 would leave too few steps in ten epochs.
_BATCH, _SMALL_BATCH, _FEW = 256, 64, 20_000


class LeNet5(nn.Module):
    """Two convolutions with pooling, three linear layers; 28 by 28 points in, ten scores out."""

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
        """Scores of shape (batch, 10) from pictures of shape (batch, 1, 28, 28)."""
        x = functional.relu(self.conv1(x))
        x = self.pool1(x)
        x = functional.relu(self.conv2(x))
        x = self.pool2(x)
        x = x.view(len(x), -1)
        x = functional.relu(self.fc1(x))
        x = functional.relu(self.fc2(x))
        return self.fc3(x)

    def feature_maps(self, x: Any) -> tuple[Any, Any]:
        """What the two convolutions give: (batch, 6, 28, 28) and (batch, 16, 10, 10)."""
        first = self.conv1(x)
        return first, self.conv2(self.pool1(functional.relu(first)))


def add_options(parser: argparse.ArgumentParser) -> None:
    """The study's own options."""
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        help="MNIST's four IDX files, or its two test "
        "files (default: scikit-learn's small digits, enlarged)",
    )
    parser.add_argument(
        "--download", action="store_true", help="fetch MNIST into the folder of --data first"
    )
    parser.add_argument(
        "--samples", type=int, metavar="N", help="learn from the first N pictures only"
    )
    parser.add_argument(
        "--digits",
        default="0,1",
        metavar="LIST",
        help="numbers of the test pictures whose feature maps are drawn (default: 0,1)",
    )


def run(options: argparse.Namespace, report: Report) -> None:
    """Trains the network, then draws what it makes of a few test pictures."""
    if options.download and not options.data:
        raise StudyError("--download needs a folder to put MNIST into: --data FOLDER")
    data = mnist.load(options.data, options.download)
    if options.samples is not None:
        if not 1 <= options.samples <= len(data.X_train):
            raise StudyError(
                f"--samples {options.samples}: there are {len(data.X_train)} pictures to learn from"
            )
        data = data._replace(
            X_train=data.X_train[: options.samples], y_train=data.y_train[: options.samples]
        )
    shown = _numbers(options.digits, len(data.X_test))
    report.text(
        f"{data.about} {len(data.X_train)} pictures to learn from, {len(data.X_test)} to "
        "be tested on.",
        say=True,
    )

    watch = Stopwatch()
    torch.manual_seed(options.seed)
    model = LeNet5()
    history = train(model, optim.Adam(model.parameters()), data, options.epochs, watch)
    report.histories["LeNet-5"] = history
    report.timings["LeNet-5"] = watch.seconds
    report.metrics.update(
        {
            "train_accuracy": history["train_accuracy"][-1],
            "test_accuracy": history["test_accuracy"][-1],
        }
    )
    report.table(
        ("epoch", "loss", "train accuracy", "test accuracy"),
        [
            (epoch, *(f"{history[key][epoch - 1]:.4f}" for key in history))
            for epoch in range(1, options.epochs + 1)
        ],
        f"Training took {watch.seconds:.1f} s",
    )
    report.figure(
        "accuracy",
        plots.lines(
            {"training": history["train_accuracy"], "test": history["test_accuracy"]},
            xlabel="epoch",
            ylabel="accuracy",
        ),
        "Accuracy after each epoch.",
    )
    report.heading("What the convolutions see")
    report.text(
        "A convolution slides a small pattern over the picture and answers where it fits. "
        "The first six maps show edges by their direction; the sixteen after them combine "
        "edges into parts of digits."
    )
    for number in shown:
        _draw_maps(model, data, number, report)


def train(
    model: LeNet5, optimizer: Any, data: mnist.Pictures, epochs: int, watch: Stopwatch
) -> dict[str, list[float]]:
    """Trains the network; its loss and accuracies after each epoch."""
    batch = _SMALL_BATCH if len(data.X_train) < _FEW else _BATCH
    dataset = TensorDataset(data.X_train, data.y_train)
    trainloader = DataLoader(dataset, batch_size=batch, shuffle=True)
    criterion = nn.CrossEntropyLoss()
    history: dict[str, list[float]] = {"loss": [], "train_accuracy": [], "test_accuracy": []}
    for _ in progress(range(epochs), "LeNet-5"):
        with watch:
            history["loss"].append(train_epoch(model, trainloader, criterion, optimizer))
        history["train_accuracy"].append(accuracy(_scores(model, data.X_train), data.y_train))
        history["test_accuracy"].append(accuracy(_scores(model, data.X_test), data.y_test))
    return history


def _scores(model: LeNet5, X: Any) -> Any:
    """The network's answers, a thousand pictures at a time to save memory."""
    with torch.no_grad():
        return torch.cat([model(part) for part in X.split(1000)])


def _numbers(text: str, count: int) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise StudyError(f"--digits {text!r} is not a list of numbers such as 0,1") from None
    for number in numbers:
        if not 0 <= number < count:
            raise StudyError(
                f"--digits {text}: the test pictures have the numbers 0 to {count - 1}"
            )
    return numbers


def _draw_maps(model: LeNet5, data: mnist.Pictures, number: int, report: Report) -> None:
    with torch.no_grad():
        picture = data.X_test[number : number + 1]
        answer = model(picture).argmax().item()
        first, second = model.feature_maps(picture)
    about = f"test picture {number}, a {data.y_test[number].item()} (read as {answer})"
    report.figure(
        f"picture-{number}",
        plots.pictures([_image(picture[0, 0])], 1),
        about[0].upper() + about[1:] + ".",
    )
    for name, maps, columns in (("conv1", first, 6), ("conv2", second, 8)):
        report.figure(
            f"{name}-{number}",
            plots.pictures([_image(m) for m in maps[0]], columns),
            f"The {maps.shape[1]} maps of {name} for {about}.",
        )


def _image(map: Any) -> np.ndarray:
    return map.numpy()
