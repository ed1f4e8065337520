"""How cost grows: exponents of step time and peak memory along the time steps, the hidden units and the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from farreach.results.analysis import statistics
from farreach.results.analysis.selection import sort_words
from farreach.results.vocabulary import CELLS, FRAMEWORKS

AXES = ("T", "hidden", "batch")
"""What a suite varies, one at a time: time steps of a sequence, hidden units, sequences per step."""

NAMES = {"T": "time steps T", "hidden": "hidden units", "batch": "batch (sequences per step)"}
"""How the axes are labelled."""

LINE = ["axis", "cell", "framework", "path"]
"""What the points of one curve share."""

COSTS = {"step time": "seconds", "peak memory": "peak_memory_bytes"}
"""The costs, and the columns of `fit_exponents`' argument that hold them: seconds per step, and bytes."""

POINTS = [*LINE, "value", "cost", "middle", "ran"]
EXPONENTS = [*LINE, "cost", "points", "from", "to", "exponent", "low", "high", "local exponent"]
EXPONENTS += ["largest deviation", "paths"]

FEWEST = 3
"""A line through fewer points has no interval."""


def list_points(table: pd.DataFrame) -> pd.DataFrame:
    """Return one line for each curve, value and cost: ``middle``, in seconds a step or in bytes, and the path that ran.

    Args:
        table: columns framework, path, cell, axis, value, seconds and peak_memory_bytes, and ``ran`` where a curve's
            points ran by several paths. ``seconds`` is a number, or
            an array with one per round. Several rows of one value are several launches: the middle is the median over
            launches of the median over rounds. Memory that is there before the first step, libraries and weights,
            flattens its exponent as any fixed part does. A cost that is missing, not finite or not positive leaves its
            point out.

    """
    frame = table.assign(ran=table["ran" if "ran" in table else "path"].astype(str))
    frame["value"] = pd.to_numeric(frame["value"]).astype(float)
    parts = []
    for cost, column in COSTS.items():
        part = frame.assign(cost=cost, middle=[_take_median(given) for given in frame[column]])
        parts.append(part[part["middle"] > 0])  # a NaN is not greater than 0 either
    costs = pd.concat(parts, ignore_index=True)
    for column, first in (("axis", AXES), ("cell", CELLS), ("framework", FRAMEWORKS), ("cost", COSTS)):
        names = costs[column].astype(str)
        words = sort_words(names, first) if column != "cost" else list(first)
        costs[column] = pd.Categorical(names, words, ordered=True)
    keys = [*LINE, "value", "cost"]
    each = costs.groupby(keys, observed=True)
    return each.agg(middle=("middle", "median"), ran=("ran", _join_paths)).reset_index()[POINTS]


def fit_exponents(table: pd.DataFrame) -> pd.DataFrame:
    """Return the fitted exponent of each curve and cost; the argument is that of `list_points`.

    log(cost) = a + b log(value) by least squares over the values, each counted once; ``exponent`` is b, ``low`` and
    ``high`` its 95 % interval, Student's t of the regression with n - 2 degrees of freedom. Resampling the rounds
    instead would say only how well each point is known. That is far better than the points lie on a line: a step costs
    a fixed part and a part that grows, products get faster as they get larger, and what outgrows a cache gets slower.
    These departures are what makes one exponent uncertain, and they are the regression's residuals. They are no
    independent draws, though: read the interval as how well a power law describes this range, not as a promise beyond
    it. Two points or one have an exponent (or none) and no interval.

    ``local exponent`` is the slope of the last octave: between the largest value and the largest that is at most half
    of it. Where it differs from the exponent, it is nearer to what more of the same will cost. ``largest deviation``
    is the largest factor between a point and the line, in either direction. ``paths`` says by which path each stretch
    of the values ran: where it changes, so may the cost, memory above all, and the exponent is of no one path.
    """
    lines = []
    for (*curve, cost), group in list_points(table).groupby([*LINE, "cost"], observed=True):
        value, middle = group["value"].to_numpy(float), group["middle"].to_numpy(float)
        figures = [len(value), value.min(), value.max(), *fit_exponent(value, middle)]
        figures += [measure_last_octave(value, middle), measure_deviation(value, middle)]
        lines.append([*curve, cost, *figures, describe_stretches(group)])
    return pd.DataFrame(lines, columns=EXPONENTS)


def describe_stretches(group: pd.DataFrame) -> str:
    """Return the path by which a curve's points ran, or those of its stretches, in the order of the values."""
    ran = group["ran"]
    if (ran == ran.iloc[0]).all():
        return str(ran.iloc[0])
    parts = [part for _, part in group.groupby((ran != ran.shift()).cumsum())]
    return ", ".join(f"{part['ran'].iloc[0]} {_write_span(part['value'])}" for part in parts)


def find_other_paths(group: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which points of a curve ran by another path than most of it."""
    return np.asarray(group["ran"] != group["ran"].mode().iloc[0]) if len(group) else np.zeros(0, bool)


def _write_span(values: pd.Series[float]) -> str:
    first, last = values.iloc[0], values.iloc[-1]
    return f"at {first:g}" if first == last else f"{first:g} to {last:g}"


def _join_paths(paths: pd.Series[str]) -> str:
    return " and ".join(sorted(set(paths)))


def fit_exponent(value: NDArray[Any], cost: NDArray[Any]) -> tuple[float, float, float]:
    """Return the exponent b of cost = e^a value^b and its interval; NaN where the points do not give it."""
    missing = float("nan")
    if len(value) < 2:  # noqa: PLR2004 - a slope needs two points
        return missing, missing, missing
    line = statistics.fit_line(np.log(value), np.log(cost))
    half = float(statistics.compute_t_quantile(len(value) - 2)) * line.error if len(value) >= FEWEST else missing
    return line.slope, line.slope - half, line.slope + half


def measure_last_octave(value: NDArray[Any], cost: NDArray[Any]) -> float:
    """Return the slope of log(cost) over the last octave, NaN where there is none; the values in order."""
    before = np.flatnonzero(value <= value[-1] / 2)
    if not len(before):
        return float("nan")
    at = before[-1]
    return float(np.log(cost[-1] / cost[at]) / np.log(value[-1] / value[at]))


def measure_deviation(value: NDArray[Any], cost: NDArray[Any]) -> float:
    """Return the largest factor, at least 1, between a cost and the fitted line; NaN for fewer points than `FEWEST`."""
    if len(value) < FEWEST:
        return float("nan")
    return float(np.exp(np.abs(np.log(cost) - np.log(predict_costs(value, cost, value))).max()))


def predict_costs(value: NDArray[Any], cost: NDArray[Any], at: NDArray[Any]) -> NDArray[Any]:
    """Return the fitted power law at the values `at`."""
    line = statistics.fit_line(np.log(value), np.log(cost))
    return np.asarray(np.exp(line.intercept + line.slope * np.log(at)))


def _take_median(given: object) -> float:
    """Return the median of a number or of an array, NaN where it is empty or holds what is not finite."""
    numbers = np.atleast_1d(np.asarray(given, dtype=float))
    return float(np.median(numbers)) if len(numbers) and np.isfinite(numbers).all() else float("nan")
