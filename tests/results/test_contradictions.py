"""Rows that contradict themselves are damaged: every one-field mutation that makes a contradiction is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.matrix.case import Case
from farreach.results.publishing import documents
from farreach.results.record import MADE_WITH, POINTS
from farreach.results.storage import rows
from farreach.results.storage.files import DamagedError
from farreach.results.storage.row_check import find_faults
from farreach.results.storage.sets import list_sets, open_set
from tests.support import synthetic
from tests.support.rows import parse_row

Row = dict[str, Any]

CLIPPED: dict[str, Any] = {"clip": "norm", "threshold": 0.1, "clip_fraction": 0.5, "clipped_elements": 0.5}
BASES: dict[str, Row] = {
    "solved": synthetic.looked_at(synthetic.record(metrics={"mse": 0.005, "mse_low": 0.004, "mse_high": 0.006}))[
        0
    ].to_row(),
    "clipped": synthetic.record(**CLIPPED, scale_median=0.9, solved=False).to_row(),
    "diverged": synthetic.diverged(**CLIPPED, scale_median=0.2).to_row(),
    "penalised": synthetic.record(cell="gru", regulariser="l2", strength=1e-3, solved=None).to_row(),
}
"""Valid rows of which one field is changed."""


def find_fault(row: Row) -> str:
    """Return why a row is damaged; nothing where it is not."""
    try:
        parse_row(json.dumps(row).encode(), Path("rows/k.json"), row["key"])
    except DamagedError as damage:
        return damage.reason
    return ""


def name_anew(row: Row) -> Row:
    """Return a row under the key that its case has, so that nothing but its contradiction is wrong."""
    return row | {"key": synthetic.make_key(row)}


@pytest.mark.parametrize("base", BASES)
def test_the_rows_that_are_mutated_are_valid(base: str) -> None:
    assert find_fault(BASES[base]) == ""


@pytest.mark.parametrize("folder", list_sets(registry.ROOT / documents.PUBLISHED), ids=lambda folder: folder.name)
def test_every_published_row_is_valid(folder: Path) -> None:
    table = open_set(folder).read_table()
    assert len(table) > 0
    assert find_faults(table) == {}


@pytest.mark.parametrize(
    ("base", "change", "reason"),
    [
        ("solved", {"skill": 0.5}, "its loss and its floor and its skill contradict each other"),
        ("solved", {"skill": None}, "its loss and its skill contradict each other"),
        ("solved", {"loss": 0.15, "score": 0.15, "metric.mse": 0.15}, "its loss and its floor and its skill"),
        ("solved", {"loss": -0.1, "skill": 1.6}, "its loss is below 0"),
        ("solved", {"floor": 0.0}, "its floor is not above 0"),
        ("solved", {"score": 0.5}, "its metric and its score contradict each other"),
        ("solved", {"metric": "accuracy"}, "its metric and its score contradict each other"),
        ("solved", {"metric.mse_low": 0.0051}, "its metric.mse and its metric.mse_low and its metric.mse_high"),
        ("solved", {"steps_done": 1100}, "its steps and its steps_done contradict each other"),
        ("solved", {"steps_done": 900}, "its steps and its steps_done contradict each other"),
        ("solved", {"steps": 900}, "its steps and its steps_done contradict each other"),
        ("solved", {"until": "solved"}, "its steps and its steps_done contradict each other"),
        ("solved", {"until": "solved", "steps_done": 900}, "its steps and its steps_done contradict each other"),
        ("solved", {"initial": "chrono"}, "its initial and its chrono_length contradict each other"),
        ("solved", {"initial": "chrono", "chrono_length": 2}, "its initial and its chrono_length contradict"),
        ("solved", {"chrono_length": 9}, "its initial and its chrono_length contradict each other"),
        ("solved", {"initial": "chrono", "chrono_length": 9, "forget_bias": 2.0}, "its initial and its forget_bias"),
        ("solved", {"cell": "rnn", "forget_bias": 2.0}, "its cell and its forget_bias contradict each other"),
        ("solved", {"evaluate_every": 300}, "its steps and its evaluate_every contradict each other"),
        ("solved", {"evaluate_every": 0}, "its steps and its evaluate_every contradict each other"),
        ("solved", {"diverged_at": 7}, "its status and its diverged_at contradict each other"),
        ("solved", {"status": "diverged"}, "its status and its diverged_at contradict each other"),
        ("solved", {"solved": False}, "its solved and its steps_to_solve contradict each other"),
        ("solved", {"solved": None}, "its solved and its steps_to_solve contradict each other"),
        ("solved", {"steps_to_solve": None}, "its solved and its steps_to_solve contradict each other"),
        ("solved", {"steps_to_solve": 650}, "its steps_to_solve and its evaluate_every contradict each other"),
        ("solved", {"steps_to_solve": 900}, "its steps_to_solve and its steps_done contradict each other"),
        ("solved", {"steps_to_solve": 0}, "its steps_to_solve and its evaluate_every contradict each other"),
        ("solved", {"clip_fraction": 0.2}, "its clip and its clip_fraction contradict each other"),
        ("solved", {"clipped_elements": 0.2}, "its clip and its clipped_elements contradict each other"),
        ("solved", {"scale_median": 0.9}, "its clip and its scale_median contradict each other"),
        ("solved", {"norm_before_median": 5.0}, "its norm_before_median and its norm_before_max"),
        ("solved", {"norm_before_max": None}, "its norm_before_median and its norm_before_max"),
        ("solved", {"weights_sha256": ""}, "its weights_sha256 is no SHA-256"),
        ("solved", {"weights_sha256": "0" * 63}, "its weights_sha256 is no SHA-256"),
        ("solved", {"started": "yesterday"}, "its started is no time in ISO 8601"),
        ("solved", {"step_seconds": 3.0}, "its step_seconds and its seconds_training contradict each other"),
        ("solved", {"learning_rate": 0.0}, "its learning_rate is not above 0"),
        ("solved", {"cell": "gru"}, "its cell and its cell_reach_start contradict each other"),
        ("solved", {"growth_end_low": 0.5}, "its growth_end and its growth_end_low and its growth_end_high"),
        ("solved", {"growth_end": None}, "its growth_end and its growth_end_low contradict each other"),
        ("solved", {"reach_end": None}, "its reach_end and its growth_end contradict each other"),
        ("clipped", {"clip_fraction": 0.0}, "its clip_fraction and its clipped_elements contradict each other"),
        ("clipped", {"clipped_elements": 0.6}, "its clip_fraction and its clipped_elements contradict each other"),
        ("clipped", {"clip_fraction": 0.0, "clipped_elements": 0.0}, "its clip_fraction and its scale_median"),
        ("clipped", {"scale_median": 1.1}, "its clip and its scale_median contradict each other"),
        ("clipped", {"clip": "none"}, "its clip and its threshold contradict each other"),
        ("clipped", {"clip": "backprop"}, "its clip and its scale_median contradict each other"),
        ("clipped", {"clip": "autoclip", "threshold": 101.0}, "its clip and its threshold contradict each other"),
        ("solved", {"decay": 0.9}, "its optimizer and its decay contradict each other"),
        ("solved", {"accumulator": 0.1}, "its optimizer and its accumulator contradict each other"),
        ("solved", {"weight_decay": 0.1}, "its optimizer and its weight_decay contradict each other"),
        ("solved", {"optimizer": "adamw"}, "its optimizer and its weight_decay contradict each other"),
        ("solved", {"warmup": 5}, "its schedule and its warmup contradict each other"),
        ("solved", {"rate_end": 0.5}, "its schedule and its rate_end contradict each other"),
        ("solved", {"schedule": "step", "rate_factor": 0.5}, "its schedule and its rate_every contradict each other"),
        (
            "solved",
            {"schedule": "cosine", "rate_factor": 0.5},
            "its schedule and its rate_factor contradict each other",
        ),
        ("diverged", {"loss": 0.1}, "its status and its loss contradict each other"),
        ("diverged", {"skill": 0.4}, "its status and its skill contradict each other"),
        ("diverged", {"score": 0.1, "metric.mse": 0.1}, "its status and its score contradict each other"),
        ("diverged", {"metric.mse": 0.1}, "its status and its metric.mse contradict each other"),
        ("diverged", {"status": "finished"}, "its status and its diverged_at contradict each other"),
        ("diverged", {"diverged_at": 101}, "its steps_done and its diverged_at contradict each other"),
        ("diverged", {"diverged_at": 0}, "its steps_done and its diverged_at contradict each other"),
        ("diverged", {"steps_done": 200}, "its steps_done and its diverged_at contradict each other"),
        ("diverged", {"steps_done": 150}, "its steps_done and its evaluate_every contradict each other"),
        ("diverged", {"solved": True, "steps_to_solve": 100}, "its status and its steps_to_solve contradict"),
    ],
)
def test_a_contradiction_is_named(base: str, change: Row, reason: str) -> None:
    assert find_fault(name_anew(BASES[base] | change)).startswith(reason)


@pytest.mark.parametrize(
    "change",
    [
        {"until": "solved", "steps_done": 800},
        {"until": "solved", "steps": 800, "steps_done": 800},
        {"until": "solved", "solved": False, "steps_to_solve": None},
        {"initial": "chrono", "chrono_length": 3},
        {"forget_bias": 0.0},
    ],
)
def test_a_run_until_solved_and_first_weights_of_another_kind_are_no_contradiction(change: Row) -> None:
    assert not find_fault(name_anew(BASES["solved"] | change))


@pytest.mark.parametrize("name", [*(field.name for field in dataclasses.fields(Case)), *MADE_WITH])
def test_a_case_or_a_version_that_is_not_the_one_of_the_key_is_refused(name: str) -> None:
    row = BASES["penalised"]
    others = {str: "other", int: 7, float: 0.75}
    other = {"schema": 0, "mode": "native", "parameters": '{"T": 51}'}.get(name, others[type(row[name] or 0.5)])
    changed = row | {name: other}
    if name == "mode":  # the packages whose versions name a native case are in no row
        assert find_fault(changed) == ""
    else:
        assert find_fault(changed)
        assert find_fault(row | {name: other, "key": "0" * 16})


def test_a_key_of_another_case_is_refused_and_a_local_version_may_be_left_out() -> None:
    row = BASES["solved"]
    assert find_fault(row | {"key": "0" * 16}) == "its key is not that of its case and versions"
    assert find_fault(row | {"seed": 1}) == "its key is not that of its case and versions"
    assert find_fault(row | {"framework_version": row["framework_version"] + "+cu126"}) == ""
    assert find_fault(row | {"framework_version": "2.13.1"}) == "its key is not that of its case and versions"


def test_the_key_of_a_row_is_the_key_of_its_case() -> None:
    case = Case(task="adding", parameters=(("T", 50),), framework="reference", cell="rnn", path="numpy", hidden=8)
    facts = case.identity() | case.to_json() | {"radius": 1.0, "metric_version": 1}
    row = synthetic.record(**{name: facts[name] for name in case.to_json()} | {"parameters": '{"T": 50}'}).to_row()
    row |= {name: facts[name] for name in MADE_WITH}
    assert synthetic.make_key(row) == case.key()


# One field, any value


def is_close(value: float, other: float) -> bool:
    return abs(value - other) <= 1e-11 * max(1, abs(value), abs(other))


def are_ordered(row: Row, *names: str) -> bool:
    values = [row[name] for name in names if row[name] is not None]
    return values == sorted(values)


def is_between(low: float, value: float | None, high: float) -> bool:
    return value is None or low <= value <= high


RELATIONS: list[Callable[[Row], object]] = [
    lambda row: row["skill"] is None or is_close(row["skill"], 1 - row["loss"] / row["floor"]),
    lambda row: (row["loss"] is None) == (row["skill"] is None),
    lambda row: row["loss"] is None or row["loss"] >= 0,
    lambda row: row["floor"] > 0,
    lambda row: row["score"] == row.get("metric." + row["metric"], row["loss"] if row["metric"] == "loss" else None),
    lambda row: (row["status"] == "diverged") == (row["diverged_at"] is not None),
    lambda row: row["status"] == "finished" or {row["loss"], row["score"], row["steps_to_solve"]} == {None},
    lambda row: bool(row["solved"]) == (row["steps_to_solve"] is not None),
    lambda row: row["evaluate_every"] > 0 and row["steps"] > 0 and row["steps"] % row["evaluate_every"] == 0,
    lambda row: row["steps_done"] % max(row["evaluate_every"], 1) == 0 and 0 < row["steps_done"] <= row["steps"],
    lambda row: row["status"] == "diverged" or row["steps_done"] == row["steps"],
    lambda row: is_between(row["steps_done"] - row["evaluate_every"] + 1, row["diverged_at"], row["steps_done"]),
    lambda row: is_between(row["evaluate_every"], row["steps_to_solve"], row["steps_done"] - 2 * row["evaluate_every"]),
    lambda row: (row["steps_to_solve"] or 0) % max(row["evaluate_every"], 1) == 0,
    lambda row: row["clip"] != "none" or (row["clip_fraction"], row["clipped_elements"]) == (0, 0),
    lambda row: row["clip"] not in {"none", "backprop"} or row["scale_median"] is None,
    lambda row: row["clip"] != "autoclip" or row["threshold"] <= 100,
    lambda row: (row["clip_fraction"] == 0) == (row["clipped_elements"] == 0),
    lambda row: row["clipped_elements"] <= row["clip_fraction"] + 1e-5,
    lambda row: row["scale_median"] is None or row["scale_median"] <= 1 + 1e-5,
    lambda row: row["scale_median"] is None or row["clip_fraction"] > 0 or abs(row["scale_median"] - 1) <= 1e-5,
    lambda row: (row["norm_before_median"] is None) == (row["norm_before_max"] is None),
    lambda row: are_ordered(row, "norm_before_median", "norm_before_max"),
    lambda row: re.fullmatch("[0-9a-f]{64}", row["weights_sha256"]),
    lambda row: row["step_seconds"] * row["steps_done"] <= 2.001 * row["seconds_training"],
    lambda row: all(row[name] >= 0 for name in row if name.startswith("seconds_") and row[name] is not None),
    *(
        lambda row, at=at: (
            row[f"growth_{at}"] is None or are_ordered(row, f"growth_{at}_low", f"growth_{at}", f"growth_{at}_high")
        )
        for at in POINTS
    ),
    lambda row: row["steps_before"] is not None or all(row[f"reach_{at}"] is None for at in POINTS),
]
"""What holds of every row of mode matched, said of one row."""

FIELDS = [
    *(
        "loss",
        "floor",
        "skill",
        "score",
        "metric.mse",
        "diverged_at",
        "solved",
        "steps_to_solve",
        "steps",
        "steps_done",
    ),
    *("evaluate_every", "clip_fraction", "clipped_elements", "scale_median", "norm_before_median", "norm_before_max"),
    *("step_seconds", "seconds_training", "seconds_data", "status", "weights_sha256", "growth_end", "growth_end_low"),
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, 7, 50, 100, 200, 600, 700, 800, 900, 1000, 1100, -1]),
    st.sampled_from([0.0, 0.005, 0.5, 0.97, 1.0, -0.5, 1.5]),
    st.floats(-2, 2, allow_nan=False),
    st.sampled_from(["finished", "diverged", "", "0" * 64, "g" * 64]),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(st.sampled_from([*BASES]), st.sampled_from(FIELDS), VALUES)
@example("solved", "steps_done", 1100)
def test_a_mutation_that_makes_a_contradiction_is_refused(base: str, name: str, value: Any) -> None:
    row = name_anew(BASES[base] | {name: value})
    try:
        holds = all(relation(row) for relation in RELATIONS)
    except (TypeError, KeyError, ZeroDivisionError):  # of another kind, or null where something is
        holds = False
    if not holds:
        assert find_fault(row), (base, name, value)


@pytest.mark.parametrize("base", BASES)
def test_a_mutation_that_makes_none_is_taken(base: str) -> None:
    row = BASES[base]
    recipes: list[Row] = [
        {"optimizer": "adamw", "weight_decay": 0.1, "schedule": "cosine", "warmup": 10, "rate_end": 0.1},
        {"optimizer": "rmsprop", "decay": 0.9, "accumulator": 1.0, "schedule": "cosine"},
        {"optimizer": "adagrad", "accumulator": 0.1, "schedule": "step", "rate_every": 10, "rate_factor": 0.5},
    ]
    plain: list[Row] = [
        {"jobs": 1},
        {"seconds_data": 3.0},
        {"seed": 4},
        {"moved": 0.5},
        {"gain_late": -1.0},
        {"T": None},
    ]
    for change in plain + recipes:
        changed = name_anew(row | {name: value for name, value in change.items() if name in row})
        assert all(relation(changed) for relation in RELATIONS)
        assert find_fault(changed) == ""


def test_a_text_that_is_no_row_is_refused_beside_one_that_is() -> None:
    good = json.dumps(BASES["solved"]).encode()
    bad = json.dumps(BASES["solved"] | {"skill": math.pi}).encode()
    _, faults = rows.parse_rows([good, bad], [BASES["solved"]["key"]] * 2)
    assert [*faults] == [1]
