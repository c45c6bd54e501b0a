"""torch.cuda on a machine without a GPU: the questions have answers, the rest is an error.

Programs ask `torch.cuda.is_available()` before anything else, so these answers are those of a
PyTorch that was built for the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from typing import Any

from taper import amp
from taper.tensor import Tensor

_NO_CUDA = "Torch not compiled with CUDA enabled"


def is_available() -> bool:
    """False: taper has no GPU backend yet."""
    return False


def is_initialized() -> bool:
    """False."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def init() -> None:
    """Raises: AssertionError, there is no GPU."""
    raise AssertionError(_NO_CUDA)


def _needs_a_gpu(name: str, text: str) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(_NO_CUDA)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{text} Raises: AssertionError, there is no GPU."
    return function


current_device = _needs_a_gpu("current_device", "Index of the current GPU.")
current_stream = _needs_a_gpu("current_stream", "The current stream.")
default_stream = _needs_a_gpu("default_stream", "The default stream.")
get_device_name = _needs_a_gpu("get_device_name", "Name of a GPU.")
get_device_capability = _needs_a_gpu("get_device_capability", "Compute capability of a GPU.")
get_device_properties = _needs_a_gpu("get_device_properties", "Properties of a GPU.")
get_rng_state = _needs_a_gpu("get_rng_state", "State of a GPU's random generator.")
set_rng_state = _needs_a_gpu("set_rng_state", "Sets the state of a GPU's random generator.")
initial_seed = _needs_a_gpu("initial_seed", "Seed of a GPU's random generator.")
mem_get_info = _needs_a_gpu("mem_get_info", "Free and total memory of a GPU.")
set_device = _needs_a_gpu("set_device", "Chooses a GPU.")
synchronize = _needs_a_gpu("synchronize", "Waits for a GPU.")


def manual_seed(seed: int) -> None:
    """Nothing: there is no generator to seed."""


manual_seed_all = manual_seed


def seed() -> None:
    """Nothing: there is no generator to seed."""


seed_all = seed


def get_rng_state_all() -> list[Tensor]:
    """The states of all GPUs' generators: none."""
    return []


def set_rng_state_all(new_states: Any) -> None:
    """Sets the states of all GPUs' generators: none."""


def empty_cache() -> None:
    """Nothing: no memory of a GPU is held."""


def _no_bytes(device: Any = None) -> int:
    """0 bytes."""
    return 0


memory_allocated = max_memory_allocated = memory_reserved = max_memory_reserved = _no_bytes


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """A text about no memory."""
    return "no GPU"


def reset_peak_memory_stats(device: Any = None) -> None:
    """Nothing: no memory of a GPU is held."""


reset_max_memory_allocated = reset_peak_memory_stats


class Stream:
    """A queue of work on a GPU. Raises: AssertionError, there is no GPU."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError(_NO_CUDA)


class Event(Stream):
    """A mark in a stream. Raises: AssertionError, there is no GPU."""


def stream(stream: Stream | None) -> Any:
    """A context in which `stream` is current; None changes nothing."""
    return nullcontext()


@contextmanager
def device(device: Any) -> Any:
    """A context in which the GPU `device` is current; -1 and None change nothing."""
    if device is not None and device != -1:
        raise AssertionError(_NO_CUDA)
    yield


def __getattr__(name: str) -> Any:
    # Since torch.amp has them for every device; old programs look here.
    if name in ("amp",):
        return amp
    raise AttributeError(f"module 'torch.cuda' has no attribute {name!r}")
