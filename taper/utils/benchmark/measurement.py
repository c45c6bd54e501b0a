"""What was measured, and what can be said about it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
_NAMES = {"ns": "nanosecond", "us": "microsecond", "ms": "millisecond", "s": "second"}

# Spread of the middle half, relative to the median, from which on a reader should be warned.
_FLUCTUATION = 0.1
_DISTURBANCE = 0.25
# No interval is smaller than what a clock can be trusted with; more digits would be noise.
_LEAST_INTERVAL = 25e-9
_MOST_DIGITS = 4


def select_unit(t: float) -> tuple[str, float]:
    """The unit in which a time in seconds is easily read, and its seconds."""
    # Rounded, so that a microsecond divided and multiplied again is still one.
    thousands = math.floor(round(math.log10(t), 6) / 3)
    return list(_UNITS.items())[min(max(thousands, -3), 0) + 3]


def unit_to_english(u: str) -> str:
    """The unit's name."""
    return _NAMES[u]


def trim_sigfig(x: float, n: int) -> float:
    """x rounded to n significant digits."""
    if x == 0:
        return 0.0
    scale = 10.0 ** (math.floor(math.log10(abs(x))) + 1 - n)
    return float(round(x / scale) * scale)


@dataclasses.dataclass(init=True, repr=False, eq=True, frozen=True)
class TaskSpec:
    """The statement and its surroundings."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """The label with the sub-label, or the statement."""
        if self.label is None:
            return self.stmt
        return self.label if self.sub_label is None else f"{self.label}: {self.sub_label}"

    def setup_str(self) -> str:
        """The setup, if there is one, as it is shown."""
        if self.setup in ("", "pass"):
            return ""
        return f"setup:\n{self.setup}" if "\n" in self.setup else f"setup: {self.setup}"

    def summarize(self) -> str:
        """Title, description and setup, as they are shown."""
        parts = [self.title, self.description or "", self.setup_str()]
        return "\n".join(f"{part}\n" if "\n" in part else part for part in parts if part)


@dataclasses.dataclass(init=True, repr=False)
class Measurement:
    """One or more times of a statement, each for `number_per_run` runs of it.

    Units: seconds.
    """

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[Any, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        if name in {field.name for field in dataclasses.fields(TaskSpec)}:
            return getattr(self.task_spec, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def times(self) -> list[float]:
        """Seconds for one run, by each measurement."""
        return [t / self.number_per_run for t in self.raw_times]

    @cached_property
    def _quartiles(self) -> tuple[float, float, float]:
        low, middle, high = np.quantile(self.times, (0.25, 0.5, 0.75)).tolist()
        return low, middle, high

    @property
    def median(self) -> float:
        """The median of the times."""
        return self._quartiles[1]

    @property
    def mean(self) -> float:
        """The mean of the times."""
        return float(np.mean(self.times))

    @property
    def iqr(self) -> float:
        """The spread of the middle half of the times."""
        return self._quartiles[2] - self._quartiles[0]

    @property
    def significant_figures(self) -> int:
        """How many digits of the median can be relied on, estimated from the middle half."""
        times = sorted(self.times)
        count = len(times)
        middle = times[count // 4 : math.ceil(3 * count / 4)]
        interval = max(1.645 * float(np.std(middle)) / math.sqrt(len(middle)), _LEAST_INTERVAL)
        return min(max(math.floor(math.log10(self.median / interval)), 1), _MOST_DIGITS)

    def meets_confidence(self, threshold: float = _FLUCTUATION) -> bool:
        """Whether the spread is below a share of the median."""
        return self.iqr / self.median < threshold

    @property
    def has_warnings(self) -> bool:
        """Whether the times are spread so far that a reader should be warned."""
        return not self.meets_confidence()

    @property
    def title(self) -> str:
        """The label with the sub-label, or the statement."""
        return self.task_spec.title

    @property
    def env(self) -> str:
        """Where it was measured, as Timer was told."""
        return "Unspecified env" if self.task_spec.env is None else self.task_spec.env

    @property
    def as_row_name(self) -> str:
        """The name of its row in a table."""
        return self.task_spec.sub_label or self.task_spec.stmt or "[Unknown]"

    def __repr__(self) -> str:
        spec, count = self.task_spec, len(self.raw_times)
        unit, scale = select_unit(self.median)
        low, middle, high = (t / scale for t in self._quartiles)
        many = count > 1
        lines = [
            f"<{type(self).__module__}.{type(self).__name__} object at {id(self):#x}>",
            spec.summarize(),
            f"  {'Median: ' if many else ''}{middle:.2f} {unit}",
        ]
        if count >= 4:
            lines.append(f"  IQR:    {high - low:.2f} {unit} ({low:.2f} to {high:.2f})")
        lines.append(
            f"  {count} measurement{'s' if many else ''}, {self.number_per_run} runs "
            f"{'per measurement,' if many else ','} {spec.num_threads} "
            f"thread{'s' if spec.num_threads > 1 else ''}"
        )
        if self.has_warnings:
            disturbed = not self.meets_confidence(_DISTURBANCE)
            lines.append(
                f"  WARNING: Interquartile range is {self.iqr / self.median * 100:.1f}% of the "
                "median measurement.\n           "
                + (
                    "This suggests significant environmental influence."
                    if disturbed
                    else "This could indicate system fluctuation."
                )
            )
        return "\n".join(lines)

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """One measurement for each task, with the times of all of that task."""
        groups: dict[TaskSpec, list[Measurement]] = {}
        for each in measurements:
            groups.setdefault(each.task_spec, []).append(each)
        merged = []
        for spec, group in groups.items():
            counts = {each.number_per_run for each in group}
            same = len(counts) == 1
            times = [t for each in group for t in (each.raw_times if same else each.times)]
            merged.append(Measurement(counts.pop() if same else 1, times, spec))
        return merged
