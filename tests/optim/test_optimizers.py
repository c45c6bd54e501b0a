"""Optimizers: PyTorch's parameters after some steps, state dicts, groups, hooks and errors."""

from __future__ import annotations

import copy
import json
import pathlib
import pickle

import numpy as np
import pytest

import taper as torch
from golden import optimizers
from taper import optim

STORED = json.loads(pathlib.Path(optimizers.PATH).read_text(encoding="utf-8"))["parameters"]
ELEMENTWISE = [name for name in optimizers.CASES if not name.startswith(("LBFGS", "Muon"))]


def make_params(count=3, size=4):
    params = [torch.full((size,), float(i + 1), requires_grad=True) for i in range(count)]
    for p in params:
        p.grad = torch.ones(size)
    return params


@pytest.mark.parametrize("name", optimizers.CASES)
def test_the_parameters_are_those_of_pytorch(name):
    # Muon computes in bfloat16, where another order of a sum moves the last of eight bits.
    tolerance = 2e-3 if name == "Muon" else 1e-10

    assert optimizers.run(torch, name) == pytest.approx(STORED[name], rel=tolerance)


@pytest.mark.parametrize("name", optimizers.CASES)
def test_a_loaded_optimizer_goes_on_where_the_saved_one_was(name):
    params = optimizers.parameters(torch, name)
    optimizer = optimizers.make(torch, name, params)
    for _ in range(3):
        optimizers.advance(optimizer, params)
    others = [p.detach().clone().requires_grad_() for p in params]
    other = optimizers.make(torch, name, others)
    other.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    for _ in range(3):
        optimizers.advance(optimizer, params)
        optimizers.advance(other, others)

    # Loading makes ASGD's eta and NAdam's mu_product, which are float32, the parameters' float64.
    for p, q in zip(params, others, strict=True):
        np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_differentiable_step_gives_the_same(name):
    kind, options = optimizers.CASES[name]
    if kind == "Adafactor":
        pytest.skip("PyTorch's Adafactor has no differentiable step")
    results = []
    for differentiable in (False, True):
        leaves = optimizers.parameters(torch, name)
        params = [leaf.clone() for leaf in leaves] if differentiable else leaves
        optimizer = getattr(optim, kind)(params, differentiable=differentiable, **options)
        for step in range(3):
            for p in params:
                p.grad = torch.full_like(p, 0.5 - step).detach()
            optimizer.step()
        results.append([p.detach().numpy().copy() for p in params])

    for plain, recorded in zip(*results, strict=True):
        np.testing.assert_allclose(recorded, plain, rtol=1e-12)


def test_a_differentiable_step_has_a_gradient():
    lr = torch.tensor(0.1, requires_grad=True)
    start = torch.tensor([1.0, 2.0], requires_grad=True)
    p = start.clone()
    optimizer = optim.SGD([p], lr=lr, differentiable=True)
    p.grad = torch.tensor([3.0, 4.0])
    optimizer.step()

    p.sum().backward()

    assert lr.grad.item() == pytest.approx(-7.0)
    assert start.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "RAdam", "SGD"])
def test_the_gradients_of_a_differentiable_step_are_those_of_differences(kind):
    """The roots in a rule are changed afterwards, which must not spoil what they saved."""

    def stepped(start, grad):
        p = start.clone()
        optimizer = getattr(optim, kind)([p], lr=0.1, differentiable=True)
        for _ in range(2):
            p.grad = grad
            optimizer.step()
        return p

    torch.manual_seed(0)
    start, grad = (torch.rand(4, dtype=torch.float64, requires_grad=True) for _ in range(2))

    assert torch.autograd.gradcheck(stepped, (start, grad))


def test_a_step_that_an_old_checkpoint_counts_in_a_number_becomes_a_tensor():
    p = torch.ones(2, requires_grad=True)
    p.grad = torch.ones(2)
    optimizer = optim.Adam([p])
    zeros = torch.zeros(2)
    optimizer.state[p].update(step=3, exp_avg=zeros.clone(), exp_avg_sq=zeros.clone())

    optimizer.step()

    assert optimizer.state[p]["step"].item() == 4


@pytest.mark.parametrize("change", ["grad", "state", "data", "step", "group"])
def test_what_changes_between_two_steps_is_noticed(change):
    """A step keeps its plan; these are the ways in which it can become wrong."""
    results = []
    for together in (True, False):
        params = make_params()
        parts = [params] if together else [[p] for p in params]
        made = [optim.Adam(part, lr=0.1) for part in parts]
        for each in made:
            each.step()
        if change == "grad":
            params[1].grad = None
        elif change == "data":
            params[1].data = torch.full((4,), 9.0)
        elif change == "state":
            state = made[0 if together else 1].state
            state[params[1]]["exp_avg"] = torch.full((4,), 5.0)
        elif change == "step":
            made[0 if together else 1].state[params[1]]["step"].fill_(40.0)
        else:
            for each in made:
                each.param_groups[0]["lr"] = 0.7
        for each in made:
            each.step()
            each.step()
        results.append([p.detach().numpy().copy() for p in params])

    np.testing.assert_array_equal(results[0], results[1])


def test_a_replaced_state_is_used():
    params = make_params(2)
    optimizer = optim.SGD(params, lr=0.1, momentum=0.5)
    optimizer.step()

    optimizer.state[params[0]] = {"momentum_buffer": torch.full((4,), 100.0)}
    before = params[0].tolist()
    optimizer.step()

    assert params[0].tolist() == pytest.approx([x - 0.1 * 51 for x in before])


def test_a_large_parameter_is_updated_like_small_ones():
    large = torch.linspace(-1, 1, 150_000).requires_grad_()
    small = [piece.clone().detach().requires_grad_() for piece in large.detach().chunk(50)]
    large.grad = torch.linspace(0, 2, 150_000)
    for p, g in zip(small, large.grad.chunk(50), strict=True):
        p.grad = g.clone()
    one, many = optim.Adam([large], lr=0.1), optim.Adam(small, lr=0.1)
    for _ in range(3):
        one.step()
        many.step()

    np.testing.assert_array_equal(
        large.detach().numpy(), np.concatenate([p.detach().numpy() for p in small])
    )


def test_a_parameter_in_another_order_of_memory_is_updated():
    p = torch.arange(6.0).reshape(2, 3).t().requires_grad_()
    p.grad = torch.ones(3, 2)
    optim.SGD([p], lr=1.0).step()

    assert p.tolist() == [[-1.0, 2.0], [0.0, 3.0], [1.0, 4.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop", "Adagrad"])
def test_every_floating_dtype_keeps_its_dtype(kind, dtype):
    p = torch.ones(5, dtype=dtype, requires_grad=True)
    p.grad = torch.full((5,), 0.5, dtype=dtype)
    optimizer = getattr(optim, kind)([p], lr=0.25)
    optimizer.step()

    assert p.dtype is dtype
    assert (p.detach() != 1).all()
    for name, value in optimizer.state[p].items():
        assert value.dtype is (torch.float32 if name == "step" else dtype)


def test_an_empty_parameter_is_stepped_over():
    params = [torch.zeros(0, requires_grad=True), torch.ones(2, requires_grad=True)]
    for p in params:
        p.grad = torch.ones_like(p)
    optim.Adam(params, lr=0.5).step()

    assert params[1].tolist() == pytest.approx([0.5, 0.5])


def test_a_step_raises_the_version_that_saved_tensors_are_checked_by():
    w = torch.ones(2, requires_grad=True)
    loss = (w * w).sum()
    w.grad = torch.ones(2)
    optim.SGD([w], lr=0.1).step()

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_zero_grad_takes_gradients_away_or_fills_them():
    params = make_params(2)
    optimizer = optim.SGD(params, lr=0.1)
    grad = params[0].grad

    optimizer.zero_grad(set_to_none=False)
    filled = params[0].grad
    optimizer.zero_grad()

    assert filled is grad and grad.tolist() == [0.0] * 4
    assert params[0].grad is None


def test_hooks_run_around_the_step_and_can_be_removed():
    from taper.optim.optimizer import register_optimizer_step_pre_hook

    heard = []
    optimizer = optim.SGD(make_params(1), lr=0.1)
    handles = [
        register_optimizer_step_pre_hook(lambda o, a, k: heard.append("all")),
        optimizer.register_step_pre_hook(lambda o, a, k: heard.append("before")),
        optimizer.register_step_post_hook(lambda o, a, k: heard.append("after")),
    ]
    optimizer.step()
    for handle in handles:
        handle.remove()
    optimizer.step()

    assert heard == ["all", "before", "after"]


def test_a_copied_optimizer_has_its_own_state():
    params = make_params(1)
    optimizer = optim.Adam(params, lr=0.1)
    optimizer.step()
    other = copy.deepcopy(optimizer)

    optimizer.step()

    (state,) = other.state.values()
    assert state["step"].item() == 1


def test_names_of_parameters_are_kept_in_the_state_dict():
    named = [("weight", make_params(1)[0])]
    optimizer = optim.SGD(named, lr=0.1)

    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight"]


def test_the_repr_lists_the_options_of_each_group():
    text = repr(optim.SGD(make_params(1), lr=0.1))

    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0\n")
    assert "\n    lr: 0.1\n" in text


WRONG = [
    (lambda: optim.SGD([], lr=0.1), ValueError, "optimizer got an empty parameter list"),
    (lambda: optim.SGD(torch.zeros(2), lr=0.1), TypeError, "should be an iterable of Tensors"),
    (lambda: optim.SGD([3], lr=0.1), TypeError, "optimizer can only optimize Tensors"),
    (lambda: optim.SGD([{"params": {torch.zeros(1)}}], lr=1), TypeError, "ordered collections"),
    (lambda: optim.SGD([make_params(1)[0] * 2], lr=0.1), ValueError, "can't optimize a non-leaf"),
    (lambda: optim.Adam(make_params(1), lr=-1.0), ValueError, "Invalid learning rate: -1.0"),
    (lambda: optim.Adam(make_params(1), betas=(1.0, 0.9)), ValueError, "beta parameter at index 0"),
    (lambda: optim.Muon(make_params(1)), ValueError, "Muon only supports 2D parameters"),
    (lambda: optim.Adagrad(make_params(1), lr_decay=-1), ValueError, "Invalid lr_decay value: -1"),
]


@pytest.mark.parametrize(("make", "kind", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_wrong_options_are_refused(make, kind, words):
    with pytest.raises(kind, match=words):
        make()


def test_a_parameter_in_two_groups_is_refused():
    p = make_params(1)[0]

    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        optim.SGD([{"params": [p]}, {"params": [p]}], lr=0.1)


def test_a_state_dict_of_other_groups_is_refused():
    saved = optim.SGD(make_params(2), lr=0.1).state_dict()

    with pytest.raises(ValueError, match="doesn't match the size of optimizer's group"):
        optim.SGD(make_params(3), lr=0.1).load_state_dict(saved)
