"""The layers of docs/design.md: imports point one way, and importing taper stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import taper

PACKAGE = Path(taper.__file__).parent

# From the bottom up. A file may import, when it is loaded, only from its own layer or below.
LAYERS = [
    {"errors", "atomic"},
    {"dtypes", "devices", "size", "shapes"},
    {"storage", "op", "backends", "generator"},
    {"tensor", "storage_view", "return_types"},
    {"autograd", "dispatch", "variants"},
    {"ops", "typed", "random", "settings", "printing"},
    {
        "nn",
        "optim",
        "utils",
        "checkpoint",
        "serialization",
        "vision",
        "linalg",
        "fft",
        "special",
        "signal",
        "testing",
        "func",
        "jit",
        "amp",
        "__config__",
        "accelerator",
        "assertions",
        "compiler",
        "distributed",
        "distributions",
        "onnx",
        "_dynamo",
        "torch_version",
        "overrides",
        "multiprocessing",
        "cuda",
        "cpu",
        "mps",
        "xpu",
        "types",
        "version",
    },
    {"studies", "inspection", "cli", "script", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports_at_load(path: Path) -> set[str]:
    """First names below taper that a file imports when loaded; functions' own imports are later."""
    found = set()
    stack = list(ast.parse(path.read_text()).body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, (ast.If, ast.Try)):
            stack.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("taper"):
            parts = node.module.split(".")
            names = parts[1:2] or [alias.name for alias in node.names]
            found.update(names)
        if isinstance(node, ast.Import):
            found.update(a.name.split(".")[1] for a in node.names if a.name.startswith("taper."))
    return found


def files() -> list[Path]:
    return [p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_from_its_own_layer_or_below(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports_at_load(path):
        assert LEVEL.get(name, 0) <= LEVEL[own], f"{path.name} of layer {own} imports taper.{name}"


def test_every_module_has_a_layer():
    known = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in files()}

    assert known - set(LEVEL) == set()


def test_no_op_names_a_backend_and_no_backend_an_op():
    for path in (PACKAGE / "ops").glob("*.py"):
        text = path.read_text()
        assert "backends.llvm" not in text and "backends.cuda" not in text, path
    for path in (PACKAGE / "backends").glob("*.py"):
        assert not imports_at_load(path) & {"ops", "tensor", "autograd", "dispatch"}, path


def test_importing_taper_loads_no_compiler_and_no_heavy_module():
    code = (
        "import sys, taper; heavy = {'llvmlite', 'ml_dtypes', 'torch', 'matplotlib', 'pandas', "
        "'taper.studies', 'taper.nn.modules', 'taper.optim'}; print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"
