"""Every label has a row that gets it, and the figures that say why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from farreach.benchmarks.studies import planted_cases
from farreach.results.analysis.calibration import PLANTED
from farreach.results.analysis.diagnosis import FOUND, LABELS, Rule, diagnose_row, diagnose_rows
from farreach.results.report.calibration import write_page
from farreach.results.report.diagnosis import write_reason, write_remarks
from tests.support import synthetic

FINE: dict[str, Any] = {
    "status": "finished",
    "diverged_at": None,
    "solved": False,
    "steps_to_solve": None,
    "skill": 0.5,
    "floor": 1.0,
    "clip": "norm",
    "threshold": 1.0,
    "clip_fraction": 0.3,
    "norm_before_max": 5.0,
    "scale_median": 1.0,
    "moved": 0.5,
    "gain_late": 0.1,
    "steps_before": 49,
    "reach_end": 1.0,
    "cell_reach_end": None,
    "growth_end": -0.01,
    "growth_end_low": -0.02,
    "growth_end_high": 0.0,
}
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("healthy", {}, "skill 0.50"),
    ("healthy", {"solved": True, "steps_to_solve": 700}, "solved at step 700"),
    ("healthy", {"solved": np.True_, "steps_to_solve": 700, "reach_end": 0.1}, "solved at step 700"),
    ("diverged", {"status": "diverged", "diverged_at": 12, "skill": None}, "step 12"),
    ("vanishing", {"reach_end": 0.2, "growth_end": -0.3}, "20 % of the 49 steps"),
    ("vanishing", {"norm_before_max": 0.0}, "exactly zero"),
    ("exploding", {"growth_end": 0.2, "growth_end_low": 0.15}, "1.8e+04 times"),
    ("exploding", {"growth_end": 0.07, "growth_end_low": 0.05, "skill": -6.0}, "31 times"),
    ("exploding", {"growth_end": 0.07, "growth_end_low": 0.05, "skill": None}, "31 times"),
    ("healthy", {"growth_end": 0.07, "growth_end_low": 0.05}, "skill 0.50"),
    ("over-clipped", {"clip_fraction": 1.0, "scale_median": 1e-4, "moved": 1e-3}, "the weights moved by 0.001"),
    ("over-clipped", {"clip_fraction": 0.99, "scale_median": 0.05}, "still falling"),
    ("clip inactive", {"clip_fraction": 0.0, "threshold": 1e6}, "changed none of the steps"),
    ("clip inactive", {"clip_fraction": 0.0, "solved": True, "steps_to_solve": 700}, "the largest norm was 5"),
    ("stuck on the floor", {"skill": 0.01, "gain_late": 0.0}, "skill 0.010"),
    ("not looked at", {"reach_end": None, "growth_end": None}, "vanishing and exploding were not looked for"),
]


@pytest.mark.parametrize(("label", "changes", "said"), CASES)
def test_each_rule_gives_its_label_and_its_figures(label: str, changes: dict[str, Any], said: str) -> None:
    found = diagnose_row(FINE | changes)
    assert found.label == label
    assert said in write_reason(found.reason)


def test_every_label_is_given_by_some_row() -> None:
    assert {label for label, _, _ in CASES} == set(LABELS)


def test_an_lstm_that_remembers_by_its_cell_state_does_not_vanish() -> None:
    assert diagnose_row(FINE | {"reach_end": 0.2}).label == "vanishing"
    assert diagnose_row(FINE | {"reach_end": 0.2, "cell_reach_end": 1.0}).label == "healthy"


def test_a_growth_whose_interval_holds_zero_is_no_explosion() -> None:
    assert diagnose_row(FINE | {"growth_end": 0.2, "growth_end_low": -0.01}).label == "healthy"


def test_what_else_was_found_is_told_beside_the_label() -> None:
    found = diagnose_row(FINE | {"reach_end": 0.2, "clip_fraction": 0.0})
    assert found.label == "vanishing"
    assert [remark.rule for remark in found.remarks] == [Rule.IDLE]
    assert write_remarks(found.remarks).startswith("clip inactive: clip norm 1 changed none of the steps")


@pytest.mark.parametrize(("clip", "compared"), [("value", True), ("agc", False), ("autoclip", False)])
def test_an_idle_clip_stands_beside_a_norm_where_its_threshold_is_a_size(clip: str, compared: bool) -> None:
    said = write_reason(diagnose_row(FINE | {"clip": clip, "threshold": 90.0, "clip_fraction": 0.0}).reason)
    assert said.startswith(f"clip {clip} 90 changed none of the steps")
    assert ("norm was" in said) == compared


def test_a_run_without_a_probe_says_what_was_not_looked_for() -> None:
    without = {name: None for name in FINE if name.startswith(("reach", "growth", "cell"))}
    assert diagnose_row(FINE | without).label == "not looked at"
    solved = diagnose_row(FINE | without | {"solved": True, "steps_to_solve": 700})
    assert (solved.label, [one.rule for one in solved.remarks]) == ("healthy", [Rule.BLIND])
    assert "not looked at: " in write_remarks(solved.remarks)
    bare = {name: value for name, value in FINE.items() if name in {"status", "clip", "clip_fraction", "threshold"}}
    assert diagnose_row(bare).label == "not looked at"


def test_rows_of_a_store_are_diagnosed_in_their_order() -> None:
    rows = synthetic.rows(synthetic.record(), synthetic.diverged())
    assert list(diagnose_rows(rows)["label"]) == ["healthy", "diverged"]
    assert diagnose_rows(rows.iloc[:0]).empty


def test_at_least_two_hundred_cases_are_planted_with_every_label() -> None:
    planted = list(planted_cases.plant_cases("reference"))
    assert len(planted) >= 200
    assert len({case for _, case in planted}) == len(planted)
    assert {label for label, _ in planted} == set(FOUND)


def test_another_set_of_seeds_plants_other_cases() -> None:
    first, other = (
        {case for _, case in planted_cases.plant_cases("reference", seed)} for seed in (0, planted_cases.SEEDS)
    )
    assert not first & other


def test_the_confusion_table_counts_what_was_planted_and_what_was_given(tmp_path: Path) -> None:
    records = [synthetic.record(key=f"k{at}", seed=at) for at in range(3)] + [synthetic.diverged(key="torn")]
    store = synthetic.write(tmp_path, records)
    truth = {"k0": "healthy", "k1": "healthy", "k2": "vanishing", "torn": "diverged", "never ran": "healthy"}
    (tmp_path / PLANTED).write_text(json.dumps(truth))
    found, page = write_page(store, "python -m benchmarks calibrate")
    assert (found.right, found.cases) == (3, 4)
    table = found.confusion.set_index("planted")
    assert table.loc["healthy", "healthy"] == 2
    assert table.loc["vanishing", "healthy"] == 1
    assert found.wrong["planted"].tolist() == ["vanishing"]
    low, high = found.interval
    assert low < 0.75 < high
    assert "3 of 4 planted cases" in page.read_text()
    assert pd.read_csv(tmp_path / "confusion.csv").shape[0] == 3


def test_a_run_of_ones_own_is_judged_by_its_own_loss() -> None:
    own = {"status": "finished", "clip": "norm", "threshold": 1e-6, "clip_fraction": 1.0, "scale_median": 1e-6}
    falling = own | {"floor": None, "metric.training_loss": 0.5, "gain_late": 0.1, "norm_before_max": 3.0}
    assert diagnose_row(falling).label == "over-clipped"
    assert diagnose_row(falling | {"gain_late": 0.0}).label == "not looked at"


TIGHT: dict[str, Any] = {"clip_fraction": 1.0, "scale_median": 0.01, "moved": 0.01, "gain_late": 0.0}
BOUNDS: list[tuple[dict[str, Any], str, str, float, float]] = [
    ({"growth_end_low": 0.001, "steps_before": 1}, "exploding", "growth_end", np.log(1010), np.log(990)),
    (
        {"growth_end_low": 0.001, "steps_before": 1, "skill": 0.1},
        "exploding",
        "growth_end",
        np.log(10.1),
        np.log(9.9),
    ),
    ({"growth_end_low": 0.001, "steps_before": 1, "growth_end": 5.0}, "exploding", "skill", 0.0999, 0.1001),
    (TIGHT, "over-clipped", "clip_fraction", 0.951, 0.949),
    (TIGHT, "over-clipped", "scale_median", 0.099, 0.101),
    (TIGHT, "over-clipped", "moved", 0.0199, 0.0201),
    (TIGHT | {"moved": 0.5}, "over-clipped", "gain_late", 0.0201, 0.0199),
    (TIGHT | {"moved": 0.5, "floor": 4.0}, "over-clipped", "gain_late", 0.0801, 0.0799),
    ({}, "vanishing", "reach_end", 0.499, 0.501),
    ({"gain_late": 0.0}, "stuck on the floor", "skill", 0.0999, 0.1001),
    ({"gain_late": 0.0}, "stuck on the floor", "skill", -0.0999, -0.1001),
    ({"skill": 0.05}, "stuck on the floor", "gain_late", 0.0199, 0.0201),
    ({}, "clip inactive", "clip_fraction", 0.00099, 0.00101),
]


@pytest.mark.parametrize(("changes", "label", "column", "inside", "outside"), BOUNDS)
def test_a_rule_holds_up_to_its_bound_and_not_beyond(
    changes: dict[str, Any], label: str, column: str, inside: float, outside: float
) -> None:
    assert diagnose_row(FINE | changes | {column: inside}).label == label
    assert diagnose_row(FINE | changes | {column: outside}).label == "healthy"


def test_the_rules_are_tried_in_their_order() -> None:
    everything = FINE | TIGHT | {"growth_end": 1.0, "growth_end_low": 0.5, "reach_end": 0.1, "skill": 0.0}
    changes: list[dict[str, Any]] = [
        {"status": "diverged", "solved": True},
        {"solved": True},
        {},
        {"growth_end_low": -0.5},
        {"growth_end_low": -0.5, "clip_fraction": 0.5},
        {"growth_end_low": -0.5, "clip_fraction": 0.0, "reach_end": 1.0},
        {"growth_end_low": -0.5, "clip_fraction": 0.0, "reach_end": 1.0, "skill": 0.5},
    ]
    expected = ["diverged", "healthy", "exploding", "over-clipped", "vanishing", "stuck on the floor", "clip inactive"]
    assert [diagnose_row(everything | change).label for change in changes] == expected
