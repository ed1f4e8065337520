"""Intervals and tests, held against SciPy, statsmodels and simulations of what they promise."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
from scipy import special, stats
from statsmodels.api import OLS, add_constant
from statsmodels.stats.multitest import multipletests

from farreach.benchmarks.matrix import registry
from farreach.results.analysis import statistics

ROOMS = ("results", "benchmarks")
ELSEWHERE = (
    r"stdtrit|\.ppf\(|scipy\.stats|from scipy import stats|1\.96|sqrt\(len|\bsem\(|permutation_test|\.bootstrap\("
)


def draw(*, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1.0, count)


def test_no_other_file_computes_an_interval_or_a_test() -> None:
    there = registry.ROOT / "results" / "analysis" / "statistics"
    paths = [path for room in ROOMS for path in (registry.ROOT / room).rglob("*.py") if there not in path.parents]
    assert len(paths) > 100
    assert not [path for path in paths if re.search(ELSEWHERE, path.read_text())]


@pytest.mark.parametrize("count", [5, 10, 100])
def test_the_interval_of_a_mean_is_scipys(count: int) -> None:
    sample = draw(count=count)
    ends = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    assert statistics.bound_mean(sample) == pytest.approx((ends.low, ends.high), rel=1e-12)


def test_samples_beside_each_other_have_the_intervals_of_each_and_too_few_values_have_none() -> None:
    samples = np.stack([draw(count=9, seed=seed) for seed in range(4)])
    for bound in (statistics.bound_mean, statistics.bound_median, statistics.estimate_median):
        assert np.transpose(bound(samples)).tolist() == [list(bound(sample)) for sample in samples]
    assert statistics.flip_signs(samples).tolist() == [statistics.flip_signs(sample) for sample in samples]
    assert math.isnan(statistics.bound_mean(range(4)).low)
    assert math.isnan(statistics.bound_median(range(5)).low)
    assert math.isnan(statistics.flip_signs(np.ones(5)))
    assert statistics.bound_mean([1.0] * 5) == (1.0, 1.0)


@pytest.mark.parametrize(("count", "of"), [(0, 1), (1, 1), (0, 10), (3, 10), (9, 10), (17, 40)])
def test_the_interval_of_a_share_is_scipys_exact_one(count: int, of: int) -> None:
    ends = stats.binomtest(count, of).proportion_ci(method="exact")
    assert statistics.bound_share(count, of) == pytest.approx((ends.low, ends.high), rel=1e-9)
    assert np.transpose(statistics.bound_share([count, 1], [of, 3]))[0] == pytest.approx((ends.low, ends.high))


def test_fishers_test_is_scipys() -> None:
    assert statistics.compare_counts(5, 5, 0, 5) == pytest.approx(2 / math.comb(10, 5))
    assert statistics.compare_counts(2, 5, 2, 5) == 1


def test_the_t_quantile_is_scipys_without_its_slow_half() -> None:
    degrees = np.array([1, 2, 7.5, 100])
    assert statistics.compute_t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-12)
    assert statistics.compute_t_quantile(math.inf) == pytest.approx(special.ndtri(0.975))


@pytest.mark.parametrize("count", [3, 5, 6, 7, 8, 9, 30, 31, 400])
def test_the_interval_of_a_median_takes_the_binomials_order_statistics(count: int) -> None:
    sample = np.sort(draw(count=count))
    below = int(stats.binom.ppf(0.025, count, 0.5))
    low, high = statistics.bound_median(sample[::-1])
    assert (math.isnan(low), math.isnan(high)) == (count < 6, count < 6)
    assert count < 6 or (low, high) == (sample[below - 1], sample[count - below])


@pytest.mark.filterwarnings("error")
def test_the_median_of_nothing_is_nothing_without_a_warning() -> None:
    assert np.isnan(statistics.estimate_median([])).all()


def test_an_interval_lies_on_one_side_or_on_none() -> None:
    ends = statistics.Interval(1.1, 1.3)
    assert ends.lies_above(1)
    assert not ends.lies_above(1.2)
    assert ends.lies_within(1, 1.4)
    assert not ends.lies_within(1.2, 1.4)
    missing = statistics.MISSING
    assert not missing.lies_above(1)
    assert not missing.lies_within(-math.inf, math.inf)


def test_an_independent_error_widens_a_ratio_as_squares_of_logarithms() -> None:
    ratio = statistics.Estimate(2.0, 2.0 / 1.03, 2.0 * 1.03)
    wide = statistics.widen_ratio(ratio, 1.04)
    assert math.log(wide.high / 2) == pytest.approx(math.hypot(math.log(1.03), math.log(1.04)))
    assert statistics.widen_ratio(ratio, 1.0) == pytest.approx(ratio)


def test_a_line_and_its_error_are_those_of_ordinary_least_squares() -> None:
    x = np.log([50.0, 100, 200, 400, 800])
    y = 1.1 * x + 0.05 * draw(count=5)
    line, oracle = statistics.fit_line(x, y), OLS(y, add_constant(x)).fit()
    assert (line.intercept, line.slope) == pytest.approx(tuple(oracle.params), rel=1e-10)
    assert line.error == pytest.approx(oracle.bse[1], rel=1e-10)
    assert math.isnan(statistics.fit_line(x[:2], y[:2]).error)


@pytest.mark.parametrize("count", [5, 30, 200])
def test_a_line_through_neighbours_that_are_alike_has_newey_and_wests_error(count: int) -> None:
    x = np.arange(float(count))
    y = 0.02 * x + np.convolve(draw(count=count + 4), np.ones(5) / 5, "valid")
    lags = min(count - 1, math.ceil(count ** (1 / 3)))
    oracle = OLS(y, add_constant(x)).fit(cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": True})
    line = statistics.fit_correlated_line(x, y)
    assert line.slope == pytest.approx(oracle.params[1], rel=1e-9)
    assert line.error == pytest.approx(oracle.bse[1], rel=1e-9)


def test_holms_correction_is_statsmodels_and_leaves_what_was_not_tested() -> None:
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005])
    assert statistics.correct_p_values(p)[[0, 1, 3, 4]] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert np.isnan(statistics.correct_p_values(p)[2])
    many = np.random.default_rng(0).uniform(0, 0.1, 50)
    assert statistics.correct_p_values(many) == pytest.approx(multipletests(many, method="holm")[1], rel=1e-12)


def test_the_ratio_of_two_samples_has_welchs_interval_and_p_is_of_more_than_the_margin() -> None:
    old, new = np.exp(draw(count=6) / 50), np.exp(draw(count=9, seed=1) / 20 + 0.3)
    test = statistics.compare_geometric_means(old, new, 0.02)
    parts = [np.log(side).var(ddof=1) / len(side) for side in (old, new)]
    degrees = sum(parts) ** 2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, (old, new), strict=True))
    half = stats.t.ppf(0.975, degrees) * math.sqrt(sum(parts))
    middle = np.log(new).mean() - np.log(old).mean()
    assert test[:3] == pytest.approx((math.exp(middle), math.exp(middle - half), math.exp(middle + half)), rel=1e-12)
    over = (middle - math.log(1.02)) / math.sqrt(sum(parts))
    assert test.p == pytest.approx(2 * stats.t.sf(over, degrees), rel=1e-9)
    assert statistics.compare_geometric_means(old, new, 1.0).p == 1


def test_samples_without_any_spread_are_compared_too() -> None:
    same, slower = np.full(5, 2.0), np.full(5, 3.0)
    assert statistics.compare_geometric_means(same, same, 0.02) == (1, 1, 1, 1)
    assert statistics.compare_geometric_means(same, slower, 0.02)[1:] == pytest.approx((1.5, 1.5, 0))


def test_flipped_signs_are_counted_where_there_are_few() -> None:
    assert statistics.flip_signs(np.ones(8)) == pytest.approx(2 / 2**8)
    assert statistics.flip_signs(np.array([1.0, -1.0] * 4)) > 0.9
    given: dict[str, Any] = {"permutation_type": "samples", "vectorized": True, "n_resamples": 2**20}
    for count in (6, 11, 15):
        sample = draw(count=count)
        assert statistics.flip_signs(sample) == stats.permutation_test((sample,), np.sum, **given).pvalue
    many = draw(count=60)
    assert statistics.flip_signs(many) == pytest.approx(stats.ttest_1samp(many, 0).pvalue, abs=0.01)


def test_signed_ranks_are_wilcoxons_and_ties_share_theirs() -> None:
    sample = draw(count=12)
    assert statistics.compare_signed_ranks(sample) == stats.wilcoxon(sample, alternative="greater").pvalue
    assert statistics.compare_signed_ranks(np.array([1.0, 1, 1, 1, 1, 1, -1, -1])) == 37 / 256  # 6 or more of 8


def test_ranks_of_equal_values_and_of_too_few_differences_decide_nothing() -> None:
    assert statistics.compare_ranks_exactly(np.ones(5), np.ones(5)) == 1
    assert statistics.compare_ranks_exactly(np.arange(9.0), np.arange(9.0) + 20) < 0.001
    assert statistics.compare_signed_ranks(np.zeros(9)) == 1
    assert statistics.compare_signed_ranks(np.array([0.0, 1, 2, 3, 4])) is None
    assert statistics.compare_signed_ranks(np.arange(1.0, 10)) == pytest.approx(2**-9)


def test_the_p_of_a_step_counts_the_orders_in_which_one_as_large_is_seen() -> None:
    """Of seven values, over all 5,040 orders: the largest distance of a rank sum from its mean, in its deviations."""

    def find_largest(ranks: np.ndarray) -> Any:
        sums = ranks.cumsum(axis=-1)[..., 1:5]
        first = np.arange(2, 6)
        return (np.abs(sums - 4 * first) / np.sqrt(first * (7 - first) * 8 / 12)).max(axis=-1)

    every = find_largest(np.array([*itertools.permutations(range(1, 8))], float))
    for values in ([1, 2, 3, 4, 5, 6, 7], [1, 3, 2, 5, 4, 7, 6], [4, 1, 6, 2, 7, 3, 5]):
        exact = (every >= find_largest(np.array(values, float)) - 1e-9).mean()
        assert statistics.find_step(np.array(values, float))[2] == pytest.approx(exact, abs=0.01, rel=0.25)


def test_many_values_have_the_p_of_few_ways_to_deal_them_and_cost_no_more() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=40), random.normal(0.2, size=40)
    dealt = stats.PermutationMethod(n_resamples=9_999, rng=np.random.default_rng(1))
    exact = stats.mannwhitneyu(first, second, method=dealt).pvalue
    assert statistics.compare_ranks_exactly(first, second) == pytest.approx(exact, rel=0.1)
    pairs = random.normal(0.1, 1, (3, 120))
    exact = stats.wilcoxon(pairs, alternative="greater", axis=1, method="exact").pvalue
    assert statistics.compare_signed_rank_rows(pairs) == pytest.approx(exact, rel=0.05)
    statistics.compare_ranks_exactly(np.arange(100_000.0), np.arange(100_000.0))  # took minutes, and gigabytes
    assert statistics.compare_signed_ranks(pairs[0]) == pytest.approx(exact[0], rel=0.05)


def test_a_factor_that_launches_stay_within_is_an_order_statistic_about_no_difference() -> None:
    logs = np.linspace(-0.2, 0.18, 39)
    assert statistics.bound_factor(logs) == pytest.approx(math.exp(np.sort(np.abs(logs))[37]))  # the 38th of 39
    assert statistics.bound_factor(logs[:19]) == pytest.approx(math.exp(0.2))
    assert math.isnan(statistics.bound_factor(logs[:18]))


def test_equals_are_flagged_as_seldom_as_promised() -> None:
    draws = [draw(count=5, seed=seed) for seed in range(2_000)]
    missed = sum(not low <= 0.3 <= high for low, high in map(statistics.bound_mean, draws))
    assert 0.04 < missed / 2_000 < 0.06
