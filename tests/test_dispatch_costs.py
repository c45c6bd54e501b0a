"""An eager call does no more than docs/kernels.md lists: Python functions, built-ins, memory."""

from __future__ import annotations

import importlib.util
import pathlib
import re
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
LISTED = {
    name: tuple(map(int, counts))
    for name, *counts in ROW.findall((ROOT / "docs/kernels.md").read_text(encoding="utf-8"))
}


@pytest.mark.parametrize("name", [n for n in BENCHMARK.calls(taper) if "backward" not in n])
def test_a_call_costs_no_more_than_is_listed(name: str) -> None:
    (taper.ones(2).requires_grad_() * 2).view(2)  # puts the tape's built-ins in place
    found = BENCHMARK.counted(BENCHMARK.calls(taper)[name])

    assert name in LISTED, "docs/kernels.md lacks the call: benchmarks/dispatch.py --counts"
    assert found[0] <= LISTED[name][0], f"{found[0]} Python functions"
    assert found[1] <= LISTED[name][1], f"{found[1]} built-ins"
    assert found[2] <= LISTED[name][2] + 0.5, f"{found[2]} blocks of memory"


def test_what_is_counted_shows() -> None:
    plain, padded = (BENCHMARK.counted(f) for f in (lambda: None, lambda: [abs(len("a"))]))

    assert plain[:2] == (0, 0) and padded[1] == 2 and padded[2] > plain[2]
