"""Running sums, products and extremes, and differences: the cases at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest

import taper
from taper import tensor

nan, inf = math.nan, math.inf


def test_cummax_keeps_a_nan_and_gives_the_place_of_the_latest():
    values, indices = taper.cummax(tensor([1.0, 3.0, 3.0, 2.0, nan, 5.0, nan]), 0)

    assert values.tolist()[:4] == [1, 3, 3, 3]
    assert all(math.isnan(v) for v in values.tolist()[4:])
    assert indices.tolist() == [0, 1, 2, 2, 4, 4, 6]


def test_cummin_of_bools_and_0_d_tensors():
    assert taper.cummin(tensor([True, False, True]), 0).values.tolist() == [True, False, False]
    assert taper.cummin(tensor(2.0), 0).indices.item() == 0


def test_cumsum_and_cumprod_of_integers_and_bools_are_int64():
    x = tensor([1, 2, 3], dtype=taper.int8)

    assert x.cumsum(0).dtype is x.cumprod(0).dtype is taper.int64
    assert tensor([True, True]).cumsum(0).tolist() == [1, 2]
    assert x.cumprod(0, dtype=taper.float32).tolist() == [1.0, 2.0, 6.0]


def test_cumprods_gradient_at_zeros_is_the_product_of_the_others():
    x = tensor([2.0, 0.0, 3.0, 0.0], requires_grad=True)

    x.cumprod(0).sum().backward()

    # 1 + 0 + 0 + 0, 2 + 2 * 3 + 0, 0, 0
    assert x.grad.tolist() == [1.0, 8.0, 0.0, 0.0]


def test_logcumsumexp_neither_overflows_nor_loses_minus_infinity():
    x = tensor([-inf, -inf, 1000.0, 1000.0, -1000.0])

    made = taper.logcumsumexp(x, 0)

    assert made.tolist() == pytest.approx(
        [-inf, -inf, 1000, 1000 + math.log(2), 1000 + math.log(2)]
    )


def test_logcumsumexp_says_that_it_does_not_take_integers():
    with pytest.raises(NotImplementedError, match=r"logcumsumexp_out_cpu.* for 'Long'"):
        taper.logcumsumexp(tensor([1, 2]), 0)


def test_diff_of_bools_says_where_neighbours_differ():
    assert tensor([True, True, False]).diff().tolist() == [False, True]


def test_diff_puts_values_before_and_after():
    x = tensor([1, 4, 9])

    assert x.diff(prepend=tensor([0])).tolist() == [1, 3, 5]
    assert x.diff(n=2).tolist() == [2]
    assert x.diff(n=5).tolist() == []
    with pytest.raises(RuntimeError, match="order must be non-negative but got -1"):
        x.diff(n=-1)
    with pytest.raises(RuntimeError, match="at least one-dimensional"):
        tensor(1).diff()


def test_gradient_agrees_with_numpys_on_even_and_uneven_grids():
    x = np.array([0.0, 1.0, 1.5, 3.5, 4.0, 6.0])
    f = x**2

    for edge in (1, 2):
        (even,) = taper.gradient(tensor(f), spacing=0.5, edge_order=edge)
        (uneven,) = taper.gradient(tensor(f), spacing=[tensor(x)], edge_order=edge)

        np.testing.assert_allclose(even.numpy(), np.gradient(f, 0.5, edge_order=edge))
        np.testing.assert_allclose(uneven.numpy(), np.gradient(f, x, edge_order=edge))


def test_gradient_gives_one_tensor_for_each_dimension():
    x = taper.arange(6.0).reshape(2, 3)

    rows, columns = taper.gradient(x)

    assert rows.tolist() == [[3.0] * 3] * 2
    assert columns.tolist() == [[1.0] * 3] * 2
    with pytest.raises(RuntimeError, match=r"at least edge_order\+1"):
        taper.gradient(x, edge_order=2)


def test_trapezoid_with_steps_and_with_coordinates():
    y = tensor([1.0, 5.0, 10.0])

    assert taper.trapezoid(y).item() == 10.5
    assert taper.trapezoid(y, dx=2).item() == 21.0
    assert taper.trapz(y, tensor([1.0, 3.0, 6.0])).item() == 28.5
    assert taper.cumulative_trapezoid(y, tensor([1.0, 3.0, 6.0])).tolist() == [6.0, 28.5]
    with pytest.raises(RuntimeError, match="one `x` value for each sample point"):
        taper.trapezoid(y, tensor([1.0]))


def test_empty_dimensions_are_summed_to_zero():
    assert taper.trapezoid(taper.ones(2, 0)).tolist() == [0.0, 0.0]
    assert taper.cumsum(taper.ones(2, 0), 1).shape == (2, 0)
    assert taper.cummax(taper.ones(2, 0), 1).values.shape == (2, 0)
