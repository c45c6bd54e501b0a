"""The reverse pass by built-ins against the same in Python: gradients, sharing, references."""

from __future__ import annotations

import gc
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import taper
from taper.backends.llvm.objects import readable
from taper.tensor import Tensor, quick

pytestmark = pytest.mark.skipif(not readable(), reason="objects of another layout")


class Double(taper.autograd.Function):
    """A node that is no op's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * 2


def shared(x: Tensor, y: Tensor) -> Tensor:
    """Tensors that are read twice, so that gradients are added, at nodes and at leaves."""
    a = x * y
    return (a * a + a.relu() + x).sum()


def parts(x: Tensor, y: Tensor) -> Tensor:
    """Nodes with several outputs, of which one is not used."""
    one, _, three = (x * y).chunk(3)
    return (one * three).sum() + taper.nn.functional.cross_entropy(
        x, taper.zeros(6, dtype=taper.int64)
    )


def layers(x: Tensor, y: Tensor) -> Tensor:
    linear = taper.nn.functional.linear
    return linear(taper.relu(linear(x, y)), y.t().contiguous()).square().mean()


def hooked(x: Tensor, y: Tensor) -> Tensor:
    a = x * y
    a.register_hook(lambda grad: grad * 3)
    y.register_hook(lambda grad: grad + 1)
    return (a + Double.apply(y)).sum()


def written(x: Tensor, y: Tensor) -> Tensor:
    a = x * 1
    a[1:3].mul_(y[1:3])
    return (a * a.detach()).sum()


PROGRAMS = {f.__name__: f for f in (shared, parts, layers, hooked, written)}


def gradients(program: Any, twice: bool) -> list[bytes]:
    taper.manual_seed(0)
    x, y = (taper.randn(6, 6).requires_grad_() for _ in range(2))
    for _ in range(1 + twice):
        program(x, y).backward()
    return [t.grad.numpy().tobytes() for t in (x, y) if t.grad is not None]


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_gives_the_bits_of_python(name: str, twice: bool, monkeypatch: Any) -> None:
    found = gradients(PROGRAMS[name], twice)
    assert quick.deliver is not None and quick.finish is not None
    monkeypatch.setattr(quick, "deliver", None)
    monkeypatch.setattr(quick, "finish", None)

    assert found == gradients(PROGRAMS[name], twice) and found


def test_a_gradient_that_others_hold_is_copied() -> None:
    x, y = (taper.ones(3, 3).requires_grad_() for _ in range(2))
    (x + y).sum().backward()  # both get the same gradient

    assert x.grad is not None and y.grad is not None
    assert not np.shares_memory(x.grad.numpy(), y.grad.numpy())
    x.grad.add_(1)
    assert y.grad.tolist() == taper.ones(3, 3).tolist()


def test_a_gradient_of_the_user_is_not_taken_over() -> None:
    x = taper.ones(3).requires_grad_()
    given = taper.ones(3)
    (x * 1).backward(given)
    x2 = taper.ones(3).requires_grad_()
    x2.view(3).backward(given)

    for leaf in (x, x2):
        leaf.grad.add_(1)
    assert given.tolist() == [1, 1, 1]


def test_leaves_finish_in_the_order_of_their_last_share() -> None:
    order: list[str] = []
    leaves = [taper.ones(2).requires_grad_() for _ in range(3)]
    for name, leaf in zip("abc", leaves, strict=True):
        leaf.register_post_accumulate_grad_hook(lambda _, name=name: order.append(name))
    a, b, c = leaves
    ((a * b).relu() * c + a).sum().backward()
    by_built_in = order[:]
    before = quick.deliver
    try:
        quick.deliver = None
        order.clear()
        ((a * b).relu() * c + a).sum().backward()
    finally:
        quick.deliver = before

    assert by_built_in == order and sorted(order) == ["a", "b", "c"]


def test_an_error_of_the_heap_comes_through(monkeypatch: Any) -> None:
    assert quick.deliver is not None
    x = taper.ones(2).requires_grad_() * 2
    with pytest.raises(TypeError):
        quick.deliver([(x.grad_fn, 0)], [x._array], {}, "no list", {})


def test_says_which_gradient_is_left_to_python() -> None:
    assert quick.deliver is not None
    x, y = (taper.ones(2).requires_grad_() for _ in range(2))
    a = x * y
    edges = [None, (x, 0), (a.grad_fn, 0), (y, 0), (x, 0), (y, 0)]
    grads = [np.ones(2, np.float32) for _ in edges]
    pending: dict[Any, Any] = {}
    heap: list[int] = []
    leaves: dict[Any, Any] = {}

    assert quick.deliver(edges, grads, pending, heap, leaves) == 4
    assert heap == [-a.grad_fn.number] and pending[heap[0]][0] is a.grad_fn
    assert pending[heap[0]][1][0] is grads[2]
    assert [leaf for leaf, _ in leaves.values()] == [x, y]
    assert quick.deliver((), [], pending, heap, leaves) is None
    assert quick.deliver(((x, 0),), (None,), {}, [], {}) is None


def test_holds_no_more_memory_step_after_step() -> None:
    model = taper.nn.Sequential(taper.nn.Linear(4, 8), taper.nn.ReLU(), taper.nn.Linear(8, 3))
    x = taper.randn(5, 4)

    def step() -> None:
        model.zero_grad()
        model(x).square().sum().backward()
        shared(model[0].weight, model[0].weight * 2).backward()

    for _ in range(20):
        step()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(300):
        step()
    gc.collect()
    assert sys.getallocatedblocks() - before < 100
