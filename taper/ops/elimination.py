"""Elimination on arrays, batched: triangular systems, LU with pivots, Cholesky with a report.

numpy's LAPACK does not offer these. They work on blocks, so that most of the arithmetic is in
matrix products. No tensors here; the ops on top are in solve.py and decompose.py.
"""

from __future__ import annotations

from math import prod

import numpy as np

# Below these sizes the work goes row by row and column by column.
_SMALL, _PANEL = 8, 32


def solve_triangular(a: np.ndarray, b: np.ndarray, *, upper: bool, unit: bool) -> np.ndarray:
    """X of a @ X = b, reading only one triangle of `a`; with `unit`, not its diagonal either.

    Zeros on the diagonal give inf and nan, without an error.
    """
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x = np.array(np.broadcast_to(b, batch + b.shape[-2:]))
    if x.size:
        _substitute(a, x, upper, unit)
    return x


def _substitute(a: np.ndarray, x: np.ndarray, upper: bool, unit: bool) -> None:
    """Turns the right-hand side `x` into the solution, in place, halving the system."""
    n = a.shape[-1]
    if n <= _SMALL:
        for i in range(n - 1, -1, -1) if upper else range(n):
            known = slice(i + 1, n) if upper else slice(0, i)
            row = x[..., i : i + 1, :]
            if known.stop > known.start:
                row -= np.matmul(a[..., i : i + 1, known], x[..., known, :])
            if not unit:
                row /= a[..., i : i + 1, i : i + 1]
        return
    first, second = slice(0, n // 2), slice(n // 2, n)
    if upper:
        first, second = second, first
    _substitute(a[..., first, first], x[..., first, :], upper, unit)
    x[..., second, :] -= np.matmul(a[..., second, first], x[..., first, :])
    _substitute(a[..., second, second], x[..., second, :], upper, unit)


def lu_factor(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """L below and U on and above the diagonal of one matrix, the row swaps, and a report.

    Row i was swapped with row pivots[i] - 1. The report is 0, or i if U[i - 1, i - 1] is the first
    zero on the diagonal.
    Source: right-looking elimination on panels of columns, with partial pivoting.
    """
    *batch, rows, columns = a.shape
    count = min(rows, columns)
    lu = np.array(a).reshape(prod(batch), rows, columns)
    pivots = np.zeros((len(lu), count), np.int32)
    info = np.zeros(len(lu), np.int32)
    for start in range(0, count, _PANEL):
        stop = min(start + _PANEL, count)
        _factor_panel(lu, start, stop, pivots, info)
        if stop < columns:
            beside = lu[:, start:stop, stop:]
            _substitute(lu[:, start:stop, start:stop], beside, False, True)
            lu[:, stop:, stop:] -= np.matmul(lu[:, stop:, start:stop], beside)
    return lu.reshape(a.shape), pivots.reshape(*batch, count), info.reshape(batch)


def _factor_panel(
    lu: np.ndarray, start: int, stop: int, pivots: np.ndarray, info: np.ndarray
) -> None:
    """Eliminates the columns start:stop, swapping whole rows."""
    every = np.arange(len(lu))
    for j in range(start, stop):
        best = j + np.argmax(_size(lu[:, j:, j]), axis=1)
        pivots[:, j] = best + 1
        held = lu[every, best]
        lu[every, best] = lu[:, j]
        lu[:, j] = held
        pivot = lu[:, j, j]
        zero = pivot == 0
        info[zero & (info == 0)] = j + 1
        lu[:, j + 1 :, j] /= np.where(zero, 1, pivot)[:, None]
        if j + 1 < stop:
            lu[:, j + 1 :, j + 1 : stop] -= lu[:, j + 1 :, j, None] * lu[:, j, None, j + 1 : stop]


def _size(x: np.ndarray) -> np.ndarray:
    """What pivots are compared by; LAPACK takes |re| + |im| of complex numbers."""
    if x.dtype.kind != "c":
        return np.abs(x)
    made: np.ndarray = np.abs(x.real) + np.abs(x.imag)
    return made


def permutation(pivots: np.ndarray, rows: int) -> np.ndarray:
    """The order in which the swaps leave the rows: row i of the swapped matrix was row order[i]."""
    flat = pivots.reshape(prod(pivots.shape[:-1]), pivots.shape[-1])
    order = np.tile(np.arange(rows), (len(flat), 1))
    every = np.arange(len(flat))
    for j in range(min(flat.shape[1], rows)):
        other = flat[:, j] - 1
        held = order[every, other]
        order[every, other] = order[:, j]
        order[:, j] = held
    return order.reshape(*pivots.shape[:-1], rows)


def cholesky(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """L of L @ L^H = a, from the lower triangle, and a report: 0, or the order of the first
    leading minor that is not positive; elimination stops there.
    """
    flat = np.tril(a).reshape(prod(a.shape[:-2]), *a.shape[-2:])
    info = np.zeros(len(flat), np.int32)
    for j in range(a.shape[-1]):
        done = flat[:, j:, :j]
        column = flat[:, j:, j] - np.matmul(done, flat[:, j, :j, None].conj())[..., 0]
        pivot = column[:, 0].real
        good = (info == 0) & (pivot > 0)
        fails = (info == 0) & ~good
        info[fails] = j + 1
        flat[fails, j, j] = pivot[fails]
        root = np.sqrt(np.where(good, pivot, 1))
        column = column / root[:, None]
        column[:, 0] = root
        flat[good, j:, j] = column[good]
    return flat.reshape(a.shape), info.reshape(a.shape[:-2])
