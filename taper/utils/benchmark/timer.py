"""Timer: how long a statement takes."""

from __future__ import annotations

import contextlib
import enum
import statistics
import textwrap
import timeit
from collections.abc import Callable, Iterator
from typing import Any

from taper.utils.benchmark.measurement import Measurement, TaskSpec

timer = timeit.default_timer


class Language(enum.Enum):
    """The language of a statement."""

    PYTHON = 0
    CPP = 1


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    import taper

    before = taper.get_num_threads()
    taper.set_num_threads(count)
    try:
        yield
    finally:
        taper.set_num_threads(before)


class Timer:
    """Measures the statement `stmt`, after `setup`, with the names in `globals`.

    The name torch is there. The labels are for printing: a Compare has a table for each `label`,
    a row for each `sub_label` (or statement) and a column for each `description`.
    Raises: ValueError for other languages than Python, NotImplementedError for C++.
    """

    def __init__(
        self,
        stmt: str = "pass",
        setup: str = "pass",
        global_setup: str = "",
        timer: Callable[[], float] = timer,
        globals: dict[str, Any] | None = None,
        label: str | None = None,
        sub_label: str | None = None,
        description: str | None = None,
        env: str | None = None,
        num_threads: int = 1,
        language: Language | str = Language.PYTHON,
    ) -> None:
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        if language in (Language.CPP, "cpp", "c++"):
            raise NotImplementedError("taper has no C++ to time; write the statement in Python")
        if language not in (Language.PYTHON, "py", "python"):
            raise ValueError(f"Invalid language `{language}`.")
        if global_setup:
            raise ValueError(
                f"global_setup is C++ only, got `{global_setup}`. Most likely this code can simply "
                "be moved to `setup`."
            )
        import taper

        stmt, setup = _trimmed(stmt), _trimmed(setup)
        self._globals = {"torch": taper, **(globals or {})}
        self._timer = timeit.Timer(stmt, setup, timer, self._globals)
        self._task_spec = TaskSpec(
            stmt, setup, global_setup, label, sub_label, description, env, num_threads
        )

    def _timeit(self, number: int) -> float:
        return max(self._timer.timeit(number), 1e-9)

    def _measurement(self, number: int, times: list[float]) -> Measurement:
        return Measurement(number, times, self._task_spec)

    def timeit(self, number: int = 1000000) -> Measurement:
        """The time of `number` runs, after a hundredth of them to warm up."""
        with _threads(self._task_spec.num_threads):
            self._timeit(max(int(number // 100), 2))
            return self._measurement(number, [self._timeit(number)])

    def repeat(self, repeat: int = -1, number: int = -1) -> None:
        """Not available, as in PyTorch."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def autorange(self, callback: Any = None) -> None:
        """Not available, as in PyTorch."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def collect_callgrind(self, *args: Any, **kwargs: Any) -> Any:
        """Would count instructions by valgrind."""
        raise NotImplementedError("taper does not count instructions; use blocked_autorange()")

    def _block_size(self, min_run_time: float) -> int:
        """So many runs that the clock itself does not matter."""
        overhead = statistics.median(self._timeit(0) for _ in range(5))
        number = 1
        while number * 10 <= 2**31 - 1:
            taken = self._timeit(number)
            fair = overhead / taken <= 1e-4 and taken >= min_run_time / 1000
            if fair or taken > min_run_time:
                break
            number *= 10
        return number

    def blocked_autorange(
        self, callback: Callable[[int, float], Any] | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Blocks of runs until `min_run_time` seconds are over; their size is found first."""
        return self._until(lambda found: True, min_run_time, None, callback)

    def adaptive_autorange(
        self,
        threshold: float = 0.1,
        *,
        min_run_time: float = 0.01,
        max_run_time: float = 10.0,
        callback: Callable[[int, float], Any] | None = None,
    ) -> Measurement:
        """Blocks of runs until the spread is below `threshold` of the median."""

        def steady(found: Measurement) -> bool:
            return len(found.raw_times) > 3 and found.meets_confidence(threshold)

        return self._until(steady, min_run_time, max_run_time, callback)

    def _until(
        self,
        enough: Callable[[Measurement], bool],
        least: float,
        most: float | None,
        callback: Callable[[int, float], Any] | None,
    ) -> Measurement:
        with _threads(self._task_spec.num_threads):
            number = self._block_size(least)
            times: list[float] = []
            while True:
                times.append(self._timeit(number))
                if callback is not None:
                    callback(number, times[-1])
                total = sum(times)
                if most is not None and total > most:
                    break
                if total >= least and enough(self._measurement(number, times)):
                    break
        return self._measurement(number, times)


def _trimmed(code: str) -> str:
    """Code without the indentation of the string it was written in."""
    return textwrap.dedent(code).removeprefix("\n").rstrip()
