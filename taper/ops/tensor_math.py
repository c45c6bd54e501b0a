"""numpy's names on tensors: the `m` of a derivative that is itself recorded.

Every function takes and returns tensors and is differentiable, so a vjp written with these names
can be differentiated again. A name that is missing here is looked up among the public functions
where PyTorch and numpy agree on it (exp, sin, where, ...).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.op import NAMESPACES
from taper.tensor import Tensor, wrap

# numpy's name -> PyTorch's, where they differ and the arguments agree
_RENAMED = {
    "equal": "eq",
    "not_equal": "ne",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
    "absolute": "abs",
    "power": "pow",
    "negative": "neg",
    "multiply": "mul",
    "subtract": "sub",
    "true_divide": "div",
    "divide": "div",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "arctan2": "atan2",
    "rint": "round",
    "conjugate": "conj",
    "concatenate": "cat",
    "invert": "bitwise_not",
}


def _axis(axis: Any, ndim: int) -> Any:
    return tuple(range(ndim)) if axis is None else axis


def _reduced(name: str) -> Any:
    def function(x: Tensor, axis: Any = None, keepdims: bool = False) -> Tensor:
        return NAMESPACES["torch"][name](x, _axis(axis, x._array.ndim), keepdims)

    return function


class TensorMath:
    """The namespace. `on_arrays` tells the few derivatives that must know which one they have."""

    on_arrays = False

    sum = staticmethod(_reduced("sum"))
    mean = staticmethod(_reduced("mean"))
    max = staticmethod(_reduced("amax"))
    min = staticmethod(_reduced("amin"))
    prod = staticmethod(_reduced("prod"))

    def __getattr__(self, name: str) -> Any:
        space = NAMESPACES["torch"]
        found = space.get(_RENAMED.get(name, name)) or NAMESPACES.get("special", {}).get(name)
        if found is None:
            found = NAMESPACES.get("linalg", {}).get(name)
        if found is None:
            from taper.ops import load_all

            if load_all():  # it may stand in a family that nothing has named yet
                return getattr(self, name)
            raise AttributeError(f"no differentiable function {name!r} on tensors")
        self.__dict__[name] = found
        return found

    @staticmethod
    def call(op: Any, *inputs: Any, **attrs: Any) -> Any:
        """Runs another op, recorded."""
        return apply(op, *inputs, **attrs)

    @staticmethod
    def constant(array: np.ndarray) -> Tensor:
        """An array as a tensor."""
        return wrap(array)

    @staticmethod
    def asarray(x: Any) -> Tensor:
        return x if isinstance(x, Tensor) else wrap(np.asarray(x))

    @staticmethod
    def astype(x: Tensor, dtype: Any) -> Tensor:
        if isinstance(dtype, dtypes.dtype):
            return x.to(dtype)
        return x.to(dtypes.of(np.dtype(dtype)))

    @staticmethod
    def reshape(x: Tensor, shape: Any) -> Tensor:
        return x.reshape(shape)

    @staticmethod
    def transpose(x: Tensor, axes: Any = None) -> Tensor:
        order = tuple(range(x._array.ndim))[::-1] if axes is None else axes
        return x.permute(order)

    @staticmethod
    def swapaxes(x: Tensor, one: int, other: int) -> Tensor:
        return x.transpose(one, other)

    @staticmethod
    def moveaxis(x: Tensor, source: Any, destination: Any) -> Tensor:
        return x.movedim(source, destination)

    @staticmethod
    def broadcast_to(x: Tensor, shape: Any) -> Tensor:
        return x.expand(shape)

    @staticmethod
    def expand_dims(x: Tensor, axis: Any) -> Tensor:
        axes = (axis,) if isinstance(axis, int) else axis
        ndim = x._array.ndim + len(axes)
        for a in sorted(a % ndim for a in axes):
            x = x.unsqueeze(a)
        return x

    @staticmethod
    def squeeze(x: Tensor, axis: Any = None) -> Tensor:
        return x.squeeze() if axis is None else x.squeeze(axis)

    @staticmethod
    def sum_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The adjoint of broadcasting `shape` to x's shape."""
        own = x._array.shape
        if own == shape:
            return x
        extra = len(own) - len(shape)
        if extra > 0:
            x = x.sum(tuple(range(extra)))
        axes = tuple(i for i, n in enumerate(shape) if n == 1 and x._array.shape[i] != 1)
        if axes:
            x = x.sum(axes, keepdim=True)
        return x if x._array.shape == shape else x.expand(shape)

    @staticmethod
    def where(condition: Any, x: Any, y: Any) -> Tensor:
        if not isinstance(condition, Tensor):
            condition = wrap(np.asarray(condition))
        return NAMESPACES["torch"]["where"](condition, x, y)

    @staticmethod
    def zeros(shape: Any, dtype: Any = None) -> Tensor:
        return wrap(np.zeros(shape, dtype.numpy if isinstance(dtype, dtypes.dtype) else dtype))

    @staticmethod
    def ones(shape: Any, dtype: Any = None) -> Tensor:
        return wrap(np.ones(shape, dtype.numpy if isinstance(dtype, dtypes.dtype) else dtype))

    @staticmethod
    def conj(x: Tensor) -> Tensor:
        return x.conj() if x._array.dtype.kind == "c" else x

    @staticmethod
    def real(x: Any) -> Any:
        return x.real if isinstance(x, Tensor) and x._array.dtype.kind == "c" else x


math = TensorMath()
