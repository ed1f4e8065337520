"""What the pictures of a whole set show, as tables: the clip atlas, reach against length, the ratios of timed steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from farreach.results.analysis import observatory
from farreach.results.analysis.labels import CELL, CLIP, LEARNER, NONE, SETTING, drawn, labelled, length, percent
from farreach.results.report.answers import solving

SETTINGS = 40
"""A picture of more settings than this says less, not more."""

PLACE = ["task", "name", "length", CELL, LEARNER]
REACHED = ["task", "name", "length", "cell", "framework", "setting", "clip", "seeds", "reach", "low", "high"]


def atlas(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `solving.judged` with ``share``, the share of the seeds that solved, for the clip atlas."""
    found = solving.judged(labelled(rows))
    return found.assign(share=found["solved"] / found["seeds"]) if len(found) else found.assign(share=[])


def words(row: Mapping[Any, Any]) -> tuple[str, str]:
    """Return what a field of the atlas says: seeds that solved it and share of the steps clipped, ``3/3``, ``46 %``."""
    share = "" if row[CLIP] == NONE else percent(row["clip fraction"])
    return f"{row['solved']:.0f}/{row['seeds']:.0f}", share


def first(table: pd.DataFrame, column: str = SETTING) -> tuple[pd.DataFrame, str]:
    """Return the lines of the first `SETTINGS` settings, as many as a picture takes, and what is said of the others."""
    settings = list(dict.fromkeys(table[column].astype(str)))
    if len(settings) <= SETTINGS:
        return table, ""
    kept = table[table[column].astype(str).isin(settings[:SETTINGS])]
    return kept, f" The first {SETTINGS} of {len(settings)} settings; the table has all."


def reach(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how far the gradient reaches at the end of training against the length of the dependency.

    One line a task, length, cell and framework, of the recipe that ran at most lengths, two at least, without a
    clip where that ran: the mean over seeds of the share of the steps before the scored ones, 0 to 1, with its 95 % t
    interval.
    """
    frame = drawn(rows)
    if "reach_end" not in frame:
        return pd.DataFrame(columns=REACHED)
    far = frame[["reach_end", "cell_reach_end"]].astype(float).max(axis="columns")
    lengths = [length(text) or ("", float("nan")) for text in frame["parameters"].astype(object)]
    recipe = frame["optimizer"].astype(str) + " " + frame["learning_rate"].astype(str) + " " + frame["mode"].astype(str)
    frame = frame.assign(
        far=far, recipe=recipe, name=[name for name, _ in lengths], length=[value for _, value in lengths]
    )
    frame = frame[frame["far"].notna() & frame["length"].notna()]
    lines: list[list[Any]] = []
    for _, part in frame.groupby("task", sort=False):
        most = part.groupby("recipe", sort=False)["length"].nunique().idxmax()
        chosen = part[part["recipe"] == most]
        if len(chosen["length"].unique()) < 2:  # noqa: PLR2004 - one length says nothing about lengths
            continue
        for place, group in chosen.groupby(PLACE, observed=True):
            first = group[group[CLIP] == group[CLIP].min()]
            first = first[first[SETTING] == first[SETTING].min()]
            said = [str(first[SETTING].iloc[0]), str(first[CLIP].iloc[0]), len(first), first["far"].mean()]
            lines.append([*place, *said, *observatory.interval(first["far"])])
    return pd.DataFrame(lines, columns=REACHED)
