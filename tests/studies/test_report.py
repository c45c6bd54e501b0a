"""The report of a study: one page that stands alone, numbers that any JSON reader reads."""

from __future__ import annotations

import io
import json
import os
import pathlib
import re
from typing import Any

import pytest

import taper
from taper.studies import plots, report
from taper.studies.engine import StudyError
from taper.studies.progress import plain, progress

pytest.importorskip("matplotlib")


@pytest.fixture
def written(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """A small report: its page, its numbers, what it printed, its files."""
    made = report.Report("sample", "A <sample>", str(tmp_path / "deep" / "out"))
    made.heading("First & last")
    made.text("Words <b>without</b> markup.", say=True)
    made.table(("name", "score"), [("a", 0.5), ("long name", "12.25")], "Scores")
    made.code("print(1 < 2)", "True\n")
    made.figure("curve", plots.lines({"loss": [3.0, 2.0]}, xlabel="x", ylabel="y"), "A <curve>.")
    made.metrics["r2"] = float("nan")
    made.histories["loss"] = [3.0, 2.0]
    made.timings["total"] = 1.5
    path = made.write({"seed": 3, "epochs": 2, "csv": None}, taper)
    folder = os.path.dirname(path)
    return {
        "page": pathlib.Path(path).read_text(encoding="utf-8"),
        "numbers": json.loads(pathlib.Path(folder, "results.json").read_text(encoding="utf-8")),
        "printed": capsys.readouterr().out,
        "files": sorted(os.listdir(folder)),
    }


def test_the_page_needs_no_other_file(written: dict[str, Any]):
    addresses = re.findall(r'(?:src|href)="([^"]*)"|url\(', written["page"])

    assert len(addresses) == 1
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert "http" not in written["page"]
    assert "<script" not in written["page"]


def test_what_the_study_says_is_escaped(written: dict[str, Any]):
    assert "<title>A &lt;sample&gt;</title>" in written["page"]
    assert "Words &lt;b&gt;without&lt;/b&gt; markup." in written["page"]
    assert "print(1 &lt; 2)" in written["page"]
    assert 'alt="A &lt;curve&gt;."' in written["page"]


def test_tables_are_printed_with_numbers_flush_right(written: dict[str, Any]):
    assert (
        "Scores\nname       score\n---------  -----\na            0.5\nlong name  12.25\n"
    ) in written["printed"]


def test_the_numbers_have_everything_in_its_place(written: dict[str, Any]):
    numbers = written["numbers"]

    assert set(numbers) == {
        "study",
        "engine",
        "versions",
        "seed",
        "epochs",
        "threads",
        "options",
        "metrics",
        "histories",
        "timings",
        "pictures",
    }
    assert (numbers["study"], numbers["engine"], numbers["seed"]) == ("sample", "taper", 3)
    assert numbers["versions"]["taper"] == taper.__version__
    assert numbers["metrics"] == {"r2": None}
    assert numbers["histories"] == {"loss": [3.0, 2.0]}


def test_the_folder_holds_the_page_the_numbers_and_the_pictures_only(written: dict[str, Any]):
    assert written["files"] == ["curve.png", "report.html", "results.json"]


def test_the_same_figure_gives_the_same_picture():
    one, other = (
        plots.png(plots.lines({"a": [1, 2, 4]}, xlabel="x", ylabel="y")) for _ in range(2)
    )

    assert one == other
    assert one.startswith(b"\x89PNG")


def test_a_folder_that_cannot_be_is_refused_before_the_work(tmp_path: pathlib.Path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StudyError, match="is not a folder"):
        report.Report("sample", "A sample", str(tmp_path / "file" / "out"))


def test_nothing_is_written_before_write(tmp_path: pathlib.Path):
    made = report.Report("sample", "A sample", str(tmp_path / "out"))
    made.text("half a report")

    assert os.listdir(tmp_path) == []


def test_a_report_that_cannot_be_written_leaves_the_old_one(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    first = report.Report("sample", "The old one", str(tmp_path))
    path = first.write({"seed": 0, "epochs": 1}, taper)
    second = report.Report("sample", "The new one", str(tmp_path))
    monkeypatch.setattr(report, "replacing", _full_disk)

    with pytest.raises(StudyError, match="cannot write the report"):
        second.write({"seed": 0, "epochs": 1}, taper)

    assert "The old one" in pathlib.Path(path).read_text(encoding="utf-8")


def _full_disk(path: str) -> Any:
    raise OSError(28, "No space left on device")


def test_our_own_progress_bar_counts_to_the_end():
    stream = io.StringIO()

    items = list(plain(range(4), "DNN", "epoch", stream))

    assert items == [0, 1, 2, 3]
    assert "DNN [##############################] 4/4 epochs" in stream.getvalue()
    assert stream.getvalue().endswith("\n")


def test_progress_gives_the_items_in_order_and_draws_on_stderr(capsys: pytest.CaptureFixture[str]):
    assert list(progress(range(3), "GRU")) == [0, 1, 2]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "GRU" in captured.err
