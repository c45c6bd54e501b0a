"""Section 2 of the learning path: what a tensor is, how to make one, what it can do."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import pytest

import taper as torch
from taper import nn


def test_tensor_keeps_the_dtype_of_its_data_and_Tensor_makes_float32():
    t = torch.tensor([1, 2])
    T = torch.Tensor([1, 2])

    assert f"{t} {T}" == "tensor([1, 2]) tensor([1., 2.])"
    assert f"{t.dtype} {T.dtype}" == "torch.int64 torch.float32"


def test_tensor_of_a_number_holds_it_and_Tensor_of_a_number_has_that_length():
    t = torch.tensor(3)
    T = torch.Tensor(3)

    assert str(t) == "tensor(3)"
    assert t.dim() == 0
    assert T.shape == torch.Size([3])
    assert T.dtype == torch.float32


def test_Tensor_is_FloatTensor_and_has_siblings_of_other_dtypes():
    assert torch.FloatTensor([1, 2]).dtype == torch.Tensor([1, 2]).dtype
    made = {
        torch.ByteTensor: torch.uint8,
        torch.IntTensor: torch.int32,
        torch.LongTensor: torch.int64,
        torch.DoubleTensor: torch.float64,
    }
    for kind, dtype in made.items():
        assert kind([1, 2]).dtype == dtype


def test_tensor_copies_and_from_numpy_shares_the_memory():
    a = np.array([1, 2], dtype=np.int32)
    b = np.array([1, 2], dtype=np.int32)
    t1 = torch.tensor(a)
    t2 = torch.from_numpy(b)
    assert f"t1: {t1}" == "t1: tensor([1, 2], dtype=torch.int32)"
    assert f"t2: {t2}" == "t2: tensor([1, 2], dtype=torch.int32)"

    t1[0] = 3
    t2[0] = 3

    assert f"a: {a}" == "a: [1 2]"
    assert f"b: {b}" == "b: [3 2]"


def test_as_tensor_shares_the_memory_too():
    array = np.array([1.0, 2.0])

    torch.as_tensor(array)[0] = 5

    assert array.tolist() == [5.0, 2.0]


def test_seven_functions_make_a_tensor_like_another():
    assert [x for x in dir(torch) if x.endswith("like")] == [
        "empty_like",
        "full_like",
        "ones_like",
        "rand_like",
        "randint_like",
        "randn_like",
        "zeros_like",
    ]


def test_a_linear_layer_makes_its_parameters_at_random_and_they_require_grad():
    torch.manual_seed(0)

    linear = nn.Linear(2, 3)

    assert linear.weight.shape == (3, 2)
    assert linear.bias.shape == (3,)
    assert linear.weight.requires_grad
    assert linear.bias.requires_grad
    assert len(set(linear.weight.flatten().tolist())) == 6


def test_a_tensor_is_saved_and_loaded(tmp_path: pathlib.Path):
    x = torch.tensor([0, 1, 2, 3, 4])
    for ending in ("pkl", "pth", "pt"):
        path = os.path.join(tmp_path, f"tensor.{ending}")

        torch.save(x, path)

        assert str(torch.load(path)) == "tensor([0, 1, 2, 3, 4])"


def test_files_are_exchanged_with_pytorch(tmp_path: pathlib.Path):
    pytorch = pytest.importorskip("torch")
    ours, theirs = str(tmp_path / "ours.pkl"), str(tmp_path / "theirs.pkl")

    torch.save(torch.tensor([0, 1, 2, 3, 4]), ours)
    pytorch.save(pytorch.tensor([0, 1, 2, 3, 4]), theirs)

    assert pytorch.load(ours).tolist() == [0, 1, 2, 3, 4]
    assert torch.load(theirs).tolist() == [0, 1, 2, 3, 4]


def test_a_tensor_has_at_least_567_public_names():
    tensor = torch.tensor(3)

    assert len([x for x in dir(tensor) if not x.startswith("_")]) >= 567


def test_the_in_place_methods_end_with_an_underscore():
    tensor = torch.tensor(3)

    in_place = [x for x in dir(tensor) if not x.startswith("_") and x.endswith("_")]

    assert in_place[:13] == [
        "abs_",
        "absolute_",
        "acos_",
        "acosh_",
        "add_",
        "addbmm_",
        "addcdiv_",
        "addcmul_",
        "addmm_",
        "addmv_",
        "addr_",
        "apply_",
        "arccos_",
    ]


def test_abs_makes_a_new_tensor_and_abs__changes_its_own():
    tensor = torch.tensor([-1.0, 2.0])

    assert tensor.abs().tolist() == [1.0, 2.0]
    assert tensor.tolist() == [-1.0, 2.0]
    assert tensor.abs_() is tensor
    assert tensor.tolist() == [1.0, 2.0]


def test_operations_with_another_tensor():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])

    assert x.max().item() == 4.0
    assert x.add(x).tolist() == [[2.0, 4.0], [6.0, 8.0]]
    assert x.mm(x).tolist() == [[7.0, 10.0], [15.0, 22.0]]
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        x.mm(torch.ones(3, 2))


@pytest.mark.parametrize(
    ("name", "alias", "kind"),
    [
        ("float32", "float", "FloatTensor"),
        ("float64", "double", "DoubleTensor"),
        ("float16", "half", "HalfTensor"),
        ("uint8", None, "ByteTensor"),
        ("int8", None, "CharTensor"),
        ("int16", "short", "ShortTensor"),
        ("int32", "int", "IntTensor"),
        ("int64", "long", "LongTensor"),
        ("bool", None, "BoolTensor"),
    ],
)
def test_a_dtype_has_a_name_an_alias_and_a_tensor_type(name: str, alias: str | None, kind: str):
    dtype = getattr(torch, name)
    x = torch.ones(2, dtype=dtype)

    assert x.dtype == dtype
    assert x.type() == f"torch.{kind}"
    assert isinstance(x, getattr(torch, kind))
    if alias is not None:
        assert getattr(torch, alias) is dtype


def test_bfloat16_is_the_tenth_dtype():
    pytest.importorskip("ml_dtypes")
    x = torch.ones(2, dtype=torch.bfloat16)

    assert x.type() == "torch.BFloat16Tensor"
    assert (x + 1).tolist() == [2.0, 2.0]


def test_to_changes_the_dtype_and_the_device():
    tensor = torch.tensor([1.5, -2.5])

    assert tensor.to(torch.float64).dtype == torch.float64
    assert tensor.to(torch.int64).tolist() == [1, -2]
    assert str(tensor.to("cpu").device) == "cpu"
    assert tensor.to("cpu", torch.float64).dtype == torch.float64
    assert torch.tensor([1.0], device="cpu").device == torch.device("cpu")
    assert tensor.to(torch.float32) is tensor


def test_the_layout_is_strided_and_strides_say_where_the_next_element_is():
    tensor = torch.zeros(2, 3)

    assert tensor.layout is torch.strided
    assert tensor.stride() == (3, 1)
    assert tensor.t().stride() == (1, 3)


def test_gradients_flow_against_the_direction_of_the_computation():
    x = torch.tensor([1.0, 2.0], requires_grad=True)

    loss = ((3 * x - 1) ** 2).sum()
    loss.backward()

    assert x.grad.tolist() == [12.0, 30.0]
