"""MNIST and two sets in its format: fashion and Japanese characters."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.errors import DataFileError, DataFileMissing
from taper.tensor import Tensor, wrap
from taper.vision.datasets.base import VisionDataset
from taper.vision.datasets.fetch import fetch, write
from taper.vision.datasets.idx import read_idx
from taper.vision.pictures import picture

_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _resources(*checksums: str) -> list[tuple[str, str]]:
    return [(name + ".gz", md5) for name, md5 in zip(_FILES, checksums, strict=True)]


class MNIST(VisionDataset):
    """Handwritten digits: 60,000 for training, 10,000 for testing, 28 by 28 points.

    The four IDX files lie in root/MNIST/raw, plain or packed by gzip; `download` fetches them if
    they are not there. `data` is a uint8 tensor (count, 28, 28), `targets` an int64 tensor.
    Raises: DataFileMissing if files are missing and cannot be fetched, DataFileError if they are
        damaged.
    """

    mirrors = [
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ]
    resources = _resources(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    )
    classes = [
        "0 - zero",
        "1 - one",
        "2 - two",
        "3 - three",
        "4 - four",
        "5 - five",
        "6 - six",
        "7 - seven",
        "8 - eight",
        "9 - nine",
    ]
    data: Tensor
    targets: Tensor

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
        part = "train" if train else "t10k"
        images = self._read(f"{part}-images-idx3-ubyte", 3)
        labels = self._read(f"{part}-labels-idx1-ubyte", 1)
        if len(images) != len(labels):
            raise DataFileError(
                f"{self.raw_folder!r} has {len(images)} pictures of part {part!r}, but "
                f"{len(labels)} labels"
            )
        self.data = wrap(images)
        self.targets = wrap(labels.astype(np.int64))

    @property
    def raw_folder(self) -> str:
        """Where the files lie."""
        return os.path.join(str(self.root), type(self).__name__, "raw")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The number of each class."""
        return {name: i for i, name in enumerate(self.classes)}

    def _find(self, name: str) -> str | None:
        """The plain or the packed file; None if neither is there."""
        for ending in ("", ".gz"):
            path = os.path.join(self.raw_folder, name + ending)
            if os.path.isfile(path):
                return path
        return None

    def _check_exists(self) -> bool:
        return all(self._find(name.removesuffix(".gz")) for name, _ in self.resources)

    def _read(self, name: str, ndim: int) -> np.ndarray:
        path = self._find(name)
        if path is None:
            raise DataFileMissing(
                "Dataset not found. You can use download=True to download it: "
                f"{os.path.join(self.raw_folder, name)!r} is not there"
            )
        array = read_idx(path)
        if array.ndim != ndim or array.dtype != np.uint8:
            raise DataFileError(
                f"{path!r} holds an array of shape {array.shape} and type {array.dtype}, expected "
                f"{ndim} dimensions of uint8"
            )
        return array

    def download(self) -> None:
        """Fetches the files that are not there yet.

        Raises: DataFileMissing if no mirror has them; it says where to put them by hand.
        """
        for name, md5 in self.resources:
            plain = name.removesuffix(".gz")
            if self._find(plain) is not None:
                continue
            try:
                content = fetch([mirror + name for mirror in self.mirrors], md5)
            except DataFileMissing as error:
                raise DataFileMissing(
                    f"{error}\nWithout a network, put {name} into {self.raw_folder!r} and leave "
                    "download=True out."
                ) from None
            write(os.path.join(self.raw_folder, plain), gzip.decompress(content))

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = picture(self.data[index].numpy())
        return self._transformed(image, int(self.targets[index]))

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        """Which part it is."""
        return f"Split: {'Train' if self.train else 'Test'}"


class FashionMNIST(MNIST):
    """Pictures of clothes in MNIST's format, from root/FashionMNIST/raw.

    Source: Xiao, Rasul and Vollgraf 2017.
    """

    mirrors = ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"]
    resources = _resources(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    )
    classes = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]


class KMNIST(MNIST):
    """Handwritten Japanese characters in MNIST's format, from root/KMNIST/raw.

    Source: Clanuwat et al. 2018.
    """

    mirrors = ["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"]
    resources = _resources(
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    )
    classes = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
