"""A progress bar on stderr: tqdm's where it is installed, else a plain one of our own."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO, TypeVar

T = TypeVar("T")
_WIDTH = 30


def progress(items: Sequence[T], label: str, unit: str = "epoch") -> Iterator[T]:
    """The items one by one, with a bar that shows how many are done."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield from plain(items, label, unit, sys.stderr)
        return
    yield from tqdm(items, desc=label, unit=unit, mininterval=0.5, file=sys.stderr)


def plain(items: Sequence[T], label: str, unit: str, stream: TextIO) -> Iterator[T]:
    """The same with nothing but print: label [#####.....] 12/50 epochs, 3 s."""
    start = drawn = time.monotonic()
    for done, item in enumerate(items):
        yield item
        now = time.monotonic()
        if now - drawn > 0.5 or done + 1 == len(items):
            drawn = now
            bar = ("#" * (_WIDTH * (done + 1) // len(items))).ljust(_WIDTH, ".")
            counted = f"{done + 1}/{len(items)} {unit}s, {now - start:.0f} s"
            print(f"\r{label} [{bar}] {counted}", end="", file=stream, flush=True)
    print(file=stream)
