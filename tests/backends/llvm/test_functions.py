"""The namespace of kernels: every name of the table is a function, and the reference has it too."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

pytest.importorskip("llvmlite")

from taper.backends import reference
from taper.backends.llvm import functions


@pytest.mark.parametrize("family", functions.FAMILIES)
def test_a_family_has_the_functions_the_table_says(family):
    module = importlib.import_module(f"taper.backends.llvm.functions.{family}")

    for name in functions.FAMILIES[family].split():
        assert hasattr(module, name), name
        if name not in (
            "fused",
            "draws",
            "update_rule",
            "update_together",
        ):  # what the reference does without
            assert getattr(reference.math, name) is not None


def test_importing_taper_loads_no_kernels():
    code = (
        "import sys, taper; print([m for m in sys.modules if m == 'llvmlite' or "
        "m.startswith('taper.backends.llvm.') and not m.endswith(('functions', 'fusing'))])"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert shown.stdout.strip() == "[]", shown.stderr


@pytest.mark.parametrize(("name", "kind"), [("reference", "Math"), ("llvm", "LlvmMath")])
def test_the_environment_chooses_the_backend(name, kind):
    code = "from taper import backends; print(type(backends.math()).__name__)"

    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**os.environ, "TAPER_BACKEND": name},
    )  # fmt: skip

    assert shown.stdout.strip() == kind


def test_an_unknown_backend_is_named():
    shown = subprocess.run(
        [sys.executable, "-c", "import taper"], capture_output=True, text=True,
        env={**os.environ, "TAPER_BACKEND": "cuda"},
    )  # fmt: skip

    assert "TAPER_BACKEND is 'cuda'; choose from llvm, reference" in shown.stderr
