"""Where views may be written, what follows a tensor that is written, what need not be kept."""

from __future__ import annotations

import copy
import gc
import threading
import weakref

import pytest

import taper as torch
from taper.autograd import engine


def leaf(*values):
    return torch.tensor(list(values), dtype=torch.float64, requires_grad=True)


# ---------------------------------------------------------------- views that may not be written


def test_any_view_may_be_written_where_nothing_is_recorded():
    w = torch.ones(2, 2)
    for row in w:  # one of several views
        row.add_(1.0)
    left, right = w.chunk(2, 1)
    left.mul_(3.0)
    right.zero_()
    with torch.no_grad():
        view = w[1]
    view.sub_(torch.ones(2))
    assert w.tolist() == [[6.0, 0.0], [5.0, -1.0]]
    with pytest.raises(RuntimeError, match="created in no_grad mode and is being modified"):
        view.add_(torch.ones(2, requires_grad=True))


def test_a_view_made_without_recording_cannot_be_written_while_recording():
    y = leaf(1.0, 2.0) * 1
    with torch.no_grad():
        view = y[:1]

    assert view.requires_grad
    with pytest.raises(RuntimeError, match="created in no_grad mode and is being modified"):
        view.mul_(2)


def test_a_view_made_without_recording_is_lost_when_its_base_is_written():
    y = leaf(1.0, 2.0) * 1
    with torch.no_grad():
        view = y[:1]
    y.mul_(2)

    with pytest.raises(RuntimeError, match="its base or another view of its base has been"):
        view * 2
    assert "grad_fn=<Invalid>" in repr(view)


def test_one_of_several_views_cannot_be_written():
    first, _ = (leaf(1.0, 2.0) * 1).split(1)

    with pytest.raises(RuntimeError, match="Output 0 of Split is a view and is being modified"):
        first.mul_(2)


def test_what_a_function_passes_through_is_a_view_that_cannot_be_written():
    class Same(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, grad):
            return grad

    y = Same.apply(leaf(1.0))

    assert y._is_view()
    with pytest.raises(RuntimeError, match="Output 0 of Same is a view"):
        y.mul_(2)


def test_an_in_place_layer_under_a_full_backward_hook_is_refused():
    layer = torch.nn.ReLU(inplace=True)
    layer.register_full_backward_hook(lambda *given: None)

    with pytest.raises(RuntimeError, match="BackwardHookFunction is a view"):
        layer(leaf(1.0) * 1)


def test_a_write_without_recording_does_not_hide_an_earlier_recorded_one():
    x = leaf(1.0, 2.0)
    y = x * 1
    view = y[0]
    y.mul_(3)
    with torch.no_grad():
        view.add_(1)

    view.backward()

    assert x.grad.tolist() == [3.0, 0.0]


# ---------------------------------------------------------------- what follows the tensor


def test_retain_grad_follows_the_tensor_through_an_update_in_place():
    y = leaf(1.0) * 2
    y.retain_grad()
    y.mul_(3)

    (y * 5).sum().backward()

    assert y.grad.tolist() == [5.0]


def test_a_copy_has_a_node_of_its_own():
    """A hook on the copy must not see or change the gradient of what was copied."""
    x = leaf(1.0)
    source = x * 2
    target = torch.zeros(1, dtype=torch.float64)
    target.copy_(source)
    target.register_hook(lambda grad: grad * 10)

    (target + source).sum().backward()

    assert x.grad.tolist() == [22.0]


def test_overwriting_with_constants_sends_zeros_to_the_old_history():
    x = leaf(1.0)
    y = x * 2
    y.copy_(torch.ones(1, dtype=torch.float64))

    y.sum().backward()

    assert x.grad.tolist() == [0.0]


def test_elements_that_were_replaced_stop_an_infinite_gradient():
    x = leaf(1.0, 0.0)
    y = x * 1
    y[1:].fill_(4.0)

    torch.sqrt(y - torch.tensor([0.0, 4.0], dtype=torch.float64)).sum().backward()

    assert x.grad.tolist() == [0.5, 0.0]


def test_an_index_of_true_assigns_everything_with_its_gradient():
    x = leaf(1.0, 2.0)
    y = torch.zeros(2, dtype=torch.float64)
    y[True] = x * 2

    y.sum().backward()

    assert x.grad.tolist() == [2.0, 2.0]


def test_a_mask_takes_values_with_leading_ones():
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)
    y = torch.zeros(1, 2) * x
    y[torch.tensor([[True, True]])] = x * 2

    y.sum().backward()

    assert x.grad.tolist() == [[2.0, 2.0]]


# ---------------------------------------------------------------- what need not be kept


def test_a_factor_that_only_a_constant_would_need_may_be_written_to():
    x = leaf(1.0, 2.0)
    y = x * 1
    z = y * -1
    y.add_(1)

    z.sum().backward()

    assert x.grad.tolist() == [-1.0, -1.0]


def test_the_input_of_a_frozen_layer_may_be_written_to():
    layer = torch.nn.Linear(2, 2).requires_grad_(False)
    x = torch.ones(1, 2, requires_grad=True)
    y = x * 1
    out = layer(y)
    y.add_(1)

    out.sum().backward()

    assert torch.equal(x.grad, layer.weight.sum(0, keepdim=True))


def test_sorted_values_may_be_written_to():
    x = leaf(2.0, 1.0)
    values, _ = x.sort()
    values[0] = 5.0

    values.sum().backward()

    assert x.grad.tolist() == [1.0, 0.0]


def test_a_graph_that_saved_nothing_can_be_gone_through_twice():
    x = leaf(1.0)
    y = -x

    y.backward()
    y.backward()

    assert x.grad.tolist() == [-2.0]


# ---------------------------------------------------------------- accumulation


def test_a_gradient_that_was_broadcast_is_accumulated_into_element_by_element(monkeypatch):
    monkeypatch.setattr(engine, "_warned_of_cycle", False)
    x = leaf(1.0, 2.0)

    with pytest.warns(UserWarning, match="reference cycle"):
        x.sum().backward(create_graph=True)
    (x * x).sum().backward()

    assert x.grad.tolist() == [3.0, 5.0]
    x.grad = None


def test_a_leaf_that_no_longer_requires_grad_gets_none():
    x = leaf(1.0)
    y = x * x
    x.requires_grad_(False)

    y.sum().backward()

    assert x.grad is None


def test_backward_into_an_inner_tensor_fills_its_grad_once():
    x = leaf(1.0)
    y = x * 2

    (y * 3).sum().backward(inputs=[y])

    assert y.grad.tolist() == [3.0]
    assert x.grad is None


def test_hooks_of_the_accumulating_node_run():
    x = leaf(1.0)
    seen = []
    node = x.view_as(x).grad_fn.next_functions[0][0]
    node.register_hook(lambda inner, outer: seen.append((inner, outer[0].tolist())))

    (x * 2).sum().backward()

    assert seen == [((), [2.0])]


# ---------------------------------------------------------------- layout and copies


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.clone(),
        lambda x: x.double(),
        lambda x: torch.zeros_like(x),
        lambda x: torch.cat([x, x]),
        lambda x: x.softmax(-1),
        lambda x: x * 2,
    ],
)
def test_what_is_made_of_an_expanded_tensor_can_be_viewed_flat(make):
    made = make(torch.arange(3.0).expand(4, 3))

    assert made.is_contiguous()
    made.view(-1)


@pytest.mark.parametrize("make", [lambda x: x.sum(0), lambda x: x.mean(-1), lambda x: x.max(1)[0]])
def test_reductions_of_a_permuted_tensor_are_contiguous(make):
    assert make(torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1)).is_contiguous()


def test_the_largest_of_a_vector_is_0d():
    assert torch.tensor([1.0, 2.0]).max(0)[0].shape == ()


def test_deepcopy_keeps_sharing_and_strides():
    x = torch.arange(6.0).reshape(2, 3)
    one, other = copy.deepcopy([x, x.t()[1:]])
    one.fill_(7)

    assert other.tolist() == [[7.0, 7.0], [7.0, 7.0]]
    assert other.stride() == (1, 3)


# ---------------------------------------------------------------- lifetimes, threads


def test_custom_functions_are_freed_without_the_cycle_collector():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            out = x * 2
            ctx.save_for_backward(x, out)
            return out

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    gc.disable()
    try:
        y = Double.apply(leaf(1.0) * 1)
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_a_deprecated_backward_hook_does_not_keep_its_module():
    layer = torch.nn.Tanh()
    layer.register_backward_hook(lambda *given: None)
    with pytest.warns(FutureWarning, match="non-full backward hook"):
        y = layer(leaf(1.0))
    del layer
    gc.collect()

    with pytest.raises(RuntimeError, match="hook of a dead Module"):
        y.sum().backward()


def test_nodes_have_classes_named_as_pytorchs():
    assert type((leaf(1.0) * 2).grad_fn).__name__ == "MulBackward0"


def test_modes_are_per_thread_and_anomaly_mode_is_not():
    seen = {}

    def look():
        seen["grad"] = torch.is_grad_enabled()
        seen["anomaly"] = torch.is_anomaly_enabled()

    with (
        torch.no_grad(),
        pytest.warns(UserWarning, match="Anomaly Detection"),
        torch.autograd.detect_anomaly(),
    ):
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    assert seen == {"grad": True, "anomaly": True}
    assert not torch.is_anomaly_enabled()


def test_two_threads_train_two_models_at_once():
    def train(seed, results):
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(4, 1, generator=generator, dtype=torch.float64).requires_grad_()
        x = torch.randn(16, 4, generator=generator, dtype=torch.float64)
        optimizer = torch.optim.Adam([weight], lr=0.01)
        for _ in range(30):
            optimizer.zero_grad()
            loss = (x @ weight).tanh().square().mean()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                (x @ weight).tanh()
        results[seed] = loss.item()

    alone, together = {}, {}
    for seed in range(3):
        train(seed, alone)
    threads = [threading.Thread(target=train, args=(seed, together)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert together == alone


def test_a_view_made_under_no_grad_may_be_written_to_if_nothing_requires_grad():
    x = torch.ones(3)
    with torch.no_grad():
        view = x[:2]

    view.add_(1).mul_(torch.tensor([2.0, 3.0])).clamp_(max=5)

    assert x.tolist() == [4, 5, 1]
