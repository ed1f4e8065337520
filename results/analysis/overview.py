"""What the pictures of a whole set show, as tables: the clip atlas, and reach against length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from farreach.results.analysis import observatory, seeds
from farreach.results.analysis.labels import format_percent
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import (
    CELL,
    CLIP,
    LEARNER,
    RECIPE,
    SETTING,
    find_length,
    number_places,
    restore_order,
)
from farreach.results.analysis.solved import count_solved
from farreach.results.vocabulary import NONE

SETTINGS = 40
"""A picture of more settings than this says less, not more."""

PLACE = ["task", "name", "length", CELL, LEARNER]
FACTS = [SETTING, CLIP, "cell", "activation", "clip", "threshold", "framework", "path", "optimizer", "learning_rate"]
FACTS += ["mode"]
REACHES = [*PLACE, *FACTS, "seeds", "reach", "low", "high"]


def tabulate_atlas(rows: Rows) -> pd.DataFrame:
    """Return `count_solved` with ``share``, the share of the seeds that solved, for the clip atlas.

    Drawn recipes have a threshold of their own each, and no place in it.
    """
    counts = count_solved(rows.listed)
    return counts.assign(share=counts["solved"] / counts["seeds"]) if len(counts) else counts.assign(share=[])


def describe_field(row: Mapping[Any, Any]) -> tuple[str, str]:
    """Return what a field of the atlas says: seeds that solved it and share of the steps clipped, ``3/3``, ``46 %``."""
    share = "" if row["clip"] == NONE else format_percent(row["clip fraction"])
    return f"{row['solved']:.0f}/{row['seeds']:.0f}", share


def limit_lines(table: pd.DataFrame, column: str = SETTING) -> pd.DataFrame:
    """Return the lines of the first `SETTINGS` settings, as many as a picture takes."""
    settings = list(dict.fromkeys(table[column]))
    return table if len(settings) <= SETTINGS else table[table[column].isin(settings[:SETTINGS])]


def tabulate_reach(rows: Rows) -> pd.DataFrame:
    """Return how far the gradient reaches at the end of training against the length of the dependency.

    One line a task, length, cell and framework, of the recipe that ran at most lengths, two at least, without a
    clip where that ran: the mean over seeds of the share of the steps before the scored ones, 0 to 1, with its range.
    """
    frame = rows.as_drawn.frame
    if "reach_end" not in frame:
        return pd.DataFrame(columns=REACHES)
    far = frame[["reach_end", "cell_reach_end"]].astype(float).max(axis="columns")
    lengths = [find_length(str(text)) or ("", float("nan")) for text in frame["parameters"]]
    recipe = number_places(frame, ["optimizer", "learning_rate", *RECIPE, "mode"])
    frame = frame.assign(
        far=far, recipe=recipe, name=[name for name, _ in lengths], length=[value for _, value in lengths]
    )
    frame = frame[frame["far"].notna() & frame["length"].notna()]
    lines: list[list[Any]] = []
    for _, part in frame.groupby("task", sort=False, observed=True):
        most = part.groupby("recipe", sort=False)["length"].nunique().idxmax()
        chosen = part[part["recipe"] == most]
        if len(chosen["length"].unique()) < 2:  # noqa: PLR2004 - one length says nothing about lengths
            continue
        for place, group in chosen.groupby(PLACE, observed=True):
            first = group[group[CLIP] == group[CLIP].min()]
            first = first[first[SETTING] == first[SETTING].min()]
            facts = [first[name].iloc[0] for name in FACTS]
            values = seeds.average_by_seed(first, "far")
            lines.append([*place, *facts, len(values), values.mean(), *observatory.find_range(values)])
    return restore_order(pd.DataFrame(lines, columns=REACHES), rows.frame)
