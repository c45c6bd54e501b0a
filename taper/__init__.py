"""taper: PyTorch's interface in Python, down to the kernels. `import taper as torch`."""

from __future__ import annotations

from typing import Any

from taper import ops as _ops
from taper.autograd.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from taper.devices import (
    channels_last,
    channels_last_3d,
    contiguous_format,
    device,
    jagged,
    layout,
    memory_format,
    preserve_format,
    sparse_bsc,
    sparse_bsr,
    sparse_coo,
    sparse_csc,
    sparse_csr,
    strided,
)
from taper.dtypes import (
    can_cast,
    dtype,
    finfo,
    get_default_dtype,
    iinfo,
    promote_types,
)
from taper.dtypes import named_only as _dtypes_named_only
from taper.dtypes import names as _dtype_names
from taper.op import NAMESPACES as _NAMESPACES
from taper.size import Size
from taper.tensor import Tensor

__version__ = "0.1.0"

globals().update(_dtype_names())
globals().update(_dtypes_named_only())
_ops.load("core")
globals().update(_NAMESPACES["torch"])

from taper import autograd  # noqa: E402
from taper.autograd.gradcheck import gradcheck as _gradcheck  # noqa: E402
from taper.settings import *  # noqa: E402, F403 - after the dtypes, on which it depends

# torch.autograd.gradcheck is the function. Importing the module of that name puts the module there,
# but only the first time: hence now.
autograd.gradcheck = _gradcheck  # type: ignore[assignment]

# Loaded when first named: most programs need few of them, and importing taper must be instant.
_MODULES = frozenset(
    [
        "__config__",
        "_dynamo",
        "accelerator",
        "amp",
        "autograd",
        "backends",
        "compiler",
        "cpu",
        "cuda",
        "distributed",
        "distributions",
        "fft",
        "func",
        "inspection",
        "jit",
        "linalg",
        "mps",
        "multiprocessing",
        "nn",
        "onnx",
        "ops",
        "optim",
        "overrides",
        "random",
        "return_types",
        "serialization",
        "signal",
        "special",
        "studies",
        "testing",
        "torch_version",
        "types",
        "utils",
        "version",
        "vision",
        "xpu",
    ]
)
_LATER: dict[str, str] = {
    "save": "serialization",
    "load": "serialization",
    "Generator": "generator",
    "default_generator": "generator",
    "manual_seed": "random",
    "seed": "random",
    "initial_seed": "random",
    "get_rng_state": "random",
    "set_rng_state": "random",
    "set_printoptions": "printing",
    "UntypedStorage": "storage_view",
    "TypedStorage": "storage_view",
    "AcceleratorError": "errors",
    "OutOfMemoryError": "errors",
    "is_anomaly_enabled": "autograd.anomaly",
    "is_anomaly_check_nan_enabled": "autograd.anomaly",
    "vmap": "func",
    "Stream": "cpu",
    "Event": "cpu",
    "autocast": "amp",
    "GradScaler": "amp",
    "compile": "compiler",
    "explain": "inspection",
    "_assert": "assertions",
    "_assert_async": "assertions",
    "_check": "assertions",
    "_check_index": "assertions",
    "_check_is_size": "assertions",
    "_check_not_implemented": "assertions",
    "_check_tensor_all": "assertions",
    "_check_type": "assertions",
    "_check_value": "assertions",
}
_STORAGES = (
    "BFloat16Storage",
    "BoolStorage",
    "ByteStorage",
    "CharStorage",
    "ComplexDoubleStorage",
    "ComplexFloatStorage",
    "DoubleStorage",
    "FloatStorage",
    "HalfStorage",
    "IntStorage",
    "LongStorage",
    "ShortStorage",
)
_LATER.update(dict.fromkeys(_STORAGES, "storage_view"))
_TYPED = (
    "FloatTensor",
    "DoubleTensor",
    "HalfTensor",
    "BFloat16Tensor",
    "ByteTensor",
    "CharTensor",
    "ShortTensor",
    "IntTensor",
    "LongTensor",
    "BoolTensor",
)


def _in_a_family(name: str) -> bool:
    # The families may be loaded already: a tensor's method loads them, too.
    _ops.load_all()
    return name in _NAMESPACES["torch"]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _MODULES:
        return importlib.import_module("taper." + name)
    if name in _LATER:
        value = getattr(importlib.import_module("taper." + _LATER[name]), name)
    elif name in _TYPED:
        from taper.typed import TYPES

        value = TYPES[name]
    elif not name.startswith("__") and _in_a_family(name):
        globals().update(_NAMESPACES["torch"])
        return globals()[name]
    else:
        raise AttributeError(f"module 'torch' has no attribute {name!r} (taper does not have it)")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    _ops.load_all()
    return sorted({*globals(), *_NAMESPACES["torch"], *_MODULES, *_LATER, *_TYPED})


__all__ = [name for name in globals() if not name.startswith("_")]
