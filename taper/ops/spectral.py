"""Short-time Fourier transforms, and the windows for them."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np

from taper import dtypes
from taper.backends import reference
from taper.dispatch import apply
from taper.errors import ShapeError, UnsupportedDtype
from taper.op import public
from taper.ops.complex_parts import view_as_real
from taper.ops.fft import FftC2R, FftR2C, promoted, whole
from taper.ops.from_data import finish
from taper.ops.padding import constant_pad_nd, pad
from taper.ops.view_ops import FoldWindows
from taper.tensor import Tensor, wrap


@cache
def _warn_once(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=4)


def _described(name: str, input: Tensor, window: Tensor | None, **settings: Any) -> str:
    """The call, as PyTorch writes it in front of an error."""
    kind = input.type()
    if name == "istft":  # here the inner name of the type is printed
        kind = f"CPU{kind.removeprefix('torch.').removesuffix('Tensor')}Type"
    kind += str(list(input.shape))
    shown = "None" if window is None else f"{window.type()}{{{list(window.shape)}}}"
    values = {k: int(v) if isinstance(v, bool) else v for k, v in settings.items()}
    sizes = [f"{k}={values.pop(k)}" for k in ("n_fft", "hop_length", "win_length")]
    rest = [f"{k}={v}" for k, v in values.items()]
    return f"{name}({', '.join([kind, *sizes, 'window=' + shown, *rest])})"


def _require_int(name: str, n_fft: Any) -> None:
    if isinstance(n_fft, bool) or not hasattr(n_fft, "__index__"):
        raise TypeError(
            f"{name}(): argument 'n_fft' (position 2) must be int, not {type(n_fft).__name__}"
        )


def _widened_window(window: Tensor | None, like: Tensor, length: int, n_fft: int) -> Tensor | None:
    """The window in the middle of n_fft elements; None where it is all ones."""
    if length == n_fft:
        return window
    if window is None:
        window = wrap(np.ones(length, like.dtype.to_real().numpy))
    left = (n_fft - length) // 2
    return constant_pad_nd(window, (left, n_fft - length - left))


@public(method=True)
def stft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:
    """The Fourier transforms of the overlapping frames of a signal, each times the window.

    A frame of n_fft elements begins every hop_length (n_fft // 4 by default). With `center` the
    signal is padded so that frame t is centered at t * hop_length.

    Shape: input (time) or (batch, time); result (batch, frequencies, frames), with a last
        dimension of 2 for real and imaginary part unless return_complex.
    Raises: RuntimeError for sizes that do not fit, a missing return_complex where all is real, and
        onesided=True where it is not.
    """
    _require_int("stft", n_fft)
    if center and align_to_window is not None:
        raise RuntimeError("stft align_to_window should only be set when center = false")
    if center:
        half = n_fft // 2
        lead = input.reshape((1,) * (3 - input.dim()) + tuple(input.shape))
        padded = pad(lead, [half, half], pad_mode)
        input = (
            padded.reshape(tuple(padded.shape)[3 - input.dim() :]) if input.dim() < 3 else padded
        )
    complex_ = input.is_complex() or (window is not None and window.is_complex())
    if window is None:
        _warn_once(
            "A window was not provided. A rectangular window will be applied, which is known to "
            "cause spectral leakage. Other windows such as torch.hann_window or "
            "torch.hamming_window are recommended to reduce spectral leakage. To suppress this "
            "warning and use a rectangular window, explicitly set "
            "`window=torch.ones(n_fft, device=<device>)`."
        )
    if return_complex is None:
        if not complex_:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will "
                "further require that return_complex=True in a future PyTorch release."
            )
        return_complex = True
    elif not return_complex:
        _warn_once(
            "stft with return_complex=False is deprecated. In a future pytorch release, stft will "
            "return complex tensors for all inputs, and return_complex=False will raise an error."
        )
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    _check_stft(
        input, window, n_fft=n_fft, hop_length=hop, win_length=length, normalized=normalized,
        onesided=onesided, return_complex=return_complex, align_to_window=align_to_window,
    )  # fmt: skip
    if onesided is None:
        onesided = not complex_
    elif onesided and complex_:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    batch = input.unsqueeze(0) if input.dim() == 1 else input
    if align_to_window and length < n_fft:  # frames are counted by the window, not by n_fft
        left = (n_fft - length) // 2
        batch = constant_pad_nd(batch, (left, n_fft - length - left))
    shape = _widened_window(window, input, length, n_fft)
    frames = batch.unfold(-1, n_fft, hop)
    if shape is not None:
        frames = frames * shape
    frames = promoted(frames)
    norm = "ortho" if normalized else "backward"
    if onesided:
        spectra = apply(FftR2C, frames, axis=2, norm=norm)
    else:
        spectra = whole(frames, (2,), norm, inverse=False)
    spectra = spectra.transpose(1, 2)
    if input.dim() == 1:
        spectra = spectra.squeeze(0)
    return spectra if return_complex else view_as_real(spectra)


def _check_stft(input: Tensor, window: Tensor | None, **settings: Any) -> None:
    n_fft, hop, length = (settings[k] for k in ("n_fft", "hop_length", "win_length"))
    if input._array.dtype.kind not in "fcV":
        reason = "expected a tensor of floating point or complex values"
    elif input.dim() not in (1, 2):
        reason = "expected a 1D or 2D tensor"
    elif input._array.dtype.itemsize == 2:
        raise RuntimeError(
            f"MKL FFT doesn't support tensors of type: {dtypes.cpp_name(input.dtype)}"
        )
    elif not 0 < n_fft <= _samples(input, settings):
        reason = f"expected 0 < n_fft < {input.shape[-1]}, but got n_fft={n_fft}"
    elif hop <= 0:
        reason = f"expected hop_length > 0, but got hop_length={hop}"
    elif not 0 < length <= n_fft:
        reason = f"expected 0 < win_length <= n_fft, but got win_length={length}"
    elif window is not None and tuple(window.shape) != (length,):
        reason = (
            f"expected a 1D window tensor of size equal to win_length={length}, but got window "
            f"with size {list(window.shape)}"
        )
    else:
        return
    raise ShapeError(f"{_described('stft', input, window, **settings)} : {reason}")


def _samples(input: Tensor, settings: dict[str, Any]) -> int:
    """Samples at hand for a frame, those counted that aligning to the window adds."""
    spare = settings["n_fft"] - settings["win_length"] if settings["align_to_window"] else 0
    return int(input.shape[-1]) + max(spare, 0)


@public(method=True)
def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """The signal whose `stft` is the nearest to input: overlapping frames added, less the window.

    Shape: input (frequencies, frames), perhaps with a batch in front; result (batch, time), of
        `length` elements if given.
    Raises: RuntimeError for sizes that do not fit, real input, and windows whose squares, added
        with their overlaps, are somewhere 0.
    Source: Griffin and Lim, Signal estimation from modified short-time Fourier transform, 1984.
    """
    _require_int("istft", n_fft)
    if window is None:
        _warn_once(
            "A window was not provided. A rectangular window will be applied. Please provide the "
            "same window used by stft to make the inversion lossless. To suppress this warning and "
            "use a rectangular window, explicitly set "
            "`window=torch.ones(n_fft, device=<device>)`."
        )
    hop = n_fft // 4 if hop_length is None else hop_length
    width = n_fft if win_length is None else win_length
    if not input.is_complex():
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with "
            "return_complex=True."
        )
    call = _described(
        "istft", input, window, n_fft=n_fft, hop_length=hop, win_length=width, center=center,
        normalized=normalized, onesided=onesided, length=length, return_complex=return_complex,
    )  # fmt: skip
    onesided = _check_istft(call, input, window, n_fft, hop, width, onesided, return_complex)
    batch = input.unsqueeze(0) if input.dim() == 2 else input
    count = batch.shape[2]
    frames = batch.transpose(1, 2)
    norm = "ortho" if normalized else "backward"
    if return_complex:
        frames = whole(frames, (2,), norm, inverse=True)
    else:
        half = frames if onesided else frames.narrow(2, 0, n_fft // 2 + 1)
        frames = apply(FftC2R, half, axis=2, norm=norm, size=n_fft)
    shape = _widened_window(window, frames, width, n_fft)
    if shape is None:
        shape = wrap(np.ones(n_fft, frames.dtype.to_real().numpy))
    total = n_fft + hop * (count - 1)
    added = _overlapped(frames * shape, total, n_fft, hop)
    squares = _overlapped((shape * shape).expand(1, count, n_fft), total, n_fft, hop)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else total - n_fft // 2 if center else total
    signal, squares = added[:, start:end], squares[:, start:end]
    if not (squares.detach().abs() > 1e-11).all():
        raise RuntimeError(f"{call} window overlap add min: 1")
    signal = signal / squares
    if input.dim() == 2:
        signal = signal.squeeze(0)
    if end > total:
        warnings.warn(
            "The length of signal is shorter than the length parameter. Result is being padded "
            "with zeros in the tail. Please check your center and hop_length settings.",
            UserWarning,
            stacklevel=2,
        )
        signal = constant_pad_nd(signal, (0, end - total))
    return signal


def _overlapped(frames: Tensor, total: int, n_fft: int, hop: int) -> Tensor:
    """Frames (batch, count, n_fft), each added `hop` behind the one before: (batch, total)."""
    return apply(
        FoldWindows, frames, shape=(frames.shape[0], total), axis=1, size=n_fft, step=hop
    )  # fmt: skip


def _check_istft(
    call: str, input: Tensor, window: Tensor | None, n_fft: int, hop: int, width: int,
    onesided: bool | None, return_complex: bool,
) -> bool:  # fmt: skip
    """Whether the input is half of the spectrum."""
    if input.dim() not in (2, 3):
        raise ShapeError(
            f"{call} : expected a tensor with 3 or 4 dimensions, but got {input.dim() + 1}"
        )
    if input.numel() == 0:
        raise ShapeError(f"{call} : input tensor cannot be empty.")
    frequencies = input.shape[-2]
    half = frequencies != n_fft if onesided is None else onesided
    reason = ""
    if half and n_fft // 2 + 1 != frequencies:
        reason = (
            "expected the frequency dimension (3rd to the last) of the input tensor to match "
            f"n_fft / 2 + 1 when onesided=True, but got {frequencies}"
        )
    elif not half and n_fft != frequencies:
        reason = (
            "expected the frequency dimension (3rd to the last) of the input tensor to match "
            f"n_fft when onesided=False, but got {frequencies}"
        )
    elif not 0 < hop <= width:
        reason = "expected 0 < hop_length <= win_length"
    elif not 0 < width <= n_fft:
        reason = "expected 0 < win_length <= n_fft"
    elif window is not None and tuple(window.shape) != (width,):
        reason = "Invalid window shape. window has to be 1D and length of `win_length`"
    if reason:
        raise ShapeError(f"{call} : {reason}")
    if return_complex and half:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if not return_complex and window is not None and window.is_complex():
        raise RuntimeError("Complex windows are incompatible with return_complex=False")
    return half


# ---------------------------------------------------------------- windows


def _window(
    name: str, length: int, periodic: bool, shape: Any, dtype: Any, layout: Any, device: Any,
    requires_grad: bool,
) -> Tensor:  # fmt: skip
    """The function `shape` of places from 0 to 1, at `length` points; float64 rounded once.

    A periodic window is one longer, less its last element.
    """
    if isinstance(length, bool) or not hasattr(length, "__index__"):
        raise TypeError(
            f"{name}(): argument 'window_length' (position 1) must be int, not "
            f"{type(length).__name__}"
        )
    wanted = dtype or dtypes.get_default_dtype()
    if layout is not None and "sparse" in str(layout):
        raise RuntimeError(f"{name} is not implemented for sparse types, got: {layout}")
    if wanted.category < dtypes.FLOAT:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {wanted}")
    if length < 0:
        raise ShapeError(f"{name} requires non-negative window_length, got window_length={length}")
    if wanted.is_complex and length > 1:
        raise UnsupportedDtype(f"\"arange_cpu\" not implemented for '{dtypes.cpp_name(wanted)}'")
    if length <= 1:
        values = np.ones(length)
    else:
        values = shape(np.arange(length) / (length if periodic else length - 1))
    return finish(values.astype(wanted.numpy), requires_grad, device, layout)


@public()
def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A triangle from 0 to 1 and back.

    periodic: for spectra, so that the window repeats with its length; else it is symmetric.
    Raises: RuntimeError for negative lengths and dtypes that are not floating.
    """

    def shape(t: np.ndarray) -> np.ndarray:
        return 1 - np.abs(2 * t - 1)

    return _window(
        "bartlett_window", window_length, periodic, shape, dtype, layout, device, requires_grad
    )  # fmt: skip


@public()
def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.42 - 0.5 cos(2 pi t) + 0.08 cos(4 pi t). Raises: as bartlett_window."""

    def shape(t: np.ndarray) -> np.ndarray:
        return 0.42 - 0.5 * np.cos(2 * np.pi * t) + 0.08 * np.cos(4 * np.pi * t)

    return _window(
        "blackman_window", window_length, periodic, shape, dtype, layout, device, requires_grad
    )  # fmt: skip


@public()
def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *,
    dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """alpha - beta cos(2 pi t). Raises: as bartlett_window."""

    def shape(t: np.ndarray) -> np.ndarray:
        return alpha - beta * np.cos(2 * np.pi * t)

    return _window(
        "hamming_window", window_length, periodic, shape, dtype, layout, device, requires_grad
    )  # fmt: skip


@public()
def hann_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """sin(pi t) ** 2. Raises: as bartlett_window."""

    def shape(t: np.ndarray) -> np.ndarray:
        return 0.5 - 0.5 * np.cos(2 * np.pi * t)

    return _window(
        "hann_window", window_length, periodic, shape, dtype, layout, device, requires_grad
    )  # fmt: skip


@public()
def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None,
    layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """i0(beta sqrt(1 - (2 t - 1) ** 2)) / i0(beta). Raises: as bartlett_window."""

    def shape(t: np.ndarray) -> np.ndarray:
        i0e = reference.math.i0e
        height = beta * np.sqrt(np.maximum(1 - (2 * t - 1) ** 2, 0))
        peak = np.float64(abs(beta))
        made: np.ndarray = i0e(height) * np.exp(np.abs(height) - peak) / i0e(np.asarray(peak))
        return made

    return _window(
        "kaiser_window", window_length, periodic, shape, dtype, layout, device, requires_grad
    )  # fmt: skip
