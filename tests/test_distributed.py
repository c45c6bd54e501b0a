"""torch.distributed in a group of one process."""

from __future__ import annotations

import pytest

import taper as torch
from taper import distributed, nn
from taper.utils.data.distributed import DistributedSampler


@pytest.fixture
def alone(monkeypatch):
    """A group of this process, made as torchrun's environment asks for it."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    distributed.init_process_group("gloo")
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


def test_without_a_group_there_is_no_rank():
    assert distributed.is_available() and not distributed.is_initialized()
    for ask in (distributed.get_rank, distributed.get_world_size, distributed.barrier):
        with pytest.raises(ValueError, match="Default process group has not been initialized"):
            ask()


def test_the_environment_tells_the_size(alone):
    assert (distributed.get_rank(), distributed.get_world_size()) == (0, 1)
    assert distributed.get_backend() == "gloo"


def test_a_reduction_over_one_process_is_its_tensor(alone):
    x = torch.tensor([1.0, 2.0])

    assert distributed.all_reduce(x) is None
    assert distributed.all_reduce(x, distributed.ReduceOp.MAX, async_op=True).wait()
    assert x.tolist() == [1.0, 2.0]


def test_gathering_copies(alone):
    x = torch.tensor([1.0, 2.0])
    found, flat, kept = [torch.zeros(2)], torch.zeros(2), [None]

    distributed.all_gather(found, x)
    distributed.all_gather_into_tensor(flat, x)
    distributed.all_gather_object(kept, "a")
    x.zero_()

    assert found[0].tolist() == flat.tolist() == [1.0, 2.0] and kept == ["a"]


def test_a_root_outside_the_group_is_refused(alone):
    with pytest.raises(RuntimeError, match="broadcast: invalid root rank: 1"):
        distributed.broadcast(torch.ones(1), src=1)


def test_a_second_group_is_refused(alone):
    with pytest.raises(ValueError, match="initialize the default process group twice"):
        distributed.init_process_group("gloo", world_size=1, rank=0)


def test_more_than_one_process_is_not_available():
    with pytest.raises(NotImplementedError, match="a group of 2 processes"):
        distributed.init_process_group("gloo", world_size=2, rank=0)
    with pytest.raises(ValueError, match="environment variable RANK expected"):
        distributed.init_process_group("gloo")
    assert not distributed.is_initialized()


def test_a_module_of_the_group_is_the_module_under_the_name_module(alone):
    module = nn.Linear(2, 3)
    parallel = nn.parallel.DistributedDataParallel(module)
    x = torch.ones(1, 2)

    with parallel.no_sync():
        parallel(x).sum().backward()

    assert torch.equal(parallel(x), module(x)) and module.weight.grad is not None
    assert list(parallel.state_dict()) == ["module.weight", "module.bias"]


def test_a_parallel_module_needs_a_group():
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        nn.parallel.DistributedDataParallel(nn.Linear(2, 3))


def test_the_sampler_asks_the_group(alone):
    assert list(DistributedSampler(range(4), shuffle=False)) == [0, 1, 2, 3]
