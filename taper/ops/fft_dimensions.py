"""Discrete Fourier transforms along several dimensions: torch.fft.fftn, fft2 and so on.

The real ones transform the last of the dimensions by the real op and the others by the complex one.
"""

from __future__ import annotations

import operator
from typing import Any

from taper import dtypes
from taper.dispatch import apply
from taper.errors import ShapeError
from taper.op import public
from taper.ops.fft import (
    OPPOSITE,
    FftC2R,
    FftR2C,
    as_complex,
    checked_points,
    dim_of,
    factor_name,
    into,
    promoted,
    require_real,
    resized,
    whole,
)
from taper.tensor import Tensor


def _axes_and_sizes(input: Tensor, s: Any, dim: Any) -> tuple[list[int], list[int]]:
    """The dimensions from the front, and the sizes of the transform along them, -1 where not given.

    Raises: RuntimeError for lengths that differ, IndexError for dimensions.
    """
    if isinstance(s, int):
        s = (s,)
    if isinstance(dim, int):
        dim = (dim,)
    ndim = input.dim()
    axes: list[int] = []
    if dim is not None:
        axes = [dim_of(d, ndim) for d in dim]
        if len(set(axes)) != len(axes):
            raise ShapeError("FFT dims must be unique")
    if s is not None:
        sizes = [operator.index(n) for n in s]
        if dim is not None and len(dim) != len(sizes):
            raise ShapeError("When given, dim and shape arguments must have the same length")
        if len(sizes) > ndim:
            raise ShapeError(
                f"Got shape with {len(sizes)} values but input tensor only has {ndim} dimensions."
            )
        if dim is None:
            axes = list(range(ndim - len(sizes), ndim))
    else:
        if dim is None:
            axes = list(range(ndim))
        sizes = [-1] * len(axes)
    for n in sizes:
        if n != -1:
            checked_points(n)
    return axes, sizes


def _resized_to(input: Tensor, axes: list[int], sizes: list[int]) -> Tensor:
    for axis, size in zip(axes, sizes, strict=True):
        input = resized(input, axis, checked_points(input.shape[axis] if size == -1 else size))
    return input


def _require_axes(name: str, axes: list[int]) -> None:
    if not axes:
        raise ShapeError(f"{name} must transform at least one axis")


def _cn(input: Tensor, axes: list[int], norm: str, inverse: bool) -> Tensor:
    """The transform of a complex tensor along several dimensions, perhaps none."""
    if not axes:
        return input
    return whole(input, tuple(axes), norm, inverse)


def _c2c_n(input: Tensor, s: Any, dim: Any, norm: str | None, inverse: bool) -> Tensor:
    axes, sizes = _axes_and_sizes(input, s, dim)
    input = _resized_to(promoted(input), axes, sizes)
    factor = factor_name(norm)
    if not axes:
        return as_complex(input)
    return whole(input, tuple(axes), factor, inverse)


def _r2c_n(name: str, input: Tensor, s: Any, dim: Any, norm: str | None) -> Tensor:
    if name == "ihfftn":
        if input.is_complex():
            raise RuntimeError(
                f"Only supports floating-point dtypes, but found: {dtypes.cpp_name(input.dtype)}"
            )
        input = promoted(input)
    else:
        input = require_real(name, "real-valued input tensor", input)
    axes, sizes = _axes_and_sizes(input, s, dim)
    _require_axes(name, axes)
    input = _resized_to(input, axes, sizes)
    if name == "ihfftn":
        half = apply(FftR2C, input, axis=axes[-1], norm=factor_name(norm, opposite=True)).conj()
        return _cn(half, axes[:-1], factor_name(norm), inverse=True)
    half = apply(FftR2C, input, axis=axes[-1], norm=factor_name(norm))
    return _cn(half, axes[:-1], factor_name(norm), inverse=False)


def _c2r_n(name: str, input: Tensor, s: Any, dim: Any, norm: str | None) -> Tensor:
    hermitian = name == "hfftn"
    axes, sizes = _axes_and_sizes(input, s, dim)
    _require_axes(name, axes)
    last = axes[-1]
    size = checked_points(2 * (input.shape[last] - 1) if sizes[-1] == -1 else sizes[-1])
    input = _resized_to(as_complex(input), axes, [*sizes[:-1], size // 2 + 1])
    factor = factor_name(norm)
    input = _cn(input, axes[:-1], factor, inverse=not hermitian)
    if hermitian:
        return apply(FftC2R, input.conj(), axis=last, norm=OPPOSITE[factor], size=size)
    return apply(FftC2R, input, axis=last, norm=factor, size=size)


@public(namespaces=("fft",))
def fftn(
    input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The transform along several dimensions, first cut or padded to the sizes `s`.

    Without dim they are the last len(s) ones, without s all. A size of -1 stays as it is.
    Raises: RuntimeError for sizes below 1 or lengths that differ, IndexError for dim.
    """
    if out is not None:
        return into(out, fftn, input, s, dim, norm)
    return _c2c_n(input, s, dim, norm, inverse=False)


@public(namespaces=("fft",))
def fft2(
    input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`fftn` along two dimensions, by default the last ones."""
    return fftn(input, s, dim, norm, out=out)


@public(namespaces=("fft",))
def ifftn(
    input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The inverse of `fftn`. Raises: as `fftn`."""
    if out is not None:
        return into(out, ifftn, input, s, dim, norm)
    return _c2c_n(input, s, dim, norm, inverse=True)


@public(namespaces=("fft",))
def ifft2(
    input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`ifftn` along two dimensions, by default the last ones."""
    return ifftn(input, s, dim, norm, out=out)


@public(namespaces=("fft",))
def rfftn(
    input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The transform of a real tensor: along the last of the dimensions only half of it.

    Raises: RuntimeError for complex input; else as `fftn`.
    """
    if out is not None:
        return into(out, rfftn, input, s, dim, norm)
    return _r2c_n("rfftn", input, s, dim, norm)


@public(namespaces=("fft",))
def rfft2(
    input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`rfftn` along two dimensions, by default the last ones."""
    return rfftn(input, s, dim, norm, out=out)


@public(namespaces=("fft",))
def irfftn(
    input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The inverse of `rfftn`. The last size, that of the result, is even if not given.

    Raises: as `fftn`.
    """
    if out is not None:
        return into(out, irfftn, input, s, dim, norm)
    return _c2r_n("irfftn", input, s, dim, norm)


@public(namespaces=("fft",))
def irfft2(
    input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`irfftn` along two dimensions, by default the last ones."""
    return irfftn(input, s, dim, norm, out=out)


@public(namespaces=("fft",))
def hfftn(
    input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The real transform of a signal of which input is the half before the conjugates.

    Raises: as `fftn`.
    """
    if out is not None:
        return into(out, hfftn, input, s, dim, norm)
    return _c2r_n("hfftn", input, s, dim, norm)


@public(namespaces=("fft",))
def hfft2(
    input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`hfftn` along two dimensions, by default the last ones."""
    return hfftn(input, s, dim, norm, out=out)


@public(namespaces=("fft",))
def ihfftn(
    input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The inverse of `hfftn`. Raises: as `rfftn`."""
    if out is not None:
        return into(out, ihfftn, input, s, dim, norm)
    return _r2c_n("ihfftn", input, s, dim, norm)


@public(namespaces=("fft",))
def ihfft2(
    input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`ihfftn` along two dimensions, by default the last ones."""
    return ihfftn(input, s, dim, norm, out=out)
