"""Seeds and states of the default generator: the module torch.random."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from taper.generator import Generator, default_generator

__all__ = [
    "Generator",
    "default_generator",
    "fork_rng",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "seed",
    "set_rng_state",
    "thread_safe_generator",
]


def manual_seed(seed: Any) -> Generator:
    """Starts the default generator's stream of this seed, and returns the generator.

    The seed is any number from -2**63 to 2**64 - 1; only the low 32 bits of its integer part make a
    difference. Raises: ValueError out of range.
    """
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Seeds the default generator from the operating system, and returns that seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed that the default generator began with."""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """The default generator's state, a uint8 tensor of 5056 bytes."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Makes the default generator go on from a state that get_rng_state() gave."""
    default_generator.set_state(new_state)


def thread_safe_generator() -> Generator | None:
    """The generator of a DataLoader's worker thread; None outside of one."""
    return None


@contextlib.contextmanager
def fork_rng(
    devices: Iterable[Any] | None = None,
    enabled: bool = True,
    _caller: str = "fork_rng",
    _devices_kw: str = "devices",
    device_type: str | None = None,
) -> Iterator[None]:
    """A context after which the default generator goes on as if nothing had been drawn inside.

    `devices` names further devices whose generators to keep; there are none but the CPU.
    """
    if not enabled:
        yield
        return
    state = default_generator.get_state()
    try:
        yield
    finally:
        default_generator.set_state(state)
