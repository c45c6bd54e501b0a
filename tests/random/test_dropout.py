"""Dropout: what it leaves alone, its gradient, its shapes and its errors."""

from __future__ import annotations

import math

import pytest

import taper as torch
from taper import tensor
from taper.nn import functional as F

WHOLE = [F.dropout, F.alpha_dropout]
CHANNELS = [F.dropout1d, F.dropout2d, F.dropout3d, F.feature_alpha_dropout]
SHAPES = {F.dropout1d: (4, 3, 5), F.dropout2d: (4, 3, 5, 2), F.dropout3d: (4, 3, 2, 2, 2)}


def shape_for(function):
    return SHAPES.get(function, (4, 3, 5))


@pytest.mark.parametrize("function", WHOLE + CHANNELS)
def test_nothing_is_drawn_where_nothing_is_dropped(function):
    x = torch.ones(shape_for(function))
    torch.manual_seed(0)
    state = torch.get_rng_state()

    assert function(x, 0.0, training=True) is x
    assert function(x, 0.5, training=False) is x
    assert function(x, 1.0, training=True).abs().sum() == 0
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("function", WHOLE + CHANNELS)
def test_the_gradient_is_the_factor_of_each_element(function):
    x = torch.zeros(shape_for(function), requires_grad=True)
    torch.manual_seed(1)
    shift = function(x, 0.4, training=True)
    torch.manual_seed(1)
    y = function(x + 1, 0.4, training=True)

    y.sum().backward()

    assert torch.allclose(x.grad, (y - shift).detach(), atol=1e-6)


@pytest.mark.parametrize("function", WHOLE + CHANNELS)
def test_in_place_gives_the_same_and_is_the_same_tensor(function):
    x = torch.randn(shape_for(function))
    torch.manual_seed(1)
    wanted = function(x, 0.4, training=True)
    torch.manual_seed(1)

    changed = function(x, 0.4, training=True, inplace=True)

    assert changed is x
    assert torch.equal(x, wanted)


@pytest.mark.parametrize("function", CHANNELS)
def test_channels_live_and_die_as_a_whole(function):
    y = function(torch.ones(shape_for(function)), 0.5, training=True)

    flat = y.reshape(12, -1)
    assert torch.equal(flat, flat[:, :1].expand_as(flat))


def test_an_input_without_samples_has_channels_first():
    torch.manual_seed(0)
    y = F.dropout1d(torch.ones(6, 5))

    assert set(y.sum(1).tolist()) <= {0.0, 10.0}
    with pytest.raises(RuntimeError, match="dropout1d: Expected 2D or 3D input"):
        F.dropout1d(torch.ones(2, 3, 4, 5))


def test_shapes_that_may_change_their_meaning_are_warned_of():
    with pytest.warns(UserWarning, match="dropout2d: Received a 3D input"):
        F.dropout2d(torch.ones(2, 3, 4))
    with pytest.warns(UserWarning, match="dropout2d: Received a 2-D input"):
        F.dropout2d(torch.ones(2, 3))
    with pytest.warns(UserWarning, match="dropout3d: Received a 3-D input"):
        F.dropout3d(torch.ones(2, 3, 4))


@pytest.mark.parametrize("p", [-0.1, 1.5])
def test_a_probability_beyond_one_is_refused(p):
    for function in WHOLE + CHANNELS:
        with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
            function(torch.ones(shape_for(function)), p)
    with pytest.raises(RuntimeError, match="dropout probability has to be between 0 and 1"):
        torch.dropout(torch.ones(2), p, True)


def test_a_dropped_infinity_is_nan_as_it_is_a_product():
    assert math.isnan(F.dropout(tensor([math.inf]), 1.0).item())


def test_integers_are_refused_once_there_is_something_to_drop():
    x = torch.ones(3, dtype=torch.int64)

    assert F.dropout(x, 0.0) is x
    with pytest.raises(RuntimeError, match=r"result type Float can't be cast to .* type Long"):
        F.dropout(x, 0.5)
    with pytest.raises(NotImplementedError, match=r"bernoulli_scalar_cpu_.*'ComplexFloat'"):
        F.dropout(torch.ones(3, dtype=torch.complex64), 0.5)


def test_the_result_has_the_memory_order_of_the_input():
    x = torch.ones(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)

    for function in (F.dropout, F.dropout2d):
        assert function(x, 0.5).stride() == x.stride()


def test_native_dropout_gives_its_mask():
    torch.manual_seed(0)
    x = torch.ones(20, requires_grad=True)
    y, mask = torch.native_dropout(x, 0.5, True)

    y.sum().backward()

    assert torch.equal(y.detach(), mask * 2.0) and torch.equal(x.grad, mask * 2.0)
    assert torch.native_dropout(x, 0.5, False)[1].all()
    assert not torch.native_dropout(x, 1.0, True)[1].any()


def test_alpha_dropout_keeps_mean_and_variance():
    torch.manual_seed(0)
    y = F.alpha_dropout(torch.randn(200_000), 0.3, training=True)

    assert abs(y.mean().item()) < 0.01
    assert abs(y.var().item() - 1) < 0.02


def test_a_hard_gumbel_draw_is_one_hot_with_the_soft_gradient():
    logits = torch.randn(3, 4, requires_grad=True)
    weights = torch.arange(4.0)
    torch.manual_seed(2)
    hard = F.gumbel_softmax(logits, tau=0.7, hard=True)
    (hard * weights).sum().backward()
    from_hard, logits.grad = logits.grad, None
    torch.manual_seed(2)
    soft = F.gumbel_softmax(logits, tau=0.7)
    (soft * weights).sum().backward()

    assert hard.detach().sum(1).tolist() == pytest.approx([1, 1, 1])
    assert torch.equal(hard.argmax(1), soft.argmax(1))
    assert torch.equal(from_hard, logits.grad)
    with pytest.warns(UserWarning, match="`eps` parameter is deprecated"):
        F.gumbel_softmax(logits, eps=1.0)
