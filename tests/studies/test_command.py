"""`taper study`: every study runs, and every mistake is one message and exit status 2."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
import struct
from typing import Any

import numpy as np
import pytest

from taper import cli, studies

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

# Enough to run everything once; what is learned is tested with each study.
QUICK = {"lenet": ["--samples", "64"], "stock": ["--rows", "160"]}


def _run(name: str, *arguments: str) -> int:
    return cli.main(["study", name, *QUICK.get(name, []), *arguments])


def _results(folder: pathlib.Path) -> Any:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", studies.NAMES)
def test_a_study_writes_its_report_and_says_where(
    name: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / name

    status = _run(name, "--epochs", "1", "--seed", "5", "--threads", "1", "--out", str(out))

    assert status == 0
    assert capsys.readouterr().out.rstrip().endswith(str(out / "report.html"))
    results = _results(out)
    assert (results["study"], results["engine"], results["seed"]) == (name, "taper", 5)
    assert (results["epochs"], results["threads"]) == (1, 1)
    assert results["metrics"]
    assert set(os.listdir(out)) == {*results["pictures"], "report.html", "results.json"}


def test_without_out_the_report_goes_under_results(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    assert _run("activations") == 0

    assert (tmp_path / "results" / "activations" / "report.html").exists()


def test_the_same_seed_gives_the_same_numbers_and_another_others(tmp_path: pathlib.Path):
    histories = []
    for run, seed in enumerate(("1", "1", "2")):
        _run("digits", "--epochs", "2", "--seed", seed, "--out", str(tmp_path / str(run)))
        histories.append(_results(tmp_path / str(run))["histories"])

    assert histories[0] == histories[1]
    assert histories[0] != histories[2]


def test_all_runs_every_study_and_lists_them(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("taper.studies.collection.NAMES", ("tensors", "activations"))

    assert cli.main(["study", "all", "--out", str(tmp_path)]) == 0

    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    for name in ("tensors", "activations"):
        assert f'href="{name}/report.html"' in index
        assert (tmp_path / name / "report.html").exists()
    assert capsys.readouterr().out.rstrip().endswith(str(tmp_path / "index.html"))


def test_without_a_name_the_studies_are_listed(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["study"]) == 2
    listed = capsys.readouterr().err
    assert all(f"  {name} " in listed for name in (*studies.NAMES, "all"))
    assert cli.main(["study", "--help"]) == 0
    assert capsys.readouterr().out == listed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stocks"], "there is no study 'stocks'; choose from tensors, autograd"),
        (["digits", "--engine", "tensorflow"], "unknown engine 'tensorflow'"),
        (["digits", "--engine"], "expected one argument"),
        (["digits", "--epochs", "-1"], "must be at least 1, got -1"),
        (["digits", "--epochs", "0"], "must be at least 1, got 0"),
        (["digits", "--epochs", "many"], "'many' is not a whole number"),
        (["digits", "--seed", "-1"], "must be at least 0, got -1"),
        (["digits", "--seed", "4294967296"], "must be at most 4294967295"),
        (["digits", "--split", "-1"], "--split must be from 0"),
        (["digits", "--threads", "0"], "must be at least 1, got 0"),
        (["digits", "--size", "3"], "unrecognized arguments: --size 3"),
        (["lenet", "--data", "nowhere"], "--data 'nowhere' is not a folder"),
        (["lenet", "--download"], "--download needs a folder"),
        (["lenet", "--digits", "0,x"], "--digits '0,x' is not a list of numbers"),
        (["lenet", "--digits", "450"], "the test pictures have the numbers 0 to 449"),
        (["lenet", "--samples", "0"], "--samples 0: there are 1347 pictures"),
        (["stock", "--csv", "nowhere.csv"], "cannot read 'nowhere.csv'"),
        (["stock", "--rows", "5000"], "--rows 5000: GOOG (matplotlib's sample) has only 1047 rows"),
        (["stock", "--rows", "-4"], "rows are too few"),
    ],
)
def test_a_mistake_is_a_message_and_status_2_with_nothing_written(
    arguments: list[str],
    words: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    try:
        status = cli.main(["study", *arguments])
    except SystemExit as leaving:  # argparse leaves by itself
        status = leaving.code

    assert status == 2
    assert words in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_out_must_not_be_a_file(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "taken").write_text("")

    assert _run("tensors", "--out", str(tmp_path / "taken")) == 2

    assert "is not a folder" in capsys.readouterr().err


def _idx(path: pathlib.Path, values: np.ndarray) -> None:
    head = struct.pack(f">BBBB{values.ndim}i", 0, 0, 8, values.ndim, *values.shape)
    with gzip.open(path, "wb") as file:
        file.write(head + values.astype(np.uint8).tobytes())


@pytest.fixture
def mnist(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with MNIST's two test files, of fifty made-up pictures."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    pictures = np.random.RandomState(0).randint(0, 256, (50, 28, 28))
    _idx(folder / "t10k-images-idx3-ubyte.gz", pictures)
    _idx(folder / "t10k-labels-idx1-ubyte.gz", np.arange(50) % 10)
    return folder


def test_lenet_divides_the_test_pictures_where_there_are_no_others(
    mnist: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    status = cli.main(
        [
            "study",
            "lenet",
            "--data",
            str(mnist),
            "--epochs",
            "1",
            "--digits",
            "3",
            "--out",
            str(tmp_path / "out"),
        ]
    )

    assert status == 0
    assert "40 pictures to learn from, 10 to be tested on" in capsys.readouterr().out
    assert {"conv1-3.png", "conv2-3.png", "picture-3.png"} <= set(os.listdir(tmp_path / "out"))


def test_lenet_takes_the_training_pictures_where_they_are(
    mnist: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    _idx(mnist / "train-images-idx3-ubyte.gz", np.zeros((20, 28, 28)))
    _idx(mnist / "train-labels-idx1-ubyte.gz", np.arange(20) % 10)

    cli.main(
        ["study", "lenet", "--data", str(mnist), "--epochs", "1", "--out", str(tmp_path / "out")]
    )

    assert "20 pictures to learn from, 50 to be tested on" in capsys.readouterr().out


def _truncate(folder: pathlib.Path) -> None:
    path = folder / "t10k-images-idx3-ubyte.gz"
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[:-100]))


def _cut_the_packed_file(folder: pathlib.Path) -> None:
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])


def _lose_the_labels(folder: pathlib.Path) -> None:
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()


def _lose_everything(folder: pathlib.Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _shorten_the_labels(folder: pathlib.Path) -> None:
    _idx(folder / "t10k-labels-idx1-ubyte.gz", np.arange(49) % 10)


def _change_the_size(folder: pathlib.Path) -> None:
    _idx(folder / "t10k-images-idx3-ubyte.gz", np.zeros((50, 8, 8)))


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _cut_the_packed_file,
        _lose_the_labels,
        _lose_everything,
        _shorten_the_labels,
        _change_the_size,
    ],
)
def test_damaged_mnist_files_are_refused(
    damage: Any, mnist: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    damage(mnist)

    status = cli.main(["study", "lenet", "--data", str(mnist), "--out", str(tmp_path / "out")])

    assert status == 2
    assert "t10k-" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
