"""The register: every interval and test of the project, where it is used, and how often it may be wrong.

`farreach.benchmarks.studies.coverage` walks it; a test holds that no public function of the statistics is missing.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from farreach.benchmarks.studies.coverage_trials import (
    Condition,
    Wrong,
    call_exploding,
    miss_blocks,
    miss_exponent,
    miss_factor,
    miss_gain,
    miss_geometric_means,
    miss_launches,
    miss_mean_ratio,
    miss_median,
    miss_median_side,
    miss_share,
    miss_time,
    miss_time_to_solve,
    miss_widened,
    miss_widened_by_default,
    reject_counts,
    reject_dealt_ranks,
    reject_family,
    reject_flips,
    reject_geometric_margin,
    reject_mean_margin,
    reject_share,
    reject_signed_ranks,
    reject_step,
)
from farreach.benchmarks.studies.noise import COINS, EVERY, NEAR_ONE, NORMAL, PLAIN, TIES, Noise

Measure = Callable[[np.random.Generator, int, Condition], Wrong]


@dataclasses.dataclass(frozen=True)
class Promise:
    """An interval or a test, and what it promises.

    Attributes:
        functions: of `farreach.results.analysis.statistics` or elsewhere, by their names.
        what: the interval or test in words.
        where: what shows it.
        unit: what is counted.
        conditions: what is drawn.
        measure: returns for each simulation whether it missed the truth, or rejected it.
        trials: simulations of each condition.
        says: what a sentence or a table calls it.

    """

    functions: tuple[str, ...]
    what: str
    where: str
    unit: str
    conditions: tuple[Condition, ...]
    measure: Measure
    trials: int = 20_000
    says: str = "95 % interval"


HELPERS = {
    "compute_t_quantile": "a quantile",
    "compute_standard_error": "error bars of a figure, and a rule of choice: as good within one standard error",
    "draw_halton": "which recipes are tried",
    "count_blocks": "how long to time",
    "compare_signed_rank_rows": "the power of the signed-rank test, by simulation",
}
"""Functions of the statistics that give neither an interval nor a test."""


def list_conditions(
    units: Sequence[int], noises: Sequence[Noise], correlations: Sequence[float] = (0.0,), *, promised: bool = True
) -> tuple[Condition, ...]:
    """Return every combination."""
    return tuple(Condition(*one, promised=promised) for one in itertools.product(units, noises, correlations))


CORRELATIONS = (0.0, 0.3, 0.5, 0.8)
SIDES = (*PLAIN, NEAR_ONE, TIES, COINS[1], COINS[3], COINS[5])

REGISTER = (
    Promise(
        ("bound_share",),
        "Clopper and Pearson's interval of a share",
        "seeds that solved a task, right diagnoses, false positives of the A/A test",
        "seeds, cases or launches",
        list_conditions((2, 3, 5, 8, 14, 34), COINS),
        miss_share,
    ),
    Promise(
        ("bound_median", "estimate_median"),
        "order statistics of a median",
        "bold on the page, what defaults change and explain, what a seed or a start differs by in compare",
        "seeds, pairs of seeds or starts",
        list_conditions((6, 8, 14), EVERY),
        miss_median,
    ),
    Promise(
        ("bound_median_sides",),
        "order statistics, either end by itself",
        "the verdicts on published claims",
        "seeds",
        list_conditions((5, 8, 14), EVERY),
        miss_median_side,
        says="95 % bound",
    ),
    Promise(
        ("compare_ranks_exactly",),
        "Mann and Whitney's test over every way to deal the values",
        "the contrasts that a suite declares",
        "seeds a side",
        list_conditions((5, 40), SIDES),
        reject_dealt_ranks,
        trials=4_000,
        says="p",
    ),
    Promise(
        ("compare_counts",),
        "Fisher's exact test",
        "the contrasts that a suite declares, which clip threshold worked, the verdicts on published claims",
        "seeds a side",
        list_conditions((5, 8, 14), COINS),
        reject_counts,
        says="p",
    ),
    Promise(
        ("exceed_share",),
        "the exact binomial test that more than half do, one-sided",
        "which cells solve which task",
        "seeds",
        list_conditions((5, 8, 14), [one for one in COINS if one.share <= 0.5]),  # noqa: PLR2004 - half
        reject_share,
        says="p",
    ),
    Promise(
        ("flip_signs",),
        "the sign-flip test of pairs",
        "compare, a row's quality from ten shared seeds on, and all pairs from ten starts on",
        "pairs",
        list_conditions((6, 8, 14), SIDES),
        reject_flips,
        trials=4_000,
        says="p",
    ),
    Promise(
        ("compare_signed_ranks",),
        "Wilcoxon's one-sided signed-rank test",
        "do the frameworks agree",
        "seeds that differ",
        list_conditions((6, 8, 14, 120), SIDES),
        reject_signed_ranks,
        trials=4_000,
        says="p",
    ),
    Promise(
        ("estimate_mean_ratio", "bound_mean"),
        "Student's t over launches",
        "the A/A test: injected slowdown, order of the start",
        "launches",
        list_conditions((5, 8, 14), PLAIN),
        miss_launches,
    ),
    Promise(
        ("compare_mean_ratio", "compare_with_margin"),
        "Student's t over launches",
        "compare --live, the interval",
        "launches",
        list_conditions((5, 8, 14), PLAIN),
        miss_mean_ratio,
        trials=4_000,
    ),
    Promise(
        ("compare_mean_ratio", "compare_with_margin"),
        "Hodges and Lehmann's test beyond a margin",
        "compare --live, slower or faster",
        "launches",
        list_conditions((5, 8, 14), PLAIN),
        reject_mean_margin,
        trials=4_000,
        says="slower, faster",
    ),
    Promise(
        ("compare_geometric_means",),
        "Welch's t over runs",
        "compare, a row's speed, the interval",
        "runs a side",
        list_conditions((5, 8, 14), PLAIN),
        miss_geometric_means,
        trials=4_000,
    ),
    Promise(
        ("compare_geometric_means", "compare_with_margin"),
        "Hodges and Lehmann's test beyond a margin",
        "compare, slower or faster",
        "runs a side",
        list_conditions((5, 8, 14), PLAIN),
        reject_geometric_margin,
        trials=4_000,
        says="slower, faster",
    ),
    Promise(
        ("estimate_ratio",),
        "Student's t over three stretches of a launch's blocks",
        "our step over a hand-written loop, within one launch",
        "blocks",
        list_conditions((100, 200), PLAIN, CORRELATIONS),
        miss_blocks,
        trials=40_000,
    ),
    Promise(
        ("estimate_ratio",),
        "the same of a time",
        "milliseconds a step, within one launch",
        "blocks",
        list_conditions((100, 200), PLAIN, CORRELATIONS),
        miss_time,
        trials=40_000,
    ),
    Promise(
        ("bound_factor",),
        "the factor that one more launch stays within",
        "the A/A test",
        "launches",
        list_conditions((19, 34, 60), PLAIN),
        miss_factor,
        says="95 % of the time",
    ),
    Promise(
        ("widen_ratio", "estimate_ratio", "bound_factor"),
        "a launch's interval widened by an A/A test",
        "who is faster, where the folder has an A/A test",
        "launches",
        list_conditions((19, 34, 60), PLAIN, (0.0, 0.5)),
        miss_widened,
        trials=8_000,
    ),
    Promise(
        ("widen_ratio", "estimate_ratio"),
        "a launch's interval widened by 3.5 %",
        "who is faster, without an A/A test",
        "blocks",
        list_conditions((100, 200), PLAIN, CORRELATIONS),
        miss_widened_by_default,
    ),
    Promise(
        ("multiply_estimates", "estimate_median", "widen_ratio"),
        "order statistics of a median times a step's widened interval",
        "time to solve",
        "seeds",
        list_conditions((6, 8, 14), (NORMAL, TIES), (0.0, 0.5, 0.8)),
        miss_time_to_solve,
    ),
    Promise(
        ("correct_p_values",),
        "Holm's correction",
        "compare and history, over their rows",
        "tests",
        list_conditions((3, 14, 50), (NORMAL,), (0.0, 0.5)),
        reject_family,
        trials=8_000,
        says="p, corrected",
    ),
    Promise(
        ("find_step",),
        "Pettitt's test of a step in a series",
        "history: where a step time moved",
        "runs",
        list_conditions((8, 14, 30), PLAIN) + list_conditions((14, 30), (NORMAL,), (0.3, 0.5, 0.8), promised=False),
        reject_step,
        trials=4_000,
        says="moved near",
    ),
    Promise(
        ("fit_line", "fit_exponent"),
        "Student's t of a regression",
        "exponents of speed scaling",
        "points",
        list_conditions((3, 5, 8, 14), PLAIN),
        miss_exponent,
        trials=8_000,
    ),
    Promise(
        ("fit_correlated_line",),
        "the rule by which a gradient is called exploding",
        "diagnoses",
        "time steps",
        list_conditions((21, 51, 201), PLAIN, CORRELATIONS),
        call_exploding,
        trials=4_000,
        says="exploding",
    ),
    Promise(
        ("source_gain",),
        "the ratio estimator's interval",
        "the source gain of one trained network on translation",
        "sentences",
        list_conditions((156, 400), PLAIN),
        miss_gain,
        trials=4_000,
    ),
)
