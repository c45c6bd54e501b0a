"""Signal processing: torch.signal, which has the windows."""

from __future__ import annotations

from taper.signal import windows

__all__ = ["windows"]
