"""Largest errors of the elementary functions over all 2^32 float32 numbers, in units of the last place.

    python benchmarks/_ulp.py [every] [function ...]

`every` 1 takes all numbers (minutes a function), 389 each 389th (seconds). float64 is tried on a
million numbers of all sizes, where long double is wider than it. The references are numpy's and
taper's own functions in the wider format.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tests"))

import numpy as np

from backends.llvm.test_vmath import OF_ONE, WIDER, exact, run, ulps

BLOCK = 1 << 22


def single(name: str, every: int) -> tuple[float, float, float]:
    """(largest error, where, mean) in float32."""
    worst, where, total, count = 0.0, 0.0, 0.0, 0
    for start in range(0, 1 << 32, BLOCK * every):
        stop = min(start + BLOCK * every, 1 << 32)
        x = np.arange(start, stop, every, dtype=np.uint64).astype(np.uint32).view(np.float32)
        x = x[~np.isnan(x)]
        if not x.size:
            continue
        away = ulps(run(name, x), exact(name, x.astype(np.float64)))
        place = int(away.argmax())
        total += float(away.sum())
        count += x.size
        if away[place] > worst:
            worst, where = float(away[place]), float(x[place])
    return worst, where, total / count


def double(name: str) -> tuple[float, float, float]:
    """(largest error, where, mean) in float64."""
    bits = np.arange(500_000, dtype=np.uint64) * np.uint64(2**64 // 500_000 + 1)
    x = np.concatenate(
        [bits.view(np.float64), np.linspace(-760, 720, 300_001), np.linspace(-8, 8, 300_001)]
    )
    x = x[~np.isnan(x)]
    away = ulps(run(name, x), exact(name, x.astype(np.longdouble)))
    place = int(away.argmax())
    return float(away[place]), float(x[place]), float(away.mean())


def main() -> None:
    """A line for each function and format."""
    every = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    for name in sys.argv[2:] or OF_ONE:
        worst, where, mean = single(name, every)
        print(f"{name:9} float32 {worst:.3f} at {where:.9g}, mean {mean:.3f}", flush=True)
        if WIDER and name not in ("erf", "gelu", "sin", "cos"):
            worst, where, mean = double(name)
            print(f"{name:9} float64 {worst:.3f} at {where:.17g}, mean {mean:.3f}", flush=True)


if __name__ == "__main__":
    main()
