"""The command line: `taper run script.py`, `taper study ...`, `taper show file.pt`,
`taper inspect softmax 64x1000`, `taper cache`, `taper version`.

A mistake of the user's (a file that is not there, an unknown word) is a message on stderr and exit
status 2. A script that is run keeps its own exit status and its own tracebacks.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

RUN_USAGE = "taper run [-h] (script.py | -m module) [argument ...]"
RUN_HELP = f"""usage: {RUN_USAGE}

Runs a PyTorch program with `import torch` (and `import torchvision`) found in taper. The program
is not changed, and nothing is hooked outside of this run.

  script.py, a folder or zip file with __main__.py
                what to run, as python would
  -m module     runs a module, as python -m would
  argument      passed on to the program
"""


def _parser() -> argparse.ArgumentParser:
    import argparse

    parser = argparse.ArgumentParser(
        prog="taper", description="A deep-learning framework with PyTorch's interface."
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser(
        "run", add_help=False, help="run a PyTorch program with `import torch` found in taper"
    )
    commands.add_parser("study", add_help=False, help="run one of the studies")
    show = commands.add_parser("show", help="list what a checkpoint file holds")
    show.add_argument("file", help="a file that torch.save or taper.save wrote")
    commands.add_parser(
        "inspect",
        add_help=False,
        help="explain one call: formula, kernels, code, share of the peak",
    )
    cache = commands.add_parser(
        "cache",
        help="show or empty the folder of compiled kernels",
        description="Shows the folder of compiled kernels: how many there are and how large they are. "
        "Removing them is safe at any time: a kernel that is missing is compiled again, in some "
        "50 ms. The environment variable TAPER_CACHE names another folder; empty, none is used.",
    )
    cache.add_argument("--clear", action="store_true", help="remove every compiled kernel")
    commands.add_parser("version", help="print the version")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line `argv` (default: the process's); returns the exit status."""
    from taper.errors import TaperError

    argv = sys.argv[1:] if argv is None else list(argv)
    # These pass everything after their name on, options included, which argparse cannot promise.
    if argv[:1] == ["run"]:
        return _run(argv[1:])
    try:
        if argv[:1] == ["study"]:
            return _study(argv[1:])
        if argv[:1] == ["inspect"]:
            from taper.inspection.command import main as inspect

            return inspect(argv[1:])
        return _rest(argv)
    except TaperError as error:
        return _complaint(str(error))


def _complaint(text: str) -> int:
    print(f"taper: {text}", file=sys.stderr)
    return 2


def _rest(argv: list[str]) -> int:
    parser = _parser()
    chosen = parser.parse_args(argv)
    if chosen.version or chosen.command == "version":
        import taper

        print(f"taper {taper.__version__}")
        return 0
    if chosen.command == "show":
        return _show(chosen.file)
    if chosen.command == "cache":
        return _cache(chosen.clear)
    parser.print_help(sys.stderr)
    return 2


def _cache(clear: bool) -> int:
    """Says where compiled kernels are kept, how many and how large; removes them if asked."""
    from taper.backends.llvm import store

    folder = store.folder()
    if folder is None:
        print("no folder: compiled kernels are not kept (TAPER_CACHE names one)")
        return 0
    kept = store.files()
    size = sum(each[1] for each in kept)
    print(f"{folder}: {len(kept)} kernels, {size:,} of at most {store.MOST_BYTES:,} bytes")
    if clear:
        print(f"removed {store.clear()} kernels")
    return 0


def _show(path: str) -> int:
    """Lists the tensors and values of a checkpoint, which is read without running what it names."""
    import pickle

    import taper

    try:
        found = taper.load(path)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        return _complaint(f"show: {error}")
    rows = list(_entries(found, ""))
    wide = max((len(name) for name, _ in rows), default=0)
    tensors = []
    for name, value in rows:
        text = repr(value)
        if isinstance(value, taper.Tensor):
            tensors.append(value)
            text = f"{value.dtype.name:<8} {list(value.shape)}"
        print(f"{name:<{wide}}  {text}".rstrip())
    elements = sum(t.numel() for t in tensors)
    size = sum(t.nbytes for t in tensors)
    print(f"{len(tensors)} tensors, {elements:,} elements, {size:,} bytes")
    return 0


def _entries(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything inside nested dictionaries, lists and tuples."""
    if isinstance(value, dict) and value:
        inner = value.items()
    elif isinstance(value, (list, tuple)) and value and type(value) in (list, tuple):
        inner = enumerate(value)  # type: ignore[assignment]
    else:
        yield name or "(the file)", value
        return
    for key, each in inner:
        yield from _entries(each, f"{name}.{key}" if name else str(key))


def _study(argv: list[str]) -> int:
    try:
        from taper import studies
    except ImportError as error:
        if error.name not in (None, "taper.studies"):
            raise
        return _complaint("study: this installation has no studies (taper.studies is missing)")
    return int(studies.main(argv) or 0)


def _run(argv: list[str]) -> int:
    if argv[:1] in (["-h"], ["--help"]):
        print(RUN_HELP, end="")
        return 0
    if not argv or argv == ["-m"] or (argv[0].startswith("-") and argv[0] != "-m"):
        what = "nothing to run" if not argv or argv == ["-m"] else f"unknown option {argv[0]}"
        print(f"usage: {RUN_USAGE}\ntaper run: error: {what}", file=sys.stderr)
        return 2
    if argv[0] == "-m":
        return _run_module(argv[1], argv[2:])
    return _run_script(argv[0], argv[1:])


def _run_script(path: str, args: list[str]) -> int:
    import os

    from taper import script

    if not os.path.exists(path):
        return _complaint(f"can't open file {path!r}: [Errno 2] No such file or directory")
    try:
        script.run_script(path, args)
    except SystemExit:
        raise
    except BaseException as error:
        return _report(error)
    return 0


def _run_module(name: str, args: list[str]) -> int:
    from taper import script

    try:
        script.run_module(name, args)
    except SystemExit:
        raise
    except ImportError as error:
        # runpy raises it itself where there is no such module to run.
        if (
            error.__traceback__ is not None
            and script.without_our_frames(error.__traceback__) is None
        ):
            return _complaint(str(error))
        return _report(error)
    except BaseException as error:
        return _report(error)
    return 0


def _report(error: BaseException) -> int:
    """Prints the traceback as python would, from the script's first frame on."""
    from taper import script

    trace = script.without_our_frames(error.__traceback__)
    sys.excepthook(type(error), error.with_traceback(trace), trace)
    return 130 if isinstance(error, KeyboardInterrupt) else 1
