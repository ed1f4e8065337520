"""The tables of the page: what stands in them, which values are best, and how they travel into the page."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import observatory, statistics, tables
from farreach.results.analysis.diagnosis import LABELS
from farreach.results.analysis.labels import DASH, format_metric, format_parameters
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, CLIP, GROUP, LEARNER, SETTING
from farreach.results.analysis.statistics import FEWEST_PAIRS
from farreach.results.report.diagnosis import write_reason, write_remarks
from farreach.results.report.phrases import write_time
from farreach.results.timing import time_to_solve
from farreach.results.timing.time_to_solve import TIMES as SECONDS
from farreach.results.timing.time_to_solve import StepTimes

MOST = 10_000
"""Rows that a table of the page holds; the Parquet file beside it holds all."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table as the page shows it.

    Attributes:
        key: the column of the data.
        title: its heading.
        kind: ``text``, ``long`` (text on several lines), ``number``, ``fixed`` (two decimals), ``share`` (in percent),
            ``of`` (a count of another) or ``spark`` (a list of numbers, drawn as a line).
        low, high: columns with the ends of an interval, shown in brackets.
        of: for ``of``, the column that is counted against.
        best: a column that is true where the value is set in bold.
        hint: what the heading says when it is pointed at.
        most: for ``spark``, what its scale reaches at least; it begins at 0, or at the least value below.
        word: a column of words, shown where there is no value.
        rank: where there is no room for all columns, those of the highest rank fold away first; 0 never does.

    """

    key: str
    title: str
    kind: str = "text"
    low: str = ""
    high: str = ""
    of: str = ""
    best: str = ""
    hint: str = ""
    most: float = 0.0
    word: str = ""
    rank: int = 5


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the page: its data, and which of them are shown under which heading.

    Attributes:
        name: its name in the link.
        source: the name of its data, and of their Parquet file; tables of one source share them.
        title: its tab.
        note: what a reader must know, one or two sentences.
        frame: the data, whole.
        columns: what is shown.
        filters: for each filter the columns of which one must hold the chosen value.
        opens: what a click opens: ``runs`` (their curves) or ``facts``.
        series: columns of lists that ``facts`` draws, each with the title of its axis.

    """

    name: str
    source: str
    title: str
    note: str
    frame: pd.DataFrame
    columns: tuple[Column, ...]
    filters: dict[str, list[str]]
    opens: str
    series: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def head(self) -> pd.DataFrame:
        """The rows that the page holds."""
        return self.frame.head(MOST)


LABELLED = (
    Column(SETTING, "setting", rank=0),
    Column(CELL, "cell", rank=1),
    Column(CLIP, "clip", rank=1),
    Column(LEARNER, "framework", rank=2),
)
LABEL_FILTERS = {column.title: [column.key] for column in LABELLED}
FILTERS = {"task": ["task"], "framework": [LEARNER], "cell": [CELL], "clip": [CLIP], "device": ["device"]}
FILTERS |= {"mode": ["mode"]}

WORD = "instead"
"""What stands where a line has no value, since every run of it diverged."""

BOLD = (
    "Bold: the highest median of its setting, and every line whose median may be as high, by the 95 % interval of a "
    f"median, and which as many seeds solved; none below {FEWEST_PAIRS} seeds, or where the best reaches down to the "
    "floor (skill 0)."
)


TIMED = (
    "median steps to solve over seeds times the seconds of a step, timed in alternation; its ends are those of both: a "
    f"95 % interval from {FEWEST_PAIRS} seeds on, below that the range over seeds"
)
TIMED_CASE = "steps to solve times the seconds of a step, timed in alternation, with the step's 95 % interval"


def tabulate_lines(rows: Rows, times: StepTimes) -> pd.DataFrame:
    """Return one line a setting, cell, clip and framework: what `tables` has, intervals over seeds, and what is best.

    Columns beyond those of `tabulate_accuracy` and `tabulate_gradients`: median with median low and high (of the skill,
    its 95 % interval), reach (mean) with its low and high (range over seeds), diagnosis (counts in words),
    best skill, best score, and keys (of the rows, by seed); with timed steps also the time to solve, as text that is
    sorted by the seconds.
    """
    frame = rows.as_drawn.frame
    reached = time_to_solve.add_times(tables.tabulate_accuracy(rows), rows, times)
    norms = tables.tabulate_gradients(rows)
    if times:
        reached[tables.TIME] = _sort_times(reached)
    table = pd.concat([reached, norms[[name for name in norms if name not in reached]]], axis="columns")
    table["parameters"] = table["parameters"].map(format_parameters)
    if "reach_end" in frame:
        far = frame[["reach_end", "cell_reach_end"]].astype(float).max(axis="columns")
    else:
        far = pd.Series(float("nan"), index=frame.index)
    found = rows.as_drawn.diagnoses["label"] if len(frame) else pd.Series(dtype=object)
    groups = frame.assign(found=found).groupby(GROUP, observed=True)
    # A run of the user's own may have no seed: such runs of a line are one.
    once = frame.assign(far=far).groupby([*GROUP, "seed"], observed=True, dropna=False)[["skill", "far"]].mean()
    each = once.groupby(GROUP, observed=True)  # one value a seed
    estimates = [statistics.estimate_median(part.dropna().to_numpy(float)) for _, part in each["skill"]]
    table[["median", "median low", "median high"]] = np.asarray(estimates, float).reshape(-1, 3)
    table["reach"] = each["far"].mean().to_numpy()
    table[["reach low", "reach high"]] = np.reshape([observatory.find_range(part) for _, part in each["far"]], (-1, 2))
    for name in ("skill", "score"):
        ends = [f"{name} low", f"{name} high"]
        table[ends] = table[ends].astype(float).mask(table["seeds"] - table["diverged"] < 2)  # noqa: PLR2004 - one seed
    table["diagnosis"] = groups["found"].agg(_count_labels).to_numpy()
    table["metric"] = table["metric"].map(format_metric)
    table["keys"] = groups["key"].agg(list).to_numpy()
    table[WORD] = np.where(table["diverged"] == table["seeds"], "diverged", "")
    table["best skill"] = _find_best(table, "median", "median low", "median high")
    enough = table[(table["judged"] == 0) & (table["seeds"] >= FEWEST_PAIRS)]
    table["best score"] = _find_best(enough, "score", "score low", "score high").reindex(table.index, fill_value=False)
    return table


def _sort_times(table: pd.DataFrame) -> pd.Categorical[str]:
    """Return times to solve as text, in the order of their seconds: first what is not known, last what took longest."""
    ranked = table.sort_values([*SECONDS], na_position="first")
    texts = pd.Series([write_time(line) for line in ranked.to_dict("records")], ranked.index, dtype=object)
    return pd.Categorical(texts.reindex(table.index), [*dict.fromkeys(texts)], ordered=True)


def tabulate_runs(rows: Rows, times: StepTimes) -> pd.DataFrame:
    """Return one line a row of the store, copies too, in the order of the lines; reach and diagnosis are added."""
    frame = rows.frame.copy(deep=False)
    if "reach_end" in frame:
        frame["reach"] = frame[["reach_end", "cell_reach_end"]].astype(float).max(axis="columns")
    else:
        frame["reach"] = float("nan")
    found = rows.diagnoses
    frame["diagnosis"], frame["finding"] = found["label"], found["reason"].map(write_reason)
    frame["remarks"] = found["remarks"].map(write_remarks)
    outcomes = {True: "solved", False: "not solved"}
    frame["outcome"] = frame["solved"].astype(object).map(outcomes).astype(object).fillna(DASH).astype(str)
    frame["outcome"] = frame["outcome"].where(frame["status"] != "diverged", "diverged")
    frame[WORD] = np.where(frame["status"] == "diverged", "diverged", "")
    frame["step ms"] = pd.to_numeric(frame["step_seconds"]) * 1e3
    if times:
        frame = frame.join(time_to_solve.time_cases(frame, times))
    frame["keys"] = [[key] for key in frame["key"]]
    # The first seed of every line comes before the second of any, so that what the page leaves out are further seeds.
    nth = frame.groupby(GROUP, observed=True).cumcount()
    return frame.iloc[np.argsort(nth.to_numpy(), kind="stable")] if len(frame) > MOST else frame


def make_accuracy(table: pd.DataFrame) -> Table:
    """Return the table of what each framework reached; `table` is that of `tabulate_lines`."""
    skill = Column("skill", "skill", "fixed", "skill low", "skill high", best="best skill", word=WORD, rank=0)
    solved = "seeds that met the task's criterion"
    columns = (
        *LABELLED,
        Column("solved", "solved", "of", of="judged", hint=solved, rank=0),
        dataclasses.replace(skill, hint="1 - loss / floor, mean and range over seeds"),
        Column("clipped", "clipped", hint="share of the steps on which the clip changed the gradient", rank=2),
        Column("steps to solve", "steps to solve", "number", hint="median over the seeds that solved it", rank=3),
        *([Column(tables.TIME, tables.TIME, hint=TIMED, rank=6)] if tables.TIME in table else []),
        Column("diverged", "diverged", "of", of="seeds", rank=4),
        Column("metric", "metric", hint="the task's headline figure", rank=7),
        Column("score", "its value", "number", "score low", "score high", best="best score", word=WORD, rank=7),
        Column("loss", "loss", "number", word=WORD, rank=8),
    )
    note = f"Means over seeds; in brackets their range. {BOLD}"
    return Table("accuracy", "lines", "Accuracy", note, table, columns, FILTERS, "runs")


def make_gradients(table: pd.DataFrame) -> Table:
    """Return the table of the gradients; `table` is that of `tabulate_lines`."""
    columns = (
        *LABELLED,
        Column("norm median", "norm", "number", rank=2, hint="global gradient norm before the clip, median"),
        Column("norm max", "largest norm", "number"),
        Column("clip fraction", "steps clipped", "share"),
        Column("clipped elements", "elements clipped", "share"),
        Column("reach", "reach", "share", "reach low", "reach high", hint="steps over which 1 % of the norm is left"),
        Column("diagnosis", "diagnosis", "long", rank=1),
        Column("diverged at", "diverged at", "number", hint="first step of the first seed"),
    )
    note = (
        "Norms before the clip, over all steps and seeds. Reach: share of the steps before the scored ones over which "
        "the gradient keeps 1 % of its norm at the end of training, mean and range over seeds."
    )
    return Table("gradients", "lines", "Gradients", note, table, columns, FILTERS, "runs")


TIME_COLUMN = Column(SECONDS[0], SECONDS[0], "number", SECONDS[1], SECONDS[2], hint=TIMED_CASE)


def make_cases(table: pd.DataFrame) -> Table:
    """Return the table of every case; `table` is that of `tabulate_runs`."""
    columns = (
        *LABELLED,
        Column("seed", "seed", "number"),
        Column("replicate", "replicate", "number", hint="0, or the number of a replicate with permuted hidden units"),
        Column("skill", "skill", "fixed", word=WORD, rank=1),
        Column("outcome", "outcome", rank=0),
        Column("steps_to_solve", "steps to solve", "number"),
        *([TIME_COLUMN] if SECONDS[0] in table else []),
        Column("clip_fraction", "steps clipped", "share"),
        Column("norm_before_max", "largest norm", "number"),
        Column("reach", "reach", "share"),
        Column("diagnosis", "diagnosis", "long"),
        Column("step ms", "step ms", "number", hint="inside the training run; not a comparison"),
    )
    note = "Every case, permuted replicates too."
    if len(table) > MOST:
        note += (
            f" The page holds {MOST:,} of the {len(table):,}, the first seeds of every line before further ones; the "
            "Parquet file holds all."
        )
    return Table("cases", "cases", "Every case", note, table, columns, FILTERS, "runs")


def _find_best(table: pd.DataFrame, name: str, low: str, high: str) -> pd.Series[bool]:
    """Return which lines are the best of their setting, or tie with it by interval; none on the floor."""
    known = table[table[low].notna() & (table["diverged"] == 0)]
    found = pd.Series(data=False, index=table.index)
    share = (table["solved"] / table["judged"].where(table["judged"] > 0)).astype(float).fillna(0.0)
    most = share.groupby(table[SETTING], observed=True).transform("max")
    known = known[(share == most).reindex(known.index)]
    for _, part in known.groupby(SETTING, observed=True):
        floor = float(part[low].to_numpy()[part[name].argmax()])
        if floor > 0:
            found[part.index[part[high] >= floor]] = True
    return found


def _count_labels(labels: pd.Series[Any]) -> str:
    """Return ``healthy``, or ``2 healthy, 1 vanishing`` where the seeds differ."""
    counts = labels.value_counts()
    if len(counts) == 1:
        return str(counts.index[0])
    return ", ".join(f"{counts[label]} {label}" for label in LABELS if label in counts)
