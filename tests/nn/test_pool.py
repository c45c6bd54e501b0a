"""Pools: against the definition, against PyTorch, and the errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import taper
from taper import nn
from taper.nn import functional as F

MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def distinct(*shape):
    count = int(np.prod(shape))
    return np.random.default_rng(shape).permutation(count).astype(float).reshape(shape)


def windows(x, kernel, stride, padding, fill):
    """(batch, channels, *out, window) of the padded input."""
    rank = x.ndim - 2
    xp = np.pad(x, [(0, 0), (0, 0)] + [(padding, padding)] * rank, constant_values=fill)
    size = [(n - kernel) // stride + 1 for n in xp.shape[2:]]
    made = np.empty((*x.shape[:2], *size, kernel**rank))
    for place in np.ndindex(*size):
        part = xp[(..., *(slice(p * stride, p * stride + kernel) for p in place))]
        made[(slice(None), slice(None), *place)] = part.reshape(*x.shape[:2], -1)
    return made


SETTINGS = [*itertools.product((1, 2, 3), (2, 3), (1, 2), (0, 1))]


@pytest.mark.parametrize(("rank", "kernel", "stride", "padding"), SETTINGS)
def test_a_pool_is_the_maximum_or_mean_of_each_window(rank, kernel, stride, padding):
    x = distinct(2, 3, *(7, 6, 4)[:rank])

    best = MAX[rank](taper.tensor(x), kernel, stride, padding)
    mean = AVG[rank](taper.tensor(x), kernel, stride, padding)

    expected = windows(x, kernel, stride, padding, -np.inf).max(-1)
    np.testing.assert_array_equal(best.numpy(), expected)
    expected = windows(x, kernel, stride, padding, 0).mean(-1)
    np.testing.assert_allclose(mean.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(("rank", "kernel", "stride", "padding"), SETTINGS)
def test_gradients_go_where_the_values_came_from(rank, kernel, stride, padding):
    """Both pools are linear for the windows' given maxima, so <grad, x> = <pool(x), g>."""
    for pool in (MAX[rank], AVG[rank]):
        x = taper.tensor(distinct(2, 3, *(7, 6, 4)[:rank]), requires_grad=True)
        out = pool(x, kernel, stride, padding)
        g = taper.tensor(distinct(*out.shape))

        out.backward(g)

        assert (x.grad * x).sum().item() == pytest.approx((out * g).sum().item())
        if pool is AVG[rank] and padding == 0:
            assert x.grad.sum().item() == pytest.approx(g.sum().item())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_indices_say_where_the_maxima_are_and_unpooling_puts_them_back(rank):
    x = taper.tensor(distinct(2, 3, *(4, 6, 2)[:rank]))

    values, index = MAX[rank](x, 2, return_indices=True)
    back = getattr(F, f"max_unpool{rank}d")(values, index, 2)

    assert taper.equal(x.flatten(2).gather(2, index.flatten(2)).view_as(values), values)
    assert taper.equal(back, taper.where(back != 0, x, 0))
    assert back.sum() == values.sum()


def test_the_first_of_equal_elements_takes_the_gradient():
    x = taper.ones(1, 1, 2, 4, requires_grad=True)

    F.max_pool2d(x, 2).sum().backward()

    assert x.grad.tolist() == [[[[1, 0, 1, 0], [0, 0, 0, 0]]]]


def test_nan_wins_and_takes_the_gradient():
    x = taper.tensor([[[1.0, taper.nan, 3.0, 2.0]]], requires_grad=True)

    out = F.max_pool1d(x, 2)
    out.sum().backward()

    assert out.isnan().tolist() == [[[True, False]]]
    assert x.grad.tolist() == [[[0, 1, 1, 0]]]


def test_minus_infinity_does_not_choose_the_padding():
    x = taper.full((1, 1, 3), -taper.inf)

    values, index = F.max_pool1d(x, 2, 1, padding=1, return_indices=True)

    assert values.isinf().all()
    assert index.tolist() == [[[0, 0, 1, 2]]]


def test_ceil_mode_adds_a_window_that_begins_inside():
    x = taper.arange(5.0).reshape(1, 1, 5)

    assert F.max_pool1d(x, 2, ceil_mode=True).tolist() == [[[1, 3, 4]]]
    assert F.avg_pool1d(x, 2, ceil_mode=True).tolist() == [[[0.5, 2.5, 4]]]
    assert F.avg_pool1d(x, 2, padding=1, ceil_mode=True).tolist() == [[[0, 1.5, 3.5]]]


def test_a_mean_may_leave_the_padding_out_or_take_another_divisor():
    x = taper.ones(1, 1, 2, 2)

    assert F.avg_pool2d(x, 2, padding=1, count_include_pad=False).unique().tolist() == [1]
    assert F.avg_pool2d(x, 2, padding=1).unique().tolist() == [0.25]
    assert F.avg_pool2d(x, 2, divisor_override=2).item() == 2


def test_integers_are_averaged_towards_zero():
    x = taper.tensor([[[[-3, 0], [0, 0]]]])

    assert F.avg_pool2d(x, 2, divisor_override=2).item() == -1
    assert F.avg_pool2d(x, 2, divisor_override=-2).item() == 1


def test_means_of_infinities_do_not_leak_into_other_windows():
    x = taper.tensor([[[1.0, 1, taper.inf, 1, 2, 2]]])

    assert F.avg_pool1d(x, 2).tolist() == [[[1, taper.inf, 2]]]


@pytest.mark.parametrize("out", [1, 2, 3, (2, 3), (None, 2)])
def test_adaptive_pools_cover_the_image_evenly(out):
    x = distinct(2, 3, 5, 6)
    sizes = out if isinstance(out, tuple) else (out, out)
    sizes = [n if s is None else s for s, n in zip(sizes, (5, 6), strict=True)]

    mean = F.adaptive_avg_pool2d(taper.tensor(x), out)
    best = F.adaptive_max_pool2d(taper.tensor(x), out)

    for i, j in np.ndindex(*sizes):
        rows = slice(i * 5 // sizes[0], -(-(i + 1) * 5 // sizes[0]))
        columns = slice(j * 6 // sizes[1], -(-(j + 1) * 6 // sizes[1]))
        part = x[:, :, rows, columns]
        np.testing.assert_allclose(mean[:, :, i, j].numpy(), part.mean((2, 3)), rtol=1e-12)
        np.testing.assert_array_equal(best[:, :, i, j].numpy(), part.max((2, 3)))


def test_fractional_pools_follow_their_samples():
    x = taper.arange(36.0).reshape(1, 1, 6, 6)
    samples = taper.zeros(1, 1, 2)

    out, index = F.fractional_max_pool2d(
        x, 2, output_size=3, return_indices=True, _random_samples=samples
    )

    assert index.tolist() == [[[[7, 9, 11], [19, 21, 23], [31, 33, 35]]]]
    assert taper.equal(out, index.float())


def test_a_maximum_may_be_overwritten_before_backward():
    x = taper.tensor([[[1.0, -2.0, -4.0, -3.0]]], requires_grad=True)

    taper.relu_(F.max_pool1d(x, 2)).sum().backward()

    assert x.grad.tolist() == [[[1, 0, 0, 0]]]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["Max", "Avg"])
def test_layers_agree_with_pytorch(kind, rank):
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).normal(size=(2, 3, *(9, 8, 7)[:rank]))
    x, y = torch.tensor(values, requires_grad=True), taper.tensor(values, requires_grad=True)

    expected = getattr(torch.nn, f"{kind}Pool{rank}d")(3, 2, 1, ceil_mode=True)(x)
    out = getattr(nn, f"{kind}Pool{rank}d")(3, 2, 1, ceil_mode=True)(y)
    expected.sin().sum().backward()
    out.sin().sum().backward()

    np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(y.grad.numpy(), x.grad.numpy(), rtol=1e-10)


def test_lp_pools_are_norms_of_windows():
    x = taper.tensor([[[3.0, 4.0, 6.0, 8.0]]])

    assert F.lp_pool1d(x, 2, 2).tolist() == [[[5, 10]]]


@pytest.mark.parametrize("shape", [(0, 2, 4, 4), (2, 4, 4)])
def test_an_empty_batch_and_no_batch_go_through(shape):
    x = taper.ones(*shape, requires_grad=True)
    for pool in (F.max_pool2d, F.avg_pool2d):
        out = pool(x, 2)
        out.sum().backward()
        assert out.shape == (*shape[:-2], 2, 2)
    assert x.grad.shape == shape


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: F.max_pool2d(x, 2, padding=2), RuntimeError, "at most half of effective kernel"),
        (lambda x: F.max_pool2d(x, 2, padding=-1), RuntimeError, "pad must be non-negative"),
        (lambda x: F.max_pool2d(x, 2, stride=0), RuntimeError, "stride should not be zero"),
        (lambda x: F.max_pool2d(x, 9), RuntimeError, "Output size is too small"),
        (lambda x: F.max_pool2d(x, (2, 2, 2)), RuntimeError, "single int, or a tuple of two ints"),
        (lambda x: F.max_pool1d(x, 2), RuntimeError, "Expected 2D or 3D"),
        (lambda x: F.avg_pool2d(x, 2, divisor_override=0), RuntimeError, "must be not zero"),
        (lambda x: F.avg_pool2d(x[..., :0], 2), RuntimeError, "Expected 3D or 4D"),
        (lambda x: F.adaptive_avg_pool2d(x[0, 0], (2, 2)), ValueError, "at least 3"),
        (lambda x: F.adaptive_avg_pool2d(x, -1), RuntimeError, "greater than or equal to 0"),
        (lambda x: F.fractional_max_pool2d(x, 2), ValueError, "output_size or an output_ratio"),
        (
            lambda x: F.max_unpool2d(x, taper.full((1, 2, 4, 4), 99), 2),
            RuntimeError,
            "invalid max index: 99",
        ),
    ],
)
def test_mistakes_are_named_each_time(call, error, text):
    for _ in range(2):
        with pytest.raises(error, match=text):
            call(taper.ones(1, 2, 4, 4))
