"""Sorting and searching: sort, argsort, topk, nonzero."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import return_types
from taper.dispatch import apply
from taper.errors import DtypeError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.reduce import PutAlong
from taper.shapes import canonical_dim
from taper.tensor import Tensor, wrap


@op
class Sort(Opaque):
    """Sorted elements along `axis` and where they were."""

    outputs = 2
    saved_from = 1
    differentiable = (True, False)
    saves = ("input.shape", "out")

    def forward(self, m: Any, input: Any, *, axis: int, descending: bool) -> Any:
        if not input.ndim:
            return input.copy(), np.zeros((), np.int64)
        order = m.order(input, axis, descending)
        return np.take_along_axis(input, order, axis), order

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: int, descending: bool) -> Any:
        return m.call(PutAlong, grad[0], out[0], axis=axis, shape=input)


@public(method=True, out=True)
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """(values, indices) sorted along `dim`; nan counts as larger than any number.

    Equal elements keep their order, with or without `stable`.
    """
    if input._array.dtype.kind == "c":
        raise DtypeError("Sort does not support complex dtypes on CPU")
    axis = canonical_dim(dim, input._array.ndim)
    return return_types.sort(apply(Sort, input, axis=axis, descending=bool(descending)))


@public(method=True)
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Indices that sort along `dim`; equal elements keep their order."""
    return sort(input, dim, descending, stable)[1]


@public(method=True, out=True)
def msort(input: Tensor) -> Tensor:
    """The elements sorted along the first dimension."""
    return sort(input, 0)[0]


@op
class Topk(Opaque):
    """The k largest (or smallest) along `axis` and where they are."""

    outputs = 2
    saved_from = 1
    differentiable = (True, False)
    saves = ("input.shape", "out")

    def forward(self, m: Any, input: Any, *, k: int, axis: int, largest: bool) -> Any:
        if not input.ndim:
            return input.copy(), np.zeros((), np.int64)
        order = m.first_in_order(input, k, axis, largest)
        return np.take_along_axis(input, order, axis), order

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, k: int, axis: int, largest: bool
    ) -> Any:
        return m.call(PutAlong, grad[0], out[0], axis=axis, shape=input)


@public(method=True, out=True)
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """(values, indices) of the k largest (or smallest) along `dim`, in order.

    Raises: RuntimeError if k is larger than the dimension.
    """
    if input._array.dtype.kind == "c":
        raise DtypeError("topk does not support complex dtypes on CPU")
    if input._array.dtype.kind == "b":
        raise DtypeError("topk does not support bool dtypes on CPU")
    array = input._array
    axis = canonical_dim(dim, array.ndim)
    if not 0 <= k <= (array.shape[axis] if array.ndim else 1):
        raise ShapeError("selected index k out of range")
    return return_types.topk(apply(Topk, input, k=int(k), axis=axis, largest=bool(largest)))


@public(method=True, out=True)
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Indices of the nonzero elements, one row each; one tensor per dimension if `as_tuple`."""
    array = input._array
    if as_tuple:
        found = np.atleast_1d(array).nonzero()
        return tuple(wrap(i) for i in found)
    if not array.ndim:
        return wrap(np.zeros((int(array != 0), 0), np.int64))
    return wrap(np.stack(array.nonzero(), -1))


@public(method=True)
def argwhere(input: Tensor) -> Tensor:
    """Indices of the nonzero elements, one row each."""
    return nonzero(input)
