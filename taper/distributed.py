"""torch.distributed for a group of one process: what programs call whether or not they run alone.

A program that is started by `torchrun --nproc-per-node 1`, or that asks is_initialized() before it
gathers, runs unchanged: with one member, a reduction gives the tensor itself. taper does not talk
to other processes; a larger group is NotImplementedError.
"""

from __future__ import annotations

import datetime
import os
from enum import Enum
from typing import Any

from taper.autograd.grad_mode import no_grad
from taper.errors import MissingFeature
from taper.tensor import Tensor

__all__ = [
    "Backend", "ProcessGroup", "ReduceOp", "Work", "all_gather", "all_gather_into_tensor",
    "all_gather_object", "all_reduce", "all_to_all", "barrier", "broadcast",
    "broadcast_object_list", "destroy_process_group", "gather", "gather_object", "get_backend",
    "get_rank", "get_world_size", "group", "init_process_group", "is_available",
    "is_gloo_available", "is_initialized", "is_mpi_available", "is_nccl_available",
    "is_torchelastic_launched", "monitored_barrier", "new_group", "reduce", "reduce_scatter",
    "reduce_scatter_tensor", "scatter",
]  # fmt: skip

_NOT_INITIALIZED = (
    "Default process group has not been initialized, please make sure to call init_process_group."
)


class ReduceOp(Enum):
    """How a reduction combines the members' tensors; one tensor stays as it is."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7


class Backend(str):
    """The name of what carries the messages, in lower case."""

    __slots__ = ()
    GLOO = "gloo"
    NCCL = "nccl"
    MPI = "mpi"
    UNDEFINED = "undefined"

    def __new__(cls, name: str) -> Backend:
        return super().__new__(cls, name.lower())


class ProcessGroup:
    """A group whose one member is this process."""

    def __init__(self, backend: str) -> None:
        self.backend = Backend(backend)

    def rank(self) -> int:
        """0."""
        return 0

    def size(self) -> int:
        """1."""
        return 1


class Work:
    """A collective call that has been done already."""

    def wait(self, timeout: Any = None) -> bool:
        """True: there is nothing to wait for."""
        return True

    def is_completed(self) -> bool:
        """True."""
        return True


class group:
    """`group.WORLD`, the group of all processes; None before init_process_group."""

    WORLD: ProcessGroup | None = None


def is_available() -> bool:
    """True."""
    return True


def is_initialized() -> bool:
    """Whether init_process_group was called."""
    return group.WORLD is not None


def is_torchelastic_launched() -> bool:
    """Whether torchrun started this process."""
    return os.environ.get("TORCHELASTIC_RUN_ID") is not None


def is_nccl_available() -> bool:
    """False: there is no GPU."""
    return False


def is_mpi_available() -> bool:
    """False."""
    return False


def is_gloo_available() -> bool:
    """True: the name "gloo" is accepted for a group of one."""
    return True


def init_process_group(
    backend: str | None = None, init_method: str | None = None,
    timeout: datetime.timedelta | None = None, world_size: int = -1, rank: int = -1,
    store: Any = None, group_name: str = "", pg_options: Any = None, device_id: Any = None,
) -> None:  # fmt: skip
    """Makes the group. Its size is `world_size` or the environment's WORLD_SIZE, and must be 1.

    Raises: ValueError if there is a group already or nothing tells its size, NotImplementedError
        for more than one process and for the backend "nccl".
    """
    if is_initialized():
        raise ValueError("trying to initialize the default process group twice!")
    if world_size < 0:
        for name in ("RANK", "WORLD_SIZE"):
            if name not in os.environ:
                raise ValueError(
                    "Error initializing torch.distributed using env:// rendezvous: environment "
                    f"variable {name} expected, but not set"
                )
        world_size = int(os.environ["WORLD_SIZE"])
    if world_size != 1:
        raise MissingFeature(
            "init_process_group",
            f"a group of {world_size} processes is not available; start one process",
        )
    chosen = Backend(backend or "gloo")
    if chosen == "nccl":
        raise MissingFeature("init_process_group", "there is no GPU for nccl; use backend='gloo'")
    group.WORLD = ProcessGroup(chosen)


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Ends the group; of several, the one that is given."""
    held = globals()["group"]
    assert held.WORLD is not None, "Process group cannot be None"
    if group is None or group is held.WORLD:
        held.WORLD = None


def new_group(ranks: list[int] | None = None, timeout: Any = None, backend: str | None = None,
              **options: Any) -> ProcessGroup:  # fmt: skip
    """Another group of this one process."""
    return ProcessGroup(backend or _world().backend)


def _world() -> ProcessGroup:
    if group.WORLD is None:
        raise ValueError(_NOT_INITIALIZED)
    return group.WORLD


def get_rank(group: ProcessGroup | None = None) -> int:
    """This process's number in the group, 0."""
    return _world().rank()


def get_world_size(group: ProcessGroup | None = None) -> int:
    """How many processes the group has, 1."""
    return _world().size()


def get_backend(group: ProcessGroup | None = None) -> Backend:
    """The group's backend."""
    return (group or _world()).backend


def _done(async_op: bool) -> Work | None:
    _world()
    return Work() if async_op else None


def _check_root(name: str, root: int | None) -> None:
    _world()
    if root not in (0, None):
        raise RuntimeError(f"ProcessGroupGloo::{name}: invalid root rank: {root}")


def _fill(targets: list[Tensor], sources: list[Tensor], names: str) -> None:
    if len(targets) != len(sources):
        raise ValueError(f"{names} must have one tensor for each of 1 processes")
    with no_grad():
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source.reshape(target.shape))


def all_reduce(tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: Any = None,
               async_op: bool = False) -> Work | None:  # fmt: skip
    """Puts the reduction over all processes into `tensor`: with one, it stays as it is."""
    return _done(async_op)


def reduce(tensor: Tensor, dst: int | None = None, op: ReduceOp = ReduceOp.SUM, group: Any = None,
           async_op: bool = False, group_dst: int | None = None) -> Work | None:  # fmt: skip
    """The reduction at one process, this one."""
    _check_root("reduce", dst)
    return _done(async_op)


def broadcast(tensor: Tensor, src: int | None = None, group: Any = None, async_op: bool = False,
              group_src: int | None = None) -> Work | None:  # fmt: skip
    """Gives all processes the tensor of one, this one."""
    _check_root("broadcast", src)
    return _done(async_op)


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None,
            timeout: Any = None) -> Work | None:  # fmt: skip
    """Waits for all processes."""
    return _done(async_op)


def monitored_barrier(group: Any = None, timeout: Any = None, wait_all_ranks: bool = False) -> None:
    """Waits for all processes."""
    _done(False)


def all_gather(tensor_list: list[Tensor], tensor: Tensor, group: Any = None,
               async_op: bool = False) -> Work | None:  # fmt: skip
    """Copies every process's tensor into a list of tensors."""
    done = _done(async_op)
    _fill(tensor_list, [tensor], "tensor_list")
    return done


def all_gather_into_tensor(output_tensor: Tensor, input_tensor: Tensor, group: Any = None,
                           async_op: bool = False) -> Work | None:  # fmt: skip
    """Copies every process's tensor into one tensor."""
    done = _done(async_op)
    _fill([output_tensor], [input_tensor], "output_tensor")
    return done


def gather(tensor: Tensor, gather_list: list[Tensor] | None = None, dst: int | None = None,
           group: Any = None, async_op: bool = False,
           group_dst: int | None = None) -> Work | None:  # fmt: skip
    """Copies every process's tensor into a list at one process."""
    _check_root("gather", dst)
    _fill(gather_list or [], [tensor], "gather_list")
    return _done(async_op)


def scatter(tensor: Tensor, scatter_list: list[Tensor] | None = None, src: int | None = None,
            group: Any = None, async_op: bool = False,
            group_src: int | None = None) -> Work | None:  # fmt: skip
    """Takes this process's tensor of a list that one process has."""
    _check_root("scatter", src)
    _fill([tensor], scatter_list or [], "scatter_list")
    return _done(async_op)


def reduce_scatter(output: Tensor, input_list: list[Tensor], op: ReduceOp = ReduceOp.SUM,
                   group: Any = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """Reduces a list of tensors and keeps this process's."""
    done = _done(async_op)
    _fill([output], input_list, "input_list")
    return done


def reduce_scatter_tensor(output: Tensor, input: Tensor, op: ReduceOp = ReduceOp.SUM,
                          group: Any = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """Reduces a tensor and keeps this process's part."""
    return all_gather_into_tensor(output, input, group, async_op)


def all_to_all(output_tensor_list: list[Tensor], input_tensor_list: list[Tensor],
               group: Any = None, async_op: bool = False) -> Work | None:  # fmt: skip
    """Sends the n-th tensor of a list to the n-th process."""
    done = _done(async_op)
    _fill(output_tensor_list, input_tensor_list, "output_tensor_list")
    return done


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """Puts every process's object into a list."""
    _world()
    object_list[0] = obj


def gather_object(obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None,
                  group: Any = None, group_dst: int | None = None) -> None:  # fmt: skip
    """Puts every process's object into a list at one process."""
    _check_root("gather", dst)
    if object_gather_list is None:
        raise ValueError("Argument ``object_gather_list`` must be specified on destination rank.")
    object_gather_list[0] = obj


def broadcast_object_list(object_list: list[Any], src: int | None = None, group: Any = None,
                          device: Any = None, group_src: int | None = None) -> None:  # fmt: skip
    """Gives all processes the objects of one, this one."""
    _check_root("broadcast", src)
