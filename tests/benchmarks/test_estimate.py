"""A run that is only listed: each case with an estimate, what that rests on, and nothing trained or written."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.matrix.suite import load_suite
from farreach.benchmarks.running import environment, estimate
from tests.support import synthetic
from tests.support.commands import call_command
from tests.support.sweeps import format_suite

HERE = environment.read_processor()


def make_row(**changes: object) -> dict[str, object]:
    times = dict.fromkeys(("seconds_compile", "seconds_data", "seconds_evaluation", "seconds_probes"), 0.0)
    given = times | {"seconds_other": 0.0, "processor": HERE, "cpu_to_wall": 1.0} | changes
    return synthetic.record().to_row() | given


def make_case(row: dict[str, object], **changes: object) -> Case:
    return Case.from_row(row | changes)


def test_an_estimate_is_of_the_nearest_rows_by_the_median_of_their_rates() -> None:
    rows = [make_row(seed=seed, seconds_training=taken) for seed, taken in enumerate((10.0, 20.0, 90.0))]
    rows += [make_row(seconds_training=1e6, processor="another"), make_row(seconds_training=1e6, hidden=512)]
    same = make_case(rows[0], seed=9)
    longer = make_case(rows[0], parameters='{"T": 200}')
    wider = make_case(rows[0], hidden=300)
    foreign = make_case(rows[0], framework="reference", path="numpy")
    twice = make_case(rows[0], steps=2 * same.steps)
    found = estimate.estimate_cases([same, longer, wider, foreign, twice], rows)
    assert found.seconds[same] == pytest.approx(20)
    assert found.seconds[twice] == pytest.approx(40)
    assert found.seconds[longer] == pytest.approx(20 * longer.load().length / same.load().length)
    assert found.seconds[foreign] is None
    assert found.rests_on == {
        "rows of the same setting, this processor": 2,
        "rows of the same network and task, this processor": 1,
        "rows of the same framework, this processor": 1,
        "nothing: there is no such row": 1,
    }
    only = estimate.estimate_cases([same], rows[3:4])
    assert only.rests_on == {"rows of the same setting, another processor": 1}


def test_an_estimate_is_of_a_core_of_its_own() -> None:
    shared = [make_row(seconds_training=40.0, cpu_to_wall=0.25), make_row(seconds_training=40.0, cpu_to_wall=0.25)]
    case = make_case(shared[0], seed=9)
    assert estimate.estimate_cases([case], shared).seconds[case] == pytest.approx(10)
    threaded = [make_row(seconds_training=40.0, cpu_to_wall=1.8)]
    assert estimate.estimate_cases([case], threaded).seconds[case] == pytest.approx(40)


def test_a_case_that_ends_early_is_estimated_by_where_other_seeds_ended() -> None:
    rows = [make_row(seed=seed, seconds_training=10.0, steps_to_solve=solved) for seed, solved in enumerate((300, 600))]
    whole, other = make_case(rows[0], seed=9), make_case(rows[0], seed=9, learning_rate=1.0)
    early, unknown = (dataclasses.replace(one, until="solved") for one in (whole, other))
    found = estimate.estimate_cases([whole, early, unknown], rows).seconds
    assert found[whole] == found[unknown] == pytest.approx(10)
    assert found[early] == pytest.approx(10 * (500 + 800) / 2 / whole.steps)
    torn = [make_row(seed=seed, seconds_training=1.0, status="diverged", steps_done=100) for seed in range(3)]
    assert estimate.estimate_cases([whole], torn).seconds[whole] == pytest.approx(1)


def test_the_wall_time_is_shared_by_jobs_and_no_shorter_than_the_longest_framework() -> None:
    row = make_row()
    one = {make_case(row, seed=seed): 10.0 for seed in range(4)}
    assert estimate.Estimate({**one}, estimate.Counter()).find_wall(4) == 10
    both = one | {make_case(row, framework="reference", path="numpy"): 2.0}
    assert estimate.Estimate({**both}, estimate.Counter()).find_wall(4) == 40
    assert estimate.Estimate({}, estimate.Counter()).find_wall(4) == 0


@pytest.mark.parametrize(
    ("name", "frameworks", "minutes"),
    [
        ("quick", ["pytorch", "tensorflow"], 10),
        ("nightly", ["pytorch"], 150),
        ("nightly", ["tensorflow"], 150),
        ("nightly", ["jax"], 150),
    ],
)
def test_a_shipped_suite_fits_its_time_on_two_idle_cores(name: str, frameworks: list[str], minutes: float) -> None:
    cases = [case for case in load_suite(name).list_cases(frameworks) if case.framework in frameworks]
    found = estimate.estimate_cases(cases, list_published_rows())
    assert None not in found.seconds.values()
    assert found.find_wall(2) <= 60 * minutes


@functools.cache
def list_published_rows() -> list[dict[str, Any]]:
    """Return the rows of all published sets."""
    return estimate.read_rows([registry.PUBLISHED])


def test_a_dry_run_lists_what_is_missing_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(registry, "PUBLISHED", tmp_path / "published")
    path, out = tmp_path / "suite.toml", tmp_path / "out"
    path.write_text(format_suite(seed=[0, 1]))
    arguments = ("run", str(path), "--out", str(out), "--jobs", "1")
    status, printed, errors = call_command(*arguments, "--dry-run")
    assert (status, errors) == (0, "")
    assert "suite: 2 cases, 0 already done, 2 to run" in printed
    assert printed.count(": unknown\n") == 2
    assert "- 2 cases: estimated from nothing: there is no such row" in printed
    assert printed.endswith("nothing was trained or written\n")
    assert not out.exists()
    assert call_command(*arguments, "--only", "seed=0")[0] == 0
    there = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    status, printed, errors = call_command(*arguments, "--dry-run")
    assert "suite: 2 cases, 1 already done, 1 to run" in printed
    assert "seed 1: about " in printed
    assert "- 1 case: estimated from rows of the same setting, this processor" in printed
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == there
