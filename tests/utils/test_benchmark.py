"""Timing statements: measurements, what they say, and tables of them."""

from __future__ import annotations

import pytest

import taper as torch
from taper.utils.benchmark import Compare, Measurement, TaskSpec, Timer, select_unit, trim_sigfig


def measured(times, **spec):
    return Measurement(10, [t * 10 for t in times], TaskSpec("x + 1", "pass", **spec))


def test_a_statement_is_timed():
    found = Timer("x + x", globals={"x": torch.ones(3)}).timeit(50)

    assert found.number_per_run == 50 and len(found.raw_times) == 1
    assert 0 < found.median < 1


def test_blocks_are_timed_until_the_time_is_over():
    heard = []
    found = Timer("torch.ones(1)").blocked_autorange(
        lambda number, time: heard.append(number), min_run_time=0.005
    )

    assert sum(found.raw_times) >= 0.005
    assert heard == [found.number_per_run] * len(found.raw_times)


def test_blocks_are_timed_until_they_agree():
    timer = Timer("sum(range(100))")

    found = timer.adaptive_autorange(threshold=100.0, min_run_time=0.001, max_run_time=1.0)

    assert len(found.raw_times) > 3 and found.meets_confidence(100.0)


def test_threads_are_set_while_timing():
    before = torch.get_num_threads()
    seen = []
    Timer("seen.append(torch.get_num_threads())", globals={"seen": seen}, num_threads=1).timeit(2)

    assert set(seen) == {1}
    assert torch.get_num_threads() == before


def test_a_measurement_tells_its_quartiles():
    found = measured([1e-6 * i for i in range(1, 11)], label="add", sub_label="small")

    assert found.median == pytest.approx(5.5e-6)
    assert found.iqr == pytest.approx(4.5e-6)
    assert found.num_threads == 1
    assert repr(found).splitlines()[1:] == [
        "add: small",
        "  Median: 5.50 us",
        "  IQR:    4.50 us (3.25 to 7.75)",
        "  10 measurements, 10 runs per measurement, 1 thread",
        "  WARNING: Interquartile range is 81.8% of the median measurement.",
        "           This suggests significant environmental influence.",
    ]


def test_measurements_of_one_task_are_merged():
    (both, other) = Measurement.merge(
        [measured([1e-6]), measured([2e-6], label="a"), measured([3e-6])]
    )

    assert both.times == pytest.approx([1e-6, 3e-6])
    assert other.label == "a"


def test_a_table_has_a_row_for_each_task_and_a_column_for_each_description():
    table = Compare(
        [
            measured([1e-6], label="L", sub_label="S", description="D"),
            measured([2e-6], label="L", sub_label="S", description="E"),
            measured([2.5e-5], label="L", sub_label="S2", description="E", num_threads=2),
        ]
    )

    assert str(table).splitlines() == [
        "[---------- L ----------]",
        "          |   D   |   E  ",
        "1 threads: --------------",
        "      S   |  1.0  |   2.0",
        "2 threads: --------------",
        "      S2  |       |  25.0",
        "",
        "Times are in microseconds (us).",
    ]


def test_tables_may_be_coloured_and_trimmed():
    table = Compare([measured([t] * 5, sub_label=f"{t}") for t in (1e-3, 6e-3)])
    table.colorize()
    table.trim_significant_figures()
    table.highlight_warnings()

    text = str(table)
    assert "\033[92m" in text and "\033[31m" in text and "1.000" in text


def test_units_and_digits():
    assert [select_unit(t)[0] for t in (3e-9, 3e-6, 3e-3, 3.0, 3e4)] == ["ns", "us", "ms", "s", "s"]
    assert trim_sigfig(1234.5, 2) == 1200


WRONG = [
    (lambda: Timer(3), ValueError, "only a `str` stmt"),
    (lambda: Timer(language="go"), ValueError, "Invalid language `go`"),
    (lambda: Timer(language="c++"), NotImplementedError, "no C\\+\\+ to time"),
    (lambda: Timer(global_setup="int x;"), ValueError, "global_setup is C\\+\\+ only"),
    (lambda: Timer().repeat(), NotImplementedError, "blocked_autorange"),
    (lambda: Compare([3]), ValueError, "Expected an instance of `Measurement`"),
]


@pytest.mark.parametrize(("make", "kind", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_wrong_arguments_are_refused(make, kind, words):
    with pytest.raises(kind, match=words):
        make()
