"""Matrix products on kernels: `matmul` and `linear`, as in backends/products.py.

Floating-point products go to the tiles of gemm.py if one dimension of each factor runs along its
memory, whatever the other strides; few columns, and single rows, to dots.py. Everything else stays
with the reference, and so do the half types where the processor has no AVX-512. A row's bits are the same in a batch of any size but one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import products as reference
from taper.backends.llvm import call, dots, objects, pool
from taper.backends.llvm.direct_product import DirectProduct
from taper.backends.llvm.dots import Dots
from taper.backends.llvm.gemm import KINDS, Gemm, Plan
from taper.backends.llvm.loaded import kept_library
from taper.backends.llvm.machine import host

Array = np.ndarray
Kernel = Callable[..., None]
Shape = tuple[int, ...]

_DTYPES: dict[str, np.dtype] = {"float": np.dtype("f4"), "double": np.dtype("f8")}
# Shapes whose plans are remembered; all are forgotten when there are more. Fewer where each shape
# has a kernel of its own, of some 100 kB.
_MOST_PLANS = 4096
MOST_KERNELS = 256
# Multiplications from which threads are worth waking (some 20 us of one core).
_PARALLEL = 1 << 20
# Elements of a matrix up to which a single row is multiplied by tiles, which run one row slowly.
_SINGLE = 1 << 16


class Plans(dict[Any, Any]):
    """What is known of shapes and strides that have been seen: None sends them to the reference."""

    def __init__(self, make: Callable[..., Any], most: int = _MOST_PLANS) -> None:
        super().__init__()
        self._make, self._most = make, most

    def __missing__(self, key: Any) -> Any:
        if len(self) >= self._most:
            self.clear()
        found = self[key] = self._make(*key)
        return found


_ENTRIES = {"product": "product_entry", "batched": "batched_entry", "kernel": "entry"}


@functools.cache
def _kernel(spec: Any, name: str, kinds: tuple[str, ...], fast: bool) -> Kernel:
    """An exported kernel as a Python function: a built-in, or by way of ctypes."""
    addresses = kept_library(spec).addresses
    if fast:
        return call.builtin(name, addresses[_ENTRIES[name]])
    return call.through_ctypes(addresses[name], kinds)


def _types(dtype: np.dtype) -> tuple[str, str] | None:
    """The type that products of a dtype are summed in, and that of their factors if it is another."""
    for element, own in _DTYPES.items():
        if dtype == own:
            return element, ""
    if host().target == "avx512":  # elsewhere loads of half a vector are slow
        if dtype == np.float16:
            return "float", "half"
        if dtype.name == "bfloat16":
            return "float", "bfloat"
    return None


class Tiled:
    """A product by the kernels of gemm.py.

    Short ones keep the interpreter to themselves, so that all of them may share a workspace. Others
    may let threads of the program run meanwhile, and have one of their own.
    """

    __slots__ = ("_cost", "_kernel", "_numbers", "_room", "_shared", "columns", "dtype")

    def __init__(self, spec: Gemm, plan: Plan, batched: bool) -> None:
        fast = call.has_fast_calls()
        self._numbers = plan.numbers()
        self.columns, self.dtype = plan.n, _DTYPES[spec.element]
        self._cost = plan.n * plan.k * (plan.rows if batched else 1)
        self._kernel = _kernel(spec, "batched" if batched else "product", KINDS, fast)
        self._room = spec.workspace(host())
        self._shared = _workspace(spec.element) if fast else None

    def run(self, a: Array, b: Array, c: Array, seed: Array, count: int) -> None:
        """All rows of one product, or all matrices of a batch."""
        large = count * self._cost >= _PARALLEL
        work = None if large else self._shared
        if work is None:
            work = np.empty(self._room, self.dtype)
        threads = pool.address() if large else 0
        self._kernel(threads, a, b, c, seed, work, self._numbers, 0, count)


@functools.cache
def _workspace(element: str) -> Array:
    """Memory for copies of the operands of short products."""
    return np.empty(Gemm(element).workspace(host()), _DTYPES[element])


class Dotted:
    """A product of few columns, or of one row, by the kernel of dots.py."""

    __slots__ = ("_kernel", "_sizes", "_swapped", "columns", "dtype")

    def __init__(self, spec: Dots, sizes: Shape, columns: int, swapped: bool) -> None:
        self._kernel = _kernel(spec, "kernel", dots.KINDS, call.has_fast_calls())
        self.dtype = _DTYPES[spec.element]
        self._sizes, self.columns, self._swapped = sizes, columns, swapped

    def run(self, a: Array, b: Array, c: Array, seed: Array, rows: int) -> None:
        """All rows, or one row as one column of the transposed product."""
        if self._swapped:
            self._kernel(b, a, c, seed, *self._sizes, 0, self.columns)
        else:
            self._kernel(a, b, c, seed, *self._sizes, 0, rows)


def _layout(shape: Shape, strides: Shape, size: int) -> tuple[bool, int] | None:
    """Whether the last dimension runs along memory (else the first does), and the other's stride."""
    for axis in (1, 0):
        if strides[axis] == size or shape[axis] == 1:
            other = strides[1 - axis]
            return (axis == 1, other // size) if other % size == 0 else None
    return None


def _tiled(dtype: np.dtype, a_strides: Shape, shape: Shape, b_strides: Shape,
           seed_row: int | None = None, **batch: int) -> Tiled | None:  # fmt: skip
    """A plan for factors of which one dimension each runs along memory."""
    k, n = shape
    size, types = dtype.itemsize, _types(dtype)
    if types is None:
        return None
    element, stored = types
    left, right = _layout((2, k), a_strides, size), _layout(shape, b_strides, size)
    if left is None or right is None:
        return None
    spec = Gemm(element, left[0], right[0], stored=stored)
    plan = spec.plan(host(), n, k, left[1], right[1], n, seed_row, **batch)
    return Tiled(spec, plan, bool(batch))


def _dotted(dtype: np.dtype, a_strides: Shape, shape: Shape, b_strides: Shape, biased: bool,
            single: bool) -> Dotted | None:  # fmt: skip
    """A plan for few columns or a single row, if k runs along both factors."""
    k, n = shape
    size, types = dtype.itemsize, _types(dtype)
    few = n <= dots.MOST_COLUMNS
    if types is None or types[1] or not (few or single):
        return None
    if not k or a_strides[1] != size or b_strides[0] != size:
        return None
    rows = (a_strides[0], b_strides[1])
    if any(stride % size for stride in rows):
        return None
    a_row, b_row = (stride // size for stride in rows)
    if few:
        spec = Dots(types[0], n, "columns" if biased else "")
        return Dotted(spec, (a_row, b_row, k), n, False)
    return Dotted(Dots(types[0], 1, "rows" if biased else ""), (b_row, 0, k), n, True)


def _matrix_plan(dtype: np.dtype, a_strides: Shape, shape: Shape, b_strides: Shape, single: bool,
                 bias: Shape | None = None) -> Tiled | Dotted | None:  # fmt: skip
    """The plan of a @ b + bias; `single` if a has one row."""
    k, n = shape
    if not n or (bias is not None and bias[0] != dtype.itemsize):
        return None
    found = _dotted(dtype, a_strides, shape, b_strides, bias is not None, single)
    if found is None and not (single and k * n > _SINGLE and dtype.itemsize > 2):
        return _tiled(dtype, a_strides, shape, b_strides, None if bias is None else 0)
    return found


def _linear_plan(dtype: np.dtype, a_strides: Shape, shape: Shape, w_strides: Shape, single: bool,
                 bias: Shape | None) -> Tiled | Dotted | None:  # fmt: skip
    return _matrix_plan(dtype, a_strides, shape[::-1], w_strides[::-1], single, bias)


def _batch_plan(dtype: np.dtype, a_shape: Shape, a_strides: Shape, b_shape: Shape,
                b_strides: Shape) -> Tiled | None:  # fmt: skip
    """The plan of the last dimension of a batch."""
    size, rows, n = dtype.itemsize, a_shape[1], b_shape[2]
    if not n or a_strides[0] % size or b_strides[0] % size:
        return None
    return _tiled(
        dtype, a_strides[1:], b_shape[1:], b_strides[1:], rows=rows,
        a_batch=a_strides[0] // size, b_batch=b_strides[0] // size, c_batch=rows * n,
    )  # fmt: skip


_linear_plans, _matrix_plans = Plans(_linear_plan), Plans(_matrix_plan)
_batch_plans = Plans(_batch_plan)


@functools.cache
def directly(name: str) -> Callable[..., Array | None]:
    """The built-in of small products of float32; it gives None for others."""
    if not objects.readable():
        return lambda *operands: None
    table = np.append(objects.table(), _workspace("float").ctypes.data)
    address = kept_library(DirectProduct("float")).addresses[name]
    return call.builtin(name, address, table)


def linear(x: Array, w: Array, bias: Array | None) -> Array:
    """x @ w.T + bias. The caller has made sure that sizes and dtypes fit."""
    made = directly("linear")(x, w, bias)
    if made is not None:
        return made
    rows, dtype = len(x), x.dtype
    plan = _linear_plans[
        dtype, x.strides, w.shape, w.strides, rows == 1, None if bias is None else bias.strides
    ]
    if plan is None:
        return reference.linear(x, w, bias)
    y = np.empty((rows, plan.columns), plan.dtype)
    if plan.dtype is dtype:
        plan.run(x, w, y, y if bias is None else bias, rows)
        return y
    plan.run(x, w, y, y if bias is None else bias.astype(plan.dtype), rows)
    return y.astype(dtype)


def matmul(x: Array, y: Array) -> Array:
    """x @ y with numpy's rules for vectors and batches."""
    found = directly("matmul")(x, y)
    if found is not None:
        return found
    dtype = x.dtype
    if x.ndim == 2 and y.ndim == 2:
        rows, shape = len(x), y.shape
        if y.dtype is not dtype or x.shape[1] != shape[0]:
            return reference.matmul(x, y)
        plan = _matrix_plans[dtype, x.strides, shape, y.strides, rows == 1]
        if plan is None:
            return reference.matmul(x, y)
        made = np.empty((rows, plan.columns), plan.dtype)
        plan.run(x, y, made, made, rows)
        return made if plan.dtype is dtype else made.astype(dtype)
    if x.ndim < 3 or y.ndim < 3 or y.dtype is not dtype or x.shape[-1] != y.shape[-2]:
        return reference.matmul(x, y)
    return _batches(x, y)


def linear_into(out: Array, x: Array, w: Array, bias: Array | None) -> None:
    """As `linear` of float32 or float64, to an array without gaps."""
    plan = _linear_plans[
        x.dtype, x.strides, w.shape, w.strides, len(x) == 1, None if bias is None else bias.strides
    ]
    if plan is None:
        out[...] = reference.linear(x, w, bias)
    else:
        plan.run(x, w, out, out if bias is None else bias, len(x))


def matmul_into(out: Array, x: Array, y: Array) -> None:
    """As `matmul` of two matrices of float32 or float64, to an array without gaps."""
    plan = _matrix_plans[x.dtype, x.strides, y.shape, y.strides, len(x) == 1]
    if plan is None:
        out[...] = reference.matmul(x, y)
    else:
        plan.run(x, y, out, out, len(x))


def _batches(x: Array, y: Array) -> Array:
    """Matrices times matrices; the kernel takes the last dimension of the batch, a loop the others."""
    if x.shape[:-2] != y.shape[:-2]:
        lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        x, y = (np.broadcast_to(z, lead + z.shape[-2:]) for z in (x, y))
    plan = _batch_plans[x.dtype, x.shape[-3:], x.strides[-3:], y.shape[-3:], y.strides[-3:]]
    if plan is None:
        return reference.matmul(x, y)
    lead, (count, rows) = x.shape[:-3], x.shape[-3:-1]
    made = np.empty((*lead, count, rows, plan.columns), plan.dtype)
    for place in np.ndindex(*lead):
        part = made[place]
        plan.run(x[place], y[place], part, part, count)
    return made.astype(x.dtype, copy=False)
