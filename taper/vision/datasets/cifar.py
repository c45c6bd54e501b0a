"""CIFAR-10 and CIFAR-100: small photographs in colour.

Their files are pickles of Python 2. They are read by an unpickler that makes numpy arrays and
nothing else, so that a file of unknown origin cannot run code.
"""

from __future__ import annotations

import codecs
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.errors import DataFileError
from taper.vision.datasets.base import VisionDataset
from taper.vision.datasets.fetch import check, fetch, write
from taper.vision.pictures import picture


class _ArrayUnpickler(pickle.Unpickler):
    """Reads lists, dicts, strings and numpy arrays."""

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("numpy") and name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if module == "_codecs" and name == "encode":
            return codecs.encode  # Python 3 writes bytes this way for Python 2
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _read(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        content = file.read()
    try:
        found = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise DataFileError(f"{path!r} is not a CIFAR file: {error}") from error
    if not isinstance(found, dict):
        raise DataFileError(f"{path!r} is not a CIFAR file: it holds a {type(found).__name__}")
    return found


class CIFAR10(VisionDataset):
    """Photographs of ten kinds of things: 50,000 for training, 10,000 for testing, 32 by 32 points.

    `data` is a numpy array (count, 32, 32, 3) of uint8, `targets` a list of ints.
    Raises: DataFileMissing if files are missing and cannot be fetched, DataFileError if they are
        damaged.
    Source: Krizhevsky 2009.
    """

    base_folder = "cifar-10-batches-py"
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    filename = "cifar-10-python.tar.gz"
    tgz_md5 = "c58f30108f718f92721af3b95e74349a"
    train_list = [
        ["data_batch_1", "c99cafc152244af753f735de768cd75f"],
        ["data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"],
        ["data_batch_3", "54ebc095f3ab1f0389bbae665268c751"],
        ["data_batch_4", "634d18415352ddfa80567beed471001a"],
        ["data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"],
    ]
    test_list = [["test_batch", "40351d587109b95175f43aff81a1287e"]]
    meta = {
        "filename": "batches.meta",
        "key": "label_names",
        "md5": "5ff9c542aee3614f3951f8cda6e48888",
    }
    data: np.ndarray
    targets: list[int]
    classes: list[str]

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(os.fspath(root), None, transform, target_transform)
        self.train = train
        if download:
            self.download()
        pieces = []
        self.targets = []
        for name, md5 in self.train_list if train else self.test_list:
            check(self._path(name), md5)
            entry = _read(self._path(name))
            pieces.append(entry["data"])
            self.targets += entry["labels"] if "labels" in entry else entry["fine_labels"]
        pixels = np.concatenate(pieces).reshape(-1, 3, 32, 32)
        self.data = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        check(self._path(self.meta["filename"]), self.meta["md5"])
        self.classes = _read(self._path(self.meta["filename"]))[self.meta["key"]]
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}

    def _path(self, name: str) -> str:
        return os.path.join(str(self.root), self.base_folder, name)

    def download(self) -> None:
        """Fetches the archive and unpacks it, unless all files are there and whole."""
        wanted = dict((*self.train_list, *self.test_list))
        wanted[self.meta["filename"]] = self.meta["md5"]
        try:
            for name, md5 in wanted.items():
                check(self._path(name), md5)
            return
        except DataFileError:
            pass  # then all of it is fetched
        content = fetch([self.url], self.tgz_md5)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for name in wanted:
                # Only the files wanted, by name: an archive's paths may lead anywhere.
                member = archive.extractfile(f"{self.base_folder}/{name}")
                if member is None:
                    raise DataFileError(f"{self.url} has no {self.base_folder}/{name}")
                write(self._path(name), member.read())

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._transformed(picture(self.data[index]), self.targets[index])

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        """Which part it is."""
        return f"Split: {'Train' if self.train else 'Test'}"


class CIFAR100(CIFAR10):
    """Photographs of a hundred kinds of things, otherwise like CIFAR10."""

    base_folder = "cifar-100-python"
    url = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    filename = "cifar-100-python.tar.gz"
    tgz_md5 = "eb9058c3a382ffc7106e4002c42a8d85"
    train_list = [["train", "16019d7e3df5f24257cddd939b257f8d"]]
    test_list = [["test", "f0ef6b0ae62326f3e7ffdfab6717acfc"]]
    meta = {
        "filename": "meta",
        "key": "fine_label_names",
        "md5": "7973b15100ade9c7d40fb424638fde48",
    }
