"""torch.version: the release whose interface taper has, and what it was built with."""

from __future__ import annotations

import taper

__version__ = taper.__version__
debug = False
cuda: str | None = None
hip: str | None = None
xpu: str | None = None
git_version: str | None = None
