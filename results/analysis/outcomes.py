"""What became of a case that was run again: whether its number and its conclusion held, where its bits did not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd

from farreach.results.analysis.comparison import WORST
from farreach.results.analysis.diagnosis import diagnose_row
from farreach.results.record import Case

HELD, BEYOND, UNKNOWN = "held", "beyond replicates", "no replicates"

LIKE = ["task", "parameters", "cell", "mode"]
"""What rows must share for the replicates of one to say what those of another would differ by."""

SAME = [*(field.name for field in dataclasses.fields(Case) if field.name != "replicate"), "framework_version"]
"""What a permuted replicate shares with the case that it is one of."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """How far permuted replicates of cases alike end from those cases: the largest difference of skill of so many."""

    most: float
    replicates: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Whether what a row says held when its case was run again.

    Attributes:
        skills: then and now; a run that diverged counts as `WORST`.
        spread: what replicates differ by; None where the set has none of such a case.
        conclusions: status, solved and diagnosis: of each its name, then and now.

    """

    skills: tuple[float, float]
    spread: Spread | None
    conclusions: tuple[tuple[str, str, str], ...]

    @property
    def number(self) -> str:
        """Whether the skill held within what replicates differ by: `HELD`, `BEYOND` or `UNKNOWN`."""
        if self.skills[0] == self.skills[1]:
            return HELD
        if self.spread is None:
            return UNKNOWN
        return HELD if abs(self.skills[1] - self.skills[0]) <= self.spread.most else BEYOND

    @property
    def changed(self) -> tuple[tuple[str, str, str], ...]:
        """The conclusions that did not hold."""
        return tuple(one for one in self.conclusions if one[1] != one[2])


def compare_outcomes(old: Mapping[str, Any], new: Mapping[str, Any], spread: Spread | None) -> Outcome:
    """Hold what a row says against what the row of the same case says that was made again."""
    words = [(str(row["status"]), _write_solved(row["solved"]), str(diagnose_row(row).label)) for row in (old, new)]
    names = ("status", "solved", "diagnosis")
    conclusions = tuple(zip(names, *words, strict=True))
    return Outcome((_find_skill(old), _find_skill(new)), spread, conclusions)


def measure_spreads(rows: pd.DataFrame) -> dict[tuple[Any, ...], Spread]:
    """Return what permuted replicates differ by, for each kind of case, `LIKE`, that a set has replicates of."""
    frame = rows.assign(skill=pd.to_numeric(rows["skill"]).fillna(WORST))
    copies = frame[frame["replicate"] > 0]
    pairs = copies.merge(frame[frame["replicate"] == 0], on=SAME, suffixes=("", " drawn"))
    pairs = pairs.assign(apart=(pairs["skill"] - pairs["skill drawn"]).abs())
    return {
        tuple(kind): Spread(float(part["apart"].max()), len(part)) for kind, part in pairs.groupby(LIKE, observed=True)
    }


def _find_skill(row: Mapping[str, Any]) -> float:
    return WORST if pd.isna(row["skill"]) else float(row["skill"])


def _write_solved(solved: Any) -> str:
    return "no criterion" if pd.isna(solved) else "yes" if solved else "no"
