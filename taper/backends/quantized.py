"""torch.backends.quantized: taper has no kernels for quantized tensors, hence no engine."""

from __future__ import annotations

engine = "none"
supported_engines = ["none"]
