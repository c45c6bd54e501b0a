"""torch.torch_version: which PyTorch a program finds; TorchVersion compares as versions do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import taper

__all__ = ["TorchVersion"]

_PARTS = re.compile(r"v?(\d+(?:\.\d+)*)(?:[-_.]?(a|b|c|rc|alpha|beta|dev|post)[-_.]?(\d*))?")
_BEFORE = ("dev", "a", "alpha", "b", "beta", "c", "rc")
RELEASE = (1, len(_BEFORE), 0)


class TorchVersion(str):
    """A version that is a string, and that compares with strings and tuples by its numbers.

    >>> TorchVersion("2.13.0") >= "2.2", TorchVersion("2.13.0") > (2, 13)
    (True, False)
    """

    __slots__ = ()

    def _compared(self, other: Any) -> tuple[Any, Any] | None:
        if isinstance(other, Iterable) and not isinstance(other, str):
            other = ".".join(str(part) for part in other)
        mine, theirs = _key(str(self)), _key(str(other))
        return None if mine is None or theirs is None else (mine, theirs)

    def __lt__(self, other: Any) -> bool:
        keys = self._compared(other)
        return str.__lt__(self, other) if keys is None else keys[0] < keys[1]

    def __le__(self, other: Any) -> bool:
        keys = self._compared(other)
        return str.__le__(self, other) if keys is None else keys[0] <= keys[1]

    def __gt__(self, other: Any) -> bool:
        keys = self._compared(other)
        return str.__gt__(self, other) if keys is None else keys[0] > keys[1]

    def __ge__(self, other: Any) -> bool:
        keys = self._compared(other)
        return str.__ge__(self, other) if keys is None else keys[0] >= keys[1]

    def __eq__(self, other: object) -> bool:
        keys = self._compared(other)
        return str.__eq__(self, other) if keys is None else keys[0] == keys[1]

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def _key(text: str) -> tuple[Any, ...] | None:
    """What orders versions; None for a text that is none."""
    public, _, local = text.partition("+")
    found = _PARTS.match(public)
    if found is None:
        return None
    numbers = [int(part) for part in found[1].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    stage = RELEASE
    if found[2] == "post":
        stage = (2, 0, int(found[3] or 0))
    elif found[2]:
        stage = (0, _BEFORE.index(found[2]), int(found[3] or 0))
    return tuple(numbers), stage, local


TAPER = taper.__version__  # before `taper run` sets it to the next
__version__ = TorchVersion("2.13.0+taper")
