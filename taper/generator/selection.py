"""The k largest numbers, with the order among equals that PyTorch's topk leaves on the CPU.

Where all are different there is nothing to decide. Among equals the order is an accident of the
C++ library's nth_element, sort and partial_sort, repeated here because multinomial shows it: the
indices of probabilities that are zero, or of half-type quotients that coincide.

A list of pairs (key, index) is rearranged in place; a pair goes before another if its key is
larger. Ranges are given as begin, end.

Source: D. R. Musser, Introspective sorting and selection algorithms, 1997, for the scheme.
"""

from __future__ import annotations

import numpy as np

Pairs = list[tuple[float, int]]
_SMALL = 16  # shorter runs are left to one insertion sort at the end


def largest(values: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k largest of a flat array, the largest first."""
    order = np.argsort(-values.astype(np.float64), kind="stable")
    leading = values[order[: k + 1]]
    if (leading[1:] != leading[:-1]).all():
        return order[:k]
    pairs: Pairs = [(key, i) for i, key in enumerate(values.tolist())]
    if k * 64 <= len(pairs):
        _partial_sort(pairs, 0, k, len(pairs))
    else:
        _select(pairs, k - 1)
        _sort(pairs, k - 1)
    return np.array([i for _, i in pairs[:k]], np.int64)


def _select(v: Pairs, nth: int) -> None:
    """Brings to place `nth` the pair that belongs there, with the larger ones before it."""
    begin, end = 0, len(v)
    rounds = 2 * (len(v).bit_length() - 1)
    while end - begin > 3:
        if rounds == 0:
            _heap_select(v, begin, nth + 1, end)
            v[begin], v[nth] = v[nth], v[begin]
            return
        rounds -= 1
        cut = _partition(v, begin, end)
        if cut <= nth:
            begin = cut
        else:
            end = cut
    _insertion_sort(v, begin, end)


def _sort(v: Pairs, end: int) -> None:
    """Sorts v[:end]."""
    if end < 1:
        return
    _quicksort(v, 0, end, 2 * (end.bit_length() - 1))
    if end <= _SMALL:
        _insertion_sort(v, 0, end)
    else:
        _insertion_sort(v, 0, _SMALL)
        for place in range(_SMALL, end):
            _insert(v, place)


def _quicksort(v: Pairs, begin: int, end: int, rounds: int) -> None:
    """Sorts but for runs of _SMALL."""
    while end - begin > _SMALL:
        if rounds == 0:
            _partial_sort(v, begin, end, end)
            return
        rounds -= 1
        cut = _partition(v, begin, end)
        _quicksort(v, cut, end, rounds)
        end = cut


def _partition(v: Pairs, begin: int, end: int) -> int:
    """Larger keys to the front, smaller ones to the back; where the back begins.

    The pivot is the median of the second, the middle and the last key.
    """
    second, middle, last = begin + 1, begin + (end - begin) // 2, end - 1
    a, b, c = v[second][0], v[middle][0], v[last][0]
    if a > b:
        median = middle if b > c else last if a > c else second
    else:
        median = second if a > c else last if b > c else middle
    v[begin], v[median] = v[median], v[begin]
    pivot = v[begin][0]
    left, right = begin + 1, end
    while True:
        while v[left][0] > pivot:
            left += 1
        right -= 1
        while pivot > v[right][0]:
            right -= 1
        if left >= right:
            return left
        v[left], v[right] = v[right], v[left]
        left += 1


def _insert(v: Pairs, place: int) -> None:
    """Moves one pair forward to its place; some pair before it has a key as large."""
    pair = v[place]
    while pair[0] > v[place - 1][0]:
        v[place] = v[place - 1]
        place -= 1
    v[place] = pair


def _insertion_sort(v: Pairs, begin: int, end: int) -> None:
    for place in range(begin + 1, end):
        if v[place][0] > v[begin][0]:
            v.insert(begin, v.pop(place))
        else:
            _insert(v, place)


# ---------------------------------------------------------------- heaps, the smallest key on top


def _partial_sort(v: Pairs, begin: int, middle: int, end: int) -> None:
    """Sorts the largest of v[begin:end] into v[begin:middle]."""
    _heap_select(v, begin, middle, end)
    while middle - begin > 1:
        middle -= 1
        pair, v[middle] = v[middle], v[begin]
        _sift(v, begin, 0, middle - begin, pair)


def _heap_select(v: Pairs, begin: int, middle: int, end: int) -> None:
    """Makes v[begin:middle] a heap of the largest pairs."""
    size = middle - begin
    for parent in range((size - 2) // 2, -1, -1):
        _sift(v, begin, parent, size, v[begin + parent])
    for place in range(middle, end):
        if v[place][0] > v[begin][0]:
            pair, v[place] = v[place], v[begin]
            _sift(v, begin, 0, size, pair)


def _sift(v: Pairs, begin: int, hole: int, size: int, pair: tuple[float, int]) -> None:
    """Puts `pair` into the heap's `hole`: down to a leaf, then up to where it belongs."""
    top, child = hole, hole
    while child < (size - 1) // 2:
        child = 2 * child + 2
        if v[begin + child][0] > v[begin + child - 1][0]:
            child -= 1
        v[begin + hole] = v[begin + child]
        hole = child
    if size % 2 == 0 and child == (size - 2) // 2:
        child = 2 * child + 1
        v[begin + hole] = v[begin + child]
        hole = child
    while hole > top:
        parent = (hole - 1) // 2
        if v[begin + parent][0] <= pair[0]:
            break
        v[begin + hole] = v[begin + parent]
        hole = parent
    v[begin + hole] = pair
