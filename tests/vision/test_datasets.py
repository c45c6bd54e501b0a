"""Sets of pictures: reading their files, and what is said when these are missing or damaged."""

from __future__ import annotations

import builtins
import gzip
import hashlib
import os
import pathlib
import pickle
import struct

import numpy as np
import pytest

import taper as torch
from taper.errors import DataFileError, DataFileMissing
from taper.vision import datasets, transforms
from taper.vision.datasets import fetch, read_idx


def idx_bytes(array, code=8):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + (
        array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


def write_mnist(root, name="MNIST", counts=(6, 3), packed=False):
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    for part, count in zip(("train", "t10k"), counts, strict=True):
        images = np.arange(count * 28 * 28).reshape(count, 28, 28).astype(np.uint8)
        for kind, array in (
            ("images-idx3", images),
            ("labels-idx1", np.arange(count).astype(np.uint8)),
        ):
            content = idx_bytes(array)
            path = raw / f"{part}-{kind}-ubyte"
            if packed:
                pathlib.Path(f"{path}.gz").write_bytes(gzip.compress(content))
            else:
                path.write_bytes(content)
    return raw


@pytest.mark.parametrize(
    ("dtype", "code"),
    [("u1", 8), ("i1", 9), ("i2", 11), ("i4", 12), ("f4", 13), ("f8", 14)],
)
def test_every_type_of_an_idx_file_is_read(tmp_path, dtype, code):
    array = (np.arange(6).reshape(2, 3) - 2).astype(dtype)
    (tmp_path / "x").write_bytes(idx_bytes(array, code))

    found = read_idx(tmp_path / "x")

    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype and found.flags.writeable


def test_an_empty_idx_array_is_read(tmp_path):
    (tmp_path / "x").write_bytes(idx_bytes(np.zeros((0, 28, 28), np.uint8)))

    assert read_idx(tmp_path / "x").shape == (0, 28, 28)


WHOLE = idx_bytes(np.zeros((2, 3), np.uint8))
DAMAGED = {
    "is truncated": WHOLE[:-1],
    "is too long": WHOLE + b"\0",
    "its head alone has": WHOLE[:9],
    "is not an IDX file": b"<html>" + WHOLE,
    "is not an IDX": b"",
    "is damaged": gzip.compress(WHOLE)[:-12],
    f"takes {(2**32 - 1) ** 4 + 20} bytes": struct.pack(">BBBB4I", 0, 0, 8, 4, *[2**32 - 1] * 4),
}


@pytest.mark.parametrize("words", DAMAGED)
def test_a_damaged_idx_file_is_refused(tmp_path, words):
    (tmp_path / "broken").write_bytes(DAMAGED[words])

    with pytest.raises(DataFileError, match="broken") as caught:
        read_idx(tmp_path / "broken")

    assert words in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_has_its_pictures_and_labels(tmp_path, packed):
    write_mnist(tmp_path, packed=packed)

    data = datasets.MNIST(tmp_path, train=True, transform=transforms.ToTensor())
    image, label = data[5]

    assert data.data.shape == (6, 28, 28) and data.data.dtype is torch.uint8
    assert data.targets.dtype is torch.int64 and label == 5
    assert image.shape == (1, 28, 28) and image.dtype is torch.float32
    np.testing.assert_allclose(image[0].numpy() * 255, data.data[5].numpy(), rtol=1e-6)
    assert len(datasets.MNIST(tmp_path, train=False)) == 3


def test_without_pillow_a_sample_is_an_array(tmp_path, monkeypatch):
    write_mnist(tmp_path)
    real = builtins.__import__

    def refusing(name, *rest):
        if name.startswith("PIL"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refusing)
    plain = datasets.MNIST(tmp_path)
    changed = datasets.MNIST(tmp_path, transform=transforms.ToTensor())

    assert isinstance(plain[1][0], np.ndarray)
    assert changed[1][0].shape == (1, 28, 28)


def test_the_real_files_are_read():
    folder = os.environ.get("TAPER_TEST_MNIST")
    if folder is None:
        pytest.skip("TAPER_TEST_MNIST names no folder with MNIST's own t10k-*-ubyte.gz")
    images = read_idx(os.path.join(folder, "t10k-images-idx3-ubyte.gz"))
    labels = read_idx(os.path.join(folder, "t10k-labels-idx1-ubyte.gz"))

    assert images.shape == (10000, 28, 28)
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    checksums = dict(datasets.MNIST.resources)
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        assert fetch.md5_of(os.path.join(folder, name)) == checksums[name]


def test_missing_files_are_named(tmp_path):
    with pytest.raises(RuntimeError, match=r"Dataset not found\. You can use download=True"):
        datasets.FashionMNIST(tmp_path)


def test_files_that_do_not_fit_together_are_refused(tmp_path):
    raw = write_mnist(tmp_path)
    (raw / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(5, np.uint8)))

    with pytest.raises(DataFileError, match="6 pictures of part 'train', but 5 labels"):
        datasets.MNIST(tmp_path)


class Answer:
    def __init__(self, content):
        self.content = content

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def read(self):
        return self.content


def serve(monkeypatch, content, good="second"):
    """URLs that name `good` give `content`, others fail."""
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        if good not in url:
            raise OSError("no route to host")
        return Answer(content)

    monkeypatch.setattr(fetch.urllib.request, "urlopen", urlopen)
    return asked


def test_a_download_asks_the_next_mirror_and_checks_what_comes(tmp_path, monkeypatch):
    content = gzip.compress(idx_bytes(np.zeros(4, np.uint8)))
    md5 = hashlib.md5(content).hexdigest()
    asked = serve(monkeypatch, content)
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://first/", "http://second/"])
    monkeypatch.setattr(datasets.MNIST, "resources", [("t10k-labels-idx1-ubyte.gz", md5)])

    with pytest.raises(DataFileMissing, match="t10k-images-idx3-ubyte' is not there"):
        datasets.MNIST(tmp_path, train=False, download=True)

    assert [url.split("/")[2] for url in asked] == ["first", "second"]
    raw = tmp_path / "MNIST" / "raw"
    assert [path.name for path in raw.iterdir()] == ["t10k-labels-idx1-ubyte"]
    assert read_idx(raw / "t10k-labels-idx1-ubyte").shape == (4,)


def test_a_download_that_fails_says_why_and_what_to_do(tmp_path, monkeypatch):
    serve(monkeypatch, b"something else")
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://first/", "http://second/"])

    with pytest.raises(RuntimeError) as caught:
        datasets.MNIST(tmp_path, download=True)

    text = str(caught.value)
    assert text.startswith("Error downloading train-images-idx3-ubyte.gz")
    assert "no route to host" in text and "has checksum" in text
    assert f"put train-images-idx3-ubyte.gz into '{tmp_path}/MNIST/raw'" in text
    assert not list(tmp_path.iterdir())


def write_cifar(folder, monkeypatch):
    folder = folder / "cifar-10-batches-py"
    folder.mkdir()
    contents = {
        "test_batch": {
            "data": np.arange(2 * 3072).reshape(2, 3072).astype(np.uint8),
            "labels": [3, 1],
        },
        "batches.meta": {"label_names": ["plane", "car", "bird", "cat"]},
    }
    sums = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        sums[name] = fetch.md5_of(folder / name)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return folder


def test_cifar_has_its_pictures_and_labels(tmp_path, monkeypatch):
    write_cifar(tmp_path, monkeypatch)

    data = datasets.CIFAR10(tmp_path, train=False, transform=transforms.ToTensor())

    assert data.data.shape == (2, 32, 32, 3)
    assert data[0][0].shape == (3, 32, 32) and data[0][1] == 3
    assert (data[1][0] * 255).round().reshape(-1).tolist() == [i % 256 for i in range(3072)]
    assert data.class_to_idx["cat"] == 3


def test_a_pickle_that_names_functions_is_not_run(tmp_path, monkeypatch):
    folder = write_cifar(tmp_path, monkeypatch)
    (folder / "test_batch").write_bytes(b"cos\nsystem\n(S'echo ran'\ntR.")
    changed = fetch.md5_of(folder / "test_batch")
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", changed]])

    with pytest.raises(DataFileError, match=r"it names os\.system"):
        datasets.CIFAR10(tmp_path, train=False)


def test_a_changed_file_is_noticed(tmp_path, monkeypatch):
    folder = write_cifar(tmp_path, monkeypatch)
    (folder / "test_batch").write_bytes(b"x")

    with pytest.raises(DataFileError, match="has checksum"):
        datasets.CIFAR10(tmp_path, train=False)


def test_a_folder_of_folders_is_a_set(tmp_path):
    for name in ("b/2.txt", "a/1.txt", "a/deep/3.TXT", "a/no.bin"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)

    data = datasets.DatasetFolder(tmp_path, lambda p: pathlib.Path(p).read_text(), (".txt",))

    assert data.classes == ["a", "b"]
    assert [data[i] for i in range(3)] == [("a/1.txt", 0), ("a/deep/3.TXT", 0), ("b/2.txt", 1)]
    assert data.targets == [0, 0, 1]


def test_a_class_without_files_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()

    with pytest.raises(FileNotFoundError, match="no valid file for the classes empty"):
        datasets.ImageFolder(tmp_path)
    with pytest.raises(FileNotFoundError, match="Couldn't find any class folder"):
        datasets.ImageFolder(tmp_path / "empty")


def test_pictures_are_read_from_folders(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    (tmp_path / "red").mkdir()
    Image.new("RGB", (5, 4), (255, 0, 0)).save(tmp_path / "red" / "x.png")

    image, target = datasets.ImageFolder(tmp_path, transforms.ToTensor())[0]

    assert image.shape == (3, 4, 5) and target == 0
    assert image[0].min() == 1 and image[1:].max() == 0


def test_the_repr_shows_size_place_and_transforms(tmp_path):
    write_mnist(tmp_path)

    assert repr(datasets.MNIST(tmp_path, transform=transforms.ToTensor())) == (
        f"Dataset MNIST\n    Number of datapoints: 6\n    Root location: {tmp_path}\n"
        "    Split: Train\n    StandardTransform\n    Transform: ToTensor()"
    )


def test_both_ways_of_transforming_exclude_each_other():
    with pytest.raises(ValueError, match="Only transforms or transform/target_transform"):
        datasets.VisionDataset(transforms=len, transform=len)
