"""Intervals that several tables share: of a median ratio from alternating rounds, of a share, of a mean over seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # loads scipy.stats when it is first used, which takes half a second
from numpy.typing import NDArray

FEWEST = 5
"""A bootstrap over fewer runs gives no interval worth the name."""

RUN = 3
"""Rounds that are resampled together, since a neighbour's load lasts for longer than one round."""

RESAMPLES = 4_999
LEVEL = 0.95


def ratio(first: NDArray[Any], second: NDArray[Any]) -> tuple[float, float, float]:
    """Return the median over rounds of first / second with its 95 % interval; both are seconds, [rounds].

    Block bootstrap (Carlstein, Annals of Statistics 14, 1986): runs of `RUN` successive rounds are resampled with
    replacement. Percentiles of so few runs are too narrow (in simulations of 30 normal rounds they miss 10 % of the
    time), so both halves of the interval are widened, on the logarithm, by Student's t over the normal's quantile and
    by sqrt(k / (k - 1)) for k runs: 4 % are missed then, 6 % at an autocorrelation of 0.15. NaN bounds below `FEWEST`
    runs. The stream is fixed, so that a report made again is the same.
    """
    logs = np.log(np.asarray(first, float) / np.asarray(second, float))
    middle, count = float(np.median(logs)), len(logs) // RUN
    if count < FEWEST:
        return float(np.exp(middle)), float("nan"), float("nan")
    runs = logs[len(logs) - count * RUN :].reshape(count, RUN)
    found = scipy.stats.bootstrap(
        (np.arange(count),),
        lambda chosen, axis=-1: np.median(runs[chosen].reshape(*chosen.shape[:-1], -1), axis=axis),
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    wider = student(count - 1) / scipy.stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt(count / (count - 1))
    low, high = (middle + (bound - middle) * wider for bound in (found.low, found.high))
    return float(np.exp(middle)), float(np.exp(low)), float(np.exp(high))


def widened(middle: float, low: float, high: float, factor: float) -> tuple[float, float]:
    """Return the interval of a ratio with another, independent error in it; both halves add as squares of logarithms.

    Args:
        middle: the ratio.
        low: lower end of its 95 % interval.
        high: upper end.
        factor: what the other error alone stays within 95 % of the time, as a factor.

    """
    below, above = (float(np.hypot(np.log(end / middle), np.log(factor))) for end in (low, high))
    return float(middle * np.exp(-below)), float(middle * np.exp(above))


def student(degrees: Any) -> Any:
    """Return how many standard errors a 95 % interval reaches to either side, by Student's t of so many degrees.

    What `scipy.stats.t.ppf` returns, without loading scipy.stats, which takes a worker a second. An array for an array.
    """
    return scipy.special.stdtrit(degrees, (1 + LEVEL) / 2)


def share(count: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson (1927); `count` of `of` trials, at least one."""
    found = scipy.stats.binomtest(int(count), int(of)).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def overlap(first: tuple[float, float], second: tuple[float, float]) -> bool:
    """Return whether two intervals have a point in common."""
    return first[0] <= second[1] and second[0] <= first[1]
