"""The study of coverage: it walks every interval and test, agrees with exact rates, and flags what is broken."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from farreach.benchmarks.studies import coverage, coverage_trials, noise
from farreach.benchmarks.studies.coverage_register import HELPERS, REGISTER, Promise
from farreach.benchmarks.studies.coverage_trials import Condition
from farreach.results.analysis import statistics
from farreach.results.analysis.statistics import Estimate, Interval
from tests.support.commands import call_command


def find_promise(measure: Any) -> Promise:
    (found,) = [one for one in REGISTER if one.measure is measure]
    return found


def test_every_interval_and_test_of_the_project_is_measured() -> None:
    public = {name for name in statistics.__all__ if inspect.isfunction(getattr(statistics, name))}
    measured = {name for one in REGISTER for name in one.functions}
    assert public <= measured | {*HELPERS}
    assert not measured & {*HELPERS}
    assert all(one.trials >= 4_000 and one.where and one.conditions for one in REGISTER)


@pytest.mark.parametrize(("units", "share"), [(5, 0.9), (14, 0.3), (34, 0.7)])
def test_the_rate_of_a_share_is_the_binomials(units: int, share: float) -> None:
    given = Condition(units, noise.make_coin(share))
    rate = float(coverage_trials.miss_share(np.random.default_rng(0), 40_000, given).mean())
    counts = np.arange(units + 1)
    ends = [stats.binomtest(int(count), units).proportion_ci(method="exact") for count in counts]
    missed = [not end.low <= share <= end.high for end in ends]
    exact = float(stats.binom.pmf(counts, units, share)[missed].sum())
    assert exact <= 0.05
    assert rate == pytest.approx(exact, abs=4 * math.sqrt(exact / 40_000) + 1e-4)


@pytest.mark.parametrize("one", [noise.NORMAL, noise.SPIKES, noise.NEAR_ONE], ids=lambda one: one.name)
def test_the_rate_of_a_median_is_that_of_fair_coins_whatever_the_distribution(one: noise.Noise) -> None:
    rate = float(coverage_trials.miss_median(np.random.default_rng(0), 40_000, Condition(8, one)).mean())
    assert rate == pytest.approx(2 / 2**8, abs=0.002)


@pytest.mark.parametrize(("units", "exact"), [(5, 1 / 2**5), (8, 9 / 2**8)])
@pytest.mark.parametrize("one", [noise.NORMAL, noise.SPIKES, noise.NEAR_ONE], ids=lambda one: one.name)
def test_either_end_of_a_median_is_wrong_as_often_as_so_many_coins_fall_alike(
    units: int, exact: float, one: noise.Noise
) -> None:
    rate = float(coverage_trials.miss_median_side(np.random.default_rng(0), 40_000, Condition(units, one)).mean())
    assert rate == pytest.approx(exact, abs=0.004)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.8])
def test_noise_has_the_correlation_and_the_middle_that_are_asked_for(correlation: float) -> None:
    values = noise.NORMAL.draw(np.random.default_rng(0), 400, 200, correlation=correlation)
    assert float((values[:, 1:] * values[:, :-1]).mean()) == pytest.approx(correlation, abs=0.02)
    assert float(values.std()) == pytest.approx(1, abs=0.02)
    for one in noise.EVERY:
        drawn = one.draw(np.random.default_rng(1), 100_000, correlation=correlation)
        low, high = one.middle
        assert low - 0.06 <= float(np.median(drawn)) <= high + 0.06, one.name


def bound_with_ddof_0(values: Any) -> Interval:
    middle, count = values.mean(axis=-1), values.shape[-1]
    half = stats.t.ppf(0.975, count - 1) * values.std(axis=-1) / math.sqrt(count)
    return Interval(middle - half, middle + half)


def bound_by_wilson(count: Any, of: int) -> Interval:
    ends = [stats.binomtest(one, of).proportion_ci(method="wilson") for one in range(of + 1)]
    return Interval(np.array([end.low for end in ends])[count], np.array([end.high for end in ends])[count])


def estimate_from_all_blocks(first: Any, second: float) -> Estimate:
    """Student's t over all blocks, as if each knew nothing of the one before."""
    logs = np.log(first / second)
    return Estimate(*map(np.exp, (logs.mean(axis=-1), *bound_with_ddof_0(logs))))


BROKEN = [
    ("ddof 0", coverage_trials.miss_launches, "bound_mean", bound_with_ddof_0),
    ("Wilson", coverage_trials.miss_share, "bound_share", bound_by_wilson),
    ("independent blocks", coverage_trials.miss_blocks, "estimate_ratio", estimate_from_all_blocks),
    ("no square root", coverage_trials.miss_factor, "bound_factor", lambda logs: np.exp(np.abs(logs).mean(axis=-1))),
    ("one-sided", coverage_trials.reject_signed_ranks, "compare_signed_ranks", lambda one: float(one.mean() < 0) / 9),
]


@pytest.mark.slow
@pytest.mark.parametrize(("measure", "function", "broken"), [one[1:] for one in BROKEN], ids=[one[0] for one in BROKEN])
def test_a_broken_interval_is_flagged_and_the_right_one_is_not(
    measure: Any, function: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    promise = find_promise(measure)
    assert coverage.find_broken(coverage.measure_rates(0.1, [promise]), errors=4).empty
    room = statistics.ratios if function == "bound_mean" else statistics
    monkeypatch.setattr(room, function, broken)
    rates = coverage.measure_rates(0.1, [promise])
    assert not coverage.find_broken(rates).empty
    assert "above 6%" in coverage.write_verdict(rates)


def test_a_study_made_again_is_the_same_and_knows_its_own_error() -> None:
    promises = [find_promise(coverage_trials.miss_share), find_promise(coverage_trials.miss_factor)]
    one, other = coverage.measure_rates(0.02, promises), coverage.measure_rates(0.02, promises[::-1])
    pd.testing.assert_frame_equal(one, pd.concat([other[9:], other[:9]], ignore_index=True))
    line = one[one["wrong"] > 0].iloc[0]
    assert line["error"] == pytest.approx(math.sqrt(line["wrong"] * (1 - line["wrong"]) / line["simulations"]))


def test_what_is_not_promised_breaks_nothing() -> None:
    step = find_promise(coverage_trials.reject_step)
    rates = coverage.measure_rates(0.05, [step])
    assert rates.loc[~rates["promised"], "wrong"].max() > 0.3
    assert coverage.find_broken(rates, errors=4).empty
    assert coverage.summarize_rates(rates)["promised"].tolist() == ["5%", "nothing"]


def test_the_command_writes_the_table_and_every_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = coverage.measure_rates(0.01, REGISTER[:2])
    monkeypatch.setattr(coverage, "measure_rates", lambda *_, **__: rates)
    status, out, errors = call_command("coverage", "--out", str(tmp_path / "c.md"))
    assert (status, errors) == (0, "")
    assert "Clopper and Pearson" in out
    assert "2 intervals and tests under 78 conditions" in (tmp_path / "c.md").read_text()
    assert len(pd.read_csv(tmp_path / "c.csv")) == 78
    monkeypatch.setattr(coverage, "measure_rates", lambda *_, **__: rates.assign(wrong=0.2))
    assert call_command("coverage", "--out", str(tmp_path / "c.md"))[0] == 1


@pytest.mark.slow
def test_a_sample_of_the_study_breaks_no_promise() -> None:
    assert coverage.find_broken(coverage.measure_rates(0.02), errors=4).empty
