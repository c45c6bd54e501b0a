"""Parameter and Buffer: tensors that a Module registers when they are assigned to it.

The uninitialized kinds belong to lazy modules: they have a dtype but no shape until `materialize`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.devices import device as device_class
from taper.devices import require_cpu
from taper.errors import GradError
from taper.size import Size
from taper.storage import storage_of
from taper.tensor import Tensor, TensorMeta, wrap

__all__ = [
    "Buffer",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "UninitializedTensorMixin",
    "is_lazy",
]


class _ParameterMeta(TensorMeta):
    """A tensor of the user's own subclass becomes a parameter by a mark, not by its class."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return super().__instancecheck__(instance) or (
            cls is Parameter
            and isinstance(instance, Tensor)
            and getattr(instance, "_is_param", False)
        )


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that requires grad and becomes a module's parameter when assigned to it.

    It shares the memory of `data` and starts a history of its own. Raises: RuntimeError if
    `data` is of an integer dtype and `requires_grad` is True.
    """

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        if data is None:
            data = wrap(np.empty(0, dtypes.get_default_dtype().numpy))
        kind = type(data)
        if kind is Tensor or (isinstance(data, Parameter) and not hasattr(data, "_is_param")):
            made: Any = wrap(data._array, cls)
        else:
            data.detach()  # whatever is not a tensor fails here, as in PyTorch
            made = wrap(data._array, kind)
            made._is_param = True
        made._storage = storage_of(data)
        if requires_grad:
            if made._array.dtype.kind not in "fcV":
                raise GradError(
                    "Only Tensors of floating point and complex dtype can require gradients"
                )
            made._requires_grad = True
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        made = type(self)(wrap(self._array.copy(order="K")), self.requires_grad)
        memo[id(self)] = made
        return made

    # mypy does not see that this is the signature of Tensor.__repr__.
    def __repr__(self, *, tensor_contents: str | None = None) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__()


class _BufferMeta(TensorMeta):
    """A buffer is a plain tensor with a mark."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return super().__instancecheck__(instance) or (
            cls is Buffer
            and isinstance(instance, Tensor)
            and getattr(instance, "_is_buffer", False)
        )


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that becomes a module's buffer when assigned to it; `persistent` ones are saved."""

    persistent: bool

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        if data is None:
            data = wrap(np.empty(0, dtypes.get_default_dtype().numpy))
        made = data.detach().requires_grad_(data.requires_grad)
        made.persistent = persistent
        made._is_buffer = True
        return made


# ---------------------------------------------------------------- without a shape yet

_held: Any = Tensor.__dict__["_array"]  # the slot, which the property below hides


class UninitializedTensorMixin:
    """A tensor whose shape is not known yet. Any use but a cast is an error."""

    cls_to_become: type[Tensor]

    @property
    def _array(self) -> np.ndarray:
        raise ValueError(
            f"Attempted to use an uninitialized parameter in an operation. This error happens when "
            "you are using a `LazyModule` or explicitly manipulating `torch.nn.parameter."
            f"{type(self).__name__}` objects. When using LazyModules Call `forward` with a dummy "
            "batch to initialize the parameters before calling torch functions"
        )

    @_array.setter
    def _array(self, array: np.ndarray) -> None:
        # Behind the property: it comes to light when the class changes.
        _held.__set__(self, array)

    def _empty(self) -> Tensor:
        """The empty tensor that carries the dtype."""
        return wrap(_held.__get__(self))

    @property
    def shape(self) -> Size:
        """Raises: RuntimeError, there is none yet."""
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually "
            "happens in `load_state_dict` when trying to load an uninitialized parameter into an "
            "initialized one. Call `forward` to initialize the parameters before accessing their "
            "attributes."
        )

    @property
    def dtype(self) -> dtypes.dtype:
        """The dtype it will have."""
        return self._empty().dtype

    @property
    def data(self) -> Tensor:
        """An empty tensor of the dtype."""
        return self._empty()

    @data.setter
    def data(self, other: Tensor) -> None:
        _held.__set__(self, other._array)
        self._storage = None

    @property
    def requires_grad(self) -> bool:
        """Whether it will require grad."""
        return bool(self._requires_grad)

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self._requires_grad = bool(wanted)

    def size(self, dim: int | None = None) -> Any:
        """The sizes of the empty tensor, (0,)."""
        return self._empty().size(dim)

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating one."""
        return self._empty().is_floating_point()

    def is_complex(self) -> bool:
        """Whether the dtype is complex."""
        return self._empty().is_complex()

    def materialize(
        self, shape: Any, device: Any = None, dtype: dtypes.dtype | None = None
    ) -> None:
        """Gives it a shape, uninitialized memory, and the class of an ordinary parameter."""
        require_cpu(device)
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        array = np.empty(sizes, (dtype or self.dtype).numpy)
        self.__class__ = self.cls_to_become  # type: ignore[assignment]
        self._storage = None
        self._array = array

    def share_memory_(self) -> Any:
        """Raises: RuntimeError, there is no memory yet."""
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to "
            "initialize the parameters before calling `module.share_memory()`."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return type(self), (self.requires_grad, None, self.dtype)


def _cast(name: str) -> Any:
    def method(self: UninitializedTensorMixin, *args: Any, **kwargs: Any) -> Any:
        made = getattr(self._empty(), name)(*args, **kwargs)
        if isinstance(self, UninitializedBuffer) and isinstance(made, Tensor):
            persistent = self.__dict__["persistent"]
            return UninitializedBuffer(self.requires_grad, None, made.dtype, persistent)
        return made

    method.__name__ = name
    method.__doc__ = f"What has no shape yet, after {name}(): a parameter's data, or a buffer."
    return method


# The casts that Module.to and its kin apply to every parameter.
for _name in ("to", "float", "double", "half", "bfloat16", "cpu", "cuda", "type"):
    setattr(UninitializedTensorMixin, _name, _cast(_name))


def _bare(cls: Any, requires_grad: bool, device: Any, dtype: dtypes.dtype | None) -> Any:
    require_cpu(device)
    made = wrap(np.empty(0, (dtype or dtypes.get_default_dtype()).numpy), cls)
    made._requires_grad = requires_grad
    return made


class UninitializedParameter(UninitializedTensorMixin, Parameter):  # type: ignore[misc]
    """A parameter of a lazy module before its first forward."""

    cls_to_become = Parameter

    def __new__(
        cls,
        requires_grad: bool = True,
        device: device_class | None = None,
        dtype: dtypes.dtype | None = None,
    ) -> Any:
        return _bare(cls, requires_grad, device, dtype)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.requires_grad, None, self.dtype)
        return memo[id(self)]


class UninitializedBuffer(UninitializedTensorMixin, Tensor):  # type: ignore[misc]
    """A buffer of a lazy module before its first forward."""

    cls_to_become = Tensor

    def __new__(
        cls,
        requires_grad: bool = False,
        device: device_class | None = None,
        dtype: dtypes.dtype | None = None,
        persistent: bool = True,
    ) -> Any:
        made = _bare(cls, requires_grad, device, dtype)
        made.persistent = persistent
        made._is_buffer = True
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            made = type(self)(self.requires_grad, None, self.dtype)
            made.persistent = self.__dict__["persistent"]
            memo[id(self)] = made
        return memo[id(self)]


def is_lazy(param: Any) -> bool:
    """Whether the parameter or buffer has no shape yet."""
    return isinstance(param, UninitializedTensorMixin)
