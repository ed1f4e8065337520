"""What the pictures of an atlas show, as tables: success against length, and clip by learning rate."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.analysis.labels import format_parameters
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import (
    CELL,
    CLIP,
    FURTHER,
    NAMED,
    RECIPE,
    find_length,
    number_places,
    restore_order,
)
from farreach.results.vocabulary import FEWEST_SEEDS

LENGTHS = [*("task", "place", "name", "length", CELL, "cell", "initial"), "tried", "solved", "seeds", "share"]
LENGTHS += ["low", "high"]
RATES = [*("task", "place", CELL, "cell", CLIP, "clip", "threshold", "learning_rate"), "solved", "seeds", "diverged"]
RATES += ["share"]

MANY = 2
"""Lengths, learning rates and clips from which on a picture of them says something."""

FOLLOWS = {"parameters", "chrono_length"}
"""The facts of a setting that may differ along a line over lengths."""


def tabulate_success(rows: Rows) -> pd.DataFrame:
    """Return how many seeds solved a task against the length of its dependency, with the 95 % interval of the share.

    One line a task (with its other parameters: the place), length, cell and way to draw the first weights, of the
    recipe and clip that ran at most lengths, two at least; of several such, which are counted as tried, the one that
    solved most, without an interval. A seed counts as solved where every framework solved it.
    """
    frame = _count_seeds(rows)
    found = [find_length(str(text)) or ("", float("nan")) for text in frame["parameters"]]
    frame = frame.assign(name=[name for name, _ in found], length=[value for _, value in found])
    frame = frame[frame["length"].notna()]
    if frame.empty:
        return pd.DataFrame(columns=LENGTHS)
    rest = [_drop_parameter(str(text), name) for text, name in zip(frame["parameters"], frame["name"], strict=True)]
    frame = frame.assign(place=rest)
    facts = [name for name in _list_facts(frame) if name not in FOLLOWS]
    frame = frame.assign(recipe=number_places(frame, [*facts, CLIP]))
    lines: list[list[Any]] = []
    for _, part in frame.groupby(["task", "place", "name", CELL, "initial"], observed=True, sort=False):
        lengths = part.groupby("recipe", sort=False)["length"].nunique()
        tried = part[part["recipe"].isin(lengths.index[lengths == lengths.max()])].groupby("recipe", sort=False)
        chosen = part[part["recipe"] == tried["solved"].sum().idxmax()]
        if lengths.max() < MANY:
            continue
        for length, lines_at in chosen.groupby("length"):
            group = _take_longest(lines_at)
            first = group.iloc[0]
            head = [first["task"], first["place"], first["name"], length, first[CELL], first["cell"], first["initial"]]
            solved, seeds = int(group["solved"].sum()), len(group)
            bounded = seeds >= FEWEST_SEEDS and len(tried) == 1  # what was selected has no interval
            ends = statistics.bound_share(solved, seeds) if bounded else statistics.MISSING
            lines.append([*head, len(tried), solved, seeds, solved / seeds, *ends])
    return restore_order(pd.DataFrame(lines, columns=LENGTHS), rows.frame)


def tabulate_rates(rows: Rows) -> pd.DataFrame:
    """Return how many seeds solved a task and how many diverged at each clip and learning rate.

    One line a place (the setting but for the learning rate), cell, clip and learning rate, of the places that ran two
    clips and two rates at least. A seed counts as solved where every framework solved it, as diverged where any did.
    """
    frame = _count_seeds(rows)
    if frame.empty:
        return pd.DataFrame(columns=RATES)
    facts = [name for name in _list_facts(frame) if name != "learning_rate"]
    frame = frame.assign(at=number_places(frame, facts))
    lines: list[list[Any]] = []
    names: dict[str, int] = {}
    for (at, _), part in frame.groupby(["at", CELL], observed=True, sort=False):
        if min(part[CLIP].nunique(), part["learning_rate"].nunique()) < MANY:
            continue
        place = _label_place(part.iloc[0])
        place += f" #{len(set(names.values()))}" if names.setdefault(place, int(str(at))) != at else ""
        for (_, rate), lines_at in part.groupby([CLIP, "learning_rate"], observed=True):
            group = _take_longest(lines_at)
            first = group.iloc[0]
            head = [first["task"], place, *(first[name] for name in (CELL, "cell", CLIP, "clip", "threshold")), rate]
            solved, seeds = int(group["solved"].sum()), len(group)
            lines.append([*head, solved, seeds, int(group["torn"].sum()), solved / seeds])
    return restore_order(pd.DataFrame(lines, columns=RATES), rows.frame)


def _count_seeds(rows: Rows) -> pd.DataFrame:
    """Return a line a setting, cell, clip and seed of the rows that verdicts count and that have a criterion."""
    listed = rows.listed
    frame = (listed.counted if len(listed.counted) else listed.ours.as_drawn).frame
    frame = frame[frame["solved"].notna()]
    frame = frame.assign(torn=frame["status"] == "diverged", initial=frame.get("initial", "default"))
    if frame.empty:
        return frame
    place = number_places(frame, dict.fromkeys([*_list_facts(frame), "until", "steps", CELL, CLIP]))
    seeds = frame.assign(at=place).groupby(["at", "seed"], sort=False)
    held = seeds.agg(solved=("solved", "min"), torn=("torn", "max")).reset_index(drop=True)
    first = seeds.head(1).reset_index(drop=True)
    return first.assign(solved=held["solved"].astype(bool), torn=held["torn"])


def _take_longest(group: pd.DataFrame) -> pd.DataFrame:
    """Return one line a seed, of the longest training where there were several."""
    return group.sort_values("steps", ascending=False, kind="stable").drop_duplicates("seed")


def _list_facts(frame: pd.DataFrame) -> list[str]:
    return [name for name in (*NAMED, *RECIPE, *FURTHER) if name in frame and name not in {"until", "steps"}]


def _drop_parameter(parameters: str, name: str) -> str:
    """Return a task's parameters without one of them, as text."""
    values = json.loads(parameters)
    return format_parameters(json.dumps({key: value for key, value in values.items() if key != name}), between=" ")


def _label_place(row: pd.Series[Any]) -> str:
    parts = [str(row["task"]), format_parameters(str(row["parameters"]), between=" ")]
    drawn = [] if row["initial"] == "default" else [str(row["initial"])]
    return f"{' '.join(part for part in parts if part)} ({', '.join([str(row['optimizer']), *drawn])})"
