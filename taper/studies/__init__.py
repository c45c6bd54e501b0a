"""The studies: `taper study NAME`, each a small experiment with a report to look at.

`command.py` reads the command line; `engine.py` decides whether taper or PyTorch runs it;
`report.py` writes the results. A study is a module of this package with TITLE, EPOCHS and
`run(options, report)`.
"""

from __future__ import annotations

# In the order of the learning path they come from.
NAMES = ("tensors", "autograd", "activations", "digits", "lenet", "sequences", "stock")


def main(argv: list[str] | None = None) -> int:
    """Runs `taper study` with these arguments; returns the exit status."""
    from taper.studies.command import main

    return main(argv)
