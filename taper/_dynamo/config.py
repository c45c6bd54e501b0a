"""torch._dynamo.config: options of a compiler that taper does not need; programs set them."""

from __future__ import annotations

verbose = False
suppress_errors = False
disable = False
dynamic_shapes = True
assume_static_by_default = True
automatic_dynamic_shapes = True
cache_size_limit = recompile_limit = 8
accumulated_cache_size_limit = accumulated_recompile_limit = 256
capture_scalar_outputs = False
capture_dynamic_output_shape_ops = False
optimize_ddp = True
guard_nn_modules = True
