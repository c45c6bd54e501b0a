"""torch.__config__: how the framework was built, which for taper is Python and numpy."""

from __future__ import annotations


def show() -> str:
    """A text for bug reports: the versions of Python and numpy, and what evaluates."""
    import platform

    import numpy

    from taper import backends

    return (
        "PyTorch built with:\n"
        f"  - taper, on Python {platform.python_version()} and numpy {numpy.__version__}\n"
        f"  - Backend: {type(backends.math()).__module__.split('.')[2]}\n"
    )


def parallel_info() -> str:
    """How many threads compute."""
    from taper.settings import get_num_interop_threads, get_num_threads

    return (
        "ATen/Parallel:\n"
        f"\tat::get_num_threads() : {get_num_threads()}\n"
        f"\tat::get_num_interop_threads() : {get_num_interop_threads()}\n"
    )


def _cxx_flags() -> str:
    """The options of the C++ compiler: none, there is no C++."""
    return ""
