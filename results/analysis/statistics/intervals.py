"""Intervals of 95 %: of a share, a mean and a median.

Samples lie along the last axis: of several samples at once each end is an array. `python -m benchmarks coverage`
measures how often each interval misses, and docs/statistics.md says which is used where.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

LEVEL = 0.95

FEWEST = 5
"""Fewer seeds or launches are listed, not judged: no interval of a mean, and no test of two samples."""

FEWEST_PAIRS = 6
"""Fewer values have no interval of their median, fewer pairs no test: five would be wrong 6.25 % of the time."""


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


def bound_mean(values: ArrayLike) -> Interval:
    """Return the 95 % t interval of a mean; NaN ends for fewer than `FEWEST` values.

    For logarithms of ratios alone, which are as often too large as too small. Near a bound (a skill near 1, an
    accuracy) it misses two to six times as often as it says: there `bound_median` and `bound_share` hold.
    """
    sample = np.asarray(values, float)
    count = sample.shape[-1]
    if count < FEWEST:
        return MISSING
    middle, half = sample.mean(axis=-1), compute_t_quantile(count - 1) * sample.std(axis=-1, ddof=1) / math.sqrt(count)
    return Interval(unwrap(middle - half), unwrap(middle + half))


def compute_standard_error(values: ArrayLike) -> float:
    """Return the standard error of a mean; 0 of a single value."""
    sample = np.asarray(values, float)
    return float(sample.std(ddof=1)) / math.sqrt(len(sample)) if len(sample) > 1 else 0.0


def bound_share(count: ArrayLike, of: ArrayLike) -> Interval:
    """Return the 95 % interval of a share, `count` of `of` independent trials; arrays give arrays.

    C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26, 1934: it misses at most 5 % of the time, whatever the share and the number of trials.
    """
    tail = (1 - LEVEL) / 2
    found, missed = np.asarray(count), np.asarray(of) - np.asarray(count)
    low = np.where(found > 0, scipy.special.betaincinv(np.maximum(found, 1), missed + 1, tail), 0.0)
    high = np.where(missed > 0, scipy.special.betaincinv(found + 1, np.maximum(missed, 1), 1 - tail), 1.0)
    return Interval(unwrap(low), unwrap(high))


def bound_median(values: ArrayLike) -> Interval:
    """Return order statistics between which the median lies with 95 % confidence; NaN for fewer than `FEWEST_PAIRS`.

    It asks nothing of the distribution: it holds near a bound, with ties and with outliers.
    """
    sample = np.sort(np.asarray(values, float), axis=-1)
    count = sample.shape[-1]
    if count < FEWEST_PAIRS:
        return MISSING
    at = _find_order(count)
    return Interval(unwrap(sample[..., at]), unwrap(sample[..., count - 1 - at]))


def bound_median_sides(values: ArrayLike) -> Interval:
    """Return a lower and an upper bound of the median, each wrong at most 5 % of the time by itself.

    For who asks on which side of one bound the median lies: whatever the truth, only one of the two ends can mislead.
    Order statistics as in `bound_median`; NaN for fewer than `FEWEST` values.
    """
    sample = np.sort(np.asarray(values, float), axis=-1)
    count = sample.shape[-1]
    if count < FEWEST:
        return MISSING
    at = _find_order(count, 1 - LEVEL)
    return Interval(unwrap(sample[..., at]), unwrap(sample[..., count - 1 - at]))


@functools.cache
def _find_order(count: int, tail: float = (1 - LEVEL) / 2) -> int:
    """Return the largest place from either end, from 0, beyond which the median lies no more often than `tail`."""
    below = scipy.special.bdtr(np.arange(count // 2), count, 0.5)
    return int(np.count_nonzero(below <= tail)) - 1


def estimate_median(values: ArrayLike) -> Estimate:
    """Return the median with the interval of `bound_median`; NaN for no values."""
    sample = np.asarray(values, float)
    return Estimate(unwrap(np.median(sample, axis=-1)) if sample.shape[-1] else math.nan, *bound_median(sample))


def multiply_estimates(first: Estimate, second: Estimate) -> Estimate:
    """Return the product of two positive values that know nothing of each other, between the products of their ends.

    It misses only where one of both intervals does, and seldom then, since the other has some room.
    """
    return Estimate(*(unwrap(np.multiply(one, other)) for one, other in zip(first, second, strict=True)))


def unwrap(values: Any) -> Any:
    """Return an array of no dimension as a plain number, any other as it is."""
    return np.asarray(values).item() if np.ndim(values) == 0 else values
