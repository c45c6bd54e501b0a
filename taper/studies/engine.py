"""Which framework the studies run on: taper, or PyTorch beside it for comparison.

A study imports its names from here (`from taper.studies.engine import nn, optim, torch`) and reads
like any PyTorch program. `use` decides, before the study is imported, what those names mean.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from taper.errors import TaperError

if TYPE_CHECKING:
    # Either of two frameworks, hence of no one type.
    torch: Any
    nn: Any
    optim: Any
    functional: Any
    DataLoader: Any
    Dataset: Any
    TensorDataset: Any

__all__ = [
    "ENGINES",
    "DataLoader",
    "Dataset",
    "StudyError",
    "TensorDataset",
    "functional",
    "nn",
    "optim",
    "torch",
]

ENGINES = ("taper", "torch")

# Name here -> (module under the engine's root, attribute in it); an attribute "" is the module.
_NAMES = {
    "torch": ("", ""),
    "nn": (".nn", ""),
    "optim": (".optim", ""),
    "functional": (".nn.functional", ""),
    "DataLoader": (".utils.data", "DataLoader"),
    "Dataset": (".utils.data", "Dataset"),
    "TensorDataset": (".utils.data", "TensorDataset"),
}

_chosen = "taper"


class StudyError(TaperError):
    """What a study cannot work with: an option, a file, a missing package. Exit status 2."""


def chosen() -> str:
    """Name of the engine in use."""
    return _chosen


def use(name: str) -> ModuleType:
    """Makes `name` the engine of all studies loaded from now on, and returns it.

    Raises: StudyError if there is no such engine or it is not installed.
    """
    global _chosen
    if name not in ENGINES:
        raise StudyError(f"unknown engine {name!r}; choose from {', '.join(ENGINES)}")
    try:
        root = importlib.import_module(name)
    except ImportError as error:
        raise StudyError(f"the engine {name!r} is not installed here: {error}") from error
    _chosen = name
    return root


def load(study: str, engine: str) -> ModuleType:
    """The module of a study, with its names bound to `engine`."""
    use(engine)
    name = "taper.studies." + study
    known = sys.modules.get(name)
    if known is None:
        return importlib.import_module(name)
    # Its classes derive from the nn.Module of the engine it was imported under.
    if known.torch.__name__ != engine:
        for part in _engine_bound():
            del sys.modules[part]
        return importlib.import_module(name)
    return known


def _engine_bound() -> list[str]:
    """Modules of the studies that took names from an engine."""
    return [
        name
        for name, module in sys.modules.items()
        if name.startswith("taper.studies.")
        and name != __name__
        and isinstance(vars(module).get("torch"), ModuleType)
    ]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _NAMES[name]
    found = importlib.import_module(_chosen + module)
    return getattr(found, attribute) if attribute else found
