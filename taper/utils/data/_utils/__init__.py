"""PyTorch's place for the parts of data loading that programs reach into."""

from __future__ import annotations

from taper.utils.data._utils import collate as collate
from taper.utils.data._utils import worker as worker
