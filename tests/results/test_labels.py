"""Labels are for showing: under random ones every table, verdict and sentence says the same of the same facts."""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from farreach.benchmarks.matrix import registry
from farreach.results.analysis import (
    agreement,
    atlas,
    comparison,
    gradient_faults,
    history,
    labels,
    matched_native,
    native_gaps,
    observatory,
    overview,
    solved,
    tables,
    task_verdicts,
    tuning,
)
from farreach.results.analysis.rows import Rows, label_rows
from farreach.results.analysis.selection import CELL, GROUP, LINE, SETTING
from farreach.results.report import comparison as comparison_report
from farreach.results.report import findings
from farreach.results.report import history as history_report
from farreach.results.report.answers import answer_all
from farreach.results.report.answers.solving import write_clips
from farreach.results.storage.sets import open_set
from tests.support import synthetic

TABLES: dict[str, Callable[[Rows], pd.DataFrame]] = {
    "accuracy": tables.tabulate_accuracy,
    "gradients": tables.tabulate_gradients,
    "divergence": tables.tabulate_divergence,
    "metrics": tables.tabulate_metrics,
    "step times": tables.tabulate_step_times,
    "solved": solved.count_solved,
    "atlas": overview.tabulate_atlas,
    "reach over lengths": overview.tabulate_reach,
    "success over lengths": atlas.tabulate_success,
    "clip by rate": atlas.tabulate_rates,
    "profile": tuning.tabulate_profile,
    "gaps": agreement.measure_gaps,
    "reach": observatory.measure_reach,
    "diagnoses": observatory.list_diagnoses,
    "counts": observatory.count_diagnoses,
    "modes": matched_native.compare_modes,
    "native gaps": matched_native.compare_gaps,
}


def read_set(name: str) -> pd.DataFrame:
    """Return the rows of a published set, or of the made-up one, with two runs of the same step time."""
    if name == "synthetic":
        return synthetic.rows(*(synthetic.looked_at(one)[0] for one in synthetic.quick()))
    return open_set(registry.ROOT / "results" / "published" / name).rows()


def tell(frame: pd.DataFrame) -> dict[str, Any]:
    """Return everything that is told of a set: tables, verdicts and sentences."""
    rows = label_rows(frame)
    told: dict[str, Any] = {name: make(rows) for name, make in TABLES.items()}
    told["findings"] = findings.write_findings(rows, [])
    told["answers"] = [(one.missing, *one.lines()) for one in answer_all(rows)]
    told["agreement"] = [vars(one) for one in agreement.compare_pairs(agreement.measure_gaps(rows))]
    told["gap shares"] = [vars(one) for one in native_gaps.explain_gaps(rows)]
    told["faults"] = vars(gradient_faults.find_faults(rows))
    seeds = frame["seed"] == frame["seed"].min()
    worse = frame.assign(skill=pd.to_numeric(frame["skill"]) - 0.2 * (frame["cell"] == "lstm"))
    compared = comparison.compare_sides(frame.assign(run="a"), worse[seeds].assign(run="b"))
    told |= {name: getattr(compared, name) for name in ("quality", "speed", "whole")}
    told["comparison"] = comparison_report.write_findings(compared)
    series = [frame.assign(run=at, name=str(at)) for at in range(2)] + [worse.assign(run=2, name="2")]
    seen = history.trace_rows(pd.concat(series, ignore_index=True))
    told |= {"history lines": seen.lines, "history": history_report.write_findings(seen)}
    return told


class Tokens:
    """Labels without a meaning, and what each stands for."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.book: dict[str, str] = {}

    def replace(self, label: str) -> str:
        token = "q" + "".join(self.random.choice([*string.ascii_lowercase], 15))
        self.book[token] = label
        return token

    def read(self, value: Any) -> Any:
        """Return what was told with every token replaced by the label that it stands for."""
        if isinstance(value, pd.DataFrame):
            renamed = value.rename(columns=self.read)
            return renamed.assign(**{str(name): list(map(self.read, renamed[name])) for name in renamed})
        if isinstance(value, dict):
            return {name: self.read(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.read(one) for one in value]
        if isinstance(value, str):
            return re.sub(
                r"q[a-z]{15}", lambda found: self.book.get(found[0].lower(), found[0]), value, flags=re.IGNORECASE
            )
        return value if value is None or isinstance(value, int | float | np.generic) else self.read(repr(value))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["synthetic", "quick", "native"])
def test_under_random_labels_every_number_verdict_and_sentence_is_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = read_set(name)
    plain, tokens = tell(frame), Tokens()
    makers = {maker: getattr(labels, maker) for maker in ("label_cell", "label_clip", "label_learner")}
    settings = labels.label_settings
    monkeypatch.setattr(labels, "label_settings", lambda facts: [tokens.replace(one) for one in settings(facts)])
    for maker, make in makers.items():
        monkeypatch.setattr(labels, maker, lambda facts, make=make: tokens.replace(make(facts)))
    told = tell(frame)
    assert tokens.book
    assert told.keys() == plain.keys()
    for part, expected in plain.items():
        if isinstance(expected, pd.DataFrame):
            there, back = Tokens().read(expected), tokens.read(told[part])
            pd.testing.assert_frame_equal(back, there, check_exact=True, obj=part)
        else:
            back, there = repr(tokens.read(told[part])), repr(Tokens().read(expected))
            assert back.lower() == there.lower(), part  # a sentence may begin with a label


@pytest.mark.parametrize("make", [tables.tabulate_accuracy, tables.tabulate_gradients, observatory.list_diagnoses])
def test_facts_stand_beside_the_labels(make: Callable[[Rows], pd.DataFrame]) -> None:
    rows = synthetic.label(
        synthetic.record(clip="norm", threshold=0.1, learning_rate=1e-3),
        synthetic.record(clip="norm", threshold=0.1, learning_rate=1e-3, path="compiled"),
    )
    table = make(rows)
    assert {*GROUP, *LINE} <= {*table}
    assert table[["framework", "path", "clip", "threshold", "learning_rate"]].to_numpy().tolist() == [
        ["pytorch", "compiled", "norm", 0.1, 1e-3],
        ["pytorch", "eager", "norm", 0.1, 1e-3],
    ]


def test_two_facts_of_one_label_are_two_settings() -> None:
    near = [synthetic.record(learning_rate=rate) for rate in (0.003, 0.0030000001)]
    assert len(tables.tabulate_accuracy(synthetic.label(*near))) == 2


def test_heads_are_part_of_a_transformer_and_not_of_the_setting_that_it_shares_with_other_cells() -> None:
    rnn, two, four = (synthetic.record(cell="rnn"), *(synthetic.record(cell="transformer", heads=n) for n in (2, 4)))
    one = label_rows(synthetic.rows(rnn, four)).frame
    assert len({*one[SETTING]}) == 1
    assert [*one[CELL]] == ["rnn", "transformer"]
    several = label_rows(synthetic.rows(rnn, four, two)).frame
    assert len({*several[SETTING]}) == 1
    assert [*several[CELL]] == ["rnn", "transformer (heads 2)", "transformer (heads 4)"]


def test_rows_are_selected_once_and_diagnosed_once() -> None:
    rows = synthetic.label(*synthetic.quick())
    assert rows.as_drawn is rows.as_drawn
    assert rows.counted.ours is rows.counted
    assert rows.as_drawn.diagnoses.index.equals(rows.as_drawn.frame.index)
    assert tables.tabulate_accuracy(rows) is tables.tabulate_accuracy(rows)


def test_schedules_and_other_numbers_of_a_recipe_are_named_and_make_settings_and_recipes_of_their_own() -> None:
    recipes: list[dict[str, Any]] = [
        {},
        {"schedule": "cosine", "warmup": 50, "rate_end": 0.1},
        {"schedule": "step", "rate_every": 100, "rate_factor": 0.5},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"optimizer": "rmsprop", "decay": 0.9, "accumulator": 1.0},
    ]
    rows = synthetic.label(*(synthetic.record(**recipe, seed=seed) for recipe in recipes for seed in range(2)))
    assert [str(label) for label in rows.frame["setting"].cat.categories] == [
        "adding T=50 (adam 0.003)",
        "adding T=50 (adam 0.003, cosine, warmup 50, rate end 0.1)",
        "adding T=50 (adam 0.003, step, rate every 100, rate factor 0.5)",
        "adding T=50 (adamw 0.003, weight decay 0.1)",
        "adding T=50 (rmsprop 0.003, decay 0.9, accumulator 1)",
    ]
    (compared,) = task_verdicts.compare_clips(rows)
    assert compared.others == len(recipes) - 1
    assert write_clips(compared).startswith("adding (adam 0.003, 4 other recipes in the tables): ")
    stepped = [synthetic.record(schedule="step", rate_every=100, rate_factor=0.5, seed=seed) for seed in range(2)]
    (alone,) = task_verdicts.compare_clips(synthetic.label(*stepped))
    assert write_clips(alone).startswith("adding (adam 0.003, step, rate every 100, rate factor 0.5): ")


def test_a_timed_step_is_named_by_its_recipe_where_that_is_another() -> None:
    step = {"task": "adding", "parameters": {"T": 50}, "cell": "lstm", "hidden": 64, "batch": 32, "clip": "norm"}
    plain = "adding T=50 lstm, 64 units, batch 32"
    assert labels.label_step(step | {"optimizer": "adam", "schedule": "constant", "regulariser": "none"}) == plain
    assert labels.label_step(step) == plain
    other = {"optimizer": "adamw", "schedule": "cosine", "regulariser": "omega2", "clip": "none"}
    assert labels.label_step(step | other) == f"{plain}, adamw, cosine, omega2, clip none"
