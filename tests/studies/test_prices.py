"""Reading prices: what is accepted, what is refused and with which words."""

from __future__ import annotations

import datetime
import pathlib

import numpy as np
import pytest

from taper.studies import prices
from taper.studies.engine import StudyError

HEADER = "Date,Open,High,Low,Close,Adj Close,Volume"


def _file(folder: pathlib.Path, *lines: str) -> str:
    path = folder / "prices.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_columns_are_found_by_name_in_any_order_and_case(tmp_path: pathlib.Path):
    path = _file(tmp_path, "Vol,close,LOW,High,Open,date,Name", "50,4,3,2,1,2021-07-30,x")

    series = prices.read_csv(path)

    assert series.values.tolist() == [[1, 2, 3, 4, 50]]
    assert series.dates == [datetime.date(2021, 7, 30)]


@pytest.mark.parametrize(
    "texts",
    [
        ("2005-01-04", "2005-01-05", "2005-02-13"),
        ("2005/1/4", "2005/1/5", "2005/2/13"),
        ("1/4/2005", "1/5/2005", "2/13/2005"),
        ("4/1/2005", "5/1/2005", "13/2/2005"),
        ("04.01.2005", "05.01.2005", "13.02.2005"),
        ("4-Jan-05", "5-Jan-05", "13-Feb-05"),
    ],
)
def test_dates_are_read_in_the_usual_spellings(tmp_path: pathlib.Path, texts: tuple[str, ...]):
    path = _file(tmp_path, HEADER, *(f"{text},1,1,1,1,1,1" for text in texts))

    assert prices.read_csv(path).dates == [
        datetime.date(2005, 1, 4),
        datetime.date(2005, 1, 5),
        datetime.date(2005, 2, 13),
    ]


def test_where_day_and_month_could_be_either_the_ascending_reading_is_taken(tmp_path: pathlib.Path):
    path = _file(
        tmp_path,
        HEADER,
        *(f"{d}/01/2005,1,1,1,1,1,1" for d in (10, 11, 12)),
        "01/02/2005,1,1,1,1,1,1",
    )

    assert prices.read_csv(path).dates[-1] == datetime.date(2005, 2, 1)


def test_a_file_that_begins_with_the_newest_day_is_turned_round(tmp_path: pathlib.Path):
    path = _file(tmp_path, HEADER, "2005-01-05,1,1,1,8,1,1", "2005-01-04,1,1,1,7,1,1")

    assert prices.read_csv(path).values[:, prices.CLOSE].tolist() == [7, 8]


def test_thousands_may_have_commas(tmp_path: pathlib.Path):
    path = _file(tmp_path, HEADER, '2005-01-05,"1,234.5",1,1,8,1,"1,000,000"')

    assert prices.read_csv(path).values[0].tolist() == [1234.5, 1, 1, 8, 1e6]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), "is empty"),
        (
            ("Date,Open,High,Close", "2005-01-04,1,1,1"),
            "lacks the columns Low, Volume; it has Date",
        ),
        ((HEADER, "2005-01-04,1,,1,1,1,1"), "line 2: High is an empty cell, not a number"),
        ((HEADER, "2005-01-04,1,1,1,1,1,1", "2005-01-05,1,1,nan,1,1,1"), "line 3: Low is 'nan'"),
        ((HEADER, "2005-01-04,1,1,1,inf,1,1"), "line 2: Close is 'inf'"),
        ((HEADER, "2005-01-04,1,1,1,n/a,1,1"), "line 2: Close is 'n/a', not a number"),
        ((HEADER, "2005-01-04,1,1,1"), "line 2: only 4 cells"),
        (
            (HEADER, "2005-01-04,1,1,1,1,1,1", "soon,1,1,1,1,1,1"),
            "line 3: the date 'soon' cannot be read",
        ),
        ((HEADER, ",1,1,1,1,1,1"), "line 2: the date '' cannot be read"),
        (
            (HEADER, "2005-01-04,1,1,1,1,1,1", "2005-01-04,1,1,1,1,1,1"),
            "lines 2 and 3 have the same date, 2005-01-04",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(
    tmp_path: pathlib.Path, lines: tuple[str, ...], words: str
):
    path = tmp_path / "prices.csv"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    with pytest.raises(StudyError) as caught:
        prices.read_csv(str(path))

    assert words in str(caught.value)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: pathlib.Path):
    with pytest.raises(StudyError, match="No such file"):
        prices.read_csv(str(tmp_path / "nowhere.csv"))
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(StudyError, match="cannot read"):
        prices.read_csv(str(tmp_path / "binary.csv"))


def test_windows_are_followed_by_the_next_days_close():
    values = np.arange(40.0).reshape(8, 5)

    X, y = prices.windows(values, 3)

    assert X.shape == (5, 3, 5)
    assert X[0].tolist() == values[:3].tolist()
    assert X[4].tolist() == values[4:7].tolist()
    assert y.tolist() == [[values[row, prices.CLOSE]] for row in range(3, 8)]


def test_the_scale_is_undone_for_one_column():
    rows = np.array([[1.0, 10.0], [3.0, 20.0]])
    scaler = prices.Scaler(rows)

    assert scaler.scale(rows).tolist() == [[0, 0], [1, 1]]
    assert scaler.unscale_column(np.array([0.0, 2.0]), 1).tolist() == [10, 30]


def test_a_column_that_never_changes_is_scaled_to_zero():
    assert prices.Scaler(np.ones((3, 1))).scale(np.ones((1, 1))).tolist() == [[0.0]]


def test_the_last_rows_are_cut_off_and_too_few_are_refused():
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(days=d) for d in range(70)]
    series = prices.Prices("it", days, np.zeros((70, 5)))

    assert prices.cut(series, 60, 30).dates == days[10:]
    assert prices.cut(series, None, 30).dates == days
    with pytest.raises(StudyError, match="--rows 71: it has only 70 rows"):
        prices.cut(series, 71, 30)
    for rows in (59, 1, 0, -5):
        with pytest.raises(StudyError, match="at least 60"):
            prices.cut(series, rows, 30)


def test_the_built_in_sample_is_googles_first_four_years():
    pytest.importorskip("matplotlib")

    series = prices.sample()

    assert series.values.shape == (1047, 5)
    assert series.dates[0] == datetime.date(2004, 8, 19)
    assert series.values[0, prices.CLOSE] == 100.34
