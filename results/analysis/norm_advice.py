"""Which clip thresholds recorded gradient norms suggest: rule of thumb, quantiles, and what each would clip."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from farreach.results.analysis.gradient_norms import QUANTILES, cut_divergence
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, CLIP, LEARNER, SETTING
from farreach.results.analysis.threshold_advice import THUMB


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A threshold that the norms suggest.

    Attributes:
        threshold: its value.
        quantile: of the norms, that it is; None for an end of the rule of thumb.
        times: the average norm that it is, for an end of the rule of thumb; else None.
        fraction: the share of the recorded steps whose norm was above it.

    """

    threshold: float
    quantile: float | None
    times: float | None
    fraction: float


@dataclasses.dataclass(frozen=True)
class NormAdvice:
    """What the norms before the clip of the runs of one line suggest.

    Attributes:
        setting, cell, learner, clip: the labels of the runs.
        kind: of their clip.
        runs: how many there are.
        steps: how many steps they have, up to a divergence.
        average: the average norm.
        candidates: thresholds, ascending; none where no norm is above 0.

    """

    setting: str
    cell: str
    learner: str
    clip: str
    kind: str
    runs: int
    steps: int
    average: float
    candidates: tuple[Candidate, ...]


def advise_norms(rows: Rows, curves: Callable[[str], pd.DataFrame]) -> list[NormAdvice]:
    """Return what the recorded norms of each line of a result set suggest; `curves` maps a key to its curves."""
    found = []
    for (setting, cell, clip, learner), part in rows.frame.groupby(
        [SETTING, CELL, CLIP, LEARNER], observed=True, sort=False
    ):
        norms = np.concatenate([cut_divergence(curves(str(key))) for key in part["key"]])
        labels = (str(setting), str(cell), str(learner), str(clip), str(part["clip"].iloc[0]))
        average = float(norms.mean()) if len(norms) else math.nan
        found.append(NormAdvice(*labels, len(part), len(norms), average, list_candidates(norms)))
    return found


def list_candidates(norms: np.ndarray) -> tuple[Candidate, ...]:
    """Return the quantiles of some norms and the ends of the rule of thumb, each with what it would clip."""
    if not len(norms) or not norms.max() > 0:
        return ()
    average = float(norms.mean())
    points: list[tuple[float, float | None, float | None]] = [
        (float(at), quantile, None) for quantile, at in zip(QUANTILES, np.quantile(norms, QUANTILES), strict=True)
    ]
    points += [(times * average, None, times) for times in THUMB]
    found = [Candidate(at, quantile, times, float((norms > at).mean())) for at, quantile, times in points if at > 0]
    return tuple(sorted(found, key=lambda one: one.threshold))
