"""How gamma and Dirichlet draws move with their parameters, for the derivatives of sampling.

A draw x of a distribution function F(x; a), at a fixed level of F, has dx/da = -(dF/da) / density.
Both are series or continued fractions with the density as a factor, so that the quotient needs no
small numbers. All computed in float64 on flat arrays.

Source: M. Figurnov, S. Mohamed and A. Mnih, Implicit reparameterization gradients, 2018; the series
    and the fraction are in M. Abramowitz and I. Stegun, 6.5.29, 6.5.31 and 26.5.4.
"""

from __future__ import annotations

import numpy as np

from taper.backends.reference import math
from taper.generator.fused import quiet

Array = np.ndarray
_SMALL = 2.0**-54
_MOST_TERMS = 100_000


@quiet
def gamma_slope(shape: Array, x: Array) -> Array:
    """dx/d(shape) of gamma draws x of scale 1."""
    slope = np.full(x.shape, np.nan)
    lower = x < shape + 1
    upper = x >= shape + 1
    slope[lower] = _gamma_by_series(shape[lower], x[lower])
    slope[upper] = _gamma_by_fraction(shape[upper], x[upper])
    return slope


def _gamma_by_series(a: Array, x: Array) -> Array:
    # F = density * x / a * total, total = sum of x^n / ((a + 1) ... (a + n)).
    term = total = np.ones_like(x)
    moved_term = moved = np.zeros_like(x)
    for n in range(1, _MOST_TERMS):
        ratio = x / (a + n)
        moved_term = (moved_term - term / (a + n)) * ratio
        term = term * ratio
        total, moved = total + term, moved + moved_term
        if (term <= _SMALL * total).all() and (ratio < 1).all():
            break
    return -(x / a) * ((np.log(x) - math.digamma(a) - 1 / a) * total + moved)


def _gamma_by_fraction(a: Array, x: Array) -> Array:
    # 1 - F = density * x * f, f = 1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - ...)), from the inside.
    f, moved = np.zeros_like(x), np.zeros_like(x)
    terms = 100 + 10 * int(np.sqrt(a.max(initial=0)))
    for n in range(terms, 0, -1):
        factor = n * (a - n)
        below = x + (2 * n + 1) - a + f
        f, moved = factor / below, (n * below - factor * (moved - 1)) / (below * below)
    below = x + 1 - a + f
    f, moved = 1 / below, (1 - moved) / (below * below)
    return x * ((np.log(x) - math.digamma(a)) * f + moved)


@quiet
def beta_slope(x: Array, a: Array, total: Array) -> Array:
    """dx/da / (1 - x) of beta draws x with parameters a and total - a, at fixed total - a."""
    slope = np.full(x.shape, np.nan)
    left = x <= (a + 1) / (total + 2)
    right = x > (a + 1) / (total + 2)
    slope[left] = _beta_from_left(x[left], a[left], total[left])
    slope[right] = _beta_from_right(x[right], a[right], total[right])
    return slope


def _beta_from_left(x: Array, a: Array, total: Array) -> Array:
    # F = density * x (1 - x) / a * sum of x^n (total) ... (total + n - 1) / ((a + 1) ... (a + n)).
    term = series = np.ones_like(x)
    moved_term = moved = np.zeros_like(x)
    for n in range(1, _MOST_TERMS):
        ratio = (total + n - 1) / (a + n) * x
        rate = 1 / (total + n - 1) - 1 / (a + n)
        moved_term = (moved_term + term * rate) * ratio
        term = term * ratio
        series, moved = series + term, moved + moved_term
        if (term <= _SMALL * (1 - x) * series).all() and (ratio < 1).all():
            break
    prefactor = np.log(x) - 1 / a - math.digamma(a) + math.digamma(total)
    return -(x / a) * (prefactor * series + moved)


def _beta_from_right(x: Array, a: Array, total: Array) -> Array:
    # The same series for 1 - F, in 1 - x and with the parameters exchanged.
    y, b = 1 - x, total - a
    term = series = np.ones_like(x)
    moved_term = moved = np.zeros_like(x)
    for n in range(1, _MOST_TERMS):
        ratio = (total + n - 1) / (b + n) * y
        moved_term = (moved_term + term / (total + n - 1)) * ratio
        term = term * ratio
        series, moved = series + term, moved + moved_term
        if (term <= _SMALL * x * series).all() and (ratio < 1).all():
            break
    prefactor = np.log(x) - math.digamma(a) + math.digamma(total)
    return x / b * (prefactor * series + moved)
