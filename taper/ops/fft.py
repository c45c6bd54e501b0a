"""Discrete Fourier transforms: torch.fft. numpy's pocketfft does the work.

The ops go from complex or real numbers to a whole spectrum, along any dimensions, from real ones to
half of it, and from half a spectrum to real ones, along one. The derivatives are transforms again, because the adjoint of a transform is the
opposite one with the same factor in front.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from taper import dtypes
from taper.devices import require_cpu, require_strided
from taper.dispatch import apply, write_out
from taper.errors import DimError, ShapeError
from taper.op import Opaque, op, public
from taper.ops.padding import constant_pad_nd
from taper.ops.rearrange import roll
from taper.shapes import canonical_dim
from taper.tensor import Tensor, wrap

# The factor in front, named by the direction that has it all: of the opposite transform.
OPPOSITE = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


class _Whole(Opaque):
    """The whole spectrum, or the signal that has it."""

    name = "fft"

    def forward(self, m: Any, input: Any, *, axis: Any, norm: str, inverse: bool) -> Any:
        transform = np.fft.ifftn if inverse else np.fft.fftn
        return transform(input, axes=axis, norm=norm)  # type: ignore[arg-type]

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, axis: Any, norm: str, inverse: bool
    ) -> Any:
        return m.call(FftC2C, grad, axis=axis, norm=OPPOSITE[norm], inverse=not inverse)


@op
class FftC2C(_Whole):
    """Of complex numbers."""


@op
class FftWhole(_Whole):
    """Of real numbers, of which numpy transforms half and completes the rest."""

    node_name = "FftR2CBackward0"

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, **attrs: Any) -> Any:
        return m.real(_Whole.vjp(self, m, grad, out, input, **attrs))


@op
class FftR2C(Opaque):
    """The first half of the spectrum of a real array, along one dimension."""

    name = "rfft"
    saves = ("input.shape",)

    def forward(self, m: Any, input: Any, *, axis: int, norm: str) -> Any:
        return np.fft.rfft(input, axis=axis, norm=norm)  # type: ignore[arg-type]

    def vjp(self, m: Any, grad: Any, out: Any, input: Any, *, axis: int, norm: str) -> Any:
        # FftC2R counts the frequencies in the middle twice, the adjoint once.
        size = input[axis]
        halved = _weighted(m, grad, size, 0.5, axis)
        return m.call(FftC2R, halved, axis=axis, norm=OPPOSITE[norm], size=size)


@op
class FftC2R(Opaque):
    """The real array of `size` elements with the given half of its spectrum."""

    name = "irfft"

    def forward(self, m: Any, input: Any, *, axis: int, norm: str, size: int) -> Any:
        return np.fft.irfft(input, size, axis=axis, norm=norm)  # type: ignore[arg-type]

    def vjp(
        self, m: Any, grad: Any, out: Any, input: Any, *, axis: int, norm: str, size: int
    ) -> Any:
        spectrum = m.call(FftR2C, grad, axis=axis, norm=OPPOSITE[norm])
        return _weighted(m, spectrum, size, 2.0, axis)


def _weighted(m: Any, spectrum: Any, size: int, factor: float, axis: int) -> Any:
    """Half a spectrum with the frequencies that stand for two of the whole one multiplied."""
    single = getattr(spectrum, "_array", spectrum).dtype == np.complex64
    weights = np.full(size // 2 + 1, factor, np.float32 if single else np.float64)
    weights[0] = 1
    if size % 2 == 0:
        weights[-1] = 1
    return spectrum * m.asarray(weights.reshape(-1, *(1,) * (len(spectrum.shape) - 1 - axis)))


# ---------------------------------------------------------------- arguments

_COMPLEX = {dtypes.float32: dtypes.complex64, dtypes.float64: dtypes.complex128}


def promoted(input: Tensor) -> Tensor:
    """float32, float64 or complex. Raises: RuntimeError for the half types."""
    kind = input._array.dtype.kind
    if kind in "iub":
        return input.to(dtypes.get_default_dtype())
    if input._array.dtype.itemsize == 2:
        raise RuntimeError(f"Unsupported dtype {dtypes.cpp_name(input.dtype)}")
    return input


def as_complex(input: Tensor) -> Tensor:
    input = promoted(input)
    return input if input.is_complex() else input.to(_COMPLEX[input.dtype])


def require_real(name: str, words: str, input: Tensor) -> Tensor:
    if input.is_complex():
        raise RuntimeError(f"{name} expects a {words}, but got {dtypes.cpp_name(input.dtype)}")
    return promoted(input)


def factor_name(norm: str | None, opposite: bool = False) -> str:
    """The name of the factor; `opposite` for transforms whose inverse has it the usual way."""
    norm = norm or "backward"
    if norm not in OPPOSITE:
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    return OPPOSITE[norm] if opposite else norm


def dim_of(dim: int, ndim: int) -> int:
    if ndim == 0:
        raise DimError(f"Dimension specified as {dim} but tensor has no dimensions")
    return canonical_dim(dim, ndim)


def checked_points(count: int) -> int:
    if count < 1:
        raise ShapeError(f"Invalid number of data points ({count}) specified")
    return count


def resized(input: Tensor, axis: int, size: int) -> Tensor:
    """The first `size` elements along the dimension, with zeros behind them if there are fewer."""
    own = input.shape[axis]
    if own == size:
        return input
    if own > size:
        return input.narrow(axis, 0, size)
    return constant_pad_nd(input, (0, 0) * (input.dim() - 1 - axis) + (0, size - own))


def whole(input: Tensor, axes: tuple[int, ...], norm: str, inverse: bool) -> Tensor:
    """The transform of real or complex numbers along the dimensions."""
    kind = FftC2C if input.is_complex() else FftWhole
    made: Tensor = apply(kind, input, axis=axes, norm=norm, inverse=inverse)
    return made


def into(out: Tensor, function: Any, *args: Any) -> Tensor:
    """The transform, stored in `out`."""
    name = function.__name__.replace("2", "n")
    real = name in ("irfft", "hfft", "irfftn", "hfftn")
    if real == out.is_complex() or not (real or out.is_complex()):
        raise RuntimeError(
            f"{name} expects a {'floating point' if real else 'complex'} output tensor, but got "
            f"{dtypes.cpp_name(out.dtype)}"
        )
    made: Tensor = write_out("fft_" + name, function, args, {}, out)
    return made


def _axis_and_size(name: str, input: Tensor, n: int | None, dim: int) -> tuple[int, int | None]:
    """The dimension from the front, and `n` as it is."""
    if n is not None and (isinstance(n, bool) or not hasattr(n, "__index__")):
        raise TypeError(
            f"fft_{name}(): argument 'n' (position 2) must be int, not {type(n).__name__}"
        )
    return dim_of(dim, input.dim()), None if n is None else operator.index(n)


# ---------------------------------------------------------------- one dimension


def _c2c(name: str, input: Tensor, n: Any, dim: int, norm: str | None, inverse: bool) -> Tensor:
    input = promoted(input)
    axis, size = _axis_and_size(name, input, n, dim)
    size = checked_points(input.shape[axis] if size is None else size)
    input = resized(input, axis, size)
    return whole(input, (axis,), factor_name(norm), inverse)


def _r2c(name: str, input: Tensor, n: Any, dim: int, norm: str | None) -> Tensor:
    input = require_real(name, "real input tensor", input)
    axis, size = _axis_and_size(name, input, n, dim)
    input = resized(input, axis, checked_points(input.shape[axis] if size is None else size))
    return apply(FftR2C, input, axis=axis, norm=factor_name(norm, opposite=name == "ihfft"))


def _c2r(name: str, input: Tensor, n: Any, dim: int, norm: str | None) -> Tensor:
    input = as_complex(input)
    axis, size = _axis_and_size(name, input, n, dim)
    size = checked_points(2 * (input.shape[axis] - 1) if size is None else size)
    input = resized(input, axis, size // 2 + 1)
    hermitian = name == "hfft"
    return apply(
        FftC2R, input.conj() if hermitian else input,
        axis=axis, norm=factor_name(norm, opposite=hermitian), size=size,
    )  # fmt: skip


@public(namespaces=("fft",))
def fft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The discrete Fourier transform along a dimension, first cut or padded with zeros to `n`.

    norm: "backward" (no factor), "ortho" (1/sqrt(n)) or "forward" (1/n).
    Dtype: complex; integers become the default float first.
    Raises: RuntimeError for n below 1, an unknown norm or a half type, IndexError for dim.
    """
    if out is not None:
        return into(out, fft, input, n, dim, norm)
    return _c2c("fft", input, n, dim, norm, inverse=False)


@public(namespaces=("fft",))
def ifft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The inverse of `fft`. norm: "backward" (1/n), "ortho" (1/sqrt(n)) or "forward" (no factor).

    Raises: as `fft`.
    """
    if out is not None:
        return into(out, ifft, input, n, dim, norm)
    return _c2c("ifft", input, n, dim, norm, inverse=True)


@public(namespaces=("fft",))
def rfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The first n // 2 + 1 frequencies of the transform of a real tensor: the rest are conjugates.

    Raises: RuntimeError for complex input; else as `fft`.
    """
    if out is not None:
        return into(out, rfft, input, n, dim, norm)
    return _r2c("rfft", input, n, dim, norm)


@public(namespaces=("fft",))
def irfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The inverse of `rfft`. `n`, the size of the result, is even if not given.

    Raises: as `fft`.
    """
    if out is not None:
        return into(out, irfft, input, n, dim, norm)
    return _c2r("irfft", input, n, dim, norm)


@public(namespaces=("fft",))
def hfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The transform, which is real, of a signal of which input is the half before the conjugates.

    Raises: as `fft`.
    """
    if out is not None:
        return into(out, hfft, input, n, dim, norm)
    return _c2r("hfft", input, n, dim, norm)


@public(namespaces=("fft",))
def ihfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The inverse of `hfft`. Raises: as `rfft`."""
    if out is not None:
        return into(out, ihfft, input, n, dim, norm)
    return _r2c("ihfft", input, n, dim, norm).conj()


# ---------------------------------------------------------------- frequencies


def _frequencies(
    name: str, counts: np.ndarray, n: int, d: float, dtype: Any, layout: Any, device: Any,
    requires_grad: bool,
) -> Tensor:  # fmt: skip
    wanted = dtype or dtypes.get_default_dtype()
    if wanted.category < dtypes.FLOAT:
        raise RuntimeError(f"{name} requires a floating point or complex dtype")
    require_cpu(device)
    require_strided(layout)
    with np.errstate(divide="ignore", invalid="ignore"):
        made = counts.astype(wanted.numpy) * (1.0 / np.float64(n * d))
    result = wrap(made.astype(wanted.numpy))
    if requires_grad:
        result.requires_grad = True
    return result


@public(namespaces=("fft",), out=True)
def fftfreq(
    n: int, d: float = 1.0, *, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The frequencies of the `n` elements of `fft`'s result, for samples `d` apart.

    Raises: RuntimeError for negative n, or a dtype that is not floating.
    """
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    counts = np.arange(n)
    counts[(n + 1) // 2 :] -= n
    return _frequencies("fftfreq", counts, n, d, dtype, layout, device, requires_grad)


@public(namespaces=("fft",), out=True)
def rfftfreq(
    n: int, d: float = 1.0, *, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The frequencies of the n // 2 + 1 elements of `rfft`'s result, for samples `d` apart.

    Raises: RuntimeError for a dtype that is not floating.
    """
    counts = np.arange(n // 2 + 1)
    return _frequencies("rfftfreq", counts, n, d, dtype, layout, device, requires_grad)


def _shifted(input: Tensor, dim: Any, upward: bool) -> Tensor:
    if dim is None:
        dim = tuple(range(input.dim()))
    elif isinstance(dim, int):
        dim = (dim,)
    axes = [dim_of(d, input.dim()) for d in dim]
    sizes = [input.shape[axis] for axis in axes]
    return roll(input, [n // 2 if upward else (n + 1) // 2 for n in sizes], axes)


@public(namespaces=("fft",))
def fftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The spectrum with the zero frequency moved from the front to the middle."""
    return _shifted(input, dim, upward=True)


@public(namespaces=("fft",))
def ifftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The inverse of `fftshift`."""
    return _shifted(input, dim, upward=False)
