"""Section 4 of the learning path: gradients of a linear regression, step by step."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest

import taper as torch


class Regression:
    """y = w x + b on two points, recorded operation by operation."""

    def __init__(self) -> None:
        self.x = torch.tensor([1.0, 2.0])
        self.y = torch.tensor([5.0, 7.0])
        self.w = torch.tensor(1.0, requires_grad=True)
        self.b = torch.tensor(0.0, requires_grad=True)
        self.wx = self.w * self.x
        self.wx_b = self.wx + self.b
        self.loss = self.wx_b - self.y
        self.loss2 = self.loss**2
        self.loss2_sum = sum(self.loss2)

    def computed(self) -> list[Any]:
        return [self.wx, self.wx_b, self.loss, self.loss2, self.loss2_sum]


def test_data_and_weights_are_leaves_without_gradient_or_function():
    r = Regression()

    for leaf in (r.x, r.y, r.w, r.b):
        assert (leaf.grad, leaf.grad_fn, leaf.is_leaf) == (None, None, True)
    assert [leaf.requires_grad for leaf in (r.x, r.y, r.w, r.b)] == [False, False, True, True]


def test_what_is_computed_is_no_leaf():
    assert [tensor.is_leaf for tensor in Regression().computed()] == [False] * 5


def test_the_gradient_of_what_is_computed_is_none_with_a_warning():
    for tensor in Regression().computed():
        with pytest.warns(UserWarning, match="The .grad attribute of a Tensor that is not a leaf"):
            assert tensor.grad is None


def test_each_result_knows_the_function_that_made_it():
    names = [re.sub(r" at 0x.*|object ", "", str(t.grad_fn)) for t in Regression().computed()]

    assert [name.strip("<> ").split()[0] for name in names] == [
        "MulBackward0",
        "AddBackward0",
        "SubBackward0",
        "PowBackward0",
        "AddBackward0",
    ]


def test_backward_gives_w_minus_28_and_b_minus_18():
    r = Regression()

    r.loss2_sum.backward()

    printed = str((r.w.grad, r.b.grad, r.x.grad, r.y.grad))
    assert printed == "(tensor(-28.), tensor(-18.), None, None)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [tensor.grad for tensor in r.computed()] == [None] * 5


def test_the_gradients_are_the_ones_found_by_hand():
    r = Regression()

    r.loss2_sum.backward()

    assert r.w.grad.item() == 2 * (1 * 1 + 0 - 5) * 1 + 2 * (1 * 2 + 0 - 7) * 2
    assert r.b.grad.item() == 2 * (1 * 1 + 0 - 5) + 2 * (1 * 2 + 0 - 7)


def test_backward_without_a_gradient_needs_a_single_element():
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar"):
        Regression().loss2.backward()


def test_backward_and_grad_give_sums_over_the_batch():
    first, second = Regression(), Regression()

    first.loss2_sum.backward()
    grads = torch.autograd.grad(second.loss2.sum(), (second.w, second.b))

    assert [g.item() for g in grads] == [first.w.grad.item(), first.b.grad.item()]
    assert second.w.grad is None


def test_only_floating_tensors_can_require_a_gradient():
    with pytest.raises(RuntimeError, match="floating point"):
        torch.tensor([1, 2], requires_grad=True)


def test_a_Variable_is_a_tensor():
    variable = torch.autograd.Variable(torch.tensor([1.0]), requires_grad=True)

    assert isinstance(variable, torch.Tensor)
    assert variable.requires_grad


def test_gradient_descent_along_the_gradients_finds_the_line():
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([5.0, 7.0])
    w = torch.tensor(1.0, requires_grad=True)
    b = torch.tensor(0.0, requires_grad=True)

    for _ in range(500):
        ((w * x + b - y) ** 2).sum().backward()
        with torch.no_grad():
            for weight in (w, b):
                weight -= 0.1 * weight.grad
                weight.grad = None

    assert w.item() == pytest.approx(2, abs=1e-4)
    assert b.item() == pytest.approx(3, abs=1e-4)
