"""Convolutions: against sums by hand, against PyTorch, and the errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import taper
from taper import nn
from taper.backends import convolution
from taper.nn import functional as F

FUNCTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def by_hand(x, w, stride, padding, dilation, groups):
    """The sum of the definition, one output position after another."""
    rank = x.ndim - 2
    xp = np.pad(x, [(0, 0), (0, 0)] + [(padding, padding)] * rank)
    kernel = w.shape[2:]
    size = [(n - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(xp.shape[2:], kernel)]  # noqa: B905
    y = np.zeros((x.shape[0], w.shape[0], *size))
    each_in, each_out = w.shape[1], w.shape[0] // groups
    for output in range(w.shape[0]):
        first = output // each_out * each_in
        for place in np.ndindex(*size):
            window = tuple(
                slice(p * stride, p * stride + dilation * (k - 1) + 1, dilation)
                for p, k in zip(place, kernel, strict=True)
            )
            part = xp[(slice(None), slice(first, first + each_in), *window)]
            y[(slice(None), output, *place)] = (part * w[output]).reshape(len(x), -1).sum(1)
    return y


def drawn(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def forget():
    """Ways that were remembered with other limits."""
    convolution.flat.cache_clear()
    convolution._opposite.cache_clear()


SETTINGS = [
    # rank, stride, padding, dilation, groups
    *itertools.product((1, 2), (1, 2), (0, 2), (1, 2), (1, 2)),
    (3, 1, 1, 1, 1),
    (3, 2, 0, 2, 2),
]


@pytest.mark.parametrize("small", [True, False], ids=["rows", "columns"])
@pytest.mark.parametrize(("rank", "stride", "padding", "dilation", "groups"), SETTINGS)
def test_values_are_the_sums_of_the_definition(
    rank, stride, padding, dilation, groups, small, monkeypatch
):
    if not small:  # the way that large inputs with much padding take
        monkeypatch.setattr(convolution, "_SMALL", 0)
        monkeypatch.setattr(convolution, "_WASTE", 0)
    forget()
    x, w, b = drawn(3, 4, *(6, 5, 5)[:rank]), drawn(6, 4 // groups, *(3, 2, 2)[:rank]), drawn(6)
    given = [taper.tensor(a) for a in (x, w, b)]

    out = FUNCTIONS[rank](*given, stride, padding, dilation, groups)

    expected = by_hand(x, w, stride, padding, dilation, groups) + b.reshape(-1, *(1,) * rank)
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-10, atol=1e-12)
    forget()


@pytest.mark.parametrize("small", [True, False], ids=["rows", "columns"])
@pytest.mark.parametrize(("rank", "stride", "padding", "dilation", "groups"), SETTINGS)
def test_gradients_are_adjoint_to_the_values(
    rank, stride, padding, dilation, groups, small, monkeypatch
):
    """<conv(x, w), g> is linear in each of x and w, and must be the same from either gradient."""
    if not small:
        monkeypatch.setattr(convolution, "_SMALL", 0)
        monkeypatch.setattr(convolution, "_WASTE", 0)
    forget()
    x = taper.tensor(drawn(3, 4, *(6, 5, 5)[:rank]), requires_grad=True)
    w = taper.tensor(drawn(6, 4 // groups, *(3, 2, 2)[:rank]), requires_grad=True)
    b = taper.tensor(drawn(6), requires_grad=True)

    out = FUNCTIONS[rank](x, w, b, stride, padding, dilation, groups)
    g = taper.tensor(drawn(*out.shape, seed=1))
    out.backward(g)

    product = ((out - b.reshape(-1, *(1,) * rank)) * g).sum().item()
    assert (x.grad * x).sum().item() == pytest.approx(product)
    assert (w.grad * w).sum().item() == pytest.approx(product)
    axes = [0, *range(2, rank + 2)]
    np.testing.assert_allclose(b.grad.numpy(), g.sum(axes).numpy(), rtol=1e-10)
    # Only the weight, as in a first layer.
    (alone,) = taper.autograd.grad(
        FUNCTIONS[rank](x.detach(), w, None, stride, padding, dilation, groups), w, g
    )
    np.testing.assert_allclose(alone.numpy(), w.grad.numpy(), rtol=1e-10, atol=1e-12)
    forget()


@pytest.mark.parametrize(
    ("stride", "padding", "groups"), [*itertools.product((1, 2), (0, 1), (1, 2))]
)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_transposed_convolution_is_the_gradient_of_a_convolution(rank, stride, padding, groups):
    w = taper.tensor(drawn(4, 2, *(3, 2, 2)[:rank]))
    x = taper.zeros(2, 2 * groups, *(7, 6, 6)[:rank], dtype=taper.float64, requires_grad=True)
    out = FUNCTIONS[rank](x, w, None, stride, padding, 1, groups)
    g = taper.tensor(drawn(*out.shape))
    out.backward(g)

    extra = [
        n - ((o - 1) * stride - 2 * padding + k)
        for n, o, k in zip(x.shape[2:], out.shape[2:], w.shape[2:], strict=True)
    ]
    found = TRANSPOSED[rank](g, w, None, stride, padding, extra, groups)

    np.testing.assert_allclose(found.numpy(), x.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_large_batches_are_summed_over_blocks():
    x = taper.tensor(drawn(300, 3, 40), requires_grad=True)
    w = taper.tensor(drawn(5, 3, 3), requires_grad=True)
    F.conv1d(x, w).pow(2).sum().backward()
    found = w.grad.clone()
    w.grad = None

    for part in x.detach().split(1):
        F.conv1d(part, w).pow(2).sum().backward()

    np.testing.assert_allclose(found.numpy(), w.grad.numpy(), rtol=1e-10)


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_same_padding_keeps_the_size_and_puts_the_surplus_at_the_end(kernel):
    x = taper.arange(5.0).reshape(1, 1, 5)
    out = F.conv1d(x, taper.ones(1, 1, kernel), padding="same")

    expected = {2: [1, 3, 5, 7, 4], 3: [1, 3, 6, 9, 7]}[kernel]
    assert out.tolist() == [[expected]]


def test_padding_modes_pad_with_the_input_itself():
    layer = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular", bias=False)
    nn.init.ones_(layer.weight)

    assert layer(taper.tensor([[[1.0, 2, 3]]])).tolist() == [[[6, 6, 6]]]


def test_an_image_without_batch_gives_an_image():
    layer = nn.Conv2d(3, 2, 3)
    x = taper.randn(3, 5, 6)

    assert taper.equal(layer(x), layer(x.unsqueeze(0))[0])


@pytest.mark.parametrize("dtype", [taper.float16, taper.bfloat16])
def test_short_floats_are_summed_in_float32(dtype):
    x, w = taper.full((1, 64, 40), 0.1, dtype=dtype), taper.ones(1, 64, 33, dtype=dtype)

    out = F.conv1d(x, w)

    exact = 64 * 33 * x[0, 0, 0].item()
    assert out.dtype == dtype
    assert out[0, 0, 0].item() == pytest.approx(exact, rel=2**-8)


def test_nan_and_infinity_reach_only_the_windows_that_hold_them():
    x = taper.zeros(1, 1, 8)
    x[0, 0, 6] = taper.inf

    out = F.conv1d(x, taper.ones(1, 1, 2))

    assert out.isinf().tolist() == [[[False] * 5 + [True, True]]]
    assert not out.isnan().any()


def test_an_empty_batch_has_zero_gradients():
    layer = nn.Conv2d(2, 3, 2)
    out = layer(taper.zeros(0, 2, 4, 4))
    out.sum().backward()

    assert out.shape == (0, 3, 3, 3)
    assert not layer.weight.grad.any()


def test_second_derivatives_of_a_layer_agree_with_differences():
    w = taper.tensor(drawn(2, 1, 2, 2), requires_grad=True)
    x = taper.tensor(drawn(2, 1, 3, 3), requires_grad=True)

    assert taper.autograd.gradgradcheck(lambda x, w: F.conv2d(x, w, padding=1), (x, w))


@pytest.mark.parametrize("transposed", [False, True])
def test_a_layer_agrees_with_pytorch(transposed):
    torch = pytest.importorskip("torch")
    name = "ConvTranspose2d" if transposed else "Conv2d"
    config = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}
    theirs = getattr(torch.nn, name)(4, 6, (3, 2), **config).double()
    ours = getattr(nn, name)(4, 6, (3, 2), **config).double()
    ours.load_state_dict({k: taper.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    values = drawn(2, 4, 7, 6)
    x, y = torch.tensor(values, requires_grad=True), taper.tensor(values, requires_grad=True)

    expected, out = theirs(x), ours(y)
    expected.sin().sum().backward()
    out.sin().sum().backward()

    np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(y.grad.numpy(), x.grad.numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-9)
    np.testing.assert_allclose(ours.bias.grad.numpy(), theirs.bias.grad.numpy(), rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: F.conv1d(x, taper.ones(1, 3, 2)), RuntimeError, "to have 3 channels, but got 2"),
        (lambda x: F.conv1d(x, taper.ones(1, 2, 9)), RuntimeError, "can't be greater than actual"),
        (lambda x: F.conv1d(x, taper.ones(1, 2)), RuntimeError, "at least three dimensions"),
        (lambda x: F.conv1d(x[0, 0], taper.ones(1, 2, 2)), RuntimeError, "Expected 2D"),
        (lambda x: F.conv1d(x, taper.ones(1, 2, 2).double()), RuntimeError, "should be the same"),
        (lambda x: F.conv1d(x, taper.ones(1, 2, 2), groups=0), RuntimeError, "non-positive groups"),
        (lambda x: F.conv1d(x, taper.ones(1, 2, 2), stride=0), RuntimeError, "non-positive stride"),
        (lambda x: F.conv1d(x, taper.ones(1, 2, 2), padding=-1), RuntimeError, "negative padding"),
        (lambda x: F.conv1d(x, taper.ones(1, 2, 2), padding="x"), RuntimeError, "Invalid padding"),
        (
            lambda x: F.conv1d(x, taper.ones(1, 2, 2), stride=2, padding="same"),
            RuntimeError,
            "not supported for strided",
        ),
        (
            lambda x: F.conv_transpose1d(x, taper.ones(2, 1, 2), output_padding=1),
            RuntimeError,
            "output padding must be smaller",
        ),
        (lambda x: F.conv1d(x, taper.ones(2, 2, 2), taper.ones(3)), RuntimeError, "2 elements"),
    ],
)
def test_mistakes_are_named_each_time(call, error, text):
    """Twice, because what was found right is remembered and mistakes must not be."""
    for _ in range(2):
        with pytest.raises(error, match=text):
            call(taper.ones(1, 2, 4))
