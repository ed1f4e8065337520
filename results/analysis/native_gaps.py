"""How much of the native gap between two frameworks their own defaults explain: one share a pair, over all cases."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from farreach.results.analysis import statistics
from farreach.results.analysis.matched_native import (
    LOWEST,
    SEEDS,
    join_four,
    list_units,
    pair_modes,
)
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import PLACE, restore_order
from farreach.results.vocabulary import MATCHED, NATIVE, NONE

CHANCE = 0.5
"""The share of units whose native gap is the larger where the defaults do nothing that another seed would not."""


class Explanation(enum.Enum):
    """What the defaults explain of a native gap, as far as its interval carries it."""

    NO_GAP = enum.auto()
    ONE_SEED = enum.auto()
    FEW_UNITS = enum.auto()
    SOME = enum.auto()
    LITTLE = enum.auto()
    INCONCLUSIVE = enum.auto()


@dataclasses.dataclass(frozen=True)
class GapShare:
    """How much of the native gap between two frameworks their defaults explain, pooled over cases.

    Attributes:
        first, second: the frameworks.
        cases: settings, cells and clips that have both frameworks, both modes, and no diverged run.
        units: settings and cells among them, which are what is resampled: their clips share data and weights.
        matched, native: root of the mean squared gap in skill, same seed on both sides.
        seed: the same between two seeds of one framework in native; None where there is one seed alone.
        share: 1 - max(matched², seed²) / native²; None where it cannot be had. A ratio of mean squares over so few
            units has no interval that holds: it is judged by `larger`.
        larger: units whose mean squared native gap exceeds both the matched one and another seed's.

    """

    first: str
    second: str
    cases: int
    units: int
    matched: float
    native: float
    seed: float | None
    share: float | None
    larger: int

    @property
    def interval(self) -> statistics.Interval:
        """The 95 % interval of the share of units in `larger`."""
        return statistics.bound_share(self.larger, self.units)

    @property
    def explanation(self) -> Explanation:
        """What the defaults explain of the gap."""
        if self.native == 0:
            return Explanation.NO_GAP
        if self.share is None:
            return Explanation.ONE_SEED
        if self.units < statistics.FEWEST_PAIRS:
            return Explanation.FEW_UNITS
        if self.interval.lies_above(CHANCE):
            return Explanation.SOME
        return Explanation.LITTLE if self.interval.high < CHANCE else Explanation.INCONCLUSIVE


def explain_gaps(rows: Rows) -> list[GapShare]:
    """Return for each pair of frameworks the share of their native gap that the defaults explain."""
    squares: dict[tuple[str, str], list[dict[str, Any]]] = {}
    both = pair_modes(rows)
    # A clip that never clipped is the case without clipping once more, and no evidence of its own.
    idle = both.groupby(PLACE, observed=True)[["clip_fraction", "clip_fraction native"]].transform("max")
    for place, first, second, four in join_four(both[(both["clip"] == NONE) | (idle.max(axis="columns") > 0)]):
        if four.isna().any(axis=None):
            continue
        skills = four.clip(lower=LOWEST)
        line: dict[str, Any] = {
            mode: float(((skills[f"{mode} a"] - skills[f"{mode} b"]) ** 2).mean()) for mode in SEEDS
        }
        others = [
            (one - other) ** 2 for who in "ab" for one, other in itertools.combinations(skills[f"native {who}"], 2)
        ]
        line["seed"] = float(np.mean(others)) if others else math.nan
        line |= place
        squares.setdefault((first[0], second[0]), []).append(line)
    tables = {names: restore_order(pd.DataFrame(lines), rows.frame) for names, lines in squares.items()}
    return [_pool(first, second, lines) for (first, second), lines in tables.items()]


def _pool(first: str, second: str, lines: pd.DataFrame) -> GapShare:
    units = lines.groupby(list_units(lines), observed=True)[[MATCHED, NATIVE, "seed"]].mean()
    samples: tuple[NDArray[Any], ...] = tuple(units[name].to_numpy(float) for name in (MATCHED, NATIVE, "seed"))
    matched, native, seed = (float(sample.mean()) for sample in samples)
    known = native > 0 and not math.isnan(seed)
    return GapShare(
        first,
        second,
        cases=len(lines),
        units=len(units),
        matched=math.sqrt(matched),
        native=math.sqrt(native),
        seed=None if math.isnan(seed) else math.sqrt(seed),
        share=1 - max(matched, seed) / native if known else None,
        larger=int((samples[1] > np.fmax(samples[0], samples[2])).sum()),
    )
