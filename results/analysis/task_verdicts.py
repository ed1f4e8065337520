"""Up to which length each cell solves each task, and which clip worked: verdicts over seeds, each counted once.

A cell, with its kind of first weights, is said to solve a task where more than half of the seeds do, by a one-sided
exact binomial test. Where several
clips and recipes were tried, the best is chosen on one half of the seeds and tested on the other, if there are ten or
more, else tested with p times the number tried. Lengths are tested from the shortest on, up to the first that fails.
Clips are compared with one that was fixed before the run: the first side of a declared contrast, else no clip; by
Fisher's exact test, corrected for their number (Holm). With fewer than five seeds nothing is tested.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import seeds, statistics
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, CLIP, PLACE, RECIPE, SETTING, number_places
from farreach.results.analysis.solved import list_seeds
from farreach.results.vocabulary import FEWEST_SEEDS, NONE

HALF = 0.5
"""More than this share of the seeds must solve a task for a cell to be said to solve it."""

LEVEL = 0.05

DEFAULT = "default"
"""First weights as they are where nothing is said of them."""


@dataclasses.dataclass(frozen=True)
class Count:
    """How many of so many seeds solved a task."""

    solved: int
    seeds: int

    @property
    def interval(self) -> statistics.Interval:
        """The 95 % interval of the share; NaN below `FEWEST_SEEDS` seeds."""
        return statistics.bound_share(self.solved, self.seeds) if self.seeds >= FEWEST_SEEDS else statistics.MISSING


@dataclasses.dataclass(frozen=True)
class LengthCount:
    """The seeds that solved a task at one length, at the best of what was tried.

    Attributes:
        length: of the dependency.
        count: of the best; where it was chosen on one half of the seeds, those of the other half.
        tried: clips and recipes that were tried.
        halved: whether the best was chosen on seeds that `count` leaves out.
        p: of the test that no more than half solve it, corrected for `tried`; None below `FEWEST_SEEDS` seeds.

    """

    length: float
    count: Count
    tried: int
    halved: bool
    p: float | None

    @property
    def solves(self) -> bool:
        """Whether more than half of the seeds are shown to solve it."""
        return self.p is not None and self.p < LEVEL

    @property
    def interval(self) -> statistics.Interval:
        """The interval of the share; NaN for one that was selected."""
        return self.count.interval if self.tried == 1 or self.halved else statistics.MISSING


@dataclasses.dataclass(frozen=True)
class CellLengths:
    """How far one cell gets on a task from first weights of one kind: what it did at each length, ascending.

    `cell` is how it is told from the others, `kind` the cell alone.
    """

    cell: str
    kind: str
    initial: str
    lengths: tuple[LengthCount, ...]

    @property
    def reached(self) -> LengthCount | None:
        """The longest that the cell is shown to solve, and all shorter ones with it."""
        solved = [*itertools.takewhile(lambda one: one.solves, self.lengths)]
        return solved[-1] if solved else None

    @property
    def beyond(self) -> tuple[LengthCount, ...]:
        """The lengths that were tried beyond that."""
        reached = self.reached
        return tuple(one for one in self.lengths if reached is None or one.length > reached.length)


@dataclasses.dataclass(frozen=True)
class TaskLengths:
    """How far the cells get on a task; `parameter` is what says how long its dependency is."""

    task: str
    parameter: str
    cells: tuple[CellLengths, ...]


@dataclasses.dataclass(frozen=True)
class CellMetric:
    """A cell's headline metric at the best of what was tried: its mean and range over seeds."""

    cell: str
    mean: float
    least: float
    most: float
    seeds: int
    tried: int


@dataclasses.dataclass(frozen=True)
class TaskMetric:
    """The headline metric of a task without a criterion; no cells where it is missing from every row."""

    task: str
    metric: str
    cells: tuple[CellMetric, ...]


class Verdict(enum.Enum):
    """What a clip is to the one that it is compared with."""

    PIVOT = enum.auto()  # that one itself
    BETTER = enum.auto()
    WORSE = enum.auto()
    UNCLEAR = enum.auto()
    LISTED = enum.auto()  # not tested: too few seeds, or nothing was fixed to compare it with


@dataclasses.dataclass(frozen=True)
class ClipCount:
    """How many seeds solved a task under one clip, the mean share of the steps that it clipped, and the verdict."""

    label: str
    clip: str
    count: Count
    fraction: float
    verdict: Verdict = Verdict.LISTED


@dataclasses.dataclass(frozen=True)
class TaskClips:
    """Which clips worked on a task, at the recipe that solved most: a threshold means something beside it only.

    Attributes:
        task: the task.
        tried: kind and label of all clips that were tried.
        recipe: the facts of the recipe, optimizer, learning rate and schedule; none where no cell solved the task.
        others: how many other recipes were tried.
        clips: the clips there, the one that they are compared with first; none where no cell solved the task.

    """

    task: str
    tried: tuple[tuple[str, str], ...]
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    others: int = 0
    clips: tuple[ClipCount, ...] = ()

    def list_verdict(self, verdict: Verdict) -> list[ClipCount]:
        """Return the clips of one verdict."""
        return [one for one in self.clips if one.verdict is verdict]


def find_lengths(rows: Rows) -> list[TaskLengths]:
    """Return for each task what each cell did at each length, at the best of the clips and recipes tried."""
    table = list_seeds(rows)
    table = table.assign(initial=table.get("initial", DEFAULT))
    return [
        TaskLengths(
            str(task),
            str(part["name"].iloc[0]),
            tuple(
                CellLengths(
                    str(cell),
                    str(group["cell"].iloc[0]),
                    str(initial),
                    tuple(_judge_length(float(str(at)), one) for at, one in group.groupby("length")),
                )
                for (cell, initial), group in part.groupby([CELL, "initial"], observed=True)
            ),
        )
        for task, part in table.groupby("task", sort=False, observed=True)
    ]


def find_metrics(rows: Rows) -> list[TaskMetric]:
    """Return for each task without a criterion the headline metric of each cell, at the best of what was tried."""
    frame = (rows.counted if len(rows.counted) else rows.ours.as_drawn).frame
    found = []
    for task, part in frame.groupby("task", sort=False, observed=True):
        if part["solved"].notna().any():
            continue
        known = part[part["score"].notna()]
        cells = tuple(_find_metric(str(cell), group) for cell, group in known.groupby(CELL, observed=True))
        found.append(TaskMetric(str(task), str(part["metric"].iloc[0]), cells))
    return found


def compare_clips(rows: Rows) -> list[TaskClips]:
    """Return for each task which clips worked.

    What is compared are the settings and cells that some clip solved, since elsewhere no threshold helped, and of those
    the ones that ran the most clips. A seed has solved it under a clip where it did in all of them.
    """
    table = list_seeds(rows)
    return [_compare_task(str(task), part) for task, part in table.groupby("task", sort=False, observed=True)]


def judge_counts(counts: list[Count], pivot: int | None) -> list[Verdict]:
    """Return what each count of solved seeds is to the one at place `pivot`, which was fixed before anything ran.

    Fisher's exact test, two-sided, corrected for the number of comparisons (Holm). The report's answer and the advice
    on a threshold ask this and nothing else.
    """
    verdicts = [Verdict.LISTED] * len(counts)
    if pivot is None or counts[pivot].seeds < FEWEST_SEEDS:
        return verdicts
    fixed = counts[pivot]
    tested = [at for at, one in enumerate(counts) if at != pivot and one.seeds >= FEWEST_SEEDS]
    p = [statistics.compare_counts(counts[at].solved, counts[at].seeds, fixed.solved, fixed.seeds) for at in tested]
    verdicts[pivot] = Verdict.PIVOT
    for at, corrected in zip(tested, statistics.correct_p_values(np.array(p)), strict=True):
        more = counts[at].solved * fixed.seeds > fixed.solved * counts[at].seeds
        verdicts[at] = Verdict.UNCLEAR if corrected >= LEVEL else Verdict.BETTER if more else Verdict.WORSE
    return verdicts


def _judge_length(length: float, part: pd.DataFrame) -> LengthCount:
    """Return what a cell did at one length; every setting and clip in `part` is one try."""
    tries = [one.set_index("seed")["solved"].sort_index() for _, one in part.groupby(PLACE, observed=True)]
    whole = [one for one in tries if len(one) >= FEWEST_SEEDS] or tries
    halved = len(whole) > 1 and min(map(len, whole)) >= 2 * FEWEST_SEEDS
    chosen = max(whole, key=lambda one: float((one.iloc[::2] if halved else one).mean()))
    judged = chosen.iloc[1::2] if halved else chosen
    count = Count(int(judged.sum()), len(judged))
    p = None
    if count.seeds >= FEWEST_SEEDS:
        p = min(1.0, statistics.exceed_share(count.solved, count.seeds, HALF) * (1 if halved else len(tries)))
    return LengthCount(length, count, len(tries), halved, p)


def _find_metric(cell: str, group: pd.DataFrame) -> CellMetric:
    tries = [seeds.average_by_seed(one, "score") for _, one in group.groupby(PLACE, observed=True)]
    best = max(tries, key=lambda one: float(one.mean()))
    return CellMetric(cell, float(best.mean()), float(best.min()), float(best.max()), len(best), len(tries))


def _compare_task(task: str, part: pd.DataFrame) -> TaskClips:
    facts = [name for name in ("optimizer", "learning_rate", *RECIPE) if name in part]
    part = part.assign(recipe=number_places(part, facts))
    first = part.drop_duplicates(CLIP).sort_values(CLIP)
    tried = tuple(zip(map(str, first["clip"]), map(str, first[CLIP]), strict=True))
    shares = part.groupby(PLACE, observed=True)["solved"].transform("mean")
    places = [part[SETTING], part[CELL]]
    some = part[(shares > HALF).groupby(places, observed=True).transform("any")]
    if some.empty:
        return TaskClips(task, tried)
    recipe = some.groupby("recipe", sort=False)["solved"].sum().idxmax()
    chosen = some[some["recipe"] == recipe]
    clips = chosen.groupby([SETTING, CELL], observed=True)[CLIP].transform("nunique")
    chosen = chosen[clips == clips.max()]
    return TaskClips(
        task=task,
        tried=tried,
        recipe=chosen[facts].iloc[0].to_dict(),
        others=part["recipe"].nunique() - 1,
        clips=_judge_clips(chosen),
    )


def _judge_clips(chosen: pd.DataFrame) -> tuple[ClipCount, ...]:
    """Return the clips of the chosen settings and cells, the one that they are compared with first."""
    groups = [(str(label), part) for label, part in chosen.groupby(CLIP, observed=True)]
    held = [seeds.hold_by_seed(part, "solved") for _, part in groups]
    counts = [Count(int(one.sum()), len(one)) for one in held]
    kinds = [str(part["clip"].iloc[0]) for _, part in groups]
    declared = [at for at, (_, part) in enumerate(groups) if part["pivot"].any()]
    pivot = declared[0] if declared else kinds.index(NONE) if NONE in kinds else None
    found = [
        ClipCount(label, kind, count, float(part["clip fraction"].mean()), verdict)
        for (label, part), kind, count, verdict in zip(groups, kinds, counts, judge_counts(counts, pivot), strict=True)
    ]
    return tuple(sorted(found, key=lambda one: one.verdict is not Verdict.PIVOT))
