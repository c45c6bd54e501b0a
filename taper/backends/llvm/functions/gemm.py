"""Matrix products on kernels: `matmul` and `linear`, as in backends/products.py.

float32 and float64 go to the kernel of gemm.py if one dimension of each factor runs along its
memory, whatever the other strides. Other dtypes, and shapes that leave a vector mostly empty, stay
with the reference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import products as reference
from taper.backends.llvm import build, call
from taper.backends.llvm.gemm import KINDS, Gemm
from taper.backends.llvm.machine import host

PUBLISHED = ("linear", "matmul")

Array = np.ndarray
Kernel = Callable[..., None]

Shape = tuple[int, ...]

_DTYPES: dict[str, np.dtype] = {"float": np.dtype("f4"), "double": np.dtype("f8")}
_ELEMENTS = {dtype: element for element, dtype in _DTYPES.items()}
# Columns below which most lanes of a vector would be idle.
_FEWEST_COLUMNS = 1
# Shapes whose plans are remembered; all are forgotten when there are more.
_MOST_PLANS = 4096


class Plans(dict[Any, Any]):
    """What is known of shapes and strides that have been seen: None sends them to the reference."""

    def __init__(self, make: Callable[..., Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: Any) -> Any:
        if len(self) >= _MOST_PLANS:
            self.clear()
        found = self[key] = self._make(*key)
        return found


@functools.cache
def _kernel(spec: Gemm, name: str) -> Kernel:
    """A kernel as a Python function."""
    library = build.library(spec)
    if call.has_fast_calls():
        return call.builtin(name, library.addresses[name + "_entry"])
    return call.through_ctypes(library.addresses[name], KINDS)


@functools.cache
def _work(spec: Gemm) -> Array:
    """Memory for the copies of operands. Calls share it: each holds on to the interpreter."""
    return np.empty(spec.workspace(host()), _DTYPES[spec.element])


def _layout(shape: Shape, strides: Shape, size: int) -> tuple[bool, int] | None:
    """Whether the last dimension runs along memory (else the first does), and the other's stride."""
    for axis in (1, 0):
        if strides[axis] == size or shape[axis] == 1:
            other = strides[1 - axis]
            return (axis == 1, other // size) if other % size == 0 else None
    return None


def _chosen(dtype: np.dtype, a_strides: Shape, shape: Shape, b_strides: Shape,
            seed_row: int | None = None, **batch: int) -> Any:  # fmt: skip
    """Kernel, workspace, plan and columns of a product; None if the reference is to compute it."""
    k, n = shape
    element = _ELEMENTS.get(dtype)
    if element is None or n < _FEWEST_COLUMNS:
        return None
    size = dtype.itemsize
    left, right = _layout((2, k), a_strides, size), _layout(shape, b_strides, size)
    if left is None or right is None:
        return None
    spec = Gemm(element, left[0], right[0])
    plan = spec.plan(host(), n, k, left[1], right[1], n, seed_row, **batch)
    return _kernel(spec, "batched" if batch else "product"), _work(spec), plan.numbers(), n


def _linear_plan(dtype: np.dtype, a_strides: Shape, shape: Shape, w_strides: Shape,
                 bias: Shape | None) -> Any:  # fmt: skip
    if bias is not None and bias[0] != dtype.itemsize:
        return None
    seed = None if bias is None else 0
    return _chosen(dtype, a_strides, shape[::-1], (w_strides[1], w_strides[0]), seed)


def _matrix_plan(dtype: np.dtype, a_strides: Shape, b_shape: Shape,
                 b_strides: Shape) -> Any:  # fmt: skip
    return _chosen(dtype, a_strides, b_shape, b_strides)


def _batch_plan(dtype: np.dtype, a_shape: Shape, a_strides: Shape,
                b_shape: Shape, b_strides: Shape) -> Any:  # fmt: skip
    """As _chosen, for the last dimension of a batch."""
    size = dtype.itemsize
    batch = (a_strides[0], b_strides[0])
    if any(stride % size for stride in batch):
        return None
    rows, n = a_shape[1], b_shape[2]
    return _chosen(
        dtype, a_strides[1:], b_shape[1:], b_strides[1:], rows=rows, a_batch=batch[0] // size,
        b_batch=batch[1] // size, c_batch=rows * n, seed_batch=0,
    )  # fmt: skip


_linear_plans, _matrix_plans = Plans(_linear_plan), Plans(_matrix_plan)
_batch_plans = Plans(_batch_plan)


def linear(x: Array, w: Array, bias: Array | None) -> Array:
    """x @ w.T + bias. The caller has made sure that sizes and dtypes fit."""
    plan = _linear_plans[
        x.dtype, x.strides, w.shape, w.strides, None if bias is None else bias.strides
    ]
    if plan is None:
        return reference.linear(x, w, bias)
    kernel, work, numbers, n = plan
    rows = len(x)
    y = np.empty((rows, n), x.dtype)
    kernel(0, x, w, y, y if bias is None else bias, work, numbers, 0, rows)
    return y


def matmul(x: Array, y: Array) -> Array:
    """x @ y with numpy's rules for vectors and batches."""
    dtype = x.dtype
    if x.ndim == 2 and y.ndim == 2:
        shape = y.shape
        plan = _matrix_plans[dtype, x.strides, shape, y.strides]
        if plan is None or y.dtype is not dtype or x.shape[1] != shape[0]:
            return reference.matmul(x, y)
        kernel, work, numbers, n = plan
        rows = len(x)
        made = np.empty((rows, n), dtype)
        kernel(0, x, y, made, made, work, numbers, 0, rows)
        return made
    if x.ndim < 3 or y.ndim < 3 or y.dtype is not dtype or x.shape[-1] != y.shape[-2]:
        return reference.matmul(x, y)
    return _batches(x, y)


def _batches(x: Array, y: Array) -> Array:
    """Matrices times matrices; the kernel takes the last dimension of the batch, a loop the others."""
    if x.shape[:-2] != y.shape[:-2]:
        lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        x, y = (np.broadcast_to(z, lead + z.shape[-2:]) for z in (x, y))
    plan = _batch_plans[x.dtype, x.shape[-3:], x.strides[-3:], y.shape[-3:], y.strides[-3:]]
    if plan is None:
        return reference.matmul(x, y)
    kernel, work, numbers, n = plan
    lead, (count, rows) = x.shape[:-3], x.shape[-3:-1]
    made = np.empty((*lead, count, rows, n), x.dtype)
    if not lead:
        kernel(0, x, y, made, made, work, numbers, 0, count)
        return made
    for place in np.ndindex(*lead):
        part = made[place]
        kernel(0, x[place], y[place], part, part, work, numbers, 0, count)
    return made
