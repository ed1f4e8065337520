"""Tests: of two samples, of pairs, of a ratio against a margin, of a step in a series; and Holm's correction."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from farreach.results.analysis.statistics.intervals import FEWEST_PAIRS, LEVEL, compute_t_quantile, unwrap

INCONCLUSIVE = "inconclusive"
"""The verdict where the data decide nothing: too few values for an interval or a test, or an interval that has what it
is compared with inside, or a test that does not reject beside an interval too wide to call the two the same."""

SHUFFLES = 19_999
MANY_A_SIDE = 30
"""Values a side from which on a rank test takes the normal distribution."""

MANY_PAIRS = 100
"""Pairs from which on a signed-rank test does."""

SIGN_FLIPS = 49_999
"""Of signs, where there are too many pairs for every combination of them."""

EVERY_FLIP = 15
"""Pairs of which every combination of signs is tried: 32,768 of them."""


class RatioTest(NamedTuple):
    """A ratio, its 95 % interval, and p of the hypothesis that it lies within a margin of 1."""

    ratio: float
    low: float
    high: float
    p: float


def correct_p_values(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values corrected for their number; NaN stands for what was not tested, and stays.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    adjusted = np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * (len(order) - np.arange(len(order)))))
    return adjusted


def compare_geometric_means(old: NDArray[Any], new: NDArray[Any], margin: float) -> RatioTest:
    """Compare the geometric means of two samples by Welch's t: the ratio new / old, and p of `compare_with_margin`."""
    logs = np.log(new), np.log(old)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of samples whose values are all the same
        test = scipy.stats.ttest_ind(*logs, equal_var=False)
    low, high = test.confidence_interval(LEVEL)
    middle = float(logs[0].mean() - logs[1].mean())
    degrees = float(test.df)
    return compare_with_margin(middle, float(high - low) / 2 / float(compute_t_quantile(degrees)), degrees, margin)


def compare_mean_ratio(logs: NDArray[Any], margin: float) -> RatioTest:
    """Compare the geometric mean of ratios, given as logarithms, with 1: p of `compare_with_margin`."""
    return compare_with_margin(float(logs.mean()), float(scipy.stats.sem(logs)), len(logs) - 1, margin)


def compare_with_margin(middle: float, error: float, degrees: float, margin: float) -> RatioTest:
    """Return a ratio, its 95 % interval, and p of the hypothesis that it lies within a margin of 1.

    J. L. Hodges and E. L. Lehmann, "Testing the approximate validity of statistical hypotheses", Journal of the Royal
    Statistical Society B 16, 1954.

    Args:
        middle: the logarithm of the ratio.
        error: its standard error.
        degrees: Student's degrees of freedom.
        margin: the share by which the ratio may differ from 1.

    """
    half = float(compute_t_quantile(degrees)) * error
    over = abs(middle) - math.log1p(margin)
    p = 1.0 if over <= 0 else 2 * float(scipy.stats.t.sf(over / error, degrees)) if error else 0.0
    return RatioTest(math.exp(middle), math.exp(middle - half), math.exp(middle + half), min(p, 1.0))


def compare_ranks_exactly(first: ArrayLike, second: ArrayLike) -> Any:
    """Return p of the two-sided rank test of Mann and Whitney over every way to deal the values, ties and all.

    Beyond `SHUFFLES` ways as many are drawn. With `MANY_A_SIDE` values a side the normal distribution stands for them,
    corrected for ties: drawing would take seconds there and say the same.
    """
    few = min(np.shape(first)[-1], np.shape(second)[-1]) < MANY_A_SIDE
    ways = scipy.stats.PermutationMethod(n_resamples=SHUFFLES, rng=np.random.default_rng(0)) if few else "asymptotic"
    return unwrap(scipy.stats.mannwhitneyu(first, second, axis=-1, method=ways).pvalue)


def compare_counts(first: int, of_first: int, second: int, of_second: int) -> float:
    """Return p of Fisher's exact test, two-sided, that two counts are of the same share."""
    table = [[first, of_first - first], [second, of_second - second]]
    return float(scipy.stats.fisher_exact(table).pvalue)


def exceed_share(count: int, of: int, share: float) -> float:
    """Return p of the one-sided exact binomial test that `count` of `of` come from more than a share."""
    return float(scipy.stats.binomtest(count, of, share, alternative="greater").pvalue)


def compare_signed_ranks(differences: NDArray[Any]) -> float | None:
    """Return p of Wilcoxon's one-sided signed-rank test that differences exceed 0.

    1 where none differs from 0; None where fewer than `FEWEST_PAIRS` do, which the test could not tell from chance.
    The ranks' signs are flipped, so that ties cost nothing; those of `MANY_PAIRS` are taken for normal.
    """
    differing = differences[differences != 0]
    if not len(differing):
        return 1.0
    if len(differing) < FEWEST_PAIRS:
        return None
    if len(differing) >= MANY_PAIRS:
        return float(compare_signed_rank_rows(differing[None])[0])
    return float(flip_signs(np.sign(differing) * scipy.stats.rankdata(np.abs(differing)), one_sided=True))


def compare_signed_rank_rows(differences: NDArray[Any]) -> NDArray[np.float64]:
    """Return p of Wilcoxon's one-sided signed-rank test of each row of differences, none of them 0 but by chance."""
    method = "exact" if differences.shape[1] < MANY_PAIRS else "asymptotic"
    p: NDArray[np.float64] = scipy.stats.wilcoxon(differences, alternative="greater", axis=1, method=method).pvalue
    return p


def flip_signs(values: NDArray[Any], *, one_sided: bool = False) -> Any:
    """Return p of the test that flips the sign of each value: how often their sum is as far from 0, or as large.

    Where the two sides of each pair are exchangeable, so are the signs of the differences (R. A. Fisher, "The Design of
    Experiments", 1935, 21). One value a start or a seed. NaN for fewer than `FEWEST_PAIRS`.
    """
    sample = np.asarray(values, float)
    count = sample.shape[-1]
    if count < FEWEST_PAIRS:
        return math.nan
    seen = sample.sum(axis=-1)[..., None]
    seen = seen if one_sided else np.abs(seen)
    seen = seen - 1e-9 * np.abs(sample).sum(axis=-1)[..., None]  # in another order a sum may differ in its last bits
    drawn = int(count > EVERY_FLIP)
    as_far, flips = np.full(sample.shape[:-1], drawn), drawn
    for signs in _draw_signs(count):
        sums = sample @ signs.T
        as_far = as_far + np.count_nonzero((sums if one_sided else np.abs(sums)) >= seen, axis=-1)
        flips += len(signs)
    return unwrap(as_far / flips)


def _draw_signs(count: int) -> Iterator[NDArray[Any]]:
    """Yield every combination of so many signs, or `SIGN_FLIPS` of them, the same each time, some at a time."""
    random = np.random.default_rng(0)
    flips = 2**count if count <= EVERY_FLIP else SIGN_FLIPS
    for start in range(0, flips, 1_000):
        each = np.arange(start, min(flips, start + 1_000))
        every = each[:, None] >> np.arange(count) & 1 if count <= EVERY_FLIP else None
        yield 1.0 - 2.0 * (random.integers(0, 2, (len(each), count)) if every is None else every)


def find_step(values: NDArray[np.float64]) -> tuple[int, float, float]:
    """Return where a series moved most, the ratio of medians after and before, and the p-value of so large a move.

    The statistic is the largest standardised rank-sum over all places that leave two values a side (after A. N.
    Pettitt, "A non-parametric approach to the change-point problem", Applied Statistics 28, 1979; standardised, so that
    early and late places count alike); where it is largest is where the move was, give or take a few. Its distribution
    is that over `SHUFFLES` shuffles, drawn once per length.
    """
    sums = _standardise_rank_sums(scipy.stats.rankdata(values)[None])[0]
    at = int(np.argmax(sums))
    place = at + 2
    p = (1 + np.count_nonzero(_draw_largest_sums(len(values)) >= sums[at] - 1e-9)) / (1 + SHUFFLES)
    return place, float(np.median(values[place:]) / np.median(values[:place])), float(p)


def _standardise_rank_sums(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standardised rank-sum at each place from 2 to n - 2, for each row of ranks."""
    count = ranks.shape[1]
    places = np.arange(2, count - 1)
    sums = np.cumsum(ranks, axis=1)[:, places - 1]
    expected = places * (count + 1) / 2
    spread = np.sqrt(places * (count - places) * (count + 1) / 12)
    standardised: NDArray[np.float64] = np.abs(sums - expected) / spread
    return standardised


@functools.cache
def _draw_largest_sums(count: int) -> NDArray[np.float64]:
    random = np.random.default_rng(0)
    shuffled = random.permuted(np.tile(np.arange(1.0, count + 1), (SHUFFLES, 1)), axis=1)
    largest: NDArray[np.float64] = _standardise_rank_sums(shuffled).max(axis=1)
    return largest
