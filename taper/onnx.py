"""torch.onnx: programs import it; taper does not write ONNX files."""

from __future__ import annotations

from typing import Any

from taper.errors import MissingFeature

__all__ = ["export", "is_in_onnx_export"]


def is_in_onnx_export() -> bool:
    """False."""
    return False


def export(model: Any, args: Any = (), f: Any = None, **options: Any) -> Any:
    """Raises: NotImplementedError. Save the state_dict() with torch.save, export from PyTorch."""
    raise MissingFeature(
        "torch.onnx.export",
        "ONNX files are not available; save the state_dict() and export from PyTorch",
    )
