"""Mixed precision beside float32: what it does to skill and reach, seed by seed, and how many steps it left out.

A row of a mixed dtype is paired with the float32 row of the same case in all else. The changes are those of seeds, and
their median is bounded from both sides by order statistics, each end of which is wrong at most 5 % of the time. With
fewer than five seeds the values are listed. A seed that diverged on either side is counted and has no change.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import numpy as np
import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.analysis.labels import label_recipe
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CASE, CELL, CLIP, LEARNER, number_places
from farreach.results.vocabulary import FEWEST_SEEDS

PLAIN = "float32"
MIXED = ("bfloat16", "float16")

Change = Literal["higher", "lower", "unclear", "listed"]
"""What a dtype did to a figure: shown to raise or lower it, not told apart, or not tested."""


@dataclasses.dataclass(frozen=True)
class PairedFigure:
    """A figure of the same seeds in float32 and in a mixed dtype.

    Attributes:
        plain, mixed: one value a seed, in the order of seeds.
        change: the median over seeds of mixed - plain; NaN without any.
        low, high: bounds of it, each wrong at most 5 % of the time; NaN below five seeds.

    """

    plain: tuple[float, ...]
    mixed: tuple[float, ...]
    change: float
    low: float
    high: float

    @property
    def verdict(self) -> Change:
        """Which way the figure changed, as far as that is shown."""
        if math.isnan(self.low):
            return "listed"
        return "higher" if self.low > 0 else "lower" if self.high < 0 else "unclear"


@dataclasses.dataclass(frozen=True)
class PrecisionVerdict:
    """One mixed dtype beside float32, at one setting, cell, clip and learner.

    Attributes:
        task, parameters, recipe: where: the recipe as text.
        cell, clip, clip_label, learner: likewise.
        dtype, precision: what was asked for, and what the kernel was measured to return.
        seeds: that ran in both.
        steps: training steps of a seed, at most.
        skill, reach: the figures; reach is that at the end of training, of the farther of h and c.
        skipped: steps that each seed left out; None where no loss is scaled.
        diverged, diverged_plain: seeds that diverged, mixed and in float32.

    """

    task: str
    parameters: str
    recipe: str
    cell: str
    clip: str
    clip_label: str
    learner: str
    dtype: str
    precision: str
    seeds: int
    steps: int
    skill: PairedFigure
    reach: PairedFigure
    skipped: tuple[int, ...] | None
    diverged: int
    diverged_plain: int


def judge_precision(rows: Rows) -> list[PrecisionVerdict]:
    """Return a verdict for each mixed dtype, setting, cell, clip and learner that ran in float32 too."""
    frame = rows.counted.frame
    if "dtype" not in frame or not frame["dtype"].isin(MIXED).any():
        return []
    ends = [name for name in ("reach_end", "cell_reach_end") if name in frame]
    far = frame[ends].astype(float).max(axis="columns") if ends else pd.Series(math.nan, frame.index)
    frame = frame.assign(far=far)
    same = [name for name in CASE if name in frame and name not in {"dtype", "replicate", "seed"}]
    frame = frame.assign(place=number_places(frame, same))
    plain, mixed = frame[frame["dtype"] == PLAIN], frame[frame["dtype"].isin(MIXED)]
    given = ["skill", "far", "status"]
    both = mixed.merge(plain[["place", "seed", *given]], on=["place", "seed"], suffixes=("", " plain"))
    parts = both.groupby(["place", "dtype"], sort=False, observed=True)
    return [_judge(part.sort_values("seed")) for _, part in parts]


def tabulate_precision(verdicts: list[PrecisionVerdict]) -> pd.DataFrame:
    """Return one line a verdict: medians over seeds, their change with its bounds, steps left out and divergence."""
    lines = []
    for one in verdicts:
        line: dict[str, Any] = {
            "task": one.task,
            "parameters": one.parameters,
            "recipe": one.recipe,
            "cell": one.cell,
            "clip": one.clip_label,
            "framework": one.learner,
            "dtype": one.dtype,
            "precision": one.precision,
            "seeds": one.seeds,
        }
        for name in ("skill", "reach"):
            figure: PairedFigure = getattr(one, name)
            line |= {
                f"{name} {PLAIN}": _find_median(figure.plain),
                name: _find_median(figure.mixed),
                f"{name} change": figure.change,
                f"{name} low": figure.low,
                f"{name} high": figure.high,
            }
        line["skipped steps"] = None if one.skipped is None else _find_median(one.skipped)
        lines.append(line | {f"diverged {PLAIN}": one.diverged_plain, "diverged": one.diverged})
    return pd.DataFrame(lines)


def _judge(part: pd.DataFrame) -> PrecisionVerdict:
    first = part.iloc[0]
    skipped = part["steps_skipped"] if "steps_skipped" in part else pd.Series(math.nan, part.index)
    return PrecisionVerdict(
        task=str(first["task"]),
        parameters=str(first["parameters"]),
        recipe=label_recipe(first.to_dict()),
        cell=str(first[CELL]),
        clip=str(first["clip"]),
        clip_label=str(first[CLIP]),
        learner=str(first[LEARNER]),
        dtype=str(first["dtype"]),
        precision=str(first["precision"]),
        seeds=int(part["seed"].nunique()),
        steps=int(part["steps"].max()),
        skill=_pair(part, "skill"),
        reach=_pair(part, "far"),
        skipped=None if skipped.isna().any() else tuple(map(int, skipped)),
        diverged=int((part["status"] == "diverged").sum()),
        diverged_plain=int((part["status plain"] == "diverged").sum()),
    )


def _pair(part: pd.DataFrame, name: str) -> PairedFigure:
    lived = part[(part["status"] != "diverged") & (part["status plain"] != "diverged")]
    values = lived[[f"{name} plain", name]].astype(float).dropna()
    plain, mixed = values.to_numpy().T
    changes = mixed - plain
    low, high = statistics.bound_median_sides(changes) if len(changes) >= FEWEST_SEEDS else statistics.MISSING
    return PairedFigure(tuple(plain), tuple(mixed), _find_median(changes), low, high)


def _find_median(values: Any) -> float:
    return float(np.median(values)) if len(values) else math.nan
