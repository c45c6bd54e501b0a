"""Interpolation: signals, images and volumes at another size.

Every mode works dimension by dimension, and in one dimension each output is a weighted sum of a
few inputs. `table` writes down which and with what weights; turned round, the same table is the
derivative. The rules for positions (half pixels, corners, rounding) are PyTorch's, computed in the
precision PyTorch computes them in, because a position's last bit can decide which pixel is taken.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from taper import dtypes
from taper.dispatch import apply
from taper.errors import ShapeError, UnsupportedDtype
from taper.op import Opaque, op, public
from taper.ops.arguments import widened
from taper.ops.pool_index import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from taper.ops.window import Sizes, along
from taper.tensor import Tensor

# How one dimension is resampled: mode, sizes before and after, scale or None, corners, dtype.
Axis = tuple[str, int, int, float | None, bool, str]
# One input per output: where (a slice if evenly spaced), and its weight (None for 1).
Tap = tuple[Any, Any]


# ---------------------------------------------------------------- which inputs, what weights


def _step(before: int, after: int, scale: float | None, corners: bool, real: Any) -> Any:
    """Distance between two outputs, measured in inputs."""
    if corners:
        return real(before - 1) / real(after - 1) if after > 1 else real(0)
    if scale is not None and scale > 0:
        return real(1.0 / scale)
    return real(before) / real(after)


def _nearest(mode: str, before: int, after: int, scale: float | None) -> np.ndarray:
    at = np.arange(after)
    if mode == "nearest":
        if before == after:
            return at
        if after == 2 * before:
            return at >> 1
    # Positions are float32 here whatever the input's dtype.
    step = _step(before, after, scale, False, np.float32)
    shift = np.float32(0.5 if mode == "nearest-exact" else 0)
    place = np.floor((at.astype(np.float32) + shift) * step).astype(np.int64)
    return np.minimum(place, before - 1)


def _linear(
    before: int, after: int, scale: float | None, corners: bool, real: Any
) -> tuple[np.ndarray, np.ndarray]:
    at = np.arange(after)
    if before == after:
        return at[None], np.ones((1, after), real)
    step = _step(before, after, scale, corners, real)
    place = at.astype(real) * step if corners else (at.astype(real) + real(0.5)) * step - real(0.5)
    place = np.maximum(place, 0)
    low = np.minimum(place.astype(np.int64), before - 1)
    share = np.clip(place - low.astype(real), 0, 1)
    return np.stack([low, np.minimum(low + 1, before - 1)]), np.stack([1 - share, share])


def _cubic_weight(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' convolution kernel with parameter a (1981)."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _cubic(
    before: int, after: int, scale: float | None, corners: bool, real: Any
) -> tuple[np.ndarray, np.ndarray]:
    at = np.arange(after).astype(real)
    step = _step(before, after, scale, corners, real)
    place = at * step if corners else (at + real(0.5)) * step - real(0.5)
    low = np.minimum(np.floor(place).astype(np.int64), before - 1)
    share = np.clip(place - low.astype(real), 0, 1)
    offsets = np.arange(-1, 3)[:, None]
    weights = _cubic_weight(share[None].astype(np.float64) - offsets, -0.75)
    return np.clip(low + offsets, 0, before - 1), weights.astype(real)


def _triangle(distance: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(distance), 0)


def _lanczos(distance: np.ndarray) -> np.ndarray:
    return np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)


# Filters against aliasing, and how far they reach on either side.
_FILTERS = {
    "linear-aa": (_triangle, 1),
    "cubic-aa": (lambda distance: _cubic_weight(distance, -0.5), 2),
    "lanczos-aa": (_lanczos, 3),
}


def _antialiased(
    mode: str, before: int, after: int, scale: float | None, corners: bool, real: Any
) -> tuple[np.ndarray, np.ndarray]:
    weight, reach = _FILTERS[mode]
    step = _step(before, after, scale, corners, real)
    shrink = max(step, real(1))
    centre = step * (np.arange(after).astype(real) + real(0.5))
    support = reach * shrink
    first = np.maximum((centre - support + real(0.5)).astype(np.int64), 0)
    last = np.minimum((centre + support + real(0.5)).astype(np.int64), before)
    index = first + np.arange(int((last - first).max()))[:, None]
    weights = weight((index - centre + real(0.5)) / shrink)
    weights = np.where(index < last, weights, 0)
    weights /= weights.sum(axis=0)
    return np.minimum(index, before - 1), weights.astype(real)


def _turned(index: np.ndarray, weights: np.ndarray, before: int) -> tuple[np.ndarray, np.ndarray]:
    """The table of the adjoint: for every input, the outputs it went to."""
    outputs = np.broadcast_to(np.arange(index.shape[1]), index.shape)
    used = weights != 0
    source, target, weight = index[used], outputs[used], weights[used]
    order = np.argsort(source, kind="stable")
    source, target, weight = source[order], target[order], weight[order]
    counts = np.bincount(source, minlength=before)
    rank = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (max(1, int(counts.max(initial=0))), before)
    turned_index, turned_weights = np.zeros(shape, np.int64), np.zeros(shape, weights.dtype)
    turned_index[rank, source] = target
    turned_weights[rank, source] = weight
    return turned_index, turned_weights


def _tap(index: np.ndarray, weights: np.ndarray) -> Tap:
    where: Any = index
    steps = np.diff(index)
    if len(index) == 1 or (steps.size and steps[0] > 0 and (steps == steps[0]).all()):
        step = int(steps[0]) if steps.size else 1
        where = slice(int(index[0]), int(index[-1]) + 1, step)
    return where, None if (weights == 1).all() else weights


@lru_cache(maxsize=256)
def table(axis: Axis, adjoint: bool) -> list[Tap]:
    """The taps of one dimension, or of its adjoint."""
    mode, before, after, scale, corners, dtype = axis
    real = np.dtype(dtype).type
    if mode.startswith("nearest"):
        index = _nearest(mode, before, after, scale)[None]
        weights = np.ones(index.shape, real)
    elif mode == "linear":
        index, weights = _linear(before, after, scale, corners, real)
    elif mode == "cubic":
        index, weights = _cubic(before, after, scale, corners, real)
    else:
        index, weights = _antialiased(mode, before, after, scale, corners, real)
    if adjoint:
        index, weights = _turned(index, weights, before)
    return [_tap(i, w) for i, w in zip(index, weights, strict=True)]


# ---------------------------------------------------------------- on arrays


def _taken(x: np.ndarray, where: Any, axis: int) -> tuple[np.ndarray, bool]:
    """The inputs of a tap, and whether they are a copy."""
    if type(where) is slice:
        return x[along(axis, where)], False
    return np.take(x, where, axis, mode="clip"), True


def _resampled(x: np.ndarray, taps: list[Tap], axis: int) -> np.ndarray:
    total: Any = None
    owned = False
    for where, weights in taps:
        part, copied = _taken(x, where, axis)
        if weights is not None:
            weights = weights if axis == -1 else weights.reshape(-1, *(1,) * (-axis - 1))
            part = np.multiply(part, weights, out=part if copied else None)
            copied = True
        if total is None:
            total, owned = part, copied
        else:
            total = np.add(total, part, out=total if owned else part if copied else None)
            owned = True
    return total


@lru_cache(maxsize=64)
def _whole_weights(axis: Axis) -> tuple[np.ndarray, int]:
    """The table of one dimension as a matrix of 16-bit integers (in float64), and their bits after
    the point.
    """
    dense = np.zeros((axis[2], axis[1]))
    for where, weights in table(axis, False):
        index = np.arange(axis[1])[where]
        np.add.at(dense, (np.arange(axis[2]), index), 1.0 if weights is None else weights)
    bits = 0
    while bits < 22 and int(0.5 + dense.max() * (1 << (bits + 1))) < 1 << 15:
        bits += 1
    return np.trunc(dense * (1 << bits) + np.copysign(0.5, dense)), bits


def _resampled_bytes(x: np.ndarray, axes: tuple[Axis, ...]) -> np.ndarray:
    """Bytes resampled as image libraries do: 16-bit integer weights, and bytes in between, the last
    dimension first.
    """
    for axis in range(-1, -len(axes) - 1, -1):
        if axes[axis][1] == axes[axis][2]:
            continue
        weights, bits = _whole_weights(axes[axis])
        # Products of float64 are exact for numbers of this size, and fast.
        total = np.moveaxis(x, axis, -1).astype(np.float64) @ weights.T
        made = np.clip(np.floor(total / (1 << bits) + 0.5), 0, 255)
        x = np.ascontiguousarray(np.moveaxis(made, -1, axis).astype(np.uint8))
    return x


def resample(x: np.ndarray, axes: tuple[Axis, ...], adjoint: bool = False) -> np.ndarray:
    """The array with its last len(axes) dimensions resampled."""
    exact = axes[0][0].startswith("nearest") and not adjoint
    if x.dtype == np.uint8 and not exact:
        return _resampled_bytes(x, axes)
    made = x if exact else widened(x)
    # Those that shrink the array go first.
    growth = [a[1] / a[2] if adjoint else a[2] / a[1] for a in axes]
    for place in sorted(range(len(axes)), key=lambda i: (growth[i], -i)):
        taps = table(axes[place], adjoint)
        made = _resampled(made, taps, place - len(axes))
    made = made.astype(x.dtype, copy=False)
    return made.copy() if made.base is not None or made is x else made


# ---------------------------------------------------------------- the ops


class _Upsample(Opaque):
    """Resamples the last dimensions; the subclasses differ in PyTorch's name of the node."""

    name = "interpolate"

    def forward(self, m: Any, input: Any, *, axes: tuple[Axis, ...]) -> Any:
        return resample(input, axes)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axes: tuple[Axis, ...]) -> Any:
        return m.call(UpsampleAdjoint, grad, axes=axes)


@op
class UpsampleAdjoint(Opaque):
    """The gradient of the input of an interpolation."""

    def forward(self, m: Any, grad: Any, *, axes: tuple[Axis, ...]) -> Any:
        return resample(grad, axes, adjoint=True)

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axes: tuple[Axis, ...]) -> Any:
        return m.call(_OPS["nearest", 1], grad, axes=axes)


# By mode and number of dimensions.
_NODES = {
    ("nearest", 1): "UpsampleNearest1D",
    ("nearest", 2): "UpsampleNearest2D",
    ("nearest", 3): "UpsampleNearest3D",
    ("nearest-exact", 1): "UpsampleNearestExact1D",
    ("nearest-exact", 2): "UpsampleNearestExact2D",
    ("nearest-exact", 3): "UpsampleNearestExact3D",
    ("linear", 1): "UpsampleLinear1D",
    ("linear", 2): "UpsampleBilinear2D",
    ("linear", 3): "UpsampleTrilinear3D",
    ("cubic", 2): "UpsampleBicubic2D",
    ("linear-aa", 2): "UpsampleBilinear2DAa",
    ("cubic-aa", 2): "UpsampleBicubic2DAa",
    ("lanczos-aa", 2): "UpsampleLanczos2DAa",
}
_OPS: dict[tuple[str, int], Any] = {
    key: op(type(node, (_Upsample,), {"node_name": node + "Backward0"}))
    for key, node in _NODES.items()
}


# ---------------------------------------------------------------- the functions

_KINDS = {
    "linear": ("linear", 1),
    "bilinear": ("linear", 2),
    "trilinear": ("linear", 3),
    "bicubic": ("cubic", 2),
    "lanczos": ("lanczos", 2),
}
_AREA = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}
_LETTERS = {1: "W", 2: "HW", 3: "DHW"}


def _supported(input: Tensor, mode: str, kind: str, rank: int) -> None:
    array = input._array
    if array.dtype.kind in "fV":
        if "-aa" not in kind or array.dtype.itemsize > 2:
            return
        kernel = "compute_index_ranges_weights"
    elif array.dtype == np.uint8 and (kind.startswith("nearest") or rank == 2):
        return
    elif rank == 2:
        kernel = f"upsample_{'nearest' if kind.startswith('nearest') else mode}2d_channels_last"
    else:
        what = "nearest" if kind.startswith("nearest") else "linear"
        kernel = f"compute_indices_weights_{what}"
    raise UnsupportedDtype(f"\"{kernel}\" not implemented for '{dtypes.cpp_name(input.dtype)}'")


def upsampled(
    input: Tensor,
    kind: str,
    size: Sizes,
    scales: tuple[float | None, ...],
    corners: bool,
    mode: str = "",
) -> Tensor:
    """The input at `size` by one of the kinds of `table`, after PyTorch's checks."""
    shape = input._array.shape
    rank = len(size)
    before = shape[2:]
    if any(n <= 0 for n in (*before, *size)):
        told = [
            ", ".join(f"{c}: {n}" for c, n in zip(_LETTERS[rank], sizes, strict=True))
            for sizes in (before, size)
        ]
        raise ShapeError(
            "interpolate",
            "Input and output sizes should be greater than 0, but got input "
            f"({told[0]}) output ({told[1]})",
        )
    if 0 in shape[1:]:
        raise ShapeError(
            "interpolate",
            f"Non-empty {rank + 2}D data tensor expected but got a tensor with sizes {list(shape)}",
        )
    _supported(input, mode or kind, kind, rank)
    dtype = "d" if input._array.dtype in (np.float64, np.uint8) else "f"
    axes = tuple(
        (kind, n, o, s, corners, dtype) for n, o, s in zip(before, size, scales, strict=True)
    )
    return apply(_OPS[kind, rank], input, axes=axes)


def _is_whole(value: Any) -> bool:
    return hasattr(value, "__index__") and not (isinstance(value, Tensor) and value.dim())


def _output_size(size: Any, rank: int, spatial: Sizes) -> Sizes:
    """`size` as one int per dimension. Raises: ValueError for another number, TypeError."""
    if isinstance(size, (list, tuple)):
        if len(size) != rank:
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input "
                f"with spatial dimensions of {list(spatial)} and output size of {size}. Please "
                "provide input tensor in (N, C, d1, d2, ...,dK) format and output size in "
                "(o1, o2, ...,oK) format."
            )
        if not all(_is_whole(n) for n in size):
            raise TypeError(
                "expected size to be one of int or Tuple[int] or Tuple[int, int] or "
                f"Tuple[int, int, int], but got size with types {[type(n) for n in size]}"
            )
        return tuple(int(n) for n in size)
    if not _is_whole(size):
        raise TypeError(
            "interpolate() received an invalid combination of arguments: expected size to be one "
            f"of int or Tuple[int, ...], but got {type(size).__name__}"
        )
    return (int(size),) * rank


def _scale_factors(scale_factor: Any, rank: int, spatial: Sizes) -> tuple[float, ...]:
    if isinstance(scale_factor, (list, tuple)):
        if len(scale_factor) != rank:
            given = scale_factor if isinstance(scale_factor, tuple) else list(scale_factor)
            raise ValueError(
                "Input and scale_factor must have the same number of spatial dimensions, but got "
                f"input with spatial dimensions of {list(spatial)} and scale_factor of shape "
                f"{given}. Please provide input tensor in (N, C, d1, d2, ...,dK) format and "
                "scale_factor in (s1, s2, ...,sK) format."
            )
        factors = tuple(scale_factor)
    else:
        factors = (scale_factor,) * rank
    if not all(isinstance(f, (int, float, np.number)) for f in factors):
        raise TypeError(
            "interpolate() received an invalid combination of arguments: scale_factor must be "
            f"numbers, got {', '.join(sorted({type(f).__name__ for f in factors}))}"
        )
    return tuple(float(f) for f in factors)


def _check_options(input: Tensor, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | "
                "bilinear | bicubic | trilinear"
            )
    if mode == "lanczos":
        if not antialias:
            raise ValueError("Lanczos mode requires antialias=True")
        if align_corners:
            raise ValueError("Lanczos mode does not support align_corners=True")
    if antialias and not (mode in ("bilinear", "bicubic", "lanczos") and input.dim() == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires "
            "a 4-D tensor as input"
        )


def _kind_of(input: Tensor, mode: str) -> str:
    """The kind of `table` for a mode. Raises: NotImplementedError where the input does not fit."""
    rank = input.dim() - 2
    if rank in (1, 2, 3):
        if mode in ("nearest", "nearest-exact"):
            return mode
        if mode in ("linear", "bilinear", "trilinear") and _KINDS[mode][1] != rank:
            raise NotImplementedError(
                f"Got {rank + 2}D input, but {mode} mode needs {_KINDS[mode][1] + 2}D input"
            )
        if mode in _KINDS and _KINDS[mode][1] == rank:
            return _KINDS[mode][0]
    raise NotImplementedError(
        f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {rank + 2}D) for the modes: "
        "nearest | linear | bilinear | bicubic | trilinear | lanczos | area | nearest-exact "
        f"(got {mode})"
    )


@public(namespaces=("nn.functional",))
def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """The input at spatial size `size`, or at `scale_factor` times its size.

    mode: nearest, nearest-exact, area (mean of what an output covers), linear (3-d input),
    bilinear, bicubic, lanczos (4-d), trilinear (5-d). With align_corners the corner pixels' centres
    meet, otherwise the corners of the corner pixels do. antialias widens the filter of a mode for
    4-d input when shrinking. recompute_scale_factor derives the scale from the sizes.

    Shape: input (batch, channels, spatial ...); result (batch, channels, size ...).
    Dtype: floating; uint8 for the nearest modes and for images.
    Raises: ValueError for contradicting options, NotImplementedError where the mode and the number
        of dimensions do not fit, RuntimeError for empty sizes.
    """
    _check_options(input, mode, align_corners, antialias)
    rank = input.dim() - 2
    spatial = tuple(input._array.shape[2:])
    scales: tuple[float | None, ...] = (None,) * max(rank, 0)
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is not None:
        if recompute_scale_factor:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        output = _output_size(size, rank, spatial)
    elif scale_factor is not None:
        factors = _scale_factors(scale_factor, rank, spatial)
        output = tuple(math.floor(n * f) for n, f in zip(spatial, factors, strict=True))
        if not recompute_scale_factor:
            scales = factors
    else:
        raise ValueError("either size or scale_factor should be defined")
    if mode == "area" and rank in _AREA:
        return _AREA[rank](input, output)
    kind = _kind_of(input, mode)
    if antialias:
        kind += "-aa"
    return upsampled(input, kind, output, scales, bool(align_corners), mode)


def _deprecated(name: str) -> None:
    warnings.warn(
        f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=3,
    )


@public(namespaces=("nn.functional",))
def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """interpolate under its old name; warns."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


@public(namespaces=("nn.functional",))
def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """interpolate to the nearest pixel; warns."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, "nearest")


@public(namespaces=("nn.functional",))
def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Bilinear interpolate with aligned corners; warns."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, "bilinear", align_corners=True)
