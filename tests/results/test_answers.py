"""The five answers claim what the data carry, with their numbers, and otherwise say what is missing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from farreach.benchmarks.matrix import registry
from farreach.results.analysis import statistics
from farreach.results.analysis.rows import label_rows, make_empty
from farreach.results.analysis.selection import find_length
from farreach.results.analysis.solved import count_solved
from farreach.results.analysis.task_verdicts import CellLengths, Count, Ranking
from farreach.results.record import Record
from farreach.results.report.answers import Answer, answer_all
from farreach.results.report.answers.gradients import answer_gradients
from farreach.results.report.answers.speed import answer_speed
from farreach.results.timing import interleaved
from tests.support import synthetic
from tests.support.certified import publish_certificate
from tests.support.timings import make_ratios


def of(*records: Record) -> list[Answer]:
    """Return the answers to records, of which no step was timed."""
    return answer_all(label_rows(synthetic.rows(*records) if records else make_empty()))


def ladder(counts: dict[float | None, int], *, seeds: int, **more: Any) -> list[Record]:
    """Return cases of one cell at some thresholds, of which so many seeds solved it."""
    return [
        synthetic.record(
            clip="none" if threshold is None else "norm",
            threshold=threshold,
            clip_fraction=0.0 if threshold is None else 0.5,
            seed=seed,
            solved=seed < good,
            steps_to_solve=600 if seed < good else None,
            loss=0.005 if seed < good else 0.16,
            **more,
        )
        for threshold, good in counts.items()
        for seed in range(seeds)
    ]


# Speed


def test_a_ratio_whose_interval_excludes_one_is_told_with_it() -> None:
    group = make_ratios({"tensorflow (graph)": 13.0, "pytorch (eager)": 23.0})
    one = answer_all(label_rows(make_empty()), [group])[0]
    assert not one.missing
    assert "timed in alternating blocks" in one.lead
    assert one.parts[0].startswith("lstm: tensorflow (graph) is 1.7")
    assert "times as fast as pytorch (eager) (95 % interval 1." in one.parts[0]


def test_nobody_is_called_faster_when_the_interval_holds_one() -> None:
    one = answer_speed([make_ratios({"pytorch (eager)": 1.0, "tensorflow (graph)": 1.001})])
    assert one.missing
    assert "is inconclusive (ratio 1" in one.parts[0]
    assert "times as fast" not in one.sentence


def test_a_ratio_within_what_launches_differ_by_is_not_told() -> None:
    group = make_ratios({"jax (scan)": 1.0, "pytorch (eager)": 1.05}, spread=0.002)
    assert not answer_speed([group]).missing
    assert answer_speed([group], launches=1.1).missing


def test_sizes_that_agree_are_told_together_and_those_that_do_not_one_by_one() -> None:
    same = [make_ratios({"jax (scan)": 1.0, "pytorch (eager)": 2.0}, parameters={"T": length}) for length in (50, 200)]
    assert "(2 sizes, every 95 % interval within" in answer_speed(same).sentence
    other = make_ratios({"jax (scan)": 2.0, "pytorch (eager)": 1.0}, parameters={"T": 200})
    mixed = answer_speed([same[0], other]).sentence
    assert "at T=50 jax (scan) is" in mixed
    assert "at T=200 pytorch (eager) is" in mixed


def test_a_framework_that_ran_other_sizes_by_another_path_is_told_as_one() -> None:
    paths = {50: "eager", 200: "flushed", 500: "compiled"}
    groups = [
        make_ratios({"jax (scan)": 1.0, f"pytorch ({path})": 2.0}, parameters={"T": length})
        for length, path in paths.items()
    ]
    said = answer_speed(groups).sentence
    assert "times as fast as pytorch (compiled, eager or flushed) (3 sizes, every" in said
    both = make_ratios({"jax (scan)": 1.0, "pytorch (eager)": 2.0, "pytorch (flushed)": 2.1}, parameters={"T": 1000})
    apart = answer_speed([*groups, both]).sentence
    assert " or " not in apart
    assert "as fast as pytorch (eager) (2 sizes, every" in apart
    assert "at T=500 jax (scan) is" in apart


def test_many_sizes_that_do_not_agree_are_counted() -> None:
    groups = [
        make_ratios({"jax (scan)": 1.0, "pytorch (eager)": ratio}, hidden=32 * at)
        for at, ratio in enumerate((2, 2, 2, 1, 0.5), 1)
    ]
    said = answer_speed(groups).sentence
    assert "jax (scan) is faster than pytorch (eager) at 3 of 5 sizes" in said
    assert "pytorch (eager) is faster than jax (scan) at 1 of 5 sizes" in said
    assert "at 1 of 5 sizes" in said


def test_one_framework_alone_is_compared_with_nobody() -> None:
    one = answer_speed([make_ratios({"pytorch (eager)": 20.0})])
    assert one.missing
    assert one.sentence == "Not known: no step was timed in two frameworks."
    assert of(synthetic.record())[0].sentence.startswith("Not known: no training step was timed")


# What was solved


def test_the_longest_length_that_most_seeds_solved_is_named_with_its_share() -> None:
    records = [
        *ladder({None: 5}, seeds=5, parameters='{"T": 50}'),
        *ladder({None: 4}, seeds=5, parameters='{"T": 100}'),
        *ladder({None: 2}, seeds=5, parameters='{"T": 200}'),
    ]
    asked = of(*records)[1]
    (task,) = asked.verdicts
    assert task.cells == (CellLengths("lstm", (50, 100, 200), 100, Count(4, 5), (), (200, Count(2, 5))),)
    said = asked.sentence
    assert "adding: lstm up to T=100 (4/5 seeds, 28 % to >99 %; at 200 2/5 seeds, 5 % to 85 %)" in said


def test_a_shorter_length_that_was_not_solved_is_named_too() -> None:
    records = [
        *ladder({None: 0}, seeds=3, parameters='{"T": 50}'),
        *ladder({None: 3}, seeds=3, parameters='{"T": 100}'),
    ]
    asked = of(*records)[1]
    assert asked.verdicts[0].cells == (CellLengths("lstm", (50, 100), 100, Count(3, 3), (50,)),)
    assert "lstm up to T=100 (3/3 seeds, 29 % to 100 %; not at 50; the longest tried)" in asked.sentence


def test_a_seed_that_one_framework_did_not_solve_is_not_counted() -> None:
    records = ladder({None: 3}, seeds=3) + ladder({None: 1}, seeds=3, framework="tensorflow", path="graph")
    assert count_solved(synthetic.label(*records))[["solved", "seeds"]].to_numpy().tolist() == [[1, 3]]
    one = of(*records)[1]
    assert one.missing
    assert one.verdicts[0].cells == (CellLengths("lstm", (50,), None, Count(1, 3)),)
    assert "lstm at no T (50 tried; at 50 1/3 seed" in one.sentence


def test_a_task_without_a_criterion_is_told_by_its_metric_and_interval() -> None:
    said = of(*[one for one in synthetic.quick() if one.case.task == "translation"])[1]
    assert not said.missing
    assert {cell.cell: cell.low > 0 for cell in said.verdicts[0].cells} == {"rnn": False, "lstm": True, "gru": True}
    assert said.sentence.startswith("Translation has no criterion; its best source gain with a 95 % interval: rnn 0.0")
    assert "where the interval of rnn includes 0" in said.sentence


def test_the_length_of_every_task_is_found_in_its_parameters() -> None:
    for name in registry.list_tasks():
        task = __import__(f"farreach.tasks.{name}", fromlist=["Task"]).Task
        names = [field.name for field in dataclasses.fields(task)]
        assert {"T", "delay", "longest"} & set(names), f"{name}: no parameter says how long its dependency is"
    assert find_length('{"source": "shipped", "delay": 20}') == ("delay", 20.0)
    assert find_length('{"width": 3, "flag": true}') == ("width", 3.0)
    assert find_length('{"source": "shipped"}') is None


# Thresholds


def compared(one: Answer) -> tuple[Ranking, list[str], list[str], list[str]]:
    """Return the ranking of a task's clips, the best ones, those that are worse, and those that may be."""
    (clips,) = one.verdicts
    best, worse, unclear = ([each.label for each in part] for part in (clips.best, clips.worse, clips.unclear))
    return clips.ranking, best, worse, unclear


def test_a_threshold_is_better_than_another_only_where_the_intervals_do_not_touch() -> None:
    told = of(*ladder({None: 0, 1.0: 10}, seeds=10))[2]
    assert compared(told) == (Ranking.RANKED, ["norm 1"], ["none"], [])
    assert (
        "norm 1 (10/10 seeds, 69 % to 100 %; 50 % of steps clipped), better than no clip (0/10 seeds, 0 % to 31 %)"
        in told.sentence
    )
    asked = of(*ladder({None: 0, 1.0: 3}, seeds=3))[2]
    assert compared(asked) == (Ranking.RANKED, ["norm 1"], [], ["none"])
    unsure = asked.sentence
    assert "whether better than no clip (0/3 seeds, 0 % to 71 %) cannot be told from so few seeds" in unsure
    assert ", better than" not in unsure


def test_two_clips_are_compared_where_both_ran() -> None:
    both = ladder({None: 5, 1.0: 5}, seeds=10)
    alone = ladder({1.0: 10}, seeds=10, cell="gru", parameters='{"T": 20}') + ladder({None: 0}, seeds=10, cell="rnn")
    assert of(*both, *alone)[2].verdicts[0].worse == ()


def test_no_threshold_is_recommended_where_nothing_was_solved_or_one_was_tried() -> None:
    never = of(*ladder({None: 0, 1.0: 0}, seeds=3))[2]
    assert never.missing
    assert never.verdicts[0].ranking is Ranking.UNSOLVED
    assert "none of those tried (no clip, norm 1), since no cell solved it" in never.sentence
    assert "the only one tried" in of(*ladder({1.0: 3}, seeds=3))[2].sentence
    assert "without a difference" in of(*ladder({None: 3, 1.0: 3}, seeds=3))[2].sentence


def test_a_threshold_stands_beside_its_recipe() -> None:
    records = ladder({1.0: 3}, seeds=3) + ladder({1.0: 0}, seeds=3, optimizer="sgd", learning_rate=0.1)
    asked = of(*records)[2]
    (clips,) = asked.verdicts
    assert (clips.optimizer, clips.learning_rate, clips.others) == ("adam", 0.003, 1)
    assert "adding (adam 0.003, 1 other recipe in the tables): norm 1" in asked.sentence


# Gradients and agreement


def test_where_gradients_vanished_stands_with_the_reach() -> None:
    lost = [
        synthetic.change(synthetic.looked_at(one)[0], reach_end=0.2 + 0.02 * one.case.seed)
        for one in ladder({None: 0}, seeds=3, cell="rnn")
    ]
    asked = of(*lost, synthetic.diverged(clip="norm", threshold=1.0))[3]
    (faults,) = asked.verdicts
    assert faults.labels == {"vanishing": 3, "diverged": 1}
    lost_reach, first_step = faults.faults
    assert (lost_reach.cell, lost_reach.cases) == ("rnn", 3)
    assert (lost_reach.value, lost_reach.low, lost_reach.high) == pytest.approx((0.22, 0.2, 0.24))
    assert (first_step.label, first_step.value) == ("diverged", 7)
    said = asked.sentence
    assert (
        "3 vanishing, rnn on adding T=50 (adam 0.003) without clipping (3 cases: 1 % of the norm is left over 22 %"
        in said
    )
    assert "22 % (20 % to 24 %) of 29 steps" in said
    assert "none exploding" in said
    assert "1 diverged, lstm on adding T=50 (adam 0.003) with norm 1 (1 case, the first at step 7)" in said


def test_what_was_not_looked_at_is_said_to_be_unknown() -> None:
    one = answer_gradients(synthetic.label(synthetic.record(), synthetic.record(seed=1)))
    assert one.missing
    assert "none of them looked at for the gradient through time" in one.sentence


def test_certificates_and_their_absence_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_certificate(tmp_path, monkeypatch, "a" * 16)
    proved = synthetic.record(digest="a" * 16)
    bare = synthetic.record(framework="tensorflow", path="graph", framework_version="9.9", digest="b" * 16)
    said = of(proved, bare)[4]
    assert not said.missing
    assert "1 of 2 cases in mode matched stand under a certificate" in said.sentence
    assert (
        "1 case stands under NO certificate and may not compare: 1 of tensorflow 9.9, kernel native, made by code and "
        "settings that have no certificate" in said.sentence
    )
    assert of(bare)[4].missing


# Sets that carry little


@pytest.mark.parametrize(
    "records",
    [[], [synthetic.diverged()], [synthetic.record()], [synthetic.record(mode="native")], synthetic.quick()],
    ids=["empty", "failed", "one", "native", "quick"],
)
def test_every_set_gets_five_answers_without_a_gap_in_the_text(records: list[Record]) -> None:
    found = of(*records)
    assert [one.question[-1] for one in found] == ["?"] * 5
    for one in found:
        assert one.parts
        assert one.sentence.endswith(".")
        assert not any(word in one.sentence for word in ("nan", "None", "inf ", "{", ".."))
    assert all(one.missing for one in found) == (not records)


def test_two_intervals_overlap_where_they_have_a_point_in_common() -> None:
    assert statistics.Interval(0, 1).overlaps(statistics.Interval(1, 2))
    assert not statistics.Interval(0, 1).overlaps(statistics.Interval(1.1, 2))


def test_a_tie_of_three_implementations_is_settled_pair_by_pair() -> None:
    group = make_ratios({"jax (scan)": 1.0, "pytorch (eager)": 2.0, "tensorflow (xla)": 1.0})
    table = interleaved.compare_pairs([group])
    assert table["verdict"].tolist().count(statistics.INCONCLUSIVE) == 1
    assert answer_speed([group]).sentence.count("is inconclusive (ratio 1") == 1
