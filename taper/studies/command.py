"""The command line of the studies: `taper study NAME [options]`, `taper study all`.

A mistake of the user's is one message on stderr and exit status 2, with nothing written.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

from taper.errors import DataFileError
from taper.studies import NAMES, engine
from taper.studies.engine import StudyError

_ABOUT = {
    "tensors": "what a tensor is, how to make one, what it can do",
    "autograd": "how gradients are recorded and sent back, with the graph drawn",
    "activations": "six activation functions and their derivatives",
    "digits": "a random forest beside a three-layer network on handwritten digits",
    "lenet": "LeNet-5 on MNIST, with the feature maps it learned",
    "sequences": "recurrent networks: N to 1, 1 to N, N to N, N to M",
    "stock": "DNN, CNN and GRU predict tomorrow's price, beside a simple baseline",
    "all": "every study with its defaults, and a page that lists them",
}


def main(argv: list[str] | None = None) -> int:
    """Runs the studies' command line; returns the exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    name, rest = argv[0], argv[1:]
    try:
        if name == "all":
            from taper.studies import collection

            return collection.run(_parser("all", None).parse_args(rest))
        if name not in NAMES:
            raise StudyError(f"there is no study {name!r}; choose from {', '.join(NAMES)}, all")
        path = run(name, rest)
    except (StudyError, DataFileError) as error:
        print(f"taper study: {error}", file=sys.stderr)
        return 2
    print(f"\nThe report is in {path}")
    return 0


def run(name: str, argv: list[str]) -> str:
    """Runs one study; returns the path of its report.

    Raises: StudyError or DataFileError for what the user can mend.
    """
    from taper.studies import plots
    from taper.studies.report import Report

    # The engine must be known before the study is imported, and the study before its options are.
    root = engine.use(_early_engine(argv))
    study = engine.load(name, root.__name__)
    options = _parser(name, study).parse_args(argv)
    options.out = options.out or os.path.join("results", name)
    if options.epochs is None:
        options.epochs = study.EPOCHS
    plots.require()
    report = Report(name, study.TITLE, options.out)
    if options.threads is not None:
        root.set_num_threads(options.threads)
    start = time.perf_counter()
    study.run(options, report)
    report.timings["total"] = time.perf_counter() - start
    return report.write(vars(options), root)


def _usage() -> str:
    width = max(map(len, _ABOUT))
    listed = "\n".join(f"  {name:<{width}}  {about}" for name, about in _ABOUT.items())
    return (
        "usage: taper study NAME [options]\n\n"
        f"{listed}\n\n"
        "Each writes a folder with report.html, pictures and results.json.\n"
        "`taper study NAME --help` lists the options."
    )


def _parser(name: str, study: Any) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"taper study {name}", description=_ABOUT[name].capitalize() + ".", allow_abbrev=False
    )
    parser.add_argument(
        "--seed",
        type=_whole(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="of all random numbers (default: 0)",
    )
    parser.add_argument("--epochs", type=_whole(1), metavar="N", help=_epochs_help(name, study))
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="where the report goes (default: results"
        + ("" if name == "all" else f"/{name}")
        + ")",
    )
    parser.add_argument(
        "--threads",
        type=_whole(1),
        metavar="N",
        help="threads one operation may use (default: all cores)",
    )
    parser.add_argument(
        "--engine",
        choices=engine.ENGINES,
        default="taper",
        help="the framework that runs the study (default: taper)",
    )
    if hasattr(study, "add_options"):
        study.add_options(parser)
    return parser


def _epochs_help(name: str, study: Any) -> str:
    if name == "all":
        return "passes over the training data (default: each study's own)"
    if study.EPOCHS is None:
        return "accepted for uniformity: nothing is trained here"
    return f"passes over the training data (default: {study.EPOCHS})"


def _early_engine(argv: list[str]) -> str:
    """The value of --engine; the parser proper complains about everything else."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    early.add_argument("--engine", default="taper")
    try:
        return str(early.parse_known_args(argv)[0].engine)
    except argparse.ArgumentError:
        return "taper"  # --engine without a value


def _whole(least: int, most: int | None = None) -> Any:
    """A reader of whole numbers not below `least`, for argparse."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"must be at most {most}, got {value}")
        return value

    return read
