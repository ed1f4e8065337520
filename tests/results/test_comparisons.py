"""Two frameworks are called apart, or one of them faster, only where the data carry it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from farreach.results.analysis import agreement
from farreach.results.analysis.rows import Rows
from farreach.results.report.answers.agreement import write_agreement
from farreach.results.storage.files import StoreError
from farreach.results.storage.sets import open_set
from farreach.results.timing import pytest_benchmark
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
    assert "too few differing cases" in write_agreement(frame, [verdict])[0]


def test_two_diverged_runs_agree_and_one_alone_does_not() -> None:
    one, other = pd.Series([math.nan, 0.5, 0.5]), pd.Series([math.nan, math.nan, 0.75])
    assert agreement.measure_distances(one, other).tolist() == [0, math.inf, 0.25]
    both = [synthetic.diverged(), synthetic.diverged(framework="tensorflow"), synthetic.diverged(replicate=1)]
    table = agreement.measure_gaps(synthetic.label(*both))
    assert table[["gap frameworks", "gap replicates"]].to_numpy().tolist() == [[0, 0]]


def test_infinite_gaps_rank_above_finite_ones() -> None:
    frameworks = np.array([np.inf, np.inf, 0.1, 0.1, 0.1, 0.1])
    assert agreement.compute_p(frameworks, np.array([np.inf, 0.0, 0.2, 0.2, 0.2, 0.2])) == pytest.approx(
        agreement.compute_p(np.array([9, 0.1, 0.1, 0.1, 0.1]), np.array([0, 0.2, 0.2, 0.2, 0.2]))
    )


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


# Speed


def timings(tmp_path: Path, milliseconds: dict[tuple[str, str], float], **more: Any) -> pd.DataFrame:
    (tmp_path / pytest_benchmark.FILE).write_text(json.dumps(synthetic.speed_json(milliseconds, **more)))
    return pytest_benchmark.read_benchmarks(open_set(tmp_path))


def test_the_bootstrap_interval_holds_a_planted_ratio(tmp_path: Path) -> None:
    table = pytest_benchmark.compare_pairs(timings(tmp_path, {("pytorch", "lstm"): 40, ("tensorflow", "lstm"): 30}))
    one = table.iloc[0]
    assert one["low"] < 4 / 3 < one["high"]
    assert one["high"] - one["low"] < 0.1
    assert (one["faster framework"], one["faster path"], one["verdict"]) == ("tensorflow", "graph", "faster")


def test_the_bootstrap_interval_covers_the_truth_as_often_as_it_says() -> None:
    held = 0
    for trial in range(100):
        random = synthetic.stream("coverage", trial)
        low, high = pytest_benchmark.bound_medians([random.normal(2, 0.1, 40), random.normal(1, 0.05, 40)])
        held += low <= 2 <= high
    assert 88 <= held <= 100


@pytest.mark.parametrize(
    ("other", "verdict"), [(40.0, "inconclusive"), (41.5, "inconclusive"), (43.5, "faster")], ids=str
)
def test_a_ratio_within_what_launches_differ_by_is_no_verdict(tmp_path: Path, other: float, verdict: str) -> None:
    table = pytest_benchmark.compare_pairs(
        timings(tmp_path, {("pytorch", "gru"): 40, ("tensorflow", "gru"): other}, rounds=400)
    )
    assert table["verdict"].tolist() == [verdict]


def test_too_few_rounds_are_no_verdict(tmp_path: Path) -> None:
    table = pytest_benchmark.compare_pairs(
        timings(tmp_path, {("pytorch", "gru"): 40, ("tensorflow", "gru"): 10}, rounds=4)
    )
    assert table["verdict"].tolist() == ["inconclusive"]
    assert math.isnan(table["low"].iloc[0])


def test_step_times_are_the_medians_in_milliseconds(tmp_path: Path) -> None:
    seconds = [0.010, 0.020, 0.030, 0.040, 0.900]
    (tmp_path / pytest_benchmark.FILE).write_text(
        json.dumps({"benchmarks": [synthetic.benchmark("pytorch", "rnn", seconds)]})
    )
    one = pytest_benchmark.list_steps(pytest_benchmark.read_benchmarks(open_set(tmp_path))).iloc[0]
    assert (one["step ms"], one["rounds"], one["compile s"]) == pytest.approx((30, 5, 0.7))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"benchmarks": [{"extra_info": {}, "stats": {}}]}'])
def test_a_broken_speed_file_is_an_error_of_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / pytest_benchmark.FILE).write_text(text)
    with pytest.raises(StoreError, match="cannot be read as speed rows"):
        pytest_benchmark.read_benchmarks(open_set(tmp_path))
