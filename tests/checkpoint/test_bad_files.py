"""Damaged and hostile checkpoints: a clear error, no code run, nothing lost."""

from __future__ import annotations

import io
import os
import pickle
import random
import zipfile

import pytest

import taper
from taper.errors import CheckpointError


def archive(text: bytes, **records: bytes) -> io.BytesIO:
    """A checkpoint whose description is `text`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("archive/data.pkl", text)
        made.writestr("archive/version", b"3\n")
        made.writestr("archive/byteorder", b"little")
        for name, data in records.items():
            made.writestr("archive/data/" + name, data)
    buffer.seek(0)
    return buffer


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "attack",
    [
        Calls(os.system, "touch {}"),
        Calls(eval, "open('{}', 'w')"),
        Calls(exec, "open('{}', 'w')"),
        {"inside": [Calls(os.mkdir, "{}")]},
    ],
    ids=["system", "eval", "exec", "nested"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(attack, zipped, tmp_path):
    target = tmp_path / "ran"
    text = pickle.dumps(attack, 2).replace(b"{}", b"{}")
    file = archive(text) if zipped else io.BytesIO(text)

    with pytest.raises(RuntimeError):
        taper.load(file)

    assert not target.exists()


def test_the_refusal_names_what_the_file_wanted_to_call():
    with pytest.raises(pickle.UnpicklingError, match=r"system"):
        taper.load(archive(pickle.dumps(Calls(os.system, "true"), 2)))


def test_a_storage_larger_than_its_record_is_refused():
    buffer = io.BytesIO()
    taper.save(taper.zeros(4), buffer)
    with zipfile.ZipFile(buffer) as whole:
        name = next(n for n in whole.namelist() if n.endswith("data.pkl"))
        text = whole.read(name)
    number = text.index(b"K\x04", text.index(b"cpu"))
    wrong = text[:number] + b"M\xff\xff" + text[number + 2 :]

    with pytest.raises(CheckpointError, match="does not match expected size"):
        taper.load(archive(wrong, **{"0": bytes(16)}))


def test_every_truncation_is_an_error_and_never_a_wrong_tensor():
    buffer = io.BytesIO()
    taper.save({"x": taper.arange(20.0), "y": [1, "two"]}, buffer)
    whole = buffer.getvalue()

    for length in range(0, len(whole) - 1, 7):
        with pytest.raises((RuntimeError, EOFError)):
            taper.load(io.BytesIO(whole[:length]))


def test_flipped_bytes_are_an_error_or_leave_the_data_as_they_were():
    buffer = io.BytesIO()
    taper.save({"x": taper.arange(64.0)}, buffer)
    whole = buffer.getvalue()
    chance = random.Random(0)

    for _ in range(300):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        try:
            found = taper.load(io.BytesIO(bytes(damaged)))
        except (RuntimeError, ValueError, NotImplementedError):
            continue
        # A bit outside of data and checksums, in a date or a padding.
        assert found["x"].tolist() == list(range(64))


def test_a_save_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.pt"
    taper.save(taper.ones(3), path)

    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        taper.save({"x": taper.ones(3), "bad": lambda: None}, path)

    assert taper.load(path).tolist() == [1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RuntimeError, match=r"Parent directory .*nowhere does not exist"):
        taper.save(taper.ones(1), tmp_path / "nowhere" / "x.pt")


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    path = tmp_path / "empty.pt"
    path.touch()

    with pytest.raises(EOFError, match="is empty"):
        taper.load(path)
