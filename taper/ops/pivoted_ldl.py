"""LDL factorization of symmetric and Hermitian matrices, on arrays, with LAPACK's storage.

Which rows are swapped depends on the numbers, so the matrices of a batch are taken one by one.
"""

from __future__ import annotations

import math

import numpy as np

# Below this ratio a diagonal element is too small to divide by; it bounds the growth of L.
_RATIO = (1 + math.sqrt(17)) / 8


def factor(a: np.ndarray, hermitian: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """L (below the diagonal) and D (blocks of 1 and 2) in one matrix, the swaps, and a report.

    A positive pivot p means that rows and columns k and p - 1 were swapped; two equal negative
    ones, -p, a block of two whose second row was swapped with row p - 1. The report is 0, or the
    number of the first zero block.
    Source: J. Bunch and L. Kaufman, "Some stable methods for calculating inertia and solving
    symmetric linear systems" (1977).
    """
    n = a.shape[-1]
    flat = np.tril(a).reshape(math.prod(a.shape[:-2]), n, n)
    pivots = np.zeros((len(flat), n), np.int32)
    info = np.zeros(len(flat), np.int32)
    for i, each in enumerate(flat):
        info[i] = _factor_one(each, pivots[i], hermitian and a.dtype.kind == "c")
    made = np.tril(flat).reshape(a.shape)
    return made, pivots.reshape(a.shape[:-1]), info.reshape(a.shape[:-2])


def _size(x: np.ndarray) -> np.ndarray:
    made: np.ndarray = np.abs(x.real) + np.abs(x.imag) if x.dtype.kind == "c" else np.abs(x)
    return made


def _factor_one(a: np.ndarray, pivots: np.ndarray, hermitian: bool) -> int:
    """Overwrites the lower triangle of `a` by its factors; returns the report."""
    n = len(a)
    info = 0
    k = 0
    while k < n:
        if hermitian:
            a[k, k] = a[k, k].real
        swap, block = _choose(a, k)
        if block == 0:
            info = info or k + 1
            pivots[k] = k + 1
            k += 1
            continue
        last = k + block - 1
        if swap != last:
            _swap(a, k, last, swap, hermitian)
        pivots[k : k + block] = swap + 1 if block == 1 else -(swap + 1)
        below = slice(k + block, n)
        column = a[below, k : k + block].copy()
        if len(column):
            scaled = column @ np.linalg.inv(_block(a, k, block, hermitian))
            a[below, below] -= scaled @ (column.conj() if hermitian else column).T
            a[below, k : k + block] = scaled
        k += block
    return info


def _choose(a: np.ndarray, k: int) -> tuple[int, int]:
    """The row to swap in, and the size of the block to divide by (0: the column is zero)."""
    own = float(_size(a[k, k]))
    column = _size(a[k + 1 :, k])
    if not len(column):
        return k, int(own != 0 and not math.isnan(own))
    best = k + 1 + int(np.argmax(column))
    largest = float(column[best - k - 1])
    if max(own, largest) == 0 or math.isnan(own):
        return k, 0
    if own >= _RATIO * largest:
        return k, 1
    across = max(_size(a[best, k:best]).max(), _size(a[best + 1 :, best]).max(initial=0))
    if own >= _RATIO * largest * (largest / across):
        return k, 1
    return best, 1 if float(_size(a[best, best])) >= _RATIO * across else 2


def _swap(a: np.ndarray, k: int, one: int, other: int, hermitian: bool) -> None:
    """Swaps rows and columns `one` and `other` of the part not yet eliminated, lower triangle."""
    a[other + 1 :, [one, other]] = a[other + 1 :, [other, one]]
    between = slice(one + 1, other)
    held = a[between, one].copy()
    a[between, one] = a[other, between].conj() if hermitian else a[other, between]
    a[other, between] = held.conj() if hermitian else held
    if hermitian:
        a[other, one] = a[other, one].conj()
    a[one, one], a[other, other] = a[other, other], a[one, one]
    if one > k:
        a[one, k], a[other, k] = a[other, k], a[one, k]


def _block(a: np.ndarray, k: int, block: int, hermitian: bool) -> np.ndarray:
    """A diagonal block of D as a full matrix."""
    made = a[k : k + block, k : k + block].copy()
    if block == 2:
        made[0, 1] = made[1, 0].conj() if hermitian else made[1, 0]
    return made


def solve(ld: np.ndarray, pivots: np.ndarray, b: np.ndarray, hermitian: bool) -> np.ndarray:
    """X of A @ X = b from the results of `factor`. Batches broadcast."""
    batch = np.broadcast_shapes(ld.shape[:-2], b.shape[:-2])
    x = np.array(np.broadcast_to(b, batch + b.shape[-2:]))
    count, n = math.prod(batch), ld.shape[-1]
    flat = x.reshape(count, *x.shape[-2:])
    factors = np.broadcast_to(ld, (*batch, n, n)).reshape(count, n, n)
    swaps = np.broadcast_to(pivots, (*batch, n)).reshape(count, n)
    for each, own, right in zip(factors, swaps, flat, strict=True):
        _solve_one(each, own, right, hermitian and ld.dtype.kind == "c")
    return x


def _solve_one(ld: np.ndarray, pivots: np.ndarray, x: np.ndarray, hermitian: bool) -> None:
    """L, then D on the way down; L^T on the way up."""
    n = len(ld)
    starts = []
    k = 0
    while k < n:
        block = 1 if pivots[k] > 0 else 2
        starts.append((k, block))
        last, other = k + block - 1, abs(int(pivots[k])) - 1
        x[[last, other]] = x[[other, last]]
        rows, below = slice(k, k + block), slice(k + block, n)
        x[below] -= ld[below, rows] @ x[rows]
        middle = _block(ld, k, block, hermitian)
        x[rows] = x[rows] / middle if block == 1 else np.linalg.solve(middle, x[rows])
        k += block
    for k, block in reversed(starts):
        rows, below = slice(k, k + block), slice(k + block, n)
        column = ld[below, rows]
        x[rows] -= (column.conj() if hermitian else column).T @ x[below]
        last, other = k + block - 1, abs(int(pivots[k])) - 1
        x[[last, other]] = x[[other, last]]
