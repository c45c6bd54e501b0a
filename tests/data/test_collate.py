"""Samples into batches: structures kept, leaves stacked."""

from __future__ import annotations

from collections import OrderedDict, UserList, namedtuple

import numpy as np
import pytest

import taper as torch
from taper.utils.data import default_collate, default_convert
from taper.utils.data._utils.collate import collate, default_collate_fn_map

Point = namedtuple("Point", "x y")


def same(one, other):
    """Equal in structure, classes, dtypes and values."""
    if isinstance(one, torch.Tensor):
        return one.dtype is other.dtype and one.tolist() == other.tolist()
    if isinstance(one, dict):
        return (
            type(one) is type(other)
            and list(one) == list(other)
            and all(same(one[k], other[k]) for k in one)
        )
    if isinstance(one, (list, tuple, UserList)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


f64 = torch.float64
BATCHES = {
    "tensors": ([torch.tensor([1, 2]), torch.tensor([3, 4])], torch.tensor([[1, 2], [3, 4]])),
    "ints": ([1, 2], torch.tensor([1, 2])),
    "bools": ([True, False], torch.tensor([True, False])),
    "floats": ([0.5, 2.0], torch.tensor([0.5, 2.0], dtype=f64)),
    "strings": (["a", "b"], ["a", "b"]),
    "bytes": ([b"a", b"b"], [b"a", b"b"]),
    "arrays": ([np.zeros(1, np.int16), np.ones(1, np.int16)], torch.tensor([[0], [1]]).short()),
    "numbers": ([np.float32(1), np.float32(2)], torch.tensor([1.0, 2.0])),
    "tuples": ([(1, 2.0), (3, 4.0)], [torch.tensor([1, 3]), torch.tensor([2.0, 4.0], dtype=f64)]),
    "lists": ([[1, "a"], [2, "b"]], [torch.tensor([1, 2]), ("a", "b")]),
    "named": ([Point(1, 2), Point(3, 4)], Point(torch.tensor([1, 3]), torch.tensor([2, 4]))),
    "dicts": ([{"a": 1}, {"a": 2, "b": 3}], {"a": torch.tensor([1, 2])}),
    "ordered": ([OrderedDict(a=1), OrderedDict(a=2)], OrderedDict(a=torch.tensor([1, 2]))),
    "own list": ([UserList([1]), UserList([2])], UserList([torch.tensor([1, 2])])),
    "nested": (
        [{"a": (1, [2])}, {"a": (3, [4])}],
        {"a": [torch.tensor([1, 3]), [torch.tensor([2, 4])]]},
    ),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_keeps_the_structure_of_its_samples(name):
    batch, wanted = BATCHES[name]

    assert same(default_collate(batch), wanted)


def test_attributes_of_a_mapping_survive():
    class Sample(dict):
        pass

    first = Sample(a=1)
    first.source = "file"

    assert default_collate([first, Sample(a=2)]).source == "file"


def test_the_first_sample_is_not_changed():
    first = {"a": 1}

    default_collate([first, {"a": 2}])

    assert first == {"a": 1}


def test_samples_that_require_grad_pass_it_on():
    leaf = torch.ones(2, requires_grad=True)

    default_collate([leaf, leaf * 2]).sum().backward()

    assert leaf.grad.tolist() == [3.0, 3.0]


def test_programs_may_add_classes():
    class Thing:
        pass

    def things(batch, *, collate_fn_map=None):
        return len(batch)

    assert (
        collate([(Thing(), 1)] * 3, collate_fn_map={Thing: things, **default_collate_fn_map})[0]
        == 3
    )


WRONG = [
    ([None, None], TypeError, "default_collate: batch must contain tensors, .* found .*NoneType"),
    ([[1, 2], [1]], RuntimeError, "each element in list of batch should be of equal size"),
    ([np.array(["a"])], TypeError, "found <U1"),
    ([torch.zeros(2), torch.zeros(3)], RuntimeError, "stack expects each tensor to be equal size"),
]


@pytest.mark.parametrize(("batch", "kind", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_what_cannot_be_stacked_is_refused(batch, kind, words):
    with pytest.raises(kind, match=words):
        default_collate(batch)


CONVERTED = {
    "array": (np.ones(2, np.float32), torch.ones(2)),
    "number": (np.float64(2.0), torch.tensor(2.0, dtype=f64)),
    "int": (3, 3),
    "string": ("a", "a"),
    "tuple": ((np.ones(1), 1), [torch.ones(1, dtype=f64), 1]),
    "named": (Point(np.ones(1), 1), Point(torch.ones(1, dtype=f64), 1)),
    "dict": ({"a": np.ones(1)}, {"a": torch.ones(1, dtype=f64)}),
    "list": ([np.ones(1), "x"], [torch.ones(1, dtype=f64), "x"]),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_a_converted_sample_keeps_its_structure(name):
    sample, wanted = CONVERTED[name]

    assert same(default_convert(sample), wanted)


def test_arrays_of_strings_are_left_alone():
    array = np.array(["a", "b"])

    assert default_convert(array) is array
