"""Ratios of times: within one launch over blocks that follow each other, and over launches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from farreach.results.analysis.statistics.intervals import (
    LEVEL,
    MISSING,
    Estimate,
    bound_mean,
    compute_t_quantile,
    unwrap,
)

BATCHES = 3
"""Stretches into which the blocks of a launch are cut: long enough that each hardly knows of the one before."""

FEWEST_BLOCKS = 100
"""Fewer blocks of one launch have no interval: neighbours are alike, and short stretches know of each other."""


QUARTERS = 1.349
"""Standard deviations between the quarters of a normal distribution."""

FEWEST_LAUNCHES = 19
"""Fewer launches do not say what one more stays within 95 % of the time: the largest of 18 is exceeded more often."""


def estimate_ratio(first: ArrayLike, second: ArrayLike) -> Estimate:
    """Return the median over blocks of first / second with its 95 % interval within this launch; both are seconds.

    Blocks are cut into `BATCHES` stretches in their order, and Student's t is taken over the medians of the stretches'
    logarithms (batch means: B. Schmeiser, "Batch size effects in the analysis of simulation output", Operations
    Research 30, 1982). Resampling blocks, or a t over all of them, misses 17 % of the time where neighbours correlate
    by .5, and 43 % at .8; this misses at most 6 %. NaN ends below `FEWEST_BLOCKS`.
    """
    logs = np.log(np.asarray(first, float) / np.asarray(second, float))
    middle, count = np.median(logs, axis=-1), logs.shape[-1]
    if count < FEWEST_BLOCKS:
        return Estimate(unwrap(np.exp(middle)), *MISSING)
    stretches = logs[..., count % BATCHES :].reshape(*logs.shape[:-1], BATCHES, -1)
    error = np.median(stretches, axis=-1).std(axis=-1, ddof=1) / math.sqrt(BATCHES)
    half = compute_t_quantile(BATCHES - 1) * error
    return Estimate(*(unwrap(np.exp(end)) for end in (middle, middle - half, middle + half)))


def count_blocks(logs: ArrayLike, width: float) -> int:
    """Return the blocks after which half the interval of `estimate_ratio` should be `width`, on the logarithm.

    Args:
        logs: of a few ratios, whose spread is taken as that of all.
        width: positive.

    """
    quarters = np.quantile(np.asarray(logs, float), [0.25, 0.75])  # a few slow blocks do not move a median
    spread = float(np.diff(quarters)[0]) / QUARTERS * math.sqrt(math.pi / 2)  # of a median instead of a mean
    return max(FEWEST_BLOCKS, math.ceil((float(compute_t_quantile(BATCHES - 1)) * spread / width) ** 2))


def estimate_mean_ratio(logs: ArrayLike) -> Estimate:
    """Return the geometric mean of the ratios of launches, given as logarithms, with its 95 % t interval."""
    sample = np.asarray(logs, float)
    return Estimate(*(unwrap(np.exp(end)) for end in (sample.mean(axis=-1), *bound_mean(sample))))


def bound_factor(logs: ArrayLike) -> Any:
    """Return the factor that the ratio of one more launch stays within 95 % of the time; NaN below `FEWEST_LAUNCHES`.

    The largest of 19 absolute logarithms, the 34th of 35, and so on: one more is as likely to lie in any place among
    them, whatever their distribution.
    """
    sizes = np.sort(np.abs(np.asarray(logs, float)), axis=-1)
    count = sizes.shape[-1]
    if count < FEWEST_LAUNCHES:
        return math.nan
    return unwrap(np.exp(sizes[..., math.ceil(LEVEL * (count + 1)) - 1]))


def widen_ratio(ratio: Estimate, factor: Any) -> Estimate:
    """Return a ratio with another, independent error in its interval; both halves add as squares of logarithms.

    Args:
        ratio: with its own interval.
        factor: what the other error alone stays within 95 % of the time, as a factor.

    """
    below, above = (np.hypot(np.log(end / ratio.value), np.log(factor)) for end in ratio.interval)
    return Estimate(ratio.value, unwrap(ratio.value * np.exp(-below)), unwrap(ratio.value * np.exp(above)))
