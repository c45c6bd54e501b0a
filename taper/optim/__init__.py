"""Optimizers and learning-rate schedulers: torch.optim.

An optimizer's file is loaded when the optimizer is first named. optimizer.py holds what all of them
share, flat.py how an elementwise rule is applied to all parameters at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taper.optim.adadelta import Adadelta as Adadelta
    from taper.optim.adafactor import Adafactor as Adafactor
    from taper.optim.adagrad import Adagrad as Adagrad
    from taper.optim.adam import Adam as Adam
    from taper.optim.adamax import Adamax as Adamax
    from taper.optim.adamw import AdamW as AdamW
    from taper.optim.asgd import ASGD as ASGD
    from taper.optim.lbfgs import LBFGS as LBFGS
    from taper.optim.muon import Muon as Muon
    from taper.optim.nadam import NAdam as NAdam
    from taper.optim.optimizer import Optimizer as Optimizer
    from taper.optim.radam import RAdam as RAdam
    from taper.optim.rmsprop import RMSprop as RMSprop
    from taper.optim.rprop import Rprop as Rprop
    from taper.optim.sgd import SGD as SGD
    from taper.optim.sparse_adam import SparseAdam as SparseAdam
    from taper.optim.swap import (
        swap_in_optimizer_params_and_state as swap_in_optimizer_params_and_state,
    )

    from . import lr_scheduler as lr_scheduler
    from . import swa_utils as swa_utils

_HOME = {
    "ASGD": "asgd",
    "Adadelta": "adadelta",
    "Adafactor": "adafactor",
    "Adagrad": "adagrad",
    "Adam": "adam",
    "AdamW": "adamw",
    "Adamax": "adamax",
    "LBFGS": "lbfgs",
    "Muon": "muon",
    "NAdam": "nadam",
    "Optimizer": "optimizer",
    "RAdam": "radam",
    "RMSprop": "rmsprop",
    "Rprop": "rprop",
    "SGD": "sgd",
    "SparseAdam": "sparse_adam",
    "swap_in_optimizer_params_and_state": "swap",
}
_MODULES = ("lr_scheduler", "swa_utils")

__all__ = [*_HOME, *_MODULES]  # noqa: PLE0604 - the names are strings


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOME:
        found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in _MODULES:
        found = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
