"""Which cells solve which task up to which length, and at which clip threshold.

A share of seeds stands with its 95 % Wilson interval. A seed counts as solved where every framework that ran it solved
it: in mode matched they share its weights and batches, so that another framework is no further evidence about a cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from farreach.results.analysis import statistics, tables
from farreach.results.analysis.labels import NEVER, describe_clipping, format_metric, format_percent, join_words
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, CLIP, SETTING, number_places
from farreach.results.analysis.solved import count_solved
from farreach.results.report.answers.base import SOLVED, THRESHOLD, Answer
from farreach.results.vocabulary import NONE

HALF = 0.5
"""More than this share of the seeds must have solved a task for a cell, or a threshold, to be said to solve it."""

SUMS: Any = {"solved": ("solved", "sum"), "seeds": ("seeds", "sum"), "fraction": ("clip fraction", "mean")}
SUMS |= {"clip": ("clip", "first")}


def solved(rows: Rows) -> Answer:
    """Say for each task up to which length each cell solved it, at the best of the clips and recipes tried."""
    table, gains = count_solved(rows), tuple(_gains(rows))
    if table.empty and not gains:
        return Answer(SOLVED, "", ("not known: no case of a task with a criterion has finished",), missing=True)
    parts = [f"{task}: {_cells(part)}" for task, part in table.groupby("task", sort=False, observed=True)]
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
    said += [f"{join_words(cells)} at no {name} {why}" for why, cells in never.items()]
    return ", ".join(said)


def _gains(rows: Rows) -> Iterator[tuple[str, bool]]:
    """Say of each task without a criterion what its headline metric is at best, and whether an interval is above 0."""
    lines = tables.tabulate_accuracy(rows.matched if len(rows.counted) else rows.ours)
    lines = lines[(lines["judged"] == 0) & lines["score"].notna()]
    for task, part in lines.groupby("task", sort=False, observed=True):
        best = part.loc[part.groupby(CELL, observed=True)["score"].idxmax()]
        said = []
        for _, row in best.iterrows():
            ends = "" if pd.isna(row["score low"]) else f" ({row['score low']:.2g} to {row['score high']:.2g})"
            said.append(f"{row[CELL]} {row['score']:.2g}{ends}")
        nothing = [str(cell) for cell in best.loc[best["score low"] <= 0, CELL]]
        verdict = f", where the interval of {join_words(nothing)} includes 0" if nothing else ""
        metric = format_metric(best["metric"].iloc[0])
        text = f"{task} has no criterion; its best {metric} with a 95 % interval: {', '.join(said)}{verdict}"
        yield text, bool((best["score low"] > 0).any())


def thresholds(rows: Rows) -> Answer:
    """Say for each task which clips worked, at the recipe that solved most: a threshold means something beside it only.

    Seeds are added up over the settings and cells that some clip solved, since elsewhere no threshold helped, and where
    there are such with several clips over those. One clip is told from another over the places where both ran.
    """
    table = count_solved(rows)
    if table.empty:
        return Answer(THRESHOLD, "", ("not known: no case of a task with a criterion has finished",), missing=True)
    said = [_clips(str(task), part) for task, part in table.groupby("task", sort=False, observed=True)]
    lead = "Seeds that solved it, with the 95 % interval of the share:"
    return Answer(THRESHOLD, lead, tuple(text for text, _ in said), missing=not any(known for _, known in said))


def _clips(task: str, part: pd.DataFrame) -> tuple[str, bool]:
    """Return what is said of one task, and whether some clip worked."""
    part = part.assign(recipe=number_places(part, ["optimizer", "learning_rate"]))
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
    rate = chosen["learning_rate"].iloc[0]
    more = "" if not others else f", {others} other recipe{'s' if others > 1 else ''} in the tables"
    head = f"{task} ({chosen['optimizer'].iloc[0]} {rate:g}{more}): {_named(sums[share == share.max()])}"
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
        done = describe_clipping(row["clip"], row["fraction"])
        free = row["clip"] == NONE
        notes = [_share(row)] + ([] if free else [NEVER if row["fraction"] == 0 else f"{done} of steps clipped"])
        said.append(f"{'no clip' if free else clip} ({'; '.join(notes)})")
    return join_words(said)


def _tried(part: pd.DataFrame) -> list[str]:
    tried = part.drop_duplicates(CLIP).sort_values(CLIP)
    return ["no clip" if kind == NONE else str(clip) for kind, clip in zip(tried["clip"], tried[CLIP], strict=True)]


def _interval(row: pd.Series[Any]) -> statistics.Interval:
    return statistics.bound_share(row["solved"], row["seeds"])


def _share(row: pd.Series[Any]) -> str:
    low, high = (format_percent(end) for end in _interval(row))
    return f"{row['solved']:.0f}/{row['seeds']:.0f} seed{'s' if row['seeds'] > 1 else ''}, {low} to {high}"
