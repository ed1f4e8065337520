"""How far the gradient reaches: figures derived from the norms of dL/dh_t over the steps of a sequence.

The probe's loss counts the last scored group alone, which starts at step `before` (from 0). What is asked is
how much of the gradient at that step is left in the steps before it, going back in time.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from farreach.results.analysis import statistics
from farreach.results.record import INPUT, POINTS

LEFT = 0.01
"""A step is reached while the norm there is at least this share of the norm at the group's first step."""

FEWEST = 5
"""A growth rate over fewer steps has no interval worth the name."""


@dataclasses.dataclass(frozen=True)
class Growth:
    """By how much the gradient's norm grows a step back in time.

    Attributes:
        rate: change of ln norm a step back; minus the slope of ln norm against t. Below 0 it vanishes.
        low: lower end of its 95 % interval.
        high: upper end.

    """

    rate: float
    low: float
    high: float


def compute_half_lives(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the half-life of each rate of growth, in steps; infinite where the norm does not fall."""
    found = np.full(len(rates), math.inf)
    np.divide(math.log(2), -rates, out=found, where=rates < 0)
    return found


def measure_reach(norms: NDArray[Any], before: int) -> float | None:
    """Return the share of the steps before the group that the gradient reaches without a break, 0 to 1.

    A step is reached where the norm is at least `LEFT` of its value at step `before`. None where there are no such
    steps, where there is no gradient at the group's first step, or where a norm is not finite.
    """
    if before == 0 or not np.isfinite(norms[: before + 1]).all() or norms[before] == 0:
        return None
    lost = norms[:before][::-1] < LEFT * norms[before]
    return float(np.argmax(lost)) / before if lost.any() else 1.0


def fit_growth(norms: NDArray[Any], before: int) -> Growth | None:
    """Return the growth rate a step back in time over the steps up to the group's first, with its interval.

    Least squares of ln norm against t; neighbouring norms are alike, so the standard error is that of Newey and
    West (Econometrica 55, 1987). Norms of exactly 0 have no logarithm and are left out; None where fewer than
    `FEWEST` steps are left.
    """
    part = norms[: before + 1]
    used = np.isfinite(part) & (part > 0)
    if used.sum() < FEWEST:
        return None
    line = statistics.fit_correlated_line(np.flatnonzero(used).astype(float), np.log(part[used]))
    half = float(statistics.compute_t_quantile(used.sum() - 2)) * line.error
    return Growth(-line.slope, -line.slope - half, -line.slope + half)


def find_points(steps: list[int]) -> dict[str, int]:
    """Return which of the probed training steps stand for start, middle and end; nothing where none was probed."""
    if not steps:
        return {}
    ends = min(steps), max(steps)
    middle = min(steps, key=lambda step: abs(step - sum(ends) / 2))
    return dict(zip(POINTS, (ends[0], middle, ends[1]), strict=True))


def summarise_flow(seen: pd.DataFrame, before: int) -> dict[str, float | None]:
    """Return what a record keeps of a flow, for the first layer, the one nearest to the input.

    ``reach_start``, ``cell_reach_start`` (lstm: of dL/dc_t), ``input_reach_start`` (of dL/dx_t of the model's input,
    which older flows lack), ``growth_start`` with ``_low`` and ``_high``, and the same for ``middle`` and ``end``. None
    where there is no flow, or no answer.
    """
    first = seen[seen["layer"] == 0] if len(seen) else seen
    points = find_points(sorted(set(first["step"]))) if len(seen) else {}
    found: dict[str, float | None] = {}
    for point in POINTS:
        part = first[first["step"] == points[point]].sort_values("time") if points else first
        h, c, x = (part[name].to_numpy(float) if points and name in part else np.empty(0) for name in ("h", "c", INPUT))
        grown = fit_growth(h, before) if len(h) else None
        found |= {
            f"reach_{point}": measure_reach(h, before) if len(h) else None,
            f"cell_reach_{point}": measure_reach(c, before) if len(c) and not np.isnan(c).all() else None,
            f"input_reach_{point}": measure_reach(x, before) if len(x) and not np.isnan(x).all() else None,
            f"growth_{point}": None if grown is None else grown.rate,
            f"growth_{point}_low": None if grown is None else grown.low,
            f"growth_{point}_high": None if grown is None else grown.high,
        }
    return found
