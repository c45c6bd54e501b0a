"""Compare: measurements side by side, in tables."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from typing import Any

from taper.utils.benchmark.measurement import (
    Measurement,
    select_unit,
    trim_sigfig,
    unit_to_english,
)

_BOLD, _END = "\033[1m", "\033[0m"
# (at least so many times the best, how it is shown), the slowest first.
_COLORS = ((5.0, "\033[31m"), (2.0, "\033[2m\033[91m"), (1.1, ""), (1.01, "\033[34m" + _BOLD))
_BEST = "\033[92m" + _BOLD


class Colorize(enum.Enum):
    """Among which measurements the best is sought."""

    NONE = "none"
    COLUMNWISE = "columnwise"
    ROWWISE = "rowwise"


class Compare:
    """Tables of measurements: one for each label, with the descriptions as columns.

    Raises: ValueError for what is no Measurement.
    """

    def __init__(self, results: Iterable[Measurement]) -> None:
        self._results: list[Measurement] = []
        self.extend_results(results)
        self._trim = False
        self._colorize = Colorize.NONE
        self._highlight = False

    def extend_results(self, results: Iterable[Measurement]) -> None:
        """Adds measurements."""
        added = list(results)
        for each in added:
            if not isinstance(each, Measurement):
                raise ValueError(
                    f"Expected an instance of `Measurement`, got {type(each)} instead."
                )
        self._results.extend(added)

    def trim_significant_figures(self) -> None:
        """Shows only the digits that can be relied on."""
        self._trim = True

    def colorize(self, rowwise: bool = False) -> None:
        """Colours times by how they compare with the best of their column (or row)."""
        self._colorize = Colorize.ROWWISE if rowwise else Colorize.COLUMNWISE

    def highlight_warnings(self) -> None:
        """Shows the spread of times that are spread far."""
        self._highlight = True

    def print(self) -> None:
        """Prints the tables."""
        print(str(self))

    def __str__(self) -> str:
        groups: dict[str | None, list[Measurement]] = {}
        for each in Measurement.merge(self._results):
            groups.setdefault(each.task_spec.label, []).append(each)
        return "\n".join(self._table(label or "", group) for label, group in groups.items())

    def _table(self, label: str, results: list[Measurement]) -> str:
        unit, scale = select_unit(min(each.median for each in results))
        columns = list(dict.fromkeys(each.task_spec.description for each in results))
        rows: dict[tuple[int, str, str], dict[str | None, Measurement]] = {}
        # Threads and places in order, the statements as they came.
        for each in sorted(results, key=lambda r: (r.task_spec.num_threads, r.env)):
            key = each.task_spec.num_threads, each.env, each.as_row_name
            rows.setdefault(key, {})[each.task_spec.description] = each
        texts = {
            name: self._column([row.get(name) for row in rows.values()], scale) for name in columns
        }
        heads = _heads(list(rows))
        widths = [max(map(len, heads))]
        widths += [max(len(name or ""), *map(len, texts[name])) for name in columns]
        names = ["", *(name or "" for name in columns)]
        title = "  |  ".join(name.center(width) for name, width in zip(names, widths, strict=True))
        lines = [f"[{f' {label} '.center(len(title) - 2, '-')}]", title]
        threads = None
        for i, ((count, _, _), row) in enumerate(rows.items()):
            if count != threads:
                threads = count
                lines.append(f"{count} threads: ".ljust(len(title), "-"))
            cells = [heads[i].ljust(widths[0])]
            for name, width in zip(columns, widths[1:], strict=True):
                rivals = (
                    row.values()
                    if self._colorize is Colorize.ROWWISE
                    else [
                        other[name]
                        for (n, _, _), other in rows.items()
                        if name in other and n == count
                    ]
                )
                cells.append(self._colored(texts[name][i].center(width), row.get(name), rivals))
            lines.append("  |  ".join(cells))
        lines += ["", f"Times are in {unit_to_english(unit)}s ({unit})."]
        if self._highlight and any(each.has_warnings for each in results):
            lines.append(
                "(! XX%) Measurement has high variance, where XX is the IQR / median * 100."
            )
        return "\n".join(lines) + "\n"

    def _column(self, results: Sequence[Measurement | None], scale: float) -> list[str]:
        """The times of a column, with their decimal points below each other."""
        here = [each for each in results if each is not None]
        whole = [math.ceil(math.log10(each.median / scale)) for each in here]
        decimals = 1
        if self._trim:
            decimals = min(
                max(each.significant_figures - digits, 0)
                for each, digits in zip(here, whole, strict=True)
            )
        width = max(whole) + decimals + (1 if decimals else 0)
        marked = self._highlight and any(each.has_warnings for each in here)
        texts = []
        for each in results:
            if each is None:
                texts.append(" " * (width + 7 * marked))
                continue
            value = each.median / scale
            if self._trim:
                value = trim_sigfig(value, each.significant_figures)
            mark = f" (! {each.iqr / each.median * 100:.0f}%)" if each.has_warnings else ""
            texts.append(f"{value:>{width}.{decimals}f}" + (f"{mark:>7}" if marked else ""))
        return texts

    def _colored(self, text: str, result: Measurement | None, rivals: Any) -> str:
        if self._colorize is Colorize.NONE or result is None:
            return text
        best = min(each.median for each in rivals)
        if result.median <= best * 1.01 or result.median <= best + 100e-9:
            return _BEST + text + _END
        for factor, color in _COLORS:
            if result.median >= best * factor:
                return color + text + _END if color else text
        return text


def _heads(rows: list[tuple[int, str, str]]) -> list[str]:
    """What stands before each row: its name, and its place where there are several."""
    places = {env for _, env, _ in rows}
    width = max(map(len, places)) if len(places) > 1 else 0
    heads, before = [], None
    for threads, env, name in rows:
        new = width > 0 and (threads, env) != before
        before = threads, env
        heads.append("  " + (f"({env})" if new else "").ljust(width + 4) + name)
    return heads
