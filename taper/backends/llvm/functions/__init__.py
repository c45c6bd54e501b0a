"""The functions of `m` that have kernels: reference.py's namespace with these in the place of numpy's.

Each file here holds a family of functions on arrays with the names and arguments of the reference.
One looks at dtypes, sizes and strides, and either calls a kernel or hands over to the reference; the
rule depends on nothing else, so a program gives the same bits each time it runs.
"""

from __future__ import annotations

import importlib
from typing import Any

from taper.backends import reference

FAMILIES = ("gemm", "pointwise", "rows", "conv", "pool", "rnn", "update", "gather", "scan", "draw", "cast")


class LlvmMath(reference.Math):
    """The namespace. A family's file says in PUBLISHED which names it has."""

    def __init__(self) -> None:
        for family in FAMILIES:
            name = f"{__name__}.{family}"
            try:
                found = importlib.import_module(name)
            except ModuleNotFoundError as error:
                if error.name != name:
                    raise
                continue
            for published in found.PUBLISHED:
                self.__dict__[published] = getattr(found, published)

    def __getattr__(self, name: str) -> Any:
        found = self.__dict__[name] = getattr(reference.math, name)
        return found

    def call(self, op: Any, *inputs: Any, **attrs: Any) -> Any:
        """Runs another op on arrays."""
        import numpy as np

        out = op.run(self, *inputs, **attrs)
        return out if op.outputs > 1 or type(out) is np.ndarray else np.asarray(out)
