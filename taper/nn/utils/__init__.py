"""What helps around modules: clipping, parametrizations, pruning, fusing, recurrent sequences.

Each file is loaded when one of its names is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# These two files are called like their functions; loading them later would hide the functions.
from taper.nn.utils.spectral_norm import remove_spectral_norm, spectral_norm
from taper.nn.utils.weight_norm import remove_weight_norm, weight_norm

if TYPE_CHECKING:
    from taper.nn.utils.clip_grad import clip_grad_norm as clip_grad_norm
    from taper.nn.utils.clip_grad import clip_grad_norm_ as clip_grad_norm_
    from taper.nn.utils.clip_grad import clip_grad_value_ as clip_grad_value_
    from taper.nn.utils.clip_grad import clip_grads_with_norm_ as clip_grads_with_norm_
    from taper.nn.utils.clip_grad import get_total_norm as get_total_norm
    from taper.nn.utils.convert_parameters import parameters_to_vector as parameters_to_vector
    from taper.nn.utils.convert_parameters import vector_to_parameters as vector_to_parameters
    from taper.nn.utils.init import skip_init as skip_init

# Name -> file.
_HOME = {
    "clip_grad_norm": "clip_grad",
    "clip_grad_norm_": "clip_grad",
    "clip_grads_with_norm_": "clip_grad",
    "clip_grad_value_": "clip_grad",
    "get_total_norm": "clip_grad",
    "convert_conv2d_weight_memory_format": "memory_format",
    "convert_conv3d_weight_memory_format": "memory_format",
    "fuse_conv_bn_eval": "fusion",
    "fuse_conv_bn_weights": "fusion",
    "fuse_linear_bn_eval": "fusion",
    "fuse_linear_bn_weights": "fusion",
    "parameters_to_vector": "convert_parameters",
    "vector_to_parameters": "convert_parameters",
    "skip_init": "init",
}
_MODULES = ("parametrizations", "parametrize", "prune", "rnn", "stateless")

__all__ = [  # noqa: PLE0604 - strings
    *sorted(_HOME),
    *_MODULES,
    "remove_spectral_norm",
    "remove_weight_norm",
    "spectral_norm",
    "weight_norm",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOME:
        found = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = found
        return found
    if name in _MODULES or name in _HOME.values():
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(
        f"module 'torch.nn.utils' has no attribute {name!r} (taper does not have it)"
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
