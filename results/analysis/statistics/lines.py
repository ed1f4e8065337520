"""Straight lines by least squares, with the standard error of the slope."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from numpy.typing import NDArray


class Line(NamedTuple):
    """A straight line by least squares: y = intercept + slope x; `error` is the standard error of the slope."""

    slope: float
    intercept: float
    error: float


def fit_line(x: NDArray[Any], y: NDArray[Any]) -> Line:
    """Fit a line by least squares; the standard error is that of independent residuals, NaN for two points."""
    away = x - x.mean()
    slope = float((away * (y - y.mean())).sum() / (away**2).sum())
    intercept = float(y.mean() - slope * x.mean())
    freedom = len(x) - 2
    residuals = y - (intercept + slope * x)
    error = math.sqrt((residuals**2).sum() / freedom / (away**2).sum()) if freedom else math.nan
    return Line(slope, intercept, error)


def fit_correlated_line(x: NDArray[Any], y: NDArray[Any]) -> Line:
    """Fit a line by least squares where neighbouring residuals are alike.

    The standard error is that of Newey and West (Econometrica 55, 1987), with the cube root of n lags.
    """
    away = x - x.mean()
    slope = float(away @ y / (away @ away))
    scores = away * (y - y.mean() - slope * away)
    lags = min(len(x) - 1, math.ceil(len(x) ** (1 / 3)))
    weights = [1 - lag / (lags + 1) for lag in range(1, lags + 1)]
    variance = scores @ scores + 2 * sum(w * (scores[k:] @ scores[:-k]) for k, w in enumerate(weights, start=1))
    error = math.sqrt(max(variance, 0.0)) / (away @ away) * math.sqrt(len(x) / (len(x) - 2))
    return Line(slope, float(y.mean() - slope * x.mean()), error)
