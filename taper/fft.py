"""Discrete Fourier transforms: torch.fft. The functions are defined in taper/ops/fft.py."""

from __future__ import annotations

from typing import Any

from taper import ops as _ops
from taper.op import NAMESPACES as _NAMESPACES

_ops.load_all()
globals().update(_NAMESPACES["fft"])

__all__ = sorted(_NAMESPACES["fft"])  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'torch.fft' has no attribute {name!r} (taper does not have it)")


def __dir__() -> list[str]:
    return list(__all__)
