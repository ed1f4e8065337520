"""The five answers claim what the data carry, with their numbers, and otherwise say what is missing."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from farreach.benchmarks.matrix import registry
from farreach.results.analysis import observatory, statistics
from farreach.results.analysis.labels import format_percent
from farreach.results.analysis.rows import label_rows, make_empty
from farreach.results.analysis.selection import find_length
from farreach.results.analysis.solved import count_solved, list_seeds
from farreach.results.analysis.task_verdicts import Count, Verdict, compare_clips, find_lengths
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
    one = answer_all(label_rows(make_empty()), interleaved.compare_pairs([group]))[0]
    assert not one.missing
    assert "timed in alternating blocks" in one.lead
    assert one.parts[0].startswith("lstm: tensorflow (graph) is 1.7")
    assert "times as fast as pytorch (eager) (95 % interval 1." in one.parts[0]


def test_nobody_is_called_faster_when_the_interval_holds_one() -> None:
    one = answer_speed(interleaved.compare_pairs([make_ratios({"pytorch (eager)": 1.0, "tensorflow (graph)": 1.001})]))
    assert one.missing
    assert "is inconclusive (ratio 1" in one.parts[0]
    assert "times as fast" not in one.sentence


def test_a_ratio_within_what_launches_differ_by_is_not_told() -> None:
    group = make_ratios({"jax (scan)": 1.0, "pytorch (eager)": 1.05}, spread=0.002)
    assert not answer_speed(interleaved.compare_pairs([group])).missing
    assert answer_speed(interleaved.compare_pairs([group], launches=1.1)).missing


def test_sizes_that_agree_are_told_together_and_those_that_do_not_one_by_one() -> None:
    same = [make_ratios({"jax (scan)": 1.0, "pytorch (eager)": 2.0}, parameters={"T": length}) for length in (50, 200)]
    assert "(2 sizes, every 95 % interval within" in answer_speed(interleaved.compare_pairs(same)).sentence
    other = make_ratios({"jax (scan)": 2.0, "pytorch (eager)": 1.0}, parameters={"T": 200})
    mixed = answer_speed(interleaved.compare_pairs([same[0], other])).sentence
    assert "at T=50 jax (scan) is" in mixed
    assert "at T=200 pytorch (eager) is" in mixed


def test_a_framework_that_ran_other_sizes_by_another_path_is_told_as_one() -> None:
    paths = {50: "eager", 200: "flushed", 500: "compiled"}
    groups = [
        make_ratios({"jax (scan)": 1.0, f"pytorch ({path})": 2.0}, parameters={"T": length})
        for length, path in paths.items()
    ]
    said = answer_speed(interleaved.compare_pairs(groups)).sentence
    assert "times as fast as pytorch (compiled, eager or flushed) (3 sizes, every" in said
    both = make_ratios({"jax (scan)": 1.0, "pytorch (eager)": 2.0, "pytorch (flushed)": 2.1}, parameters={"T": 1000})
    apart = answer_speed(interleaved.compare_pairs([*groups, both])).sentence
    assert " or " not in apart
    assert "as fast as pytorch (eager) (2 sizes, every" in apart
    assert "at T=500 jax (scan) is" in apart


def test_many_sizes_that_do_not_agree_are_counted() -> None:
    groups = [
        make_ratios({"jax (scan)": 1.0, "pytorch (eager)": ratio}, hidden=32 * at)
        for at, ratio in enumerate((2, 2, 2, 1, 0.5), 1)
    ]
    said = answer_speed(interleaved.compare_pairs(groups)).sentence
    assert "jax (scan) is faster than pytorch (eager) at 3 of 5 sizes" in said
    assert "pytorch (eager) is faster than jax (scan) at 1 of 5 sizes" in said
    assert "at 1 of 5 sizes" in said


def test_one_framework_alone_is_compared_with_nobody() -> None:
    one = answer_speed(interleaved.compare_pairs([make_ratios({"pytorch (eager)": 20.0})]))
    assert one.missing
    assert one.sentence == "Not known: no step was timed in two frameworks."
    assert of(synthetic.record())[0].sentence.startswith("Not known: no training step was timed")


# What was solved


def lengths(one: Answer) -> dict[str, list[tuple[float, int, int, int, bool]]]:
    """Return for each cell and length: how long, solved, of how many seeds, how many tried, whether it solves it."""
    (task,) = one.verdicts
    return {
        cell.cell: [(at.length, at.count.solved, at.count.seeds, at.tried, at.solves) for at in cell.lengths]
        for cell in task.cells
    }


def test_a_clip_that_exactly_half_of_the_seeds_solve_solves_nothing() -> None:
    (half,), (more,) = (compare_clips(synthetic.label(*ladder({None: good, 0.1: 3}, seeds=6))) for good in (3, 4))
    assert half.clips == ()
    assert [(one.clip, one.count) for one in more.clips] == [("none", Count(4, 6)), ("norm", Count(3, 6))]


@pytest.mark.parametrize(("good", "p"), [(8, 1 / 256), (7, 9 / 256), (6, 37 / 256), (4, 163 / 256)])
def test_a_cell_solves_what_more_than_half_of_the_seeds_do_by_an_exact_binomial_test(good: int, p: float) -> None:
    (task,) = find_lengths(synthetic.label(*ladder({None: good}, seeds=8)))
    (at,) = task.cells[0].lengths
    assert at.p == pytest.approx(p)
    assert at.solves == (good > 6)


def test_the_longest_length_that_the_seeds_are_shown_to_solve_is_named_with_its_share() -> None:
    records = [
        *ladder({None: 5}, seeds=5, parameters='{"T": 50}'),
        *ladder({None: 5}, seeds=5, parameters='{"T": 100}'),
        *ladder({None: 4}, seeds=5, parameters='{"T": 200}'),
    ]
    asked = of(*records)[1]
    assert lengths(asked) == {"lstm": [(50, 5, 5, 1, True), (100, 5, 5, 1, True), (200, 4, 5, 1, False)]}
    low, high = (format_percent(end) for end in statistics.bound_share(5, 5))
    assert f"lstm up to T=100 (5 of 5 seeds, 95 % interval {low} to {high}; at 200 4 of 5 seeds" in asked.sentence
    assert not asked.missing


def test_what_comes_after_a_length_that_is_not_solved_is_listed() -> None:
    records = [
        *ladder({None: 0}, seeds=5, parameters='{"T": 50}'),
        *ladder({None: 5}, seeds=5, parameters='{"T": 100}'),
    ]
    asked = of(*records)[1]
    assert asked.missing
    assert "lstm not shown at any T (at 50 0 of 5 seeds" in asked.sentence


def test_fewer_than_five_seeds_are_listed_without_an_interval() -> None:
    asked = of(*ladder({None: 4}, seeds=4))[1]
    assert asked.missing
    assert "lstm not shown at any T (at 50 4 of 4 seeds)" in asked.sentence
    assert math.isnan(Count(4, 4).interval.low)


def test_the_best_of_several_tried_is_said_to_be_and_has_no_interval() -> None:
    asked = of(*ladder({None: 5, 1.0: 5, 10.0: 0}, seeds=5))[1]
    assert lengths(asked) == {"lstm": [(50, 5, 5, 3, False)]}
    assert "lstm not shown at any T (at 50 5 of 5 seeds, best of 3 tried)" in asked.sentence
    eight = of(*ladder({None: 8, 1.0: 8, 10.0: 0}, seeds=8))[1]
    assert lengths(eight) == {"lstm": [(50, 8, 8, 3, True)]}  # three times one in 256
    assert "lstm up to T=50 (8 of 8 seeds, best of 3 tried; the only one tried)" in eight.sentence


def test_from_ten_seeds_on_the_best_is_chosen_on_one_half_and_judged_on_the_other() -> None:
    lucky = [one for one in ladder({None: 10}, seeds=10) if one.case.seed % 2 == 0]
    lucky += [one for one in ladder({None: 0}, seeds=10) if one.case.seed % 2]
    asked = of(*lucky, *ladder({1.0: 3}, seeds=10))[1]
    assert lengths(asked) == {"lstm": [(50, 0, 5, 2, False)]}
    assert "0 of 5 seeds, 95 % interval 0 % to" in asked.sentence
    assert "best of 2 tried chosen on the other seeds" in asked.sentence
    assert lengths(of(*ladder({None: 10, 1.0: 3}, seeds=10))[1]) == {"lstm": [(50, 5, 5, 2, True)]}


@pytest.mark.parametrize(
    ("seeds", "clips", "points"),
    [
        (5, 1, 1),
        (10, 2, 1),
        *(pytest.param(*one, 6, 2, marks=pytest.mark.slow) for one in ((3,), (5,), (7,), (10,), (20,))),
    ],
)
def test_a_cell_that_three_in_ten_seeds_solve_is_hardly_ever_said_to_solve_it(
    seeds: int, clips: int, points: int
) -> None:
    """The old rule, best share above half, said so of one task in two or more."""
    random = synthetic.stream("solves", seeds, clips, points)
    grid = [None, *(10.0**at for at in range(clips - 1))]
    known = [
        synthetic.record(
            cell=cell, parameters=f'{{"T": {length}}}', seed=seed, clip="norm" if at else "none", threshold=at,
            clip_fraction=0.5 if at else 0.0,
        )
        for cell in ("rnn", "lstm", "gru")
        for length in range(50, 50 + points)
        for at in grid
        for seed in range(seeds)
    ]  # fmt: skip
    table = list_seeds(synthetic.label(*known))
    said = 0
    trials = 50 if clips < 6 else 100
    for _ in range(trials):
        rows = synthetic.label(known[0])
        rows.tables[list_seeds.__wrapped__] = table.assign(solved=random.random(len(table)) < 0.3)
        said += any(cell.reached for task in find_lengths(rows) for cell in task.cells)
    assert said <= 0.06 * trials


def test_a_seed_that_one_framework_did_not_solve_is_not_counted() -> None:
    records = ladder({None: 3}, seeds=3) + ladder({None: 1}, seeds=3, framework="tensorflow", path="graph")
    assert count_solved(synthetic.label(*records))[["solved", "seeds"]].to_numpy().tolist() == [[1, 3]]
    one = of(*records)[1]
    assert one.missing
    assert lengths(one) == {"lstm": [(50, 1, 3, 1, False)]}


def test_a_task_without_a_criterion_is_told_by_its_metric_and_its_range() -> None:
    cases = [
        synthetic.record(task="translation", seed=seed, loss=4.0, score=0.1 + seed / 100, solved=None, **clip)
        for seed in range(3)
        for clip in ({}, {"clip": "norm", "threshold": 1.0, "clip_fraction": 0.5})
    ]
    said = of(*[one for one in cases if one.case.clip == "none"])[1]
    assert not said.missing
    assert said.sentence == "Translation has no criterion; its source gain: lstm 0.11 (0.1 to 0.12) over 3 seeds."
    assert "over 3 seeds, best of 2 tried" in of(*cases)[1].sentence


def test_the_length_of_every_task_is_found_in_its_parameters() -> None:
    for name in registry.list_tasks():
        task = __import__(f"farreach.tasks.{name}", fromlist=["Task"]).Task
        names = [field.name for field in dataclasses.fields(task)]
        assert {"T", "delay", "longest"} & set(names), f"{name}: no parameter says how long its dependency is"
    assert find_length('{"source": "shipped", "delay": 20}') == ("delay", 20.0)
    assert find_length('{"width": 3, "flag": true}') == ("width", 3.0)
    assert find_length('{"permuted": false}') is None
    assert find_length('{"source": "shipped"}') is None


# Thresholds


def compared(one: Answer) -> dict[str, Verdict]:
    """Return the verdict on each clip of a task."""
    (clips,) = one.verdicts
    return {each.label: each.verdict for each in clips.clips}


def test_a_clip_is_better_than_none_only_where_an_exact_test_says_so() -> None:
    told = of(*ladder({None: 0, 1.0: 5}, seeds=5))[2]
    assert compared(told) == {"none": Verdict.PIVOT, "norm 1": Verdict.BETTER}
    assert "no clip (0 of 5 seeds), worse than norm 1 (5 of 5 seeds; 50 % of steps clipped)" in told.sentence
    unsure = of(*ladder({None: 0, 1.0: 3}, seeds=5))[2]
    assert compared(unsure) == {"none": Verdict.PIVOT, "norm 1": Verdict.UNCLEAR}
    assert "not told apart from norm 1 (3 of 5 seeds" in unsure.sentence
    listed = of(*ladder({None: 0, 1.0: 4}, seeds=4))[2]
    assert compared(listed) == {"none": Verdict.LISTED, "norm 1": Verdict.LISTED}
    assert not any(word in listed.parts[0] for word in ("better", "worse", "told"))


def test_comparisons_are_corrected_for_their_number() -> None:
    counts = dict.fromkeys((0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 1e4), 5) | {None: 0}
    assert set(compared(of(*ladder(counts, seeds=5))[2]).values()) == {Verdict.PIVOT, Verdict.UNCLEAR}  # 7 * .0079
    del counts[1e4]
    assert Verdict.BETTER in compared(of(*ladder(counts, seeds=5))[2]).values()


def test_clips_are_compared_with_the_one_that_the_suite_had_declared() -> None:
    declared = ladder({1.0: 5}, seeds=5, contrast="solved", side=1) + ladder({None: 0}, seeds=5)
    asked = answer_all(synthetic.label(*declared, *ladder({0.1: 4, 10.0: 0}, seeds=5)))[2]
    (clips,) = asked.verdicts
    assert {one.label: one.verdict for one in clips.clips} == {
        "norm 1": Verdict.PIVOT,
        "none": Verdict.WORSE,
        "norm 0.1": Verdict.UNCLEAR,
        "norm 10": Verdict.WORSE,
    }
    assert "norm 1 (5 of 5 seeds; 50 % of steps clipped), better than no clip (0 of 5 seeds)" in asked.sentence


def test_two_clips_are_compared_where_both_ran() -> None:
    both = ladder({None: 5, 1.0: 6}, seeds=10)
    alone = ladder({1.0: 10}, seeds=10, cell="gru", parameters='{"T": 20}') + ladder({None: 0}, seeds=10, cell="rnn")
    assert compared(of(*both, *alone)[2]) == {"none": Verdict.PIVOT, "norm 1": Verdict.UNCLEAR}


def test_a_seed_has_solved_it_under_a_clip_where_it_did_in_every_setting_and_cell() -> None:
    grid = {None: 0, 1.0: 5}
    asked = of(*ladder(grid, seeds=5), *ladder(grid | {1.0: 3}, seeds=5, parameters='{"T": 20}'))[2]
    assert {one.label: (one.count.solved, one.count.seeds) for one in asked.verdicts[0].clips} == {
        "none": (0, 5),
        "norm 1": (3, 5),
    }


def test_no_threshold_is_recommended_where_nothing_was_solved_or_one_was_tried() -> None:
    never = of(*ladder({None: 0, 1.0: 0}, seeds=3))[2]
    assert never.missing
    assert never.verdicts[0].clips == ()
    assert "none of those tried (no clip, norm 1), since no cell solved it" in never.sentence
    assert "the only one tried" in of(*ladder({1.0: 3}, seeds=3))[2].sentence


def test_a_threshold_stands_beside_its_recipe() -> None:
    records = ladder({1.0: 3}, seeds=3) + ladder({1.0: 0}, seeds=3, optimizer="sgd", learning_rate=0.1)
    asked = of(*records)[2]
    (clips,) = asked.verdicts
    assert (clips.recipe["optimizer"], clips.recipe["learning_rate"], clips.others) == ("adam", 0.003, 1)
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
    assert (lost_reach.value, lost_reach.low, lost_reach.high) == pytest.approx((0.22, 0.20, 0.24), abs=0.005)
    assert lost_reach.seeds == 3
    assert (first_step.label, first_step.value) == ("diverged", 7)
    said = asked.sentence
    assert (
        "3 vanishing, rnn on adding T=50 (adam 0.003) without clipping (3 cases of 3 seeds: 1 % of the norm is left "
        "over 22 % (20 % to 24 %)" in said
    )
    assert "none exploding among the 3 looked at" in said
    assert "1 diverged, lstm on adding T=50 (adam 0.003) with norm 1 (1 case of 1 seed, the first at step 7)" in said


def test_what_was_not_looked_at_is_said_to_be_unknown() -> None:
    rows = synthetic.label(synthetic.record(solved=False), synthetic.record(seed=1, solved=False))
    one = answer_gradients(rows)
    assert one.missing
    assert "not looked at for vanishing gradients" in one.sentence
    assert "not looked at for exploding gradients" in one.sentence
    assert "none vanishing" not in one.sentence
    assert "none exploding" not in one.sentence
    assert "2 not looked at" in one.sentence
    assert set(observatory.list_diagnoses(rows)["diagnosis"]) == {"not looked at"}
    assert "not looked at" in observatory.count_diagnoses(rows)


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


def test_a_tie_of_three_implementations_is_settled_pair_by_pair() -> None:
    group = make_ratios({"jax (scan)": 1.0, "pytorch (eager)": 2.0, "tensorflow (xla)": 1.0})
    table = interleaved.compare_pairs([group])
    assert table["verdict"].tolist().count(statistics.INCONCLUSIVE) == 1
    assert answer_speed(interleaved.compare_pairs([group])).sentence.count("is inconclusive (ratio 1") == 1
