"""How far back in time a gradient reaches, from its norms at the steps of a sequence: reach and growth.

The same definitions as in a report of the suite: a loss that counts the steps from `before` on, and what is left of the
gradient in the steps before it, going back in time.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

LEFT = 0.01
"""A step is reached while the norm there is at least this share of the norm at step `before`."""

FEWEST = 5
"""A growth rate over fewer steps has no interval worth the name."""


@dataclasses.dataclass(frozen=True)
class Growth:
    """By how much the logarithm of the gradient's norm grows per step back in time, and the 95 % interval of that."""

    rate: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Flow:
    """The gradient of a loss through time: L2 norms over a batch, one for each step of the sequence.

    Attributes:
        before: the first step that the loss counts, from 0.
        h: of each recurrent layer, from the input on: its name and the norms of dL/dh_t.
        c: of each lstm, the norms of dL/dc_t.
        x: the norms of dL/dx_t, of the model's input.

    """

    before: int
    h: dict[str, list[float]]
    c: dict[str, list[float]]
    x: list[float]

    def reach(self, norms: Sequence[float] | None = None) -> float | None:
        """Return the share of the steps before the loss's that are reached; of the first layer, or of `norms`."""
        return measure_reach(self._choose(norms), self.before)

    def growth(self, norms: Sequence[float] | None = None) -> Growth | None:
        """Return the growth per step back in time; of the first layer, or of `norms`."""
        return fit_growth(self._choose(norms), self.before)

    def _choose(self, norms: Sequence[float] | None) -> Sequence[float]:
        return norms if norms is not None else next(iter(self.h.values()), self.x)


def measure_reach(norms: Sequence[float], before: int) -> float | None:
    """Return the share of the steps before `before` that the gradient reaches without a break, 0 to 1.

    None where there are no such steps, where there is no gradient at `before`, or where a norm is not finite.
    """
    part = norms[: before + 1]
    if before == 0 or not all(map(math.isfinite, part)) or part[before] == 0:
        return None
    reached = 0
    while reached < before and part[before - 1 - reached] >= LEFT * part[before]:
        reached += 1
    return reached / before


def fit_growth(norms: Sequence[float], before: int) -> Growth | None:
    """Return the growth rate per step back in time over the steps up to `before`, with its 95 % interval.

    Least squares of ln norm against t; the standard error is that of Newey and West (Econometrica 55, 1987), with the
    cube root of n lags. None where fewer than `FEWEST` norms are above 0.
    """
    points = [(t, math.log(n)) for t, n in enumerate(norms[: before + 1]) if math.isfinite(n) and n > 0]
    count = len(points)
    if count < FEWEST:
        return None
    x_mean, y_mean = (statistics.fmean(values) for values in zip(*points, strict=True))
    away = [x - x_mean for x, _ in points]
    square = sum(a * a for a in away)
    slope = sum(a * y for a, (_, y) in zip(away, points, strict=True)) / square
    scores = [a * (y - y_mean - slope * a) for a, (_, y) in zip(away, points, strict=True)]
    lags = min(count - 1, math.ceil(count ** (1 / 3)))
    variance = sum(one * one for one in scores)
    for lag in range(1, lags + 1):
        together = sum(a * b for a, b in zip(scores[lag:], scores[:-lag], strict=True))
        variance += 2 * (1 - lag / (lags + 1)) * together
    error = math.sqrt(max(variance, 0.0)) / square * math.sqrt(count / (count - 2))
    half = compute_t_quantile(count - 2) * error
    return Growth(-slope, -slope - half, -slope + half)


def compute_t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t, by Cornish and Fisher's expansion; within 0.2 % from 3 degrees on."""
    z = statistics.NormalDist().inv_cdf(0.975)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160
    return float(z + (z**3 + z) / 4 / freedom + second / freedom**2 + third / freedom**3 + fourth / freedom**4)
