"""Fused batch norms, calls with other parameters, skipped initial values, memory formats."""

from __future__ import annotations

import numpy as np
import pytest

import taper as torch
from taper import nn
from taper.nn import utils
from taper.nn.utils import stateless

call = torch.func.functional_call


def norm(kind, features):
    made = kind(features)
    with torch.no_grad():
        made.running_mean.normal_()
        made.running_var.uniform_(0.5, 2)
        made.weight.normal_()
        made.bias.normal_()
    return made.eval()


def same(one, other):
    np.testing.assert_allclose(one.tolist(), other.tolist(), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- fusing


@pytest.mark.parametrize("bias", [True, False])
def test_a_fused_convolution_does_what_both_layers_do(bias):
    x = torch.randn(2, 2, 4, 4)
    bn = norm(nn.BatchNorm2d, 3)
    plain = nn.Conv2d(2, 3, 2, bias=bias).eval()
    transposed = nn.ConvTranspose2d(2, 3, 2, bias=bias).eval()

    same(utils.fuse_conv_bn_eval(plain, bn)(x), bn(plain(x)))
    same(utils.fuse_conv_bn_eval(transposed, bn, transpose=True)(x), bn(transposed(x)))


def test_a_fused_linear_layer_does_what_both_layers_do():
    x = torch.randn(5, 4)
    linear, bn = nn.Linear(4, 3).eval(), norm(nn.BatchNorm1d, 3)

    same(utils.fuse_linear_bn_eval(linear, bn)(x), bn(linear(x)))


def test_fusing_is_for_evaluation_and_sizes_that_fit():
    bn = norm(nn.BatchNorm1d, 3)

    with pytest.raises(AssertionError, match="Fusion only for eval"):
        utils.fuse_linear_bn_eval(nn.Linear(3, 3), bn)
    with pytest.raises(AssertionError, match=r"To fuse, linear\.out_features"):
        utils.fuse_linear_bn_eval(nn.Linear(3, 4).eval(), bn)


# ---------------------------------------------------------------- other parameters


def test_a_functional_call_uses_the_given_parameters_and_restores_the_own():
    layer = nn.Linear(2, 1)
    own = layer.weight
    given = {"weight": torch.ones(1, 2, requires_grad=True), "bias": torch.zeros(1)}

    y = call(layer, given, torch.tensor([[1.0, 2.0]]))
    y.sum().backward()

    assert y.tolist() == [[3]] and layer.weight is own
    assert given["weight"].grad.tolist() == [[1, 2]] and own.grad is None


def test_buffers_that_the_module_updates_are_updated_in_the_dictionary():
    bn = nn.BatchNorm1d(2)
    given = {"running_mean": torch.zeros(2), "running_var": torch.ones(2)}

    call(bn, given, torch.randn(4, 2))

    assert given["running_mean"].abs().sum() > 0
    assert bn.running_mean.tolist() == [0, 0]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2, 2, bias=False)
        self.b = nn.Linear(2, 2, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


def test_tied_parameters_are_replaced_together_unless_told_otherwise():
    module, x = Tied(), torch.ones(1, 2)
    eye = {"a.weight": torch.eye(2)}

    assert call(module, eye, x).tolist() == [[1, 1]]
    same(call(module, eye, x, tie_weights=False), module.b(x))
    with pytest.raises(ValueError, match=r"which are tied\. Consider using tie_weights=False"):
        call(module, {"a.weight": torch.eye(2), "b.weight": torch.eye(2)}, x)


def test_strict_calls_want_exactly_the_own_names():
    layer, x = nn.Linear(2, 1), torch.ones(1, 2)

    with pytest.raises(RuntimeError, match=r"Missing key\(s\): 'bias'"):
        call(layer, {"weight": torch.ones(1, 2)}, x, strict=True)
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\): 'other'"):
        call(layer, {"other": x}, x, strict=True)


def test_a_call_that_fails_restores_the_module_too():
    layer = nn.Linear(2, 1)
    own = layer.weight

    with pytest.raises(RuntimeError):
        call(layer, {"weight": torch.ones(1, 3), "extra": torch.ones(1)}, torch.ones(1, 2))

    assert layer.weight is own and not hasattr(layer, "extra")


def test_the_stateless_name_warns():
    with pytest.warns(FutureWarning, match="torch.func.functional_call"):
        y = stateless.functional_call(nn.Linear(2, 1), {"bias": torch.zeros(1)}, torch.zeros(1, 2))

    assert y.tolist() == [[0]]


# ---------------------------------------------------------------- the rest


def test_skipping_initial_values_draws_no_random_number():
    torch.manual_seed(3)
    layer = utils.skip_init(nn.Linear, 3, 2)
    drawn = torch.rand(2).tolist()
    torch.manual_seed(3)

    assert torch.rand(2).tolist() == drawn and layer.weight.shape == (2, 3)
    with pytest.raises(RuntimeError, match="must support a 'device' arg"):
        utils.skip_init(nn.ReLU)
    with pytest.raises(RuntimeError, match="Expected a Module"):
        utils.skip_init(int)


def test_weights_of_convolutions_change_their_memory_format():
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Linear(2, 2))
    before = model[0].weight.tolist()

    returned = utils.convert_conv2d_weight_memory_format(model, torch.channels_last)

    assert returned is model
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert model[0].weight.tolist() == before


def test_every_listed_name_is_there():
    for name in utils.__all__:
        assert getattr(utils, name) is not None
    with pytest.raises(AttributeError, match=r"torch\.nn\.utils"):
        utils.nothing  # noqa: B018
