"""`taper run`: an unmodified script finds taper under the name torch, and nothing else changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """python -m taper ARGUMENTS, with taper from this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "taper", *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def script(folder: Path, text: str, name: str = "script.py") -> str:
    (folder / name).write_text(text)
    return name


def test_a_script_trains_with_torch_found_in_taper(tmp_path):
    name = script(
        tmp_path,
        "import torch\n"
        "import torch.nn as nn, torch.optim as optim, torch.nn.functional as F\n"
        "from torch.utils.data import DataLoader, TensorDataset\n"
        "torch.manual_seed(0)\n"
        "x = torch.linspace(-1, 1, 64)[:, None]\n"
        "model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))\n"
        "optimizer = optim.Adam(model.parameters(), lr=0.05)\n"
        "for epoch in range(60):\n"
        "    for a, b in DataLoader(TensorDataset(x, x * x), batch_size=16, shuffle=True):\n"
        "        optimizer.zero_grad(); loss = F.mse_loss(model(a), b); loss.backward()\n"
        "        optimizer.step()\n"
        "print(torch.__name__, type(model).__module__, loss.item() < 0.01)\n",
    )

    done = run("run", name, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "taper" and done.stdout.split()[-1] == "True"


def test_arguments_main_and_folder_are_those_of_python(tmp_path):
    script(tmp_path, "value = 41\n", "beside.py")
    name = script(
        tmp_path,
        "import sys, beside\nprint(__name__, sys.argv, beside.value + 1, __file__)\n",
    )

    done = run("run", name, "--epochs", "3", "-h", cwd=tmp_path)

    assert done.stdout.strip() == f"__main__ ['{name}', '--epochs', '3', '-h'] 42 {name}"


def test_a_module_runs_with_dash_m(tmp_path):
    script(
        tmp_path, "import torch, sys\nprint(torch.ones(2).sum().item(), sys.argv[1:])\n", "mod.py"
    )

    done = run("run", "-m", "mod", "a", cwd=tmp_path)

    assert done.stdout.strip() == "2.0 ['a']", done.stderr


def test_submodules_are_the_very_modules_of_taper(tmp_path):
    name = script(
        tmp_path,
        "import torch, taper\nimport torch.nn.functional\nimport torch.utils.data as data\n"
        "import torchvision.datasets, torch.optim.lr_scheduler as s\n"
        "import taper.utils.data, taper.optim.lr_scheduler, taper.vision.datasets\n"
        "print(torch is taper, torch.nn.functional is taper.nn.functional, data is "
        "taper.utils.data, s is taper.optim.lr_scheduler, torchvision.datasets is "
        "taper.vision.datasets)\n",
    )

    done = run("run", name, cwd=tmp_path)

    assert done.stdout.split() == ["True"] * 5, done.stderr


def test_a_missing_module_says_what_to_use_instead(tmp_path):
    name = script(tmp_path, "import torch.fx\n")

    done = run("run", name, cwd=tmp_path)

    assert done.returncode == 1
    assert "ModuleNotFoundError: taper has no torch.fx; instead:" in done.stderr


def test_a_traceback_begins_in_the_script(tmp_path):
    name = script(tmp_path, "def f():\n    raise ValueError('mine')\nf()\n")

    done = run("run", name, cwd=tmp_path)

    assert done.returncode == 1
    assert done.stderr.splitlines()[1].startswith(f'  File "{name}"')
    assert "taper" not in done.stderr


@pytest.mark.parametrize(("text", "status"), [("raise SystemExit(7)", 7), ("exit()", 0)])
def test_the_exit_status_is_the_scripts(text, status, tmp_path):
    assert run("run", script(tmp_path, f"import sys\n{text}\n"), cwd=tmp_path).returncode == status


def test_a_script_that_is_not_there_is_status_2(tmp_path):
    done = run("run", "nowhere.py", cwd=tmp_path)

    assert done.returncode == 2
    assert "can't open file 'nowhere.py'" in done.stderr


def test_nothing_is_hooked_without_a_run():
    code = (
        "import sys, taper, taper.script; "
        "print(any(type(f).__module__.startswith('taper') for f in sys.meta_path), "
        "'torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.stdout.split() == ["False", "False"]


def test_the_finder_goes_when_the_with_block_ends():
    code = (
        "import sys, taper.script as s\n"
        "with s.torch_is_taper():\n"
        "    import torch, torch.nn\n"
        "    assert torch.__name__ == 'taper'\n"
        "print(any(n.split('.')[0] == 'torch' for n in sys.modules), len(sys.meta_path))\n"
    )
    plain = subprocess.run(
        [sys.executable, "-c", "import sys; print(len(sys.meta_path))"],
        capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert done.stdout.split() == ["False", plain], done.stderr


def test_a_program_finds_the_release_of_pytorch_it_asks_for(tmp_path):
    name = script(
        tmp_path,
        "import torch\n"
        "print(torch.__version__ >= '2.0', torch.__version__ == torch.version.__version__, "
        "int(torch.__version__.split('.')[0]))\n",
    )

    assert run("run", name, cwd=tmp_path).stdout.split() == ["True", "True", "2"]


def test_submodules_of_a_package_that_the_program_made_are_the_programs(tmp_path):
    """PyTorch's own tests bring a torch.testing._internal with a finder of its own."""
    name = script(
        tmp_path,
        "import sys, types, torch.testing, importlib.machinery\n"
        "own = types.ModuleType('torch.testing.own'); own.__path__ = []\n"
        "sys.modules['torch.testing.own'] = torch.testing.own = own\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch.testing.own.deep':\n"
        "            return importlib.machinery.ModuleSpec(name, self)\n"
        "    def create_module(self, spec): return None\n"
        "    def exec_module(self, module): module.value = 42\n"
        "sys.meta_path.append(Finder())\n"
        "import torch.testing.own.deep\n"
        "print(torch.testing.own.deep.value)\n",
    )

    done = run("run", name, cwd=tmp_path)

    assert done.stdout.strip() == "42", done.stderr
