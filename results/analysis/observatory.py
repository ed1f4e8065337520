"""What the gradient observatory saw: how far the gradient reached, and what is wrong with each run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from farreach.results.analysis import reach as flow
from farreach.results.analysis import statistics
from farreach.results.analysis.diagnosis import LABELS, among
from farreach.results.analysis.labels import CELL, CLIP, GROUP, LEARNER, SETTING, drawn, joined, labelled, percent
from farreach.results.analysis.once import once
from farreach.results.record import POINTS

HELD = 0.9
"""A run that solved its task should reach at least this share of the steps before the scored ones."""

REACH = ["setting", "cell", "clip", "framework", "seeds", "steps before"]
SHOWN = ["task", *GROUP, "status", "key", "steps_before"]
DIAGNOSES = ["setting", "cell", "clip", "framework", "seed", "diagnosis", "evidence", "remarks"]


@once
def reach(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how far the gradient reached, one line a setting, cell, clip and framework; shares are 0 to 1.

    Columns beyond `REACH`, for ``start``, ``middle`` and ``end`` of training: ``h`` and ``c`` (lstm), the mean over
    seeds, each with ``low`` and ``high``, its 95 % t interval cut to 0..1 (none for a single seed); half life at the
    end in steps (median over seeds; infinite where the norm does not fall); solved (seeds), and held (how many of
    those reach `HELD`, by the farther of the two).
    """
    frame = _probed(rows)
    plain = {*GROUP, "solved", "steps_before", "growth_end"}
    needed = [name for name in frame if name in plain or "reach_" in str(name)]
    lines = []
    for names, group in frame[needed].groupby(GROUP, observed=True):
        line: dict[str, Any] = dict(
            zip(REACH, [*map(str, names), len(group), group["steps_before"].iloc[0]], strict=True)
        )
        for point in POINTS:
            for name, column in (("h", f"reach_{point}"), ("c", f"cell_reach_{point}")):
                low, high = interval(group[column])
                line |= {
                    f"{point} {name}": group[column].mean(),
                    f"{point} {name} low": low,
                    f"{point} {name} high": high,
                }
        solved = group[group["solved"].eq(True).fillna(value=False)]  # noqa: FBT003 - a value to compare with
        far = solved[["reach_end", "cell_reach_end"]].max(axis=1)
        rates = group["growth_end"].dropna().to_numpy(float)
        line |= {"half life": float(np.median(flow.half_lives(rates))) if len(rates) else np.nan}
        lines.append(line | {"solved": len(solved), "held": int((far >= HELD).sum())})
    return pd.DataFrame(lines)


def shown(rows: pd.DataFrame) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    """Yield task, setting, cell and the rows that a figure of the flow shows: the first clip's (none, where it ran).

    They are those of the first framework, whose gradient was measured, diverged ones only where there are no others.
    """
    frame = _probed(rows)
    frame = frame[[name for name in SHOWN if name in frame]]
    for (task, setting, cell), group in frame.groupby(["task", SETTING, CELL], observed=True, sort=False):
        fine = group[group["status"] == "finished"]
        part = fine if len(fine) else group
        first = part[(part[CLIP] == part[CLIP].min()) & (part[LEARNER] == part[LEARNER].min())]
        yield str(task), str(setting), str(cell), first


def spectra(rows: pd.DataFrame, load: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    """Return the spectra of the recurrent matrices before and after training, means over the seeds of `shown`.

    Columns: setting, cell, gate, seeds, and of layer 0 radius and sigma (largest singular value) at start and end.
    """
    lines = []
    for _, setting, cell, group in shown(rows):
        try:
            found = pd.concat([load(key).assign(run=key) for key in group["key"]], ignore_index=True)
        except OSError:
            continue
        found = found[found["layer"] == 0]
        ends = found.groupby("run")["step"].transform("max")
        for gate, part in found.groupby("gate", sort=False):
            line: dict[str, Any] = {"setting": setting, "cell": cell, "gate": gate, "seeds": part["run"].nunique()}
            for name in ("radius", "sigma"):
                line |= {f"{name} start": part.loc[part["step"] == 0, name].mean()}
                line |= {f"{name} end": part.loc[part["step"] == ends[part.index], name].mean()}
            lines.append(line)
    return pd.DataFrame(lines)


def reach_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return `reach` as people read it: shares in percent, intervals in brackets."""
    if table.empty:
        return pd.DataFrame(columns=REACH)
    shown = table[REACH].copy()
    for point in POINTS:
        for name, what in (("h", "dL/dh"), ("c", "dL/dc")):
            columns = [f"{point} {name}{end}" for end in ("", " low", " high")]
            shown[f"{point} {what}"] = [_spread(*values) for values in table[columns].itertuples(index=False)]
    shown["half life"] = [_steps(value) for value in table["half life"]]
    shown["solved, held 0.9"] = [f"{row['solved']}, {row['held']}" for _, row in table.iterrows()]
    return shown


@once
def diagnosed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a diagnosis for every case, one line each: the label, the evidence, and what else was found."""
    frame = drawn(labelled(rows))
    found = among(labelled(rows), frame)
    table = pd.DataFrame({name: frame[column].astype(str) for name, column in zip(DIAGNOSES, GROUP, strict=False)})
    table["seed"] = frame["seed"]
    table["diagnosis"] = pd.Categorical(found["label"], categories=list(LABELS), ordered=True)
    table["evidence"], table["remarks"] = found["sentence"], found["remarks"].map("; ".join)
    return table[DIAGNOSES].reset_index(drop=True)


def counts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how many cases have each diagnosis, one line a setting and cell, one column a label that occurs."""
    table = diagnosed(rows)
    if table.empty:
        return pd.DataFrame(columns=["setting", "cell"])
    table = table.assign(order=range(len(table)))
    first = table.groupby(["setting", "cell"])["order"].min().sort_values()
    keys = ["setting", "cell"]
    wide = table.pivot_table(index=keys, columns="diagnosis", aggfunc="size", fill_value=0, observed=True)
    return wide.loc[first.index].rename_axis(columns=None).reset_index()


def sentences(rows: pd.DataFrame) -> list[str]:
    """Say how far each cell's gradient reached, who solved without it, and what the textbook would not expect."""
    table = reach(rows)
    return [*_diagnoses(rows), *_reached(table), *_held(table), *_surprises(table)] if len(table) else _diagnoses(rows)


def interval(values: pd.Series[Any]) -> tuple[float, float]:
    """Return the 95 % t interval of the mean of shares, cut to 0..1; NaN for fewer than two of them."""
    known = values.dropna().to_numpy(float)
    if len(known) < 2:  # noqa: PLR2004
        return float("nan"), float("nan")
    wide = float(statistics.student(len(known) - 1)) * float(known.std(ddof=1) / math.sqrt(len(known)))
    return max(0.0, known.mean() - wide), min(1.0, known.mean() + wide)


def _probed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, hidden units as drawn, whose gradient through time was measured."""
    frame = drawn(labelled(rows))
    if "reach_start" not in frame:
        return frame.iloc[:0]
    names = [f"{kind}_{point}" for kind in ("reach", "cell_reach", "growth") for point in POINTS]
    seen = frame["reach_start"].notna()
    kept = frame if seen.all() else frame[seen]
    return kept.astype({name: float for name in names if kept[name].dtype != float})


def _diagnoses(rows: pd.DataFrame) -> list[str]:
    table = diagnosed(rows)
    said = [f"{number} {label}" for label in LABELS if (number := int((table["diagnosis"] == label).sum()))]
    return [f"Diagnoses of {len(table)} cases: {joined(said)}."] if said else []


def _reached(table: pd.DataFrame) -> Iterator[str]:
    """Say for each setting how far the gradient reached at the end, without clipping where that was run."""
    for setting, part in table.groupby("setting", sort=False):
        clip = part["clip"].iloc[0]
        learner = part["framework"].iloc[0]
        lines = part[(part["clip"] == clip) & (part["framework"] == learner)]
        said = [f"{row['cell']} {_end(row)}" for _, row in lines.iterrows()]
        with_ = "without clipping" if clip == "none" else f"with clip {clip}"
        yield (
            f"At the end of training on {setting}, {with_} ({learner}), the gradient keeps 1 % of its norm over this "
            f"share of the {lines['steps before'].iloc[0]:.0f} steps before the scored ones: {'; '.join(said)}."
        )


def _end(row: pd.Series[Any]) -> str:
    text = _spread(row["end h"], row["end h low"], row["end h high"])
    if pd.notna(row["end c"]):
        text += f", its dL/dc {_spread(row['end c'], row['end c low'], row['end c high'])}"
    return text


def _held(table: pd.DataFrame) -> Iterator[str]:
    """Say whether the runs that solved their task hold `HELD` of the reach, and which do not."""
    solved = table[table["solved"] > 0]
    if solved.empty:
        return
    held, all_ = int(solved["held"].sum()), int(solved["solved"].sum())
    short = solved[solved["held"] < solved["solved"]]
    missing = [
        f"{row['cell']} in {row['setting']}, clip {row['clip']} ({row['framework']}; end {_end(row)}, "
        f"middle {_spread(row['middle h'], row['middle h low'], row['middle h high'])})"
        for _, row in short.iterrows()
    ]
    why = (
        f" These do not: {'; '.join(missing)}. Reach is a ratio of the probe's own gradients: once a task is solved "
        "its errors, and with them the gradient, are small, and a small gradient need not point far back."
        if missing
        else ""
    )
    yield f"Of the {all_} runs that solved their task, {held} reach at least {HELD:g} of the steps at the end.{why}"


def _surprises(table: pd.DataFrame) -> Iterator[str]:
    """Report where an rnn reaches farther than a gated cell, which the textbook would not expect."""
    for point in ("start", "end"):
        found = []
        for (setting, clip, learner), part in table.groupby(["setting", "clip", "framework"], sort=False):
            far = part.set_index("cell")[[f"{point} h", f"{point} c"]].max(axis=1)
            gated = [
                cell for cell in ("lstm", "gru") if {"rnn", cell} <= set(far.index) and far["rnn"] > far[cell] + 0.05
            ]
            if gated and clip == table["clip"].iloc[0] and learner == table["framework"].iloc[0]:
                others = joined(f"{cell} {percent(far[cell])}" for cell in gated)
                found.append(f"{setting}: rnn {percent(far['rnn'])}, {others}")
        if found:
            when = "before training" if point == "start" else "at the end of training"
            head = f"Against the textbook's expectation the rnn's gradient reaches farther than a gated cell's {when}"
            yield f"{head}: {'; '.join(found)}."


def _spread(mean: float, low: float, high: float) -> str:
    if pd.isna(mean):
        return "\N{EN DASH}"
    if pd.isna(low):
        return percent(mean)
    return f"{percent(mean)} ({'every seed' if low == high else f'{percent(low)} to {percent(high)}'})"


def _steps(value: float) -> str:
    if pd.isna(value):
        return "\N{EN DASH}"
    return "does not fall" if np.isinf(value) else f"{value:.1f} steps"
