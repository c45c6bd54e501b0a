"""torchvision.datasets: sets of pictures, read from files that are fetched if asked for.

idx.py reads MNIST's format, fetch.py downloads, base.py is what all sets share.
"""

from __future__ import annotations

from taper.vision.datasets.base import VisionDataset
from taper.vision.datasets.cifar import CIFAR10, CIFAR100
from taper.vision.datasets.fake import FakeData
from taper.vision.datasets.folder import DatasetFolder, ImageFolder
from taper.vision.datasets.idx import read_idx
from taper.vision.datasets.mnist import KMNIST, MNIST, FashionMNIST

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "KMNIST",
    "MNIST",
    "DatasetFolder",
    "FakeData",
    "FashionMNIST",
    "ImageFolder",
    "VisionDataset",
    "read_idx",
]
