"""`astype` on kernels, for the pairs of dtypes that numpy converts slowly."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import reference
from taper.backends.llvm.cast import Cast, is_native
from taper.backends.llvm.loaded import kernel
from taper.backends.llvm.machine import host

# Elements below which numpy is as quick as the call.
LEAST = 128

_astype = reference.math.astype
_SINGLE, _HALF = np.dtype(np.float32), np.dtype(np.float16)


@functools.cache
def _kernel(source: np.dtype, target: np.dtype) -> Callable[..., Any] | None:
    """The kernel for a pair of dtypes, if there is one."""
    if source == _SINGLE and target == _HALF and is_native(host()):
        return kernel(Cast("float", "half"))
    if source == _HALF and target == _SINGLE and is_native(host()):
        return kernel(Cast("half", "float"))
    if source == _SINGLE and target.kind == "V" and target.name == "bfloat16":
        return kernel(Cast("float", "bfloat"))
    return None


def astype(x: Any, dtype: Any) -> Any:
    """The elements in another dtype; of complex ones, for a real dtype, the real parts."""
    if type(x) is np.ndarray and x.size >= LEAST:
        target = dtype if type(dtype) is np.dtype else np.dtype(dtype)
        # Most casts have nothing to do with the half types.
        if target.itemsize == 2 or x.itemsize == 2:
            flags = x.flags
            if flags.c_contiguous or flags.f_contiguous:
                convert = _kernel(x.dtype, target)
                if convert is not None:
                    out = np.empty_like(x, target)
                    convert(x, out, 0, x.size)
                    return out
    return _astype(x, dtype)
