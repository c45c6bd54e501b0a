"""Time of a training step: the learning path's five loops on taper and on PyTorch, side by side.

    python benchmarks/steps.py [--rounds N] [--threads 1 2] [--json FILE] [--only NAME]

Passes of the two take turns within one process, so that what else the machine does falls on both.
A row gives the microseconds of a step with its share of the loader: the best pass, and the median,
of each, and the ratio of the medians (above 1: taper is faster). The last line is the time of
`import taper` beside that of numpy, in fresh processes with their bytecode at hand.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from _loops import Loop, loops

import taper

_IMPORT = (
    "import time; a = time.perf_counter(); import numpy; b = time.perf_counter(); import taper; "
    "print(b - a, time.perf_counter() - b)"
)


def seconds(loop: Loop) -> float:
    """Of one step, in one pass."""
    start = time.perf_counter()
    loop.epoch()
    return (time.perf_counter() - start) / loop.steps


def compare(ours: Loop, theirs: Loop | None, rounds: int) -> dict[str, float]:
    """Best and median microseconds of a step, passes taking turns."""
    found: dict[str, list[float]] = {"taper": [], "torch": []}
    pair = [("taper", ours)] + ([("torch", theirs)] if theirs else [])
    for _, loop in pair:
        loop.epoch()
    gc.collect()
    for turn in range(rounds):
        for name, loop in pair if turn % 2 else pair[::-1]:
            found[name].append(seconds(loop) * 1e6)
    result = {}
    for name, times in found.items():
        if times:
            result[name] = statistics.median(times)
            result[name + " best"] = min(times)
    if theirs:
        result["ratio"] = result["torch"] / result["taper"]
    return result


def import_times(runs: int = 7) -> tuple[float, float]:
    """Median milliseconds of importing numpy, and of importing taper after it."""
    pairs = []
    for _ in range(runs + 1):
        shown = subprocess.run(
            [sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True
        ).stdout
        pairs.append([float(s) * 1e3 for s in shown.split()])
    pairs = pairs[1:]  # the first may have had to compile
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def main() -> None:
    """Runs the comparison and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="passes of each (default: 9)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", help="loops whose name contains this")
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    frameworks: dict[str, Any] = {"taper": taper}
    try:
        import torch

        frameworks["torch"] = torch
    except ImportError:
        print("PyTorch is not installed: taper's times alone\n")
    made = {name: loops(framework) for name, framework in frameworks.items()}
    table: list[dict[str, Any]] = []
    print("microseconds of a step, loader included: median (best)\n")
    print("| loop | threads | taper | PyTorch | ratio |\n| --- | --- | --- | --- | --- |")
    for threads in options.threads:
        for framework in frameworks.values():
            framework.set_num_threads(threads)
        for name, ours in made["taper"].items():
            if options.only and options.only not in name:
                continue
            theirs = made["torch"][name] if "torch" in made else None
            row = compare(ours, theirs, options.rounds)
            table.append({"loop": name, "threads": threads, **row})
            other = f"{row['torch']:.0f} ({row['torch best']:.0f})" if theirs else "-"
            ratio = f"{row['ratio']:.2f}" if theirs else "-"
            print(
                f"| {name} | {threads} | {row['taper']:.0f} ({row['taper best']:.0f}) "
                f"| {other} | {ratio} |",
                flush=True,
            )
    own, ours_ms = import_times()
    print(f"\nimport numpy {own:.0f} ms, import taper after it {ours_ms:.0f} ms more")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(
                {"steps": table, "import_ms": {"numpy": own, "taper": ours_ms}}, file, indent=1
            )


if __name__ == "__main__":
    main()
