"""Distinct elements, positions, and copies of views."""

from __future__ import annotations

import math

import pytest

import taper
from taper import tensor


def test_unique_sorts_and_says_where_each_element_went():
    x = tensor([[3, 1], [1, 2]])

    values, inverse, counts = taper.unique(x, return_inverse=True, return_counts=True)

    assert values.tolist() == [1, 2, 3]
    assert inverse.tolist() == [[2, 0], [0, 1]]
    assert counts.tolist() == [2, 1, 1]


def test_every_nan_is_unique():
    x = tensor([math.nan, 1.0, math.nan])

    assert len(x.unique()) == 3
    assert len(x.unique_consecutive()) == 3


def test_unique_slices_of_a_dimension_come_in_lexical_order():
    x = tensor([[2, 1], [1, 9], [2, 1], [1, 3]])

    values, inverse = taper.unique(x, return_inverse=True, dim=0)

    assert values.tolist() == [[1, 3], [1, 9], [2, 1]]
    assert inverse.tolist() == [2, 1, 2, 0]


def test_unique_consecutive_keeps_later_runs():
    values, counts = tensor([1, 1, 2, 2, 1]).unique_consecutive(return_counts=True)

    assert values.tolist() == [1, 2, 1]
    assert counts.tolist() == [2, 2, 1]


def test_slices_without_elements_are_refused():
    with pytest.raises(RuntimeError, match="0 sized dimensions"):
        taper.ones(3, 0).unique(dim=0)


def test_unravel_index_is_the_inverse_of_flat_positions():
    rows, columns = taper.unravel_index(tensor([0, 5, 7]), (2, 4))

    assert rows.tolist() == [0, 1, 1]
    assert columns.tolist() == [0, 1, 3]
    with pytest.raises(ValueError, match="out of bounds for a tensor of 8 elements"):
        taper.unravel_index(tensor([8]), (2, 4))


def test_nonzero_static_has_the_size_asked_for():
    x = tensor([0, 3, 0, 4])

    assert taper.nonzero_static(x, size=1).tolist() == [[1]]
    assert taper.nonzero_static(x, size=3, fill_value=-9).tolist() == [[1], [3], [-9]]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("permute", ((1, 0),)),
        ("transpose", (0, 1)),
        ("t", ()),
        ("unsqueeze", (0,)),
        ("squeeze", ()),
        ("diagonal", ()),
        ("select", (0, 1)),
        ("narrow", (1, 0, 2)),
    ],
)
def test_a_copy_has_the_views_values_and_memory_of_its_own(name, args):
    x = taper.arange(6.0).reshape(2, 3)

    copied = getattr(taper, name + "_copy")(x, *args)

    assert copied.tolist() == getattr(taper, name)(x, *args).tolist()
    copied.fill_(-1)
    assert x.min() == 0


def test_the_scatters_replace_a_view_in_a_copy():
    x = taper.zeros(2, 3)

    assert x.select_scatter(tensor([1.0, 2.0, 3.0]), 0, -1).tolist() == [[0, 0, 0], [1, 2, 3]]
    assert x.slice_scatter(taper.ones(2, 2), 1, 0, 3, 2).tolist() == [[1, 0, 1]] * 2
    assert x.diagonal_scatter(tensor([1.0, 2.0]), 1).tolist() == [[0, 1, 0], [0, 0, 2]]
    assert x.as_strided_scatter(taper.ones(2), (2,), (3,)).tolist() == [[1, 0, 0]] * 2
    assert x.sum() == 0
    with pytest.raises(RuntimeError, match="expected src to have a size equal to the slice"):
        x.select_scatter(taper.ones(2), 0, 0)


def test_split_copies_go_into_out():
    x = taper.arange(4.0)
    out = [taper.empty(1), taper.empty(3)]

    assert taper.split_with_sizes_copy(x, [1, 3], out=out) is None
    assert [o.tolist() for o in out] == [[0.0], [1.0, 2.0, 3.0]]
