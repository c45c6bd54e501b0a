"""Pruning: which elements go, what the module holds then, and how methods combine."""

from __future__ import annotations

import pytest

import taper as torch
from taper import nn
from taper.nn.utils import prune


def layer(rows=((1.0, -2.0, 3.0), (-4.0, 5.0, -6.0))):
    made = nn.Linear(len(rows[0]), len(rows))
    with torch.no_grad():
        made.weight.copy_(torch.tensor(rows))
    return made


def test_l1_unstructured_prunes_the_smallest():
    module = prune.l1_unstructured(layer(), "weight", amount=2)

    assert module.weight.tolist() == [[0, 0, 3], [-4, 5, -6]]
    assert sorted(module.state_dict()) == ["bias", "weight_mask", "weight_orig"]
    assert isinstance(module.weight_orig, nn.Parameter)


def test_an_amount_below_one_is_a_share():
    module = prune.l1_unstructured(layer(), "weight", amount=0.5)

    assert int(module.weight_mask.sum()) == 3


def test_ln_structured_prunes_whole_slices():
    module = prune.ln_structured(layer(), "weight", amount=1, n=2, dim=0)

    assert module.weight_mask.tolist() == [[0, 0, 0], [1, 1, 1]]
    module = prune.ln_structured(layer(), "weight", amount=1, n=1, dim=-1)
    assert module.weight_mask.tolist() == [[0, 1, 1], [0, 1, 1]]


def test_random_methods_prune_the_given_number():
    torch.manual_seed(0)

    assert int(prune.random_unstructured(layer(), "weight", 4).weight_mask.sum()) == 2
    columns = prune.random_structured(layer(), "weight", 2, dim=1).weight_mask.sum(0).tolist()
    assert sorted(columns) == [0, 0, 2]


def test_scores_rank_in_the_place_of_the_values():
    scores = torch.tensor([[9.0, 9.0, 9.0], [9.0, 9.0, 0.0]])

    module = prune.l1_unstructured(layer(), "weight", 1, importance_scores=scores)

    assert module.weight.tolist() == [[1, -2, 3], [-4, 5, 0]]


def test_pruning_again_prunes_of_what_is_left():
    module = layer()
    prune.l1_unstructured(module, "weight", amount=2)

    prune.ln_structured(module, "weight", amount=1, n=2, dim=1)

    (hook,) = module._forward_pre_hooks.values()
    assert isinstance(hook, prune.PruningContainer) and len(hook) == 2
    assert module.weight.tolist() == [[0, 0, 3], [0, 5, -6]]


def test_the_mask_is_applied_before_every_forward_and_stops_the_gradient():
    module = prune.l1_unstructured(layer(), "weight", amount=2)
    with torch.no_grad():
        module.weight_orig.fill_(1)

    y = module(torch.ones(1, 3))
    y.sum().backward()

    assert (y - module.bias).tolist() == [pytest.approx([1, 3])]
    assert module.weight_orig.grad.tolist() == [[0, 0, 1], [1, 1, 1]]


def test_removing_leaves_the_zeros_in_an_ordinary_parameter():
    module = prune.l1_unstructured(layer(), "weight", amount=2)
    assert prune.is_pruned(nn.Sequential(module))

    prune.remove(module, "weight")

    assert isinstance(module.weight, nn.Parameter)
    assert module.weight.tolist() == [[0, 0, 3], [-4, 5, -6]]
    assert sorted(module.state_dict()) == ["bias", "weight"]
    assert not prune.is_pruned(module)


def test_global_pruning_compares_across_parameters():
    one, other = layer(((1.0, 10.0),)), layer(((2.0, 20.0),))

    prune.global_unstructured(
        [(one, "weight"), (other, "weight")], prune.L1Unstructured, amount=0.5
    )

    assert one.weight.tolist() == [[0, 10]] and other.weight.tolist() == [[0, 20]]


def test_a_mask_can_be_given_and_an_identity_prunes_nothing():
    module = layer()

    prune.custom_from_mask(module, "weight", torch.tensor([[1, 0, 1], [0, 1, 1]]))
    prune.identity(module, "bias")

    assert module.weight.tolist() == [[1, 0, 3], [0, 5, -6]]
    assert module.bias_mask.tolist() == [1, 1]


def test_a_method_prunes_a_tensor_outside_of_modules():
    assert prune.L1Unstructured(2).prune(torch.arange(4.0)).tolist() == [0, 0, 2, 3]


def test_a_failed_pruning_leaves_the_module_as_it_was():
    module = layer()

    with pytest.raises(ValueError, match="smaller than the number of parameters"):
        prune.l1_unstructured(module, "weight", amount=100)

    assert sorted(module.state_dict()) == ["bias", "weight"]


def test_mistakes_are_told_in_pytorchs_words():
    with pytest.raises(TypeError, match="Invalid type for amount"):
        prune.l1_unstructured(layer(), "weight", amount="all")
    with pytest.raises(ValueError, match=r"float in the range \[0, 1\]"):
        prune.l1_unstructured(layer(), "weight", amount=1.5)
    with pytest.raises(ValueError, match="only be applied to multidimensional"):
        prune.ln_structured(layer(), "bias", 1, 2, 0)
    with pytest.raises(ValueError, match="has to be pruned before"):
        prune.remove(layer(), "weight")
    with pytest.raises(TypeError, match='Only "unstructured" PRUNING_TYPE'):
        prune.global_unstructured([(layer(), "weight")], prune.LnStructured, amount=1, n=2)
    with pytest.raises(AssertionError, match="importance_scores should have the same shape"):
        prune.l1_unstructured(layer(), "weight", 1, torch.ones(7))
