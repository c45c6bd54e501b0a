"""torch.multiprocessing: Python's multiprocessing; tensors travel between processes by copy."""

from __future__ import annotations

import multiprocessing
from multiprocessing import *  # noqa: F403
from typing import Any

__all__ = [  # noqa: PLE0604 - the names are strings
    *multiprocessing.__all__,
    "get_all_sharing_strategies",
    "get_sharing_strategy",
    "set_sharing_strategy",
    "spawn",
]

_strategy = "file_system"


def get_all_sharing_strategies() -> set[str]:
    """Names that set_sharing_strategy takes."""
    return {"file_descriptor", "file_system"}


def get_sharing_strategy() -> str:
    """What set_sharing_strategy was told."""
    return _strategy


def set_sharing_strategy(new_strategy: str) -> None:
    """Accepted: tensors are copied from process to process either way."""
    global _strategy
    if new_strategy not in get_all_sharing_strategies():
        raise AssertionError(f"unknown sharing strategy {new_strategy!r}")
    _strategy = new_strategy


def _numbered(function: Any, number: int, args: Any) -> None:
    function(number, *args)


class SpawnContext:
    """The processes of `spawn`."""

    def __init__(self, processes: list[Any]) -> None:
        self.processes = processes

    def pids(self) -> list[int]:
        """Their numbers."""
        return [int(process.pid) for process in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Waits; True once all have ended. Raises: RuntimeError if one ended with an error."""
        for number, process in enumerate(self.processes):
            process.join(timeout)
            if process.exitcode is None:
                return False
            if process.exitcode:
                for other in self.processes:
                    other.terminate()
                raise RuntimeError(f"process {number} terminated with exit code {process.exitcode}")
        return True


def spawn(
    fn: Any, args: Any = (), nprocs: int = 1, join: bool = True, daemon: bool = False,
    start_method: str = "spawn",
) -> SpawnContext | None:  # fmt: skip
    """Runs fn(i, *args) in `nprocs` fresh processes; waits for them if `join`."""
    context = multiprocessing.get_context(start_method)
    processes: list[Any] = []
    for number in range(nprocs):
        process = context.Process(  # type: ignore[attr-defined]
            target=_numbered, args=(fn, number, args), daemon=daemon
        )
        process.start()
        processes.append(process)
    made = SpawnContext(processes)
    if not join:
        return made
    while not made.join():
        pass
    return None
