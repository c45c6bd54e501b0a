"""Special functions: torch.special.

The functions are defined in the families of taper.ops (special, gamma, bessel,
orthogonal_polynomials and others) and gathered here.
"""

from __future__ import annotations

from typing import Any

from taper import ops as _ops
from taper.op import NAMESPACES as _NAMESPACES

_ops.load_all()
globals().update(_NAMESPACES["special"])

__all__ = sorted(_NAMESPACES["special"])  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"module 'torch.special' has no attribute {name!r} (taper does not have it)"
    )


def __dir__() -> list[str]:
    return list(__all__)
