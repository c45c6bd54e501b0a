"""The Tensor: an array, its place on the tape, and PyTorch's attributes.

What is computed lives in ops/; their functions become methods of this class when ops/ is loaded
(see op.py). Here is only what a tensor is: memory, gradient, conversions to Python and numpy.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from taper import dtypes
from taper.devices import CPU, channels_last, channels_last_3d, device, layout, strided
from taper.errors import GradError
from taper.size import Size, size_of
from taper.storage import Storage, address, memory_of, offset_of, storage_of

_new = object.__new__

NON_LEAF_GRAD = (
    "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad "
    "attribute won't be populated during autograd.backward(). If you indeed want the .grad field "
    "to be populated for a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor. If you "
    "access the non-leaf Tensor by mistake, make sure you access the leaf Tensor instead. See "
    "github.com/pytorch/pytorch/pull/30531 for more informations."
)


class TensorMeta(type):
    """Class of Tensor: finds methods of families that are not loaded yet on the class too."""

    def __getattr__(cls, name: str) -> Any:
        if not name.startswith("_"):
            from taper.ops import load_all

            if load_all() and name in dir(cls):
                return getattr(cls, name)
        raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")


class Tensor(metaclass=TensorMeta):
    """An n-dimensional array of one dtype that can record how it was computed.

    `Tensor(2, 3)` makes an uninitialised float32 tensor of that shape, `Tensor([2, 3])` one with
    those values, as PyTorch's constructor does; prefer `tensor`, `zeros` and the like.
    """

    # Slots, because machine code reads and fills them too (backends/llvm/tape.py); `wrap` gives them
    # their first values. The dictionary is for the attributes of users and subclasses.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_accumulate",
        "_array",
        "_base",
        "_grad",
        "_grad_fn",
        "_hooks",
        "_is_inference",
        "_output_nr",
        "_post_accumulate",
        "_requires_grad",
        "_storage",
        "_view_origin",
        "_view_version",
    )
    _array: np.ndarray
    _grad: Tensor | None
    _grad_fn: Any
    _output_nr: int
    _requires_grad: bool
    _base: Tensor | None
    _storage: Storage | None
    # Of a view: the version of the memory that its place on the tape was derived from, and why
    # it may not be written to while recording ("" if it may). See autograd/inplace.py.
    _view_version: int | None
    _view_origin: str
    _hooks: dict[int, Any] | None
    # Hooks that run when a leaf's gradient has been added up.
    _post_accumulate: dict[int, Any] | None
    _is_inference: bool
    _accumulate: Any  # weak reference to the leaf's AccumulateGrad, once looked at

    __array_priority__ = 1000
    __module__ = "torch"

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        from taper.ops.from_data import legacy_tensor

        return legacy_tensor(cls, dtypes.get_default_dtype(), *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # __new__ did the work; a subclass may override with arguments of its own.
        return None

    def __getattr__(self, name: str) -> Any:
        # Reached for what the class lacks: the method of a family that is not loaded yet, perhaps.
        if not name.startswith("_"):
            from taper.ops import load_all

            if load_all() and hasattr(type(self), name):
                return getattr(self, name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    if TYPE_CHECKING:

        def __add__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...

    # ------------------------------------------------------------ shape, dtype, memory

    @property
    def shape(self) -> Size:
        """Sizes of the dimensions."""
        return size_of(self._array.shape)

    def size(self, dim: int | None = None) -> Any:
        """All sizes, or that of one dimension."""
        if dim is None:
            return size_of(self._array.shape)
        from taper.shapes import canonical_dim

        return self._array.shape[canonical_dim(dim, self._array.ndim)]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self._array.ndim

    def dim(self) -> int:
        """Number of dimensions."""
        return self._array.ndim

    ndimension = dim

    def numel(self) -> int:
        """Number of elements."""
        return self._array.size

    nelement = numel

    @property
    def dtype(self) -> dtypes.dtype:
        """Type of the elements."""
        return dtypes._BY_NUMPY.get(self._array.dtype) or dtypes.of(self._array.dtype)

    @property
    def device(self) -> device:
        """Where the tensor lives: the CPU."""
        return CPU

    @property
    def layout(self) -> layout:
        """How the elements are stored."""
        return strided

    def get_device(self) -> int:
        """Index of the GPU; -1 on the CPU."""
        return -1

    def stride(self, dim: int | None = None) -> Any:
        """Elements to step over in memory for each dimension, or for one."""
        array = self._array
        item = array.itemsize
        strides = tuple([s // item for s in array.strides])
        if not array.size and not any(strides):
            strides = _row_major(array.shape)  # numpy gives new empty arrays strides of 0
        if dim is None:
            return strides
        from taper.shapes import canonical_dim

        return strides[canonical_dim(dim, self._array.ndim)]

    def storage_offset(self) -> int:
        """Elements between the start of the storage and the first element."""
        return offset_of(self)

    def data_ptr(self) -> int:
        """Address of the first element."""
        return address(self._array) if self._array.size else 0

    def element_size(self) -> int:
        """Bytes of one element."""
        return self._array.itemsize

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._array.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._array.nbytes

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether the elements lie in row-major order (or in that of `memory_format`)."""
        if memory_format is channels_last:
            a = self._array
            return a.ndim == 4 and bool(a.transpose(0, 2, 3, 1).flags.c_contiguous)
        if memory_format is channels_last_3d:
            a = self._array
            return a.ndim == 5 and bool(a.transpose(0, 2, 3, 4, 1).flags.c_contiguous)
        return bool(self._array.flags.c_contiguous)

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating one."""
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        """Whether the dtype is complex."""
        return self._array.dtype.kind == "c"

    def is_signed(self) -> bool:
        """Whether the dtype has negative numbers."""
        return self.dtype.is_signed

    def is_conj(self) -> bool:
        """Always False: taper conjugates at once instead of marking the tensor."""
        return False

    is_neg = is_conj

    def is_inference(self) -> bool:
        """Whether the tensor was made in inference mode."""
        return self._is_inference

    def is_shared(self) -> bool:
        """Whether the memory is shared between processes."""
        return False

    def is_pinned(self, device: Any = None) -> bool:
        """Always False without a GPU."""
        return False

    is_cuda = is_xpu = is_mps = is_meta = is_mkldnn = is_quantized = is_nested = False
    is_sparse = is_sparse_csr = is_xla = is_vulkan = is_ipu = is_hpu = is_maia = is_mtia = False
    is_cpu = True
    names: tuple[str, ...] = ()
    name: str | None = None
    volatile = False

    def has_names(self) -> bool:
        """Always False: named dimensions are not available."""
        return False

    def is_same_size(self, other: Tensor) -> bool:
        """Whether both have the same shape."""
        return self._array.shape == other._array.shape

    def is_set_to(self, tensor: Tensor) -> bool:
        """Whether both are the same look at the same memory."""
        one, other = self._array, tensor._array
        return (
            address(one) == address(other)
            and one.shape == other.shape
            and one.strides == other.strides
        )

    def untyped_storage(self) -> Any:
        """The storage as bytes."""
        from taper.storage_view import UntypedStorage

        return UntypedStorage(storage_of(self))

    def storage(self) -> Any:
        """The storage as elements of the tensor's dtype."""
        from taper.storage_view import TypedStorage

        return TypedStorage(storage_of(self), self.dtype)

    # ------------------------------------------------------------ autograd

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient can be computed with respect to this tensor."""
        return self._requires_grad or (
            self._view_version is not None and self._base._requires_grad  # type: ignore[union-attr]
        )

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if wanted and self._array.dtype.kind not in "fcV":
            raise GradError(
                "only Tensors of floating point and complex dtype can require gradients"
            )
        if not wanted and not self.is_leaf:
            raise GradError(
                "you can only change requires_grad flags of leaf variables. If you want to use a "
                "computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."
            )
        self._requires_grad = bool(wanted)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Sets requires_grad and returns the tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def grad_fn(self) -> Any:
        """The node that computed this tensor; None for a leaf."""
        if self._view_version is not None:
            from taper.autograd.inplace import current_function

            return current_function(self)
        return self._grad_fn

    @property
    def output_nr(self) -> int:
        """Which output of its node this tensor is."""
        return self._output_nr

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor was made by the user and not by a recorded op."""
        return self.grad_fn is None

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient; None before the first backward()."""
        if self._grad is None and self._grad_fn is not None and not self.retains_grad:
            warnings.warn(NON_LEAF_GRAD, UserWarning, stacklevel=2)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is None:
            self._grad = None
            return
        if not isinstance(value, Tensor):
            raise TypeError(
                "assigned grad expected to be a Tensor or None but got grad of type "
                + type(value).__name__
            )
        if value is self:
            raise GradError("can't assign Variable as its own grad")
        if value._array.dtype != self._array.dtype:
            raise GradError(
                f"attempting to assign a gradient with dtype '{dtypes.c_name(value.dtype)}' to a "
                f"tensor with grad_dtype '{dtypes.cpp_name(self.dtype)}'. The gradient must match "
                "the tensor's grad_dtype (defaults to the tensor's dtype)."
            )
        if value._array.shape != self._array.shape:
            raise GradError(
                f"attempting to assign a gradient of size '{list(value.shape)}' to a tensor of "
                f"size '{list(self.shape)}'. Please ensure that the gradient and the tensor are the "
                "same size"
            )
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Computes the gradients of this tensor and adds them to the leaves' `.grad`.

        Raises: RuntimeError if it has more than one element and no `gradient` is given, or if
            the graph was freed by an earlier call.
        """
        from taper.autograd.engine import backward

        backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def retain_grad(self) -> None:
        """Makes `.grad` of this non-leaf tensor be filled by backward()."""
        if not self.requires_grad:
            raise GradError("can't retain_grad on Tensor that has requires_grad=False")
        function = self.grad_fn
        if function is None or self.retains_grad:
            return
        import weakref

        self_ref = weakref.ref(self)

        def keep(grad: Tensor) -> None:
            tensor = self_ref()
            if tensor is not None:
                tensor._grad = grad.clone() if tensor._grad is None else tensor._grad + grad

        self._retain_handle = function.add_hook(("retain", self._output_nr), keep)

    _retain_handle: Any = None  # of the hook that fills `.grad` of a non-leaf

    @property
    def retains_grad(self) -> bool:
        """Whether retain_grad() was called on a non-leaf."""
        return self._retain_handle is not None

    def register_hook(self, hook: Any) -> Any:
        """hook(grad) runs when the gradient of this tensor is known, and may return another.

        Returns: a handle whose remove() takes the hook away.
        """
        if not self.requires_grad:
            raise GradError("cannot register a hook on a tensor that doesn't require gradient")
        function = self.grad_fn
        if function is not None:
            return function.add_hook(("grad", self._output_nr), hook)
        from taper.autograd.hooks import RemovableHandle

        if self._hooks is None:
            self._hooks = {}
        return RemovableHandle.enter(self._hooks, hook)

    def register_post_accumulate_grad_hook(self, hook: Any) -> Any:
        """hook(tensor) runs after backward() has added into this leaf's `.grad`."""
        if not self.requires_grad:
            raise GradError("cannot register a hook on a tensor that doesn't require gradient")
        if self.grad_fn is not None:
            raise GradError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        from taper.autograd.hooks import RemovableHandle

        if self._post_accumulate is None:
            self._post_accumulate = {}
        return RemovableHandle.enter(self._post_accumulate, hook)

    @property
    def _version(self) -> int:
        return 0 if self._storage is None else self._storage.version

    def _is_view(self) -> bool:
        return self._base is not None

    _array_subclass = False

    @property
    def data(self) -> Tensor:
        """The same memory without history."""
        made = wrap(self._array, type(self) if type(self)._array_subclass else Tensor)
        # A version counter of its own, as PyTorch's .data has: writes through it go unnoticed.
        made._storage = Storage(self._array if self._storage is None else self._storage.owner)
        return made

    @data.setter
    def data(self, other: Tensor) -> None:
        if not isinstance(other, Tensor):
            raise TypeError("Variable data has to be a tensor, but got " + type(other).__name__)
        if self._requires_grad and other._array.dtype.kind not in "fcV":
            raise GradError(
                "data set to a tensor that requires gradients must be floating point or complex "
                "dtype"
            )
        version = self._version
        self._array = other._array
        owner = storage_of(other).owner
        self._storage = Storage(owner)
        self._storage.version = version
        self._base = None
        self._view_version = None
        self._view_origin = ""

    # ------------------------------------------------------------ to Python and numpy

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The numpy array that shares this tensor's memory.

        Raises: RuntimeError if the tensor requires grad (unless `force`), TypeError for bfloat16.
        """
        if self.requires_grad and not force:
            raise GradError(
                "Can't call numpy() on Tensor that requires grad. Use "
                "tensor.detach().numpy() instead."
            )
        if self.dtype is dtypes.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        storage_of(self)
        return self._array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def item(self) -> Any:
        """The only element, as a Python number."""
        if self._array.size != 1:
            raise GradError(
                f"a Tensor with {self._array.size} elements cannot be converted to Scalar"
            )
        value = self._array.item()
        return float(value) if self._array.dtype.kind == "V" else value

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        array = self._array
        return (array.astype(np.float32) if array.dtype.kind == "V" else array).tolist()

    def __bool__(self) -> bool:
        if self._array.size != 1:
            if self._array.size == 0:
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(self._array.item())

    def __int__(self) -> int:
        return int(self._one("int"))

    def __float__(self) -> float:
        return float(self._one("float"))

    def __complex__(self) -> complex:
        return complex(self._one("complex"))

    def _one(self, kind: str) -> Any:
        if self._array.size != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        value = self._array.item()
        if isinstance(value, complex) and kind != "complex":
            raise RuntimeError(f"value cannot be converted to type {kind} without overflow")
        return value

    def __index__(self) -> int:
        if self._array.size != 1 or self._array.dtype.kind not in "iub":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self._array.item())

    def __len__(self) -> int:
        if self._array.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self._array.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self._array.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __reversed__(self) -> Tensor:
        return self if self._array.ndim == 0 else self.flip(0)

    def __contains__(self, element: Any) -> bool:
        if isinstance(element, Tensor):
            element = element._array
        elif not isinstance(element, (int, float, complex, np.generic)):
            raise RuntimeError(
                "Tensor.__contains__ only supports Tensor or scalar, but you passed in a "
                f"{type(element)}."
            )
        return bool((self._array == element).any())

    # By identity, in C: parameters are the keys of the optimizer's state, looked up every step.
    __hash__ = object.__hash__

    def __repr__(self, *, tensor_contents: str | None = None) -> str:
        from taper.printing import tensor_text

        return tensor_text(self)

    def __format__(self, spec: str) -> str:
        if self._array.ndim == 0 and type(self) is Tensor:
            return self.item().__format__(spec)
        return object.__format__(self, spec)

    def __dir__(self) -> list[str]:
        from taper.ops import load_all

        load_all()
        return sorted(set(object.__dir__(self)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise GradError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                "protocol at the moment.  If you were attempting to deepcopy a module, this may be "
                "because of a torch.nn.utils.weight_norm usage, see "
                "https://github.com/pytorch/pytorch/pull/103001"
            )
        if id(self) in memo:
            return memo[id(self)]
        import copy

        made = wrap(self._array, type(self))
        if self._storage is None or not self._array.size:
            made._array = self._array.copy(order="K")
        else:  # tensors that share memory go on sharing it
            made._array, made._storage = _copied_with_storage(self._array, self._storage, memo)
        made._requires_grad = self.requires_grad
        memo[id(self)] = made
        if self._grad is not None:
            made._grad = copy.deepcopy(self._grad, memo)
        for key, value in self.__dict__.items():
            if not key.startswith("_") and key != "grad":
                made.__dict__[key] = copy.deepcopy(value, memo)
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        from taper.serialization import reduce_tensor

        return reduce_tensor(self)

    def __dlpack__(self, *, stream: Any = None, **kwargs: Any) -> Any:
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        return self._array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))

    def as_subclass(self, cls: Any) -> Any:
        """The same memory and history as an instance of `cls`, a subclass of Tensor."""
        made = wrap(self._array, cls)
        made._storage = storage_of(self)
        made._grad_fn, made._output_nr = self._grad_fn, self._output_nr
        made._requires_grad = self._requires_grad
        return made


def _copied_with_storage(
    array: np.ndarray, storage: Storage, memo: dict[int, Any]
) -> tuple[np.ndarray, Storage]:
    """The array within a copy of its storage, which is made once for each `memo`."""
    owner = storage.owner
    copied = memo.get(id(storage))
    if copied is None:
        copied = memo[id(storage)] = Storage(memory_of(owner).copy())
    buffer = copied.owner.view(np.uint8)
    start = address(array) - address(owner)
    return np.ndarray(array.shape, array.dtype, buffer, start, array.strides), copied


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a contiguous tensor; a size of 0 counts as 1, as in PyTorch."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= max(size, 1)
    return tuple(strides)


def wrap(array: np.ndarray, cls: type[Tensor] = Tensor) -> Tensor:
    """A tensor that holds `array` itself: the constructor used inside taper."""
    made = _new(cls)
    made._array = array
    made._grad = made._grad_fn = made._base = made._storage = made._view_version = None
    made._hooks = made._post_accumulate = made._accumulate = None
    made._requires_grad = made._is_inference = False
    made._output_nr = 0
    made._view_origin = ""
    return made


class _Quick:
    """Built-ins of the backend, once it has them (see dispatch.py): `wrap` of a plain tensor, two
    steps of the reverse pass (see autograd/engine.py), a check of optim/flat.py.
    """

    wrap: Callable[[np.ndarray], Tensor]
    deliver: Callable[..., int | None] | None = None
    finish: Callable[..., None] | None = None
    holds: Callable[..., bool | None] | None = None


quick = _Quick()
quick.wrap = wrap
