"""FloatTensor, LongTensor and the other legacy types: constructors that fix the dtype.

isinstance(t, FloatTensor) asks for the dtype, as in PyTorch.
"""

from __future__ import annotations

from typing import Any

from taper import dtypes
from taper.ops.convert import _TYPE_NAMES
from taper.ops.from_data import legacy_tensor
from taper.tensor import Tensor


class _Typed(type):
    """Class of the legacy types."""

    dtype: dtypes.dtype

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype

    def __call__(cls, *args: Any, **kwargs: Any) -> Tensor:
        return legacy_tensor(Tensor, cls.dtype, *args, **kwargs)


def _make(name: str, dtype: dtypes.dtype) -> Any:
    made = _Typed(name, (), {"__module__": "torch", "__doc__": f"Tensors of {dtype!r}."})
    made.dtype = dtype
    return made


TYPES = {name: _make(name, dtype) for name, dtype in _TYPE_NAMES.items()}
