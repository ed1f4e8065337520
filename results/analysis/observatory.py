"""What the gradient observatory saw: how far the gradient reached, and the diagnosis of each run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import reach as flow
from farreach.results.analysis import seeds
from farreach.results.analysis.diagnosis import LABELS
from farreach.results.analysis.rows import Rows, cache_on_rows
from farreach.results.analysis.selection import CELL, CLIP, GROUP, LEARNER, LINE, SETTING, restore_order
from farreach.results.record import POINTS

HELD = 0.9
"""A run that solved its task should reach at least this share of the steps before the scored ones."""

KINDS = {"h": "reach", "c": "cell_reach", "x": "input_reach"}
"""What of is measured how far it reaches, and the column of a row: dL/dh_t, an lstm's dL/dc_t, dL/dx_t of the input."""

FARTHER = 0.05
"""Share of the steps by which an rnn must reach farther than a gated cell before it is named."""

REACH = [*GROUP, *LINE, "seeds", "steps before"]
SHOWN = ["task", *GROUP, "cell", "activation", "status", "key", "steps_before"]
DIAGNOSES = [*GROUP, *LINE, "seed", "diagnosis", "reason", "remarks"]


@dataclasses.dataclass(frozen=True)
class Holding:
    """How many of the runs that solved their task reach `HELD` of the steps at the end.

    Attributes:
        solved: runs that solved their task.
        holding: those of them that reach so far.
        short: the lines of `measure_reach` of which some solved run does not.

    """

    solved: int
    holding: int
    short: pd.DataFrame


@dataclasses.dataclass(frozen=True)
class Surprise:
    """An rnn whose gradient reaches farther than a gated cell's, which the textbook would not expect.

    Attributes:
        point: ``start`` or ``end`` of training.
        setting: the setting.
        rnn: the rnn's reach, 0 to 1.
        gated: the gated cells that reach less far, with theirs.

    """

    point: str
    setting: str
    rnn: float
    gated: tuple[tuple[str, float], ...]


@cache_on_rows
def measure_reach(rows: Rows) -> pd.DataFrame:
    """Return how far the gradient reached, one line per setting, cell, clip and framework; shares are 0 to 1.

    Columns beyond `REACH`, for ``start``, ``middle`` and ``end`` of training: those of `KINDS`, the mean over seeds,
    each with ``low`` and ``high``, their range (none of a single seed); half life at the end in steps (median over
    seeds; infinite where the norm does not fall); solved (seeds), and held (how many of those reach `HELD`, by the
    farther of h and c).
    """
    frame = _list_probed(rows)
    facts = [name for name in LINE if name in frame]
    plain = {*GROUP, *facts, "seed", "solved", "steps_before", "growth_end"}
    needed = [name for name in frame if name in plain or "reach_" in str(name)]
    lines = []
    for names, group in frame[needed].groupby(GROUP, observed=True):
        line: dict[str, Any] = dict(zip(GROUP, names, strict=True)) | {name: group[name].iloc[0] for name in facts}
        line |= {"seeds": seeds.count_seeds(group), "steps before": group["steps_before"].iloc[0]}
        for point in POINTS:
            for name, kind in KINDS.items():
                column = f"{kind}_{point}"
                values = seeds.average_by_seed(group, column)
                low, high = find_range(values)
                line |= {
                    f"{point} {name}": values.mean(),
                    f"{point} {name} low": low,
                    f"{point} {name} high": high,
                }
        held = seeds.hold_by_seed(group, "solved")
        solved = group[group["seed"].isin(held.index[held])]
        far = solved.assign(far=solved[["reach_end", "cell_reach_end"]].max(axis=1)).groupby("seed")["far"].min()
        rates = group["growth_end"].dropna().to_numpy(float)
        line |= {"half life": float(np.median(flow.compute_half_lives(rates))) if len(rates) else np.nan}
        lines.append(line | {"solved": len(far), "held": int((far >= HELD).sum())})
    return restore_order(pd.DataFrame(lines), frame)


def choose_flows(rows: Rows) -> Iterator[pd.DataFrame]:
    """Yield for each setting and cell the rows that a figure of the flow shows: the first clip's (none, where it ran).

    They are those of the first framework, whose gradient was measured, diverged ones only where there are no others.
    """
    frame = _list_probed(rows)
    frame = frame[[name for name in SHOWN if name in frame]]
    for _, group in frame.groupby(["task", SETTING, CELL], observed=True, sort=False):
        fine = group[group["status"] == "finished"]
        part = fine if len(fine) else group
        yield part[(part[CLIP] == part[CLIP].min()) & (part[LEARNER] == part[LEARNER].min())]


def summarise_spectra(rows: Rows, load: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    """Return the spectra of the recurrent matrices before and after training, means over the seeds of `choose_flows`.

    Columns: setting and cell with their facts, gate, seeds, and of layer 0 radius and sigma (largest singular value)
    at start and end.
    """
    lines = []
    for group in choose_flows(rows):
        facts = {str(name): group[name].iloc[0] for name in ("task", SETTING, CELL, "cell", "activation")}
        try:
            found = pd.concat([load(key).assign(run=key) for key in group["key"]], ignore_index=True)
        except OSError:
            continue
        found = found[found["layer"] == 0]
        ends = found.groupby("run")["step"].transform("max")
        for gate, part in found.groupby("gate", sort=False):
            line: dict[str, Any] = facts | {"gate": gate, "seeds": part["run"].nunique()}
            for name in ("radius", "sigma"):
                line |= {f"{name} start": part.loc[part["step"] == 0, name].mean()}
                line |= {f"{name} end": part.loc[part["step"] == ends[part.index], name].mean()}
            lines.append(line)
    return restore_order(pd.DataFrame(lines), rows.frame)


@cache_on_rows
def list_diagnoses(rows: Rows) -> pd.DataFrame:
    """Return one line per case: its label, the reason for it, and what else was found."""
    found = rows.as_drawn.diagnoses
    table = rows.as_drawn.frame[[name for name in (*GROUP, *LINE, "seed") if name in rows.frame]].copy()
    table["diagnosis"] = pd.Categorical(found["label"], categories=list(LABELS), ordered=True)
    table[["reason", "remarks"]] = found[["reason", "remarks"]]
    return table[[name for name in DIAGNOSES if name in table]].reset_index(drop=True)


def count_diagnoses(rows: Rows) -> pd.DataFrame:
    """Return how many cases have each diagnosis, one line per setting and cell, one column a label that occurs."""
    table = list_diagnoses(rows)
    if table.empty:
        return pd.DataFrame(columns=[SETTING, CELL])
    wide = table.pivot_table(index=[SETTING, CELL], columns="diagnosis", aggfunc="size", fill_value=0, observed=True)
    wide.columns = wide.columns.astype(str)
    return wide.reset_index()


def find_short(table: pd.DataFrame) -> Holding | None:
    """Return how many solved runs hold `HELD` of the reach; `table` is `measure_reach`; None where none solved."""
    solved = table[table["solved"] > 0]
    if solved.empty:
        return None
    return Holding(int(solved["solved"].sum()), int(solved["held"].sum()), solved[solved["held"] < solved["solved"]])


def find_surprises(table: pd.DataFrame) -> list[Surprise]:
    """Return where an rnn reaches farther than a gated cell, with the first clip and framework of `measure_reach`."""
    found = []
    for point in ("start", "end"):
        for (setting, clip, learner), part in table.groupby([SETTING, CLIP, LEARNER], sort=False, observed=True):
            alone = part[~part["cell"].duplicated(keep=False)]  # several activations are no one cell
            far = alone.set_index("cell")[[f"{point} h", f"{point} c"]].max(axis=1)
            gated = [
                cell for cell in ("lstm", "gru") if {"rnn", cell} <= set(far.index) and far["rnn"] > far[cell] + FARTHER
            ]
            if gated and clip == table[CLIP].iloc[0] and learner == table[LEARNER].iloc[0]:
                cells = tuple((cell, float(far[cell])) for cell in gated)
                found.append(Surprise(point, str(setting), float(far["rnn"]), cells))
    return found


def find_range(values: pd.Series[Any]) -> tuple[float, float]:
    """Return the least and the largest of some shares; NaN for fewer than two of them.

    What is bounded and lies near its bound has no interval of its mean that holds, so the values are what is shown.
    """
    known = values.dropna().to_numpy(float)
    return (float(known.min()), float(known.max())) if len(known) > 1 else (math.nan, math.nan)


def _list_probed(rows: Rows) -> pd.DataFrame:
    """Return the rows, hidden units as drawn, whose gradient through time was measured."""
    frame = rows.as_drawn.frame
    if "reach_start" not in frame:
        return frame.iloc[:0]
    names = [f"{kind}_{point}" for kind in (*KINDS.values(), "growth") for point in POINTS]
    seen = frame["reach_start"].notna()
    kept = frame if seen.all() else frame[seen]
    kept = kept.assign(**{name: np.nan for name in names if name not in kept})
    return kept.astype({name: float for name in names if kept[name].dtype != float})
