"""Intervals of 95 %: of a mean, a share, a median, and a ratio of times."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95

FEWEST = 5
"""A bootstrap over fewer values gives no interval worth the name."""

BLOCK = 3
"""Rounds that are resampled together, since a neighbour's load lasts for longer than one round."""

RESAMPLES = 4_999


class Interval(NamedTuple):
    """A 95 % interval; both ends are NaN where there are too few values for one, and it then lies nowhere."""

    low: float
    high: float

    def lies_above(self, bound: float) -> bool:
        """Return whether all of it is larger than a bound."""
        return self.low > bound

    def lies_within(self, low: float, high: float) -> bool:
        """Return whether all of it is between two bounds."""
        return self.low > low and self.high < high

    def overlaps(self, other: Interval) -> bool:
        """Return whether two intervals have a point in common."""
        return self.low <= other.high and other.low <= self.high


class Estimate(NamedTuple):
    """A value and its 95 % interval, whose ends are NaN where there are too few values for one."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> Interval:
        """The interval alone."""
        return Interval(self.low, self.high)


MISSING = Interval(math.nan, math.nan)


def compute_t_quantile(degrees: Any) -> Any:
    """Return how many standard errors a 95 % interval reaches to either side, by Student's t; arrays give arrays.

    What `scipy.stats.t.ppf` returns, without loading scipy.stats, which takes a worker a second.
    """
    return scipy.special.stdtrit(degrees, (1 + LEVEL) / 2)


def bound_means(mean: ArrayLike, deviation: ArrayLike, count: ArrayLike, *, fewest: int = 2) -> tuple[Any, Any]:
    """Return the ends of the 95 % t interval of many means at once; NaN for those of fewer than `fewest` values.

    `scipy.stats.ttest_1samp` gives the same ends of one sample in a millisecond; a page has thousands of them.

    Args:
        mean: of each sample.
        deviation: its standard deviation, with n - 1 in the denominator.
        count: n, how many values it has.
        fewest: values below which there is no interval.

    """
    size = np.maximum(count, fewest)
    half = compute_t_quantile(size - 1) * np.asarray(deviation, float) / np.sqrt(size)
    half = np.where(np.asarray(count) >= fewest, half, np.nan)
    return np.asarray(mean) - half, np.asarray(mean) + half


def bound_mean(values: ArrayLike, *, fewest: int = 2) -> Interval:
    """Return the 95 % t interval of a mean; NaN ends for fewer than `fewest` values."""
    sample = np.asarray(values, float)
    if len(sample) < fewest:
        return MISSING
    low, high = bound_means(sample.mean(), sample.std(ddof=1), len(sample), fewest=fewest)
    return Interval(float(low), float(high))


def compute_standard_error(values: ArrayLike) -> float:
    """Return the standard error of a mean; 0 of a single value."""
    sample = np.asarray(values, float)
    return float(sample.std(ddof=1)) / math.sqrt(len(sample)) if len(sample) > 1 else 0.0


def bound_share(count: int, of: int) -> Interval:
    """Return the 95 % interval of a share by Wilson (1927); `count` of `of` trials, at least one."""
    ends = scipy.stats.binomtest(int(count), int(of)).proportion_ci(method="wilson")
    return Interval(float(ends.low), float(ends.high))


def bound_median(values: ArrayLike) -> Interval:
    """Return order statistics between which the median lies with 95 % confidence, whatever the distribution."""
    ends = scipy.stats.quantile_test(values, p=0.5).confidence_interval(LEVEL)
    return Interval(float(ends.low), float(ends.high))


def bound_by_bootstrap(
    samples: Sequence[NDArray[Any]],
    statistic: Callable[..., Any],
    *,
    resamples: int = RESAMPLES,
    paired: bool = False,
    batch: int | None = None,
) -> Interval:
    """Return the 95 % percentile bootstrap interval of a statistic of one sample or several.

    The stream is fixed, so that a report made again is the same.

    Args:
        samples: each resampled on its own, or with the others' places where they are paired.
        statistic: takes the samples and ``axis``.
        resamples: how many are drawn.
        paired: whether the values at one place of all samples belong together.
        batch: resamples that are computed at once, to spare memory.

    """
    result = scipy.stats.bootstrap(
        samples,
        statistic,
        n_resamples=resamples,
        paired=paired,
        batch=batch,
        confidence_level=LEVEL,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return Interval(float(result.confidence_interval.low), float(result.confidence_interval.high))


def bound_factor(logs: ArrayLike, *, fewest: int = FEWEST) -> float:
    """Return the factor that ratios of these logarithms stay within 95 % of the time; 1 where there are too few.

    Their spread is taken about 0, the logarithm of the ratio that equals have.
    """
    sample = np.asarray(logs, float)
    if len(sample) < fewest:
        return 1.0
    return float(np.exp(compute_t_quantile(len(sample)) * np.sqrt((sample**2).mean())))


def estimate_ratio(first: NDArray[Any], second: NDArray[Any]) -> Estimate:
    """Return the median over rounds of first / second with its 95 % interval; both are seconds, [rounds].

    Block bootstrap (Carlstein, Annals of Statistics 14, 1986): blocks of `BLOCK` successive rounds are resampled with
    replacement. Percentiles of so few blocks are too narrow (in simulations of 30 normal rounds they miss 10 % of the
    time), so both halves of the interval are widened, on the logarithm, by Student's t over the normal's quantile and
    by sqrt(k / (k - 1)) for k blocks: 4 % are missed then, 6 % at an autocorrelation of 0.15. NaN ends below `FEWEST`
    blocks.
    """
    logs = np.log(np.asarray(first, float) / np.asarray(second, float))
    middle, count = float(np.median(logs)), len(logs) // BLOCK
    if count < FEWEST:
        return Estimate(float(np.exp(middle)), *MISSING)
    blocks = logs[len(logs) - count * BLOCK :].reshape(count, BLOCK)
    ends = bound_by_bootstrap(
        (np.arange(count),),
        lambda chosen, axis=-1: np.median(blocks[chosen].reshape(*chosen.shape[:-1], -1), axis=axis),
    )
    wider = compute_t_quantile(count - 1) / scipy.stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt(count / (count - 1))
    low, high = (middle + (end - middle) * wider for end in ends)
    return Estimate(float(np.exp(middle)), float(np.exp(low)), float(np.exp(high)))


def estimate_mean_ratio(logs: ArrayLike) -> Estimate:
    """Return the geometric mean of ratios, given as logarithms, with its 95 % t interval."""
    sample = np.asarray(logs, float)
    ends = bound_mean(sample)
    return Estimate(float(np.exp(sample.mean())), float(np.exp(ends.low)), float(np.exp(ends.high)))


def widen_ratio(ratio: Estimate, factor: float) -> Estimate:
    """Return a ratio with another, independent error in its interval; both halves add as squares of logarithms.

    Args:
        ratio: with its own interval.
        factor: what the other error alone stays within 95 % of the time, as a factor.

    """
    below, above = (float(np.hypot(np.log(end / ratio.value), np.log(factor))) for end in ratio.interval)
    return Estimate(ratio.value, float(ratio.value * np.exp(-below)), float(ratio.value * np.exp(above)))
