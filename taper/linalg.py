"""Linear algebra: torch.linalg.

The functions are defined in the families of taper.ops (linalg, decompose, solve and others) and
gathered here. numpy's LAPACK does the work where it has the routine; the factorizations that it
lacks (LU with pivots, LDL, triangular solves) are written in numpy.
"""

from __future__ import annotations

from typing import Any

from taper import ops as _ops
from taper.errors import LinAlgError
from taper.op import NAMESPACES as _NAMESPACES

_ops.load("rest")
globals().update(_NAMESPACES["linalg"])

__all__ = [  # noqa: PLE0604
    "LinAlgError",
    *sorted(_NAMESPACES["linalg"]),
]


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"module 'torch.linalg' has no attribute {name!r} (taper does not have it)"
    )


def __dir__() -> list[str]:
    return list(__all__)
