"""Trees of lists, tuples, dicts and registered classes."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple

import pytest

import taper as torch
from taper.utils import _pytree as pytree

Point = namedtuple("Point", "x y")
TREES = [
    3,
    None,
    [],
    [1, (2, [3])],
    {"b": 1, "a": (2,)},
    OrderedDict(b=1, a=2),
    Point(1, [2]),
    deque([1, 2], maxlen=3),
    defaultdict(list, a=1),
]


@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_a_tree_is_put_together_again(tree):
    leaves, spec = pytree.tree_flatten(tree)

    again = pytree.tree_unflatten(leaves, spec)

    assert again == tree and type(again) is type(tree)
    assert leaves == pytree.tree_leaves(tree)
    assert spec == pytree.tree_structure(again) and spec.num_leaves == len(leaves)


def test_a_function_is_applied_to_all_leaves():
    assert pytree.tree_map(lambda x: x * 2, {"a": [1, 2], "b": Point(3, 4)}) == {
        "a": [2, 4],
        "b": Point(6, 8),
    }
    assert pytree.tree_map(lambda x, y: x + y, [1, (2,)], [10, (20,)]) == [11, (22,)]
    assert pytree.tree_map(lambda x, y: x - y, {"a": 5, "b": 7}, {"b": 1, "a": 2}) == {
        "a": 3,
        "b": 6,
    }


def test_only_some_classes_are_changed():
    tree = [torch.ones(2), "text", 3]

    made = pytree.tree_map_only(torch.Tensor, lambda t: t * 5, tree)

    assert made[0].tolist() == [5, 5] and made[1:] == ["text", 3]
    assert pytree.tree_map_only((int, str), lambda x: 0, [1, "a", 2.0]) == [0, 0, 2.0]
    assert pytree.tree_any_only(int, lambda x: x > 2, tree)
    assert not pytree.tree_all_only(int, lambda x: x > 3, tree)
    assert pytree.tree_all(bool, [1, [True]]) and not pytree.tree_any(bool, [0, [False]])


def test_a_test_may_end_the_descent():
    leaves, _ = pytree.tree_flatten([(1, 2), [3]], is_leaf=lambda x: isinstance(x, tuple))

    assert leaves == [(1, 2), 3]


def test_classes_can_be_registered():
    class Pair:
        def __init__(self, one, two):
            self.one, self.two = one, two

    pytree.register_pytree_node(Pair, lambda p: ([p.one, p.two], None), lambda c, _: Pair(*c))
    try:
        made = pytree.tree_map(lambda x: x + 1, [Pair(1, 2)])

        assert (made[0].one, made[0].two) == (2, 3)
        with pytest.raises(ValueError, match="already registered"):
            pytree.register_pytree_node(Pair, None, None)
    finally:
        del pytree.SUPPORTED_NODES[Pair]


def test_a_structure_is_shown():
    assert repr(pytree.tree_structure({"b": [1, (2, 3)], "a": None})) == (
        "TreeSpec(dict, ['b', 'a'], [TreeSpec(list, None, [*,\n    TreeSpec(tuple, None, [*,\n"
        "      *])]),\n  *])"
    )


def test_leaves_are_spread_over_a_larger_structure():
    spec = pytree.tree_structure([1, (2, 3)])

    assert pytree._broadcast_to_and_flatten([7, 8], spec) == [7, 8, 8]
    assert pytree._broadcast_to_and_flatten((7, 8), spec) is None


WRONG = [
    (lambda: pytree.tree_unflatten([1], pytree.tree_structure([1, 2])), "`leaves` has length 1"),
    (lambda: pytree.tree_map(max, [1, 2], [1]), "Node arity mismatch; expected 2, but got 1"),
    (lambda: pytree.tree_map(max, [1, 2], (1, 2)), "Node type mismatch"),
    (lambda: pytree.tree_map(max, {"a": 1}, {"b": 1}), "Node keys mismatch"),
]


@pytest.mark.parametrize(("make", "words"), WRONG, ids=[words for _, words in WRONG])
def test_structures_that_differ_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
