"""Contrasts that a suite declared: tested by exact tests over seeds, in each framework, and found nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from farreach.results.analysis import statistics
from farreach.results.analysis.contrasts import ContrastVerdict, judge_contrasts
from farreach.results.record import Record
from farreach.results.report.answers import answer_all
from farreach.results.report.contrasts import write_contrast
from tests.support import synthetic


def solve(good: int, *, seeds: int = 5, side: int | None = 1, **more: Any) -> list[Record]:
    """Return a case per seed on one side of a contrast, of which the first `good` solved the task."""
    clip: dict[str, Any] = {"clip": "norm", "threshold": 1.0} if side == 1 else {}
    declared = {} if side is None else {"contrast": "solved", "side": side}
    return [
        synthetic.record(
            **(clip | declared | {"seed": seed, "solved": seed < good, "steps_to_solve": 600 if seed < good else None}),
            **more,
        )
        for seed in range(seeds)
    ]


def judge(*records: Record) -> ContrastVerdict:
    (found,) = judge_contrasts(synthetic.label(*records))
    return found


def test_five_seeds_against_none_are_told_apart_by_fishers_exact_test() -> None:
    found = judge(*solve(5), *solve(0, side=2))
    (trial,) = found.trials
    assert trial.p == pytest.approx(2 / 252)
    assert trial.winner == 1
    assert (trial.first.count, trial.second.count) == (5, 0)
    assert write_contrast(found) == (
        "adding T=50 (adam 0.003), declared before it ran: norm 1 solves 5 of 5 seeds, no clip 0 of 5 within "
        "1,000 steps (Fisher's exact p = 0.0079, pytorch)"
    )


@pytest.mark.parametrize(("good", "p", "winner"), [(4, 0.0476, 1), (3, 0.1667, None), (0, 1.0, None)])
def test_fewer_seeds_that_solve_it_decide_less(good: int, p: float, winner: int | None) -> None:
    (trial,) = judge(*solve(good), *solve(0, side=2)).trials
    assert trial.p == pytest.approx(p, abs=1e-4)
    assert trial.winner == winner
    assert ("not told apart" in write_contrast(judge(*solve(good), *solve(0, side=2)))) == (winner is None)


def test_fewer_than_five_seeds_are_listed_and_not_tested() -> None:
    found = judge(*solve(4, seeds=4), *solve(0, seeds=4, side=2))
    assert found.trials[0].p is found.trials[0].winner is None
    assert "norm 1 solves 4 of 4 seeds, no clip 0 of 4 within 1,000 steps (not tested, which takes 5" in write_contrast(
        found
    )


def test_each_framework_is_a_test_of_its_own_and_a_replicate_says_whether_it_turns_it() -> None:
    plain = [*solve(5), *solve(0, side=2)]
    other = {"framework": "tensorflow", "path": "graph"}
    records = [*plain, *solve(5, **other), *solve(0, side=2, **other)]
    agreeing = [*records, *solve(4, replicate=1, **other), *solve(0, side=2, replicate=1, **other)]
    turning = [*records, *solve(2, replicate=1, **other), *solve(0, side=2, replicate=1, **other)]
    found = judge(*agreeing)
    assert [(trial.learner, trial.replicate, trial.p) for trial in found.trials[:2]] == [
        ("pytorch", 0, pytest.approx(2 / 252)),
        ("tensorflow", 0, pytest.approx(2 / 252)),
    ]
    assert "permuted replicate 1 of tensorflow does not turn that (norm 1 solves 4 of 5 seeds, no clip 0 of 5)" in (
        write_contrast(found)
    )
    assert "permuted replicate 1 of tensorflow turns that (norm 1 solves 2 of 5" in write_contrast(judge(*turning))


def test_a_row_counts_where_it_was_declared_before_it_ran() -> None:
    late = [*solve(5, side=None, clip="norm", threshold=1.0), *solve(0, side=None)]
    assert judge_contrasts(synthetic.label(*late)) == []
    assert judge_contrasts(synthetic.label(*solve(5), *solve(0, side=None))) == []


def test_a_seed_counts_once_however_often_it_ran() -> None:
    twice = solve(5, seeds=3) + solve(5, seeds=3, commit="fedcba654321")
    (trial,) = judge(*twice, *solve(0, seeds=3, side=2)).trials
    assert (trial.first.count, trial.p) == (3, None)


def test_a_contrast_of_diverged_runs_counts_them() -> None:
    torn = [synthetic.diverged(seed=seed, contrast="diverged", side=1) for seed in range(5)]
    fine = [synthetic.record(seed=seed, clip="norm", threshold=1.0, contrast="diverged", side=2) for seed in range(5)]
    found = judge(*torn, *fine)
    assert found.trials[0].p == pytest.approx(2 / 252)
    assert "no clip diverges in 5 of 5 seeds, norm 1 in 0 of 5 within 1,000 steps" in write_contrast(found)
    assert write_contrast(found) in answer_all(synthetic.label(*torn, *fine))[3].parts


def test_a_contrast_of_the_metric_compares_its_ranks() -> None:
    cells = [
        synthetic.record(
            task="translation", cell=cell, seed=seed, solved=None, steps_to_solve=None, score=gain + seed / 100,
            loss=4.0, contrast="metric", side=side,
        )
        for cell, side, gain in (("gru", 1, 0.12), ("rnn", 2, 0.04))
        for seed in range(5)
    ]  # fmt: skip
    found = judge(*cells)
    assert found.trials[0].p == pytest.approx(2 / 252)
    assert found.trials[0].winner == 1
    said = write_contrast(found)
    assert "source gain of gru 0.12 to 0.16 over 5 seeds and rnn 0.04 to 0.08 over 5 seeds within 1,000 steps" in said
    assert "(exact rank test p = 0.0079, pytorch)" in said
    assert said in answer_all(synthetic.label(*cells))[1].parts


def decide(first: dict[str, Any], second: dict[str, Any]) -> list[Record]:
    """Return five seeds on each side of a declared contrast, all of which solve it on the first side and none else."""
    return [
        synthetic.record(
            **({"seed": seed, "contrast": "solved", "side": side, "solved": solved} | facts),
            steps_to_solve=600 if solved else None,
        )
        for side, solved, facts in ((1, True, first), (2, False, second))
        for seed in range(5)
    ]


CHRONO = {"initial": "chrono", "chrono_length": 50}
ADDING = "adding T=50 (adam 0.003)"


@pytest.mark.parametrize(
    ("first", "second", "shared", "names"),
    [
        (CHRONO, {}, ADDING, "initial chrono with chrono length 50, initial default"),
        (CHRONO, CHRONO | {"chrono_length": 9}, ADDING, "chrono length 50, chrono length 9"),
        (
            {"learning_rate": 0.1},
            {"learning_rate": 0.01},
            "adding T=50 (adam)",
            "learning rate 0.1, learning rate 0.01",
        ),
        ({"optimizer": "sgd"}, {}, "adding T=50 (0.003)", "optimizer sgd, optimizer adam"),
        ({"cell": "lstm", "hidden": 32}, {"cell": "rnn"}, ADDING, "lstm with hidden 32, rnn with hidden 64"),
        ({"clip": "norm", "threshold": 1.0}, {"clip": "norm", "threshold": 0.1}, ADDING, "norm 1, norm 0.1"),
        ({"radius": 0.5}, {"clip": "norm", "threshold": 2.0}, ADDING, "no clip with radius 0.5, norm 2 with radius 1"),
        ({"regulariser": "l2", "strength": 0.1}, {}, ADDING, "regulariser l2 with strength 0.1, no regulariser"),
        ({"forget_bias": 4.0}, {}, ADDING, "forget bias 4, forget bias 1"),
        ({"mode": "native"}, {}, ADDING, "mode native, mode matched"),
    ],
)
def test_sides_are_called_by_what_differs_and_the_setting_by_what_they_share(
    first: dict[str, Any], second: dict[str, Any], shared: str, names: str
) -> None:
    found = judge(*decide(first, second), synthetic.record(parameters='{"T": 20}', hidden=16, seed=7))
    one, other = names.split(", ")
    said = f"{shared}, declared before it ran: {one} solves 5 of 5 seeds, {other} 0 of 5 within 1,000 steps"
    assert write_contrast(found).startswith(said)
    assert found.is_of_clips == (not {*first, *second} - {"clip", "threshold"})


def test_a_setting_that_both_sides_share_is_told_from_others_of_its_name() -> None:
    found = judge(*decide(CHRONO, {}), *(synthetic.record(seed=seed, hidden=16) for seed in range(5)))
    assert found.setting == "adding T=50 (adam 0.003, hidden 64)"


def test_a_replicate_that_gives_the_same_is_said_in_short() -> None:
    copy = [*solve(5, replicate=1), *solve(0, side=2, replicate=1)]
    said = write_contrast(judge(*solve(5), *solve(0, side=2), *copy))
    assert said.endswith("pytorch); permuted replicate 1 of pytorch gives the same")


def test_a_decided_task_is_not_told_a_second_time() -> None:
    cells = decide({"cell": "gru"}, {"cell": "rnn"})
    answer = answer_all(synthetic.label(*cells))[1]
    assert (answer.lead, len(answer.parts), answer.missing) == ("", 1, False)
    further = [synthetic.record(seed=seed, parameters='{"T": 20}') for seed in range(5)]
    more = answer_all(synthetic.label(*cells, *further))[1]
    assert len(more.parts) == 2
    assert more.parts[1].startswith("adding: ")


def test_a_task_with_one_clip_is_not_told_beside_one_whose_clips_were_compared() -> None:
    alone = answer_all(synthetic.label(*decide({"cell": "gru"}, {"cell": "rnn"})))[2]
    assert "the only one tried" in alone.sentence
    order = [synthetic.record(task="copy", seed=seed, cell="gru") for seed in range(5)]
    beside = answer_all(synthetic.label(*decide({"clip": "norm", "threshold": 1.0}, {}), *order))[2]
    assert "the only one tried" not in beside.sentence
    assert len(beside.parts) == 2


def test_the_rank_test_is_exact_with_ties_too() -> None:
    assert statistics.compare_ranks_exactly([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)
    assert statistics.compare_ranks_exactly([1, 1, 1, 1, 1], [1, 1, 1, 1, 1]) == 1
    assert statistics.compare_ranks_exactly([0, 0, 0, 0, 1], [1, 1, 1, 1, 1]) == pytest.approx(12 / 252)


def test_the_answer_about_clips_opens_with_the_declared_contrast() -> None:
    threshold = answer_all(synthetic.label(*solve(5), *solve(0, side=2)))[2]
    assert "declared before it ran" in threshold.parts[0]
    assert isinstance(threshold.verdicts[0], ContrastVerdict)
    assert not threshold.missing
