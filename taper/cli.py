"""The command line: `taper run script.py`, `taper study ...`, `taper version`.

A mistake of the user's (a file that is not there, an unknown word) is a message on stderr and exit
status 2. A script that is run keeps its own exit status and its own tracebacks.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

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
    parser.print_help(sys.stderr)
    return 2


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
