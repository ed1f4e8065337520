"""Up to which length each cell solves each task, and which clip worked: verdicts over the counts of solved seeds.

One clip is compared with another by the 95 % Clopper-Pearson intervals of their shares, over the places where both ran.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import pandas as pd

from farreach.results.analysis import statistics, tables
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, CLIP, SETTING, number_places
from farreach.results.analysis.solved import count_solved

HALF = 0.5
"""More than this share of the seeds must have solved a task for a cell, or a threshold, to be said to solve it."""

SUMS: Any = {"solved": ("solved", "sum"), "seeds": ("seeds", "sum"), "fraction": ("clip fraction", "mean")}
SUMS |= {"clip": ("clip", "first")}


@dataclasses.dataclass(frozen=True)
class Count:
    """How many of so many seeds solved a task."""

    solved: int
    seeds: int

    @property
    def interval(self) -> statistics.Interval:
        """The 95 % interval of the share (Clopper and Pearson 1934)."""
        return statistics.bound_share(self.solved, self.seeds)


@dataclasses.dataclass(frozen=True)
class CellLengths:
    """How far one cell gets on a task, at the best of the clips and recipes tried.

    Attributes:
        cell: the cell.
        tried: the lengths that were tried, ascending.
        reached: the longest that more than half of the seeds solved; None where there is none.
        count: the seeds that solved it at that length, or at the shortest that was tried.
        missed: shorter lengths than `reached` at which no more than half did.
        beyond: the next longer length that was tried, and its count; None where `reached` is the longest.

    """

    cell: str
    tried: tuple[float, ...]
    reached: float | None
    count: Count
    missed: tuple[float, ...] = ()
    beyond: tuple[float, Count] | None = None


@dataclasses.dataclass(frozen=True)
class TaskLengths:
    """How far the cells get on a task; `parameter` is what says how long its dependency is."""

    task: str
    parameter: str
    cells: tuple[CellLengths, ...]


@dataclasses.dataclass(frozen=True)
class CellMetric:
    """A cell's best headline metric, with the task's own 95 % interval, NaN where it gives none."""

    cell: str
    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class TaskMetric:
    """The headline metric of a task without a criterion; no cells where it is missing from every row."""

    task: str
    metric: str
    cells: tuple[CellMetric, ...]


class Ranking(enum.Enum):
    """What the clips of a task are to each other."""

    UNSOLVED = enum.auto()  # no cell solved the task at any
    ALONE = enum.auto()  # one clip was tried
    EQUAL = enum.auto()  # all have the same share
    RANKED = enum.auto()


@dataclasses.dataclass(frozen=True)
class ClipCount:
    """How many seeds solved a task under one clip, and the mean share of the steps that it clipped."""

    label: str
    clip: str
    count: Count
    fraction: float


@dataclasses.dataclass(frozen=True)
class TaskClips:
    """Which clips worked on a task, at the recipe that solved most: a threshold means something beside it only.

    Attributes:
        task: the task.
        ranking: what the clips are to each other.
        tried: kind and label of all clips that were tried.
        optimizer, learning_rate: the recipe; empty and 0 where no cell solved the task.
        others: how many other recipes were tried.
        best: the clips with the highest share.
        worse: those with a lower share, whose interval has no point in common with the best one's.
        unclear: the others with a lower share.

    """

    task: str
    ranking: Ranking
    tried: tuple[tuple[str, str], ...]
    optimizer: str = ""
    learning_rate: float = 0.0
    others: int = 0
    best: tuple[ClipCount, ...] = ()
    worse: tuple[ClipCount, ...] = ()
    unclear: tuple[ClipCount, ...] = ()


def find_lengths(rows: Rows) -> list[TaskLengths]:
    """Return for each task up to which length each cell solved it, at the best of the clips and recipes tried."""
    table = count_solved(rows)
    return [
        TaskLengths(str(task), str(part["name"].iloc[0]), tuple(_find_cells(part)))
        for task, part in table.groupby("task", sort=False, observed=True)
    ]


def find_metrics(rows: Rows) -> list[TaskMetric]:
    """Return for each task without a criterion the best headline metric of each cell."""
    lines = tables.tabulate_accuracy(rows.matched if len(rows.counted) else rows.ours)
    found = []
    for task, part in lines[lines["judged"] == 0].groupby("task", sort=False, observed=True):
        known = part[part["score"].notna()]
        best = known.loc[known.groupby(CELL, observed=True)["score"].idxmax()]
        cells = tuple(
            CellMetric(str(row[CELL]), float(row["score"]), float(row["score low"]), float(row["score high"]))
            for row in best.to_dict("records")
        )
        found.append(TaskMetric(str(task), str(part["metric"].iloc[0]), cells))
    return found


def compare_clips(rows: Rows) -> list[TaskClips]:
    """Return for each task which clips worked.

    Seeds are added up over the settings and cells that some clip solved, since elsewhere no threshold helped, and where
    there are such with several clips over those.
    """
    table = count_solved(rows)
    return [_compare_task(str(task), part) for task, part in table.groupby("task", sort=False, observed=True)]


def _find_cells(part: pd.DataFrame) -> list[CellLengths]:
    rank = part.assign(share=part["solved"] / part["seeds"]).sort_values(["share", "seeds"], kind="stable")
    found = []
    for cell, group in rank.groupby(CELL, observed=True):
        best = group.groupby("length").last()
        done, tried = best[best["share"] > HALF], tuple(map(float, best.index))
        if done.empty:
            found.append(CellLengths(str(cell), tried, None, _get_count(best.iloc[0])))
            continue
        reached = float(done.index[-1])
        beyond = best[best.index > reached]
        found.append(
            CellLengths(
                cell=str(cell),
                tried=tried,
                reached=reached,
                count=_get_count(done.iloc[-1]),
                missed=tuple(map(float, best.index[best.index < reached].difference(done.index))),
                beyond=(float(beyond.index[0]), _get_count(beyond.iloc[0])) if len(beyond) else None,
            )
        )
    return found


def _compare_task(task: str, part: pd.DataFrame) -> TaskClips:
    part = part.assign(recipe=number_places(part, ["optimizer", "learning_rate"]))
    first = part.drop_duplicates(CLIP).sort_values(CLIP)
    tried = tuple(zip(map(str, first["clip"]), map(str, first[CLIP]), strict=True))
    places = [part[SETTING], part[CELL]]
    some = part[(part["solved"] > HALF * part["seeds"]).groupby(places, observed=True).transform("any")]
    if some.empty:
        return TaskClips(task, Ranking.UNSOLVED, tried)
    recipe = some.groupby("recipe", sort=False)["solved"].sum().idxmax()
    chosen = some[some["recipe"] == recipe]
    several = chosen.groupby([SETTING, CELL], observed=True)[CLIP].transform("nunique") > 1
    chosen = chosen[several] if several.any() else chosen
    sums = chosen.groupby(CLIP, observed=True).agg(**SUMS)
    share = sums["solved"] / sums["seeds"]
    best = sums[share == share.max()]["seeds"].idxmax()
    rest = [clip for clip in sums.index if share[clip] < share.max()]
    worse = [clip for clip in rest if _is_apart(chosen, str(best), str(clip))]
    ranking = Ranking.ALONE if len(sums) == 1 else Ranking.RANKED if rest else Ranking.EQUAL
    return TaskClips(
        task=task,
        ranking=ranking,
        tried=tried,
        optimizer=str(chosen["optimizer"].iloc[0]),
        learning_rate=float(chosen["learning_rate"].iloc[0]),
        others=part["recipe"].nunique() - 1,
        best=_list_clips(sums[share == share.max()]),
        worse=_list_clips(sums.loc[worse]),
        unclear=_list_clips(sums.loc[[clip for clip in rest if clip not in worse]]),
    )


def _is_apart(chosen: pd.DataFrame, best: str, other: str) -> bool:
    """Return whether the shares of two clips have intervals without a common point, where both of them ran."""
    both = chosen[chosen[CLIP].isin([best, other])]
    both = both[both.groupby([SETTING, CELL], observed=True)[CLIP].transform("nunique") > 1]
    if both.empty:
        return False
    sums = both.groupby(CLIP, observed=True).agg(**SUMS)
    return not _get_count(sums.loc[best]).interval.overlaps(_get_count(sums.loc[other]).interval)


def _list_clips(sums: pd.DataFrame) -> tuple[ClipCount, ...]:
    return tuple(
        ClipCount(str(label), str(row["clip"]), _get_count(row), float(row["fraction"]))
        for label, row in sums.iterrows()
    )


def _get_count(row: pd.Series[Any]) -> Count:
    return Count(int(row["solved"]), int(row["seeds"]))
