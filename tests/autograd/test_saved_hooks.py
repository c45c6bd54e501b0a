"""Saved-tensor hooks: every saved tensor passes through them, once, and gradients follow."""

from __future__ import annotations

import pytest

import taper as torch
from taper.autograd.graph import disable_saved_tensors_hooks, save_on_cpu, saved_tensors_hooks
from taper.testing import assert_close


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.LayerNorm(4), torch.nn.Linear(4, 1)
    )


def test_hooks_that_change_nothing_change_nothing():
    model, x = network(), torch.rand(5, 3)
    model(x).sum().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    packed, unpacked = [], []

    def pack(tensor):
        packed.append(tensor)
        return len(packed) - 1

    def unpack(number):
        unpacked.append(number)
        return packed[number]

    with saved_tensors_hooks(pack, unpack):
        result = model(x).sum()
    assert packed and not unpacked
    result.backward()

    assert unpacked
    for parameter, grad in zip(model.parameters(), expected, strict=True):
        assert_close(parameter.grad, grad, rtol=0, atol=0)


def test_the_derivative_sees_what_unpack_gives():
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    with saved_tensors_hooks(lambda t: t * 10, lambda t: t):
        y = x * x

    y.sum().backward()

    assert x.grad.tolist() == [40, 60]


def test_outputs_that_are_saved_pass_too():
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    with saved_tensors_hooks(lambda t: t * 2, lambda t: t):
        y = x.exp()

    y.sum().backward()

    assert_close(x.grad, 2 * torch.tensor([0.0, 1.0]).exp())


def test_second_derivatives_lead_to_the_leaf():
    x = torch.tensor(3.0, requires_grad=True)
    with saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        y = (x * x) * x

        (slope,) = torch.autograd.grad(y, x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, x)

    assert slope.item() == 27 and curvature.item() == 18


def test_a_users_function_saves_through_them():
    seen = []

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad * 3 * x**2

    x = torch.tensor(2.0, requires_grad=True)
    with saved_tensors_hooks(lambda t: seen.append(t.item()) or t.item(), torch.tensor):
        y = Cube.apply(x)

    y.backward()

    assert seen == [2.0] and x.grad.item() == 12


def test_contexts_nest_and_end():
    x = torch.ones(2, requires_grad=True)
    calls = []
    with saved_tensors_hooks(lambda t: calls.append("outer") or t, lambda t: t):
        with saved_tensors_hooks(lambda t: calls.append("inner") or t, lambda t: t):
            x * x
        x * x
    x * x

    assert calls == ["inner", "inner", "outer", "outer"]


def test_a_hook_that_writes_into_its_tensor_is_told():
    x = torch.ones(2, requires_grad=True)
    with saved_tensors_hooks(lambda t: t.add_(1), lambda t: t):
        with pytest.raises(RuntimeError, match="modifying its input in place"):
            x.exp().sin()


def test_unpack_must_give_a_tensor():
    x = torch.ones(2, requires_grad=True)
    with saved_tensors_hooks(lambda t: 1, lambda t: t):
        y = x * x
    with pytest.raises(TypeError, match="expected to be a Tensor but got result of type int"):
        y.sum().backward()


def test_hooks_can_be_disabled_and_saving_on_the_cpu_is_a_copy():
    with disable_saved_tensors_hooks("not here"), pytest.raises(RuntimeError, match="not here"):
        with saved_tensors_hooks(lambda t: t, lambda t: t):
            pass
    x = torch.ones(2, requires_grad=True)
    y = x.clone()
    with save_on_cpu():
        z = y * y
    with torch.no_grad():
        y.zero_()

    z.sum().backward()

    assert x.grad.tolist() == [2, 2]
