"""torch.utils.benchmark: timing statements with care, and tables of the results.

timer.py measures, measurement.py is what a measurement says, compare.py puts many side by side.
"""

from __future__ import annotations

from taper.utils.benchmark.compare import Colorize, Compare
from taper.utils.benchmark.measurement import (
    Measurement,
    TaskSpec,
    select_unit,
    trim_sigfig,
    unit_to_english,
)
from taper.utils.benchmark.timer import Language, Timer, timer

__all__ = [
    "Colorize",
    "Compare",
    "Language",
    "Measurement",
    "TaskSpec",
    "Timer",
    "select_unit",
    "timer",
    "trim_sigfig",
    "unit_to_english",
]
