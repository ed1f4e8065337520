"""The tables of timed steps: what each implementation takes, and the ratio of any two."""

from __future__ import annotations

from typing import Any

import pandas as pd

from farreach.results.analysis import tables
from farreach.results.analysis.labels import label_learner, label_side
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.selection import CELL, LEARNER, SETTING
from farreach.results.report.speed_sentences import METHOD
from farreach.results.site.rerun_command import write_timing_command
from farreach.results.site.tables import Column, Table
from farreach.results.timing import interleaved
from farreach.results.timing.ratios import FASTER, STEP, USUAL

_STEP: tuple[Column, ...] = (
    Column("task", "task", rank=0),
    Column("parameters", "length", rank=1),
    Column("cell", "cell", rank=1),
    Column("hidden", "hidden", "number"),
    Column("batch", "batch", "number"),
    Column("device", "device"),
    Column("threads", "threads", "number"),
)


def make_ratios(pairs: pd.DataFrame, groups: list[dict[str, Any]]) -> Table | None:
    """Return who is faster in every pair of `groups` that was timed, None where there is none."""
    if pairs.empty:
        return None
    pairs = pairs.reset_index(drop=True)
    pairs["known"] = pairs["verdict"] == FASTER
    for side in ("faster", "slower"):
        pairs[side] = [label_side(row, side) for row in pairs.to_dict("records")]
    pairs["again"] = _list_commands(pairs, groups)
    columns = (
        *_list_step_columns(pairs),
        Column("faster", "faster", best="known", rank=0),
        Column("slower", "slower", rank=1),
        Column("times as fast", "times as fast", "number", "low", "high", best="known", rank=0),
        Column("verdict", "verdict", rank=1),
    )
    filters = {name: [name] for name in ("task", "cell", "device")}
    filters |= {"framework": ["faster framework", "slower framework"]}
    note = f"Ratio of the times of a training step, {METHOD}, with its 95 % interval. Bold: not inconclusive."
    return Table("ratios", "ratios", "Who is faster", note, tables.show_parameters(pairs), columns, filters, "facts")


def make_steps(rows: Rows, groups: list[dict[str, Any]], machine: dict[str, Any] | None) -> Table | None:
    """Return what a step takes of each implementation; of a set without timings what its training runs saw."""
    filters = {name: [name] for name in ("task", "framework", "cell", "device")}
    time = Column(
        "step ms",
        "ms per step",
        "number",
        "low ms",
        "high ms",
        best="best",
        rank=0,
        hint="median with its 95 % interval in this launch",
    )
    if groups:
        frame = interleaved.list_costs(groups, machine).rename(columns={"ms a step": "step ms"})
        frame["implementation"] = [row.get("loop") or label_learner(row) for row in frame.to_dict("records")]
        frame["again"] = _list_commands(frame, groups)
        frame["best"] = _find_best(frame, interleaved.compare_pairs(groups))
        more = (
            Column("time steps/s", "time steps/s", "number"),
            Column("share of peak", "of peak", "share", hint="of a plain matrix product's rate on this machine"),
            Column("peak MiB", "peak MiB", "number"),
            Column("compile s", "compile s", "number"),
        )
        columns = (*_list_step_columns(frame), Column("implementation", "implementation", rank=0), time, *more)
        note = "Timed in alternating blocks. Bold: the fastest of its step, and whatever is inconclusive against it."
        return Table("steps", "steps", "Speed", note, tables.show_parameters(frame), columns, filters, "facts")
    frame = tables.tabulate_step_times(rows)
    if frame.empty:
        return None
    filters |= {"framework": [LEARNER], "cell": [CELL]}
    seen = tuple(
        Column(*one)
        for one in (
            (SETTING, "setting"),
            (CELL, "cell"),
            (LEARNER, "framework"),
            ("path", "path"),
            ("step ms", "ms per step", "number", "low ms", "high ms"),
            ("compile s", "compile s", "number"),
            ("cases", "cases", "number"),
            ("jobs", "workers at a time"),
        )
    )
    note = "NOT a comparison: what the training runs saw, several beside each other; the range is over cases."
    return Table("steps", "steps", "Speed", note, frame, seen, filters, "facts")


def _list_step_columns(frame: pd.DataFrame) -> list[Column]:
    """Return the columns of a step, with those words of its recipe that the table has."""
    return [*_STEP[:3], *(Column(name, name) for name in USUAL if name in frame), *_STEP[3:]]


def _list_commands(frame: pd.DataFrame, groups: list[dict[str, Any]]) -> list[str]:
    """Return for each line the command that times its step again, of the frameworks that the line names alone."""
    found = {tuple(interleaved.list_step(group).values()): group for group in groups}
    commands = []
    for row in frame.to_dict("records"):
        group = found.get(tuple(row.get(name, USUAL.get(name)) for name in STEP))
        sides = [row[name] for name in ("framework", "faster framework", "slower framework") if name in row]
        made = str(group["facts"]["command"]) if group else ""
        commands.append(write_timing_command(made, group["step"], list(map(str, sides))) if group else "")
    return commands


def _find_best(frame: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series[bool]:
    """Return which implementations are the fastest of their step, or inconclusive against the fastest."""
    best = pd.Series(data=False, index=frame.index)
    names = [name for name in STEP if name in pairs]
    for step, part in frame.groupby(names, sort=False, observed=True):
        here = pairs[(pairs[names].astype(str) == [str(fact) for fact in step]).all(axis="columns")].to_dict("records")
        sides = [_get_side(row) for row in part.to_dict("records")]
        fastest = sides[part["step ms"].argmin()]
        known = {fastest} | {_get_side(row, side) for row in here for side in ("faster ", "slower ")}
        beaten = {
            _get_side(row, "slower ")
            for row in here
            if row["verdict"] == FASTER and _get_side(row, "faster ") == fastest
        }
        if here:
            best[part.index[[side in known - beaten for side in sides]]] = True
    return best


def _get_side(row: Any, side: str = "") -> tuple[str, str, str]:
    """Return framework, path and hand-written loop of a row, or of one side of a pair."""
    return str(row[f"{side}framework"]), str(row[f"{side}path"]), str(row.get("loop", ""))
