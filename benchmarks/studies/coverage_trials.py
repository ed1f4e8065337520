"""The simulations of the study of coverage: one function for each way in which a promise can be broken.

Each draws so many simulations of a condition and returns which of them missed the truth, or rejected it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farreach.benchmarks.studies.noise import NORMAL, Noise, Values
from farreach.results.analysis import diagnosis, reach, statistics
from farreach.results.timing import ratios, scaling
from farreach.tasks import translation

LEVEL = 1 - statistics.LEVEL
MARGIN = 0.02
BLOCKS, LAUNCHES = 0.03, 0.015
"""Standard deviation of the logarithm of a block's ratio, and of a launch's: as in the published timings."""

Wrong = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Condition:
    """What values are drawn: so many units of a noise, each correlated with the one before it.

    Attributes:
        units: seeds, launches, pairs, blocks or points.
        noise: their distribution.
        correlation: of neighbours.
        promised: whether the sentences cover it; else it is measured to be known.

    """

    units: int
    noise: Noise
    correlation: float = 0.0
    promised: bool = True

    @property
    def label(self) -> str:
        """What is drawn, in words."""
        return self.noise.name + (f", correlation {self.correlation:g}" if self.correlation else "")


def _outside(found: Any, low: float, high: float | None = None) -> Wrong:
    """Return which intervals hold nothing of what lies between `low` and `high`."""
    return np.asarray((found.high < low) | (found.low > (low if high is None else high)))


def _repeat(values: Values, test: Callable[..., bool]) -> Wrong:
    return np.fromiter((test(one) for one in values), bool, len(values))


def miss_share(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """Of so many seeds each solves with one probability."""
    share = given.noise.share
    return _outside(statistics.bound_share(random.binomial(given.units, share, trials), given.units), share)


def reject_share(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """Of so many seeds each solves with one probability, of a half at most."""
    count = given.units
    table = np.array([statistics.exceed_share(solved, count, 0.5) for solved in range(count + 1)])
    return np.asarray(table[random.binomial(count, given.noise.share, trials)] < LEVEL)


def miss_median(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """The median of so many values."""
    return _outside(statistics.estimate_median(given.noise.draw(random, trials, given.units)), *given.noise.middle)


def miss_median_side(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """The lower bound of the median of so many values, by itself."""
    low, _ = statistics.bound_median_sides(given.noise.draw(random, trials, given.units))
    return np.asarray(low > given.noise.middle[1])


def reject_dealt_ranks(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """Two sides that are drawn alike, by ranks over every way to deal them."""
    parts = zip(*(np.array_split(side, -(-trials // 100)) for side in _draw_sides(random, trials, given)), strict=True)
    return np.concatenate([np.asarray(statistics.compare_ranks_exactly(a, b)) for a, b in parts]) < LEVEL + 1e-12


def reject_flips(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """Pairs whose sides are drawn alike, by flipped signs of their differences."""
    return np.asarray(statistics.flip_signs(given.noise.draw_pairs(random, trials, given.units)) < LEVEL + 1e-12)


def reject_signed_ranks(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """The same by signed ranks, one-sided."""

    def test(differences: Values) -> bool:
        p = statistics.compare_signed_ranks(differences)
        return p is not None and p < LEVEL

    return _repeat(given.noise.draw_pairs(random, trials, given.units), test)


def reject_counts(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """Two sides of so many seeds, each of which solves with one probability."""
    count = given.units
    table = np.array(
        [[statistics.compare_counts(a, count, b, count) for b in range(count + 1)] for a in range(count + 1)]
    )
    solved = random.binomial(count, given.noise.share, (2, trials))
    return np.asarray(table[solved[0], solved[1]] < LEVEL)


def miss_launches(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """The ratio over so many launches of two sides that are alike."""
    return _outside(statistics.estimate_mean_ratio(LAUNCHES * given.noise.draw_pairs(random, trials, given.units)), 1.0)


def miss_mean_ratio(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """The same by the test against a margin, its interval."""
    logs = LAUNCHES * given.noise.draw_pairs(random, trials, given.units)
    return _repeat(logs, lambda one: bool(_outside(statistics.compare_mean_ratio(one, MARGIN), 1.0)))


def reject_mean_margin(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """Launches whose ratio lies on the margin: p below .05."""
    logs = LAUNCHES * given.noise.draw_pairs(random, trials, given.units) + math.log1p(MARGIN)
    return _repeat(logs, lambda one: statistics.compare_mean_ratio(one, MARGIN).p < LEVEL)


def miss_geometric_means(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """The ratio of the times of two sides of so many runs that are alike."""
    sides = np.exp(LAUNCHES * np.stack(_draw_sides(random, trials, given), axis=1))
    return _repeat(sides, lambda one: bool(_outside(statistics.compare_geometric_means(one[0], one[1], MARGIN), 1.0)))


def reject_geometric_margin(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """Two sides whose ratio lies on the margin: p below .05."""
    sides = np.exp(LAUNCHES * np.stack(_draw_sides(random, trials, given), axis=1)) * [[1.0], [1 + MARGIN]]
    return _repeat(sides, lambda one: statistics.compare_geometric_means(one[0], one[1], MARGIN).p < LEVEL)


def miss_blocks(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """The ratio of two sides that are alike over so many blocks of one launch."""
    logs = BLOCKS * given.noise.draw_pairs(random, trials, given.units, correlation=given.correlation)
    return _outside(statistics.estimate_ratio(np.exp(logs), 1.0), 1.0)


def miss_time(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """The median time of one side over so many blocks of one launch."""
    logs = BLOCKS * given.noise.draw(random, trials, given.units, correlation=given.correlation)
    return _outside(statistics.estimate_ratio(np.exp(logs), 1.0), *np.exp(BLOCKS * np.array(given.noise.middle)))


def miss_factor(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """One more launch than the so many of an A/A test."""
    logs = LAUNCHES * given.noise.draw_pairs(random, trials, given.units + 1)
    return np.asarray(np.abs(logs[:, -1]) > np.log(statistics.bound_factor(logs[:, :-1])))


def miss_widened(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """The ratio of two sides over 100 blocks of one launch, widened by an A/A test of so many launches."""
    logs = LAUNCHES * given.noise.draw_pairs(random, trials, given.units + 1)
    blocks = BLOCKS * NORMAL.draw_pairs(random, trials, statistics.FEWEST_BLOCKS, correlation=given.correlation)
    ratio = statistics.estimate_ratio(np.exp(blocks + logs[:, -1:]), 1.0)
    return _outside(statistics.widen_ratio(ratio, statistics.bound_factor(logs[:, :-1])), 1.0)


def miss_widened_by_default(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """The same, widened by the published factor, where 95 % of the launches stay within it."""
    spread = math.log(ratios.LAUNCHES) / float(statistics.compute_t_quantile(math.inf))
    logs = BLOCKS * given.noise.draw_pairs(random, trials, given.units, correlation=given.correlation)
    ratio = statistics.estimate_ratio(np.exp(logs + random.normal(0, spread, (trials, 1))), 1.0)
    return _outside(statistics.widen_ratio(ratio, ratios.LAUNCHES), 1.0)


def miss_time_to_solve(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """The median of so many seeds' steps, times the seconds of a step over 100 blocks of one launch."""
    steps = statistics.estimate_median(np.exp(0.3 * given.noise.draw(random, trials, given.units)))
    spread = math.log(ratios.LAUNCHES) / float(statistics.compute_t_quantile(math.inf))
    logs = BLOCKS * NORMAL.draw_pairs(random, trials, statistics.FEWEST_BLOCKS, correlation=given.correlation)
    step = statistics.estimate_ratio(np.exp(logs + random.normal(0, spread, (trials, 1))), 1.0)
    found = statistics.multiply_estimates(steps, statistics.widen_ratio(step, ratios.LAUNCHES))
    return _outside(found, *np.exp(0.3 * np.array(given.noise.middle)))


def reject_family(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """So many tests of nothing, corrected: any of them below .05."""
    shared = math.sqrt(given.correlation) * random.normal(size=(trials, 1))
    z = shared + math.sqrt(1 - given.correlation) * random.normal(size=(trials, given.units))
    p = np.vectorize(math.erfc)(np.abs(z) / math.sqrt(2))
    return _repeat(p, lambda one: bool((statistics.correct_p_values(one) < LEVEL).any()))


def reject_step(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """So many runs in a row that are alike."""
    logs = LAUNCHES * given.noise.draw(random, trials, given.units, correlation=given.correlation)
    return _repeat(np.exp(logs), lambda one: statistics.find_step(one)[2] < LEVEL)


def miss_exponent(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """The exponent of a power law through so many points."""
    size = 2.0 ** np.arange(given.units)
    costs = size * np.exp(BLOCKS * given.noise.draw(random, trials, given.units))

    def test(cost: Values) -> bool:
        _, low, high = scaling.fit_exponent(size, cost)
        return not low <= 1 <= high

    return _repeat(costs, test)


def call_exploding(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """A gradient that does not grow back in time, its norm scattered by a third: called exploding."""
    norms = np.exp(0.3 * given.noise.draw(random, trials, given.units, correlation=given.correlation))
    bound = math.log(diagnosis.GROWN) / (given.units - 1)

    def test(norm: Values) -> bool:
        grown = reach.fit_growth(norm, given.units - 1)
        return grown is not None and grown.low > 0 and grown.rate >= bound

    return _repeat(norms, test)


def miss_gain(random: np.random.Generator, trials: int, given: Condition) -> Wrong:
    """The source gain over so many sentences of 2 to 12 tokens, which varies from sentence to sentence."""

    def make() -> Iterator[bool]:
        for _ in range(trials):
            mask = (np.arange(12) < random.integers(2, 13, (given.units, 1))).astype(np.float32)
            true = random.normal(size=mask.shape)
            gain = 0.5 * given.noise.draw_pairs(random, given.units, 1)
            found = translation.source_gain(true, true + gain, mask)
            yield not found["source_gain_low"] <= 0 <= found["source_gain_high"]

    return np.fromiter(make(), bool, trials)


def _draw_sides(random: np.random.Generator, trials: int, given: Condition) -> tuple[Values, Values]:
    return given.noise.draw(random, trials, given.units), given.noise.draw(random, trials, given.units)
