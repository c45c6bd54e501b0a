"""Bessel and Airy functions, on arrays: in float64, rounded once to the dtype of the input.

Each is a Chebyshev series near zero and another one, in the reciprocal, far from it; the
oscillating ones are there a cosine and a sine whose amplitudes are such series. The tables are in
bessel_tables.py. At infinity the oscillating functions, and the modified ones of the first kind, are
nan, as they are in PyTorch. Between 4 and 9 PyTorch's j0, j1, y0 and y1 are off by up to 9e-7 in
float64; these are not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taper.backends import bessel_tables as tables
from taper.backends.series import chebyshev, wide

_TWO_OVER_PI = 0.6366197723675814


# ---------------------------------------------------------------- modified, first kind


def _first_kind(size: np.ndarray, small: Any, large: Any) -> np.ndarray:
    """exp(-size) I(size), up to the factor that the small table leaves out."""
    near = size <= 8
    low = chebyshev(np.where(near, size / 4 - 1, 0.0), small)
    far = np.maximum(size, 8.0)
    return np.where(near, low, chebyshev(16 / far - 1, large) / np.sqrt(far))


@wide
def i0e(x: np.ndarray) -> np.ndarray:
    """exp(-|x|) modified_bessel_i0(x)."""
    return _first_kind(np.abs(x), tables.I0_SMALL, tables.I0_LARGE)


@wide
def i1e(x: np.ndarray) -> np.ndarray:
    """exp(-|x|) modified_bessel_i1(x)."""
    size = np.abs(x)
    value = _first_kind(size, tables.I1_SMALL, tables.I1_LARGE)
    return np.copysign(np.where(size <= 8, value * size, value), x)


def _unscaled(scaled: np.ndarray, size: np.ndarray) -> np.ndarray:
    """scaled * exp(size), which may be finite where exp(size) is not; nan at infinity."""
    half = np.exp(size / 2)
    return np.where(np.isinf(size), np.nan, scaled * half * half)


@wide
def modified_bessel_i0(x: np.ndarray) -> np.ndarray:
    """Modified Bessel function of the first kind, of order 0."""
    return _unscaled(i0e(x), np.abs(x))


@wide
def modified_bessel_i1(x: np.ndarray) -> np.ndarray:
    """Modified Bessel function of the first kind, of order 1."""
    size = np.abs(x)
    return np.copysign(_unscaled(i1e(size), size), x)


# ---------------------------------------------------------------- modified, second kind


def _second_kind(
    x: np.ndarray, near_zero: Callable[[np.ndarray], np.ndarray], large: Any, scaled: bool
) -> np.ndarray:
    near = x <= 2
    low = np.where(near & (x > 0), x, 2.0)
    far = np.where(near, 2.0, x)
    small = near_zero(low)
    outer = chebyshev(4 / far - 1, large) / np.sqrt(far)
    if scaled:
        small = small * np.exp(low)
    else:
        outer = outer * np.exp(-far)
    made = np.where(near, small, outer)
    return np.where(x > 0, made, np.where(x == 0, np.inf, np.nan))


def _k0_near_zero(x: np.ndarray) -> np.ndarray:
    return chebyshev(x * x / 2 - 1, tables.K0_SMALL) - np.log(x / 2) * modified_bessel_i0(x)


def _k1_near_zero(x: np.ndarray) -> np.ndarray:
    return np.log(x / 2) * modified_bessel_i1(x) + chebyshev(x * x / 2 - 1, tables.K1_SMALL) / x


@wide
def modified_bessel_k0(x: np.ndarray) -> np.ndarray:
    """Modified Bessel function of the second kind, of order 0; infinite at 0, nan below."""
    return _second_kind(x, _k0_near_zero, tables.K0_LARGE, scaled=False)


@wide
def modified_bessel_k1(x: np.ndarray) -> np.ndarray:
    """Modified Bessel function of the second kind, of order 1; infinite at 0, nan below."""
    return _second_kind(x, _k1_near_zero, tables.K1_LARGE, scaled=False)


@wide
def scaled_modified_bessel_k0(x: np.ndarray) -> np.ndarray:
    """exp(x) modified_bessel_k0(x)."""
    return _second_kind(x, _k0_near_zero, tables.K0_LARGE, scaled=True)


@wide
def scaled_modified_bessel_k1(x: np.ndarray) -> np.ndarray:
    """exp(x) modified_bessel_k1(x)."""
    return _second_kind(x, _k1_near_zero, tables.K1_LARGE, scaled=True)


# ---------------------------------------------------------------- oscillating


def _from_zeros(x: np.ndarray, zeros: Any) -> np.ndarray:
    """The product of x**2 - z**2 over the zeros, each given as a number and what it leaves out."""
    product = np.ones_like(x)
    for zero, rest in zeros:
        product = product * ((x - zero) - rest) * (x + zero)
    return product


_J0_ZEROS = (
    (2.404825557695773, -1.176691651530894e-16),
    (5.520078110286311, 8.088597146146722e-17),
)
_J1_ZEROS = (
    (3.8317059702075125, -1.5269184090088067e-16),
    (7.015586669815619, -9.414165653410389e-17),
)


def _waves(x: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """J and Y of order 0 or 1 for x > 5."""
    w = 5 / x
    t = np.clip(2 * w * w - 1, -1.0, 1.0)
    in_phase = chebyshev(t, tables.P1 if order else tables.P0)
    across = w * chebyshev(t, tables.Q1 if order else tables.Q0)
    sine, cosine = np.sin(x), np.cos(x)
    # Cosine and sine of x - pi / 4, and for order 1 of x - 3 pi / 4, without rounding x.
    if order:
        c, s = sine - cosine, -sine - cosine
    else:
        c, s = cosine + sine, sine - cosine
    size = 1 / np.sqrt(np.pi * x)
    return size * (in_phase * c - across * s), size * (in_phase * s + across * c)


def _near(x: np.ndarray) -> np.ndarray:
    return np.where((x > 0) & (x <= 5), x, 5.0)


def _j_near_zero(x: np.ndarray, order: int) -> np.ndarray:
    t = 2 * x * x / 25 - 1
    if order:
        return x * _from_zeros(x, _J1_ZEROS) * chebyshev(t, tables.J1_SMALL)
    return _from_zeros(x, _J0_ZEROS) * chebyshev(t, tables.J0_SMALL)


def _first(x: np.ndarray, order: int) -> np.ndarray:
    size = np.abs(x)
    outer = _waves(np.where(size > 5, size, 5.0), order)[0]
    made = np.where(size <= 5, _j_near_zero(np.minimum(size, 5.0), order), outer)
    made = np.where(np.isnan(x), np.nan, made)
    return np.where(x < 0, -made, made) if order else made


def _second(x: np.ndarray, order: int) -> np.ndarray:
    near = _near(x)
    t = 2 * near * near / 25 - 1
    bent = np.log(near) * _j_near_zero(near, order)
    if order:
        small = near * chebyshev(t, tables.Y1_SMALL) + _TWO_OVER_PI * (bent - 1 / near)
    else:
        small = chebyshev(t, tables.Y0_SMALL) + _TWO_OVER_PI * bent
    outer = _waves(np.where(x > 5, x, 5.0), order)[1]
    made = np.where(x <= 5, small, outer)
    return np.where(x > 0, made, np.where(x == 0, -np.inf, np.nan))


@wide
def bessel_j0(x: np.ndarray) -> np.ndarray:
    """Bessel function of the first kind, of order 0."""
    return _first(x, 0)


@wide
def bessel_j1(x: np.ndarray) -> np.ndarray:
    """Bessel function of the first kind, of order 1."""
    return _first(x, 1)


@wide
def bessel_y0(x: np.ndarray) -> np.ndarray:
    """Bessel function of the second kind, of order 0; minus infinity at 0, nan below."""
    return _second(x, 0)


@wide
def bessel_y1(x: np.ndarray) -> np.ndarray:
    """Bessel function of the second kind, of order 1; minus infinity at 0, nan below."""
    return _second(x, 1)


@wide
def spherical_bessel_j0(x: np.ndarray) -> np.ndarray:
    """sin(x) / x, and 1 at 0."""
    made = np.sin(x) / np.where(x == 0, 1.0, x)
    return np.where(x == 0, 1.0, np.where(np.isinf(x), 0.0, made))


_Z2 = 1.8856180831641267  # 2/3 x**(3/2) at 2
_Z5 = 7.453559924999299  # and at 5
_SQRT_PI = 1.772453850905516


@wide
def airy_ai(x: np.ndarray) -> np.ndarray:
    """Airy's function Ai, the solution of y'' = x y that vanishes at infinity."""
    made = chebyshev(np.clip(2 * x / 5 + 1, -1.0, 1.0), tables.AI_LEFT)
    made = np.where(x > 0, chebyshev(np.clip(x - 1, -1.0, 1.0), tables.AI_RIGHT), made)
    far = np.clip(x, 2.0, 1e6)
    z = far * np.sqrt(far) * (2 / 3)
    fading = chebyshev(2 * _Z2 / z - 1, tables.AI_LARGE) * np.exp(-z)
    made = np.where(x > 2, fading / (2 * _SQRT_PI * np.sqrt(np.sqrt(far))), made)
    far = np.maximum(-x, 5.0)
    z = far * np.sqrt(far) * (2 / 3)
    w = _Z5 / z
    in_phase = chebyshev(2 * w * w - 1, tables.AI_U)
    across = w * chebyshev(2 * w * w - 1, tables.AI_V)
    sine, cosine = np.sin(z), np.cos(z)
    wave = in_phase * (sine + cosine) - across * (cosine - sine)
    wave = wave / (_SQRT_PI * np.sqrt(2 * np.sqrt(far)))
    return np.where(np.isfinite(x), np.where(x < -5, wave, made), np.nan)
