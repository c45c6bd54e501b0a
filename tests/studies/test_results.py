"""What the studies find: the figures of the learning path, and the same under PyTorch."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from taper import cli
from taper.studies import engine, walk

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")


def _study(out: pathlib.Path, name: str, *arguments: str) -> Any:
    assert cli.main(["study", name, "--out", str(out), *arguments]) == 0
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


def test_autograd_prints_the_gradients_of_the_learning_path(tmp_path: pathlib.Path):
    study = engine.load("autograd", "taper")

    pieces, _ = walk.perform(study.walkthrough)

    outputs = [piece.output for piece in pieces]
    assert outputs[1] == "None None True None None True\n" * 2
    assert outputs[3] == "False False False False False\n"
    assert outputs[4].startswith("UserWarning: The .grad attribute of a Tensor that is not a leaf")
    assert outputs[4].endswith("None None None None None\n")
    assert outputs[5].split() == [
        "MulBackward0",
        "AddBackward0",
        "SubBackward0",
        "PowBackward0",
        "AddBackward0",
    ]
    assert outputs[7] == "tensor(-28.) tensor(-18.) None None\n"
    assert outputs[8] == "-28\n-18\n"


def test_tensors_prints_what_the_learning_path_prints():
    study = engine.load("tensors", "taper")

    pieces, _ = walk.perform(study.creation)

    outputs = [piece.output for piece in pieces]
    assert outputs[0] == "tensor([1, 2]) tensor([1., 2.])\ntorch.int64 torch.float32\n"
    assert outputs[1] == "tensor(3) torch.Size([3]) torch.float32\n"
    assert outputs[2] == (
        "t1: tensor([1, 2], dtype=torch.int32)\n"
        "t2: tensor([1, 2], dtype=torch.int32)\na: [1 2]\nb: [3 2]\n"
    )
    assert outputs[-1] == "tensor([0, 1, 2, 3, 4])\n"


@pytest.mark.parametrize("name", ["tensors", "autograd"])
def test_walks_print_the_same_under_pytorch(name: str):
    pytest.importorskip("torch")
    walks = {"tensors": ("creation", "features"), "autograd": ("walkthrough",)}[name]
    outputs: dict[str, list[str]] = {}
    for root in engine.ENGINES:
        study = engine.load(name, root)
        study.torch.manual_seed(0)
        pieces = [piece for each in walks for piece in walk.perform(getattr(study, each))[0]]
        # The number of names differs by version, the warning by the file it names.
        outputs[root] = [
            p.output for p in pieces if "len(names)" not in p.source and "Warning" not in p.output
        ]

    assert outputs["taper"] == outputs["torch"]


def test_the_derivatives_of_the_activations_agree_with_differences(tmp_path: pathlib.Path):
    metrics = _study(tmp_path, "activations")["metrics"]

    assert len(metrics) == 6
    for values in metrics.values():
        assert values["largest_error_of_the_derivative"] < 1e-8


def test_the_digits_network_reaches_97_percent(tmp_path: pathlib.Path):
    results = _study(tmp_path, "digits")

    assert results["epochs"] == 50
    assert results["metrics"]["network"]["test_accuracy"] >= 0.97
    assert results["metrics"]["forest"]["test_accuracy"] >= 0.95


def test_lenet_learns_the_enlarged_digits(tmp_path: pathlib.Path):
    results = _study(tmp_path, "lenet", "--samples", "600", "--epochs", "6")

    assert results["metrics"]["test_accuracy"] > 0.8


def test_the_baseline_of_the_stock_study_knows_nothing_of_returns(tmp_path: pathlib.Path):
    results = _study(tmp_path, "stock", "--rows", "300", "--epochs", "2")

    assert results["metrics"]["windows"] == {"train": 216, "test": 54}
    baseline = results["metrics"]["tomorrow = today"]
    assert baseline["r2"] > 0.5
    assert -0.1 < baseline["r2_of_return"] <= 0
    assert set(results["timings"]) == {"DNN", "CNN", "GRU", "total"}


def test_r2_is_one_for_the_truth_and_zero_for_the_mean():
    stock = engine.load("stock", "taper")
    actual = np.array([1.0, 2.0, 4.0])

    assert stock.r2(actual, actual) == 1
    assert stock.r2(actual, np.full(3, actual.mean())) == 0


@pytest.mark.parametrize("rows", [1047, 4027, 60])
def test_the_last_800_windows_or_a_fifth_are_for_testing(rows: int):
    stock = engine.load("stock", "taper")
    series = stock.prices.Prices("it", list(range(rows)), np.random.RandomState(0).rand(rows, 5))

    market = stock.prepare(series)

    test = {1047: 204, 4027: 800, 60: 6}[rows]
    assert len(market.X_test) == len(market.y_test) == len(market.test_dates) == test
    assert len(market.X_train) == rows - 30 - test
    assert market.test_dates[-1] == rows - 1
    # The scale is that of everything before the first tested day.
    assert float(market.scaler.low[3]) == series.values[:-test, 3].min()


@pytest.mark.parametrize("cell", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_sequence_task_is_solved(number: int, cell: str):
    sequences = engine.load("sequences", "taper")
    sequences.torch.manual_seed(0)
    task = sequences.TASKS[number]()
    sequences.torch.manual_seed(0)

    _, history = sequences.train(task, cell, 40, sequences.Stopwatch())

    assert history["score"][-1] >= task.threshold


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_the_encoder_and_decoder_write_letters_in_order(cell: str):
    sequences = engine.load("sequences", "taper")
    sequences.torch.manual_seed(0)
    task = sequences.LettersInOrder()
    sequences.torch.manual_seed(0)

    network, history = sequences.train(task, cell, 12, sequences.Stopwatch())

    assert history["score"][-1] >= task.threshold
    assert "→" in task.example(network)


def test_words_are_encoded_with_an_end_mark_and_decoded_to_it():
    sequences = engine.load("sequences", "taper")

    letters = sequences.encode(["ab", "cde"])

    assert letters.tolist() == [[1, 2, 0, 0], [3, 4, 5, 0]]
    assert sequences.decode(letters) == ["ab", "cde"]
