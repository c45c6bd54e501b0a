"""What functions accept and refuse: numpy's spellings, keywords, out=, integers that do not fit."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import taper
from taper import tensor


def test_numpys_names_of_arguments_are_understood():
    x = taper.arange(6.0).reshape(2, 3)

    assert taper.sum(x, axis=0, keepdims=True).shape == (1, 3)
    assert taper.mul(x, x2=x).tolist() == (x * x).tolist()
    assert taper.abs(x=-x).tolist() == x.tolist()


def test_sizes_and_dims_may_be_keywords():
    x = taper.arange(6).reshape(2, 3)

    assert taper.zeros(size=(2, 3)).shape == taper.ones(size=(2, 3)).shape == (2, 3)
    assert taper.permute(x, dims=(1, 0)).shape == (3, 2)
    assert taper.reshape(x, shape=(3, 2)).shape == x.view(size=(3, 2)).shape == (3, 2)
    assert x.expand(size=(2, 3)).shape == x.new_zeros(size=(2, 3)).shape == (2, 3)
    assert taper.flip(x, dims=(0,)).tolist() == [[3, 4, 5], [0, 1, 2]]
    assert taper.tile(x, dims=(1, 2)).shape == x.repeat(repeats=(1, 2)).shape == (2, 6)


def test_signatures_show_out():
    assert "out" in inspect.signature(taper.add).parameters
    assert "out" in inspect.signature(taper.sum).parameters


def test_what_is_no_tensor_is_named_in_the_error():
    with pytest.raises(TypeError, match=r"exp\(\): argument 'input' .* must be Tensor, not float"):
        taper.exp(2.0)
    with pytest.raises(TypeError, match=r"sum\(\): argument 'input' .* must be Tensor, not int"):
        taper.sum(2)
    with pytest.raises(TypeError, match=r"atan2\(\): argument 'other' .* must be Tensor"):
        taper.atan2(taper.ones(1), 2)
    with pytest.raises(TypeError, match=r"fmod\(\) received an invalid combination"):
        taper.fmod(2, taper.ones(1))


def test_integers_wrap_in_arithmetic_and_are_checked_elsewhere():
    x = tensor([50], dtype=taper.uint8)

    assert (x + 300).item() == 94
    assert (x - 51).item() == 255
    assert x.clone().fill_(-3).item() == 253
    assert (tensor([50], dtype=taper.int8) * 1000).item() == 80
    with pytest.raises(RuntimeError, match="cannot be converted to type uint8_t without overflow"):
        x.fill_(300)
    with pytest.raises(RuntimeError, match="cannot be converted to type uint8_t without overflow"):
        x.clamp(0, 300)


def test_integer_powers_with_negative_exponents():
    base = tensor([1, -1, 2, -1, 0])

    assert taper.pow(base, tensor([-1, -2, -1, -3, -1])).tolist() == [1, 1, 0, -1, 0]
    with pytest.raises(RuntimeError, match="Integers to negative integer powers"):
        base**-1


def test_out_takes_the_result_and_its_shape():
    x, out = taper.arange(3.0), taper.empty(0)

    assert taper.add(x, 1, out=out) is out
    assert out.tolist() == [1, 2, 3]
    with pytest.warns(UserWarning, match="An output with one or more elements was resized"):
        taper.exp(taper.zeros(2), out=out)
    with pytest.raises(RuntimeError, match="Float can't be cast to the desired output type Long"):
        taper.add(x, 1, out=taper.empty(3, dtype=taper.int64))


def test_makers_take_the_dtype_of_out():
    out = taper.empty(0, dtype=taper.int64)

    assert taper.zeros(2, out=out).tolist() == [0, 0]
    assert taper.linspace(0, 1, 3, out=taper.empty(0, dtype=taper.float64)).dtype is taper.float64
    with pytest.raises(RuntimeError, match=r"dtype Float does not match dtype of out .*\(Long\)"):
        taper.zeros(2, dtype=taper.float32, out=out)


def test_an_output_that_shares_some_memory_with_an_input_is_refused():
    x = taper.arange(4.0)

    assert taper.exp(x, out=x) is x
    with pytest.raises(RuntimeError, match="refer to a single memory location"):
        taper.exp(x[:3], out=x[1:])
    with pytest.raises(RuntimeError, match="refer to a single memory location"):
        taper.take(x, tensor([0, 1, 2, 3]), out=x)


def test_expanded_tensors_can_be_filled_but_not_written():
    x = taper.ones(1, 3).expand(2, 3)

    x.fill_(2)
    assert x.tolist() == [[2.0] * 3] * 2
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor"):
        x.add_(1)


def test_filling_sends_no_gradient_to_what_was_there():
    x = taper.ones(2, 2, requires_grad=True)
    value = tensor(3.0, requires_grad=True)
    y = x * 2

    y[0].zero_()
    y[1, 0].fill_(value)
    y.sum().backward()

    assert x.grad.tolist() == [[0, 0], [0, 2]]
    assert value.grad.item() == 1


def test_element_wise_python_functions():
    x = tensor(np.arange(3.0))

    assert x.clone().apply_(lambda v: v * v).tolist() == [0, 1, 4]
    assert x.clone().map_(taper.ones(1), lambda a, b: a + b).tolist() == [1, 2, 3]
    with pytest.raises(RuntimeError, match=r"Can't call apply_\(\) on Variable that requires grad"):
        taper.ones(1, requires_grad=True).apply_(abs)


def test_diagonals_are_filled_and_may_wrap():
    assert taper.zeros(4, 2).fill_diagonal_(1).sum() == 2
    assert taper.zeros(7, 3).fill_diagonal_(1, wrap=True).sum() == 6
    assert taper.zeros(2, 2, 2).fill_diagonal_(1).nonzero().tolist() == [[0, 0, 0], [1, 1, 1]]


def test_a_strided_tensor_answers_questions_of_other_layouts():
    x = taper.ones(2, 3)

    assert (x.dense_dim(), x.sparse_dim(), x.to_dense() is x) == (2, 0, True)
    with pytest.raises(RuntimeError, match="indices expected sparse coordinate tensor layout"):
        x.indices()
    with pytest.raises(NotImplementedError, match="sparse tensors are not available; use"):
        x.to_sparse()


def test_a_file_is_mapped_into_memory(tmp_path):
    path = tmp_path / "numbers.bin"

    x = taper.from_file(str(path), shared=True, size=3, dtype=taper.int32)
    x.copy_(tensor([1, 2, 3]))
    del x

    assert np.fromfile(path, np.int32).tolist() == [1, 2, 3]
    y = taper.from_file(str(path), shared=False, size=2, dtype=taper.int32)
    y.fill_(9)
    assert np.fromfile(path, np.int32).tolist() == [1, 2, 3]
    with pytest.raises(RuntimeError, match="has 12 bytes, 40 are needed"):
        taper.from_file(str(path), shared=False, size=10, dtype=taper.int32)


def test_arrays_are_shared_through_dlpack():
    array = np.arange(3.0)

    x = taper.from_dlpack(array)
    x[0] = 7

    assert array[0] == 7
    assert np.from_dlpack(x).tolist() == [7, 1, 2]


X, M, B = taper.arange(4.0), taper.ones(2, 2), taper.ones(1, 2, 2)
V = taper.ones(2)


@pytest.mark.filterwarnings("ignore:This overload of")
@pytest.mark.parametrize(
    "old, new",
    [
        (lambda: X.clone().add_(-0.5, X), lambda: X - 0.5 * X),
        (lambda: taper.add(X, 2, X), lambda: X + 2 * X),
        (lambda: taper.sub(X, 2, X, out=taper.empty(4)), lambda: X - 2 * X),
        (lambda: X.clone().addcmul_(2, X, X), lambda: X + 2 * X * X),
        (lambda: taper.addcdiv(X, 2, X, X + 1), lambda: X + 2 * X / (X + 1)),
        (lambda: taper.addmm(2, M, 3, M, M), lambda: 2 * M + 3 * (M @ M)),
        (lambda: M.addmm(2, M, M), lambda: 2 * M + M @ M),
        (lambda: V.addmv(2, 3, M, V), lambda: 2 * V + 3 * (M @ V)),
        (lambda: taper.addr(2, M, V, V), lambda: 2 * M + taper.outer(V, V)),
        (lambda: M.addbmm(2, 3, B, B), lambda: 2 * M + 3 * (B @ B).sum(0)),
        (lambda: B.clone().baddbmm_(2, 3, B, B), lambda: 2 * B + 3 * (B @ B)),
    ],
)
def test_factors_may_come_before_the_tensors_as_they_once_did(old, new):
    assert taper.equal(old(), new())


def test_the_old_order_of_arguments_warns_once(monkeypatch):
    from taper import variants

    monkeypatch.setattr(variants, "_warned_of_old_form", False)

    with pytest.warns(UserWarning, match="This overload of add is deprecated") as caught:
        X.add(2, X)
        X.add(2, X)

    assert len(caught) == 1 and caught[0].filename == __file__


def test_too_many_arguments_are_still_refused():
    with pytest.raises(TypeError):
        X.add(X, X)
    with pytest.raises(TypeError):
        taper.addcmul(X, X, X, X)


def test_the_old_constructors_take_keywords():
    x = taper.ones(2)

    assert x.new(size=(2, 3)).shape == taper.Tensor(size=(2, 3)).shape == (2, 3)
    assert x.new(2, 2, device="cpu").shape == (2, 2)
    assert taper.Tensor(data=[1, 2]).tolist() == [1.0, 2.0]
    with pytest.raises(TypeError, match="data must be a sequence"):
        taper.Tensor(1.5)
    with pytest.raises(RuntimeError, match="legacy constructor expects device type: cpu"):
        x.new(2, device="cuda")


def test_empty_has_the_memory_format_it_is_asked_for():
    x = taper.empty((2, 3, 4, 5), memory_format=taper.channels_last)

    assert x.stride() == (60, 1, 15, 3)
    with pytest.raises(RuntimeError, match="required rank 4 tensor to use channels_last format"):
        taper.empty(2, 3, memory_format=taper.channels_last)
    with pytest.raises(RuntimeError, match="unsupported memory format Preserve"):
        taper.empty(2, 3, memory_format=taper.preserve_format)


def test_the_class_tensor_is_a_type_of_the_default_dtype():
    assert taper.arange(2).type(taper.Tensor).dtype == taper.float32
    assert taper.arange(2).type("torch.Tensor").dtype == taper.float32


def test_python_functions_on_elements_must_give_numbers():
    x = taper.arange(3.0)

    assert x.clone().map_(taper.ones(1), lambda a, b: a + b).tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(TypeError, match="must be real number, not str"):
        x.apply_(lambda v: "1")
    with pytest.raises(RuntimeError, match="number of sizes provided"):
        x.map_(taper.ones(3, 1), lambda a, b: a)


def test_lists_of_numbers_become_tensors_whatever_mixes_they_hold():
    assert taper.tensor([[1, 2], (3, 4)]).dtype == taper.int64
    assert taper.tensor([[1], [2.5]]).tolist() == [[1.0], [2.5]]
    assert taper.tensor([True, 2]).dtype == taper.int64
    assert taper.tensor([1.7, -2.9], dtype=taper.int32).tolist() == [1, -2]
    assert taper.tensor([-1], dtype=taper.uint8).tolist() == [255]
    assert taper.tensor([1e10], dtype=taper.float16).tolist() == [float("inf")]
    with pytest.raises(ValueError, match="expected sequence of length 2 at dim 1"):
        taper.tensor([[1, 2], [3]])
    for number, dtype in ((300, taper.uint8), (2**40, taper.int32), (float("nan"), taper.int32)):
        with pytest.raises(RuntimeError, match=r"cannot be converted to type .* without overflow"):
            taper.tensor([number], dtype=dtype)
