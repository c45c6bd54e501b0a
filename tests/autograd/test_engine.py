"""The reverse pass: accumulation, order, hooks, freeing, in-place updates, errors."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import taper as torch
from taper.autograd.gradcheck import gradcheck, gradgradcheck


def leaf(*values, dtype=torch.float64):
    return torch.tensor(list(values), dtype=dtype, requires_grad=True)


def test_gradients_of_several_uses_are_summed():
    x = leaf(1.0, 2.0)

    (x * x + 3 * x).sum().backward()

    assert x.grad.tolist() == [5.0, 7.0]


def test_backward_adds_into_grad():
    x = leaf(1.0)

    (x * 2).backward()
    (x * 3).backward()

    assert x.grad.tolist() == [5.0]


def test_two_leaves_that_get_the_same_gradient_do_not_share_its_memory():
    x, y = leaf(1.0, 1.0), leaf(2.0, 2.0)

    (x + y).sum().backward()
    x.grad.add_(10)

    assert y.grad.tolist() == [1.0, 1.0]


def test_a_deep_chain_needs_no_recursion():
    x = leaf(1.0)
    y = x
    for _ in range(20_000):
        y = y + 0

    y.backward()

    assert x.grad.tolist() == [1.0]


def test_backward_of_a_non_scalar_asks_for_a_gradient():
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar"):
        leaf(1.0, 2.0).mul(2).backward()


def test_backward_without_a_graph_says_so():
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        torch.ones(1).backward()


def test_a_second_backward_says_that_the_graph_was_freed():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward()

    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


def test_retain_graph_allows_a_second_backward():
    x = leaf(2.0)
    y = (x * x).sum()

    y.backward(retain_graph=True)
    y.backward()

    assert x.grad.tolist() == [8.0]


def test_overwriting_a_saved_tensor_is_caught():
    x = leaf(2.0)
    y = x * 1
    z = y * y
    y.add_(1)

    with pytest.raises(
        RuntimeError, match=r"modified by an inplace operation.*version 1; expected"
    ):
        z.backward()


def test_an_in_place_op_may_use_its_own_old_value():
    x = leaf(2.0, 3.0)
    y = x * 1

    y.mul_(y)
    y.sum().backward()

    assert x.grad.tolist() == [4.0, 6.0]


def test_a_leaf_that_requires_grad_cannot_be_written_to():
    x = leaf(1.0, 2.0)

    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        x[0] = 3
    with torch.no_grad():
        x.add_(1)

    assert x.tolist() == [2.0, 3.0]


def test_writing_into_a_view_changes_its_base_on_the_tape():
    x, w = leaf(1.0, 2.0, 3.0), leaf(5.0)
    y = x * 2

    y[1:2] *= w
    (y * y).sum().backward()

    assert type(y.grad_fn).__name__ and y.grad_fn.name() == "torch::autograd::CopySlices"
    assert x.grad.tolist() == [8.0, 400.0, 24.0]
    assert w.grad.tolist() == [2 * 20.0 * 4.0]


def test_a_view_made_before_the_base_was_written_sees_the_new_history():
    w = leaf(3.0)
    base = torch.zeros(4, dtype=torch.float64)
    early = base[1:3]

    base[1] = w[0] * 2
    early.sum().backward()

    assert w.grad.tolist() == [2.0]


def test_views_of_views_and_transposed_memory_route_gradients():
    w = leaf(1.0, 2.0)
    base = torch.ones(2, 3, dtype=torch.float64) * leaf(1.0)

    base.t()[1:].select(1, 0).mul_(w)
    base.sum().backward()

    assert w.grad.tolist() == [1.0, 1.0]


def test_in_place_views_pass_gradcheck_twice():
    def function(x, w):
        y = x * 2
        y.view(-1)[1:4].mul_(w)
        y[0].add_(w)
        return y * y

    x = torch.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    w = leaf(1.0, 2.0, 3.0)

    assert gradcheck(function, (x, w))
    assert gradgradcheck(function, (x, w))


def test_detach_shares_memory_and_the_version_counter():
    x = leaf(2.0)
    y = x * 1
    z = y * y

    y.detach().mul_(2)

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


def test_data_shares_memory_without_the_version_counter():
    x = leaf(2.0)

    z = x * x
    x.data.mul_(2)
    z.backward()

    assert x.grad.tolist() == [8.0]


def test_hooks_may_replace_the_gradient_and_can_be_removed():
    x = leaf(1.0)
    handle = x.register_hook(lambda g: g * 10)
    y = x * 2
    y.register_hook(lambda g: g + 1)

    y.backward()
    assert x.grad.tolist() == [40.0]

    handle.remove()
    x.grad = None
    (x * 2).backward()
    assert x.grad.tolist() == [2.0]


def test_a_leaf_hook_sees_the_total_once():
    x, seen = leaf(1.0), []
    x.register_hook(lambda g: seen.append(g.item()))

    (x + x * 2).backward()

    assert seen == [3.0]


def test_retain_grad_keeps_the_gradient_of_an_inner_tensor():
    x = leaf(3.0)
    y = x * 2
    y.retain_grad()

    (y * y).backward()

    assert y.grad.tolist() == [12.0]


def test_grad_of_an_inner_tensor_warns():
    y = leaf(3.0) * 2

    with pytest.warns(UserWarning, match="not a leaf Tensor is being accessed"):
        assert y.grad is None


def test_grad_returns_without_accumulating():
    x = leaf(2.0)

    (g,) = torch.autograd.grad((x * x).sum(), x)

    assert g.tolist() == [4.0] and x.grad is None


def test_grad_of_an_inner_tensor_is_returned():
    x = leaf(2.0)
    y = x * 3

    (g,) = torch.autograd.grad((y * y).sum(), y)

    assert g.tolist() == [12.0]


def test_grad_of_an_unused_tensor_needs_permission():
    x, y = leaf(1.0), leaf(1.0)

    with pytest.raises(RuntimeError, match="appears to not have been used in the graph"):
        torch.autograd.grad((x * 2).sum(), [x, y])
    found = torch.autograd.grad((x * 2).sum(), [x, y], allow_unused=True)

    assert found[0].tolist() == [2.0] and found[1] is None


def test_create_graph_gives_derivatives_of_any_order():
    x = leaf(2.0)
    y = (x**5).sum()
    found = []
    for _ in range(4):
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        found.append(y.item())

    assert found == [80.0, 160.0, 240.0, 240.0]


def test_no_grad_records_nothing_and_set_grad_enabled_works_both_ways():
    x = leaf(1.0)

    with torch.no_grad():
        assert not (x * 2).requires_grad
        with torch.enable_grad():
            assert (x * 2).requires_grad
    with torch.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_decorates_functions_and_generators():
    x = leaf(1.0)

    @torch.no_grad()
    def function():
        return x * 2

    @torch.no_grad()
    def generator():
        yield x * 2
        yield torch.is_grad_enabled()

    made = generator()
    assert not function().requires_grad
    assert not next(made).requires_grad
    assert torch.is_grad_enabled() and next(made) is False


def test_the_tape_is_freed_without_the_cycle_collector():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0)
        y = x * 2
        z = (y * y).sum()
        gone = weakref.ref(y)
        z.backward()
        del y, z
        assert gone() is None
    finally:
        gc.enable()


def test_anomaly_mode_shows_the_forward_call_of_a_nan():
    x = leaf(0.0)

    with torch.autograd.set_detect_anomaly(True):
        y = x * 0
        z = (y / y).sum()
        with pytest.warns(UserWarning, match="Error detected in DivBackward0"):
            with pytest.raises(RuntimeError, match="DivBackward0' returned nan values"):
                z.backward()


def test_custom_functions_save_and_differentiate_twice():
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return 3 * x * x * grad

    x = leaf(1.0, 2.0)

    assert Cube.apply(x).grad_fn.name() == "CubeBackward"
    assert gradcheck(Cube.apply, (x,)) and gradgradcheck(Cube.apply, (x,))


def test_a_wrong_number_of_gradients_is_an_error():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, grad):
            return grad

    with pytest.raises(RuntimeError, match=r"incorrect number of gradients \(expected 2, got 1\)"):
        Wrong.apply(leaf(1.0), leaf(2.0)).backward()


def test_gradcheck_finds_a_wrong_derivative():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def backward(ctx, grad):
            return grad

    with pytest.raises(RuntimeError, match="Jacobian mismatch for output 0"):
        gradcheck(Wrong.apply, (leaf(3.0),))


def test_a_shape_error_names_the_op_the_shapes_and_the_line():
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2, 3) + torch.ones(4, 3)

    text = str(caught.value)
    assert text.startswith("add: The size of tensor a (2) must match the size of tensor b (4)")
    assert "[2, 3] and [4, 3]" in text and "test_engine.py:" in text


def test_functional_jacobian_and_hessian():
    x = leaf(1.0, 2.0)

    jacobian = torch.autograd.functional.jacobian(lambda a: a * a, x)
    hessian = torch.autograd.functional.hessian(lambda a: (a * a * a).sum(), x)

    assert jacobian.tolist() == [[2.0, 0.0], [0.0, 4.0]]
    assert hessian.tolist() == [[6.0, 0.0], [0.0, 12.0]]


def test_grad_stops_at_its_inputs():
    """What lies beyond them is neither computed nor freed."""
    x = torch.tensor([2.0], requires_grad=True)
    inner = x * x

    (found,) = torch.autograd.grad(inner * 3, inner)
    inner.backward()

    assert found.item() == 3
    assert x.grad.item() == 4


def test_gradcheck_is_the_function_although_its_module_has_the_same_name():
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck is gradcheck
    assert torch.autograd.gradcheck(torch.exp, [x])


def test_gradcheck_takes_a_function_that_gives_other_outputs_without_the_tape():
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)

    def squares(x):
        made = x * x
        return (made, made + 1) if made.requires_grad else made

    assert gradcheck(squares, (x,))
