"""The command line: its words, its help, and status 2 for a user's mistake."""

from __future__ import annotations

import pytest

import taper
from taper.cli import main


def test_the_version_is_printed(capsys):
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"taper {taper.__version__}\n"


def test_no_command_prints_the_help_and_is_status_2(capsys):
    assert main([]) == 2
    assert "run" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "study", "show", "inspect", "cache"])
def test_every_command_has_a_help(command, capsys):
    try:
        status = main([command, "--help"])
    except SystemExit as end:
        status = end.code

    assert status == 0
    assert "usage: taper " + command in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["run"], ["run", "--what"], ["study", "nothing"]])
def test_a_wrong_word_is_status_2_and_said_on_stderr(arguments, capsys):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.err and not shown.out


def test_show_lists_what_a_checkpoint_holds(tmp_path, capsys):
    path = tmp_path / "model.pt"
    state = {
        "layer": {"weight": taper.zeros(3, 4), "steps": 7},
        "names": ["a", taper.ones(2).bool()],
    }
    taper.save(state, path)

    assert main(["show", str(path)]) == 0

    shown = capsys.readouterr().out
    for line in (
        "layer.weight  float32  [3, 4]",
        "layer.steps   7",
        "names.0       'a'",
        "names.1       bool     [2]",
        "2 tensors, 14 elements, 50 bytes",
    ):
        assert line in shown


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no archive", b"cos\nsystem\n(S'true'\ntR."])
def test_show_refuses_a_bad_file_with_status_2(content, tmp_path, capsys):
    path = tmp_path / "bad.pt"
    path.write_bytes(content)

    assert main(["show", str(path)]) == 2
    assert capsys.readouterr().err.startswith("taper: ")


def test_show_of_a_file_that_is_not_there_is_status_2(tmp_path, capsys):
    assert main(["show", str(tmp_path / "none.pt")]) == 2
    assert "none.pt" in capsys.readouterr().err


def test_cache_says_what_is_kept_and_empties_it(tmp_path, monkeypatch, capsys):
    from taper.backends.llvm import store

    monkeypatch.setenv("TAPER_CACHE", str(tmp_path / "kernels"))
    store.folder.cache_clear()
    try:
        store.put("key", bytes(100))
        assert main(["cache"]) == 0
        assert "1 kernels, 132 of at most" in capsys.readouterr().out
        assert main(["cache", "--clear"]) == 0
        assert "removed 1 kernels" in capsys.readouterr().out
        assert not store.files()
    finally:
        store.folder.cache_clear()
