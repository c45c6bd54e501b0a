"""Runs training steps of models on taper and on PyTorch: their times, and the memory they take.

A benchmark gives `main` a table of makers by name. A maker takes a framework (PyTorch or taper, which
have one interface) and gives a function without arguments: one training step. Both frameworks step in
turns within one process, so that what else the machine does falls on both. The memory is measured
first, each framework in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Step = Callable[[], Any]
Maker = Callable[[Any], Step]

FRAMEWORKS = ("taper", "torch")
# Steps in a process whose memory is measured: optimizers have their state after the first, and
# what is freed late shows after some.
_STEPS = 5
# Seconds a turn takes at least; quicker steps are repeated.
_TURN = 0.05


def peak() -> float:
    """MiB that this process had in memory at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_of(framework: str, make: Maker, threads: int) -> None:
    """Prints the peak after the import and after some steps. For a process of its own."""
    torch = importlib.import_module(framework)
    torch.set_num_threads(threads)
    imported = peak()
    step = make(torch)
    for _ in range(_STEPS):
        step()
    print(imported, peak())


def memory(framework: str, name: str, threads: int) -> tuple[float, float]:
    """(MiB after the import, MiB after some steps), measured in a fresh process."""
    # The system counts what the parent had in memory as the child's too: hence neither framework
    # is imported here before the last of these has run.
    command = [sys.executable, sys.argv[0], "--memory-of", framework, "--only", name]
    shown = subprocess.run(
        [*command, "--threads", str(threads)], capture_output=True, text=True, check=True
    ).stdout
    imported, most = map(float, shown.split()[-2:])
    return imported, most


def compare(steps: Mapping[str, Step], rounds: int) -> dict[str, tuple[float, float]]:
    """Median and best milliseconds of a step of each, taking turns."""
    repeats = {}
    for name, step in steps.items():
        step()
        start = time.perf_counter()
        step()
        repeats[name] = max(1, round(_TURN / (time.perf_counter() - start)))
    gc.collect()
    times: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for turn in range(rounds):
        for name in names if turn % 2 else names[::-1]:
            start = time.perf_counter()
            for _ in range(repeats[name]):
                steps[name]()
            times[name].append((time.perf_counter() - start) / repeats[name] * 1e3)
    return {name: (statistics.median(found), min(found)) for name, found in times.items()}


def print_memory(models: Mapping[str, Maker], threads: int) -> list[dict[str, Any]]:
    """The table of memory; gives its rows."""
    print(
        "MiB at most, each framework in a process of its own (in brackets: more than after import)\n"
    )
    print("| step | taper | PyTorch | taper / PyTorch |\n| --- | --- | --- | --- |")
    rows = []
    for name in models:
        found = {framework: memory(framework, name, threads) for framework in FRAMEWORKS}
        (own, ours), (other, theirs) = found["taper"], found["torch"]
        print(
            f"| {name} | {ours:.0f} ({ours - own:.0f}) | {theirs:.0f} ({theirs - other:.0f}) "
            f"| {ours / theirs:.2f} ({(ours - own) / (theirs - other):.2f}) |",
            flush=True,
        )
        rows.append({"step": name, **found})
    return rows


def print_times(
    models: Mapping[str, Maker], threads: list[int], rounds: int
) -> list[dict[str, Any]]:
    """The table of times; gives its rows."""
    frameworks = {name: importlib.import_module(name) for name in FRAMEWORKS}
    print("milliseconds of a step: median (best)\n")
    print("| step | threads | taper | PyTorch | ratio |\n| --- | --- | --- | --- | --- |")
    rows = []
    for name, make in models.items():
        steps = {framework: make(torch) for framework, torch in frameworks.items()}
        for count in threads:
            for torch in frameworks.values():
                torch.set_num_threads(count)
            found = compare(steps, rounds)
            (ours, best), (theirs, least) = found["taper"], found["torch"]
            print(
                f"| {name} | {count} | {ours:.2f} ({best:.2f}) | {theirs:.2f} ({least:.2f}) "
                f"| {theirs / ours:.2f} ({least / best:.2f}) |",
                flush=True,
            )
            rows.append({"step": name, "threads": count, **found})
    return rows


def classes(rows: int, most: int, seed: int = 0) -> np.ndarray:
    """Random class numbers below `most`."""
    return np.random.default_rng(seed).integers(0, most, rows)


def main(description: str, models: Mapping[str, Maker]) -> None:
    """Runs the comparison that the command line asks for."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (default: 9)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--part", choices=("times", "memory"), help="only this table")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--memory-of", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        memory_of(options.memory_of, models[options.only], options.threads[0])
        return
    wanted = {name: make for name, make in models.items() if options.only in name}
    result = {}
    if options.part != "times":
        result["memory"] = print_memory(wanted, options.threads[-1])
        print()
    if options.part != "memory":
        result["times"] = print_times(wanted, options.threads, options.rounds)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(result, file, indent=1)
