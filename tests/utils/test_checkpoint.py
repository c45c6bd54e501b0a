"""Checkpoints: the gradients of the plain model, with less kept for them."""

from __future__ import annotations

import contextlib
import gc
import weakref

import numpy as np
import pytest

import taper as torch
from taper import nn
from taper.utils.checkpoint import (
    CheckpointError,
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
    detach_variable,
)

BOTH = pytest.mark.parametrize("use_reentrant", [False, True])


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)
    )


def gradients(run):
    """Result and all gradients of a model after `run(model, x)`."""
    model = make_model()
    x = torch.linspace(-1, 1, 12).reshape(4, 3).requires_grad_()
    torch.manual_seed(5)
    out = run(model, x)
    out.square().sum().backward()
    return [t.detach().numpy() for t in (out, x.grad, *(p.grad for p in model.parameters()))]


@BOTH
def test_the_gradients_are_those_of_the_plain_model(use_reentrant):
    plain = gradients(lambda model, x: model(x))
    saving = gradients(lambda model, x: checkpoint(model, x, use_reentrant=use_reentrant))

    for one, other in zip(plain, saving, strict=True):
        np.testing.assert_array_equal(one, other)


@BOTH
@pytest.mark.parametrize("segments", [1, 2, 3, 6])
def test_a_sequence_in_segments_has_the_same_gradients(segments, use_reentrant):
    plain = gradients(lambda model, x: model(x))
    saving = gradients(
        lambda model, x: checkpoint_sequential(model, segments, x, use_reentrant=use_reentrant)
    )

    for one, other in zip(plain, saving, strict=True):
        np.testing.assert_array_equal(one, other)


def test_intermediate_results_are_not_kept():
    kept = []

    def function(x):
        inner = x.exp()
        kept.append(weakref.ref(inner))
        return inner.sin()

    x = torch.ones(3, requires_grad=True)
    out = checkpoint(function, x, use_reentrant=False)
    gc.collect()

    assert kept[0]() is None
    out.sum().backward()
    assert x.grad[0].item() == pytest.approx(np.cos(np.e) * np.e)


def test_parameters_alone_are_enough_without_reentering():
    layer = nn.Linear(2, 2)

    checkpoint(layer, torch.ones(1, 2), use_reentrant=False).sum().backward()

    assert layer.weight.grad.tolist() == [[1, 1], [1, 1]]


def test_reentering_needs_an_input_that_requires_grad():
    layer = nn.Linear(2, 2)

    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        out = checkpoint(layer, torch.ones(1, 2), use_reentrant=True)

    assert not out.requires_grad


def test_what_the_function_sees_from_outside_gets_its_gradient():
    x = torch.tensor([2.0], requires_grad=True)
    outside = x * 3

    checkpoint(lambda y: y * outside, torch.tensor([5.0]), use_reentrant=False).backward()

    assert x.grad.item() == 15


def test_structures_and_keyword_arguments_pass_through():
    x = torch.tensor([2.0], requires_grad=True)

    def function(pair, scale):
        first, second = pair
        return {"sum": (first + second) * scale, "text": "same", "list": [first * 2, 3]}

    out = checkpoint(function, (x, x * x), scale=10.0, use_reentrant=False)
    (out["sum"] + out["list"][0]).backward()

    assert out["text"] == "same" and out["list"][1] == 3
    assert x.grad.item() == 10 * (1 + 4) + 2


def test_grad_works_through_a_checkpoint():
    w = torch.tensor(3.0, requires_grad=True)
    x = torch.tensor(2.0, requires_grad=True)

    out = checkpoint(lambda v: (v * w).exp(), x, use_reentrant=False)
    found = torch.autograd.grad(out, [x, w])

    assert [g.item() for g in found] == pytest.approx([3 * np.exp(6), 2 * np.exp(6)], rel=1e-6)
    assert w.grad is None


def test_second_derivatives_go_through_a_checkpoint():
    x = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)

    out = checkpoint(torch.sin, x * x, use_reentrant=False)
    (first,) = torch.autograd.grad(out, x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)

    assert first.item() == pytest.approx(2 * 0.5 * np.cos(0.25))
    assert second.item() == pytest.approx(2 * np.cos(0.25) - 4 * 0.25 * np.sin(0.25))


def test_checkpoints_within_checkpoints():
    x = torch.tensor(0.5, requires_grad=True)

    def outer(y):
        return checkpoint(torch.exp, y * 2, use_reentrant=False) * y

    checkpoint(outer, x, use_reentrant=False).backward()

    assert x.grad.item() == pytest.approx(np.e * (1 + 2 * 0.5))


def test_hooks_run_once():
    heard = []
    w = torch.tensor(3.0, requires_grad=True)
    x = torch.tensor(2.0, requires_grad=True)
    inner = x * 1
    w.register_hook(lambda grad: heard.append("leaf"))
    inner.register_hook(lambda grad: grad * 10)

    checkpoint(lambda v: v * w, inner, use_reentrant=False).backward()

    assert heard == ["leaf"]
    assert x.grad.item() == 30


def test_a_second_pass_needs_the_graph():
    x = torch.tensor(2.0, requires_grad=True)
    out = checkpoint(torch.square, x, use_reentrant=False)
    out.backward(retain_graph=True)
    out.backward()

    assert x.grad.item() == 8
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        out.backward()


@pytest.mark.parametrize("preserve", [True, False])
def test_random_numbers_are_those_of_the_first_run(preserve):
    x = torch.ones(1000, requires_grad=True)
    torch.manual_seed(1)
    out = checkpoint(nn.functional.dropout, x, use_reentrant=False, preserve_rng_state=preserve)
    before = torch.get_rng_state()
    out.sum().backward()

    assert torch.equal(x.grad, out.detach()) is preserve
    assert torch.equal(torch.get_rng_state(), before) is preserve


def test_without_gradients_nothing_is_recorded():
    x = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        assert not checkpoint(torch.exp, x, use_reentrant=False).requires_grad


def test_another_computation_the_second_time_is_an_error():
    runs = []

    def function(x):
        runs.append(1)
        return x.exp() if len(runs) == 1 else x.exp().sin()

    x = torch.ones(2, requires_grad=True)

    with pytest.raises(CheckpointError, match="A different number of tensors was saved"):
        checkpoint(function, x, use_reentrant=False).sum().backward()
    runs.clear()
    with pytest.raises(CheckpointError, match="Ops again: ExpBackward0 SinBackward0"):
        checkpoint(function, x, use_reentrant=False, debug=True).sum().backward()
    runs.clear()
    checkpoint(function, x, use_reentrant=False, determinism_check="none").sum().backward()


def test_each_run_has_its_context():
    entered = []

    @contextlib.contextmanager
    def named(name):
        entered.append(name)
        yield

    x = torch.ones(1, requires_grad=True)
    out = checkpoint(
        torch.exp, x, use_reentrant=False, context_fn=lambda: (named("first"), named("again"))
    )
    out.backward()

    assert entered == ["first", "again"]


WRONG = [
    (
        lambda x: checkpoint(torch.exp, x, use_reentrant=True, a=1),
        "Unexpected keyword arguments: a",
    ),
    (lambda x: checkpoint(torch.exp, x, use_reentrant=True, debug=True), "only supported when"),
    (
        lambda x: checkpoint(torch.exp, x, use_reentrant=False, determinism_check="x"),
        "determinism_check should be one of",
    ),
    (lambda x: checkpoint_sequential([], 1, x, False, b=1), "Unexpected keyword arguments: b"),
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_options_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call(torch.ones(1, requires_grad=True))


def test_the_kind_has_to_be_chosen():
    with pytest.warns(UserWarning, match="use_reentrant parameter should be passed explicitly"):
        checkpoint(torch.exp, torch.ones(1, requires_grad=True))


def test_selective_checkpoints_say_what_works_instead():
    with pytest.raises(NotImplementedError, match="checkpoint a smaller part"):
        create_selective_checkpoint_contexts([])


def test_detached_inputs_require_grad_as_before():
    x = torch.ones(1, requires_grad=True) * 2

    detached, number = detach_variable((x, 3))

    assert detached.is_leaf and detached.requires_grad and number == 3
