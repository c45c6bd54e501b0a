"""Embedding, EmbeddingBag and one_hot: rows, padding, norms, bags, gradients, errors."""

from __future__ import annotations

import numpy as np
import pytest

import taper as torch
import taper.nn.functional as F
from taper import nn
from taper.autograd import gradcheck


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def table(rows=5, columns=3, **options):
    values = np.sin(np.arange(rows * columns)).reshape(rows, columns)
    return torch.tensor(values.tolist(), dtype=torch.float64, **options)


# ---------------------------------------------------------------- embedding


@pytest.mark.parametrize("columns", [1, 2, 3, 8])
def test_the_gradient_adds_up_where_a_row_is_used_often(columns):
    weight = table(5, columns, requires_grad=True)
    index = torch.tensor([[1, 1, 4], [0, 1, 4]])
    out = F.embedding(index, weight)
    grad = torch.randn(2, 3, columns, dtype=torch.float64)
    out.backward(grad)

    expected = np.zeros((5, columns))
    np.add.at(expected, index.numpy(), grad.numpy())
    assert torch.equal(out, weight[index])
    np.testing.assert_allclose(weight.grad.tolist(), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_many_uses_of_a_row_are_summed_without_loss(dtype):
    weight = torch.zeros(2, 2, dtype=dtype, requires_grad=True)
    F.embedding(torch.zeros(4096, dtype=torch.long), weight).sum().backward()

    assert weight.grad.dtype == dtype and weight.grad.tolist() == [[4096, 4096], [0, 0]]


def test_the_padding_row_does_not_learn():
    weight = table(requires_grad=True)
    F.embedding(torch.tensor([1, 2, 2]), weight, padding_idx=-3).sum().backward()

    assert weight.grad[:, 0].tolist() == [0, 1, 0, 0, 0]


def test_gradients_by_frequency():
    weight = table(requires_grad=True)
    F.embedding(torch.tensor([1, 2, 2, 2]), weight, scale_grad_by_freq=True).sum().backward()

    np.testing.assert_allclose(weight.grad[:, 0].tolist(), [0, 1, 1, 0, 0], rtol=1e-12)


def test_a_strided_table():
    weight = table(3, 5).t()

    assert torch.equal(F.embedding(torch.tensor([4, 0]), weight), weight[[4, 0]])


def test_max_norm_shortens_the_rows_that_are_used_in_place():
    weight = torch.tensor([[3.0, 4.0], [0.3, 0.4], [6.0, 8.0]], requires_grad=True)
    version = weight._version
    out = F.embedding(torch.tensor([0, 1, 0]), weight, max_norm=1.0)

    np.testing.assert_allclose(out.tolist(), [[0.6, 0.8], [0.3, 0.4], [0.6, 0.8]], rtol=1e-5)
    assert weight[2].tolist() == [6, 8] and weight._version > version


def test_indices_may_be_int32_and_0_d_and_empty():
    weight = table()

    assert F.embedding(torch.tensor(2, dtype=torch.int32), weight).shape == (3,)
    assert F.embedding(torch.zeros(0, 2, dtype=torch.long), weight).shape == (0, 2, 3)


def test_second_derivatives_by_padding_and_frequency():
    weight = table(requires_grad=True)
    index = torch.tensor([1, 2, 2])
    out = F.embedding(index, weight, padding_idx=1, scale_grad_by_freq=True)
    grad = torch.ones(3, 3, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(out, weight, grad, create_graph=True)
    first.sum().backward()

    assert grad.grad[:, 0].tolist() == [0, 0.5, 0.5]


@pytest.mark.parametrize(
    "index, error, text",
    [
        ([5], IndexError, "index out of range in self"),
        ([-1], IndexError, "index out of range in self"),
        ([1.0], RuntimeError, "scalar types: Long, Int; but got torch.FloatTensor"),
    ],
)
def test_indices_that_do_not_fit(index, error, text):
    with pytest.raises(error, match=text):
        F.embedding(torch.tensor(index), table())


def test_arguments_that_do_not_fit():
    with pytest.raises(AssertionError, match="Padding_idx must be within num_embeddings"):
        F.embedding(torch.tensor([1]), table(), padding_idx=5)
    with pytest.raises(RuntimeError, match="'weight' must be 2-D"):
        F.embedding(torch.tensor([1]), table()[0])
    with pytest.raises(NotImplementedError, match="leave sparse=False"):
        F.embedding(torch.tensor([1]), table(requires_grad=True), sparse=True)
    with pytest.raises(TypeError, match=r"argument 'indices' \(position 2\) must be Tensor"):
        F.embedding([1], table())


def test_sparse_is_allowed_where_no_gradient_is_recorded():
    index = torch.tensor([[1, 2]])
    with torch.no_grad():
        weight = table(requires_grad=True)

        assert torch.equal(F.embedding(index, weight, sparse=True), weight[index])
    assert F.embedding_bag(index, table(), sparse=True).shape == (1, 3)


def test_the_layer_starts_normal_with_a_row_of_zeros_for_padding():
    torch.manual_seed(0)
    layer = nn.Embedding(4, 2, padding_idx=-1)
    torch.manual_seed(0)
    drawn = torch.randn(4, 2)

    assert layer.padding_idx == 3
    assert torch.equal(layer.weight[:3], drawn[:3]) and layer.weight[3].tolist() == [0, 0]
    assert repr(layer) == "Embedding(4, 2, padding_idx=3)"
    assert layer(torch.tensor([[0, 3]])).shape == (1, 2, 2)


def test_from_pretrained_freezes_unless_told():
    frozen = nn.Embedding.from_pretrained(table())
    learning = nn.Embedding.from_pretrained(table(), freeze=False)

    assert not frozen.weight.requires_grad and learning.weight.requires_grad
    assert torch.equal(frozen(torch.tensor([2])), table()[2:3])
    with pytest.raises(AssertionError, match="expected to be 2-dimensional"):
        nn.Embedding.from_pretrained(table()[0])


# ---------------------------------------------------------------- bags


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_by_offsets(mode):
    weight = table(requires_grad=True)
    index, offsets = torch.tensor([1, 0, 3, 3, 4]), torch.tensor([0, 2, 2])  # bag 1 is empty
    made = F.embedding_bag(index, weight, offsets, mode=mode)
    reduce = {"sum": lambda x: x.sum(0), "mean": lambda x: x.mean(0), "max": lambda x: x.amax(0)}

    expected = [
        reduce[mode](weight[[1, 0]]).tolist(),
        [0, 0, 0],
        reduce[mode](weight[[3, 3, 4]]).tolist(),
    ]
    np.testing.assert_allclose(made.tolist(), expected, rtol=1e-12)
    assert made.grad_fn.name() == "EmbeddingBagBackward0"
    assert gradcheck(lambda w: F.embedding_bag(index, w, offsets, mode=mode), [weight])


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_rows_of_a_matrix_are_bags(mode):
    index = torch.tensor([[1, 0], [3, 4]])
    flat = F.embedding_bag(index.reshape(-1), table(), torch.tensor([0, 2]), mode=mode)

    assert torch.equal(F.embedding_bag(index, table(), mode=mode), flat)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_padding_does_not_count(mode):
    index = torch.tensor([[1, 2, 0], [2, 2, 2]])
    made = F.embedding_bag(index, table(), mode=mode, padding_idx=2)
    kept = F.embedding_bag(torch.tensor([[1, 0]]), table(), mode=mode)

    assert torch.equal(made[:1], kept) and made[1].tolist() == [0, 0, 0]


def test_weights_of_the_samples_learn_too():
    index = torch.tensor([[1, 0], [3, 3]])
    samples = torch.tensor([[0.5, 2.0], [1.0, -1.0]], dtype=torch.float64, requires_grad=True)

    assert gradcheck(
        lambda w, s: F.embedding_bag(index, w, mode="sum", per_sample_weights=s, padding_idx=0),
        [table(requires_grad=True), samples],
    )


def test_the_last_offset_may_end_the_last_bag():
    index = torch.tensor([1, 0, 3, 4])
    made = F.embedding_bag(
        index, table(), torch.tensor([0, 2, 3]), mode="sum", include_last_offset=True
    )

    np.testing.assert_allclose(made[1].tolist(), table()[3].tolist())
    assert made.shape == (2, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_half_types(mode, dtype):
    weight = table().to(dtype).requires_grad_()
    made = F.embedding_bag(torch.tensor([[1, 1]]), weight, mode=mode)
    made.sum().backward()

    expected = weight[1] * 2 if mode == "sum" else weight[1]
    assert made.dtype == dtype and torch.equal(made[0], expected)
    assert weight.grad[1].tolist() == [2 if mode == "sum" else 1] * 3


@pytest.mark.parametrize(
    "change, error, text",
    [
        ({"offsets": None}, ValueError, "offsets has to be a 1D Tensor but got None"),
        ({"input": torch.tensor([[1, 0]])}, ValueError, "if input is 2D, then offsets has to be"),
        ({"mode": "min"}, ValueError, "mode has to be one of sum, mean or max"),
        ({"offsets": torch.tensor([1, 2])}, RuntimeError, r"offsets\[0\] has to be 0"),
        ({"offsets": torch.tensor([0, 4])}, RuntimeError, "greater than input's length 3"),
        ({"input": torch.tensor([1, 0, 5])}, RuntimeError, "takes value 5 .* valid range"),
        ({"padding_idx": 5}, RuntimeError, "-5 through 4, but got 5"),
        (
            {"mode": "max", "scale_grad_by_freq": True},
            ValueError,
            "max mode does not support scaling",
        ),
        (
            {"per_sample_weights": torch.ones(3).double()},
            NotImplementedError,
            "only supported for mode='sum'",
        ),
        (
            {"per_sample_weights": torch.ones(2)},
            ValueError,
            "must have the same shape as the input",
        ),
        (
            {"sparse": True, "weight": table(requires_grad=True)},
            NotImplementedError,
            "leave sparse=False",
        ),
    ],
)
def test_bags_that_do_not_fit(change, error, text):
    arguments = {
        "input": torch.tensor([1, 0, 3]),
        "weight": table(),
        "offsets": torch.tensor([0, 2]),
    }
    with pytest.raises(error, match=text):
        F.embedding_bag(**arguments | change)


def test_the_bag_layer():
    layer = nn.EmbeddingBag(5, 3, mode="sum", padding_idx=0)

    assert repr(layer) == "EmbeddingBag(5, 3, mode='sum', padding_idx=0)"
    assert layer(torch.tensor([[0, 1]])).tolist() == layer.weight[1:2].tolist()
    assert not nn.EmbeddingBag.from_pretrained(table()).weight.requires_grad
    with pytest.raises(AssertionError, match="padding_idx must be within num_embeddings"):
        nn.EmbeddingBag(5, 3, padding_idx=5)


# ---------------------------------------------------------------- one_hot


def test_one_hot():
    assert F.one_hot(torch.tensor([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert F.one_hot(torch.tensor(1), 3).tolist() == [0, 1, 0]
    assert F.one_hot(torch.zeros(0, dtype=torch.long), 3).shape == (0, 3)
    assert F.one_hot(torch.tensor([2])).dtype == torch.int64


@pytest.mark.parametrize(
    "classes, count, text",
    [
        ([3], 3, "Class values must be smaller than num_classes"),
        ([-1], -1, "Class values must be non-negative"),
        ([], -1, "Can not infer total number of classes from empty tensor"),
        ([1.0], -1, "index tensor of type LongTensor"),
    ],
)
def test_one_hot_of_what_is_no_class(classes, count, text):
    values = torch.tensor(classes) if classes else torch.zeros(0, dtype=torch.long)
    with pytest.raises(RuntimeError, match=text):
        F.one_hot(values, count)
