"""Indexing: what is a view, what is a copy, what is refused and with which words."""

from __future__ import annotations

import numpy as np
import pytest

import taper
from taper import tensor

X = np.arange(24.0).reshape(2, 3, 4)

BASIC = [
    0,
    -1,
    (1, 2),
    slice(None),
    slice(1, None),
    (slice(None), slice(None, None, 2)),
    (..., 0),
    (0, ..., 1),
    None,
    (slice(None), None, 1),
    (1, 2, 3),
    (slice(5, 9),),
    (slice(-2, None), ..., None),
]


@pytest.fixture
def x():
    return tensor(X.copy())


@pytest.mark.parametrize("key", BASIC, ids=str)
def test_basic_keys_give_views(x, key):
    found = x[key]

    np.testing.assert_array_equal(found.numpy(), X[key])
    found.fill_(-7)
    expected = X.copy()
    expected[key] = -7
    np.testing.assert_array_equal(x.numpy(), expected)


ADVANCED = [
    ([0, 1],),
    (np.array([1, 0, 1]),),
    (slice(None), [2, 0]),
    ([0, 1], [1, 2]),
    ([[0], [1]], [1, 2, 0]),
    ([0, 1], slice(None), [1, 2]),
    (..., [1, 2]),
    (X > 11,),
    (slice(None), X[0] > 5),
    (np.array([True, False]), 1),
    (None, [1]),
]


@pytest.mark.parametrize("key", ADVANCED, ids=str)
def test_index_tensors_give_copies_in_numpys_order_of_dimensions(x, key):
    mine = tuple(taper.from_numpy(k) if isinstance(k, np.ndarray) else k for k in key)

    found = x[mine]

    np.testing.assert_array_equal(found.numpy(), X[key])
    found.fill_(-7)
    np.testing.assert_array_equal(x.numpy(), X)


@pytest.mark.parametrize("key", BASIC + ADVANCED, ids=str)
def test_assignment_writes_where_the_key_selects(x, key):
    mine = key
    if isinstance(key, tuple):
        mine = tuple(taper.from_numpy(k) if isinstance(k, np.ndarray) else k for k in key)
    expected = X.copy()
    value = -np.arange(X[key].size, dtype=np.float64).reshape(X[key].shape) - 1
    if X[key].size == np.unique(X[key]).size:  # which of two equal places wins is not defined
        expected[key] = value
        x[mine] = tensor(value)
    else:
        expected[key] = -1
        x[mine] = -1

    np.testing.assert_array_equal(x.numpy(), expected)


@pytest.mark.parametrize("key", BASIC + ADVANCED, ids=str)
def test_the_gradient_of_an_index_counts_every_use(x, key):
    x.requires_grad_()
    mine = key
    if isinstance(key, tuple):
        mine = tuple(taper.from_numpy(k) if isinstance(k, np.ndarray) else k for k in key)

    x[mine].sum().backward()

    uses = np.zeros_like(X)
    np.add.at(uses, key, 1)
    np.testing.assert_array_equal(x.grad.numpy(), uses)


def test_a_number_is_applied_before_the_index_tensors_are_unlike_in_numpy(x):
    assert x[0, :, [3, 3]].shape == (3, 2)
    assert X[0, :, [3, 3]].shape == (2, 3)


def test_a_list_of_floats_is_truncated(x):
    assert x[[1.5]].tolist() == x[[1]].tolist()


@pytest.mark.parametrize(
    "key", [[0, slice(1, 2)], [[0, 1], [1, 2]], [(0, 1), [1]], [[0, 1], None], [np.array([1, 0])]]
)
def test_a_list_of_sequences_or_slices_is_read_as_a_tuple_with_a_warning(x, key):
    """The warning names the line that indexes, however deep the call is inside."""
    with pytest.warns(UserWarning, match="Using a non-tuple sequence") as caught:
        found = x[key]

    assert found.tolist() == x[tuple(key)].tolist()
    assert caught[0].filename == __file__


def test_masks_of_bytes_warn_at_the_line_that_indexes(x):
    with pytest.warns(UserWarning, match="indexing with dtype torch.uint8") as caught:
        assert x[tensor([1, 0], dtype=taper.uint8)].shape == (1, 3, 4)

    assert caught[0].filename == __file__


def test_items_cannot_be_deleted(x):
    with pytest.raises(TypeError, match="Tensor does not support deleting items"):
        del x[0]


def test_index_put_refuses_values_of_more_dimensions_than_it_picks():
    """x[i] = values drops sizes of 1 in front; index_put_ does not."""
    x, i = taper.zeros(3), tensor([0, 1])

    x[i] = taper.ones(1, 2)
    with pytest.raises(RuntimeError, match=r"value tensor of shape \[1, 2\] cannot be broadcast"):
        x.index_put_((i,), taper.ones(1, 2))
    with pytest.raises(RuntimeError, match=r"result of shape \[\]"):
        tensor(1.0).index_put([], tensor([1.0]), True)

    assert x.tolist() == [1.0, 1.0, 0.0]


def test_a_python_bool_adds_a_dimension(x):
    assert x[True].shape == (1, 2, 3, 4)
    assert x[False].shape == (0, 2, 3, 4)


def test_numbers_and_index_tensors_of_several_integer_dtypes_work_as_indices(x):
    assert x[tensor(1)].shape == (3, 4)
    assert x[np.int64(1)].shape == (3, 4)
    assert x[tensor([1], dtype=taper.int32)].shape == (1, 3, 4)
    assert x[tensor(0) : tensor(1)].shape == (1, 3, 4)


@pytest.mark.parametrize(
    ("key", "error", "text"),
    [
        (2, IndexError, "index 2 is out of bounds for dimension 0 with size 2"),
        ((0, -4), IndexError, "index -4 is out of bounds for dimension 1 with size 3"),
        (([0, 2],), IndexError, "index 2 is out of bounds for dimension 0 with size 2"),
        ((0, 0, 0, 0), IndexError, "too many indices for tensor of dimension 3"),
        (slice(None, None, -1), ValueError, "step must be greater than zero"),
        (slice(None, None, 0), ValueError, "slice step cannot be zero"),
        (1.5, IndexError, "only integers, slices"),
        ("a", TypeError, "invalid data type 'str'"),
        (slice(1.0, None), TypeError, "slice indices must be integers or None"),
    ],
    ids=str,
)
def test_a_wrong_key_says_what_is_wrong(x, key, error, text):
    with pytest.raises(error, match=text):
        x[key]


def test_wrong_index_tensors_say_what_is_wrong(x):
    with pytest.raises(IndexError, match="must be long, int, byte or bool tensors"):
        x[tensor([0.5])]
    with pytest.raises(IndexError, match=r"shape of the mask \[3\] at index 0 does not match"):
        x[tensor([True, False, True])]
    with pytest.raises(IndexError, match=r"could not be broadcast together with shapes \[2\], \[3"):
        x[tensor([0, 1]), tensor([0, 1, 2])]
    with pytest.raises(IndexError, match="invalid index of a 0-dim tensor"):
        tensor(1.0)[0]


def test_wrong_values_say_what_is_wrong(x):
    with pytest.raises(TypeError, match=r"can't assign a list to a torch.DoubleTensor"):
        x[0] = [1, 2]
    with pytest.raises(RuntimeError, match=r"expanded size of the tensor \(4\) must match"):
        x[0] = taper.ones(3)
    with pytest.raises(RuntimeError, match=r"value tensor of shape \[3\] cannot be broadcast to"):
        x[x > 11] = taper.ones(3)


@pytest.mark.parametrize(
    "write",
    [
        lambda y, i: i.index_add_(0, i, i.clone()),
        lambda y, i: y.index_copy_(0, taper.arange(6), y),
        lambda y, i: i.index_fill_(0, i, 0),
        lambda y, i: y.put_(i, y[:3]),
        lambda y, i: i.index_put_((i,), i.clone()),
        lambda y, i: y.index_put_((i,), y[:3]),
        lambda y, i: i.scatter_(0, i, i.clone()),
        lambda y, i: y.scatter_add_(0, taper.arange(6), y),
    ],
)
def test_what_is_written_by_indices_may_not_be_read_meanwhile(write):
    with pytest.raises(RuntimeError, match="unsupported operation: some elements of the input"):
        write(taper.rand(6), tensor([2, 1, 0]))


@pytest.mark.parametrize("name", ["index_fill_", "masked_fill_", "index_put_"])
def test_filling_expanded_tensors_warns_at_the_line_that_does(name):
    x = taper.zeros(1).expand(3)
    mask, index = tensor([True, False, False]), tensor([0])
    arguments = {
        "index_fill_": (0, index, 1.0), "masked_fill_": (mask, 1.0),
        "index_put_": ((index,), taper.ones(1)),
    }  # fmt: skip

    with pytest.warns(UserWarning, match=f"Use of {name} on expanded tensors") as caught:
        getattr(x, name)(*arguments[name])

    assert caught[0].filename == __file__


@pytest.mark.parametrize("value", [7, tensor([2.5]), tensor(-1.5)])
@pytest.mark.parametrize("dtype", [taper.float32, taper.float64, taper.float16, taper.int64])
def test_one_element_fills_a_mask_of_the_whole_shape(dtype, value):
    """However many elements there are and however they lie: it is written at once."""
    for shape in ((3,), (40, 50)):
        x = taper.arange(int(np.prod(shape))).reshape(shape).to(dtype)
        x = x.T if x.ndim == 2 else x
        mask = x % 3 == 1
        kept = x.clone()

        if isinstance(value, taper.Tensor):
            value = value.to(dtype)
        x[mask] = value

        assert (x[mask] == value).all()
        assert x[~mask].tolist() == kept[~mask].tolist()
