"""Cells that were tuned with the same budget: the recipe chosen on one half of the seeds, judged on the other.

Every study drew as many recipes. Of each study, cell and framework the recipe is chosen that solves most of the first
half of the seeds (every second one), then the one that solves them in the fewest steps, a seed that does not counting
with all; then the one of the highest skill. What is said of a cell are its studies on the other half: their median
with its interval, and tests paired by study (signs flipped), corrected for the pairs of cells (Holm).

Profiles are after E. D. Dolan and J. J. More, "Benchmarking optimization software with performance profiles",
Mathematical Programming 91, 2002.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, Literal

import numpy as np
import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, LEARNER, restore_order
from farreach.results.vocabulary import FEWEST_SEEDS

LEVEL = 0.05

PROFILE = ["task", CELL, "cell", LEARNER, "framework", "path", "factor", "share", "low", "high"]


@dataclasses.dataclass(frozen=True)
class StudyOutcome:
    """What one study came to: the recipe that it chose, and what that did on the other seeds.

    Attributes:
        study, recipe: their numbers.
        solved, seeds: of the seeds that were left out of the choice.
        steps: the median over these seeds of the steps to solve; infinite where half of them or more did not.

    """

    study: int
    recipe: int
    solved: int
    seeds: int
    steps: float

    @property
    def share(self) -> float:
        """The share of the seeds that solved it."""
        return self.solved / self.seeds


@dataclasses.dataclass(frozen=True)
class TunedCell:
    """A cell and its studies."""

    cell: str
    studies: tuple[StudyOutcome, ...]

    @property
    def share(self) -> statistics.Estimate:
        """The median over studies of the share of seeds that solved, with its 95 % interval."""
        return statistics.estimate_median([one.share for one in self.studies])


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two cells, paired by study; `p` is corrected, None below six studies."""

    first: str
    second: str
    p: float | None
    difference: float

    @property
    def winner(self) -> Literal[1, 2] | None:
        """Which of the two is shown to solve more."""
        return None if self.p is None or self.p >= LEVEL else 1 if self.difference > 0 else 2


@dataclasses.dataclass(frozen=True)
class TunedTask:
    """The cells that were tuned on a task in one framework.

    Attributes:
        task, parameters, learner: where.
        recipes: how many every study drew.
        steps: of training each.
        chosen_on: seeds that a choice rests on.
        cells: the cells, in their order.
        pairs: of any two of them.

    """

    task: str
    parameters: str
    learner: str
    recipes: int
    steps: int
    chosen_on: int
    cells: tuple[TunedCell, ...]
    pairs: tuple[Pair, ...]


def judge_tuning(rows: Rows) -> list[TunedTask]:
    """Return what the studies of each task and framework came to; none where no recipe was drawn.

    Studies that are not whole yet, with fewer recipes or seeds than others, are left out.
    """
    frame = _take_drawn(rows)
    found = []
    for (_, _, learner), part in frame.groupby(["task", "parameters", LEARNER], observed=True, sort=False):
        studies = {str(cell): _judge_studies(group) for cell, group in part.groupby(CELL, observed=True)}
        cells = tuple(TunedCell(cell, outcomes) for cell, outcomes in studies.items() if outcomes)
        if not cells:
            continue
        first = part.iloc[0]
        found.append(
            TunedTask(
                task=str(first["task"]),
                parameters=str(first["parameters"]),
                learner=str(learner),
                recipes=int(part["recipe"].max()),
                steps=int(first["steps"]),
                chosen_on=int(part.groupby("study")["seed"].nunique().max()) - cells[0].studies[0].seeds,
                cells=cells,
                pairs=_compare(cells),
            )
        )
    return found


def tabulate_profile(rows: Rows) -> pd.DataFrame:
    """Return the performance profile of each cell over tasks and studies, in each framework.

    One line a cell and factor: the share of the tasks, mean over studies, that the cell's chosen recipe solves in at
    most that factor of the fewest steps of any cell in the same study; the interval is that of the median over studies.
    """
    frame = _take_drawn(rows)
    lines: list[list[Any]] = []
    for _, part in frame.groupby(LEARNER, observed=True, sort=False):
        costs = pd.DataFrame([
            [str(task) + str(parameters), outcome.study, str(cell), outcome.steps]
            for (task, parameters, cell), group in part.groupby(["task", "parameters", CELL], observed=True)
            for outcome in _judge_studies(group)
        ], columns=["problem", "study", "cell", "steps"])  # fmt: skip
        if costs["cell"].nunique() < 2:  # noqa: PLR2004 - a profile compares
            continue
        best = costs.groupby(["problem", "study"])["steps"].transform("min")
        costs["factor"] = (costs["steps"] / best).fillna(math.inf)
        factors = sorted({1.0, *costs.loc[np.isfinite(costs["factor"]), "factor"]})
        for cell, group in part.groupby(CELL, observed=True):
            ours = costs[costs["cell"] == str(cell)]
            first = group.iloc[0]
            head = ["", cell, *(first[name] for name in ("cell", LEARNER, "framework", "path"))]
            for factor in factors:
                shares = (ours["factor"] <= factor).groupby(ours["study"]).mean()
                lines.append([*head, factor, float(shares.mean()), *statistics.bound_median(shares)])
    return restore_order(pd.DataFrame(lines, columns=PROFILE).drop(columns="task"), rows.frame)


def _take_drawn(rows: Rows) -> pd.DataFrame:
    frame = rows.counted.frame
    if "study" not in frame:
        return frame.iloc[:0].assign(study=None, recipe=None)
    drawn = frame[frame["study"].notna() & frame["recipe"].notna() & frame["solved"].notna()]
    return drawn.astype({"study": int, "recipe": int})  # beside rows without they are numbers with a fraction


def _judge_studies(group: pd.DataFrame) -> tuple[StudyOutcome, ...]:
    """Return the outcomes of the whole studies of a cell, those whose recipes and seeds are as many as any's."""
    sizes = group.groupby("study").size()
    whole = sizes[sizes == sizes.max()].index
    outcomes = (_judge_study(int(str(at)), one) for at, one in group[group["study"].isin(whole)].groupby("study"))
    return tuple(one for one in outcomes if one is not None)


def _judge_study(study: int, part: pd.DataFrame) -> StudyOutcome | None:
    seeds = sorted(part["seed"].unique())
    if len(seeds) < 2 * FEWEST_SEEDS:
        return None
    steps = part["steps_to_solve"].astype(float)
    part = part.assign(took=steps.fillna(part["steps"]), until=steps.fillna(math.inf))
    looked = part[part["seed"].isin(seeds[::2])].groupby("recipe")
    score = pd.DataFrame(
        {"solved": looked["solved"].sum(), "took": -looked["took"].mean(), "skill": looked["skill"].mean()}
    )
    best = score.fillna(-math.inf).astype(float).sort_values([*score], ascending=False, kind="stable").index[0]
    judged = part[(part["recipe"] == best) & part["seed"].isin(seeds[1::2])]
    return StudyOutcome(
        study, int(best), int(judged["solved"].sum()), len(judged), float(np.median(judged["until"].to_numpy()))
    )


def _compare(cells: tuple[TunedCell, ...]) -> tuple[Pair, ...]:
    """Return every pair of cells with the corrected p of the test over the studies that both have."""
    pairs = [*itertools.combinations(cells, 2)]
    shares = [{one.study: one.share for one in cell.studies} for cell in cells]
    by_cell = dict(zip((cell.cell for cell in cells), shares, strict=True))
    apart = [_subtract(by_cell[first.cell], by_cell[second.cell]) for first, second in pairs]
    p = statistics.correct_p_values(np.array([statistics.flip_signs(one) for one in apart], float)).tolist()
    return tuple(
        Pair(first.cell, second.cell, None if math.isnan(at) else at, float(one.mean()) if len(one) else 0.0)
        for (first, second), at, one in zip(pairs, p, apart, strict=True)
    )


def _subtract(first: dict[int, float], second: dict[int, float]) -> np.ndarray:
    return np.array([first[study] - second[study] for study in sorted(first.keys() & second.keys())], float)
