"""torch.cpu: the CPU through the interface of an accelerator. Its work is done when it returns."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any


def is_available() -> bool:
    """True."""
    return True


def is_initialized() -> bool:
    """True."""
    return True


def device_count() -> int:
    """1."""
    return 1


def current_device() -> str:
    """ "cpu"."""
    return "cpu"


def set_device(device: Any) -> None:
    """Nothing: there is one CPU."""


def synchronize(device: Any = None) -> None:
    """Nothing: no work is pending."""


class Stream:
    """A queue of work that is always empty."""

    def __init__(self, priority: int = -1) -> None:
        self.priority = priority

    def wait_stream(self, stream: Any) -> None:
        """Nothing: no work is pending."""

    def record_event(self) -> None:
        """Nothing: no work is pending."""

    def wait_event(self, event: Any) -> None:
        """Nothing: no work is pending."""


class Event:
    """A mark in a queue of work."""

    def query(self) -> bool:
        """True: all work is done."""
        return True

    def record(self, stream: Any = None) -> None:
        """Nothing: no work is pending."""

    def synchronize(self) -> None:
        """Nothing: no work is pending."""

    def wait(self, stream: Any = None) -> None:
        """Nothing: no work is pending."""


_stream = Stream()


def current_stream(device: Any = None) -> Stream:
    """The one stream."""
    return _stream


@contextmanager
def stream(stream: Stream | None) -> Any:
    """A context in which `stream` is current."""
    yield


StreamContext = stream


def get_capabilities() -> dict[str, Any]:
    """Architecture and vector instructions of the processor, as far as the system tells."""
    import platform

    found: dict[str, Any] = {"architecture": platform.machine()}
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((line for line in file if line.startswith("flags")), "").split()
    except OSError:
        flags = []
    for name in ("sse4_1", "sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16"):
        found[name] = name in flags
    return found
