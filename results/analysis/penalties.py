"""Does a penalty bound the gradient? What L1, L2 and Omega did to its largest norm, beside no penalty.

The largest norm of a run that diverged counts as infinite. Over the seeds of each penalty it is compared with that of
no penalty by the exact rank test of Mann and Whitney, and the seeds that diverged by Fisher's exact test; both are
two-sided and corrected for the penalties that were tried (Holm). With fewer than five seeds nothing is tested.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import pandas as pd

from farreach.results.analysis import seeds, statistics
from farreach.results.analysis.labels import label_recipe
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, CLIP, FURTHER, NAMED, RECIPE, SETTING, number_places
from farreach.results.vocabulary import FEWEST_SEEDS, NONE

LEVEL = 0.05

Change = Literal["smaller", "larger", "unclear", "listed"]
"""What a penalty did to the largest norm: shown to be smaller or larger, not told apart, or not tested."""


@dataclasses.dataclass(frozen=True)
class PenaltyCount:
    """What the seeds of one penalty gave.

    Attributes:
        kind, strength: the penalty; ``none`` and no strength for none.
        largest: of each seed the largest gradient norm before the clip; infinite where it diverged.
        diverged: how many seeds diverged.
        solved: how many solved the task; None without a criterion.
        p_norm, p_diverged: corrected p of the tests against no penalty; None where there is none.

    """

    kind: str
    strength: float | None
    largest: tuple[float, ...]
    diverged: int
    solved: int | None
    p_norm: float | None = None
    p_diverged: float | None = None

    @property
    def seeds(self) -> int:
        """How many seeds ran."""
        return len(self.largest)

    @property
    def median(self) -> float:
        """The median over seeds of the largest norm."""
        return float(np.median(self.largest))


@dataclasses.dataclass(frozen=True)
class PenaltyVerdict:
    """The penalties that ran at one setting, cell and clip, beside no penalty.

    Attributes:
        task, parameters, recipe: where: the recipe as text.
        cell, clip, clip_label: likewise.
        plain: no penalty.
        penalties: the others, in their order.

    """

    task: str
    parameters: str
    recipe: str
    cell: str
    clip: str
    clip_label: str
    plain: PenaltyCount
    penalties: tuple[PenaltyCount, ...]

    @property
    def explodes(self) -> bool:
        """Whether some seed diverged without a penalty."""
        return self.plain.diverged > 0

    def find_change(self, one: PenaltyCount) -> Change:
        """Return what a penalty did to the largest norm."""
        if one.p_norm is None:
            return "listed"
        if one.p_norm >= LEVEL:
            return "unclear"
        ranks = pd.Series([*self.plain.largest, *one.largest]).rank()
        return "smaller" if ranks[self.plain.seeds :].mean() < ranks.mean() else "larger"

    def is_bound(self, one: PenaltyCount) -> bool:
        """Whether a penalty bounds a gradient that explodes without: no seed diverges, which the test tells apart."""
        return self.explodes and not one.diverged and one.p_diverged is not None and one.p_diverged < LEVEL


def judge_penalties(rows: Rows) -> list[PenaltyVerdict]:
    """Return a verdict for each setting, cell and clip that ran with a penalty and without."""
    frame = rows.counted.frame
    if "regulariser" not in frame or not (frame["regulariser"] != NONE).any():
        return []
    facts = [name for name in (*NAMED, *RECIPE, *FURTHER) if name in frame and name not in {"regulariser", "strength"}]
    places = number_places(frame, [*facts, CELL, CLIP])
    found = [_judge(part) for _, part in frame.groupby(places, sort=False)]
    verdicts = [one for one in found if one is not None]
    return sorted(verdicts, key=lambda one: not one.explodes)


def _judge(part: pd.DataFrame) -> PenaltyVerdict | None:
    counts = [_count(group) for _, group in part.groupby(SETTING, observed=True)]
    plain = next((one for one in counts if one.kind == NONE), None)
    others = [one for one in counts if one.kind != NONE]
    if plain is None or not others:
        return None
    first = part.iloc[0]
    return PenaltyVerdict(
        task=str(first["task"]),
        parameters=str(first["parameters"]),
        recipe=label_recipe(first.to_dict()),
        cell=str(first[CELL]),
        clip=str(first["clip"]),
        clip_label=str(first[CLIP]),
        plain=plain,
        penalties=_test(plain, others),
    )


def _count(group: pd.DataFrame) -> PenaltyCount:
    torn = group["status"] == "diverged"
    norms = group["norm_before_max"].astype(float).where(~torn, math.inf)
    largest = group.assign(largest=norms).groupby("seed")["largest"].max()
    strength = group["strength"].iloc[0]
    return PenaltyCount(
        kind=str(group["regulariser"].iloc[0]),
        strength=None if pd.isna(strength) else float(strength),
        largest=tuple(map(float, largest)),
        diverged=int(torn.groupby(group["seed"]).any().sum()),
        solved=None if group["solved"].isna().all() else int(seeds.hold_by_seed(group, "solved").sum()),
    )


def _test(plain: PenaltyCount, others: list[PenaltyCount]) -> tuple[PenaltyCount, ...]:
    """Return the penalties with the p-values of their tests against none, corrected for their number."""
    norms, torn = np.full(len(others), np.nan), np.full(len(others), np.nan)
    for at, one in enumerate(others):
        if min(one.seeds, plain.seeds) >= FEWEST_SEEDS:
            norms[at] = statistics.compare_ranks_exactly(one.largest, plain.largest)
            torn[at] = statistics.compare_counts(one.diverged, one.seeds, plain.diverged, plain.seeds)
    p = zip(others, *(statistics.correct_p_values(one).tolist() for one in (norms, torn)), strict=True)
    return tuple(one if math.isnan(first) else dataclasses.replace(one, p_norm=first, p_diverged=second)
                 for one, first, second in p)  # fmt: skip
