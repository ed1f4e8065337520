"""Which cells solve which task up to which length, and at which clip threshold.

A share of seeds stands with its 95 % Wilson interval. A seed counts as solved where every framework that ran it solved
it: in mode matched they share its weights and batches, so that another framework is no further evidence about a cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from farreach.results.analysis import statistics, tables
from farreach.results.analysis.labels import (
    CELL,
    CLIP,
    NEVER,
    NONE,
    SETTING,
    clipped,
    counted,
    drawn,
    joined,
    length,
    matched,
    ours,
    percent,
    words,
)
from farreach.results.analysis.once import once
from farreach.results.report.answers.base import SOLVED, THRESHOLD, Answer

HALF = 0.5
"""More than this share of the seeds must have solved a task for a cell, or a threshold, to be said to solve it."""

KEYS = ["task", "recipe", "name", "length", SETTING, CELL, CLIP]
JUDGED = [*KEYS, "solved", "seeds", "clip fraction"]
SUMS: Any = {"solved": ("solved", "sum"), "seeds": ("seeds", "sum"), "fraction": ("clip fraction", "mean")}


@once
def judged(frame: pd.DataFrame) -> pd.DataFrame:
    """Return for each setting, cell and clip how many seeds solved the task.

    Columns: task, recipe (optimizer and learning rate), name and length (of the parameter that says how long the
    dependency is), setting, cell, clip, solved and seeds (counts), and clip fraction (mean).
    """
    rows = _verdicts(frame)
    rows = rows[rows["solved"].notna()]
    if rows.empty:
        return pd.DataFrame(columns=JUDGED)
    lengths = [length(text) or ("", 0.0) for text in rows["parameters"].astype(object)]
    facts: dict[str, Any] = {
        "recipe": rows["optimizer"].astype(str) + rows["learning_rate"].map(" {:g}".format),
        "name": [name for name, _ in lengths],
        "length": [value for _, value in lengths],
        "solved": rows["solved"].astype(bool),
    }
    seeds = rows.assign(**facts).groupby([*KEYS, "seed"], observed=True, sort=False)
    each = seeds.agg(solved=("solved", "min"), fraction=("clip_fraction", "mean")).reset_index()
    lines = each.groupby(KEYS, observed=True, sort=False)
    found = lines.agg(solved=("solved", "sum"), seeds=("solved", "size"), fraction=("fraction", "mean")).reset_index()
    return found.rename(columns={"fraction": "clip fraction"})[JUDGED]


def _verdicts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that a verdict counts, or those of mode native where no others ran."""
    return counted(frame) if len(counted(frame)) else ours(drawn(frame))


def solved(frame: pd.DataFrame) -> Answer:
    """Say for each task up to which length each cell solved it, at the best of the clips and recipes tried."""
    table, gains = judged(frame), tuple(_gains(frame))
    if table.empty and not gains:
        return Answer(SOLVED, "", ("not known: no case of a task with a criterion has finished",), missing=True)
    parts = [f"{task}: {_cells(part)}" for task, part in table.groupby("task", sort=False)]
    lead = "By more than half of the seeds (with the 95 % interval of the share), at the best clip and recipe tried:"
    lead = lead if parts else ""
    known = (table["solved"] > HALF * table["seeds"]).any() or any(above for _, above in gains)
    return Answer(SOLVED, lead, (*parts, *(text for text, _ in gains)), missing=not known)


def _cells(part: pd.DataFrame) -> str:
    name, said = part["name"].iloc[0], []
    never: dict[str, list[str]] = {}
    rank = part.assign(share=part["solved"] / part["seeds"]).sort_values(["share", "seeds"], kind="stable")
    for cell, group in rank.groupby(CELL, observed=True):
        best = group.groupby("length").last()
        done = best[best["share"] > HALF]
        if done.empty:
            tried = ", ".join(f"{one:g}" for one in best.index)
            never.setdefault(f"({tried} tried; at {best.index[0]:g} {_share(best.iloc[0])})", []).append(str(cell))
            continue
        reached = done.index[-1]
        missed, beyond = best.index[best.index < reached].difference(done.index), best[best.index > reached]
        notes = [_share(done.iloc[-1])]
        notes += [f"not at {', '.join(f'{one:g}' for one in missed)}"] if len(missed) else []
        notes += [f"at {beyond.index[0]:g} {_share(beyond.iloc[0])}"] if len(beyond) else ["the longest tried"]
        said.append(f"{cell} up to {name}={reached:g} ({'; '.join(notes)})")
    said += [f"{joined(cells)} at no {name} {why}" for why, cells in never.items()]
    return ", ".join(said)


def _gains(frame: pd.DataFrame) -> Iterator[tuple[str, bool]]:
    """Say of each task without a criterion what its headline metric is at best, and whether an interval is above 0."""
    lines = tables.accuracy(matched(frame) if len(counted(frame)) else ours(frame))
    lines = lines[(lines["judged"] == 0) & lines["score"].notna()]
    for task, part in lines.groupby("task", sort=False):
        best = part.loc[part.groupby("cell", observed=True)["score"].idxmax()]
        said = []
        for _, row in best.iterrows():
            ends = "" if pd.isna(row["score low"]) else f" ({row['score low']:.2g} to {row['score high']:.2g})"
            said.append(f"{row['cell']} {row['score']:.2g}{ends}")
        nothing = [str(cell) for cell in best.loc[best["score low"] <= 0, "cell"]]
        verdict = f", where the interval of {joined(nothing)} includes 0" if nothing else ""
        metric = words(best["metric"].iloc[0])
        text = f"{task} has no criterion; its best {metric} with a 95 % interval: {', '.join(said)}{verdict}"
        yield text, bool((best["score low"] > 0).any())


def thresholds(frame: pd.DataFrame) -> Answer:
    """Say for each task which clips worked, at the recipe that solved most: a threshold means something beside it only.

    Seeds are added up over the settings and cells that some clip solved, since elsewhere no threshold helped, and where
    there are such with several clips over those. One clip is told from another over the places where both ran.
    """
    table = judged(frame)
    if table.empty:
        return Answer(THRESHOLD, "", ("not known: no case of a task with a criterion has finished",), missing=True)
    said = [_clips(str(task), part) for task, part in table.groupby("task", sort=False)]
    lead = "Seeds that solved it, with the 95 % interval of the share:"
    return Answer(THRESHOLD, lead, tuple(text for text, _ in said), missing=not any(known for _, known in said))


def _clips(task: str, part: pd.DataFrame) -> tuple[str, bool]:
    """Return what is said of one task, and whether some clip worked."""
    places = [part[SETTING], part[CELL]]
    some = part[(part["solved"] > HALF * part["seeds"]).groupby(places, observed=True).transform("any")]
    if some.empty:
        return f"{task}: none of those tried ({', '.join(_tried(part))}), since no cell solved it", False
    recipe = some.groupby("recipe", sort=False)["solved"].sum().idxmax()
    chosen = some[some["recipe"] == recipe]
    several = chosen.groupby([SETTING, CELL], observed=True)[CLIP].transform("nunique") > 1
    chosen = chosen[several] if several.any() else chosen
    sums = chosen.groupby(CLIP, observed=True).agg(**SUMS)
    share = sums["solved"] / sums["seeds"]
    others = part["recipe"].nunique() - 1
    more = "" if not others else f", {others} other recipe{'s' if others > 1 else ''} in the tables"
    head = f"{task} ({recipe}{more}): {_named(sums[share == share.max()])}"
    if len(sums) == 1:
        return f"{head}, the only one tried", True
    if share.min() == share.max():
        return f"{head}, without a difference", True
    best = sums[share == share.max()]["seeds"].idxmax()
    rest = [clip for clip in sums.index if share[clip] < share.max()]
    told = [clip for clip in rest if _apart(chosen, str(best), str(clip))]
    unsure = [clip for clip in rest if clip not in told]
    better = [f"better than {_named(sums.loc[told])}"] if told else []
    chance = [f"whether better than {_named(sums.loc[unsure])} cannot be told from so few seeds"] if unsure else []
    return ", ".join([head, *better, *chance]), True


def _apart(chosen: pd.DataFrame, best: str, other: str) -> bool:
    """Return whether the shares of two clips have intervals without a common point, where both of them ran."""
    both = chosen[chosen[CLIP].isin([best, other])]
    both = both[both.groupby([SETTING, CELL], observed=True)[CLIP].transform("nunique") > 1]
    if both.empty:
        return False
    sums = both.groupby(CLIP, observed=True).agg(**SUMS)
    return not _interval(sums.loc[best]).overlaps(_interval(sums.loc[other]))


def _named(sums: pd.DataFrame) -> str:
    """Return ``no clip (4/4 seeds, 51 % to 100 %) and norm 1 (4/4 seeds, 51 % to 100 %; 46 % of steps clipped)``."""
    said = []
    for clip, row in sums.iterrows():
        done = clipped(str(clip), row["fraction"])
        notes = [_share(row)] + ([] if clip == NONE else [done if done == NEVER else f"{done} of steps clipped"])
        said.append(f"{'no clip' if clip == NONE else clip} ({'; '.join(notes)})")
    return joined(said)


def _tried(part: pd.DataFrame) -> list[str]:
    return [
        "no clip" if clip == NONE else str(clip) for clip in part[CLIP].cat.categories if (part[CLIP] == clip).any()
    ]


def _interval(row: pd.Series[Any]) -> statistics.Interval:
    return statistics.bound_share(row["solved"], row["seeds"])


def _share(row: pd.Series[Any]) -> str:
    low, high = (percent(end) for end in _interval(row))
    return f"{row['solved']:.0f}/{row['seeds']:.0f} seed{'s' if row['seeds'] > 1 else ''}, {low} to {high}"
