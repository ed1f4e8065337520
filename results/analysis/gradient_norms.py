"""The observed gradient norms of training without a clip, and the grid of thresholds that they suggest."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Norms = NDArray[np.float64]

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99, 0.999)

MOST = 9
"""A threshold grid has at most this many points, and at least `FEWEST`."""

FEWEST = 4

OUTBURST = 100
"""Norms beyond this many times the median are an explosion under way, and no place for a threshold."""


def cut_divergence(curves: pd.DataFrame) -> Norms:
    """Return the norms before the clip of one case, up to the step at which it diverged.

    Args:
        curves: the case's per-step curves, with `norm_before` and `loss`.

    """
    norms = curves["norm_before"].to_numpy(np.float64)
    finite = np.isfinite(norms) & np.isfinite(curves["loss"].to_numpy(np.float64))
    return norms if finite.all() else norms[: int(np.argmin(finite))]


def summarise_norms(runs: Iterable[Norms]) -> dict[str, float]:
    """Return how many steps the runs have together, their average norm, `QUANTILES` and the largest.

    Every step counts once, so that a run which diverged early weighs little. NaN where no step is left.
    """
    steps = np.concatenate([*runs, np.empty(0)])
    names = [f"{100 * at:g} %" for at in QUANTILES]
    if not len(steps):
        return {"steps": 0} | dict.fromkeys(["average", *names, "largest"], math.nan)
    with np.errstate(over="ignore"):
        average = float(steps.mean())
    found = dict(zip(names, np.quantile(steps, QUANTILES).tolist(), strict=True))
    return {"steps": len(steps), "average": average, **found, "largest": float(steps.max())}


def make_grid(runs: Iterable[Norms], *, scale: float = 1.0, head: float = 1.0) -> tuple[float, ...]:
    """Return thresholds from small to large, out of ... 0.01, 0.03, 0.1, 0.3, 1 ..., that span the norms.

    The smallest lies at or below their 1st percentile, so that nearly every step is clipped; the largest at or above
    their 99.9th (or `OUTBURST` times the median, if that is less), so that nearly none is. Where that would be more
    than `MOST`, every second or third of the series is taken. Round numbers make it likely that another seed, or
    another machine, tries the same thresholds.

    Args:
        runs: the norms of each run without a clip, in any order.
        scale: what a norm is multiplied by; for a clip by value, 1 / sqrt(number of weights), which makes it the root
            mean square of an element.
        head: how many times larger the largest point should be; for a clip by value the largest elements are well
            above the root mean square.

    Returns:
        4 to 9 thresholds; an empty tuple where the norms hold nothing positive and finite.

    """
    steps = np.concatenate([*runs, np.empty(0)])
    steps = steps[np.isfinite(steps) & (steps > 0)] * scale
    if not len(steps):
        return ()
    low, middle, high = np.quantile(steps, [0.01, 0.5, 0.999])
    top = max(low, min(high, OUTBURST * middle)) * head
    first, last = math.floor(_find_place(low)), math.ceil(_find_place(top))
    first = min(first, last - FEWEST + 1)
    stride = -(-(last - first) // (MOST - 1))
    return tuple(_get_threshold(at) for at in range(first, last + stride, stride))


def _find_place(value: float) -> float:
    """Return the place of a value in the series 0.1, 0.3, 1, 3 ..., between two points a fraction."""
    decade = math.floor(math.log10(value))
    mantissa = value / 10.0**decade
    part = math.log(mantissa, 3) if mantissa <= 3 else 1 + math.log(mantissa / 3, 10 / 3)  # noqa: PLR2004
    return round(2 * decade + part, 9)  # 0.3 is a point, and not a trifle below one


def _get_threshold(at: int) -> float:
    decade, half = divmod(at, 2)
    return float(f"{3 if half else 1}e{decade}")
