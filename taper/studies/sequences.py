"""Four shapes of sequence task, each solved by a plain recurrent network, an LSTM and a GRU.

N to 1 reads a series and says one thing; 1 to N is told one thing and writes a series; N to N
answers at every step; N to M reads to the end and then writes (an encoder and a decoder).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

from taper.studies import plots
from taper.studies.engine import DataLoader, TensorDataset, functional, nn, optim, torch
from taper.studies.progress import progress
from taper.studies.report import Report
from taper.studies.training import Stopwatch

TITLE = "Sequences: N to 1, 1 to N, N to N, N to M"
EPOCHS = 60

CELLS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
# "." ends a word, pads it, and is what the writer sees before its first letter.
ALPHABET = ".abcdefghijklmnopqrstuvwxyz"
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Reader(nn.Module):
    """Reads a series; gives the cell's output at every step and its last state."""

    def __init__(self, cell: str, features: int, hidden: int) -> None:
        super().__init__()
        self.cell = CELLS[cell](features, hidden, batch_first=True)

    def forward(self, x: Any) -> Any:
        """Outputs (batch, steps, hidden) and the state, from x (batch, steps, features)."""
        return self.cell(x)


class Writer(nn.Module):
    """Writes letters one after the other, each from the letter before and the state."""

    def __init__(self, cell: str, hidden: int) -> None:
        super().__init__()
        self.letters = nn.Embedding(len(ALPHABET), 12)
        self.cell = CELLS[cell](12, hidden, batch_first=True)
        self.scores = nn.Linear(hidden, len(ALPHABET))

    def forward(self, state: Any, words: Any) -> Any:
        """Scores of each letter of `words` (batch, length), given the letters before it."""
        before = torch.cat([torch.zeros_like(words[:, :1]), words[:, :-1]], dim=1)
        outputs, _ = self.cell(self.letters(before), state)
        return self.scores(outputs)

    def write(self, state: Any, length: int) -> Any:
        """The likeliest letters (batch, length), each fed back to find the next."""
        hidden = state[0] if isinstance(state, tuple) else state
        letter = torch.zeros(hidden.shape[1], 1, dtype=torch.int64)
        written = []
        for _ in range(length):
            output, state = self.cell(self.letters(letter), state)
            letter = self.scores(output).argmax(dim=2)
            written.append(letter)
        return torch.cat(written, dim=1)


class Task:
    """One task: its data, its network, its loss, and when it counts as solved."""

    shape: str
    about: str
    metric: str
    threshold: float
    train: tuple[Any, ...]
    test: tuple[Any, ...]

    def network(self, cell: str) -> Any:
        """An untrained network with this kind of cell."""
        raise NotImplementedError

    def loss(self, network: Any, *batch: Any) -> Any:
        """How far the network is from the answers of the batch."""
        raise NotImplementedError

    def measure(self, network: Any) -> float:
        """The metric on the test data."""
        raise NotImplementedError

    def example(self, network: Any) -> str:
        """One test sample and the network's answer, in words."""
        raise NotImplementedError


class NextValue(Task):
    """N to 1: twenty points of a sine of unknown pace and phase; what is the next?"""

    shape = "N to 1"
    about = "the next point of a sine wave, from twenty"
    metric = "R2"
    threshold = 0.98

    class Network(nn.Module):
        """Reads the series, answers from the last step."""

        def __init__(self, cell: str) -> None:
            super().__init__()
            self.reader = Reader(cell, 1, 16)
            self.answer = nn.Linear(16, 1)

        def forward(self, x: Any) -> Any:
            """Values (batch, 1) from series (batch, steps, 1)."""
            return self.answer(self.reader(x)[0][:, -1])

    def __init__(self) -> None:
        pace = 0.2 + 0.5 * torch.rand(640, 1)
        waves = torch.sin(torch.arange(21) * pace + 2 * math.pi * torch.rand(640, 1))
        X, y = waves[:, :-1].unsqueeze(2), waves[:, -1:]
        self.train, self.test = (X[:512], y[:512]), (X[512:], y[512:])

    def network(self, cell: str) -> Any:
        return self.Network(cell)

    def loss(self, network: Any, *batch: Any) -> Any:
        X, y = batch
        return functional.mse_loss(network(X), y)

    def measure(self, network: Any) -> float:
        X, y = self.test
        return 1 - float(functional.mse_loss(network(X), y) / y.var(unbiased=False))

    def example(self, network: Any) -> str:
        X, y = self.test
        before = ", ".join(f"{value:.2f}" for value in X[0, -3:, 0].tolist())
        return f"..., {before} → {network(X[:1]).item():.2f} (truly {y[0].item():.2f})"


class NameOfDigit(Task):
    """1 to N: a digit is given, its name is written."""

    shape = "1 to N"
    about = "the name of a digit, letter by letter"
    metric = "words right"
    threshold = 1.0

    class Network(nn.Module):
        """Turns the digit into the writer's first state."""

        def __init__(self, cell: str) -> None:
            super().__init__()
            self.first = nn.Embedding(10, 32)
            self.writer = Writer(cell, 32)

        def state(self, digits: Any) -> Any:
            """The state to begin writing with."""
            hidden = self.first(digits).unsqueeze(0)
            # An LSTM has a second state, its memory, which begins empty.
            return (hidden, torch.zeros_like(hidden)) if _is_lstm(self.writer) else hidden

    def __init__(self) -> None:
        self.words = encode(_DIGITS)
        digits = torch.arange(10)
        # All there is to know is ten words: the test is whether they can be written unaided.
        self.train = (digits.repeat(8), self.words.repeat(8, 1))
        self.test = (digits, self.words)

    def network(self, cell: str) -> Any:
        return self.Network(cell)

    def loss(self, network: Any, *batch: Any) -> Any:
        digits, words = batch
        return _letters_loss(network.writer(network.state(digits), words), words)

    def measure(self, network: Any) -> float:
        digits, words = self.test
        written = network.writer.write(network.state(digits), words.shape[1])
        return _share_of_equal_rows(written, words)

    def example(self, network: Any) -> str:
        digit = self.test[0][7:8]
        written = network.writer.write(network.state(digit), self.words.shape[1])
        return f"7 → {decode(written)[0]}"


class Brackets(Task):
    """N to N: for each character of a text, is it inside brackets?"""

    shape = "N to N"
    about = "for each character, whether it stands in brackets"
    metric = "characters right"
    threshold = 0.98
    alphabet = "abc()"

    class Network(nn.Module):
        """Reads the text and answers at every step."""

        def __init__(self, cell: str, characters: int) -> None:
            super().__init__()
            self.reader = Reader(cell, characters, 16)
            self.answer = nn.Linear(16, 2)

        def forward(self, x: Any) -> Any:
            """Scores (batch, steps, 2) from characters (batch, steps, alphabet)."""
            return self.answer(self.reader(x)[0])

    def __init__(self) -> None:
        characters = torch.randint(0, 3, (640, 16))
        inside = torch.zeros(640, 16, dtype=torch.int64)
        is_open = torch.zeros(640, dtype=torch.bool)
        for step in range(16):
            turn = torch.rand(640) < 0.25
            characters[turn & ~is_open, step] = 3
            characters[turn & is_open, step] = 4
            inside[:, step] = is_open & ~turn
            is_open = is_open ^ turn
        X = functional.one_hot(characters, len(self.alphabet)).float()
        self.train, self.test = (X[:512], inside[:512]), (X[512:], inside[512:])

    def network(self, cell: str) -> Any:
        return self.Network(cell, len(self.alphabet))

    def loss(self, network: Any, *batch: Any) -> Any:
        X, inside = batch
        return _letters_loss(network(X), inside)

    def measure(self, network: Any) -> float:
        X, inside = self.test
        return float((network(X).argmax(dim=2) == inside).float().mean())

    def example(self, network: Any) -> str:
        X = self.test[0][:1]
        text = "".join(self.alphabet[i] for i in X[0].argmax(dim=1).tolist())
        return f"{text} → {''.join('.x'[i] for i in network(X)[0].argmax(dim=1).tolist())}"


class LettersInOrder(Task):
    """N to M: a word of five letters is read; then each letter in it is written once, in order."""

    shape = "N to M"
    about = "the letters of a word, each once, in alphabetical order"
    metric = "words right"
    threshold = 0.95

    class Network(nn.Module):
        """An encoder that reads the word; its last state is where the writer begins."""

        def __init__(self, cell: str) -> None:
            super().__init__()
            self.letters = nn.Embedding(len(ALPHABET), 12)
            self.reader = Reader(cell, 12, 32)
            self.writer = Writer(cell, 32)

        def state(self, words: Any) -> Any:
            """The reader's last state."""
            return self.reader(self.letters(words))[1]

    def __init__(self) -> None:
        # All words over six letters, shuffled, so that no word is both learned and tested.
        six = torch.arange(6) + ALPHABET.index("a")
        words = torch.cartesian_prod(*[six] * 5)[torch.randperm(6**5)[:2200]]
        answers = encode(["".join(sorted(set(word))) for word in decode(words)])
        self.train, self.test = (words[:2000], answers[:2000]), (words[2000:], answers[2000:])

    def network(self, cell: str) -> Any:
        return self.Network(cell)

    def loss(self, network: Any, *batch: Any) -> Any:
        words, answers = batch
        return _letters_loss(network.writer(network.state(words), answers), answers)

    def measure(self, network: Any) -> float:
        words, answers = self.test
        written = network.writer.write(network.state(words), answers.shape[1])
        return _share_of_equal_rows(written, answers)

    def example(self, network: Any) -> str:
        words, answers = self.test
        written = network.writer.write(network.state(words[:1]), answers.shape[1])
        return f"{decode(words)[0]} → {decode(written)[0]}"


TASKS = (NextValue, NameOfDigit, Brackets, LettersInOrder)


def encode(words: Sequence[str]) -> Any:
    """Letters as numbers, a row per word, padded with the end mark to one more than the longest."""
    length = max(map(len, words)) + 1
    return torch.tensor([[ALPHABET.index(c) for c in word.ljust(length, ".")] for word in words])


def decode(letters: Any) -> list[str]:
    """The words up to their end marks."""
    return ["".join(ALPHABET[i] for i in row).partition(".")[0] for row in letters.tolist()]


def run(options: argparse.Namespace, report: Report) -> None:
    """Trains every kind of cell on every task until the task is solved or the epochs are over."""
    report.text(
        "Each task is trained until it reaches its threshold on test data. Plain RNNs "
        "forget soonest, so the longer a task must remember, the more an LSTM or a GRU is "
        "worth."
    )
    rows, examples = [], []
    for kind in TASKS:
        torch.manual_seed(options.seed)
        task = kind()
        scores = {}
        for cell in CELLS:
            watch = Stopwatch()
            torch.manual_seed(options.seed)
            network, history = train(task, cell, options.epochs, watch)
            best = history["score"][-1]
            reached = best >= task.threshold
            key = f"{task.shape}, {cell}"
            scores[cell] = history["score"]
            report.histories[key] = history
            report.timings[key] = watch.seconds
            report.metrics[key] = {
                "metric": task.metric,
                "score": best,
                "reached": reached,
                "threshold": task.threshold,
                "epochs": len(history["score"]),
            }
            rows.append(
                (
                    task.shape,
                    cell,
                    task.metric,
                    f"{best:.4f}",
                    f"{task.threshold:.2f}",
                    "yes" if reached else "no",
                    len(history["score"]),
                    f"{watch.seconds:.1f} s",
                )
            )
            with torch.no_grad():
                examples.append((task.shape, cell, task.example(network)))
        report.heading(f"{task.shape}: {task.about}")
        report.figure(
            "scores-" + task.shape.replace(" ", "-"),
            plots.lines(scores, xlabel="epoch", ylabel=task.metric),
            f"{task.metric} on test data.",
        )
    report.heading("Results")
    report.table(
        ("task", "cell", "metric", "score", "threshold", "reached", "epochs", "training"),
        rows,
        f"Stopped at the threshold, or after {options.epochs} epochs",
    )
    report.table(("task", "cell", "an unseen sample and the answer"), examples, "Examples")


def train(
    task: Task, cell: str, epochs: int, watch: Stopwatch
) -> tuple[Any, dict[str, list[float]]]:
    """A trained network, and its loss and score after each epoch; stops when the task is solved."""
    network = task.network(cell)
    optimizer = optim.Adam(network.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(*task.train), batch_size=64, shuffle=True)
    history: dict[str, list[float]] = {"loss": [], "score": []}
    for _ in progress(range(epochs), f"{task.shape} {cell}"):
        with watch:
            total = 0.0
            for batch in loader:
                optimizer.zero_grad()
                loss = task.loss(network, *batch)
                loss.backward()
                # Through many steps a gradient can grow out of bounds; a long step would undo much.
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                total += loss.item()
        history["loss"].append(total / len(loader))
        with torch.no_grad():
            history["score"].append(task.measure(network))
        if history["score"][-1] >= task.threshold:
            break
    return network, history


def _is_lstm(writer: Writer) -> bool:
    return isinstance(writer.cell, nn.LSTM)


def _letters_loss(scores: Any, answers: Any) -> Any:
    return functional.cross_entropy(scores.flatten(0, 1), answers.flatten())


def _share_of_equal_rows(one: Any, other: Any) -> float:
    return float((one == other).all(dim=1).float().mean())
