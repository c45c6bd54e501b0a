"""Folds by the kernels of sums.py: sums, products, the largest and smallest, over any dimensions.

They take float32 and float64 in arrays without gaps, in whatever order of dimensions. Neighbouring
dimensions that are folded, or kept, count as one; what is left is [kept] folded [kept] or folded
kept folded, or numpy's. How a shape is folded is planned once and remembered.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import folds, reference
from taper.backends import rows as plain
from taper.backends.llvm import direct_rows
from taper.backends.llvm.functions.pointwise import Kernel, dense, kernel_of, threads
from taper.backends.llvm.rows import CHUNK, MOST_KNOWN
from taper.backends.llvm.sums import KINDS, ColumnFolds, RowFolds, Sums

Array = np.ndarray
# What folds an array into another; a spread takes the centres in between.
Fill = Callable[..., None]
# The same, with an array of its own for the result.
Plan = Callable[..., Array]

# Elements from which there are kernels: a built-in calls them sooner than numpy finds its own.
LEAST = 2
# Of a matrix whose columns are added up, which is a single call of numpy.
LEAST_COLUMNS = 512
# Elements up to which a sum over everything is not cut into chunks.
ONE_CHUNK = 1 << 18
# Columns up to which several rows are folded side by side.
NARROW = 32
# Elements up to which an array with gaps is copied.
MOST_COPIED = 1 << 16
# Shapes that are remembered.
MOST_PLANS = 4096

_ELEMENTS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
_ADDED = ("sum", "squares", "spread")
_kernels: dict[Any, Kernel] = {}
_plans: dict[Any, Plan | None] = {}
_empty = np.empty
_ndarray = np.ndarray


def _kernel(spec: type, *fields: Any) -> Kernel:
    key = (spec, *fields)
    found = _kernels.get(key)
    if found is None:
        made = spec(*fields)
        found = _kernels[key] = kernel_of(made)
        direct_rows.learn(made)
    return found


# ---------------------------------------------------------------- matrices


def _fold_rows(kind: str, dtype: np.dtype, rows: int, width: int, result: str = "") -> Fill:
    """Of `rows` stretches of `width` elements, into an array that the plan is given."""
    element = _ELEMENTS[dtype]
    size = rows * width
    added = kind in _ADDED
    if added and (width > MOST_KNOWN or kind == "spread" or result):
        kernel = _kernel(Sums, element, result or element, kind)
        return lambda *arrays: kernel(threads(size), *arrays, width, size, 1.0, rows)
    if width <= MOST_KNOWN:
        kernel = _kernel(RowFolds, element, width, kind)
        return lambda *arrays: kernel(threads(size), *arrays, rows)
    kernel = _kernel(RowFolds, element, 0, kind)
    return lambda *arrays: kernel(threads(size), *arrays, width, rows)


def _fold_all(kind: str, dtype: np.dtype, size: int) -> Fill:
    if kind not in _ADDED or size <= ONE_CHUNK:
        return _fold_rows(kind, dtype, 1, size)
    chunks = -(-size // CHUNK)
    kernel = _kernel(Sums, _ELEMENTS[dtype], "double", kind)

    def run(*arrays: Array) -> None:
        parts = _empty(chunks, np.float64)
        *given, out = arrays
        if kind == "spread":
            given[1] = np.full(chunks, given[1], dtype)
        kernel(threads(size), *given, parts, CHUNK, size, 1.0, chunks)
        out[...] = np.add.reduce(parts)

    return run


def _fold_columns(kind: str, dtype: np.dtype, rows: int, columns: int) -> Fill:
    element = _ELEMENTS[dtype]
    size = rows * columns
    together = 1
    if columns <= NARROW and size >= 4096 and kind != "spread":
        while together * columns <= NARROW and rows % (2 * together) == 0:
            together *= 2
    rows, wide = rows // together, columns * together
    # Chunks depend on the shape alone, so that the number of threads changes no bit.
    chunk = max_of(256, (1 << 18) // wide)
    chunks = -(-rows // chunk)
    if chunks * together == 1:
        kernel = _kernel(ColumnFolds, element, element, kind)
        return lambda *arrays: kernel(0, *arrays, rows, columns, chunk, 1)
    kept = np.dtype(np.float64) if kind in _ADDED else dtype
    combine = KINDS[kind][2]
    kernel = _kernel(ColumnFolds, element, _ELEMENTS[kept], kind)

    def run(*arrays: Array) -> None:
        parts = _empty((chunks * together, columns), kept)
        *given, out = arrays
        if kind == "spread":
            given[1] = np.tile(given[1].reshape(-1), chunks)
        kernel(threads(size), *given, parts, rows, wide, chunk, chunks)
        out[...] = combine.reduce(parts).reshape(out.shape)

    return run


def _fold_middle(kind: str, dtype: np.dtype, outer: int, count: int, inner: int) -> Fill:
    """Of dimension 1 of three: the columns of `outer` matrices."""
    element = _ELEMENTS[dtype]
    size = outer * count * inner
    kernel = _kernel(ColumnFolds, element, element, kind)
    return lambda *arrays: kernel(threads(size), *arrays, outer * count, inner, count, outer)


def _fold_ends(kind: str, dtype: np.dtype, first: int, kept: int, last: int) -> Fill:
    """Of dimensions 0 and 2 of three: the rows, and what they gave."""
    wide = np.dtype(np.float64) if kind in _ADDED else dtype
    combine = KINDS[kind][2]
    rows = _fold_rows(kind, dtype, first * kept, last, _ELEMENTS[wide] if kind in _ADDED else "")

    def run(*arrays: Array) -> None:
        parts = _empty((first, kept), wide)
        *given, out = arrays
        if kind == "spread":
            given[1] = np.tile(given[1].reshape(-1), first)
        rows(*given, parts)
        out[...] = combine.reduce(parts).reshape(out.shape)

    return run


# ---------------------------------------------------------------- any dimensions


def _make_plan(kind: str, x: Array, axis: Any, keepdims: bool) -> Plan | None:
    ndim, dtype, shape = x.ndim, x.dtype, x.shape
    if x.size < LEAST or dtype not in _ELEMENTS:
        return None
    if not dense(x):
        return _plan_of_copy(kind, x, axis, keepdims) if x.size <= MOST_COPIED else None
    given = axis if type(axis) is tuple else range(ndim) if axis is None else (axis,)
    if not all(type(a) is int and -ndim <= a < ndim for a in given):
        return None
    axes = {a % ndim for a in given}
    order = sorted(range(ndim), key=lambda d: (-x.strides[d], d))
    groups: list[list[Any]] = []  # [extent, whether it is folded]
    for d in order:
        if shape[d] == 1:
            continue
        if groups and groups[-1][1] == (d in axes):
            groups[-1][0] *= shape[d]
        else:
            groups.append([shape[d], d in axes])
    extents = [extent for extent, _ in groups]
    made = {
        (True,): _fold_all,
        (False, True): _fold_rows,
        (True, False): _fold_columns,
        (False, True, False): _fold_middle,
        (True, False, True): _fold_ends,
    }.get(tuple([folded for _, folded in groups]))
    if made is None:
        return None
    run: Fill = made(kind, dtype, *extents)  # type: ignore[operator]
    kept = [d for d in order if d not in axes]
    whole = tuple([1 if d in axes else shape[d] for d in range(ndim)])
    shown = whole if keepdims else tuple([shape[d] for d in sorted(kept)])
    if kept == sorted(kept):

        def fold(*arrays: Array) -> Array:
            out = _empty(shown, dtype)
            run(*arrays, out)
            return out

        return fold
    inside = tuple([shape[d] for d in kept])
    back = np.argsort(kept)

    def fold_in_order(*arrays: Array) -> Array:
        if len(arrays) == 2:  # the centres, in the order of the memory
            arrays = arrays[0], np.ascontiguousarray(arrays[1].transpose(order))
        out = _empty(inside, dtype)
        run(*arrays, out)
        return out.transpose(back).reshape(shown)

    return fold_in_order


def _plan_of_copy(kind: str, x: Array, axis: Any, keepdims: bool) -> Plan | None:
    """Of an array with gaps: as of one without, so that the bits are those of its elements."""
    plan = _make_plan(kind, np.ascontiguousarray(x), axis, keepdims)
    if plan is None:
        return None
    return lambda x, *centres: plan(np.ascontiguousarray(x), *centres)


def _plan(kind: str, x: Array, axis: Any, keepdims: bool) -> Plan | None:
    flat = x.flags.c_contiguous
    key = (kind, x.shape, x.dtype, axis, keepdims, None if flat else x.strides)
    found = _plans.get(key, _plans)
    if found is _plans:
        if len(_plans) >= MOST_PLANS:
            _plans.clear()
        found = _plans[key] = _make_plan(kind, x, axis, keepdims)
    return found  # type: ignore[return-value]


def _numpys(kind: str, name: str) -> Callable[..., Any]:
    """numpy's function `name`, whose fold is of this kind, by a kernel where there is one."""
    numpys = getattr(np, name)
    quick = direct_rows.built_in("choose", kind)

    def function(x: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        if type(x) is _ndarray and out is None:
            made = quick(x, axis, keepdims)
            if made is not None:
                return made
            found = _plan(kind, x, axis, keepdims)
            if found is not None:
                return found(x)
        return numpys(x, axis=axis, out=out, keepdims=keepdims)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"numpy's {name}."
    return function


def directly(name: str) -> Callable[..., Array | None]:
    """The built-in that folds a small array, or gives None: (x), or (x, axis, keepdims) "over"."""
    name, _, over = name.partition("_")
    how, kind = _BUILT_INS[name]
    return direct_rows.built_in(how if over else f"{how}_all", kind)


# By numpy's name: how direct_rows.py calls the fold, and the kind of its kernels.
_BUILT_INS = {"sum": ("add", "sum"), "mean": ("mean", "sum"), "prod": ("choose", "product"),
              "max": ("choose", "max"), "min": ("choose", "min")}  # fmt: skip
_quick_sum = direct_rows.built_in("add", "sum")
_quick_mean = direct_rows.built_in("mean", "sum")
_quick_prod = direct_rows.built_in("choose", "product")
max = _numpys("max", "max")
min = _numpys("min", "min")
max_of = builtins.max


def sum(
    x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> Any:
    """numpy's sum."""
    if type(x) is _ndarray and out is None and (dtype is None or dtype is x.dtype):
        made = _quick_sum(x, axis, keepdims)
        if made is not None:
            return made
        found = _plan("sum", x, axis, keepdims)
        if found is not None:
            return found(x)
    return np.sum(x, axis, dtype, out, keepdims)


def prod(
    x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> Any:
    """numpy's product."""
    if type(x) is _ndarray and out is None and (dtype is None or dtype is x.dtype):
        made = _quick_prod(x, axis, keepdims)
        if made is not None:
            return made
        found = _plan("product", x, axis, keepdims)
        if found is not None:
            return found(x)
    return np.prod(x, axis, dtype, out, keepdims)


def mean(
    x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
) -> Any:
    """numpy's mean."""
    if type(x) is _ndarray and out is None and (dtype is None or dtype is x.dtype):
        made = _quick_mean(x, axis, keepdims)
        if made is not None:
            return made
        found = _plan("sum", x, axis, keepdims)
        if found is not None:
            total = found(x)
            total /= x.size // total.size
            return total
    return np.mean(x, axis, dtype, out, keepdims)


def squares(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """Sum of x * x over the axes, of real numbers."""
    found = _plan("squares", x, axis, keepdims) if type(x) is _ndarray else None
    return folds.squares(x, axis, keepdims) if found is None else found(x)


def spread(x: Array, centres: Array, axis: Any = None, keepdims: bool = False) -> Array:
    """Sum of |x - centre| ** 2 over the axes; the centres have these with size 1."""
    found = _plan("spread", x, axis, keepdims) if type(x) is _ndarray else None
    if found is None or centres.dtype != x.dtype or not centres.flags.c_contiguous:
        return folds.spread(x, centres, axis, keepdims)
    return found(x, centres)


def row_sums(x: Array) -> Array:
    """Sum over the last dimension of a contiguous array of rows."""
    found = _plan("sum", x, -1, False)
    return plain.row_sums(x) if found is None else found(x)


def column_sums(x: Array) -> Array:
    """Sum over the rows of a matrix."""
    found = _plan("sum", x, 0, False)
    return plain.column_sums(x) if found is None else found(x)


def sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """The adjoint of broadcasting `shape` to x's shape."""
    extra = x.ndim - len(shape)
    if x.size >= LEAST_COLUMNS and extra >= 0 and (extra or x.shape != shape):
        axes = tuple(range(extra))
        kept = [i for i, n in enumerate(shape) if n == 1 and x.shape[extra + i] != 1]
        if not kept and x.shape[extra:] == shape:
            found = _plan("sum", x, axes, False)
            if found is not None:
                return found(x)
        elif all(n in (1, x.shape[extra + i]) for i, n in enumerate(shape)):
            found = _plan("sum", x, (*axes, *(extra + i for i in kept)), True)
            if found is not None:
                return found(x).reshape(shape)
    made: Array = reference.math.sum_to(x, shape)
    return made
