"""Parametrizations, weight and spectral norm (both kinds), orthogonal matrices."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import taper as torch
from taper import nn
from taper.nn import utils
from taper.nn.utils import parametrizations, parametrize


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).transpose(-1, -2)

    def right_inverse(self, x):
        return x.triu()


class Double(nn.Module):
    def forward(self, x):
        return x * 2


class Sum(nn.Module):
    """Starts from two tensors."""

    def forward(self, x, y):
        return x + y

    def right_inverse(self, x):
        return x / 2, x / 2


def close(tensor, expected):
    np.testing.assert_allclose(tensor.tolist(), expected, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- the mechanism


def test_a_parametrized_weight_is_computed_when_read_and_inverted_when_set():
    layer = nn.Linear(2, 2)
    original = layer.weight

    parametrize.register_parametrization(layer, "weight", Symmetric())
    layer.weight = torch.tensor([[1.0, 2.0], [5.0, 3.0]])

    assert layer.weight.tolist() == [[1, 2], [2, 3]]
    assert layer.parametrizations.weight.original is original
    assert sorted(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert type(layer).__name__ == "ParametrizedLinear" and isinstance(layer, nn.Linear)
    assert parametrize.type_before_parametrizations(layer) is nn.Linear
    assert parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias")


def test_the_gradient_arrives_at_the_original():
    layer = nn.Linear(2, 2)
    parametrize.register_parametrization(layer, "weight", Symmetric())

    layer(torch.tensor([[1.0, 2.0]])).sum().backward()

    assert layer.parametrizations.weight.original.grad.tolist() == [[1, 3], [0, 2]]


def test_parametrizations_of_one_tensor_are_applied_in_turn():
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.fill_(1)
    for _ in range(2):
        parametrize.register_parametrization(layer, "weight", Double())

    assert layer.weight.tolist() == [[4, 4], [4, 4]]
    assert len(layer.parametrizations.weight) == 2


def test_cached_computes_once_while_open():
    layer = nn.Linear(2, 2)
    parametrize.register_parametrization(layer, "weight", Double())

    with parametrize.cached():
        with parametrize.cached():
            first = layer.weight
        assert layer.weight is first

    assert layer.weight is not layer.weight


def test_removing_keeps_the_value_and_the_parameter_object():
    layer = nn.Linear(2, 2)
    original = layer.weight
    before = original.detach().clone()
    parametrize.register_parametrization(layer, "weight", Double())

    parametrize.remove_parametrizations(layer, "weight")

    assert layer.weight is original and type(layer) is nn.Linear
    assert layer.weight.tolist() == (before * 2).tolist()
    assert not hasattr(layer, "parametrizations")


def test_removing_can_go_back_to_the_original():
    layer = nn.Linear(2, 2)
    before = layer.weight.tolist()
    parametrize.register_parametrization(layer, "weight", Double())

    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)

    assert layer.weight.tolist() == before


def test_a_weight_may_start_from_several_tensors():
    layer = nn.Linear(2, 2)
    before = layer.weight.tolist()

    parametrize.register_parametrization(layer, "weight", Sum())

    close(layer.weight, before)
    assert isinstance(layer.parametrizations.weight.original1, nn.Parameter)
    with pytest.raises(ValueError, match="in terms of a sequence of tensors"):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    parametrize.remove_parametrizations(layer, "weight")
    close(layer.weight, before)


def test_a_buffer_can_be_parametrized():
    layer = nn.BatchNorm1d(2)

    parametrize.register_parametrization(layer, "running_var", Double())

    assert layer.running_var.tolist() == [2, 2]
    assert "parametrizations.running_var.original" in dict(layer.named_buffers())


def test_a_copy_has_parameters_of_its_own_and_pickling_is_refused():
    layer = nn.Linear(2, 2)
    parametrize.register_parametrization(layer, "weight", Double())

    copied = copy.deepcopy(layer)
    with torch.no_grad():
        copied.parametrizations.weight.original.zero_()

    assert copied.weight.tolist() == [[0, 0], [0, 0]]
    assert layer.weight.abs().sum() > 0
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        pickle.dumps(layer)


def test_parametrizations_can_be_handed_to_another_module():
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    parametrize.register_parametrization(one, "weight", Double())

    parametrize.transfer_parametrizations_and_params(one, other)

    assert other.weight.tolist() == one.weight.tolist()


class Cut(nn.Module):
    def forward(self, x):
        return x[:1]


class Widen(nn.Module):
    def forward(self, x):
        return x.double()


def test_mistakes_are_told_in_pytorchs_words():
    layer = nn.Linear(2, 2)
    register = parametrize.register_parametrization

    with pytest.raises(ValueError, match="may not change the shape"):
        register(layer, "weight", Cut())
    with pytest.raises(ValueError, match="may not change the dtype"):
        register(layer, "weight", Widen())
    with pytest.raises(ValueError, match="does not have a parameter, a buffer"):
        register(layer, "nothing", Double())
    with pytest.raises(ValueError, match="does not have a parametrization on weight"):
        parametrize.remove_parametrizations(layer, "weight")
    register(layer, "weight", Double())
    with pytest.raises(ValueError, match="may not change the shape"):
        register(layer, "weight", Cut())
    with pytest.raises(RuntimeError, match="Double does not implement right_inverse"):
        layer.weight = torch.ones(2, 2)


def test_unsafe_leaves_the_checks_out():
    layer = nn.Linear(2, 2)

    parametrize.register_parametrization(layer, "weight", Cut(), unsafe=True)

    assert layer.weight.shape == (1, 2)


# ---------------------------------------------------------------- weight norm


@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm_keeps_the_weight_and_splits_it(dim):
    layer = nn.Linear(3, 4)
    before = layer.weight.tolist()

    parametrizations.weight_norm(layer, dim=dim)

    magnitude = layer.parametrizations.weight.original0
    assert magnitude.shape == {0: (4, 1), 1: (1, 3), None: ()}[dim]
    close(layer.weight, before)
    with torch.no_grad():
        magnitude *= 2
    close(layer.weight, (2 * np.array(before)).tolist())


def test_the_old_weight_norm_uses_a_hook_and_its_state_fits_the_new_one():
    with pytest.warns(FutureWarning, match="is deprecated in favor of"):
        old = utils.weight_norm(nn.Linear(3, 4))
    new = parametrizations.weight_norm(nn.Linear(3, 4))

    new.load_state_dict(old.state_dict())

    x = torch.randn(2, 3)
    close(new(x), old(x).tolist())
    assert sorted(old.state_dict()) == ["bias", "weight_g", "weight_v"]
    before = old(x).tolist()
    utils.remove_weight_norm(old)
    assert sorted(old.state_dict()) == ["bias", "weight"]
    close(old(x), before)
    with pytest.raises(ValueError, match="weight_norm of 'weight' not found"):
        utils.remove_weight_norm(old)


# ---------------------------------------------------------------- spectral norm


def largest(weight, dim=0):
    matrix = np.moveaxis(weight.detach().numpy(), dim, 0)
    return np.linalg.svd(matrix.reshape(len(matrix), -1), compute_uv=False)[0]


def test_spectral_norm_divides_by_the_largest_singular_value():
    torch.manual_seed(0)
    layer = parametrizations.spectral_norm(nn.Conv2d(2, 3, 2), n_power_iterations=20)
    transposed = parametrizations.spectral_norm(nn.ConvTranspose1d(2, 3, 2), n_power_iterations=20)

    assert largest(layer.weight) == pytest.approx(1, rel=1e-4)
    assert largest(transposed.weight, dim=1) == pytest.approx(1, rel=1e-4)


def test_spectral_norm_improves_its_vectors_in_training_only():
    torch.manual_seed(0)
    layer = parametrizations.spectral_norm(nn.Linear(6, 5))
    with torch.no_grad():
        layer.parametrizations.weight.original.normal_()
    vectors = layer.parametrizations.weight[0]._u
    layer.eval()
    before = vectors.tolist()

    layer(torch.ones(1, 6))
    assert vectors.tolist() == before
    layer.train()(torch.ones(1, 6))

    assert vectors.tolist() != before


def test_the_old_spectral_norm_agrees_with_the_new_one():
    torch.manual_seed(0)
    old = utils.spectral_norm(nn.Linear(4, 3), n_power_iterations=30)
    weight = old.weight_orig.detach().clone()

    old(torch.ones(1, 4))

    close(old.weight, (weight / largest(weight)).tolist())
    assert old.state_dict()._metadata[""]["spectral_norm"] == {"weight.version": 1}
    old.eval()
    again = utils.spectral_norm(nn.Linear(4, 3)).eval()
    again.load_state_dict(old.state_dict())
    x = torch.randn(2, 4)
    close(again(x), old(x).tolist())
    utils.remove_spectral_norm(old)
    close(old(x), again(x).tolist())
    assert sorted(old.state_dict()) == ["bias", "weight"]
    assert not old._state_dict_hooks and not old._load_state_dict_pre_hooks


def test_spectral_norm_can_be_differentiated_after_the_next_forward():
    """GANs run the discriminator twice before the backward; the vectors must not have changed."""
    layer = utils.spectral_norm(nn.Linear(4, 3))
    x = torch.ones(1, 4)

    (layer(x).sum() + layer(-x).sum()).backward()

    assert layer.weight_orig.grad is not None


def test_mistakes_with_spectral_norm():
    with pytest.raises(IndexError, match="Dimension out of range"):
        parametrizations.spectral_norm(nn.Linear(2, 2), dim=3)
    with pytest.raises(ValueError, match="has no parameter or buffer with name"):
        parametrizations.spectral_norm(nn.Linear(2, 2), "nothing")
    with pytest.raises(ValueError, match="Expected n_power_iterations to be positive"):
        utils.spectral_norm(nn.Linear(2, 2), n_power_iterations=0)
    layer = utils.spectral_norm(nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match="two spectral_norm hooks"):
        utils.spectral_norm(layer)


# ---------------------------------------------------------------- orthogonal matrices


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (3, 4)])
@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder"])
def test_an_orthogonal_weight_is_and_stays_orthogonal(shape, kind):
    torch.manual_seed(0)
    layer = parametrizations.orthogonal(nn.Linear(shape[1], shape[0]), orthogonal_map=kind)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    before = layer.weight.tolist()

    layer(torch.randn(5, shape[1])).square().sum().backward()
    optimizer.step()

    weight = layer.weight if shape[0] >= shape[1] else layer.weight.mT
    close(weight.mT @ weight, np.eye(3))
    assert layer.weight.tolist() != before


@pytest.mark.parametrize("kind", ["matrix_exp", "householder"])
def test_any_orthogonal_matrix_can_be_assigned(kind):
    layer = parametrizations.orthogonal(nn.Linear(3, 4), orthogonal_map=kind)
    target = torch.linalg.qr(torch.randn(4, 3))[0]

    layer.weight = target

    close(layer.weight, target.tolist())


def test_mistakes_with_orthogonal():
    with pytest.raises(ValueError, match="Expected a matrix or batch of matrices"):
        parametrizations.orthogonal(nn.Linear(2, 2), "bias")
    with pytest.raises(ValueError, match="orthogonal_map has to be one of"):
        parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map="other")
    layer = parametrizations.orthogonal(
        nn.Linear(2, 2), orthogonal_map="cayley", use_trivialization=False
    )
    with pytest.raises(NotImplementedError, match="not possible to assign"):
        layer.weight = torch.eye(2)


# ---------------------------------------------------------------- names


def test_functions_and_files_of_one_name_are_told_apart():
    from taper.nn.utils.spectral_norm import SpectralNorm
    from taper.nn.utils.weight_norm import WeightNorm

    assert callable(utils.weight_norm) and callable(utils.spectral_norm)
    assert isinstance(WeightNorm("weight", 0), object) and SpectralNorm is not None
