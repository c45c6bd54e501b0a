"""Changes of what a tensor is a look at: transpose_, set_, resize_, and the properties T, mT, H."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes
from taper.autograd.grad_mode import mode
from taper.autograd.inplace import place
from taper.dispatch import check_history, touch
from taper.op import METHODS, public
from taper.ops.parts import as_strided
from taper.ops.view import permute, squeeze, t, transpose, unsqueeze
from taper.shapes import sizes_of
from taper.storage import memory_of, storage_of
from taper.storage_view import TYPES, elements_of
from taper.tensor import Tensor

# ---------------------------------------------------------------- in place, on the metadata


def _restructure(target: Tensor, made: Tensor) -> Tensor:
    """Makes `target` be the view `made` of itself."""
    if mode.grad and target.requires_grad:
        check_history(target)
    target._array = made._array
    target._storage = made._storage
    if not mode.grad and target._view_version is not None and not target._view_origin:
        target._grad_fn = None  # to be made anew for the new shape
    if made._requires_grad:
        place(target, made._grad_fn, made._output_nr)
    touch(target)
    if mode.grad and target._view_version is not None:
        target._view_version = target._storage.version  # type: ignore[union-attr]
    return target


def _view_in_place(function: Any, name: str) -> None:
    def changed(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return _restructure(self, function(self, *args, **kwargs))

    changed.__name__ = name
    changed.__doc__ = f"{function.__name__} applied to the tensor itself."
    METHODS[name] = changed


for _function, _names in (
    (unsqueeze, "unsqueeze_"),
    (squeeze, "squeeze_"),
    (t, "t_"),
    (transpose, "transpose_ swapaxes_ swapdims_"),
    (as_strided, "as_strided_"),
):
    for _name in _names.split():
        _view_in_place(_function, _name)


def _transposed(self: Tensor) -> Tensor:
    """All dimensions in reverse order."""
    n = self._array.ndim
    return permute(self, *range(n)[::-1])


@public(method=True)
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged, and complex numbers conjugated."""
    if input._array.ndim == 1:
        raise RuntimeError(
            "tensor.adjoint() is only supported on matrices or batches of matrices. Got 1-D tensor."
        )
    return transpose(input, -2, -1).conj() if input._array.ndim else input.conj()


def _matrices_transposed(self: Tensor) -> Tensor:
    """The last two dimensions exchanged."""
    if self._array.ndim == 1:
        raise RuntimeError(
            "tensor.mT is only supported on matrices or batches of matrices. Got 1-D tensor."
        )
    if self._array.ndim == 0:
        return self
    return transpose(self, -2, -1)


def _conjugate_transposed(self: Tensor) -> Tensor:
    """A matrix transposed and conjugated."""
    if self._array.ndim not in (0, 2):
        raise RuntimeError(
            "tensor.H is only supported on matrices (2-D tensors). Got "
            f"{self._array.ndim}-D tensor."
        )
    return _transposed(self).conj() if self._array.ndim == 2 else self.conj()


Tensor.T = property(_transposed)  # type: ignore[attr-defined]
Tensor.mT = property(_matrices_transposed)  # type: ignore[attr-defined]
Tensor.H = property(_conjugate_transposed)  # type: ignore[attr-defined]
Tensor.mH = property(  # type: ignore[attr-defined]
    lambda self: _matrices_transposed(self).conj(), doc="mT, conjugated."
)


# ---------------------------------------------------------------- memory


@public(method=True, namespaces=())
def set_(
    input: Tensor,
    source: Any = None,
    storage_offset: int = 0,
    size: Any = None,
    stride: Any = None,
) -> Tensor:
    """Makes the tensor look at other memory: a tensor's, or a storage's with sizes and strides."""
    if source is None:
        input._array = np.empty(0, input._array.dtype)
        input._storage = None
        return input
    if mode.grad and input.requires_grad:
        check_history(input)
    if isinstance(source, Tensor) and source._array.dtype != input._array.dtype:
        raise RuntimeError(
            f"Could not set tensor of type {dtypes.c_name(source.dtype)} to a tensor of type "
            f"{dtypes.c_name(input.dtype)}"
        )
    if isinstance(source, Tensor) and size is None:
        input._array, input._storage = source._array, storage_of(source)
        return input
    storage = storage_of(source) if isinstance(source, Tensor) else source._storage
    if isinstance(source, Tensor):
        memory = memory_of(storage.owner).view(np.uint8).view(input._array.dtype)
    else:
        memory = elements_of(source, input.dtype)
    shape = (memory.size - storage_offset,) if size is None else sizes_of((size,))
    item = memory.itemsize
    if stride is None:
        array = memory[storage_offset : storage_offset + int(np.prod(shape))].reshape(shape)
    else:
        array = np.lib.stride_tricks.as_strided(
            memory[storage_offset:], shape, [s * item for s in sizes_of((stride,))]
        )
    input._array, input._storage = array, storage
    return input


@public(method=True, namespaces=())
def storage_type(input: Tensor) -> Any:
    """The class of the tensor's storage, such as FloatStorage."""
    return TYPES[dtypes.cpp_name(input.dtype) + "Storage"]


@public(method=True, namespaces=())
def resize_(input: Tensor, *sizes: Any, memory_format: Any = None) -> Tensor:
    """Changes the shape, keeping the elements in memory order; new ones are uninitialised."""
    if input.requires_grad:
        raise RuntimeError("cannot resize variables that require grad")
    shape = sizes_of(sizes, "resize_")
    count = int(np.prod(shape))
    storage = storage_of(input)
    offset = input.storage_offset()
    memory = memory_of(storage.owner)
    if offset + count > memory.size:
        grown = np.empty(offset + count, memory.dtype)
        grown[: memory.size] = memory
        storage.owner = memory = grown
    input._array = memory[offset : offset + count].reshape(shape)
    return input


@public(method=True)
def resize_as_(input: Tensor, other: Tensor, memory_format: Any = None) -> Tensor:
    """resize_ to the shape of `other`."""
    return resize_(input, other._array.shape)
