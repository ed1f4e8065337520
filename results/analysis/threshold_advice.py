"""Which clip threshold to use: the cases that were tried in, a recommendation and the reasons for it out.

A case's **average skill** is that over the evaluations of its training, a skill below 0 and an evaluation that a
diverged run never reached counting 0, and one after a run ended because it was solved as that at its end: it rises
when a task is learned better, and when it is learned sooner. The best
of a learning rate is what most seeds solved and, among those, what has the highest average skill; no clipping takes
part. A threshold is **as good as the best** where as many seeds solved the task and its average skill falls short of
the best's, seed by seed, by no more than one standard error of that gap (the one-standard-error rule of Breiman et
al., "Classification and Regression Trees", 1984) or by `MARGIN`, whichever is more. The **plateau** is the unbroken
run of tried thresholds that are as good as the best, around the best of them. Recommended is the one nearest to its
geometric middle. That is a choice, and no claim that it is better: whether more seeds solve the task at a threshold
than without one is judged by `task_verdicts.judge_counts`, as in a report of the same cases.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.analysis.task_verdicts import Count, judge_counts
from farreach.results.vocabulary import NONE

MARGIN = 0.01
"""An average skill that is lower by this much or less is no worse."""

LEARNED = 0.05
"""Where no seed solved the task and no average skill is above this, nothing was learned."""

THUMB = (0.5, 10.0)
"""Pascanu, Mikolov and Bengio (2013), section 3.2: half to ten times the average norm."""

Outcome = Literal["helps", "harmless", "indifferent", "harms", "single", "nothing", "diverged", "untried"]
"""What there is to say of one learning rate.

helps: some thresholds are as good as the best and no clipping is not. harmless: no clipping is as good, and so are some
thresholds. indifferent: no clipping and every threshold are as good. harms: no threshold is as good as no clipping.
single: a grid of one value. nothing: nothing was learned anywhere. diverged: every run. untried: no threshold ran.
"""

COLUMNS = [
    *("learning_rate", "threshold", "seed", "solved", "steps_to_solve"),
    *("average_skill", "skill", "clip_fraction", "diverged_at"),
]


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """What the tries at one learning rate say.

    Attributes:
        learning_rate: the learning rate.
        outcome: see `Outcome`.
        lines: one line per threshold, ascending, no clipping (threshold NaN) last: seeds, solved, judged (seeds with a
            criterion), share (of the two), steps to solve (median over those that solved it), skill (mean at the end),
            average skill (mean), least and most (its range over seeds), clip fraction (mean, 0 to 1), diverged
            (seeds), as good (bool), verdict (a `Verdict`: what it is to no clipping, by the seeds that solved it).
        plateau: its thresholds, ascending; empty where there is none.
        recommended: a threshold of the plateau; None where none is better than another or than no clipping.
        left_out: what is recommended with each seed left out in turn; empty for one seed.

    """

    learning_rate: float
    outcome: Outcome
    lines: pd.DataFrame
    plateau: tuple[float, ...]
    recommended: float | None
    left_out: tuple[float | None, ...]

    def get_line(self, threshold: float | None) -> pd.Series[Any]:
        """Return the line of one threshold, None for no clipping."""
        at = self.lines["threshold"]
        return self.lines[at.isna() if threshold is None else at == threshold].iloc[0]

    @property
    def tried(self) -> list[float]:
        """The thresholds that were tried, ascending."""
        return [float(at) for at in self.lines["threshold"].dropna()]


@dataclasses.dataclass(frozen=True)
class Thumb:
    """Whether the rule of thumb held at one learning rate.

    Attributes:
        average: the average norm over the steps of the runs without a clip.
        within: the tried thresholds from 0.5 to 10 times that.
        failing: those of them at which fewer seeds solved the task than at the best; with no criterion always empty.
        worse: those of them that are not as good as the best.
        inside: whether the recommended threshold is within; None where none is recommended.

    """

    average: float
    within: tuple[float, ...]
    failing: tuple[float, ...]
    worse: tuple[float, ...]
    inside: bool | None

    @property
    def ends(self) -> tuple[float, float]:
        """Half and ten times the average norm."""
        return THUMB[0] * self.average, THUMB[1] * self.average


def compute_average_skill(losses: pd.Series[float], floor: float, planned: int, *, held: bool = False) -> float:
    """Return the skill averaged over the planned evaluations; see the head of this file.

    Where it is `held`, a run that ended early, because it had solved its task, keeps the skill of its end.
    """
    skills = np.nan_to_num((1 - losses.to_numpy(np.float64) / floor).clip(min=0)[:planned])
    rest = skills[-1] * (planned - len(skills)) if held and len(skills) else 0.0
    return float((skills.sum() + rest) / planned)


def tabulate_tries(rows: pd.DataFrame, evaluations: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    """Return one line per case with `COLUMNS`, the threshold NaN for no clipping.

    Args:
        rows: rows of a store that differ in clip, threshold, learning rate and seed alone.
        evaluations: maps a case's key to its evaluations.

    """
    lines = [
        {
            "learning_rate": row["learning_rate"],
            "threshold": math.nan if row["clip"] == NONE else row["threshold"],
            "seed": row["seed"],
            "solved": row["solved"],
            "steps_to_solve": row["steps_to_solve"],
            "average_skill": compute_average_skill(
                _get_losses(evaluations(row["key"])),
                row["floor"],
                row["steps"] // row["evaluate_every"],
                held=row["status"] == "finished",
            ),
            "skill": row["skill"],
            "clip_fraction": row["clip_fraction"],
            "diverged_at": row["diverged_at"],
        }
        for row in rows.to_dict("records")
    ]
    return sort_tries(pd.DataFrame(lines, columns=COLUMNS))


def sort_tries(frame: pd.DataFrame) -> pd.DataFrame:
    """Return cases with `COLUMNS` in their kinds, sorted by learning rate, threshold and seed."""
    for name in COLUMNS:
        frame[name] = frame[name].astype("boolean") if name == "solved" else pd.to_numeric(frame[name])
    return frame.sort_values(["learning_rate", "threshold", "seed"], ignore_index=True)


def _get_losses(evaluations: pd.DataFrame) -> pd.Series[float]:
    """Return the losses of the evaluations; none, and no such column, where a run diverged before the first."""
    return evaluations["loss"] if "loss" in evaluations else pd.Series(dtype=float)


def recommend(cases: pd.DataFrame) -> list[Recommendation]:
    """Return a verdict for each learning rate of the cases that `tabulate_tries` gave, ascending."""
    return [_recommend(float(str(rate)), part) for rate, part in cases.groupby("learning_rate")]


def check_thumb(verdict: Recommendation, average: float) -> Thumb | None:
    """Return whether the rule of thumb held; None where there is no average norm to hold it against."""
    if not (math.isfinite(average) and average > 0):
        return None
    low, high = THUMB[0] * average, THUMB[1] * average
    lines = verdict.lines[verdict.lines["threshold"].between(low, high)]
    most = verdict.lines["share"].max()
    inside = None if verdict.recommended is None else low <= verdict.recommended <= high
    within, failing, worse = (
        tuple(float(at) for at in part["threshold"])
        for part in (lines, lines[lines["share"] < most], lines[~lines["as good"]])
    )
    return Thumb(average, within, failing, worse, inside)


def _recommend(rate: float, cases: pd.DataFrame) -> Recommendation:
    outcome, lines, plateau, recommended = _judge_rate(cases)
    seeds = sorted(cases["seed"].unique())
    left_out = [_judge_rate(cases[cases["seed"] != seed])[3] for seed in seeds] if len(seeds) > 1 else []
    return Recommendation(rate, outcome, lines, plateau, recommended, tuple(left_out))


def _judge_rate(cases: pd.DataFrame) -> tuple[Outcome, pd.DataFrame, tuple[float, ...], float | None]:
    """Return outcome, lines, plateau and recommendation of the cases of one learning rate."""
    points = {at: part.set_index("seed") for at, part in cases.groupby("threshold")}  # without those of NaN
    free = cases[cases["threshold"].isna()].set_index("seed")
    everything = {float(str(at)): part for at, part in points.items()} | ({math.nan: free} if len(free) else {})
    lines = pd.DataFrame([{"threshold": at} | _summarise_point(part) for at, part in everything.items()])
    ranks = [(line["share"], line["average skill"]) for line in lines.to_dict("records")]
    parts = list(everything.values())
    best = parts[max(range(len(parts)), key=lambda at: ranks[at])]
    lines["as good"] = [_is_as_good(part, best) for part in parts]
    counts = [Count(line["solved"], line["judged"]) for line in lines.to_dict("records")]
    verdicts = judge_counts(counts, len(counts) - 1 if len(free) else None)
    lines["verdict"] = pd.Series(verdicts, lines.index, dtype=object)
    outcome = _find_outcome(lines, cases, count=len(points), free=bool(len(free)))
    if outcome not in {"helps", "harmless", "indifferent"}:
        return outcome, lines, (), None
    good = lines["as good"].to_numpy(bool)[: len(points)]
    start = stop = max(np.flatnonzero(good), key=lambda at: ranks[at])
    while start > 0 and good[start - 1]:
        start -= 1
    while stop + 1 < len(good) and good[stop + 1]:
        stop += 1
    chosen = lines.iloc[start : stop + 1]
    plateau = tuple(float(at) for at in chosen["threshold"])
    return outcome, lines, plateau, _find_middle(chosen)


def _find_outcome(lines: pd.DataFrame, cases: pd.DataFrame, *, count: int, free: bool) -> Outcome:
    """Return the first of the outcomes, from the plainest on, that is the case."""
    good = lines["as good"].to_numpy(bool)
    found: dict[Outcome, bool] = {
        "untried": count == 0,
        "diverged": bool(cases["diverged_at"].notna().all()),
        "nothing": not lines["solved"].any() and lines["average skill"].max() < LEARNED,
        "single": count == 1,
        "harms": not good[:count].any(),
        "helps": not (free and good[-1]),
        "indifferent": bool(good.all()),
    }
    return next((outcome for outcome, so in found.items() if so), "harmless")


def _summarise_point(part: pd.DataFrame) -> dict[str, Any]:
    judged = int(part["solved"].notna().sum())
    solved = int(part["solved"].sum())
    return {
        "seeds": part.index.nunique(),
        "solved": solved,
        "judged": judged,
        "share": solved / judged if judged else 0.0,
        "steps to solve": part["steps_to_solve"].median(),
        "skill": part["skill"].mean(),
        "average skill": part["average_skill"].mean(),
        "least": part["average_skill"].min(),
        "most": part["average_skill"].max(),
        "clip fraction": part["clip_fraction"].mean(),
        "diverged": int(part["diverged_at"].notna().sum()),
    }


def _is_as_good(one: pd.DataFrame, best: pd.DataFrame) -> bool:
    """Say whether one point is as good as the best, over the seeds that both have."""
    seeds = one.index.intersection(best.index)
    if not len(seeds) or one.loc[seeds, "solved"].sum() < best.loc[seeds, "solved"].sum():
        return False
    gap = best.loc[seeds, "average_skill"] - one.loc[seeds, "average_skill"]
    return float(gap.mean()) <= max(statistics.compute_standard_error(gap), MARGIN)


def _find_middle(plateau: pd.DataFrame) -> float:
    """Return the threshold nearest to the geometric middle, the smaller of two.

    Thresholds that never clipped are no clipping at all: they are left out where others are there.
    """
    clipped = plateau[plateau["clip fraction"] > 0]
    points = (clipped if len(clipped) else plateau)["threshold"].to_numpy(np.float64)
    logs = np.log(points)
    away = np.abs(logs - (logs[0] + logs[-1]) / 2)
    return float(points[int(np.argmin(np.round(away, 9)))])
