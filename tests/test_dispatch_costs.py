"""An eager call does no more than docs/kernels.md lists: Python functions, built-ins, memory."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("llvmlite")

import taper
from taper import backends
from taper.backends import reference
from taper.backends.llvm.objects import readable

ROOT = pathlib.Path(__file__).parents[1]
ROW = re.compile(r"^\| `(.+)` \| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)

pytestmark = pytest.mark.skipif(
    not readable() or backends.math() is reference.math,
    reason="costs are listed for CPython with kernels",
)


def _benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("dispatch", ROOT / "benchmarks/dispatch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENCHMARK = _benchmark()


def _rows(text: str) -> dict[str, tuple[int, ...]]:
    return {name: tuple(map(int, counts)) for name, *counts in ROW.findall(text)}


LISTED = _rows((ROOT / "docs/kernels.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[int, ...]]:
    """Counted in a process of its own: what other tests leave behind has its price."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/dispatch.py"), "--counts"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
        check=True,
    )
    return _rows(done.stdout)


@pytest.mark.parametrize("name", [n for n in BENCHMARK.calls(taper) if "backward" not in n])
def test_a_call_costs_no_more_than_is_listed(name: str, found: dict[str, tuple[int, ...]]) -> None:
    functions, built_ins, blocks = found[name]

    assert name in LISTED, "docs/kernels.md lacks the call: benchmarks/dispatch.py --counts"
    assert functions <= LISTED[name][0], f"{functions} Python functions"
    assert built_ins <= LISTED[name][1], f"{built_ins} built-ins"
    assert blocks <= LISTED[name][2] + 1, f"{blocks} blocks of memory"


def test_what_is_counted_shows() -> None:
    plain, padded = (BENCHMARK.counted(f) for f in (lambda: None, lambda: [abs(len("a"))]))

    assert plain[:2] == (0, 0) and padded[1] == 2 and padded[2] > plain[2]
