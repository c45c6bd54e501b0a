"""Section 7 of the learning path: RNN, LSTM and GRU, by their formulas and by their shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import taper as torch
from taper import nn
from taper.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CELLS = ("RNN", "LSTM", "GRU")
LENGTH, BATCH, INPUT, HIDDEN = 6, 3, 4, 5


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _by_hand(cell: str, layer: Any, x: np.ndarray) -> np.ndarray:
    """The outputs of one layer, step by step, from the formulas."""
    w_i, w_h, b_i, b_h = (p.detach().numpy() for p in layer.parameters())
    hidden = np.zeros((x.shape[1], HIDDEN))
    memory = np.zeros_like(hidden)
    outputs = []
    for x_t in x:
        from_input, from_hidden = x_t @ w_i.T + b_i, hidden @ w_h.T + b_h
        if cell == "RNN":
            hidden = np.tanh(from_input + from_hidden)
        elif cell == "LSTM":
            i, f, g, o = np.split(from_input + from_hidden, 4, axis=1)
            memory = _sigmoid(f) * memory + _sigmoid(i) * np.tanh(g)
            hidden = _sigmoid(o) * np.tanh(memory)
        else:
            (r, z, n), (r_h, z_h, n_h) = (
                np.split(part, 3, axis=1) for part in (from_input, from_hidden)
            )
            reset, update = _sigmoid(r + r_h), _sigmoid(z + z_h)
            hidden = (1 - update) * np.tanh(n + reset * n_h) + update * hidden
        outputs.append(hidden)
    return np.stack(outputs)


def _state(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize("cell", CELLS)
def test_a_recurrent_layer_follows_its_formula(cell: str):
    torch.manual_seed(0)
    layer = getattr(nn, cell)(INPUT, HIDDEN, dtype=torch.float64)
    x = torch.randn(LENGTH, BATCH, INPUT, dtype=torch.float64)

    output, _ = layer(x)

    np.testing.assert_allclose(
        output.detach().numpy(), _by_hand(cell, layer, x.numpy()), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("cell", CELLS)
def test_the_last_output_is_the_last_state(cell: str):
    output, state = getattr(nn, cell)(INPUT, HIDDEN)(torch.randn(LENGTH, BATCH, INPUT))

    assert output.shape == (LENGTH, BATCH, HIDDEN)
    assert _state(state).shape == (1, BATCH, HIDDEN)
    assert output[-1].tolist() == _state(state)[0].tolist()


def test_only_an_lstm_has_a_second_state():
    x = torch.randn(LENGTH, BATCH, INPUT)

    output, (h_n, c_n) = nn.LSTM(INPUT, HIDDEN)(x)

    assert h_n.shape == c_n.shape == (1, BATCH, HIDDEN)
    assert h_n.tolist() != c_n.tolist()
    assert isinstance(nn.GRU(INPUT, HIDDEN)(x)[1], torch.Tensor)
    assert output.requires_grad


@pytest.mark.parametrize("cell", CELLS)
def test_batch_first_changes_the_sequences_but_not_the_states(cell: str):
    torch.manual_seed(0)
    layer = getattr(nn, cell)(INPUT, HIDDEN)
    other = getattr(nn, cell)(INPUT, HIDDEN, batch_first=True)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(LENGTH, BATCH, INPUT)

    output, state = layer(x)
    turned, same = other(x.transpose(0, 1))

    assert turned.shape == (BATCH, LENGTH, HIDDEN)
    np.testing.assert_allclose(
        turned.transpose(0, 1).detach().numpy(), output.detach().numpy(), rtol=1e-6
    )
    assert _state(same).shape == _state(state).shape


@pytest.mark.parametrize("cell", CELLS)
def test_layers_and_directions_multiply_the_states(cell: str):
    layer = getattr(nn, cell)(INPUT, HIDDEN, num_layers=2, bidirectional=True, dropout=0.5)

    output, state = layer(torch.randn(LENGTH, BATCH, INPUT))

    assert output.shape == (LENGTH, BATCH, 2 * HIDDEN)
    assert _state(state).shape == (4, BATCH, HIDDEN)


@pytest.mark.parametrize("cell", CELLS)
def test_a_single_sequence_needs_no_batch(cell: str):
    output, state = getattr(nn, cell)(INPUT, HIDDEN)(torch.randn(LENGTH, INPUT))

    assert output.shape == (LENGTH, HIDDEN)
    assert _state(state).shape == (1, HIDDEN)


def test_an_lstm_can_project_its_output():
    layer = nn.LSTM(INPUT, HIDDEN, proj_size=2)

    output, (h_n, c_n) = layer(torch.randn(LENGTH, BATCH, INPUT))

    assert output.shape == (LENGTH, BATCH, 2)
    assert h_n.shape == (1, BATCH, 2)
    assert c_n.shape == (1, BATCH, HIDDEN)


def test_the_state_starts_at_zero_unless_given():
    torch.manual_seed(0)
    layer = nn.LSTM(INPUT, HIDDEN)
    x = torch.randn(LENGTH, BATCH, INPUT)
    zeros = torch.zeros(1, BATCH, HIDDEN)

    assert layer(x)[0].tolist() == layer(x, (zeros, zeros))[0].tolist()
    assert layer(x)[0].tolist() != layer(x, (zeros + 1, zeros))[0].tolist()


@pytest.mark.parametrize("cell", CELLS)
def test_without_bias_there_are_only_two_weights(cell: str):
    assert len(list(getattr(nn, cell)(INPUT, HIDDEN, bias=False).parameters())) == 2


@pytest.mark.parametrize("cell", CELLS)
def test_a_packed_sequence_is_answered_by_a_packed_sequence(cell: str):
    torch.manual_seed(0)
    layer = getattr(nn, cell)(INPUT, HIDDEN)
    x = torch.randn(LENGTH, BATCH, INPUT)
    lengths = [6, 4, 1]

    packed, state = layer(pack_padded_sequence(x, lengths))
    output, counted = pad_packed_sequence(packed)

    assert counted.tolist() == lengths
    for number, length in enumerate(lengths):
        alone, _ = layer(x[:length, number])
        np.testing.assert_allclose(
            output[:length, number].detach().numpy(), alone.detach().numpy(), rtol=1e-5, atol=1e-6
        )
        assert _state(state)[0, number].tolist() == output[length - 1, number].tolist()


def test_gradients_flow_through_all_steps():
    torch.manual_seed(0)
    layer = nn.GRU(INPUT, HIDDEN, dtype=torch.float64)
    x = torch.randn(LENGTH, BATCH, INPUT, dtype=torch.float64, requires_grad=True)

    layer(x)[1].sum().backward()

    assert all(step.abs().sum().item() > 0 for step in x.grad)
    step = 1e-6
    with torch.no_grad():
        x[0, 0, 0] += step
        more = layer(x)[1].sum().item()
        x[0, 0, 0] -= 2 * step
        less = layer(x)[1].sum().item()
    assert (more - less) / (2 * step) == pytest.approx(x.grad[0, 0, 0].item(), rel=1e-5)
