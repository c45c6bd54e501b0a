"""The functions behind the layers: torch.nn.functional.

They are defined in the families of taper.ops and gathered here; the layers' checks of arguments
that PyTorch keeps in this module are here too.
"""

from __future__ import annotations

from typing import Any

from taper import ops as _ops
from taper.op import NAMESPACES as _NAMESPACES

_ops.load("nn")
globals().update(_NAMESPACES["nn.functional"])


def __getattr__(name: str) -> Any:
    # A few functions stand in families of another group.
    if not name.startswith("__") and _ops.load_all():
        globals().update(_NAMESPACES["nn.functional"])
        if name in globals():
            return globals()[name]
    raise AttributeError(
        f"module 'torch.nn.functional' has no attribute {name!r} (taper does not have it)"
    )


def __dir__() -> list[str]:
    _ops.load_all()
    return sorted({*globals(), *_NAMESPACES["nn.functional"]})
