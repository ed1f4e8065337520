"""Two frameworks are called apart, or one of them faster, only where the data carry it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from farreach.results.analysis import agreement, statistics
from farreach.results.analysis.rows import Rows, label_rows
from farreach.results.analysis.selection import GROUP
from farreach.results.record import Record
from farreach.results.report.answers.agreement import write_agreement
from tests.support import synthetic

# Agreement


def paired(gaps: list[float], *, copies: float) -> Rows:
    """Return cases in which TensorFlow is `gaps` away from PyTorch in loss / floor, a copy `copies`."""
    found = []
    for seed, gap in enumerate(gaps):
        floor = float(synthetic.FLOORS["adding"])
        skills = (("pytorch", 0, 0.5), ("pytorch", 1, 0.5 + copies), ("tensorflow", 0, 0.5 + gap))
        for framework, replicate, skill in skills:
            found.append(
                synthetic.record(
                    framework=framework,
                    path=synthetic.PATHS[framework],
                    replicate=replicate,
                    seed=seed,
                    loss=floor * (1 - skill),
                )
            )
    return synthetic.label(*found)


def test_a_planted_disagreement_is_found() -> None:
    frame = paired([0.1, 0.12, 0.14, 0.11, 0.13, 0.15, 0.2, 0.16], copies=0.01)
    (verdict,) = agreement.compare_pairs(agreement.measure_gaps(frame))
    assert verdict.apart is True
    assert verdict.p == pytest.approx(1 / 2**8)  # every one of eight differences has the same sign
    assert (verdict.cases, verdict.median_frameworks, verdict.median_replicates) == pytest.approx((8, 0.135, 0.01))
    assert verdict.seeds == 8
    (clause,) = write_agreement(frame, [verdict])
    assert "are further apart than permuted replicates of one framework" in clause


def test_frameworks_as_near_as_copies_are_not_called_apart() -> None:
    frame = paired([0.01, 0.03, 0.01, 0.03, 0.015, 0.025, 0.012, 0.028], copies=0.02)
    (verdict,) = agreement.compare_pairs(agreement.measure_gaps(frame))
    assert verdict.apart is False
    assert "are not shown to be further apart than permuted replicates" in write_agreement(frame, [verdict])[0]


def test_gaps_that_are_all_zero_agree() -> None:
    (verdict,) = agreement.compare_pairs(agreement.measure_gaps(paired([0.0] * 6, copies=0.0)))
    assert (verdict.p, verdict.apart, verdict.max_frameworks) == (1.0, False, 0.0)


def test_too_few_cases_give_no_verdict() -> None:
    frame = paired([0.3, 0.3, 0.3], copies=0.0)
    (verdict,) = agreement.compare_pairs(agreement.measure_gaps(frame))
    assert verdict.apart is None
    assert "too few seeds differ for a test (6 are needed)" in write_agreement(frame, [verdict])[0]


def test_two_diverged_runs_agree_and_one_alone_does_not() -> None:
    one, other = pd.Series([math.nan, 0.5, 0.5]), pd.Series([math.nan, math.nan, 0.75])
    assert agreement.measure_distances(one, other).tolist() == [0, math.inf, 0.25]
    both = [synthetic.diverged(), synthetic.diverged(framework="tensorflow"), synthetic.diverged(replicate=1)]
    table = agreement.measure_gaps(synthetic.label(*both))
    assert table[["gap frameworks", "gap replicates"]].to_numpy().tolist() == [[0, 0]]


def test_infinite_gaps_rank_above_finite_ones() -> None:
    frameworks = np.array([np.inf, np.inf, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert agreement.compute_p(frameworks, np.array([np.inf, 0.0, 0.2, 0.2, 0.2, 0.2, 0.2])) == pytest.approx(
        agreement.compute_p(np.array([9, 0.1, 0.1, 0.1, 0.1, 0.1]), np.array([0, 0.2, 0.2, 0.2, 0.2, 0.2]))
    )


def test_the_test_says_how_far_apart_frameworks_would_have_to_be() -> None:
    gaps = np.abs(synthetic.stream("power").normal(0, 0.01, 11))
    factor = agreement.find_power(gaps)
    assert factor is not None
    drawn = synthetic.stream("power", "trials").choice(gaps, (2, 4_000, 11))
    found = [
        float((statistics.compare_signed_rank_rows(times * drawn[0] - drawn[1]) < 0.05).mean())
        for times in (1.0, factor / 2, factor)
    ]
    assert found[0] < 0.07
    assert found[1] < 0.92 < found[2]
    frame = paired([0.01, 0.03, 0.01, 0.03, 0.015, 0.025, 0.012, 0.028], copies=0.02)
    (clause,) = write_agreement(frame, agreement.compare_pairs(agreement.measure_gaps(frame)))
    assert "times as far apart as replicates (a median gap of" in clause
    assert "would be found 95 % of the time" in clause
    assert agreement.find_power(np.zeros(8)) is None


def test_cases_that_share_a_seed_are_one_witness() -> None:
    frame = paired([0.1] * 8, copies=0.01).frame
    lengths = [f'{{"T": {50 + seed}}}' for seed in frame["seed"]]
    shared = label_rows(frame.assign(parameters=lengths, seed=0).drop(columns=GROUP))
    (verdict,) = agreement.compare_pairs(agreement.measure_gaps(shared))
    assert (verdict.cases, verdict.seeds, verdict.apart) == (8, 1, None)


def test_the_worst_pair_stands_first_and_every_pair_has_a_line() -> None:
    three = [
        synthetic.record(framework=framework, replicate=replicate, loss=loss)
        for framework, replicate, loss in (
            *(("pytorch", 0, 0.01), ("pytorch", 1, 0.02), ("pytorch", 2, 0.04)),
            *(("tensorflow", 0, 0.05), ("jax", 0, 0.12)),
        )
    ]
    table = agreement.measure_gaps(synthetic.label(*three))
    pairs = list(zip(table["framework a"], table["framework b"], strict=True))
    assert pairs == [("pytorch", "jax"), ("tensorflow", "jax"), ("pytorch", "tensorflow")]
    assert table["gap replicates"].tolist() == pytest.approx([6 * 0.02] * 3)  # the mean of 6 * .01 and 6 * .03
    assert table["gap frameworks"].tolist() == pytest.approx([6 * 0.11, 6 * 0.07, 6 * 0.04])


def test_a_clip_that_never_clipped_is_no_evidence_of_agreement() -> None:
    """The same case without a clip is there already: 5 cases under an idle clip would count 6 of 6."""

    def make(clip: str, threshold: float | None, fraction: float) -> list[Record]:
        return [
            synthetic.record(
                clip=clip,
                threshold=threshold,
                clip_fraction=fraction,
                framework=framework,
                path=synthetic.PATHS[framework],
                replicate=replicate,
            )
            for framework, replicate in (("pytorch", 0), ("pytorch", 1), ("tensorflow", 0))
        ]

    records = [*make("none", None, 0.0), *make("norm", 1e6, 0.0), *make("norm", 0.1, 0.4)]
    table = agreement.measure_gaps(synthetic.label(*records))
    assert sorted(zip(table["clip"], table["threshold"].fillna(0), strict=True)) == [("none", 0), ("norm", 0.1)]


@pytest.mark.parametrize(("p", "apart"), [(0.049, True), (0.051, False), (None, None)])
def test_frameworks_are_apart_at_five_percent(p: float | None, apart: bool | None) -> None:
    verdict = agreement.PairAgreement("a", "b", 8, 8, 0.1, 0.1, 0.1, 0.1, p=p, power=None)
    assert verdict.apart is apart
