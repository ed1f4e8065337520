"""Which rows belong together, by their facts: the settings, cells, clips and learners of a set."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from farreach.results.record import BELONGS_TO, METRIC, Case
from farreach.results.vocabulary import CELLS, CLIPS, FRAMEWORKS, LENGTHS, MODES, NONE, TASKS

CASE = [*(field.name for field in dataclasses.fields(Case)), "task_version", "metric_version"]
"""The columns that make a case what it is."""

SETTING, CELL, CLIP, LEARNER = "setting", "cell_label", "clip_label", "learner"
GROUP = [SETTING, CELL, CLIP, LEARNER]
"""What makes one line of a table; the rows within it differ in the seed alone.

Ordered categories, told apart and sorted by facts; what a category is called is for showing only.
"""

PLACE = [SETTING, CELL, CLIP]
"""What the learners that ran one case share."""

PLACE_FACTS = ["task", "parameters", "cell", "activation", "clip", "threshold"]
"""The facts that stand beside `PLACE`."""

NAMED = ["task", "parameters", "optimizer", "learning_rate", "regulariser", "strength", "mode"]
"""The facts that a setting's label always gives."""

RECIPE = ["schedule", *(name for name, (kind, _) in BELONGS_TO.items() if kind != "cell")]
"""The facts of optimizer and learning rate that a setting's label gives where they are not what they are by default."""

APART = {"framework", "path", "cell", "activation", "heads", "clip", "threshold", "seed", "replicate"}
"""The facts of a case that are no part of its setting."""

FURTHER = [name for name in CASE if name not in {*NAMED, *RECIPE, *APART}]
"""The facts that a setting's label gives where they tell two settings apart."""

LINE = [*NAMED, "framework", "path", "cell", "activation", "clip", "threshold"]
LINE += ["layers", "hidden", "batch", "dtype", "device", "threads"]
"""The facts of a line of a table, which stand beside its labels."""

Key = tuple[Any, ...]


def number_places(frame: pd.DataFrame, names: Iterable[str]) -> NDArray[np.int64]:
    """Number the distinct combinations of some columns from 0, in the order in which they first occur."""
    place = np.zeros(len(frame), np.int64)
    for name in names:
        codes, values = pd.factorize(frame[name], use_na_sentinel=False)
        place = pd.factorize(place * max(len(values), 1) + codes)[0]
    return place


def restore_order(table: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its labels as the ordered categories of the rows that it was made of."""
    ordered = {
        name: pd.Categorical(table[name], frame[name].cat.categories, ordered=True) for name in GROUP if name in table
    }
    return table.assign(**ordered)


def find_extra(frame: pd.DataFrame, column: str, extra: str, within: list[str]) -> pd.Series[Any]:
    """Return `extra` where a value of `column` has several of it in one group of `within`, None elsewhere."""
    several = frame.groupby(within, observed=True)[extra].transform("nunique") > 1
    split = frame[column].isin(frame.loc[several, column])
    return frame[extra].astype(object).where(split, None)


def sort_setting(facts: dict[str, Any]) -> Key:
    """Return what settings are sorted by: task, parameters by size, optimizer, learning rate, penalty, mode, others."""
    values = json.loads(str(facts["parameters"]))
    return (
        _rank(facts["task"], TASKS),
        [(name, _size(value)) for name, value in values.items()],
        *(_size(facts.get(name)) for name in ("optimizer", "learning_rate", *RECIPE)),
        facts.get("regulariser") not in {None, NONE},
        *(_size(facts.get(name)) for name in ("regulariser", "strength")),
        _rank(facts["mode"], MODES),
        *(_size(facts.get(name)) for name in FURTHER),
    )


def sort_cell(facts: dict[str, Any]) -> Key:
    """Return what cells are sorted by: the cell, then its activation or its heads."""
    return _rank(facts["cell"], CELLS), _size(facts.get("activation")), _size(facts.get("heads"))


def list_cells(table: pd.DataFrame) -> dict[str, str]:
    """Return the label of each cell in a table and the cell that it is, in their order."""
    facts = table[[CELL, "cell", "activation"]].drop_duplicates().astype(object).to_dict("records")
    ranked = sorted(facts, key=lambda line: sort_cell({str(name): value for name, value in line.items()}))
    return {str(line[CELL]): str(line["cell"]) for line in ranked}


def sort_clip(facts: dict[str, Any]) -> Key:
    """Return what clips are sorted by: none first, then each kind by its threshold."""
    return _rank(facts["clip"], CLIPS), _size(facts.get("threshold"))


def sort_learner(facts: dict[str, Any]) -> Key:
    """Return what learners are sorted by: the framework, then its path."""
    return _rank(facts["framework"], FRAMEWORKS), _size(facts.get("path"))


def sort_words(values: Iterable[str], first: Iterable[str]) -> list[str]:
    """Return distinct words: those of `first` in its order, then the others by name."""
    order = [*first]
    return sorted(set(values), key=lambda value: _rank(value, order))


@functools.lru_cache(4096)
def find_length(parameters: str) -> tuple[str, float] | None:
    """Return the parameter, given all as JSON, that says how long the dependency is: its name and value.

    One of `LENGTHS`, else the first number; None where no parameter is a number.
    """
    values = json.loads(parameters)
    numbers = {name: value for name, value in values.items() if type(value) in {int, float}}  # True is an int, too
    name = next((one for one in (*LENGTHS, *numbers) if one in numbers), None)
    return None if name is None else (name, float(numbers[name]))


def find_metrics(frame: pd.DataFrame) -> list[str]:
    """Return the columns that hold a task's own metrics."""
    return [column for column in frame.columns if column.startswith(METRIC)]


def _rank(value: object, first: Sequence[str]) -> tuple[int, str]:
    return first.index(str(value)) if value in first else len(first), str(value)


def _size(value: object) -> tuple[int, float, str]:
    """Return a value so that any two can be sorted: none first, numbers by size, then texts."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return 0, 0.0, ""
    if isinstance(value, int | float | np.number):
        return 1, float(value), ""
    return 2, 0.0, str(value)
