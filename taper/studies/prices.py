"""Daily prices from a CSV file, checked on the way in, scaled, and cut into windows.

A file needs the columns Date, Open, High, Low, Close and Volume (or Vol), in any order and case;
others are ignored. The same goes for matplotlib's sample, the default.
"""

from __future__ import annotations

import csv
import datetime
import itertools
import math
import os
from typing import NamedTuple

import numpy as np

from taper.studies.engine import StudyError

FIELDS = ("Open", "High", "Low", "Close", "Volume")
CLOSE = FIELDS.index("Close")
_OTHER_NAMES = {"vol": "volume"}
# Day first comes after month first: where both fit, the one that gives ascending dates is taken.
_DATE_FORMATS = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d.%m.%Y",
    "%Y%m%d",
    "%m/%d/%y",
    "%d-%b-%y",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%Y-%m-%d %H:%M:%S",
)


class Prices(NamedTuple):
    """A series of days, oldest first. `values` has a row per day and a column per FIELD."""

    name: str
    dates: list[datetime.date]
    values: np.ndarray


class Scaler:
    """Maps each column linearly so that its range in `fit`'s rows becomes 0 to 1.

    >>> Scaler(np.array([[1.0, 10.0], [3.0, 20.0]])).scale(np.array([[2.0, 30.0]]))
    array([[0.5, 2. ]])
    """

    def __init__(self, rows: np.ndarray) -> None:
        self.low = rows.min(axis=0)
        spread = rows.max(axis=0) - self.low
        # A column that never changes becomes 0 instead of a division by zero.
        self.spread = np.where(spread == 0, 1.0, spread)

    def scale(self, rows: np.ndarray) -> np.ndarray:
        """The rows, scaled; values outside the fitted range leave 0 to 1."""
        return (rows - self.low) / self.spread

    def unscale_column(self, values: np.ndarray, column: int) -> np.ndarray:
        """Scaled values of one column, back in their own unit."""
        return values * self.spread[column] + self.low[column]


def sample() -> Prices:
    """Google's shares from August 2004 to October 2008, which come with matplotlib."""
    try:
        from matplotlib import cbook

        with np.load(cbook.get_sample_data("goog.npz", asfileobj=False)) as file:
            table = file["price_data"]
    except (ImportError, OSError) as error:
        raise StudyError(
            f"matplotlib's sample prices cannot be read ({error}); name a file of prices with --csv"
        ) from error
    values = np.stack([table[field.lower()] for field in FIELDS], axis=1).astype(np.float64)
    dates = [day.item() for day in table["date"].astype("datetime64[D]")]
    return Prices("GOOG (matplotlib's sample)", dates, values)


def read_csv(path: str) -> Prices:
    """The prices in a CSV file, oldest first.

    Raises: StudyError if the file or a column is missing, or a cell is empty or cannot be read.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"cannot read {path!r}: {error}") from error
    if not rows:
        raise StudyError(f"{path!r} is empty")
    places = _columns(path, rows[0])
    texts = [_cells(path, line, row, places) for line, row in enumerate(rows[1:], 2)]
    dates = _dates(path, [cells[0] for cells in texts])
    values = np.array(
        [
            [
                _number(path, line, field, text)
                for field, text in zip(FIELDS, cells[1:], strict=True)
            ]
            for line, cells in enumerate(texts, 2)
        ]
    )
    order = sorted(range(len(dates)), key=dates.__getitem__)
    for one, other in itertools.pairwise(order):
        if dates[one] == dates[other]:
            raise StudyError(
                f"{path!r}: lines {one + 2} and {other + 2} have the same date, {dates[one]}"
            )
    return Prices(os.path.basename(path), [dates[i] for i in order], values[order])


def _columns(path: str, header: list[str]) -> list[int]:
    """Where Date and the FIELDS stand."""
    names = [name.strip().lower() for name in header]
    names = [_OTHER_NAMES.get(name, name) for name in names]
    wanted = ("Date", *FIELDS)
    missing = [name for name in wanted if name.lower() not in names]
    if missing:
        raise StudyError(
            f"{path!r} lacks the column{'s' * (len(missing) > 1)} "
            f"{', '.join(missing)}; it has {', '.join(header)}"
        )
    return [names.index(name.lower()) for name in wanted]


def _cells(path: str, line: int, row: list[str], places: list[int]) -> list[str]:
    if len(row) <= max(places):
        raise StudyError(f"{path!r}, line {line}: only {len(row)} cells, a column is missing")
    return [row[place].strip() for place in places]


def _number(path: str, line: int, field: str, text: str) -> float:
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        what = repr(text) if text else "an empty cell"
        raise StudyError(
            f"{path!r}, line {line}: {field} is {what}, not a number; fill the hole "
            "or remove the row"
        )
    return value


def _dates(path: str, texts: list[str]) -> list[datetime.date]:
    """The dates, by the one format that fits all of them."""
    readable = []
    furthest = 0
    for format in _DATE_FORMATS:
        dates = []
        for text in texts:
            try:
                dates.append(datetime.datetime.strptime(text, format).date())
            except ValueError:
                break
        else:
            readable.append(dates)
        furthest = max(furthest, len(dates))
    for dates in readable:
        if dates in (sorted(dates), sorted(dates, reverse=True)):
            return dates
    if readable:
        return readable[0]
    raise StudyError(
        f"{path!r}, line {furthest + 2}: the date {texts[furthest]!r} cannot be read; "
        "write dates as 2021-07-30"
    )


def windows(values: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Every run of `length` rows, and the closing price of the row that follows it.

    Shape: (count, length, fields) and (count, 1), where count = rows - length.
    """
    runs = np.lib.stride_tricks.sliding_window_view(values[:-1], length, axis=0)
    return runs.transpose(0, 2, 1).copy(), values[length:, CLOSE : CLOSE + 1].copy()


def cut(prices: Prices, rows: int | None, length: int) -> Prices:
    """The last `rows` days (all if None).

    Raises: StudyError if that is more than there are, or too few to learn from.
    """
    count = len(prices.dates)
    if rows is not None and rows > count:
        raise StudyError(f"--rows {rows}: {prices.name} has only {count} rows")
    taken = count if rows is None else rows
    if taken < 2 * length:
        raise StudyError(
            f"{taken} rows are too few: windows of {length} days need at least {2 * length}"
        )
    start = count - taken
    return Prices(prices.name, prices.dates[start:], prices.values[start:])
