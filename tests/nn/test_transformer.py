"""MultiheadAttention and the Transformer: agreement of their roads, masks, texts, messages."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import taper as torch
from taper import nn

inf = math.inf


def close(one, other, tolerance=1e-5):
    np.testing.assert_allclose(one.tolist(), other.tolist(), rtol=tolerance, atol=tolerance)


def encoder(**options):
    options = {"d_model": 8, "nhead": 2, "dim_feedforward": 16, "batch_first": True, **options}
    torch.manual_seed(0)
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(**options), 2)


# ---------------------------------------------------------------- attention


def test_attention_with_and_without_weights_agrees():
    torch.manual_seed(0)
    layer, x = nn.MultiheadAttention(8, 2), torch.randn(5, 3, 8)
    one, weights = layer(x, x, x)
    two, none = layer(x, x, x, need_weights=False)

    close(one, two)
    assert none is None and weights.shape == (3, 5, 5)
    close(weights.sum(-1), torch.ones(3, 5))
    assert layer(x, x, x, average_attn_weights=False)[1].shape == (3, 2, 5, 5)


def test_batch_first_only_swaps_dimensions():
    torch.manual_seed(0)
    one, two = nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    two.load_state_dict(one.state_dict())
    x = torch.randn(5, 3, 8)

    close(one(x, x, x)[0], two(*[x.transpose(0, 1)] * 3)[0].transpose(0, 1))


def test_a_sequence_without_batch_is_a_batch_of_one():
    torch.manual_seed(0)
    layer, x = nn.MultiheadAttention(8, 2), torch.randn(5, 8)
    out, weights = layer(x, x, x)
    batched, _ = layer(x.unsqueeze(1), x.unsqueeze(1), x.unsqueeze(1))

    close(out, batched.squeeze(1))
    assert weights.shape == (5, 5)


def test_hidden_keys_do_not_matter():
    torch.manual_seed(0)
    layer, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(2, 4, 8)
    other = x.clone()
    other[:, 3] = 100.0
    padding = torch.tensor([[False, False, False, True]] * 2)
    query = x[:, :2]

    close(layer(query, x, x, padding)[0], layer(query, other, other, padding)[0])
    mask = torch.zeros(2, 4).masked_fill(padding, -inf)
    close(layer(query, x, x, attn_mask=mask)[0], layer(query, other, other, padding)[0])


def test_separate_sizes_biases_and_a_zero_key():
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, kdim=3, vdim=5, add_bias_kv=True, add_zero_attn=True)
    out, weights = layer(torch.randn(4, 2, 8), torch.randn(6, 2, 3), torch.randn(6, 2, 5))

    assert list(layer.state_dict()) == [
        "q_proj_weight",
        "k_proj_weight",
        "v_proj_weight",
        "in_proj_bias",
        "bias_k",
        "bias_v",
        "out_proj.weight",
        "out_proj.bias",
    ]
    assert out.shape == (4, 2, 8) and weights.shape == (2, 4, 8)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, x: m(x, x, x, attn_mask=torch.ones(2, 2).bool()), RuntimeError, "2D attn_mask"),
        (lambda m, x: m(x, x, x, is_causal=True), RuntimeError, "Need attn_mask if specifying"),
        (lambda m, x: m(x, x, x[..., :4]), AssertionError, "does not match value shape"),
        (
            lambda m, x: m(x[..., :6], x, x),
            AssertionError,
            "was expecting embedding dimension of 8",
        ),
        (lambda m, x: m(x[0], x, x), AssertionError, "For unbatched (2-D) `query`, expected"),
        (lambda m, x: m(x[0, 0], x, x), AssertionError, "but received 1-D query tensor"),
        (
            lambda m, x: m(x, x, x, attn_mask=torch.ones(3, 3).long()),
            AssertionError,
            "only bool and floating types of attn_mask are supported",
        ),
        (
            lambda m, x: nn.MultiheadAttention(8, 3),
            AssertionError,
            "must be divisible by num_heads",
        ),
        (lambda m, x: nn.MultiheadAttention(0, 3), ValueError, "must be greater than 0"),
    ],
)
def test_errors_of_attention(call, error, message):
    with pytest.raises(error) as raised:
        call(nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(2, 3, 8))

    assert message in str(raised.value)


# ---------------------------------------------------------------- layers and stacks


def test_a_layer_is_its_parts():
    torch.manual_seed(0)
    layer, x = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.randn(2, 3, 8)
    attended = layer.norm1(x + layer.self_attn(x, x, x)[0])
    fed = layer.linear2(layer.linear1(attended).relu())

    close(layer(x), layer.norm2(attended + fed))


def test_norm_first_normalizes_the_inputs_of_the_parts():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True).eval()
    x = torch.randn(2, 3, 8)
    y = layer.norm1(x)
    attended = x + layer.self_attn(y, y, y)[0]
    fed = layer.linear2(layer.linear1(layer.norm2(attended)).relu())

    close(layer(x), attended + fed)


def test_a_causal_mask_hides_what_comes_later():
    net, x = encoder().eval(), torch.randn(2, 4, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    other = x.clone()
    other[:, 2:] = 5.0

    assert mask.tolist()[1] == [0, 0, -inf, -inf]
    close(net(x, mask)[:, :2], net(other, mask)[:, :2])
    close(net(x, mask), net(x, mask, is_causal=True))


def test_padded_positions_are_zero_in_inference():
    net, x = encoder().eval(), torch.randn(2, 3, 8)
    padding = torch.tensor([[False, False, True], [False, True, True]])
    trained = net(x, src_key_padding_mask=padding)
    with torch.no_grad():
        out = net(x, src_key_padding_mask=padding)
        scattered = net(x, src_key_padding_mask=padding.flip(1))

    assert out[padding].abs().sum() == 0 and trained[padding].abs().sum() > 0
    close(out[~padding], trained[~padding])
    assert scattered[padding.flip(1)].abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"batch_first": False}, "encoder_layer.self_attn.batch_first was not True"),
        ({"norm_first": True}, "encoder_layer.norm_first was True"),
        ({"bias": False}, "encoder_layer.self_attn was passed bias=False"),
        ({"nhead": 1}, "encoder_layer.self_attn.num_heads is odd"),
        ({"activation": torch.tanh}, "encoder_layer.activation_relu_or_gelu was not True"),
    ],
)
def test_a_stack_says_why_it_will_not_skip_padding(options, reason):
    with pytest.warns(UserWarning) as caught:
        assert not encoder(**options).use_nested_tensor

    assert reason in str(caught[0].message)


def test_a_stack_has_copies_of_its_layer():
    net = encoder()
    one, two = net.layers

    assert one.linear1.weight is not two.linear1.weight
    assert torch.equal(one.linear1.weight, two.linear1.weight)
    assert len(list(net.parameters())) == 24


def test_the_whole_transformer_learns():
    torch.manual_seed(0)
    net = nn.Transformer(8, 2, 1, 1, 16, dropout=0.0, batch_first=True)
    src, tgt = torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (net(src, tgt, tgt_mask=net.generate_square_subsequent_mask(3)) - 1).pow(2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]


def test_the_transformer_checks_its_inputs():
    net = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)

    with pytest.raises(RuntimeError, match="the batch number of src and tgt must be equal"):
        net(torch.randn(2, 3, 8), torch.randn(1, 3, 8))
    with pytest.raises(RuntimeError, match="the feature number of src and tgt must be equal to"):
        net(torch.randn(2, 3, 4), torch.randn(2, 3, 8))
    with pytest.raises(RuntimeError, match="activation should be relu/gelu, not tanh"):
        nn.TransformerEncoderLayer(8, 2, activation="tanh")


def test_initial_values_and_outputs_are_those_of_pytorch():
    reference = pytest.importorskip("torch")
    torch.manual_seed(3)
    reference.manual_seed(3)
    options = (8, 2, 1, 1, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = nn.Transformer(*options).eval()
        two = reference.nn.Transformer(*options).eval()
    src, tgt = torch.randn(3, 2, 8), torch.randn(4, 2, 8)
    expected = two(reference.tensor(src.tolist()), reference.tensor(tgt.tolist()))

    for (name, a), (other, b) in zip(one.named_parameters(), two.named_parameters(), strict=True):
        assert name == other
        close(a, b, 1e-6)
    close(one(src, tgt), expected)
