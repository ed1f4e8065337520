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


def test_the_rank_test_is_exact_with_ties_too() -> None:
    assert statistics.compare_ranks_exactly([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(2 / 252)
    assert statistics.compare_ranks_exactly([1, 1, 1, 1, 1], [1, 1, 1, 1, 1]) == 1
    assert statistics.compare_ranks_exactly([0, 0, 0, 0, 1], [1, 1, 1, 1, 1]) == pytest.approx(12 / 252)


def test_the_answer_about_clips_opens_with_the_declared_contrast() -> None:
    threshold = answer_all(synthetic.label(*solve(5), *solve(0, side=2)))[2]
    assert "declared before it ran" in threshold.parts[0]
    assert isinstance(threshold.verdicts[0], ContrastVerdict)
    assert not threshold.missing
