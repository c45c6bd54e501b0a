"""torch.testing: what assert_close takes for equal, and its messages."""

from __future__ import annotations

import math

import pytest

import taper as torch
from taper.testing import assert_close, make_tensor


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (torch.ones(3), torch.ones(3) + 1e-7),
        (torch.tensor([1.0, math.inf]), torch.tensor([1.0, math.inf])),
        ([1, torch.ones(2)], [1, torch.ones(2)]),
        ({"a": 1.0, "b": None}, {"b": None, "a": 1.0}),
        (1.0, 1.0 + 1e-9),
        (torch.zeros(0, 3), torch.zeros(0, 3)),
    ],
)
def test_close_values_pass(actual, expected):
    assert_close(actual, expected)


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        (torch.ones(3), torch.ones(4), "The values for attribute 'shape' do not match"),
        (torch.ones(3), torch.ones(3).double(), "The values for attribute 'dtype' do not match"),
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]), "Mismatched elements: 1 / 2 (50.0%)"),
        (
            torch.tensor([1.0, math.nan]),
            torch.tensor([1.0, math.nan]),
            "Mismatched elements: 1 / 2",
        ),
        (torch.tensor([1, 2]), torch.tensor([1, 3]), "Tensor-likes are not equal!"),
        ([1, 2], [1, 2, 3], "The length of the sequences mismatch: 2 != 3"),
        ({"a": 1}, {"b": 1}, "The keys of the mappings do not match"),
        ([torch.ones(1), 2.0], [torch.ones(1), 3.0], "The failure occurred for item [1]"),
        (1, 1.0, "The (d)types do not match"),
    ],
)
def test_what_differs_is_said(actual, expected, message):
    with pytest.raises(AssertionError) as caught:
        assert_close(actual, expected)

    assert message in str(caught.value)


def test_messages_are_those_of_pytorch():
    real = pytest.importorskip("torch")
    pairs = [
        ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.5], [3.0, 4.0]]),
        ([1.0, math.nan], [1.0, 2.0]),
        (5.0, 6.0),
        ([1, 2, 3], [1, 2, 4]),
        ([True, False], [True, True]),
    ]
    for one, other in pairs:
        texts = []
        for framework in (torch, real):
            with pytest.raises(AssertionError) as caught:
                framework.testing.assert_close(framework.tensor(one), framework.tensor(other))
            texts.append(str(caught.value))
        assert texts[0] == texts[1]


def test_one_tolerance_needs_the_other():
    with pytest.raises(ValueError, match="rtol and atol must both be specified"):
        assert_close(1.0, 1.0, rtol=0.1)


def test_make_tensor_keeps_to_its_limits():
    for dtype in (torch.float32, torch.int64, torch.uint8, torch.bool, torch.complex64):
        made = make_tensor(50, 3, dtype=dtype, device="cpu")
        assert made.shape == (50, 3) and made.dtype is dtype
    made = make_tensor((100,), dtype=torch.float64, device="cpu", low=2, high=3)
    assert made.min() >= 2 and made.max() < 3
    strided = make_tensor(4, 6, dtype=torch.float32, device="cpu", noncontiguous=True)
    assert not strided.is_contiguous() and strided.shape == (4, 6)


@pytest.mark.parametrize("name", ["uint8", "bool", "int8"])
def test_make_tensor_takes_limits_that_a_dtype_only_partly_has(name):
    dtype = getattr(torch, name)

    made = make_tensor(50, dtype=dtype, device="cpu", low=-9, high=200)

    assert made.dtype is dtype
    with pytest.raises(ValueError, match="value interval specified by `low` and `high`"):
        make_tensor(5, dtype=dtype, device="cpu", low=-2000, high=-1000)
