"""Counting into bins: histc, histogram, bincount; finding bins: searchsorted, bucketize."""

from __future__ import annotations

from typing import Any

import numpy as np

from taper import dtypes, return_types
from taper.dispatch import as_array
from taper.errors import DtypeError, ShapeError, UnsupportedDtype
from taper.op import public
from taper.ops.arguments import refuse
from taper.tensor import Tensor, wrap

# ---------------------------------------------------------------- counting


@public(method=True, out=True)
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """Counts of the elements in `bins` equal bins from `min` to `max`; others are ignored.

    With min = max the bins span the input. Dtype: that of the input, a floating one.
    """
    refuse(input, "iubc", "histogram_cpu")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    if min > max:
        raise RuntimeError("torch.histc: max must be larger than min")
    array = input._array.reshape(-1)
    low, high = _span(array, float(min), float(max))
    dtype = array.dtype
    inside = array[(array >= low) & (array <= high)]
    place = ((inside - dtype.type(low)) * bins / dtype.type(high - low)).astype(np.int64)
    counts = np.bincount(np.minimum(place, bins - 1), minlength=bins)
    return wrap(counts.astype(dtype))


def _span(array: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """The outer edges; those of the data where low = high."""
    if low == high and array.size:
        low, high = float(array.min()), float(array.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"torch.histc: range of [{low:g}, {high:g}] is not finite")
    return low, high


@public(method=True)
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, 2, ... occurs, or the sum of the `weights` of its places.

    Raises: RuntimeError for negative numbers, or more than one dimension.
    """
    array = input._array
    refuse(input, "fcVb", "bincount_cpu")
    if array.ndim != 1 or (array.size and array.min() < 0):
        raise ShapeError("bincount only supports 1-d non-negative integral inputs.")
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if weights is None:
        return wrap(np.bincount(array, minlength=minlength).astype(np.int64))
    if weights._array.shape != array.shape:
        raise ShapeError("weights should be 1-d and have the same length as input")
    sums = np.bincount(array, weights._array, minlength)
    return wrap(sums.astype(np.float32) if weights.dtype is dtypes.float32 else sums)


def _edges_of(bins: Any, low: float, high: float, dtype: np.dtype) -> np.ndarray:
    if isinstance(bins, Tensor):
        return bins._array
    return np.linspace(low, high, int(bins) + 1).astype(dtype)


def _places(column: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each element; -1 outside. The last bin includes its upper edge."""
    place = np.searchsorted(edges, column, "right") - 1
    last = len(edges) - 2
    place[column == edges[-1]] = last
    place[(place > last) | np.isnan(column)] = -1
    return place


def _ranges(name: str, columns: np.ndarray, range: Any) -> list[tuple[float, float]]:
    """The outer edges of every column's bins."""
    if range is not None:
        flat = [float(v) for v in range]
        if len(flat) != 2 * columns.shape[1]:
            raise ShapeError(
                f"torch.{name}: for a {columns.shape[1]}-dimensional histogram range "
                f"should have {2 * columns.shape[1]} elements, but got {len(flat)}"
            )
        spans = list(zip(flat[::2], flat[1::2], strict=True))
    elif columns.shape[0]:
        spans = [(float(c.min()), float(c.max())) for c in columns.T]
    else:
        spans = [(0.0, 1.0)] * columns.shape[1]
    fixed: list[tuple[float, float]] = []
    for low, high in spans:
        if not (np.isfinite(low) and np.isfinite(high)):
            raise RuntimeError(
                f"torch.{name}: dimension {len(fixed)}'s range [{low:g}, {high:g}] is not finite"
            )
        if low > high:
            raise RuntimeError(
                f"torch.{name}: min should not exceed max, but got min {low:g} max "
                f"{high:g} for dimension {len(fixed)}"
            )
        fixed.append((low - 0.5, high + 0.5) if low == high else (low, high))
    return fixed


def _count(
    name: str, columns: np.ndarray, bins: list[Any], range: Any, weight: Any, density: bool
) -> tuple[np.ndarray, list[np.ndarray]]:
    """(histogram, edges) of the rows of `columns`."""
    dtype = columns.dtype
    spans = (
        _ranges(name, columns, range)
        if not isinstance(bins[0], Tensor)
        else [(0.0, 1.0)] * len(bins)
    )
    for i, b in enumerate(bins):
        if isinstance(b, Tensor):
            if b._array.ndim != 1:
                raise ShapeError(
                    f"torch.{name}: bins tensor should have one dimension, but got "
                    f"{b._array.ndim} dimensions in the bins tensor for dimension {i}"
                )
            if b._array.dtype != dtype:
                raise DtypeError(
                    f"torch.{name}: input tensor and bins tensors should have the "
                    f"same dtype, but got input with dtype "
                    f"{dtypes.of(dtype)!r} and bins for dimension {i} with dtype "
                    f"{b.dtype!r}"
                )
            if not b._array.size:
                raise ShapeError(f"torch.{name}: bins tensor should have at least one element")
        elif b <= 0:
            raise RuntimeError(f"torch.{name}(): bins must be > 0, but got {b} for dimension {i}")
    edges = [_edges_of(b, low, high, dtype) for b, (low, high) in zip(bins, spans, strict=True)]
    shape = tuple(len(e) - 1 for e in edges)
    places = (
        np.stack([_places(c, e) for c, e in zip(columns.T, edges, strict=True)])
        if len(edges)
        else np.zeros((0, len(columns)), np.int64)
    )
    inside = (places >= 0).all(0)
    flat = np.ravel_multi_index(tuple(places[:, inside]), shape)
    weights = None if weight is None else weight._array.reshape(-1)[inside]
    hist = np.bincount(flat, weights, minlength=int(np.prod(shape))).reshape(shape).astype(dtype)
    if density:
        hist = hist / hist.sum()
        for axis, e in enumerate(edges):
            place = [1] * len(edges)
            place[axis] = -1
            hist = hist / np.diff(e).reshape(place)
    return hist, edges


def _check_weight(name: str, input: Tensor, weight: Tensor | None, shape: tuple[int, ...]) -> None:
    if weight is None:
        return
    if weight._array.shape != shape:
        raise ShapeError(
            f"torch.{name}: if weight tensor is provided it should have the same "
            f"shape as the input tensor excluding its innermost dimension, but got "
            f"input with shape {list(input.shape)} and weight with shape "
            f"{list(weight.shape)}"
        )
    if weight.dtype is not input.dtype:
        raise DtypeError(
            f"torch.{name}: if weight tensor is provided, input tensor and weight "
            f"tensor should have the same dtype, but got input({input.dtype!r}) and "
            f"weight({weight.dtype!r})"
        )


@public(method=True, out=True)
def histogram(
    input: Tensor,
    bins: Any = 100,
    *,
    range: Any = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> Any:
    """(hist, bin_edges): counts (or sums of `weight`) of the elements in the bins.

    `bins` is a number of equal bins over `range` (or over the data), or a tensor of edges.
    `density` divides by the total and the widths of the bins.
    """
    refuse(input, "iubc", "histogram_cpu")
    _check_weight("histogramdd", input, weight, input._array.shape)
    hist, edges = _count("histogram", input._array.reshape(-1, 1), [bins], range, weight, density)
    return return_types.histogram((wrap(hist), wrap(edges[0])))


@public()
def histogramdd(
    input: Tensor,
    bins: Any,
    *,
    range: Any = None,
    weight: Tensor | None = None,
    density: bool = False,
) -> Any:
    """(hist, bin_edges) of points with D coordinates, the last dimension of the input.

    `bins` is a number, D numbers, or D tensors of edges; `range` has a lowest and a highest edge
    for each coordinate. The edges are a tuple of D tensors.
    """
    refuse(input, "iubc", "histogram_cpu")
    if input._array.ndim < 2:
        raise ShapeError(
            "torch.histogramdd: input tensor should have at least 2 dimensions, but "
            f"got {input._array.ndim}"
        )
    dims = input._array.shape[-1]
    each = [bins] * dims if isinstance(bins, int) else list(bins)
    if len(each) != dims:
        raise ShapeError(
            "torch.histogramdd: The size of bins must be equal to the innermost dimension of the "
            f"input. Expected {dims} numbers or sequences of edges, got {len(each)}"
        )
    _check_weight("histogramdd", input, weight, input._array.shape[:-1])
    hist, edges = _count(
        "histogramdd", input._array.reshape(-1, dims), each, range, weight, density
    )
    return return_types.histogramdd((wrap(hist), tuple(wrap(e) for e in edges)))


# ---------------------------------------------------------------- finding


def _found(name: str, edges: np.ndarray, values: Any, out_int32: bool, right: bool) -> Tensor:
    array = (
        values._array
        if isinstance(values, Tensor)
        else as_array(values, dtypes.of_operands([edges, values]).numpy)
    )
    if "c" in (edges.dtype.kind, array.dtype.kind):
        raise UnsupportedDtype(
            '"searchsorted_out_cpu" not implemented for '
            f"'{dtypes.cpp_name(dtypes.of(array.dtype))}'"
        )
    if out_int32 and edges.ndim and edges.shape[-1] >= 2**31 - 1:
        raise RuntimeError(
            f"torch.{name}(): the size of boundaries' last dimension should be less "
            "than 2147483647 with out_int32"
        )
    side: Any = "right" if right else "left"
    if edges.ndim == 1:
        made = np.searchsorted(edges, array, side)
    else:
        made = np.empty(array.shape, np.int64)
        for row in np.ndindex(*edges.shape[:-1]):
            made[row] = np.searchsorted(edges[row], array[row], side)
    return wrap(np.asarray(made, np.int32 if out_int32 else np.int64))


def _is_right(side: str | None, right: bool) -> bool:
    if side is None:
        return right
    if side not in ("left", "right"):
        raise RuntimeError(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
        )
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got "
            "side of left while right was True"
        )
    return side == "right"


@public(out=True)
def searchsorted(
    sorted_sequence: Tensor,
    input: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Where each element of `input` would go in its row of the sorted sequence.

    Before equal elements, or after them if `right` (side "right"). `sorter` is the order that
    sorts an unsorted sequence. Dtype: int64, or int32 on request.
    """
    after = _is_right(side, right)
    edges = sorted_sequence._array
    if sorter is not None:
        order = sorter._array
        if order.shape != edges.shape:
            raise ShapeError(
                "torch.searchsorted(): boundary and sorter must have the same size, "
                f"but got boundary tensor {list(edges.shape)}and got sorter tensor "
                f"{list(order.shape)}"
            )
        if order.dtype != np.int64:
            raise DtypeError(
                "torch.searchsorted(): sorter must be a tensor of long dtype but got "
                f"dtype {dtypes.cpp_name(sorter.dtype)}"
            )
        if order.size and (order.min() < 0 or order.max() >= edges.shape[-1]):
            raise RuntimeError("torch.searchsorted(): sorter index out of range")
        edges = np.take_along_axis(edges, order, -1)
    shape = input._array.shape if isinstance(input, Tensor) else ()
    if edges.ndim != 1:
        if not shape:
            raise ShapeError(
                "torch.searchsorted(): input value can be a scalar only when boundaries tensor "
                f"dimension is 1, but we got boundaries tensor dim({edges.ndim}) and input value's "
                "dim(0) numel(1)"
            )
        if len(shape) != edges.ndim or shape[:-1] != edges.shape[:-1]:
            raise ShapeError(
                "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
                "dimensions of boundaries tensor and input value tensor must match, but we got "
                f"boundaries tensor {list(edges.shape)} and input value tensor {list(shape)}"
            )
    return _found("searchsorted", edges, input, out_int32, after)


@public(out=True)
def bucketize(
    input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """The bucket of each element: how many of the sorted `boundaries` are below it.

    With `right`, how many are not above it. Dtype: int64, or int32 on request.
    """
    if boundaries._array.ndim != 1:
        raise ShapeError(
            "bucketize(): boundaries tensor must be 1 dimension, but got dim("
            f"{boundaries._array.ndim})"
        )
    return _found("bucketize", boundaries._array, input, out_int32, right)
