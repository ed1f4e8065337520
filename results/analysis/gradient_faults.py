"""Where gradients vanished or exploded, or a run diverged: how many cases, where, and the figures behind it."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd

from farreach.results.analysis import observatory, seeds
from farreach.results.analysis.diagnosis import LABELS, Label
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, CLIP, SETTING

FAULTS: tuple[Label, ...] = ("vanishing", "exploding", "diverged")

NEEDED = [SETTING, CELL, CLIP, "clip", "seed", "diverged_at", "steps_before", "reach_end", "cell_reach_end"]
NEEDED += ["growth_end"]


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong with the cases of one setting and cell.

    Attributes:
        label: ``vanishing``, ``exploding`` or ``diverged``.
        setting, cell: where.
        clips: kind and label of each clip of these cases.
        cases: how many.
        seeds: of how many seeds.
        value: vanishing: the mean reach at the end, 0 to 1, NaN where the gradient was exactly zero; exploding: the
            mean growth of the logarithm of the norm per step back in time; diverged: the first step of the first case.
        low, high: the range over the cases; NaN where there is one.
        steps_before: steps before the scored group.

    """

    label: Label
    setting: str
    cell: str
    clips: tuple[tuple[str, str], ...]
    cases: int
    seeds: int
    value: float
    low: float = math.nan
    high: float = math.nan
    steps_before: float = math.nan


@dataclasses.dataclass(frozen=True)
class Faults:
    """What the diagnoses of all cases say.

    Attributes:
        cases: how many cases there are.
        labels: how many have each label that occurs.
        faults: the settings and cells with a fault, for each label those with most cases first.
        unprobed: cases whose gradient through time is not known, but for those that diverged.
        probed: cases whose gradient through time is known.

    """

    cases: int
    labels: dict[Label, int]
    faults: tuple[Fault, ...]
    unprobed: int
    probed: int


def find_faults(rows: Rows) -> Faults:
    """Return in how many cases a gradient vanished, exploded or was not finite, and where."""
    frame = rows.as_drawn.frame
    labels = rows.as_drawn.diagnoses["label"] if len(frame) else pd.Series(dtype=object)
    needed = frame[[name for name in NEEDED if name in frame]]
    blind = frame["reach_end"].isna() if "reach_end" in frame else pd.Series(data=True, index=frame.index)
    counts: dict[Label, int] = {label: many for label in LABELS if (many := int((labels == label).sum()))}
    return Faults(
        cases=len(frame),
        labels=counts,
        faults=tuple(one for label in FAULTS for one in _find(label, needed[labels == label])),
        unprobed=int((blind & (labels != "diverged")).sum()),
        probed=int((~blind).sum()),
    )


def _find(label: Label, rows: pd.DataFrame) -> list[Fault]:
    groups = sorted(rows.groupby([SETTING, CELL], observed=True), key=lambda pair: -len(pair[1]))
    return [_describe_fault(label, str(setting), str(cell), part) for (setting, cell), part in groups]


def _describe_fault(label: Label, setting: str, cell: str, part: pd.DataFrame) -> Fault:
    tried = part.drop_duplicates(CLIP).sort_values(CLIP)
    clips = tuple(zip(tried["clip"].astype(str), tried[CLIP].astype(str), strict=True))
    many = len(part), seeds.count_seeds(part)
    if label == "diverged":
        first = float(pd.to_numeric(part["diverged_at"]).min())
        return Fault(label, setting, cell, clips, *many, first)
    before = float(pd.to_numeric(part["steps_before"]).iloc[0])
    if label == "exploding":
        rates = pd.to_numeric(part["growth_end"])
        seen = float(rates.mean()), *observatory.find_range(rates)
        return Fault(label, setting, cell, clips, *many, *seen, before)
    far = part[["reach_end", "cell_reach_end"]].astype(float).max(axis="columns").dropna()
    if far.empty:
        return Fault(label, setting, cell, clips, *many, math.nan)
    value = float(seeds.average_by_seed(part.assign(far=far), "far").mean())
    return Fault(label, setting, cell, clips, *many, value, *observatory.find_range(far), before)
