"""The pictures for the LeNet study: MNIST from a folder, or scikit-learn's digits enlarged."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from taper.studies.engine import StudyError, torch

SIDE = 28


class Pictures(NamedTuple):
    """Pictures of shape (count, 1, 28, 28) with values from 0 to 1, and the digits they show."""

    about: str
    X_train: Any
    y_train: Any
    X_test: Any
    y_test: Any


def load(folder: str | None, download: bool = False) -> Pictures:
    """MNIST from the folder, or without one the small digits that come with scikit-learn.

    Raises: StudyError or DataFileError if the folder or its files are missing or damaged.
    """
    if folder is None:
        return _enlarged_digits()
    if download:
        from taper.vision.datasets import MNIST

        MNIST(folder, download=True)
    if not os.path.isdir(folder):
        raise StudyError(f"--data {folder!r} is not a folder")
    test = _read_pair(folder, "t10k")
    train = _read_pair(folder, "train")
    if test is None:
        raise StudyError(
            f"--data {folder!r} has no t10k-images-idx3-ubyte and t10k-labels-idx1-"
            "ubyte (plain or .gz); --download fetches MNIST"
        )
    if train is not None:
        return _pictures("MNIST.", *train, *test)
    images, labels = test
    split = len(images) * 4 // 5
    return _pictures(
        "MNIST's test pictures, divided because its training pictures are not there.",
        images[:split],
        labels[:split],
        images[split:],
        labels[split:],
    )


def _pictures(about: str, *arrays: np.ndarray) -> Pictures:
    X_train, y_train, X_test, y_test = arrays
    return Pictures(
        about,
        *(
            torch.from_numpy(
                array.astype(np.float32)[:, np.newaxis] / 255
                if array.ndim == 3
                else array.astype(np.int64)
            )
            for array in (X_train, y_train, X_test, y_test)
        ),
    )


def _read_pair(folder: str, part: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Images and labels of one part; None if the images are not there."""
    images = _find(folder, f"{part}-images-idx3-ubyte")
    labels = _find(folder, f"{part}-labels-idx1-ubyte")
    if images is None:
        return None
    if labels is None:
        raise StudyError(f"{images!r} is there, its labels ({part}-labels-idx1-ubyte) are not")
    from taper.vision.datasets import read_idx

    pixels, digits = read_idx(images), read_idx(labels)
    if pixels.ndim != 3 or pixels.shape[1:] != (SIDE, SIDE):
        raise StudyError(
            f"{images!r} holds an array of shape {pixels.shape}, not pictures of "
            f"{SIDE} by {SIDE} points"
        )
    if digits.shape != pixels.shape[:1]:
        raise StudyError(
            f"{images!r} has {len(pixels)} pictures, {labels!r} holds an array of "
            f"shape {digits.shape}"
        )
    return pixels, digits


def _find(folder: str, name: str) -> str | None:
    """The file, plain or packed, in the folder or where a download puts it."""
    for place in (folder, os.path.join(folder, "raw"), os.path.join(folder, "MNIST", "raw")):
        for ending in ("", ".gz"):
            path = os.path.join(place, name + ending)
            if os.path.exists(path):
                return path
    return None


def _enlarged_digits() -> Pictures:
    """scikit-learn's 8 by 8 pictures, each point three by three, with a margin of two."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise StudyError(
            "without --data, this study takes scikit-learn's digits: pip install 'taper[studies]'"
        ) from error
    small = load_digits()
    large = np.kron(small.images * (255 / 16), np.ones((3, 3)))
    images = np.pad(large, ((0, 0), (2, 2), (2, 2)))
    # A shuffle of its own, the same for every seed: the file is ordered by who wrote the digits.
    order = np.random.RandomState(0).permutation(len(images))
    images, labels = images[order], small.target[order]
    split = len(images) * 3 // 4
    return _pictures(
        "No --data: scikit-learn's digits of 8 by 8 points, enlarged to 28 by 28, "
        "stand in for MNIST.",
        images[:split],
        labels[:split],
        images[split:],
        labels[split:],
    )
