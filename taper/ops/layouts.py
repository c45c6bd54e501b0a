"""Methods of sparse and nested layouts. Tensors here are strided and answer as such.

What PyTorch answers for a strided tensor is answered: its number of dense dimensions, itself as a
dense tensor, or that the method wants another layout. Conversions to the other layouts are not
available and say what works instead.
"""

from __future__ import annotations

from typing import Any

from taper import dtypes
from taper.errors import MissingFeature
from taper.op import METHODS, public
from taper.ops.convert import cast
from taper.tensor import Tensor

INSTEAD = "sparse tensors are not available; use a dense tensor, or index_add, scatter and gather"

# Methods that only tensors of another layout have, and what PyTorch calls that layout.
_FOREIGN = {
    "ccol_indices": "column compressed tensor",
    "coalesce": "coordinate tensor",
    "col_indices": "row compressed tensor",
    "crow_indices": "row compressed tensor",
    "indices": "coordinate tensor",
    "is_coalesced": "coordinate tensor",
    "row_indices": "column compressed tensor",
    "values": "tensor",
}


def _foreign(name: str, kind: str) -> Any:
    def method(self: Tensor) -> Any:
        raise RuntimeError(f"{name} expected sparse {kind} layout but got Strided")

    method.__name__ = name
    method.__doc__ = f"Raises: RuntimeError: a strided tensor has no {name}."
    return method


METHODS.update({name: _foreign(name, kind) for name, kind in _FOREIGN.items()})


@public(method=True, namespaces=())
def dense_dim(input: Tensor) -> int:
    """Number of dense dimensions: all of them."""
    return input._array.ndim


@public(method=True, namespaces=())
def sparse_dim(input: Tensor) -> int:
    """Number of sparse dimensions: none."""
    return 0


@public(method=True, namespaces=())
def to_dense(
    input: Tensor, dtype: dtypes.dtype | None = None, *, masked_grad: bool = True
) -> Tensor:
    """The tensor itself, which is dense, in `dtype` if one is given."""
    return input if dtype is None else cast(input, dtype)


def _unavailable(name: str, instead: str) -> Any:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise MissingFeature(name, instead)

    method.__name__ = name
    method.__doc__ = f"Raises: NotImplementedError: {instead}."
    return method


_CONVERSIONS = (
    "to_sparse", "to_sparse_bsc", "to_sparse_bsr", "to_sparse_coo", "to_sparse_csc",
    "to_sparse_csr", "sparse_mask", "sparse_resize_", "sparse_resize_and_clear_", "smm",
    "sspaddmm",
)  # fmt: skip
METHODS.update({name: _unavailable(name, INSTEAD) for name in _CONVERSIONS})
METHODS["to_padded_tensor"] = _unavailable(
    "to_padded_tensor", "nested tensors are not available; use nn.utils.rnn.pad_sequence"
)


def _no_constructor(name: str) -> None:
    def function(*args: Any, **kwargs: Any) -> Tensor:
        raise MissingFeature(name, INSTEAD)

    function.__name__ = name
    function.__doc__ = f"Raises: NotImplementedError: {INSTEAD}."
    public()(function)


for _name in (
    "sparse_bsc_tensor", "sparse_bsr_tensor", "sparse_compressed_tensor", "sparse_coo_tensor",
    "sparse_csc_tensor", "sparse_csr_tensor", "hspmm", "smm", "sspaddmm",
):  # fmt: skip
    _no_constructor(_name)
