"""Two kinds of processor, and permuted replicates: whether they conclude what the rest of the set does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from farreach.benchmarks.matrix import registry
from farreach.results.analysis.conclusions import compare_processors, compare_replicates, list_conclusions
from farreach.results.analysis.contrasts import judge_contrasts
from farreach.results.analysis.rows import label_rows
from farreach.results.publishing.manifests import list_published
from farreach.results.record import Record
from farreach.results.report.conclusions import name_question, write_findings
from farreach.results.storage.sets import open_set
from tests.support import synthetic

HERE, THERE = {"processor": "One"}, {"processor": "Another"}


def decide(good: int, *, seeds: int = 5, declared: bool = True, **facts: Any) -> list[Record]:
    """Return norm 1, of which the first `good` seeds solved the task, beside no clip, of which none did."""
    sides: list[tuple[int, dict[str, Any]]] = [(1, {"clip": "norm", "threshold": 1.0, "clip_fraction": 0.5}), (2, {})]
    return [
        synthetic.record(
            **(facts | clip | ({"contrast": "solved", "side": side} if declared else {})),
            seed=seed,
            solved=side == 1 and seed < good,
            steps_to_solve=600 if side == 1 and seed < good else None,
        )
        for side, clip in sides
        for seed in range(seeds)
    ]


def test_two_processors_that_conclude_the_same_are_said_to() -> None:
    other = {"framework": "tensorflow", "path": "graph"}
    more = [synthetic.record(seed=seed, cell="gru", **THERE) for seed in range(5)]
    rows = synthetic.label(*decide(5, **HERE), *decide(5, **THERE, **other), *more)
    found = compare_processors(rows)
    assert found
    assert (found.parts, found.turned, found.alone) == (("Another", "One"), (), 1)
    names = ["adding T=50", "adding, lstm at T=50", "adding, clip none"]
    assert [name_question(one) for one in found.same] == names
    (said,) = write_findings(rows)
    assert said.startswith(
        "The rows come from 2 kinds of processor. Of 3 conclusions for which Another and One have enough"
    )
    assert said.endswith(" seeds, 3 are the same; 1 more rest on one of them alone.")


def test_a_conclusion_that_another_processor_turns_is_named() -> None:
    rows = synthetic.label(*decide(5, **HERE), *decide(0, **THERE, commit="fedcba654321"))
    found = compare_processors(rows)
    assert found
    assert [name_question(one) for one in found.turned] == ["adding T=50"]
    assert "it differs for adding T=50" in write_findings(rows)[0]


def test_too_few_seeds_on_each_conclude_nothing() -> None:
    few = synthetic.label(*decide(3, seeds=3, **HERE), *decide(3, seeds=3, **THERE, framework="jax", path="scan"))
    assert write_findings(few) == [
        "The rows come from 2 kinds of processor. No conclusion has enough seeds on Another and One each."
    ]
    assert list_conclusions(few) == {}


def test_one_processor_is_not_told_of() -> None:
    assert compare_processors(synthetic.label(*decide(5))) is None
    assert write_findings(synthetic.label(*decide(5))) == []


@pytest.mark.parametrize(("good", "turned"), [(5, []), (4, []), (3, ["adding T=50", "adding, clip none"])])
def test_a_replicate_is_held_against_the_same_cases_as_drawn(good: int, turned: list[str]) -> None:
    more = [synthetic.record(seed=seed, cell="gru", solved=True) for seed in range(5)]
    (found,) = compare_replicates(synthetic.label(*decide(5), *more, *decide(good, replicate=1)))
    assert found.parts == ("pytorch", "its permuted replicate 1")
    assert [name_question(one) for one in found.turned] == turned
    assert not [one for one in found.same if "gru" in one.about]


PUBLISHED = [path for path in list_published(registry.PUBLISHED) if (path / "rows.parquet").exists()]


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_no_published_conclusion_is_turned_by_its_permuted_replicates(folder: Path) -> None:
    rows = label_rows(open_set(folder).rows())
    assert [name_question(one) for found in compare_replicates(rows) for one in found.turned] == []
    assert not [
        (one.setting, trial.learner, trial.replicate)
        for one in judge_contrasts(rows)
        for trial in one.trials
        if trial.replicate and one.is_turned(trial)
    ]


def test_some_published_set_has_replicates_that_conclude() -> None:
    rows = label_rows(open_set(registry.PUBLISHED / "quick").rows())
    assert all(len(found.same) >= 4 for found in compare_replicates(rows))
    assert [*compare_replicates(rows)]
