"""SummaryWriter's files: their bytes, and what a reader of the wire format finds in them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

import taper as torch
from taper.utils.tensorboard import SummaryWriter
from taper.utils.tensorboard.events import checksum, record, varint
from taper.utils.tensorboard.writer import histogram


def number(data: bytes, at: int) -> tuple[int, int]:
    """A varint of the data and where it ends."""
    found = shift = 0
    while True:
        byte = data[at]
        found |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return found, at


def fields(data: bytes) -> dict[int, list]:
    """The fields of a message by their numbers."""
    found: dict[int, list] = {}
    at = 0
    while at < len(data):
        key, at = number(data, at)
        if key & 7 == 0:
            value, at = number(data, at)
        elif key & 7 == 1:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        elif key & 7 == 5:
            value, at = struct.unpack_from("<f", data, at)[0], at + 4
        else:
            size, at = number(data, at)
            value, at = data[at : at + size], at + size
        found.setdefault(key >> 3, []).append(value)
    return found


def events(folder: Path) -> list[dict[int, list]]:
    """The events of the one file in a folder, their records checked."""
    (path,) = folder.glob("events.out.tfevents.*")
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        content = data[at + 12 : at + 12 + size]
        assert data[at : at + 16 + size] == record(content)
        found.append(fields(content))
        at += 16 + size
    return found


def values(folder: Path) -> list[tuple[int, dict[int, list]]]:
    """(step, fields of the value) of every summary."""
    return [
        (event.get(2, [None])[0], fields(fields(event[5][0])[1][0])) for event in events(folder)[1:]
    ]


def test_the_checksum_is_castagnolis():
    """The check value of CRC-32C, and 32 zeros from RFC 3720."""
    assert checksum(b"123456789") == 0xE3069283
    assert checksum(bytes(32)) == 0x8A9136AA


def test_varints_are_those_of_protocol_buffers():
    assert varint(0) == b"\0" and varint(300) == b"\xac\x02" and len(varint(-1)) == 10


def test_scalars_keep_tag_step_and_value(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.add_scalar("loss/train", torch.tensor(0.5), 3)
        writer.add_scalar("loss/train", 0.25, 4, walltime=10.0)

    assert events(tmp_path)[0][3] == [b"brain.Event:2"]
    (first, one), (second, two) = values(tmp_path)
    assert (first, one[1], one[2]) == (3, [b"loss/train"], [0.5])
    assert (second, two[2]) == (4, [0.25]) and events(tmp_path)[2][1] == [10.0]


def test_several_scalars_have_a_folder_each(tmp_path):
    with SummaryWriter(tmp_path / "run") as writer:
        writer.add_scalars("sin/cos", {"sin": 0.0, "cos": 1.0}, 2)

    step, value = values(tmp_path / "run" / "sin_cos_cos")[0]
    assert (step, value[1], value[2]) == (2, [b"sin/cos"], [1.0])


def test_a_histogram_counts_all_values():
    found = fields(histogram(np.arange(10.0) - 3, "tensorflow"))

    counts = np.frombuffer(found[7][0])
    assert (found[1], found[2], found[3], found[4]) == ([-3.0], [6.0], [10.0], [15.0])
    assert counts.sum() == 10 and counts[0] == 0
    assert len(found[6][0]) == len(found[7][0])
    with pytest.raises(ValueError, match="no element"):
        histogram(np.zeros(0), "tensorflow")


def test_pictures_are_png_files(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.add_image("one", torch.tensor([[[0.0, 1.0]]]), 0)
        writer.add_images("two", torch.zeros(3, 2, 4, 1), 0, dataformats="NHWC")

    pictures = [fields(value[4][0]) for _, value in values(tmp_path)]
    assert [(p[1], p[2], p[3]) for p in pictures] == [([1], [2], [3]), ([2], [12], [3])]
    assert all(p[4][0].startswith(b"\x89PNG") for p in pictures)


def test_a_text_is_a_tensor_of_its_page(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.add_text("note", "*hello*", 1)

    ((_, value),) = values(tmp_path)
    assert value[1] == [b"note/text_summary"] and fields(value[8][0])[8] == [b"*hello*"]


def test_what_is_missing_says_what_to_do(tmp_path):
    with SummaryWriter(tmp_path) as writer, pytest.raises(NotImplementedError, match="print"):
        writer.add_graph(torch.nn.Linear(1, 1))
