"""The public functions: they pickle, and tell their parameters."""

from __future__ import annotations

import inspect
import pickle

import pytest

import taper
from taper.op import NAMESPACES
from taper.ops import load_all

load_all()
FUNCTIONS = [
    (space, name) for space, names in NAMESPACES.items() for name in names if space != "signal"
]


def test_every_public_function_pickles_as_itself():
    for space, name in FUNCTIONS:
        function = NAMESPACES[space][name]
        assert pickle.loads(pickle.dumps(function)) is function, (space, name)


def test_a_function_with_out_says_so():
    assert list(inspect.signature(taper.add).parameters) == ["input", "other", "alpha", "out"]


@pytest.mark.parametrize("name", ["relu", "softmax", "det", "median", "lgamma"])
def test_methods_of_late_families_are_found_on_the_class(name):
    assert callable(getattr(taper.Tensor, name))
