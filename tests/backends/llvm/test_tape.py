"""The tape's built-ins against what `wrap` and `record` do in Python."""

from __future__ import annotations

import gc
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import taper
from taper import dispatch
from taper.autograd.node import UNCHECKED, OpNode, next_number
from taper.backends.llvm import tape
from taper.backends.llvm.objects import readable, slot
from taper.nn.parameter import Parameter
from taper.op import REGISTRY
from taper.storage import Storage
from taper.tensor import Tensor, wrap

pytestmark = pytest.mark.skipif(not readable(), reason="objects of another layout")


@pytest.fixture(scope="module")
def built() -> Any:
    made = tape.built_ins(Tensor, Parameter, Storage, OpNode, next_number, UNCHECKED)
    assert made is not None
    return made


def leaf(*shape: int) -> Tensor:
    return taper.randn(shape).requires_grad_()


def written() -> Tensor:
    """A tensor that was written to, so that its version is 2."""
    made = taper.zeros(2, 3)
    made.add_(1)
    made.add_(1)
    return made


def overtaken() -> Tensor:
    """A view whose base was written to, so that its place on the tape is another."""
    base = leaf(4) * 1
    view = base[1:]
    base.mul_(2)
    return view


def older_than_its_gradient() -> Tensor:
    """A view of a tensor that required grad only afterwards."""
    base = taper.ones(4)
    view = base[1:]
    base.requires_grad_()
    return view


# name -> (op, inputs, attributes); `record` of Python and of the built-in must agree.
CALLS: dict[str, Any] = {
    "two leaves": lambda: ("Mul", (leaf(2, 3), leaf(2, 3)), {}),
    "one needs none": lambda: ("Mul", (leaf(2, 3), taper.ones(2, 3)), {}),
    "the other needs none": lambda: ("Mul", (taper.ones(2, 3), leaf(2, 3)), {}),
    "a number": lambda: ("Mul", (leaf(2, 3), 2.5), {}),
    "a whole number": lambda: ("Mul", (leaf(2, 3), 2), {}),
    "the result of another": lambda: ("Mul", (leaf(2, 3) * 2, leaf(2, 3) + 1), {}),
    "the second result of another": lambda: ("Relu", (leaf(4, 3).split(2)[1] * 1,), {}),
    "one that was written to": lambda: ("Mul", (leaf(2, 3), written()), {}),
    "a parameter": lambda: ("LinearBias", (taper.ones(4, 3), Parameter(taper.ones(2, 3)),
                                           Parameter(taper.ones(2))), {}),
    "an input that is absent": lambda: ("Linear", (leaf(4, 3), leaf(2, 3), None), {}),
    "an input that only one gradient needs": lambda: ("Linear", (leaf(4, 3), taper.ones(2, 3), None),
                                                      {}),
    "a shape": lambda: ("Reshape", (leaf(2, 3),), {"shape": (6,)}),
    "a view": lambda: ("Relu", (leaf(4)[1:],), {}),
    "a view of what needs no gradient": lambda: ("Mul", (taper.ones(4, 2)[1:], leaf(3, 2)), {}),
    "a view of a view": lambda: ("Relu", ((leaf(4, 3) * 2).t()[1:],), {}),
    "no dimensions": lambda: ("Mul", (leaf(), leaf()), {}),
}  # fmt: skip


def same(one: Any, other: Any) -> bool:
    if isinstance(one, tuple) and len(one) == 3 and isinstance(one[0], Tensor):
        return one[0] is other[0] and one[1] is other[1] and one[2] == other[2]
    return one is other or one == other


@pytest.mark.parametrize("name", CALLS)
def test_records_what_python_records(name: str, built: Any, monkeypatch: Any) -> None:
    op_name, inputs, attrs = CALLS[name]()
    op = REGISTRY[op_name]
    result = inputs[0]._array
    monkeypatch.setattr(dispatch, "_quick_record", dispatch._unable)
    wanted = dispatch.record(op, inputs, [], None, attrs, result)
    made = built[2](op.node_class, op.node_class.plan, inputs, result, attrs)
    assert type(made) is type(wanted) and made.attrs == wanted.attrs and made.out is None
    assert made.number == wanted.number + 1
    assert len(made.edges) == len(wanted.edges) and len(made.saved) == len(wanted.saved)
    for one, other in zip(made.edges, wanted.edges, strict=True):
        assert one == other if one is None else one[0] is other[0] and one[1] == other[1]
    assert all(map(same, made.saved, wanted.saved))


@pytest.mark.parametrize(
    ("op_name", "inputs"),
    [
        ("Mul", lambda: (leaf(2, 3), leaf(3))),
        ("Mul", lambda: (leaf(2, 3), leaf(2, 1))),
        ("Mul", lambda: (leaf(3), "text")),
        ("Mul", lambda: (leaf(3), np.ones(3, np.float32))),
        ("Mul", lambda: (leaf(3), taper.nn.UninitializedParameter())),
        ("Mul", lambda: (leaf(3),)),
        ("Relu", lambda: (overtaken(),)),
        ("Relu", lambda: (older_than_its_gradient(),)),
        ("Mul", lambda: (taper.ones(2).as_subclass(type("Own", (Tensor,), {})), leaf(2))),
    ],
)
def test_leaves_what_is_unusual_to_python(op_name: str, inputs: Any, built: Any) -> None:
    leaf(2) * leaf(2), leaf(2).relu()  # so that the ops have a class of nodes
    op = REGISTRY[op_name]
    given = inputs()
    assert built[2](op.node_class, op.node_class.plan, given, given[0]._array, {}) is None


def test_a_tensor_has_what_wrap_gives_it(built: Any) -> None:
    array = np.ones((2, 3), np.float32)
    made, wanted = built[0](array), wrap(array)
    assert type(made) is Tensor and made._array is array
    for name in Tensor.__slots__:
        if not name.startswith("__"):
            one, other = getattr(made, name), getattr(wanted, name)
            assert one is other, name
    made.user_attribute = 3
    assert made.user_attribute == 3 and "user_attribute" not in wanted.__dict__


@pytest.mark.parametrize("source", [
    lambda: taper.ones(4, 3), lambda: leaf(4, 3), lambda: leaf(4, 3)[1:],
    lambda: taper.ones(4, 3).detach()[1:], lambda: (leaf(4, 3) * 1)[1:].t(), written,
])  # fmt: skip
def test_a_view_is_what_join_makes_it(source: Any, built: Any) -> None:
    given = source()
    array = given._array[:1]
    given[:1]
    made, wanted = built[1](array, given), wrap(array)
    dispatch.join(wanted, given)
    for name in Tensor.__slots__:
        if not name.startswith("__"):
            assert getattr(made, name) is getattr(wanted, name), name


def test_some_views_are_left_to_join(built: Any) -> None:
    fresh, half = taper.ones(4), taper.ones(4).split(2)[0]
    own = taper.ones(4).as_subclass(type("Own", (Tensor,), {}))
    for source in (fresh, half, own):
        assert built[1](source._array, source) is None


def test_counts_references_right(built: Any) -> None:
    wrap_native, look, record, *_ = built
    x, y = leaf(2, 3), leaf(2, 3) * 2
    view = x[:1]
    op, attrs = REGISTRY["Mul"], {}
    x * y
    watched = [x, y, x._array, y._grad_fn, attrs, op.node_class, None, False, 0, "", (), Tensor]

    def counts() -> list[int]:
        gc.collect()
        return [sys.getrefcount(each) for each in watched]

    before = counts()
    for _ in range(500):
        record(op.node_class, op.node_class.plan, (x, y), x._array, attrs)
        record(op.node_class, op.node_class.plan, (x, view), x._array, attrs)
        record(op.node_class, op.node_class.plan, (x, 2.0), x._array, attrs)
        wrap_native(x._array)
        look(x._array, x)
        look(x._array, taper.zeros(1))
    # A build of Python may count None, False and small numbers elsewhere meanwhile: a few.
    assert all(abs(now - then) < 30 for now, then in zip(counts(), before, strict=True))


def test_nodes_and_tensors_are_collected(built: Any) -> None:
    import weakref

    x = leaf(3)
    y = (x * 2).relu()
    gone = [weakref.ref(y), weakref.ref(y.grad_fn)]
    y.loop = y  # a cycle, which only the collector finds
    del y
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


def test_the_place_of_a_slot_is_looked_up() -> None:
    class Three:
        __slots__ = ("a", "b", "c")

    assert slot(Three, "c") - slot(Three, "a") == 16
