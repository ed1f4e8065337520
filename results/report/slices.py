"""Any table of a result set by its name, as a DataFrame: what `show` prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pandas as pd

from farreach.results.analysis import observatory, tables
from farreach.results.analysis.labels import HEADINGS, format_metric
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import GROUP
from farreach.results.analysis.tables import show_labels
from farreach.results.report.contents import Results
from farreach.results.report.gradient_reach import write_reach
from farreach.results.report.markdown import plain, table
from farreach.results.storage.csv_files import format_csv
from farreach.results.timing import interleaved, ratios, time_to_solve
from farreach.results.timing.time_to_solve import TIMES as SECONDS
from farreach.results.timing.time_to_solve import StepTimes

EACH = ["seed", "replicate", "skill", "score", "metric", "solved", "steps_to_solve", "clip_fraction"]
EACH += ["norm_before_median", "norm_before_max", "diverged_at", "step_seconds", "key"]


def tabulate_cases(rows: Rows, times: StepTimes) -> pd.DataFrame:
    """Return one line per case: what it is, what came out, its diagnosis and its key."""
    table = rows.frame[[*GROUP, *EACH]].copy()
    if times:
        seconds = time_to_solve.time_cases(rows.frame, times)[SECONDS[0]]
        table.insert([*table].index("steps_to_solve") + 1, SECONDS[0], seconds)
    table["metric"], table["diagnosis"] = table["metric"].map(format_metric), rows.diagnoses["label"]
    return table.rename(columns=lambda name: HEADINGS.get(name, name.replace("_", " ")))


ROWS: dict[str, Callable[[Rows, StepTimes], pd.DataFrame]] = {
    "summary": lambda rows, _: tables.tabulate_summary(rows),
    "accuracy": lambda rows, times: show_labels(time_to_solve.add_times(tables.tabulate_accuracy(rows), rows, times)),
    "metrics": lambda rows, _: show_labels(tables.tabulate_metrics(rows)),
    "gradients": lambda rows, _: show_labels(tables.tabulate_gradients(rows)),
    "reach": lambda rows, _: show_labels(write_reach(observatory.measure_reach(rows))),
    "diagnoses": lambda rows, _: show_labels(observatory.count_diagnoses(rows)),
    "divergence": lambda rows, _: show_labels(tables.tabulate_divergence(rows)),
    "cases": tabulate_cases,
    "machines": lambda rows, _: tables.tabulate_machines(rows),
}
"""The tables of trained cases, of a part of the rows as of all, with the times of steps that the set holds."""

TIMES = ("steps", "ratios", "overheads")
"""The tables of timed steps."""

ALSO = {"speed": "steps", "speed-ratios": "ratios"}
"""Names of tables of timed steps in a report, and what they are called here."""

LABELS = {*GROUP, "metrics", "command"}
"""Columns that nothing is chosen by: what they say is in others."""

SIDES = ratios.RATIO[:4]
"""Framework and path of both sides of a pair."""

SAME = ["setting", "task", "parameters", "cell", "clip", "framework", "layers", "hidden", "batch", "dtype", "device"]
SAME += ["threads", "replicate", "metric", *SIDES, "path", "loop", "at most"]
"""Columns that are said once where all lines share them; any other is a figure."""


def tabulate_timed(name: str, results: Results) -> pd.DataFrame:
    """Return a table of `TIMES`, empty where the set has no such timings."""
    timed = results.timed
    if name == "ratios":
        return timed.pairs
    if name == "overheads":
        return timed.overheads
    return interleaved.list_costs(timed.groups) if timed.groups else pd.DataFrame()


def list_tables(results: Results) -> list[str]:
    """Return the names of the tables that a set can have lines of."""
    trained = [*ROWS] if len(results.rows) else []
    return trained + [name for name in TIMES if len(tabulate_timed(name, results))]


def describe_lines(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what each line can be chosen by: its columns, its task's parameters, and a pair's frameworks as a set."""
    names = [name for name in frame if name not in LABELS]
    found = []
    for line in frame[names].to_dict("records"):
        values = {str(name): value for name, value in line.items() if not isinstance(value, list | dict)}
        frameworks = {str(line[name]) for name in SIDES if name.endswith("framework") and name in line}
        values |= {"framework": frameworks} if frameworks else {}
        found.append(values | json.loads(str(values.pop("parameters", "{}"))))
    return found


def drop_known(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table without columns that have nothing in any line."""
    return frame.dropna(axis="columns", how="all")


def format_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table as texts: numbers to three figures, gaps as a dash."""
    return frame.astype(object).map(plain)


def split_shared(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return `texts` without the columns that say the same of every line what it is, and these in words."""
    same = [name for name in SAME if name in frame and len(frame) > 1 and (frame[name] == frame[name].iloc[0]).all()]
    return frame.drop(columns=same), "; ".join(f"{name}: {frame[name].iloc[0]}" for name in same)


def write_lines(frame: pd.DataFrame, style: str) -> str:
    """Return a table as ``csv`` with all digits, as ``markdown``, or as ``latex`` (booktabs)."""
    if style == "csv":
        return format_csv(frame)
    return table(frame) if style == "markdown" else format_cells(frame).to_latex(index=False, escape=True)
