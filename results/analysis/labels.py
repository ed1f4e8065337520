"""Which rows belong together: the labels and groups that tables, figures and sentences share."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import pandas as pd

from farreach.results.analysis.once import LABEL, once
from farreach.results.record import METRIC, Record

FIELDS = [field.name for field in dataclasses.fields(Record) if field.name != "metrics"]
CASE = FIELDS[FIELDS.index("task") : FIELDS.index("threads") + 1]
"""The columns that make a case what it is: task to threads."""

SETTING, CELL, CLIP, LEARNER = LABEL, "cell_label", "clip_label", "learner"
GROUP = [SETTING, CELL, CLIP, LEARNER]
"""What makes one line of a table; the rows within it differ in the seed alone."""

SEEDS, FILES = 20, 1_000
"""Seeds of a line, and cases in all, whose curves a report reads."""

SETTINGS = 24
"""Settings of a task that one figure shows."""

OWN = "own"
"""The mode of a run of the user's own, which `farreach` wrote: no floor, no skill, no criterion, nothing to match."""

NONE = "none"
NEVER = "never clipped"
DASH = "\N{EN DASH}"

TASKS = ("adding", "copy", "order", "speech", "translation")
CELLS = ("rnn", "lstm", "gru")
FRAMEWORKS = ("pytorch", "tensorflow", "jax", "reference")
CLIPS = (NONE, "norm", "value", "variable")
LENGTHS = ("T", "delay", "longest")
"""The parameters that say how long a dependency is, of whichever task."""

_NUMBERS = [
    *("threshold", "learning_rate", "loss", "floor", "score", "skill", "steps_to_solve", "diverged_at"),
    *("clip_fraction", "clipped_elements", "norm_before_median", "norm_before_max", "step_seconds"),
]
_NAMED = {"task", "parameters", "optimizer", "learning_rate", "regulariser", "strength", "mode"}  # a setting's words
_APART = {"framework", "path", "cell", "activation", "clip", "threshold", "seed", "replicate"}  # have columns


def empty() -> pd.DataFrame:
    """Return a result set without rows, with every column."""
    return pd.DataFrame(columns=[*FIELDS, "skill"])


def labelled(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with four ordered categories added: setting, cell, clip and learner.

    A setting is everything but cell, clip, framework and seed, named by task, parameters,
    optimizer, learning rate, penalty and whatever else differs, as in ``adding T=50 (adam 0.003)``. A
    learner is a framework, with its path where it ran the same case by several. Rows that are
    labelled already come back as they are, so that a part keeps the labels of the whole.
    """
    if SETTING in rows:
        return rows
    frame = rows.copy()
    for column in [*_NUMBERS, *metrics(frame)]:
        frame[column] = pd.to_numeric(frame[column])
    frame["solved"] = frame["solved"].astype("boolean")
    frame[SETTING] = _settings(frame)
    frame[CELL] = _with_extra(frame, "cell", "activation", ["cell"])
    clips = zip(frame["clip"].astype(object), frame["threshold"], strict=True)
    frame[CLIP] = [clip_label(kind, at) for kind, at in clips]
    frame[LEARNER] = _with_extra(frame, "framework", "path", [SETTING, CELL, CLIP, "framework", "seed", "replicate"])
    for column, first in ((SETTING, TASKS), (CELL, CELLS), (CLIP, CLIPS), (LEARNER, FRAMEWORKS)):
        frame[column] = pd.Categorical(frame[column], categories=ordered(frame[column].unique(), first), ordered=True)
    return frame.sort_values([*GROUP, "seed", "replicate", "key"], ignore_index=True)


def few(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the rows whose curves a report reads, the first seeds of every line first, and what is said of the others.

    At most `SEEDS` of a line and `FILES` in all: beyond that, further curves move no mean that an eye can see, and
    reading them would take the time.
    """
    frame = labelled(rows)
    nth = frame.groupby(GROUP, observed=True).cumcount()
    kept = frame.loc[nth[nth < SEEDS].sort_values(kind="stable").index[:FILES]].sort_index()
    if len(kept) == len(frame):
        return frame, ""
    return kept, f" Of the {len(frame):,} cases the first seeds of every line, {len(kept):,} in all."


def pictured(rows: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the rows of each task's first `SETTINGS` settings, which a picture takes, and whether there are more."""
    frame = labelled(rows)
    there = frame[["task", SETTING]].drop_duplicates()
    first = there.groupby("task", sort=False).head(SETTINGS)
    if len(first) == len(there):
        return frame, ""
    kept = frame[frame[SETTING].isin(first[SETTING])]
    return kept, f" The first {SETTINGS} settings of a task; the tables have all."


@once
def counted(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that a verdict may count: mode matched, hidden units as drawn."""
    frame = drawn(rows)
    return _where(frame, frame["mode"] == "matched")


@once
def matched(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of mode matched, copies too, which tables leave out by themselves.

    Where there are no others these are the very rows, of which what is asked next may be known.
    """
    frame = labelled(rows)
    return _where(frame, frame["mode"] == "matched")


@once
def drawn(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of every mode whose hidden units are as drawn: what tables and figures show."""
    frame = labelled(rows)
    return _where(frame, frame["replicate"] == 0)


@once
def own(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the user's own runs."""
    frame = labelled(rows)
    return _where(frame, frame["mode"] == OWN)


@once
def ours(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a suite: all but the user's own runs."""
    frame = labelled(rows)
    return _where(frame, frame["mode"] != OWN)


def metrics(rows: pd.DataFrame) -> list[str]:
    """Return the columns that hold a task's own metrics."""
    return [column for column in rows.columns if column.startswith(METRIC)]


def clip_label(kind: str, threshold: float | None) -> str:
    """Return how a clip is written: ``none``, ``norm 0.1``, ``value 0.01``."""
    return NONE if kind == NONE else f"{kind} {threshold:g}"


def clipped(clip: str, fraction: float) -> str:
    """Return the clip fraction in words, as it stands beside every threshold; `fraction` in 0..1."""
    if clip == NONE:
        return DASH
    if fraction == 0:
        return NEVER
    return percent(fraction)


def label_learner(facts: Mapping[Any, Any]) -> str:
    """Return what a framework is called, with its path where that is given: ``pytorch``, ``pytorch (eager)``."""
    return f"{facts['framework']} ({facts['path']})" if facts.get("path") else str(facts["framework"])


def label_side(facts: Any, side: str) -> str:
    """Return what the implementation on one side of a pair is called, whose columns begin with `side`."""
    return label_learner({name: facts[f"{side} {name}"] for name in ("framework", "path")})


def label_step(facts: Mapping[Any, Any]) -> str:
    """Return what a timed step is called, given the fields of its case: ``adding T=50 lstm, 64 units, batch 32``."""
    values = " ".join(f"{name}={value}" for name, value in sorted(facts["parameters"].items()))
    return f"{facts['task']} {values} {facts['cell']}, {facts['hidden']} units, batch {facts['batch']}"


def percent(fraction: float) -> str:
    """Return a share in percent, never rounded to nothing or to everything."""
    if fraction != fraction if isinstance(fraction, float) else pd.isna(fraction):  # noqa: PLR0124 - NaN, said fast
        return DASH
    if 0 < fraction < 0.01:  # noqa: PLR2004
        return "<1 %"
    if 0.99 < fraction < 1:  # noqa: PLR2004
        return ">99 %"
    return f"{fraction:.0%}".replace("%", " %")


@functools.lru_cache(4096)
def parameters(text: str) -> str:
    """Return a task's parameters, given as JSON, as ``T=50, symbols=8``."""
    return ", ".join(f"{name}={_plain(value)}" for name, value in json.loads(text).items())


@functools.lru_cache(4096)
def length(text: str) -> tuple[str, float] | None:
    """Return the parameter, given all as JSON, that says how long the dependency is: its name and value.

    One of `LENGTHS`, else the first number; None where no parameter is a number.
    """
    values = json.loads(text)
    numbers = {name: value for name, value in values.items() if isinstance(value, int | float) and value is not True}
    name = next((one for one in (*LENGTHS, *numbers) if one in numbers), None)
    return None if name is None else (name, float(numbers[name]))


def words(name: object) -> str:
    """Return a metric's name as text: ``source gain``, ``within 0.04``."""
    return re.sub(r"(\d)_(\d)", r"\1.\2", str(name)).replace("_", " ")


def joined(parts: Iterable[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    *most, last = [*parts] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def ordered(values: Iterable[str], first: Iterable[str]) -> list[str]:
    """Sort distinct values: those that start with a word of `first` as there, then by name; numbers by size."""
    rank = {word: at for at, word in enumerate(first)}

    def key(value: str) -> tuple[int, list[tuple[bool, float, str]]]:
        parts = re.split(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", value)
        numbers = [(False, float(part), "") if at % 2 else (True, 0.0, part) for at, part in enumerate(parts)]
        return rank.get(value.split(" ", 1)[0], len(rank)), numbers

    return sorted(set(values), key=key)


def _where(frame: pd.DataFrame, holds: pd.Series[bool]) -> pd.DataFrame:
    """Return the rows for which it holds: the very frame where those are all, so that `once` knows it again."""
    return frame if holds.all() else frame[holds]


def _settings(frame: pd.DataFrame) -> pd.Series[str]:
    shown = {task: _shown(texts) for task, texts in frame.groupby("task", sort=False)["parameters"].unique().items()}
    rest = [column for column in CASE if column not in _NAMED | _APART and column in frame]
    labels = []
    place = frame.groupby(sorted(_NAMED & set(frame)), dropna=False, sort=False).ngroup()
    first = ~place.duplicated()
    for _, row in frame.loc[first].iterrows():
        values = json.loads(str(row["parameters"]))
        named = [f"{name}={_plain(values[name])}" for name in shown[row["task"]] if name in values]
        more = [] if row.get("regulariser") in {None, "none"} else [f"{row['regulariser']} {_plain(row['strength'])}"]
        more += [] if row["mode"] == "matched" else [str(row["mode"])]
        recipe = [row["optimizer"], row["learning_rate"]]  # which a run of one's own need not say
        said = " ".join(_plain(value) for value in recipe if pd.notna(value))
        labels.append(" ".join([str(row["task"]), *named, f"({', '.join([said, *more] if said else more)})"]))
    words = dict(zip(place[first], labels, strict=True))
    names = frame.assign(label=place.map(words))
    for _, group in names.groupby("label"):
        differing = group[[column for column in rest if len(group[column].unique()) > 1]]
        for column in differing:
            extra = differing[column].map(
                lambda value, name=column: "" if pd.isna(value) else f", {name} {_plain(value)}"
            )
            names.loc[group.index, "label"] = names.loc[group.index, "label"].str[:-1] + extra + ")"
    return names["label"].astype(str)


def _shown(texts: Iterable[str]) -> list[str]:
    """Return the parameters that a setting's name shows: the numbers, a run's name, and whatever differs."""
    several = [json.loads(text) for text in texts]
    names = dict.fromkeys(name for values in several for name in values)

    def shows(name: str) -> bool:
        seen = [values.get(name) for values in several]
        number = any(isinstance(value, int | float) and not isinstance(value, bool) for value in seen)
        return number or name == "name" or len({json.dumps(value) for value in seen}) > 1

    return [name for name in names if shows(name)]


def _with_extra(frame: pd.DataFrame, column: str, extra: str, within: list[Hashable]) -> pd.Series[str]:
    """Return `column`, with `extra` in brackets for every value that has several of it in one group."""
    several = frame.groupby(within, observed=True)[extra].transform("nunique") > 1
    torn = frame[column].isin(frame.loc[several, column])
    return frame[column].where(~torn, frame[column].astype(str) + " (" + frame[extra].astype(str) + ")")


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
