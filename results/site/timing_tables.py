"""The tables of timed steps: each contender's time, and the ratio of any two."""

from __future__ import annotations

from typing import Any

import pandas as pd

from farreach.results.analysis import tables
from farreach.results.report.answers import speed as faster
from farreach.results.site.tables import Column, Table
from farreach.results.timing import interleaved, pytest_benchmark

STEP = ["task", "parameters", "cell", "hidden", "batch", "device", "threads"]

PYTEST = "pytest benchmarks/speed --benchmark-json=FILE"
"""What made a speed.json."""

_STEP: tuple[Column, ...] = (
    Column("task", "task"),
    Column("parameters", "length"),
    Column("cell", "cell"),
    Column("hidden", "hidden", "number"),
    Column("batch", "batch", "number"),
    Column("device", "device"),
    Column("threads", "threads", "number"),
)


def ratios(timed: pd.DataFrame | None, groups: list[dict[str, Any]], launches: float | None) -> Table | None:
    """Return who is faster in every pair that was timed, None where there is none."""
    pairs, how = faster.compared(timed, groups, launches)
    if how is None or pairs.empty:
        return None
    pairs = pairs.reset_index(drop=True)
    pairs["told"] = pairs["verdict"] == interleaved.TELLS
    for end in ("faster", "slower"):
        pairs[f"{end} framework"] = [name.split(" ", 1)[0] for name in pairs[end]]
    pairs["again"] = _commands(pairs, groups)
    columns = (
        *_STEP,
        Column("faster", "faster", best="told"),
        Column("slower", "slower"),
        Column("times as fast", "times as fast", "number", "low", "high", best="told"),
        Column("verdict", "verdict"),
    )
    filters = {name: [name] for name in ("task", "cell", "device")}
    filters |= {"framework": ["faster framework", "slower framework"]}
    note = f"Ratio of the times of a training step, {how}, with its 95 % interval. Bold: told from 1."
    return Table("ratios", "ratios", "Who is faster", note, pairs, columns, filters, "facts")


def steps(
    rows: pd.DataFrame, timed: pd.DataFrame | None, groups: list[dict[str, Any]], machine: dict[str, Any] | None
) -> Table | None:
    """Return what a step takes of each contender; of a set without timings what its training runs saw."""
    filters = {name: [name] for name in ("task", "framework", "cell", "device")}
    time = Column(
        "step ms", "ms a step", "number", "low ms", "high ms", best="best", hint="median with its 95 % interval"
    )
    if groups:
        frame = interleaved.costs(groups, machine).rename(columns={"ms a step": "step ms"})
        frame["framework"] = [name.split(" ", 1)[0] for name in frame["contender"]]
        frame["again"] = _commands(frame, groups)
        frame["best"] = _best(frame, "contender", interleaved.pairs(groups))
        more = (
            Column("time steps/s", "time steps/s", "number"),
            Column("share of peak", "of peak", "share", hint="of a plain matrix product's rate on this machine"),
            Column("peak MiB", "peak MiB", "number"),
            Column("compile s", "compile s", "number"),
        )
        columns = (*_STEP, Column("contender", "contender"), time, *more)
        note = "Timed in alternating blocks. Bold: the fastest of its step, and whatever cannot be told from it."
        return Table("steps", "steps", "Speed", note, frame, columns, filters, "facts")
    if timed is not None and len(timed):
        frame = pytest_benchmark.steps(timed)
        frame["parameters"] = [f"T={value}" for value in frame.pop("T")]
        frame["contender"] = [f"{name} ({path})" for name, path in zip(frame["framework"], frame["path"], strict=True)]
        frame["again"] = PYTEST
        frame["best"] = _best(frame, "contender", faster.compared(timed, [])[0])
        columns = (*_STEP, Column("contender", "contender"), time, Column("compile s", "compile s", "number"))
        note = "Timed one after the other. Bold: the fastest of its step, and whatever cannot be told from it."
        return Table("steps", "steps", "Speed", note, frame, columns, filters, "facts")
    frame = tables.step_times(rows)
    if frame.empty:
        return None
    frame["task"], frame["device"] = (_of_setting(rows, name, frame["setting"]) for name in ("task", "device"))
    seen = tuple(
        Column(*one)
        for one in (
            ("setting", "setting"),
            ("cell", "cell"),
            ("framework", "framework"),
            ("path", "path"),
            ("step ms", "ms a step", "number", "low ms", "high ms"),
            ("compile s", "compile s", "number"),
            ("cases", "cases", "number"),
            ("jobs", "workers at a time"),
        )
    )
    note = "NOT a comparison: what the training runs saw, several beside each other; the range is over cases."
    return Table("steps", "steps", "Speed", note, frame, seen, filters, "facts")


def _of_setting(rows: pd.DataFrame, name: str, settings: pd.Series[Any]) -> list[str]:
    first = rows.groupby("setting", observed=True)[name].first()
    return [str(first[setting]) for setting in settings]


def _commands(frame: pd.DataFrame, groups: list[dict[str, Any]]) -> list[str]:
    """Return the command that timed each line's step."""
    if not groups:
        return [PYTEST] * len(frame)
    made = {interleaved.label(group): str(group["facts"]["command"]) for group in groups}
    labels = [
        f"{row['task']} {row['parameters']} {row['cell']}, {row['hidden']} units, batch {row['batch']}"
        for _, row in frame.iterrows()
    ]
    return [made.get(label, "") for label in labels]


def _best(frame: pd.DataFrame, name: str, pairs: pd.DataFrame) -> pd.Series[bool]:
    """Return which contenders are the fastest of their step, or cannot be told from the fastest."""
    found = pd.Series(data=False, index=frame.index)
    for step, part in frame.groupby(STEP, sort=False, observed=True):
        fastest = part[name].to_numpy()[part["step ms"].argmin()]
        same = pairs[(pairs[STEP].astype(str) == [str(one) for one in step]).all(axis="columns")]
        told = same[(same["faster"] == fastest) & (same["verdict"] == interleaved.TELLS)]["slower"]
        known = {fastest, *same["faster"], *same["slower"]}
        if len(same):
            found[part.index[part[name].isin(known) & ~part[name].isin(told)]] = True
    return found
