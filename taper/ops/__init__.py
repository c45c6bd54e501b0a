"""The op families. Importing this package defines every op and every Tensor method."""

from __future__ import annotations

import importlib

FAMILIES = (
    "arithmetic",
    "create",
    "convert",
    "view",
    "index",
    "reduce",
    "matmul",
    "pointwise",
    "trigonometry",
    "rounding",
    "choose",
    "combine",
    "compare",
    "logic",
    "statistics",
    "cumulative",
    "sort",
    "join",
    "gather",
    "scatter",
    "rearrange",
    "linalg",
    "fft",
    "spectral",
    "sampling",
    "special",
    "activation",
    "linear",
    "conv",
    "pool",
    "pool_index",
    "norm",
    "rnn",
    "loss",
    "embedding",
    "interpolate",
    "padding",
    "attention",
    "fold",
)


def load() -> None:
    """Imports the families and gives Tensor its methods."""
    from taper.op import METHODS
    from taper.tensor import Tensor

    for family in FAMILIES:
        name = "taper.ops." + family
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    for name, method in METHODS.items():
        setattr(Tensor, name, method)
