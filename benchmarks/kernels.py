"""What kernels cost before they run: compiling them, and loading them from the disk.

    python benchmarks/kernels.py

One step of each of the learning path's five loops; then each kernel it needed is written, compiled
and linked again, and loaded from a folder that has it. Milliseconds of the
processor, median and most of a loop.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from typing import Any

os.environ["TAPER_CACHE"] = tempfile.mkdtemp(prefix="taper-kernels-")

from _loops import loops

import taper
from taper.backends.llvm import build, store
from taper.backends.llvm.machine import host


def compile_and_load(spec: Any) -> tuple[float, float, int]:
    """Milliseconds of compiling and of loading, and the bytes of a kernel."""
    machine = host()
    start = time.process_time()
    code = build.assemble(build.source(spec, machine), machine)
    compiled = time.process_time() - start
    store.put("measured", code)
    times = []
    for _ in range(5):
        start = time.process_time()
        build._link(store.get("measured") or b"", spec.exports, "measured")
        times.append(time.process_time() - start)
    return compiled * 1e3, min(times) * 1e3, len(code)


def main() -> None:
    """Prints the table."""
    taper.set_num_threads(1)
    print("| loop | kernels | kB each | compile, median (most) | all | load, median (most) | all |")
    print("|---|---|---|---|---|---|---|")
    for name, loop in loops(taper).items():
        before = set(build._libraries)
        loop.epoch()
        found = [compile_and_load(spec) for spec in build._libraries if spec not in before]
        if not found:
            print(f"| {name} | 0 | | | | | |")
            continue
        compiled, loaded, sizes = zip(*found, strict=True)
        print(
            f"| {name} | {len(found)} | {statistics.median(sizes) / 1e3:.0f} "
            f"| {statistics.median(compiled):.1f} ({max(compiled):.1f}) | {sum(compiled):.0f} "
            f"| {statistics.median(loaded):.2f} ({max(loaded):.2f}) | {sum(loaded):.1f} |"
        )


if __name__ == "__main__":
    main()
