"""torch._check and its like: the exception, and PyTorch's words where no message is given."""

from __future__ import annotations

import pytest

import taper as torch


@pytest.mark.parametrize(
    "check, error",
    [
        ("_check", RuntimeError), ("_check_index", IndexError), ("_check_value", ValueError),
        ("_check_type", TypeError), ("_check_not_implemented", NotImplementedError),
    ],
)  # fmt: skip
def test_a_condition_that_fails_raises(check, error):
    check = getattr(torch, check)

    check(True)
    with pytest.raises(error, match="Expected cond to be True, but got False"):
        check(False)
    with pytest.raises(error, match="size 3"):
        check(False, lambda: f"size {1 + 2}")
    with pytest.raises(TypeError, match="cond must be a bool, but got a Tensor"):
        check(torch.tensor(True))


def test_conditions_on_tensors():
    torch._check_tensor_all(torch.tensor([True, True]))
    with pytest.raises(RuntimeError, match="some"):
        torch._check_tensor_all(torch.tensor([True, False]), lambda: "some")
    with pytest.raises(TypeError, match="cond must be a tensor"):
        torch._check_tensor_all(True)
    with pytest.raises(AssertionError, match="m"):
        torch._assert(torch.tensor(0), "m")
    with pytest.raises(RuntimeError, match="Expected Tensor with single nonzero value, but got"):
        torch._assert_async(torch.tensor(0))


def test_the_configuration_is_told():
    assert "numpy" in torch.__config__.show()
    assert "get_num_threads" in torch.__config__.parallel_info()
