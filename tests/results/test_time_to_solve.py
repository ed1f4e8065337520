"""Time to solve: steps times the seconds of a step, with an interval of both, censored where nothing was solved."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from farreach.results.analysis import statistics
from farreach.results.analysis.tables import tabulate_accuracy
from farreach.results.record import Record
from farreach.results.report import result_set
from farreach.results.report.phrases import write_time
from farreach.results.site import tables as lines
from farreach.results.timing import ratios
from farreach.results.timing.time_to_solve import TIMES, add_times, list_step_times, time_cases
from tests.support import synthetic
from tests.support.timings import make_contender, make_group, make_ratios, write_groups

SECONDS = {"pytorch (eager)": 2.0, "tensorflow (graph)": 0.5}
CLIP: dict[str, Any] = {"clip": "norm", "threshold": 1.0, "clip_fraction": 0.5}


def solve(*steps: int | None, **facts: Any) -> list[Record]:
    """Return a case a seed that took so many steps; None: it did not solve its task."""
    return [
        synthetic.record(**(CLIP | facts), seed=seed, solved=taken is not None, steps_to_solve=taken)
        for seed, taken in enumerate(steps)
    ]


def find_times(*records: Record, launches: float | None = None) -> pd.DataFrame:
    rows = synthetic.label(*records)
    return add_times(tabulate_accuracy(rows), rows, list_step_times([make_ratios(SECONDS, spread=0)], launches))


def test_it_is_the_median_of_the_steps_times_the_step_with_the_range_of_few_seeds() -> None:
    (line,) = find_times(*solve(300, 400, 500, 600, 700))[TIMES].to_numpy().tolist()
    low, high = 1 / ratios.LAUNCHES, ratios.LAUNCHES
    assert line[:3] == pytest.approx([500 * 0.02, 300 * 0.02 * low, 700 * 0.02 * high], rel=0.01)
    assert math.isnan(line[3])


def test_from_six_seeds_on_its_interval_is_that_of_the_median_and_of_the_step() -> None:
    steps = (300, 300, 400, 400, 500, 500, 600, 800)
    found = find_times(*solve(*steps), launches=1.2).iloc[0]
    low, high = statistics.bound_median(steps)
    assert found[TIMES[1:3]].tolist() == pytest.approx([low * 0.02 / 1.2, high * 0.02 * 1.2], rel=0.01)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((300, 400, 600), "8 s (5.8 to 12.4)"),
        ((300, 400, None), "8 s (5.8 or more)"),
        ((300, None, None), "not within 20 s (5.8 or more)"),
        ((None, None, None), "not within 20 s"),
    ],
)
def test_a_seed_that_solved_nothing_took_longer_than_it_was_trained(steps: tuple[int | None, ...], said: str) -> None:
    assert write_time(find_times(*solve(*steps)).iloc[0].to_dict()) == said


def test_a_faster_framework_that_needs_more_steps_is_held_against_the_other_in_one_number() -> None:
    other = {"framework": "tensorflow", "path": "graph"}
    table = find_times(*solve(300, 300, 300), *solve(600, 600, 600, **other))
    assert dict(zip(table["framework"], table["seconds to solve"], strict=True)) == pytest.approx(
        {"pytorch": 6.0, "tensorflow": 3.0}, rel=0.01
    )


OTHERS: list[dict[str, Any]] = [
    {"hidden": 32},
    {"parameters": '{"T": 20}'},
    {"path": "flushed"},
    {"clip": "none", "threshold": None, "clip_fraction": 0.0},
    {"cell": "gru"},
]


@pytest.mark.parametrize("facts", OTHERS, ids="-".join)
def test_another_step_than_the_timed_one_has_no_time(facts: dict[str, Any]) -> None:
    table = find_times(*solve(300), *solve(300, **facts))
    assert table["seconds to solve"].isna().sum() == 1
    assert write_time(table[table["seconds to solve"].isna()].iloc[0].to_dict()) == "\N{EN DASH}"


def test_first_weights_and_rates_do_not_move_the_time_of_a_step() -> None:
    table = find_times(*solve(300, learning_rate=0.1, initial="chrono", chrono_length=9))
    assert table["seconds to solve"].notna().all()


def test_without_a_criterion_or_a_timing_there_is_no_time() -> None:
    rows = synthetic.label(synthetic.record(**CLIP, solved=None, steps_to_solve=None))
    table = tabulate_accuracy(rows)
    assert add_times(table, rows, {}) is table
    assert add_times(table, rows, list_step_times([make_ratios(SECONDS)]))[TIMES].isna().all(axis=None)


def test_each_case_has_its_own() -> None:
    rows = synthetic.label(*solve(300, None))
    found = time_cases(rows.frame, list_step_times([make_ratios(SECONDS, spread=0)]))
    assert found["seconds to solve"].tolist() == pytest.approx([6, np.nan], nan_ok=True, rel=0.01)
    assert (found["seconds low"] < found["seconds to solve"]).tolist() == [True, False]


@pytest.mark.slow
def test_report_and_page_show_it_wherever_they_show_the_steps(tmp_path: Path) -> None:
    synthetic.write(tmp_path, solve(300, 400, 500))
    result_set.write(tmp_path)
    assert "time to solve" not in (tmp_path / "report.md").read_text()
    write_groups(tmp_path, make_group(make_contender("pytorch (eager)", np.full(120, 0.02))))
    result_set.write(tmp_path)
    assert "| pytorch time to solve |" in (tmp_path / "report.md").read_text()
    assert "seconds to solve" in (tmp_path / "tables" / "accuracy.csv").read_text().splitlines()[0]
    times = list_step_times([make_ratios(SECONDS, spread=0)])
    rows = synthetic.label(*solve(None, None), *solve(300, threshold=0.1))
    summed = lines.tabulate_lines(rows, times)
    assert [*summed["time to solve"].cat.categories] == ["6 s (5.8 to 6.21)", "not within 20 s"]
    for make, table in ((lines.make_accuracy, summed), (lines.make_cases, lines.tabulate_runs(rows, times))):
        assert any("to solve" in column.key and column.key != "steps to solve" for column in make(table).columns)
