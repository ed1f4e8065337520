"""Do the frameworks agree? The gap between two of them beside the gap between copies of one.

A copy is the same case with its hidden units renumbered: the same mathematics, so that its
distance from the original is what rounding alone does over the run. Two frameworks agree where
they are no further apart than that.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
from scipy import stats

from results.cases import CASE, CELL, CLIP, LEARNER, SETTING, clipped, labelled

COLUMNS = [
    *("setting", "cell", "clip", "clipped", "seed", "framework a", "framework b", "skill a", "skill b"),
    *("gap frameworks", "gap copies", "copies", "copies of"),
]
FEWEST = 5
"""A one-sided signed-rank test on fewer differences cannot fall below p = .05, whatever they are."""

LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How two frameworks compare with renumbered copies over all cases that have both.

    Gaps are absolute differences of skill; infinite where one of two diverged and the other did not.
    """

    first: str
    second: str
    cases: int
    median_frameworks: float
    median_copies: float
    max_frameworks: float
    max_copies: float
    p: float | None  # of "further apart than copies"; None where too few gaps differ for the test

    @property
    def apart(self) -> bool | None:
        """Whether the frameworks are further apart than copies; None where the test cannot say."""
        return None if self.p is None else self.p < LEVEL


def agreement(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one line for each case and pair of frameworks that has a copy, worst first.

    ``gap frameworks`` is |skill a - skill b|; ``gap copies`` is |skill - skill of its copy|, the
    mean over all copies of the case, whichever framework's they are (``copies of``). Two diverged
    runs have the gap 0; a diverged run and one that is not have an infinite one.
    """
    frame = labelled(rows)
    frame = frame[frame["mode"] == "matched"]
    # A clip that never clipped is the case without clipping once more, and no evidence of its own.
    frame = frame[(frame["clip"] == "none") | (frame["clip_fraction"] > 0)]
    same = [name for name in CASE if name not in {"framework", "path", "renumbering"} and name in frame]
    copied = (
        frame.assign(copy=frame["renumbering"] > 0).groupby(same, dropna=False, sort=False)["copy"].transform("any")
    )
    needed = [*same, "framework", "renumbering", "skill", "clip_fraction", SETTING, CELL, CLIP, LEARNER]
    frame = frame.loc[copied, needed]
    lines = []
    for _, case in frame.groupby(same, dropna=False, sort=False):
        drawn = case[case["renumbering"] == 0]
        copies = case[case["renumbering"] > 0].merge(drawn[[LEARNER, "skill"]], on=LEARNER, suffixes=("", " drawn"))
        if copies.empty:
            continue
        own = [gap(a, b) for a, b in zip(copies["skill drawn"], copies["skill"], strict=True)]
        for (_, a), (_, b) in itertools.combinations(drawn.sort_values(LEARNER).iterrows(), 2):
            if a["framework"] == b["framework"]:
                continue
            fraction = (a["clip_fraction"] + b["clip_fraction"]) / 2
            head = [a[SETTING], a[CELL], a[CLIP], clipped(a[CLIP], fraction), a["seed"], a[LEARNER], b[LEARNER]]
            gaps = [gap(a["skill"], b["skill"]), float(np.mean(own)), len(own), ", ".join(sorted(set(copies[LEARNER])))]
            lines.append(dict(zip(COLUMNS, [*head, a["skill"], b["skill"], *gaps], strict=True)))
    table = pd.DataFrame(lines, columns=COLUMNS)
    return table.sort_values(
        ["gap frameworks", *COLUMNS[:3], "seed", "framework a", "framework b"],
        ascending=[False, *[True] * 6],
        ignore_index=True,
    )


def verdicts(table: pd.DataFrame) -> list[Verdict]:
    """Return a verdict for each pair of frameworks in the table of `agreement`."""
    found = []
    for (first, second), part in table.groupby(["framework a", "framework b"]):
        frameworks, copies = (part[name].to_numpy(float) for name in ("gap frameworks", "gap copies"))
        found.append(
            Verdict(
                first=str(first),
                second=str(second),
                cases=len(part),
                median_frameworks=float(np.median(frameworks)),
                median_copies=float(np.median(copies)),
                max_frameworks=float(frameworks.max()),
                max_copies=float(copies.max()),
                p=further(frameworks, copies),
            )
        )
    return found


def further(frameworks: np.ndarray, copies: np.ndarray) -> float | None:
    """Return p of the one-sided Wilcoxon signed-rank test that `frameworks` exceed `copies`.

    1 where no gap differs; None where fewer than `FEWEST` do. An infinite gap ranks above every
    finite one and ties with another infinite one: ranks are all that the test looks at.
    """
    finite = np.concatenate([frameworks, copies])
    far = 2 * max(finite[np.isfinite(finite)], default=0.0) + 1
    differences = np.minimum(frameworks, far) - np.minimum(copies, far)
    differing = differences[differences != 0]
    if not len(differing):
        return 1.0
    if len(differing) < FEWEST:
        return None
    return float(stats.wilcoxon(differing, alternative="greater").pvalue)


def gap(first: float, second: float) -> float:
    """Return the distance of two skills, NaN being a diverged run's."""
    if math.isnan(first) or math.isnan(second):
        return 0.0 if math.isnan(first) and math.isnan(second) else math.inf
    return abs(first - second)
