"""Updates in parts: what the clip left of a gradient's norm and direction, and what clipping each part costs in skill.

Where each part of a batch is clipped at the whole threshold before the parts are summed, the sum may be longer than the
threshold, and it has another direction than the gradient. Both are read from the curves, step by step. What that does
to the skill is told by the cases that differ in `clip_at` alone, seed by seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import seeds, statistics
from farreach.results.analysis.rows import Rows, cache_on_rows
from farreach.results.analysis.selection import CASE, GROUP, restore_order

SPLIT = ["replicas", "microbatches", "clip_at"]
"""The facts that say how an update is divided, and where its clip is."""

BEYOND = 1e-5
"""By how much more than the threshold a norm is longer than it: what float32 rounds is less."""

LENGTH, TURNED, LONGER = "norm / threshold", "cosine", "steps beyond"
MEASURED = [LENGTH, TURNED, LONGER]
FACTS = ["task", "parameters", "cell", "activation", "framework", "path", "clip", "threshold"]
TABLE = [*GROUP, *FACTS, *SPLIT, "seeds", *MEASURED, "skill", "change", "low", "high"]


def find_divided(rows: Rows) -> Rows:
    """Return the rows of mode matched, hidden units as drawn, whose updates were made in parts."""
    frame = rows.counted.frame
    if not {*SPLIT} <= {*frame}:
        return rows.counted.select(pd.Series(data=False, index=frame.index))
    return rows.counted.select((frame["replicas"].fillna(1) * frame["microbatches"].fillna(1)).astype(int) > 1)


def measure_cases(rows: Rows, load: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    """Return one line per divided case: labels, facts, and of its steps `MEASURED`.

    The norm after the clip over the threshold is the median over the steps, and so is the cosine; the share is that of
    the steps on which the norm was beyond the threshold. Norm and share are of clip norm, and missing for any other.

    Args:
        rows: of a set.
        load: maps a case's key to its curves.

    """
    frame = find_divided(rows).frame
    names = [name for name in (*GROUP, *FACTS, *SPLIT, "seed", "skill") if name in frame]
    found = [_measure_curves(load(str(key)), kind, at) for key, kind, at in _list_clips(frame)]
    return pd.concat([frame[names].reset_index(drop=True), pd.DataFrame(found, columns=MEASURED)], axis="columns")


def tabulate_splits(cases: pd.DataFrame, rows: Rows) -> pd.DataFrame:
    """Return one line per setting, cell, clip and framework of `measure_cases`: means over seeds, and what is changed.

    `change` is the median over seeds of the skill where each part was clipped minus that where the sum was; low and
    high are its 95 % interval, from `statistics.FEWEST_PAIRS` seeds on. It stands in the lines of ``before`` alone.
    """
    if cases.empty:
        return pd.DataFrame(columns=TABLE)
    changes = compare_sides(rows)
    lines = []
    for labels, group in cases.groupby(GROUP, observed=True):
        first = group.iloc[0]
        line: dict[str, Any] = dict(zip(GROUP, labels, strict=True))
        line |= {name: first[name] for name in (*FACTS, *SPLIT)} | {"seeds": seeds.count_seeds(group)}
        line |= {name: seeds.average_by_seed(group, name).mean() for name in (*MEASURED, "skill")}
        change = seeds.average_by_seed(_choose(changes, labels), "change")
        interval = statistics.bound_median(change)
        line |= {"change": change.median(), "low": interval.low, "high": interval.high}
        lines.append(line)
    return restore_order(pd.DataFrame(lines)[TABLE], rows.frame)


@cache_on_rows
def compare_sides(rows: Rows) -> pd.DataFrame:
    """Return one line per seed that ran with the clip before the reduction and after: its labels, and the change."""
    frame = find_divided(rows).frame
    if frame.empty:
        return pd.DataFrame(columns=[*GROUP, "seed", "change"])
    on = [name for name in CASE if name != "clip_at" and name in frame]
    sides = {side: frame[(frame["clip_at"] == side) & frame["skill"].notna()] for side in ("before", "after")}
    both = sides["before"].merge(sides["after"][[*on, "skill"]], on=on, suffixes=("", " after"))
    return both.assign(change=both["skill"] - both["skill after"])[[*GROUP, "seed", "change"]]


def _list_clips(frame: pd.DataFrame) -> list[tuple[Any, Any, Any]]:
    return list(frame[["key", "clip", "threshold"]].astype(object).itertuples(index=False, name=None))


def _choose(changes: pd.DataFrame, labels: tuple[Any, ...]) -> pd.DataFrame:
    """Return the lines of a table that have these labels."""
    chosen = np.ones(len(changes), bool)
    for name, label in zip(GROUP, labels, strict=True):
        chosen &= (changes[name].astype(str) == str(label)).to_numpy()
    return changes[chosen]


def _measure_curves(curves: pd.DataFrame, kind: str, threshold: float) -> dict[str, float]:
    """Return `MEASURED` of one case; of curves that lack a column, or have no number in it, what can be told."""
    found = dict.fromkeys(MEASURED, np.nan)
    if TURNED in curves:
        cosine = pd.to_numeric(curves[TURNED], errors="coerce").to_numpy(float)
        cosine = cosine[np.isfinite(cosine)]
        found[TURNED] = float(np.median(cosine)) if len(cosine) else np.nan
    norms = curves["norm_after"].to_numpy(float)
    norms = norms[np.isfinite(norms)]
    if kind == "norm" and len(norms):
        found |= {LENGTH: float(np.median(norms)) / threshold, LONGER: float((norms > threshold * (1 + BEYOND)).mean())}
    return found
