"""Running an unmodified PyTorch script: `import torch` finds taper while it runs.

`torch_is_taper()` puts a finder before Python's own. It answers for `torch`, `torchvision` and
their submodules with the very module objects of taper, so that `torch.nn is taper.nn`; the alias
exists in `sys.modules` only, and `torch.__version__` is the release of PyTorch whose interface taper
has, because programs ask for it. A submodule that taper lacks is a ModuleNotFoundError that says so,
never another package's file. A torchvision that the user has put beside the script or on
PYTHONPATH is the program's own and wins over `taper.vision`.

Worker processes of the script that start afresh (multiprocessing's "spawn" and "forkserver") load
the script as their main module; `_follow_workers` sends them through `_become_worker` below, which
puts the finder there too.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, ModuleType, TracebackType
from typing import Any

PACKAGES = {"torch": "taper", "torchvision": "taper.vision"}
_SPAWN = "multiprocessing.spawn"
_MAIN = "TAPER_RUN_MAIN"  # environment variable: what a fresh worker process runs as its main

# What to use where PyTorch has a module and taper does not.
_INSTEAD = {
    "torch.utils.cpp_extension": "write the kernel in Python; there is no C++ to extend",
    "torch._inductor": "torch.compile runs eagerly without it",
    "torch.fx": "there are no graphs of modules; use hooks or named_modules()",
    "torchvision.models": "define the network in the script",
    "torchvision.io": "read images with pillow",
}


class _Alias(importlib.abc.Loader):
    """Gives a module of taper a second name."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._own_spec = module.__spec__

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module itself, not a copy."""
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is run; the import system has overwritten the module's spec, which returns."""
        module.__spec__ = self._own_spec


class TorchFinder(importlib.abc.MetaPathFinder):
    """Finds torch and torchvision in taper."""

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of taper's module; None for modules that are not PyTorch's."""
        package = fullname.partition(".")[0]
        if package not in PACKAGES:
            return _followed_spawn(path) if fullname == _SPAWN else None
        if package == "torchvision" and own_torchvision() is not None:
            return None
        if _is_the_programs(fullname.rpartition(".")[0]):
            return None
        module = _module_for(fullname)
        spec = importlib.machinery.ModuleSpec(
            fullname, _Alias(module), origin="taper", is_package=hasattr(module, "__path__")
        )
        return spec


def _is_the_programs(parent: str) -> bool:
    """Whether the program put this package into sys.modules itself: it knows where to look."""
    module = sys.modules.get(parent)
    name = getattr(module, "__name__", "taper")
    return module is not None and str(name).partition(".")[0] != "taper"


def _module_for(fullname: str) -> ModuleType:
    """taper's module that stands for one of PyTorch's."""
    package, _, rest = fullname.partition(".")
    wanted = PACKAGES[package] + ("." + rest if rest else "")
    try:
        return importlib.import_module(wanted)
    except ModuleNotFoundError as error:
        # A missing module below or beside it is an error of its own, not a missing alias.
        if error.name is None or not (wanted + ".").startswith(error.name + "."):
            raise
    # A name that PyTorch has as a module and taper as an attribute, such as one of a table.
    holder, _, name = wanted.rpartition(".")
    found = getattr(sys.modules.get(holder), name, None) if holder else None
    if isinstance(found, ModuleType):
        return found
    raise ModuleNotFoundError(_missing(fullname), name=fullname)


def _missing(fullname: str) -> str:
    nearest = fullname
    while nearest:
        if nearest in _INSTEAD:
            return f"taper has no {fullname}; instead: {_INSTEAD[nearest]}"
        nearest = nearest.rpartition(".")[0]
    parent = fullname.rpartition(".")[0] or "torch"
    return (
        f"taper has no {fullname}. The names that taper has are in {parent} and its other "
        "modules: try from there, or run this part of the program with PyTorch"
    )


def own_torchvision() -> str | None:
    """Folder of a torchvision that the user placed, beside the script or on PYTHONPATH.

    One that pip installed does not count: it needs PyTorch's compiled parts.
    """
    for folder in sys.path:
        inner = os.path.join(folder, "torchvision")
        is_installed = os.path.basename(folder) in ("site-packages", "dist-packages")
        if not is_installed and os.path.isfile(os.path.join(inner, "__init__.py")):
            return inner
    return None


def install() -> TorchFinder:
    """Puts the finder in place and returns it; `uninstall` takes it away."""
    import taper
    from taper import torch_version

    finder = TorchFinder()
    sys.meta_path.insert(0, finder)
    taper.__version__ = torch_version.__version__
    return finder


def uninstall(finder: TorchFinder) -> None:
    """Takes the finder and the aliases away."""
    import taper
    from taper import torch_version

    sys.meta_path.remove(finder)
    taper.__version__ = torch_version.TAPER
    own = PACKAGES["torch"]
    for name, module in list(sys.modules.items()):
        is_alias = name.partition(".")[0] in PACKAGES
        if is_alias and getattr(module, "__name__", "").partition(".")[0] == own:
            del sys.modules[name]


@contextmanager
def torch_is_taper() -> Iterator[None]:
    """`import torch` finds taper inside the with block."""
    finder = install()
    try:
        yield
    finally:
        uninstall(finder)


# ---------------------------------------------------------------- running


def run_script(path: str, args: list[str]) -> None:
    """Runs the file at `path` as `python path args` would, with torch found in taper.

    Raises: OSError if it cannot be read; SystemExit and other exceptions as the script does.
    """
    _start([path, *args], os.path.dirname(os.path.realpath(path)), "path:" + os.path.abspath(path))
    if os.path.isdir(path):
        import runpy

        runpy.run_path(path, run_name="__main__")
        return
    code = _compiled(path)
    main = ModuleType("__main__")
    main.__dict__.update(
        __file__=path,
        __builtins__=__builtins__,
        __annotations__={},
        __cached__=None,
        __loader__=importlib.machinery.SourceFileLoader("__main__", path),
    )
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def run_module(name: str, args: list[str]) -> None:
    """Runs a module as `python -m name args` would, with torch found in taper."""
    import runpy

    _start(["-m", *args], os.getcwd(), "module:" + name)
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def _start(argv: list[str], folder: str, main: str) -> None:
    sys.argv[:] = argv
    if sys.path and not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder
    install()
    os.environ[_MAIN] = main
    if _SPAWN in sys.modules:
        _follow_workers(sys.modules[_SPAWN])


def _compiled(path: str) -> CodeType:
    import io

    with io.open_code(path) as file:
        source = file.read()
    return compile(source, path, "exec", dont_inherit=True)


def without_our_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the script's own first frame on."""
    ours = (
        __file__,
        os.path.join(os.path.dirname(__file__), "cli.py"),
        os.path.join(os.path.dirname(__file__), "__main__.py"),
    )
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name not in ours and "runpy" not in name:
            return trace
        trace = trace.tb_next
    return None


# ---------------------------------------------------------------- worker processes


def _follow_workers(spawn: Any) -> None:
    """Makes fresh worker processes load their main module through `_become_worker`."""
    original = spawn.get_preparation_data

    def prepared(name: str) -> dict[str, Any]:
        data: dict[str, Any] = original(name)
        had_main = data.pop("init_main_from_path", None) or data.pop("init_main_from_name", None)
        if had_main:
            data["init_main_from_name"] = "taper.script"
        return data

    spawn.get_preparation_data = prepared


class _FollowedSpawn(importlib.machinery.SourceFileLoader):
    """Loads multiprocessing.spawn and puts ours into it: only programs that use it pay for it."""

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module, then changes it."""
        super().exec_module(module)
        _follow_workers(module)


def _followed_spawn(path: Any) -> importlib.machinery.ModuleSpec | None:
    spec = importlib.machinery.PathFinder.find_spec(_SPAWN, path)
    if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
        spec.loader = _FollowedSpawn(spec.loader.name, spec.loader.path)
    return spec


def _become_worker(names: dict[str, Any]) -> None:
    """Runs the script's file in a worker as `__mp_main__` and fills in its names."""
    import runpy
    from multiprocessing import spawn

    # This copy of the module runs as the worker's main; the finder belongs to the real one.
    from taper import script

    script.install()
    script._follow_workers(spawn)
    kind, _, main = os.environ[_MAIN].partition(":")
    if kind == "module":
        names.update(runpy.run_module(main, run_name="__mp_main__", alter_sys=True))
    else:
        names.update(runpy.run_path(main, run_name="__mp_main__"))


if __name__ == "__mp_main__":
    _become_worker(globals())
