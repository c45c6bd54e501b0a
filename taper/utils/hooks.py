"""RemovableHandle under PyTorch's name; the hooks themselves are in taper/autograd/hooks.py."""

from __future__ import annotations

from taper.autograd.hooks import RemovableHandle

__all__ = ["RemovableHandle"]
