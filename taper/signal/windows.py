"""Window functions: torch.signal.windows.

Each takes the number of elements M and `sym`: whether the window is symmetric, for filters, or
periodic, for spectra. With requires_grad the result hangs, as in PyTorch, on the places at which
the window was evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import pi, sqrt
from typing import Any

import numpy as np

from taper import dtypes
from taper import ops as _ops
from taper.devices import strided
from taper.ops.create import empty, linspace, ones
from taper.tensor import Tensor, wrap

_ops.load_all()  # exp and its kin are methods of the families

__all__ = [
    "bartlett",
    "blackman",
    "cosine",
    "exponential",
    "gaussian",
    "general_cosine",
    "general_hamming",
    "hamming",
    "hann",
    "kaiser",
    "nuttall",
]


def _checked(name: str, count: int, dtype: Any, layout: Any) -> dtypes.dtype:
    """The dtype. Raises: ValueError for negative counts, other layouts, and other dtypes."""
    if count < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={count}")
    if layout is not strided:
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    wanted: dtypes.dtype = dtypes.get_default_dtype() if dtype is None else dtype
    if wanted not in (dtypes.float32, dtypes.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {wanted}")
    return wanted


def _trivial(count: int, **options: Any) -> Tensor | None:
    """The windows of no element and of one."""
    if count == 0:
        return empty((0,), **options)
    return ones((1,), **options) if count == 1 else None


def _places(start: float, step: float, count: int, **options: Any) -> Tensor:
    """start, start + step, ..., `count` of them."""
    return linspace(start, start + (count - 1) * step, count, **options)


def exponential(
    M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, dtype: Any = None,
    layout: Any = strided, device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """exp(-|n - center| / tau). Raises: ValueError for tau not above 0, a center with sym."""
    dtype = _checked("exponential", M, dtype, layout)
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    options = {"dtype": dtype, "device": device, "requires_grad": requires_grad}
    made = _trivial(M, **options)
    if made is not None:
        return made
    if center is None:
        center = (M - 1 if sym else M) / 2
    return (-_places(-center / tau, 1 / tau, M, **options).abs()).exp()


def cosine(
    M: int, *, sym: bool = True, dtype: Any = None, layout: Any = strided, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """sin(pi (n + 1/2) / M), one arch of the sine."""
    dtype = _checked("cosine", M, dtype, layout)
    options = {"dtype": dtype, "device": device, "requires_grad": requires_grad}
    made = _trivial(M, **options)
    if made is not None:
        return made
    step = pi / (M if sym else M + 1)
    return _places(step / 2, step, M, **options).sin()


def gaussian(
    M: int, *, std: float = 1.0, sym: bool = True, dtype: Any = None, layout: Any = strided,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """exp(-(n / std) ** 2 / 2), n counted from the middle. Raises: ValueError for std <= 0."""
    dtype = _checked("gaussian", M, dtype, layout)
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    options = {"dtype": dtype, "device": device, "requires_grad": requires_grad}
    made = _trivial(M, **options)
    if made is not None:
        return made
    step = 1 / (std * sqrt(2))
    places = _places(-(M - 1 if sym else M) / 2 * step, step, M, **options)
    return (-places.square()).exp()


def kaiser(
    M: int, *, beta: float = 12.0, sym: bool = True, dtype: Any = None, layout: Any = strided,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """i0(sqrt(beta ** 2 - x ** 2)) / i0(beta), x from -beta to beta.

    Raises: ValueError for a negative beta.
    """
    dtype = _checked("kaiser", M, dtype, layout)
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    options = {"dtype": dtype, "device": device, "requires_grad": requires_grad}
    made = _trivial(M, **options)
    if made is not None:
        return made
    step = 2 * beta / (M - 1 if sym else M)
    places = linspace(-beta, min(beta, -beta + (M - 1) * step), M, **options)
    peak = wrap(np.asarray(beta, dtype.numpy)).i0()
    return (beta * beta - places.square()).clamp(min=0).sqrt().i0() / peak


def bartlett(
    M: int, *, sym: bool = True, dtype: Any = None, layout: Any = strided, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A triangle from 0 to 1 and back."""
    dtype = _checked("bartlett", M, dtype, layout)
    options = {"dtype": dtype, "device": device, "requires_grad": requires_grad}
    made = _trivial(M, **options)
    if made is not None:
        return made
    return 1 - _places(-1.0, 2 / (M - 1 if sym else M), M, **options).abs()


def general_cosine(
    M: int, *, a: Iterable[float], sym: bool = True, dtype: Any = None, layout: Any = strided,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The sum of (-1) ** k * a[k] * cos(2 pi k n / M).

    Raises: ValueError for empty `a`, TypeError where it is not iterable.
    """
    dtype = _checked("general_cosine", M, dtype, layout)
    options = {"dtype": dtype, "device": device, "requires_grad": requires_grad}
    made = _trivial(M, **options)
    if made is not None:
        return made
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    weights = [(-1) ** k * weight for k, weight in enumerate(a)]
    if not weights:
        raise ValueError("Coefficients cannot be empty")
    angles = _places(0.0, 2 * pi / (M - 1 if sym else M), M, **options)
    orders = np.arange(len(weights), dtype=dtype.numpy)[:, None]
    factors = np.array(weights, dtype.numpy)[:, None]
    return (wrap(factors) * (wrap(orders) * angles).cos()).sum(0)


def general_hamming(
    M: int, *, alpha: float = 0.54, sym: bool = True, dtype: Any = None, layout: Any = strided,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """alpha - (1 - alpha) cos(2 pi n / M)."""
    return general_cosine(
        M, a=[alpha, 1.0 - alpha], sym=sym, dtype=dtype, layout=layout, device=device,
        requires_grad=requires_grad,
    )  # fmt: skip


def hamming(
    M: int, *, sym: bool = True, dtype: Any = None, layout: Any = strided, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.54 - 0.46 cos(2 pi n / M)."""
    return general_hamming(
        M, sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad
    )  # fmt: skip


def hann(
    M: int, *, sym: bool = True, dtype: Any = None, layout: Any = strided, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.5 - 0.5 cos(2 pi n / M)."""
    return general_hamming(
        M, alpha=0.5, sym=sym, dtype=dtype, layout=layout, device=device,
        requires_grad=requires_grad,
    )  # fmt: skip


def blackman(
    M: int, *, sym: bool = True, dtype: Any = None, layout: Any = strided, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.42 - 0.5 cos(2 pi n / M) + 0.08 cos(4 pi n / M)."""
    _checked("blackman", M, dtype, layout)
    return general_cosine(
        M, a=[0.42, 0.5, 0.08], sym=sym, dtype=dtype, layout=layout, device=device,
        requires_grad=requires_grad,
    )  # fmt: skip


def nuttall(
    M: int, *, sym: bool = True, dtype: Any = None, layout: Any = strided, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Four cosines, with Nuttall's coefficients for small side lobes.

    Source: Nuttall, Some windows with very good sidelobe behavior, 1981.
    """
    return general_cosine(
        M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], sym=sym, dtype=dtype, layout=layout,
        device=device, requires_grad=requires_grad,
    )  # fmt: skip
