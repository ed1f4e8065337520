"""How far the gradient reaches in each cell on each task, and in how many cases it vanished, exploded or diverged."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pandas as pd

from farreach.results.analysis import observatory, seeds
from farreach.results.analysis.diagnosis import LABELS, Label
from farreach.results.analysis.gradient_faults import FAULTS
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, CLIP, SETTING, find_length
from farreach.results.analysis.task_verdicts import DEFAULT

PLACE = ("task", "name", "length", "initial", "cell")


@dataclasses.dataclass(frozen=True)
class CellReach:
    """The gradient through time of one cell on one task, at one length.

    Attributes:
        task: the task.
        name, length: the parameter that says how long its dependency is; an empty name where there is none.
        initial: the kind of first weights.
        cell: the cell.
        reach: share of the steps before the scored ones over which 1 % of the norm is left at the end of training, 0 to
            1: mean over seeds of the first setting and clip (none where that ran) that was probed; NaN where none was.
        low, high: its range over seeds; NaN of a single one.
        seeds: of how many seeds.
        cases: how many there are, of every setting, clip and framework.
        probed: cases whose gradient through time was measured.
        labels: how many cases have each diagnosis that occurs.

    """

    task: str
    name: str
    length: float
    initial: str
    cell: str
    reach: float
    low: float
    high: float
    seeds: int
    cases: int
    probed: int
    labels: dict[Label, int]

    @property
    def fault(self) -> Label | None:
        """The fault of most cases; None where none has one."""
        found = [(self.labels[label], label) for label in FAULTS if label in self.labels]
        return max(found, key=lambda pair: pair[0])[1] if found else None


def measure_cells(rows: Rows) -> list[CellReach]:
    """Return one line a task, length and cell, in their order."""
    whole = rows.as_drawn
    frame = whole.frame
    if frame.empty:
        return []
    lengths = [find_length(str(text)) or ("", math.nan) for text in frame["parameters"]]
    ends = frame[[name for name in ("reach_end", "cell_reach_end") if name in frame]].astype(float)
    far = ends.max(axis="columns") if len(ends.columns) else pd.Series(math.nan, frame.index)
    frame = frame.assign(
        far=far,
        found=whole.diagnoses["label"],
        name=[name for name, _ in lengths],
        length=[value for _, value in lengths],
    )
    frame["initial"] = frame["initial"].fillna(DEFAULT) if "initial" in frame else DEFAULT
    places = frame.groupby(["task", "name", "length", "initial", CELL], observed=True, dropna=False, sort=False)
    found = [_measure(dict(zip(PLACE, place, strict=True)), part) for place, part in places]
    tasks = {task: at for at, task in enumerate(dict.fromkeys(one.task for one in found))}
    cells = {cell: at for at, cell in enumerate(map(str, frame[CELL].cat.categories))}
    return sorted(found, key=lambda one: (tasks[one.task], one.length, one.initial, cells[one.cell]))


def _measure(place: dict[str, Any], part: pd.DataFrame) -> CellReach:
    known = part[part["far"].notna()]
    chosen = known[known[CLIP] == known[CLIP].min()] if len(known) else known
    chosen = chosen[chosen[SETTING] == chosen[SETTING].min()] if len(chosen) else chosen
    values = seeds.average_by_seed(chosen, "far") if len(chosen) else pd.Series(dtype=float)
    counts = part["found"].value_counts()
    low, high = observatory.find_range(values) if len(values) else (math.nan, math.nan)
    return CellReach(
        task=str(place["task"]),
        name=str(place["name"]),
        length=float(place["length"]),
        initial=str(place["initial"]),
        cell=str(place["cell"]),
        reach=float(values.mean()) if len(values) else math.nan,
        low=low,
        high=high,
        seeds=len(values),
        cases=len(part),
        probed=len(known),
        labels={label: int(counts[label]) for label in LABELS if label in counts},
    )
