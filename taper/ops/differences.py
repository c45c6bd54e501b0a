"""Differences and integrals along a dimension: diff, gradient, trapezoid.

All are made of slices, sums and quotients, so they need no ops of their own.
"""

from __future__ import annotations

from typing import Any

from taper import dtypes
from taper.errors import ShapeError
from taper.op import public
from taper.ops.arithmetic import div, mul
from taper.ops.create import zeros
from taper.ops.cumulative import cumsum
from taper.ops.join import cat
from taper.ops.logic import logical_xor
from taper.ops.parts import narrow
from taper.ops.reduce import sum as sum_over
from taper.ops.view import view
from taper.shapes import canonical_dim, canonical_dims
from taper.tensor import Tensor

# ---------------------------------------------------------------- diff


def _check_neighbour(input: Tensor, other: Tensor | None, axis: int) -> None:
    """Raises: RuntimeError unless `other` can be put before or after `input`."""
    if other is None:
        return
    shape, given = input._array.shape, other._array.shape
    if len(given) != len(shape):
        raise ShapeError("diff expects prepend or append to be the same dimension as input")
    for d, (n, k) in enumerate(zip(shape, given, strict=True)):
        if d != axis and n != k:
            raise ShapeError(
                "diff expects the shape of tensor to prepend or append to match that of input "
                f"except along the differencing dimension; input.size({d}) = {n}, but got "
                f"tensor.size({d}) = {k}"
            )


@public(method=True, out=True)
def diff(
    input: Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """Each element minus the one before it along `dim`, `n` times over.

    Dtype: bools give whether neighbours differ.
    Raises: RuntimeError for 0-d tensors, negative `n`, or shapes that do not fit.
    """
    if input._array.ndim == 0:
        raise ShapeError("diff expects input to be at least one-dimensional")
    axis = canonical_dim(dim, input._array.ndim)
    _check_neighbour(input, prepend, axis)
    _check_neighbour(input, append, axis)
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    parts = [x for x in (prepend, input, append) if x is not None]
    made = cat(parts, axis) if len(parts) > 1 else input
    if n == 0:
        return view(made, made._array.shape)
    boolean = made._array.dtype.kind == "b"
    for _ in range(n):
        extent = made._array.shape[axis]
        if extent == 0:
            break
        later, earlier = narrow(made, axis, 1, extent - 1), narrow(made, axis, 0, extent - 1)
        made = logical_xor(later, earlier) if boolean else later - earlier
    return made


# ---------------------------------------------------------------- gradient


def _gradient_axes(
    input: Tensor, spacing: Any, dim: Any, edge_order: int
) -> tuple[tuple[int, ...], list[Any]]:
    """The dimensions and, for each, its spacing: a number or a tensor of coordinates."""
    ndim = input._array.ndim
    if input.dtype is dtypes.uint8:
        raise RuntimeError("torch.gradient does not support uint8 input.")
    spacing = 1 if spacing is None else spacing
    several = isinstance(spacing, (list, tuple))
    if isinstance(spacing, Tensor):
        raise TypeError(
            "gradient() received an invalid combination of arguments - spacing must be a number "
            "or a list of numbers or tensors"
        )
    if several and dim is None and len(spacing) != ndim:
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar, or a list of length "
            f"equal to 'self.dim() = {ndim}', since dim argument was not given, but got a list of "
            f"length {len(spacing)}"
        )
    named = dim if dim is None or hasattr(dim, "__len__") else (dim,)
    if several and named is not None and len(spacing) != len(named):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and dim "
            f"arguments to have the same length, but got a spacing argument of length "
            f"{len(spacing)} and a dim argument of length {len(named)}."
        )
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    canonical_dims(dim, ndim)
    axes = tuple(range(ndim)) if named is None else tuple(canonical_dim(d, ndim) for d in named)
    steps = list(spacing) if several else [spacing] * len(axes)
    for axis in axes:
        if input._array.shape[axis] < edge_order + 1:
            raise RuntimeError(
                "torch.gradient expected each dimension size to be at least edge_order+1"
            )
    for axis, step in zip(axes, steps, strict=True):
        if not isinstance(step, Tensor):
            continue
        if step._array.ndim != 1:
            raise RuntimeError(
                "torch.gradient expected each element of spacing to have one dimension, but got "
                f"an element with {step._array.ndim} dimensions!"
            )
        if step._array.size != input._array.shape[axis]:
            raise RuntimeError(
                f"torch.gradient expected spacing for dimension {axis} to have "
                f"{input._array.shape[axis]} coordinates, but got {step._array.size}"
            )
    return axes, steps


def _even_gradient(f: Tensor, axis: int, step: Any, edge_order: int) -> Tensor:
    """Central differences of points `step` apart; one-sided ones at the edges."""

    def at(place: int, count: int = 1) -> Tensor:
        extent = f._array.shape[axis]
        return narrow(f, axis, place + extent if place < 0 else place, count)

    inner = (at(2, f._array.shape[axis] - 2) - at(0, f._array.shape[axis] - 2)) / (2 * step)
    if edge_order == 1:
        first, last = (at(1) - at(0)) / step, (at(-1) - at(-2)) / step
    else:
        first = (at(0) * -1.5 + at(1) * 2 - at(2) * 0.5) / step
        last = (at(-3) * 0.5 - at(-2) * 2 + at(-1) * 1.5) / step
    return cat([first, inner, last], axis)


def _uneven_gradient(f: Tensor, axis: int, places: Tensor, edge_order: int) -> Tensor:
    """Differences at the coordinates `places`, exact for polynomials of second degree inside."""
    ndim, extent = f._array.ndim, f._array.shape[axis]
    gaps = diff(places)

    def at(place: int, count: int = 1) -> Tensor:
        return narrow(f, axis, place + extent if place < 0 else place, count)

    def along(weights: Tensor) -> Tensor:
        shape = [1] * ndim
        shape[axis] = weights._array.size
        return weights.reshape(shape)

    before, after = gaps[:-1], gaps[1:]
    inner = (
        along(-after / (before * (before + after))) * at(0, extent - 2)
        + along((after - before) / (before * after)) * at(1, extent - 2)
        + along(before / (after * (before + after))) * at(2, extent - 2)
    )
    if edge_order == 1:
        first, last = (at(1) - at(0)) / gaps[0], (at(-1) - at(-2)) / gaps[-1]
        return cat([first, inner, last], axis)
    near, far = gaps[0], gaps[1]
    both = near + far
    first = (
        -(near + both) / (near * both) * at(0)
        + both / (near * far) * at(1)
        - near / (far * both) * at(2)
    )
    near, far = gaps[-1], gaps[-2]
    both = near + far
    last = (
        near / (far * both) * at(-3)
        - both / (near * far) * at(-2)
        + (near + both) / (near * both) * at(-1)
    )
    return cat([first, inner, last], axis)


@public()
def gradient(
    input: Tensor, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1
) -> tuple[Tensor, ...]:
    """Estimates of the derivative along each of the dimensions `dim` (all of them).

    `spacing` is the distance of the samples: one number, one for each dimension, or for each
    dimension a vector of coordinates. At the edges the difference is one-sided and of order
    `edge_order`, 1 or 2.
    Raises: RuntimeError if a dimension has fewer than edge_order + 1 elements.
    """
    axes, steps = _gradient_axes(input, spacing, dim, edge_order)
    return tuple(
        _uneven_gradient(input, axis, step, edge_order)
        if isinstance(step, Tensor)
        else _even_gradient(input, axis, step, edge_order)
        for axis, step in zip(axes, steps, strict=True)
    )


# ---------------------------------------------------------------- trapezoids


def _areas(name: str, y: Tensor, x: Tensor | None, dx: Any, axis: int) -> Tensor:
    """The area between each two neighbours, times two."""
    extent = y._array.shape[axis]
    pairs = narrow(y, axis, 1, extent - 1) + narrow(y, axis, 0, extent - 1)
    if x is None:
        return mul(pairs, dx)
    if x._array.ndim == 1:
        if x._array.size != extent:
            raise ShapeError(f"{name}: There must be one `x` value for each sample point")
        shape = [1] * y._array.ndim
        shape[axis] = extent - 1
        return mul(pairs, diff(x).reshape(shape))
    while x._array.ndim < y._array.ndim:
        x = x.unsqueeze(0)
    return mul(pairs, diff(x, dim=axis - y._array.ndim))


def _check_trapezoid(name: str, y: Tensor, x: Tensor | None, dx: Any) -> None:
    if x is not None and dx is not None:
        raise TypeError(
            f"{name}() received an invalid combination of arguments - give x or dx, not both"
        )
    if x is None:
        if y._array.dtype.kind == "b":
            raise RuntimeError(f"{name}: received a bool input for `y`, but bool is not supported")
        if isinstance(dx, (complex, bool)):
            raise RuntimeError(
                f"{name}: Currently, we only support dx as a real number, got "
                f"{'complex' if isinstance(dx, complex) else 'bool'}"
            )
    elif "b" in (y._array.dtype.kind, x._array.dtype.kind):
        raise RuntimeError(
            f"{name}: received a bool input for `x` or `y`, but bool is not supported"
        )


@public(aliases=("trapz",))
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral of `y` along `dim` by the trapezoidal rule.

    The samples are at the coordinates `x`, or `dx` (1) apart.
    Raises: RuntimeError for bools or if `x` does not fit.
    """
    _check_trapezoid("trapezoid", y, x, dx)
    axis = canonical_dim(dim, y._array.ndim)
    if y._array.shape[axis] == 0:
        shape = y._array.shape
        return zeros(*shape[:axis], *shape[axis + 1 :], dtype=y.dtype)
    areas = _areas("trapezoid", y, x, 1 if dx is None else dx, axis)
    return div(sum_over(areas, axis), 2.0)


@public()
def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: Any = None, dim: int = -1
) -> Tensor:
    """The integrals of `y` from the first to each later sample, by the trapezoidal rule."""
    _check_trapezoid("cumulative_trapezoid", y, x, dx)
    axis = canonical_dim(dim, y._array.ndim)
    if y._array.shape[axis] == 0:
        return y
    areas = _areas("cumulative_trapezoid", y, x, 1 if dx is None else dx, axis)
    return div(cumsum(areas, axis), 2.0)
