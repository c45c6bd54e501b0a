"""nn.functional's assembly, and attention."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

import taper as torch
import taper.nn.functional as F
from taper import nn
from taper.nn.attention import SDPBackend, sdpa_kernel

inf = math.inf


def close(one, other, tolerance=1e-5):
    np.testing.assert_allclose(one.tolist(), other.tolist(), rtol=tolerance, atol=tolerance)


def three(*lead, queries=3, keys=5, size=4, out=2, dtype=torch.float64):
    torch.manual_seed(0)
    return (
        torch.randn(*lead, queries, size, dtype=dtype, requires_grad=True),
        torch.randn(*lead, keys, size, dtype=dtype, requires_grad=True),
        torch.randn(*lead, keys, out, dtype=dtype, requires_grad=True),
    )


def plainly(q, k, v, mask=None, scale=None):
    """Attention step by step."""
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = scores + mask
    return scores.softmax(-1) @ v


# ---------------------------------------------------------------- the namespace


def test_functions_know_their_public_name():
    assert F.relu.__name__ == "relu" and F.softmax.__name__ == "softmax"
    assert pickle.loads(pickle.dumps(F.relu)) is F.relu


def test_functions_of_layers_are_there():
    for name in "linear conv2d relu max_pool2d cross_entropy pad embedding interpolate".split():  # noqa: SIM905
        assert callable(getattr(F, name)), name
    assert "relu" in dir(F) and "softmax" in dir(nn.functional)


# ---------------------------------------------------------------- attention as an op


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_attention_agrees_with_its_definition(lead):
    one, two = three(*lead), three(*lead)
    F.scaled_dot_product_attention(*one).pow(2).sum().backward()
    plainly(*two).pow(2).sum().backward()

    close(F.scaled_dot_product_attention(*one), plainly(*two), 1e-12)
    for a, b in zip(one, two, strict=True):
        close(a.grad, b.grad, 1e-12)


def test_causal_attention_sees_no_later_key():
    q, k, v = three(1, 2, queries=4, keys=4)
    mask = torch.full((4, 4), -inf, dtype=torch.float64).triu(1)

    close(F.scaled_dot_product_attention(q, k, v, is_causal=True), plainly(q, k, v, mask), 1e-12)
    close(F.scaled_dot_product_attention(q, k, v, mask == 0), plainly(q, k, v, mask), 1e-12)


def test_a_mask_may_be_learned():
    mask = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    q, k, v = three(2, 2)
    F.scaled_dot_product_attention(q, k, v, mask).pow(2).sum().backward()
    learned = mask.grad
    mask.grad = None
    plainly(q, k, v, mask).pow(2).sum().backward()

    close(learned, mask.grad, 1e-12)


def test_second_derivatives_of_attention():
    q, k, v = three(1, 2)

    def twice(function):
        (first,) = torch.autograd.grad(function(q, k, v).pow(3).sum(), k, create_graph=True)
        return torch.autograd.grad(first.pow(2).sum(), (q, k, v))

    for a, b in zip(twice(F.scaled_dot_product_attention), twice(plainly), strict=True):
        close(a, b, 1e-9)


def test_a_query_that_sees_nothing_gets_zeros():
    q, k, v = three(1, 1)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1] = False
    out = F.scaled_dot_product_attention(q, k, v, mask)
    out.sum().backward()

    assert out[0, 0, 1].tolist() == [0, 0]
    assert q.grad[0, 0, 1].tolist() == [0] * 4 and k.grad.isfinite().all()


def test_scale_replaces_the_usual_one():
    q, k, v = three(2)

    close(F.scaled_dot_product_attention(q, k, v, scale=2.0), plainly(q, k, v, scale=2.0), 1e-12)


def test_heads_of_the_query_may_share_keys():
    q, k, v = three(1, 2, queries=3)
    wide = torch.cat([q, q + 1], 1)
    expected = plainly(wide, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1))

    close(F.scaled_dot_product_attention(wide, k, v, enable_gqa=True), expected, 1e-12)
    with pytest.raises(RuntimeError, match="must divide the number of heads"):
        F.scaled_dot_product_attention(torch.cat([wide, q[:, :1]], 1), k, v, enable_gqa=True)


def test_dropout_drops_weights():
    q, k, v = three(1, 1, out=1)
    out = F.scaled_dot_product_attention(q, k, torch.ones_like(v), dropout_p=0.5)

    assert out.std() > 0
    assert F.scaled_dot_product_attention(q, k, v, dropout_p=1.0).tolist() == [[[[0.0]] * 3]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_summed_in_float32(dtype):
    q, k, v = three(1, 2, dtype=torch.float32)
    half = [x.detach().to(dtype).requires_grad_() for x in (q, k, v)]
    out = F.scaled_dot_product_attention(*half)
    out.sum().backward()

    assert out.dtype is half[0].grad.dtype is dtype
    close(out.float(), plainly(*(x.float() for x in half)), 2 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, k, v: (q, k.float(), v), "to have the same dtype, but got query.dtype: double"),
        (lambda q, k, v: (q[0, 0], k, v), "to all be  at least 2 dimensional"),
        (lambda q, k, v: (q, k, v, torch.zeros(3, 5).long()), "Expected attn_mask dtype to be"),
        (lambda q, k, v: (q, k, v, torch.zeros(3, 5), 0.0, True), "Explicit attn_mask should not"),
        (lambda q, k, v: (q, k[..., :2], v), "Expected size for first two dimensions of batch2"),
        (lambda q, k, v: (q, k, v, None, 2.0), "has to be between 0 and 1, but got 2"),
    ],
)
def test_errors_of_attention(change, message):
    with pytest.raises(RuntimeError) as error:
        F.scaled_dot_product_attention(*change(*three(2)))

    assert message in str(error.value)


def test_the_choice_of_a_kernel_changes_nothing():
    q, k, v = three(1, 1)
    with sdpa_kernel(SDPBackend.MATH):
        close(F.scaled_dot_product_attention(q, k, v), plainly(q, k, v), 1e-12)
    with pytest.raises(AssertionError, match="Backend must be an instance of SDPBackend"):
        sdpa_kernel(3).__enter__()


# ---------------------------------------------------------------- linear_cross_entropy


def test_linear_cross_entropy_is_a_layer_and_its_loss():
    x, weight = torch.randn(4, 3), torch.randn(5, 3)
    target = torch.tensor([1, 2, 0, 4])

    close(F.linear_cross_entropy(x, weight, target), F.cross_entropy(F.linear(x, weight), target))


def test_gradients_of_convolutions_as_functions():
    from taper.nn import grad

    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    weight = torch.randn(6, 2, 3, 3, requires_grad=True)
    out = F.conv2d(x, weight, stride=2, groups=2)
    arriving = torch.randn(out.shape)
    out.backward(arriving)

    close(grad.conv2d_input(x.shape, weight, arriving, stride=2, groups=2), x.grad)
    close(grad.conv2d_weight(x, weight.shape, arriving, stride=2, groups=2), weight.grad, 1e-4)


def test_what_circular_padding_cuts_off_does_not_come_back():
    x = torch.arange(4.0).reshape(1, 1, 4)

    assert F.pad(x, (-1, 1), "circular").tolist() == [[[1, 2, 3, 1]]]
    assert F.pad(x, (2, -1), "circular").tolist() == [[[1, 2, 0, 1, 2]]]
