"""How much of the native gap between two frameworks their own defaults explain: one share a pair, over all cases."""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import seeds, statistics
from farreach.results.analysis.matched_native import LOWEST, SEEDS, join_four, pair_modes
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, PLACE, SETTING
from farreach.results.vocabulary import MATCHED, NATIVE, NONE

LITTLE = 0.1
"""A share of the gap whose whole interval lies below this is called next to nothing."""

FEWEST = 12
"""Seeds below which a share has no interval: two draws of weights give one value of it, and six values an interval."""


class Explanation(enum.Enum):
    """What the defaults explain of a native gap, as far as its interval carries it."""

    NO_GAP = enum.auto()
    ONE_SEED = enum.auto()
    FEW_SEEDS = enum.auto()
    SOME = enum.auto()
    LITTLE = enum.auto()
    INCONCLUSIVE = enum.auto()


@dataclasses.dataclass(frozen=True)
class GapShare:
    """How much of the native gap between two frameworks their defaults explain, pooled over cases.

    Attributes:
        first, second: the frameworks.
        cases: settings, cells and clips that have both frameworks, both modes, and no diverged run.
        seeds: how many seeds.
        matched, native: root of the mean squared gap in skill, same seed on both sides.
        seed: the same between two seeds of one framework in native; None where there is one seed alone.
        share: 1 - max(matched², seed²) / native²: the median over pairs of seeds that share none; None without a pair.
        low, high: its 95 % interval, NaN below `FEWEST` seeds.

    """

    first: str
    second: str
    cases: int
    seeds: int
    matched: float
    native: float
    seed: float | None
    share: float | None
    low: float
    high: float

    @property
    def explanation(self) -> Explanation:
        """What the defaults explain of the gap."""
        if self.native == 0:
            return Explanation.NO_GAP
        if self.share is None:
            return Explanation.ONE_SEED
        if math.isnan(self.low):
            return Explanation.FEW_SEEDS
        if self.low > 0:
            return Explanation.SOME
        return Explanation.LITTLE if self.high < LITTLE else Explanation.INCONCLUSIVE


def explain_gaps(rows: Rows) -> list[GapShare]:
    """Return for each pair of frameworks the share of their native gap that the defaults explain."""
    skills: dict[tuple[str, str], list[pd.DataFrame]] = {}
    both = pair_modes(rows)
    # A clip that never clipped is the case without clipping once more, and no evidence of its own.
    idle = both.groupby(PLACE, observed=True)[["clip_fraction", "clip_fraction native"]].transform("max")
    for place, first, second, four in join_four(both[(both["clip"] == NONE) | (idle.max(axis="columns") > 0)]):
        if not four.isna().any(axis=None):
            unit = {name: str(place[name]) for name in PLACE}
            skills.setdefault((first[0], second[0]), []).append(four.clip(lower=LOWEST).assign(**unit).reset_index())
    return [_pool(first, second, pd.concat(parts)) for (first, second), parts in skills.items()]


def _pool(first: str, second: str, lines: pd.DataFrame) -> GapShare:
    """Return the share of a pair; `lines` has the four skills of each setting, cell, clip and seed."""
    names = sorted(lines["seed"].unique())
    gaps = lines.assign(**{mode: (lines[f"{mode} a"] - lines[f"{mode} b"]) ** 2 for mode in SEEDS})
    squares = {mode: seeds.average_by_seed(_average_units(gaps, mode), mode) for mode in SEEDS}
    shares, others = [], []
    for one, other in zip(names[::2], names[1::2], strict=False):
        another = _compare_seeds(lines, one, other)
        if math.isnan(another):
            continue
        matched, native = (float(squares[mode][[one, other]].mean()) for mode in (MATCHED, NATIVE))
        others.append(another)
        shares += [1 - max(matched, another) / native] if native else []
    low, high = statistics.bound_median(shares)
    return GapShare(
        first,
        second,
        cases=len(lines.drop_duplicates(PLACE)),
        seeds=len(names),
        matched=math.sqrt(squares[MATCHED].mean()),
        native=math.sqrt(squares[NATIVE].mean()),
        seed=math.sqrt(np.mean(others)) if others else None,
        share=float(np.median(shares)) if shares else None,
        low=low,
        high=high,
    )


def _average_units(lines: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the mean of a column over the clips of each setting, cell and seed, which weigh alike."""
    return lines.groupby([SETTING, CELL, "seed"], sort=False)[column].mean().reset_index()


def _compare_seeds(lines: pd.DataFrame, one: Any, other: Any) -> float:
    """Return the mean squared gap in native skill between two seeds of one framework, over all settings and cells."""
    two = [lines[lines["seed"] == seed].set_index(PLACE) for seed in (one, other)]
    squares = pd.concat([(two[0][f"native {side}"] - two[1][f"native {side}"]) ** 2 for side in "ab"]).dropna()
    return float(squares.groupby(level=[SETTING, CELL], sort=False).mean().mean())
