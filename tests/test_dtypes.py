"""dtypes as objects: they pickle, and those without tensors can be named."""

from __future__ import annotations

import copy
import pickle

import pytest

import taper as torch

ALL = sorted(name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype))


@pytest.mark.parametrize("name", ALL)
def test_a_dtype_stays_itself_when_pickled_or_copied(name):
    found = getattr(torch, name)

    assert pickle.loads(pickle.dumps(found)) is found
    assert copy.deepcopy(found) is found


def test_a_dtype_without_tensors_can_stand_in_a_table():
    table = {torch.float8_e4m3fn: 1, torch.quint8: 2, torch.chalf: 3}

    assert [repr(each) for each in table] == [
        "torch.float8_e4m3fn", "torch.quint8", "torch.complex32",
    ]  # fmt: skip
    assert torch.float8_e5m2.is_floating_point and torch.complex32.is_complex


@pytest.mark.parametrize("name", ["float8_e5m2", "qint8", "complex32"])
def test_a_tensor_of_such_a_dtype_is_refused(name):
    with pytest.raises(NotImplementedError, match=f"torch.{name}: there are no tensors"):
        torch.zeros(2, dtype=getattr(torch, name))
    with pytest.raises(NotImplementedError, match=f"torch.{name}: there are no tensors"):
        torch.zeros(2).to(getattr(torch, name))


def test_a_quantized_dtype_does_not_say_whether_it_is_signed():
    with pytest.raises(RuntimeError, match="not supported for quantized"):
        torch.quint8.is_signed  # noqa: B018
