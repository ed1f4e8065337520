"""Verdicts on published claims, from planted rows: what decides, what is censored, what is too few."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from farreach.results.analysis import statistics
from farreach.results.analysis.ledger import Arm, Claim, ClaimVerdict, Inequality, Source, judge_claim
from farreach.results.report import ledger as report

SOURCE = Source("Somebody", 2001, "A paper", "arXiv:1", "table 1", "unverified", "theirs")
LOST = {"status": "diverged", "skill": None, "score": None, "solved": False, "steps_to_solve": None}


def plant_rows(arm: str, values: list[Any], measure: str, **facts: Any) -> dict[str, dict[str, Any]]:
    """Return a row for each value, its seed the place in the list; None of steps to solve is unsolved."""
    rows = {}
    for seed, value in enumerate(values):
        row = {
            "seed": seed,
            "status": "finished",
            "solved": True,
            "steps": 1_000,
            "cpu_to_wall": 0.5,
            "seconds_training": 50,
        }
        row |= {
            "steps_to_solve": 100,
            "skill": 0.5,
            "score": 0.5,
            "reach_end": 0.5,
            "seconds_compile": 10,
            "seconds_probes": None,
        } | facts
        rows[f"{arm}{seed}"] = row | (value if isinstance(value, dict) else {measure: value})
    return rows


def judge_values(
    first: list[Any], second: list[Any] | None = None, *, of: Any, seeds: int = 5, **rule: Any
) -> ClaimVerdict:
    """Return the verdict on a claim of one arm, or two, whose rows have these values."""
    arms = {"a": first} if second is None else {"a": first, "b": second}
    rule = {"compare": "value" if second is None else "difference"} | rule
    claim = Claim(
        id="somebody-2001",
        claim="A claim.",
        source=SOURCE,
        deviations=("smaller",),
        inequality=Inequality(of=of, arms=tuple(arms), **rule),
        seeds=seeds,
        minutes=1.0,
        needs=None,
        cost=None,
        arms=tuple(Arm(name, {"T": 20}, tuple(f"{name}{seed}" for seed in range(seeds))) for name in arms),
    )
    rows: dict[str, dict[str, Any]] = {}
    for name, values in arms.items():
        rows |= plant_rows(name, values, of)
    return judge_claim(claim, rows)


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        ([True] * 5, [False] * 5, "supported"),
        ([False] * 5, [True] * 5, "contradicted"),
        ([True] * 4 + [False], [False] * 5, "supported"),  # p = 0.048
        ([True] * 3 + [False] * 2, [False] * 5, "inconclusive"),  # p = 0.17
        ([True] * 5, [True] * 5, "inconclusive"),
        ([True] * 4, [False] * 4, "inconclusive"),  # of five declared seeds
    ],
)
def test_two_shares_are_told_apart_by_fishers_exact_test(first: list[bool], second: list[bool], word: str) -> None:
    assert judge_values(first, second, of="solved", above=0.0).word == word
    turned = {"supported": "contradicted", "contradicted": "supported"}.get(word, word)
    assert judge_values(first, second, of="solved", below=0.0).word == turned


@pytest.mark.parametrize(("count", "word"), [(6, "supported"), (0, "contradicted"), (5, "inconclusive")])
def test_a_share_is_judged_by_its_whole_interval(count: int, word: str) -> None:
    values = [True] * count + [False] * (6 - count)
    verdict = judge_values(values, of="solved", seeds=6, above=0.5)
    assert verdict.word == word
    assert verdict.interval == statistics.bound_share(count, 6)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([0.6, 0.7, 0.8, 0.9, 0.51], "supported"),
        ([0.6, 0.7, 0.8, 0.9, 0.5], "inconclusive"),  # on the bound is not above it
        ([0.1, 0.2, 0.3, 0.4, 0.5], "contradicted"),
        ([0.1, 0.2, 0.3, 0.4, 0.51], "inconclusive"),
        ([0.6, 0.7, 0.8, 0.9], "inconclusive"),  # of five declared seeds
        ([LOST] * 5, "contradicted"),  # a run that diverged has learned nothing
    ],
)
def test_a_value_is_judged_by_its_whole_interval(values: list[Any], word: str) -> None:
    assert judge_values(values, of="skill", above=0.5).word == word


def test_with_eight_seeds_one_of_them_may_lie_on_the_other_side() -> None:
    assert judge_values([0.4] + [0.6] * 7, of="skill", seeds=8, above=0.5).word == "supported"
    assert judge_values([0.4] * 2 + [0.6] * 6, of="skill", seeds=8, above=0.5).word == "inconclusive"


@pytest.mark.parametrize(
    ("first", "second", "word", "interval"),
    [
        ([500, 600, 700, 800, 900], [100] * 5, "supported", (5, 9)),
        ([None] * 5, [100] * 5, "supported", (10, math.inf)),  # at least ten times as many
        ([None] * 5, [300] * 5, "inconclusive", (1_000 / 300, math.inf)),  # at least 3.3 times: 4 is not excluded
        ([100] * 5, [None] * 5, "contradicted", (0, 0.1)),  # at most a tenth
        ([None] * 5, [None] * 5, "inconclusive", (0, math.inf)),
        ([500, None, 700, 800, 900], [100] * 5, "supported", (5, math.inf)),
    ],
)
def test_what_was_not_solved_is_a_bound_and_not_a_number(
    first: list[Any], second: list[Any], word: str, interval: tuple[float, float]
) -> None:
    verdict = judge_values(first, second, of="steps_to_solve", compare="ratio", above=4.0)
    assert verdict.word == word
    assert verdict.interval == pytest.approx(interval)


def test_an_unsolved_run_never_counts_as_fast() -> None:
    assert judge_values([100] * 4 + [None], of="steps_to_solve", below=150.0).word == "inconclusive"
    assert judge_values([None] * 5, of="steps_to_solve", below=150.0).word == "contradicted"
    assert judge_values([None] * 5, of="steps_to_solve", below=5_000.0).word == "inconclusive"
    found = report.write_found(judge_values([100] * 4 + [None], of="steps_to_solve", below=150.0))
    assert "100, 100, 100, 100, ≥ 1000" in found
    assert "100 to ∞" in found


def test_arms_are_compared_seed_by_seed() -> None:
    verdict = judge_values([0.2, 0.3, 0.4, 0.5, 0.6], [0.1, 0.2, 0.3, 0.4, 0.5], of="skill", above=0.0)
    assert verdict.word == "supported"
    assert verdict.interval == pytest.approx((0.1, 0.1))
    both_lost = judge_values([LOST, 0.9, 0.9, 0.9, 0.9], [LOST, 0.1, 0.1, 0.1, 0.1], of="skill", above=0.0)
    assert both_lost.word == "inconclusive"  # of that seed nothing is known


def test_a_seed_without_a_value_is_missing() -> None:
    verdict = judge_values([0.9, 0.9, 0.9, 0.9, None], of="reach_end", above=0.5)
    assert (verdict.word, verdict.seeds) == ("inconclusive", 4)
    assert "4 of the 5 declared seeds have run, too few to judge" in report.write_verdict(verdict)


def test_the_cost_is_that_of_all_its_rows() -> None:
    assert judge_values([0.9] * 5, [0.1] * 5, of="skill", above=0.0).minutes == pytest.approx(5)


def test_without_rows_a_claim_was_not_run_or_is_not_affordable() -> None:
    verdict = judge_values([], of="skill", above=0.5)
    assert verdict.word == "not run"
    dear = dataclasses.replace(verdict.claim, minutes=None, cost="a week of a GPU", arms=())
    assert judge_claim(dear, {}).word == "not affordable"
    assert "a week of a GPU" in report.write_verdict(judge_claim(dear, {}))


def test_the_page_has_a_table_and_a_section_a_claim() -> None:
    verdicts = [judge_values([0.9] * 5, [0.1] * 5, of="skill", above=0.0), judge_values([], of="skill", above=0.5)]
    page = report.render_page(verdicts)
    assert "2 claims: 1 supported and 1 not run" in page
    assert page.count("\n## somebody-2001\n") == 2
    assert "- Implies: skill, a minus b, above 0" in page
    assert "unverified" in page
    assert "by seed 0.8, 0.8, 0.8, 0.8, 0.8; 95 % bounds of the median 0.8 to 0.8" in page
