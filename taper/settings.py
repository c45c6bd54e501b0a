"""Switches and questions about the whole library: default dtype, threads, determinism."""

from __future__ import annotations

import math as _math
import os
from typing import Any

from taper import dtypes
from taper.devices import device as device_class
from taper.devices import require_cpu

__all__ = [
    "are_deterministic_algorithms_enabled",
    "e",
    "get_default_device",
    "get_deterministic_debug_mode",
    "get_float32_matmul_precision",
    "get_num_interop_threads",
    "get_num_threads",
    "inf",
    "is_deterministic_algorithms_warn_only_enabled",
    "is_storage",
    "is_warn_always_enabled",
    "nan",
    "newaxis",
    "pi",
    "set_default_device",
    "set_default_dtype",
    "set_default_tensor_type",
    "set_deterministic_debug_mode",
    "set_float32_matmul_precision",
    "set_flush_denormal",
    "set_num_interop_threads",
    "set_num_threads",
    "set_warn_always",
    "typename",
    "use_deterministic_algorithms",
]

e, inf, nan, pi = _math.e, _math.inf, _math.nan, _math.pi
newaxis = None


def set_default_dtype(d: dtypes.dtype) -> None:
    """Sets the dtype of Python floats and of floating results of integers."""
    dtypes.set_default_dtype(d)


def set_default_tensor_type(t: Any) -> None:
    """Sets the default dtype by a tensor type, such as torch.DoubleTensor."""
    from taper.ops.convert import dtype_of_type

    dtypes.set_default_dtype(dtype_of_type(t))


_default_device = device_class("cpu")


def set_default_device(device: Any) -> None:
    """Sets the device of new tensors: the CPU."""
    require_cpu(device)


def get_default_device() -> device_class:
    """The device of new tensors."""
    return _default_device


_threads: int | None = None


def _available() -> int:
    """Cores this process may use: its affinity, and the quota of its control group."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota()))


def _quota(root: str = "/sys/fs/cgroup") -> int:
    """Whole cores that the control group's quota pays for; a very large number without one."""
    for quota, period in (("cpu.max", ""), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            with open(os.path.join(root, quota)) as file:
                words = file.read().split()
            if period:
                with open(os.path.join(root, period)) as file:
                    words += file.read().split()
            if int(words[0]) > 0:
                return -(-int(words[0]) // int(words[1]))
        except (OSError, ValueError, IndexError):  # no such file, or "max"
            continue
    return 1 << 30


def get_num_threads() -> int:
    """Threads that one op may use: what was set, TAPER_THREADS, OMP_NUM_THREADS, or all cores."""
    global _threads
    if _threads is None:
        wish = os.environ.get("TAPER_THREADS") or os.environ.get("OMP_NUM_THREADS", "")
        _threads = max(1, int(wish)) if wish.isdigit() else _available()
    return _threads


def set_num_threads(num: int) -> None:
    """Sets the number of threads that one op may use, numpy's matrix products included."""
    global _threads
    if not isinstance(num, int) or isinstance(num, bool):
        raise TypeError(f"set_num_threads expects an int, but got {type(num).__name__}")
    if num <= 0:
        raise RuntimeError("set_num_threads expects a positive integer")
    _threads = num
    from taper.backends.blas import set_threads

    set_threads(num)


_interop = 1


def get_num_interop_threads() -> int:
    """Threads that run independent ops: always one here."""
    return _interop


def set_num_interop_threads(num: int) -> None:
    """Accepted and without effect: ops run one after another."""
    if num <= 0:
        raise RuntimeError("set_num_interop_threads expects a positive integer")


_deterministic = [False, False]


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Accepted: every op of taper is deterministic."""
    _deterministic[:] = [mode, warn_only]


def are_deterministic_algorithms_enabled() -> bool:
    """What use_deterministic_algorithms was told."""
    return _deterministic[0]


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether use_deterministic_algorithms was told to warn only."""
    return _deterministic[1]


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """Accepted: every op of taper is deterministic."""
    level = {"default": 0, "warn": 1, "error": 2}.get(debug_mode, debug_mode)  # type: ignore[arg-type]
    _deterministic[:] = [bool(level), level == 1]


def get_deterministic_debug_mode() -> int:
    """0, 1 (warn) or 2 (error)."""
    return 0 if not _deterministic[0] else 1 if _deterministic[1] else 2


_precision = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """Accepted: products of float32 matrices are computed in float32."""
    global _precision
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"Invalid float32 matmul precision: {precision}")
    _precision = precision


def get_float32_matmul_precision() -> str:
    """What set_float32_matmul_precision was told."""
    return _precision


def set_flush_denormal(mode: bool) -> bool:
    """False: denormal numbers are always kept."""
    return False


_warn_always = False


def set_warn_always(b: bool) -> None:
    """Whether warnings that appear once appear every time; taper leaves that to Python."""
    global _warn_always
    _warn_always = b


def is_warn_always_enabled() -> bool:
    """What set_warn_always was told."""
    return _warn_always


def is_storage(obj: Any) -> bool:
    """Whether `obj` is a storage object."""
    from taper.storage_view import TypedStorage, UntypedStorage

    return isinstance(obj, (TypedStorage, UntypedStorage))


def typename(obj: Any) -> str:
    """The name of the object's type, "torch.FloatTensor" for a float tensor."""
    from taper.tensor import Tensor

    if isinstance(obj, Tensor):
        return obj.type()
    cls = obj if isinstance(obj, type) else type(obj)
    module = cls.__module__
    return (
        cls.__qualname__
        if module in ("builtins", "__builtin__")
        else f"{module}.{cls.__qualname__}"
    )
