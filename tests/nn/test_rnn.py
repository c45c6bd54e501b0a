"""RNN, LSTM, GRU and their cells: values, derivatives, states, and what users see."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import taper
from taper import nn

KINDS = ("RNN", "LSTM", "GRU")


def unrolled(cell, x, state):
    """The outputs of a cell called step by step, (steps, batch, hidden)."""
    outs = []
    for step in x:
        state = cell(step, state)
        outs.append(state[0] if isinstance(state, tuple) else state)
    return taper.stack(outs)


def with_weights_of(layer, kind, **kwargs):
    cell = getattr(nn, kind + "Cell")(layer.input_size, layer.hidden_size, **kwargs).double()
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    return cell


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_and_its_cell_agree_in_values_and_gradients(kind):
    taper.manual_seed(0)
    layer = getattr(nn, kind)(3, 4).double()
    cell = with_weights_of(layer, kind)
    x = taper.randn(5, 2, 3, dtype=taper.float64, requires_grad=True)
    again = x.detach().clone().requires_grad_()

    out, _ = layer(x)
    expected = unrolled(cell, again, None)
    out.pow(2).sum().backward()
    expected.pow(2).sum().backward()

    np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), again.grad.numpy(), rtol=1e-10)
    for one, other in zip(layer.parameters(), cell.parameters(), strict=True):
        np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy(), rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_two_directions_and_two_layers_agree_with_pytorch(kind, batch_first):
    torch = pytest.importorskip("torch")
    config = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first}
    theirs = getattr(torch.nn, kind)(3, 4, **config).double()
    ours = getattr(nn, kind)(3, 4, **config).double()
    ours.load_state_dict({k: taper.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    values = np.random.default_rng(0).normal(size=(5, 2, 3))
    x, y = torch.tensor(values, requires_grad=True), taper.tensor(values, requires_grad=True)

    expected, out = theirs(x)[0], ours(y)[0]
    expected.sin().sum().backward()
    out.sin().sum().backward()

    assert out.shape == tuple(expected.shape)
    assert out.stride() == expected.stride()
    np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(y.grad.numpy(), x.grad.numpy(), rtol=1e-9, atol=1e-14)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy(), rtol=1e-9, atol=1e-14)


def test_dropout_between_layers_is_pytorchs_in_the_same_random_numbers():
    torch = pytest.importorskip("torch")
    made = []
    for lib in (torch, taper):
        lib.manual_seed(1)
        layer = lib.nn.GRU(3, 4, num_layers=3, dropout=0.5, batch_first=True)
        made.append(layer(lib.ones(2, 5, 3))[0].detach().numpy())

    np.testing.assert_allclose(made[1], made[0], rtol=1e-5, atol=1e-6)


def test_dropout_is_off_in_evaluation():
    layer = nn.LSTM(3, 4, num_layers=2, dropout=0.9).eval()
    x = taper.randn(5, 2, 3)

    assert taper.equal(layer(x)[0], layer(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_continuing_from_the_last_state_is_one_long_run(kind):
    layer = getattr(nn, kind)(3, 4, num_layers=2).double()
    x = taper.randn(6, 2, 3, dtype=taper.float64)

    whole, last = layer(x)
    first, state = layer(x[:4])
    second, again = layer(x[4:], state)

    np.testing.assert_allclose(
        taper.cat([first, second]).detach().numpy(), whole.detach().numpy(), rtol=1e-12
    )
    pairs = zip(last, again, strict=True) if kind == "LSTM" else [(last, again)]
    for one, other in pairs:
        np.testing.assert_allclose(one.detach().numpy(), other.detach().numpy(), rtol=1e-12)


def test_the_last_state_of_each_direction_is_where_it_ended():
    layer = nn.GRU(3, 4, bidirectional=True)
    out, h = layer(taper.randn(5, 2, 3))

    assert taper.equal(h[0], out[-1, :, :4])
    assert taper.equal(h[1], out[0, :, 4:])


def test_projections_narrow_the_output_and_not_the_cell():
    layer = nn.LSTM(3, 5, proj_size=2, num_layers=2, bidirectional=True)
    out, (h, c) = layer(taper.randn(4, 6, 3))

    assert out.shape == (4, 6, 4)
    assert h.shape == (4, 6, 2)
    assert c.shape == (4, 6, 5)
    assert layer.weight_hr_l1_reverse.shape == (2, 5)
    assert layer.weight_ih_l1.shape == (20, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_agree_with_differences(kind):
    taper.manual_seed(0)
    layer = getattr(nn, kind)(2, 2).double()
    x = taper.randn(3, 1, 2, dtype=taper.float64, requires_grad=True)

    assert taper.autograd.gradgradcheck(lambda x: layer(x)[0].clone(), (x,))


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_may_be_overwritten_before_backward(kind):
    layer = getattr(nn, kind)(3, 4)
    x = taper.randn(5, 2, 3)
    taper.relu(layer(x)[0]).sum().backward()
    expected = layer.weight_hh_l0.grad.clone()
    layer.zero_grad()

    taper.relu_(layer(x)[0]).sum().backward()

    assert taper.equal(layer.weight_hh_l0.grad, expected)


def test_a_weight_that_changed_before_backward_is_an_error():
    layer = nn.GRU(3, 4)
    out, _ = layer(taper.randn(5, 2, 3))
    with taper.no_grad():
        layer.weight_hh_l0.mul_(2)

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_call_gives_the_same_bits(kind):
    layer = getattr(nn, kind)(7, 9)
    x = taper.randn(5, 3, 7)
    grads = []
    for _ in range(2):
        layer.zero_grad()
        layer(x)[0].sum().backward()
        grads.append([p.grad.clone() for p in layer.parameters()])

    assert all(taper.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_without_batch_is_a_batch_of_one(kind):
    layer = getattr(nn, kind)(3, 4, batch_first=True)
    x = taper.randn(5, 3)

    out, state = layer(x)
    expected, _ = layer(x.unsqueeze(0))

    assert taper.equal(out, expected[0])
    assert (state[0] if kind == "LSTM" else state).shape == (1, 4)


@pytest.mark.parametrize("dtype", [taper.float16, taper.bfloat16])
def test_short_floats_are_summed_in_float32(dtype):
    layer = nn.GRU(64, 8)
    x = taper.randn(3, 2, 64)
    short = copy.deepcopy(layer).to(dtype)

    out, _ = short(x.to(dtype))

    assert out.dtype == dtype
    tolerance = 0.01 if dtype == taper.float16 else 0.05
    assert (out.float() - layer(x)[0]).abs().max() < tolerance


def test_a_large_gate_saturates_without_nan():
    layer = nn.GRU(1, 1)
    out, _ = layer(taper.tensor([[[1e30]], [[-1e30]]]))
    out.sum().backward()

    assert out.isfinite().all()
    assert layer.weight_hh_l0.grad.isfinite().all()


def test_an_empty_batch_goes_through():
    layer = nn.LSTM(3, 4)
    out, (h, _) = layer(taper.randn(5, 0, 3))
    out.sum().backward()

    assert out.shape == (5, 0, 4)
    assert h.shape == (1, 0, 4)
    assert not layer.weight_ih_l0.grad.any()


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "GRU(3, 4)"),
        ({"num_layers": 2, "dropout": 0.5}, "GRU(3, 4, num_layers=2, dropout=0.5)"),
        ({"bias": False, "batch_first": True}, "GRU(3, 4, bias=False, batch_first=True)"),
    ],
)
def test_repr_shows_what_is_not_the_default(config, text):
    assert repr(nn.GRU(3, 4, **config)) == text


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.GRU(3, 4)(taper.ones(5, 2, 2)), RuntimeError, "Expected 3, got 2"),
        (lambda: nn.GRU(3, 4)(taper.ones(3)), ValueError, "Expected input to be 2D or 3D, got 1D"),
        (lambda: nn.GRU(3, 4)(taper.ones(0, 2, 3)), RuntimeError, "sequence length to be larger"),
        (
            lambda: nn.GRU(3, 4)(taper.ones(5, 2, 3), taper.ones(1, 3, 4)),
            RuntimeError,
            r"Expected hidden size \(1, 2, 4\), got \[1, 3, 4\]",
        ),
        (lambda: nn.GRU(3, 4)(taper.ones(5, 2, 3).double()), ValueError, "does not match weight"),
        (lambda: nn.GRU(3, 4, proj_size=2), ValueError, "only supported for LSTM"),
        (lambda: nn.RNN(3, 4, nonlinearity="x"), ValueError, "Unknown nonlinearity 'x'"),
        (lambda: nn.LSTM(3, 4, dropout=2), ValueError, "range \\[0, 1\\]"),
        (lambda: nn.GRUCell(3, 4)(taper.ones(2, 5)), RuntimeError, "inconsistent input_size"),
        (
            lambda: nn.LSTMCell(3, 4)(taper.ones(2, 3), (taper.ones(2, 4),) * 3),
            RuntimeError,
            "expects two hidden states",
        ),
        (
            lambda: taper.gru(taper.ones(1, 1, 3), taper.ones(1, 1, 4), [], True, 1, 0, 0, 0, 0),
            RuntimeError,
            "Expected more weights",
        ),
        (lambda: taper.gru(1, 2), TypeError, "invalid combination of arguments"),
    ],
)
def test_mistakes_are_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_dropout_with_one_layer_is_warned_of():
    with pytest.warns(UserWarning, match="expects num_layers greater than 1"):
        nn.GRU(3, 4, dropout=0.5)


def test_a_replaced_weight_is_used():
    layer = nn.GRU(3, 4)
    layer.weight_ih_l0 = nn.Parameter(taper.zeros(12, 3))
    x = taper.randn(5, 2, 3)

    assert taper.equal(layer(x)[0], layer(x + 1)[0])
    assert layer.all_weights[0][0] is layer.weight_ih_l0
