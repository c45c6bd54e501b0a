"""Storages: windows on the memory that a tensor shares with its views."""

from __future__ import annotations

import pytest

import taper


def test_a_view_shares_its_storage_with_the_whole():
    x = taper.arange(6.0).reshape(2, 3)

    assert x[1].untyped_storage() == x.untyped_storage()
    assert x[1].storage_offset() == 3
    assert x.t().storage().tolist() == [0, 1, 2, 3, 4, 5]
    assert x.clone().untyped_storage() != x.untyped_storage()


def test_what_is_written_through_a_storage_shows_in_the_tensor_and_its_version():
    x = taper.zeros(3)

    x.storage()[1] = 5
    x.untyped_storage()[8:] = 0

    assert x.tolist() == [0, 5, 0]
    assert x._version == 2


def test_storages_print_as_pytorchs_do():
    x = taper.tensor([1.0, 2.5])

    assert repr(x.storage()) == (
        " 1.0\n 2.5\n[torch.storage.TypedStorage(dtype=torch.float32, device=cpu) of size 2]"
    )
    assert repr(taper.UntypedStorage([7])) == (
        " 7\n[torch.storage.UntypedStorage(device=cpu) of size 1]"
    )


def test_a_typed_storage_is_cast_and_copied():
    x = taper.tensor([1.5, 2.0])

    assert x.storage().int().tolist() == [1, 2]
    assert x.storage().type() == "torch.FloatStorage"
    y = taper.zeros(2)
    y.storage().copy_(x.storage())
    assert y.tolist() == [1.5, 2.0]


def test_sizes_are_fixed():
    storage = taper.ones(2).untyped_storage()

    assert storage.resize_(8) is storage
    with pytest.raises(NotImplementedError, match="size of a storage is fixed; use"):
        storage.resize_(16)


def test_the_old_types_make_storages_of_their_dtype():
    made = taper.FloatStorage([1, 2, 3])

    assert made.tolist() == [1.0, 2.0, 3.0] and made.type() == "torch.FloatStorage"
    assert taper.LongStorage(2).tolist() == [0, 0] and len(taper.IntStorage()) == 0
    assert isinstance(made, taper.FloatStorage) and not isinstance(made, taper.IntStorage)
    assert taper.ones(2).storage_type() is taper.FloatStorage
    with pytest.raises(RuntimeError, match="Too many positional arguments"):
        taper.FloatStorage(1, 2)
    with pytest.raises(TypeError, match="Argument type not recognized"):
        taper.FloatStorage("a")


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_tensors_are_made_of_storages_of_their_dtype_or_of_bytes():
    x = taper.arange(4.0)

    assert taper.tensor(x.storage()).tolist() == x.tolist()
    assert taper.tensor(x.untyped_storage(), dtype=taper.float32).tolist() == x.tolist()
    assert taper.FloatTensor(x.storage()).data_ptr() == x.data_ptr()
    assert taper.empty(0).set_(x.untyped_storage()).tolist() == x.tolist()
    for refused in (
        lambda: taper.tensor(x.storage(), dtype=taper.int32),
        lambda: taper.IntTensor(x.storage()),
        lambda: taper.empty(0, dtype=taper.int32).set_(x.storage()),
    ):
        with pytest.raises(RuntimeError, match="Expected a Storage of type Int"):
            refused()
