"""Sampling of images and volumes at the points of a grid, and grids of affine maps.

A sample is a weighted sum of a few pixels, its taps. Three ops share the work: from the grid to
positions in pixels, from positions to the weights of the taps, and from pixels and weights to
samples. The last is linear in both its inputs, so it and its two derivatives (`TapDot`,
`TapScatter`) are each other's derivatives, to any order.
"""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np

from taper.dispatch import apply
from taper.dtypes import cpp_name
from taper.errors import DtypeError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.arguments import narrowed, refuse, require_tensor, widened
from taper.ops.window import Sizes
from taper.tensor import Tensor, wrap

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


# ---------------------------------------------------------------- positions


def _reflected(x: np.ndarray, size: int, corners: bool) -> tuple[np.ndarray, np.ndarray]:
    """Positions folded into the image at its border, and the sign of the slope there."""
    low, span = (0.0, size - 1.0) if corners else (-0.5, float(size))
    if span == 0:
        return np.zeros_like(x), np.zeros_like(x)
    distance = np.abs(x - x.dtype.type(low))
    flips = np.floor(distance / x.dtype.type(span))
    rest = np.fmod(distance, x.dtype.type(span))
    even = np.fmod(flips, 2) == 0
    folded = np.where(even, rest, x.dtype.type(span) - rest) + x.dtype.type(low)
    return folded, np.where(even, 1, -1) * np.where(x < low, -1, 1)


def _padded(x: np.ndarray, size: int, padding: str, corners: bool) -> tuple[Any, Any]:
    """Positions that padding has moved into the image, and their slope."""
    slope: Any = 1
    if padding == "reflection":
        x, slope = _reflected(x, size, corners)
    inside = (x > 0) & (x < size - 1)
    # fmax, because nan goes to the first pixel.
    return np.minimum(np.fmax(x, 0), x.dtype.type(size - 1)), slope * inside


def _positions(grid: np.ndarray, sizes: Sizes, corners: bool, padding: str) -> Any:
    """Positions in pixels of normalized coordinates, and the slope between the two."""
    g = widened(grid)
    made, slopes = np.empty_like(g), np.empty_like(g)
    for d, size in enumerate(sizes):
        x = g[..., d] + 1
        x = x / 2 * (size - 1) if corners else (x * size - 1) / 2
        slope: Any = 1
        if padding != "zeros":
            x, slope = _padded(x, size, padding, corners)
        made[..., d] = x
        slopes[..., d] = slope * ((size - 1 if corners else size) / 2)
    return made, slopes


@op
class GridPositions(Opaque):
    """Coordinates between -1 and 1 as positions in pixels; `sizes` is (width, height, ...)."""

    saves = ("grid",)

    def forward(self, m: Any, grid: Any, *, sizes: Sizes, corners: bool, padding: str) -> Any:
        return _positions(grid, sizes, corners, padding)[0]

    def vjp(self, m: Any, grad: Any, out: Any, grid: Any, **how: Any) -> Any:
        made = grad * m.call(GridSlopes, grid, **how)
        return m.astype(made, getattr(grid, "_array", grid).dtype)


@op
class GridSlopes(Opaque):
    """The derivative of GridPositions; constant but for jumps, and so without one of its own."""

    def forward(self, m: Any, grid: Any, *, sizes: Sizes, corners: bool, padding: str) -> Any:
        return _positions(grid, sizes, corners, padding)[1]


# ---------------------------------------------------------------- weights

_A = -0.75  # of Keys' cubic convolution kernel (1981), as in interpolate


def _taps(mode: str) -> tuple[int, ...]:
    """The taps of one dimension, counted from the pixel at or below the position."""
    return {"nearest": (0,), "bilinear": (0, 1), "bicubic": (-1, 0, 1, 2)}[mode]


def _weights_along(mode: str, t: Any) -> list[Any]:
    """Weights of the taps at the fraction t between two pixels."""
    if mode == "bilinear":
        return [1 - t, t]
    s = 1 - t
    return [
        ((_A * (t + 1) - 5 * _A) * (t + 1) + 8 * _A) * (t + 1) - 4 * _A,
        ((_A + 2) * t - (_A + 3)) * t * t + 1,
        ((_A + 2) * s - (_A + 3)) * s * s + 1,
        ((_A * (s + 1) - 5 * _A) * (s + 1) + 8 * _A) * (s + 1) - 4 * _A,
    ]


def _slopes_along(mode: str, t: Any) -> list[Any]:
    """Derivatives of the weights with respect to t."""
    if mode == "bilinear":
        one = t * 0 + 1
        return [-one, one]
    s = 1 - t
    return [
        (3 * _A * (t + 1) - 10 * _A) * (t + 1) + 8 * _A,
        (3 * (_A + 2) * t - 2 * (_A + 3)) * t,
        -(3 * (_A + 2) * s - 2 * (_A + 3)) * s,
        -((3 * _A * (s + 1) - 10 * _A) * (s + 1) + 8 * _A),
    ]


@op
class TapWeights(Opaque):
    """Weights (batch, taps, points) of the taps at positions (batch, points, dimensions)."""

    saves = ("positions",)

    def forward(self, m: Any, positions: Any, *, mode: str) -> Any:
        batch, points, rank = positions.shape
        if mode == "nearest":
            return np.ones((batch, 1, points), positions.dtype)
        fraction = positions - np.floor(positions)
        along = [_weights_along(mode, fraction[..., d]) for d in range(rank)]
        # The last dimension of the image is the first coordinate.
        return np.stack([math.prod(each) for each in itertools.product(*along[::-1])], axis=1)

    def vjp(self, m: Any, grad: Any, out: Any, positions: Any, *, mode: str) -> Any:
        if mode == "nearest":
            return positions * 0
        rank = positions.shape[-1]
        fraction = positions - m.floor(positions)
        weights = [_weights_along(mode, fraction[..., d]) for d in range(rank)][::-1]
        slopes = [_slopes_along(mode, fraction[..., d]) for d in range(rank)][::-1]
        count = len(_taps(mode))
        shares = []
        for d in range(rank):
            factors = [slopes[i] if i == d else weights[i] for i in range(rank)]
            share: Any = 0
            for k, each in enumerate(itertools.product(range(count), repeat=rank)):
                share = share + grad[:, k] * math.prod(factors[i][j] for i, j in enumerate(each))
            shares.append(share)
        return m.stack(shares[::-1], -1)


def _tap_index(
    positions: np.ndarray, sizes: Sizes, mode: str, padding: str, corners: bool
) -> np.ndarray:
    """For every tap the pixel's index in the flattened image, or the image's size if outside.

    `sizes` is (width, height, ...), as in the grid. Bicubic taps are padded one by one.
    """
    base = np.rint(positions) if mode == "nearest" else np.floor(positions)
    # What is not a number, or too large for an index, is outside.
    base = np.where(np.abs(base) < 2**30, base, -100)
    count = math.prod(sizes)
    along = []
    for d, size in enumerate(sizes):
        found = []
        for tap in _taps(mode):
            at = base[..., d] + tap
            if mode == "bicubic" and padding != "zeros":
                at = _padded(at, size, padding, corners)[0]
            found.append((at.astype(np.int64), (at >= 0) & (at < size)))
        along.append(found)
    index = []
    for each in itertools.product(*along[::-1]):
        place: Any = 0
        inside: Any = True
        for (at, valid), size in zip(each, sizes[::-1], strict=True):
            place = place * size + at
            inside = inside & valid
        index.append(np.where(inside, place, count))
    return np.stack(index, axis=1)


# ---------------------------------------------------------------- samples


def _rows(x: np.ndarray) -> np.ndarray:
    """(batch, channels, *) as rows of channels, and one row of zeros after each image."""
    batch, channels = x.shape[:2]
    flat = widened(x).reshape(batch, channels, -1)
    made = np.zeros((batch, flat.shape[2] + 1, channels), flat.dtype)
    made[:, :-1] = flat.transpose(0, 2, 1)
    return made.reshape(-1, channels)


def _absolute(index: np.ndarray, pixels: int) -> np.ndarray:
    """The index in the rows of all images."""
    return index + (np.arange(len(index)) * (pixels + 1))[:, None, None]


class _TapSum(Opaque):
    """out[n, c, p] = sum over k of weights[n, k, p] * input[n, c, index[n, k, p]]."""

    name = "grid_sampler"
    saves = ("input", "weights")

    def forward(self, m: Any, input: Any, weights: Any, *, index: Any, size: Sizes) -> Any:
        batch, channels = input.shape[:2]
        rows = _rows(input)
        place = _absolute(index, len(rows) // batch - 1 if batch else 0)
        total: Any = 0
        for k in range(index.shape[1]):
            total = total + rows[place[:, k]] * weights[:, k, :, None]
        return narrowed(
            np.ascontiguousarray(total.transpose(0, 2, 1)).reshape(batch, channels, *size), input
        )

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        input: Any,
        weights: Any,
        *,
        index: Any,
        size: Sizes,
        needs: Any,
    ) -> Any:
        to_input = to_weights = None
        if needs[0]:
            pixels = tuple(input.shape[2:])
            to_input = m.call(TapScatter, grad, weights, index=index, pixels=pixels)
        if needs[1]:
            to_weights = m.call(TapDot, grad, input, index=index)
        return to_input, to_weights


@op
class TapSum2d(_TapSum):
    """Of an image."""

    node_name = "GridSampler2DBackward0"


@op
class TapSum3d(_TapSum):
    """Of a volume."""

    node_name = "GridSampler3DBackward0"


@op
class TapDot(Opaque):
    """out[n, k, p] = sum over c of grad[n, c, p] * input[n, c, index[n, k, p]]."""

    saves = ("grad", "input")

    def forward(self, m: Any, grad: Any, input: Any, *, index: Any) -> Any:
        batch, channels = input.shape[:2]
        rows = _rows(input)
        place = _absolute(index, len(rows) // batch - 1 if batch else 0)
        g = widened(grad).reshape(batch, channels, -1).transpose(0, 2, 1)
        dots = [np.einsum("npc,npc->np", g, rows[place[:, k]]) for k in range(index.shape[1])]
        return np.stack(dots, axis=1)

    def vjp(self, m: Any, grad: Any, out: Any, outer: Any, input: Any, *, index: Any) -> Any:
        size, pixels = tuple(outer.shape[2:]), tuple(input.shape[2:])
        return (
            m.call(TapSum2d, input, grad, index=index, size=size),
            m.call(TapScatter, outer, grad, index=index, pixels=pixels),
        )


@op
class TapScatter(Opaque):
    """Adds weights[n, k, p] * grad[n, c, p] to pixel index[n, k, p]: the adjoint of TapSum."""

    saves = ("grad", "weights")

    def forward(self, m: Any, grad: Any, weights: Any, *, index: Any, pixels: Sizes) -> Any:
        batch, channels = grad.shape[:2]
        count = math.prod(pixels)
        g = widened(grad).reshape(batch, channels, 1, -1)
        made = np.zeros((batch, channels, count + 1), g.dtype)
        first = np.arange(batch * channels).reshape(batch, channels, 1, 1) * (count + 1)
        # numpy's add.at is fast in one dimension only.
        place = (index[:, None] + first).reshape(-1)
        np.add.at(made.reshape(-1), place, (g * weights[:, None]).reshape(-1))
        return narrowed(made[..., :-1].reshape(batch, channels, *pixels), grad)

    def vjp(
        self,
        m: Any,
        grad: Any,
        out: Any,
        outer: Any,
        weights: Any,
        *,
        index: Any,
        pixels: Sizes,
    ) -> Any:
        size = tuple(outer.shape[2:])
        return (
            m.call(TapSum2d, grad, weights, index=index, size=size),
            m.call(TapDot, outer, grad, index=index),
        )


# ---------------------------------------------------------------- the functions


def _check_grid(input: Tensor, grid: Tensor, mode: str) -> None:
    require_tensor("grid_sampler", "input", 1, input)
    require_tensor("grid_sampler", "grid", 2, grid)
    size, points = list(input.shape), list(grid.shape)
    if not size or not points or size[0] != points[0]:
        raise ShapeError(
            "grid_sampler",
            "grid_sampler(): expected grid and input to have same batch size, but got input with "
            f"sizes {size} and grid with sizes {points}",
        )
    if points[-1] != len(size) - 2:
        raise ShapeError(
            "grid_sampler",
            f"grid_sampler(): expected grid to have size {len(size) - 2} in last dimension, but "
            f"got grid with sizes {points}",
        )
    for dim, n in enumerate(size[2:], 2):
        if n == 0:
            raise ShapeError(
                "grid_sampler",
                "grid_sampler(): expected input to have non-empty spatial dimensions, but input "
                f"has sizes {size} with dimension {dim} being empty",
            )
    if len(size) not in (4, 5) or len(points) != len(size):
        raise ShapeError(
            "grid_sampler",
            f"grid_sampler(): expected {'4D or 5D' if len(size) not in (4, 5) else f'{len(size)}D'}"
            " input and grid with same number of dimensions, but got input with sizes "
            f"{size} and grid with sizes {points}",
        )
    if len(size) == 5 and mode == "bicubic":
        raise ShapeError(
            "grid_sampler", "grid_sampler(): bicubic interpolation only supports 4D input"
        )
    refuse(input, "iubc", f"grid_sampler_{len(size) - 2}d_cpu_kernel_impl")
    if input.dtype is not grid.dtype:
        raise DtypeError(
            "grid_sampler",
            f"expected scalar type {cpp_name(input.dtype)} but found {cpp_name(grid.dtype)}",
        )


def _sampled(input: Tensor, grid: Tensor, mode: str, padding: str, corners: bool) -> Tensor:
    _check_grid(input, grid, mode)
    rank = input.dim() - 2
    size = tuple(grid.shape[1:-1])
    sizes = tuple(input.shape[2:])[::-1]
    points = grid.reshape(grid.shape[0], math.prod(size), rank)
    # Bicubic taps are padded, not the position between them.
    moved = padding if mode != "bicubic" else "zeros"
    positions = apply(GridPositions, points, sizes=sizes, corners=corners, padding=moved)
    index = _tap_index(positions._array, sizes, mode, padding, corners)
    weights = apply(TapWeights, positions, mode=mode)
    return apply(TapSum2d if rank == 2 else TapSum3d, input, weights, index=index, size=size)


@public(namespaces=("nn.functional",))
def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The input sampled at the points of a grid, whose coordinates run from -1 to 1.

    mode: bilinear (trilinear for volumes), nearest, or bicubic (images only). padding_mode says
    what lies outside: zeros, the border, or the image reflected. With align_corners -1 and 1 are
    the centres of the corner pixels, otherwise their outer edges.

    Shape: input (batch, channels, height, width), grid (batch, out height, out width, 2), the
        last dimension being (x, y); or with a depth before the height, and (x, y, z).
    Dtype: floating, both of one.
    Raises: ValueError for another mode, RuntimeError where shapes or dtypes do not fit.
    Source: Jaderberg et al., Spatial transformer networks, 2015.
    """
    if mode not in _MODES:
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', "
            f"but got: '{mode}'"
        )
    if padding_mode not in _PADDINGS:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
            f"'reflection', but got: '{padding_mode}'"
        )
    if align_corners is None:
        _warn_of_default()
        align_corners = False
    return _sampled(input, grid, mode, padding_mode, align_corners)


def _warn_of_default() -> None:
    warnings.warn(
        "Default grid_sample and affine_grid behavior has changed to align_corners=False since "
        "1.3.0. Please specify align_corners=True if the old behavior is desired. See the "
        "documentation of grid_sample for details.",
        stacklevel=3,
    )


@public()
def grid_sampler(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """nn.functional.grid_sample with numbers for the modes, in the order in which it names them."""
    return _sampled(input, grid, _MODES[interpolation_mode], _PADDINGS[padding_mode], align_corners)


@public()
def grid_sampler_2d(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """grid_sampler of images."""
    return grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)


@public()
def grid_sampler_3d(
    input: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Tensor:
    """grid_sampler of volumes."""
    return grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)


def _line(steps: int, corners: bool, dtype: np.dtype) -> np.ndarray:
    """Coordinates of `steps` pixels, from -1 to 1."""
    if steps == 1:
        return np.zeros(1, dtype)
    line = np.linspace(-1, 1, steps)
    return (line if corners else line * ((steps - 1) / steps)).astype(dtype)


@public()
def affine_grid_generator(theta: Tensor, size: Any, align_corners: bool) -> Tensor:
    """The grid of an affine map: nn.functional.affine_grid without its checks."""
    sizes = tuple(int(n) for n in size)
    spatial = sizes[2:]
    array = theta._array
    lines = [_line(n, align_corners, array.dtype) for n in spatial]
    mesh = np.meshgrid(*lines, indexing="ij")
    base = np.stack([*mesh[::-1], np.ones(spatial, array.dtype)], axis=-1)
    flat = wrap(base.reshape(-1, len(spatial) + 1)).expand(sizes[0], -1, -1)
    return flat.bmm(theta.transpose(1, 2)).reshape(sizes[0], *spatial, len(spatial))


@public(namespaces=("nn.functional",))
def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The points at which grid_sample must look to transform an image by the affine map theta.

    Shape: theta (batch, 2, 3) for size (batch, channels, height, width), result (batch, height,
        width, 2); or (batch, 3, 4) for a size with depth.
    Raises: ValueError where theta does not fit the size, NotImplementedError for other sizes.
    """
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    if align_corners is None:
        _warn_of_default()
        align_corners = False
    rank = len(size) - 2
    if rank not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
            f"respectively. Got size {size}."
        )
    if theta.dim() != 3 or tuple(theta.shape[-2:]) != (rank, rank + 1):
        raise ValueError(
            f"Expected a batch of {rank}D affine matrices of shape Nx{rank}x{rank + 1} for size "
            f"{size}. Got {theta.shape}."
        )
    if align_corners and min(size[2:]) == 1:
        warnings.warn(
            "Since version 1.3.0, affine_grid behavior has changed for unit-size grids when "
            "align_corners=True. This is not an intended use case of affine_grid. See the "
            "documentation of affine_grid for details.",
            stacklevel=2,
        )
    elif min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    return affine_grid_generator(theta, size, align_corners)
