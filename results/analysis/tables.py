"""Rows in, tables out: every function takes the rows of a result set and returns a DataFrame.

Tables for a spreadsheet hold numbers, one line for a setting, cell, clip and framework; `wide`
and `summary` hold text, the frameworks side by side. Means and ranges are over seeds. No table
depends on the order of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from farreach.results.analysis.labels import (
    CELL,
    CLIP,
    DASH,
    GROUP,
    LEARNER,
    SETTING,
    clipped,
    drawn,
    labelled,
    metrics,
    parameters,
    words,
)
from farreach.results.analysis.once import once
from farreach.results.record import METRIC

HEAD = ["setting", "task", "parameters", "cell", "clip", "optimizer", "learning rate", "framework"]
"""The columns that open every table of numbers."""

Columns = dict[str, tuple[str, str] | None]
"""Name of a column, and the rows' column that it sums up, with how: ``("skill", "mean")``."""


@once
def accuracy(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what each framework reached, with the clip fraction beside every threshold.

    Columns beyond `HEAD`: seeds; diverged (how many of them); loss, skill and score (mean over the
    seeds that did not diverge), skill low and high (range over seeds), metric (what the score is),
    score low and high (the task's own interval, where it gives one); solved and judged (how many
    seeds solved it, of how many that have a criterion); steps to solve (median over the seeds that
    solved it); clip fraction (mean, 0 to 1) and clipped (the same in words).
    """
    frame = _scored(drawn(rows))
    return _lines(
        frame.assign(torn=frame["status"] == "diverged", judged=frame["solved"].notna()),
        {
            "seeds": ("key", "size"),
            "diverged": ("torn", "sum"),
            "loss": ("loss", "mean"),
            "skill": ("skill", "mean"),
            "skill low": ("skill", "min"),
            "skill high": ("skill", "max"),
            "metric": ("metric", "first"),
            "score": ("score", "mean"),
            "score low": ("score low", "mean"),
            "score high": ("score high", "mean"),
            "solved": ("solved", "sum"),
            "judged": ("judged", "sum"),
            "steps to solve": ("steps_to_solve", "median"),
            "clip fraction": ("clip_fraction", "mean"),
        },
    )


@once
def gradients(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the gradient norms before the clip, and what the clip did.

    Columns beyond `HEAD`: norm median (median over seeds of the median over steps), norm max, clip
    fraction (mean share of steps), clipped (in words), clipped elements (mean share of elements),
    diverged and seeds (counts), diverged at (first step of the first seed to diverge).
    """
    frame = drawn(rows)
    return _lines(
        frame.assign(torn=frame["status"] == "diverged"),
        {
            "norm median": ("norm_before_median", "median"),
            "norm max": ("norm_before_max", "max"),
            "clip fraction": ("clip_fraction", "mean"),
            "clipped": None,
            "clipped elements": ("clipped_elements", "mean"),
            "diverged": ("torn", "sum"),
            "seeds": ("key", "size"),
            "diverged at": ("diverged_at", "min"),
        },
    )


def divergence(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `gradients` beside skill, for each setting and cell in which some seed diverged.

    The clips that kept the same case from diverging stand beside the one that did not.
    """
    lines = gradients(rows).merge(accuracy(rows)[["setting", "cell", "clip", "framework", "skill"]])
    torn = lines.groupby(["setting", "cell"], observed=True)["diverged"].transform("sum") > 0
    kept = ["setting", "cell", "clip", "framework", "diverged", "seeds", "diverged at", "skill", "clipped"]
    return lines.loc[torn, [*kept, "norm median", "norm max"]].reset_index(drop=True)


def task_metrics(rows: pd.DataFrame) -> pd.DataFrame:
    """Return every metric that the tasks report at the end of training, mean over seeds."""
    means: Columns = {words(str(name).removeprefix(METRIC)): (name, "mean") for name in metrics(rows)}
    table = _lines(drawn(rows), {"clip fraction": ("clip_fraction", "mean"), "clipped": None, **means})
    return table.drop(columns="clip fraction")


def step_times(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the step times in ms that the training runs themselves saw: median and range over cases.

    They say how long the sweep took, not which framework is faster: several workers may have run
    beside each other, and a permuted replicate counts like any other case.
    """
    frame = labelled(rows)[[SETTING, CELL, LEARNER, "path", "step_seconds", "seconds_compile", "jobs"]]
    groups = frame.groupby([SETTING, CELL, LEARNER], observed=True)
    lines = [
        {
            "setting": setting,
            "cell": cell,
            "framework": learner,
            "path": ", ".join(sorted(group["path"].unique())),
            "step ms": group["step_seconds"].median() * 1e3,
            "low ms": group["step_seconds"].min() * 1e3,
            "high ms": group["step_seconds"].max() * 1e3,
            "compile s": pd.to_numeric(group["seconds_compile"]).max(),
            "cases": len(group),
            "jobs": ", ".join(f"{jobs:.0f}" for jobs in sorted(group["jobs"].dropna().unique())) or DASH,
        }
        for (setting, cell, learner), group in groups
    ]
    names = ["setting", "cell", "framework", "path", "step ms", "low ms", "high ms", "compile s", "cases", "jobs"]
    return pd.DataFrame(lines, columns=names)


def machines(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the distinct environments of the rows: versions, paths, processor, threads, commit."""
    names = [
        *("framework", "framework_version", "path", "kernel", "precision", "dtype", "device", "device_name", "threads"),
        *("jobs", "processor", "cores", "platform", "python", "numpy", "numerics", "schema", "commit"),
    ]
    counts = rows.reindex(columns=names).groupby(names, observed=True, dropna=False, sort=False).size()
    known = counts.rename("cases").reset_index().astype(object)
    groups = known.where(known.notna(), DASH).groupby(names, observed=True)["cases"]
    return groups.sum().reset_index()[[*names, "cases"]].astype({"cases": int})


def wide(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield for each setting its `accuracy` as text, the frameworks side by side: cell, clip, then theirs."""
    table = accuracy(rows)
    for setting, part in table.groupby("setting", observed=True):
        lines = []
        for (cell, clip), group in part.groupby(["cell", "clip"], observed=True):
            line = {"cell": cell, "clip": clip}
            for _, row in group.iterrows():
                line |= {f"{row['framework']} {name}": text for name, text in _texts(row).items()}
            lines.append(line)
        frame = pd.DataFrame(lines).fillna(DASH)
        ranked = [name for one in part["framework"].unique() for name in map(str, frame) if name.startswith(f"{one} ")]
        yield str(setting), frame[["cell", "clip", *ranked]]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the one compact table for a terminal: skill and solved seeds of each framework, and what was clipped."""
    lines = []
    table = accuracy(rows)
    for (setting, cell, clip), group in table.groupby(["setting", "cell", "clip"], observed=True):
        line = {"setting": str(setting), "cell": cell, "clip": clip}
        for _, row in group.iterrows():
            solved = "" if row["judged"] == 0 else f", {row['solved']}/{row['judged']}"
            line[row["framework"]] = _skill(row, spread=False) + solved
        fractions = group["clip fraction"]
        low, high = (clipped(str(clip), value) for value in (fractions.min(), fractions.max()))
        lines.append(line | {"clipped": low if low == high else f"{low} to {high}"})
    learners = list(table["framework"].unique())
    return pd.DataFrame(lines, columns=["setting", "cell", "clip", *learners, "clipped"]).fillna(DASH)


def _lines(frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return one line a group of `drawn` rows, in the groups' order: `HEAD`, then `columns`, a mean or the like each.

    ``clipped``, the clip fraction in words, stands where `columns` has it, or at the end.
    """
    head = {name: (name, "first") for name in ("task", "parameters", "optimizer", "learning_rate")}
    given = {name: how for name, how in columns.items() if how}
    table = frame.groupby(GROUP, observed=True).agg(**head, **given).reset_index()
    names = {SETTING: "setting", CELL: "cell", CLIP: "clip", LEARNER: "framework", "learning_rate": "learning rate"}
    table = table.rename(columns=names)
    for name in ("setting", "cell", "clip", "framework"):
        table[name] = table[name].cat.remove_unused_categories() if len(table) else table[name]
    for name in {"solved", "judged", "diverged", "seeds"} & set(given):
        table[name] = table[name].astype(int)
    table["parameters"] = table["parameters"].map(parameters)
    table["clipped"] = [
        clipped(str(at), share) for at, share in zip(table["clip"], table["clip fraction"], strict=True)
    ]
    return table[[*HEAD, *columns, *([] if "clipped" in columns else ["clipped"])]]


def _scored(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the ends of the headline metric's own interval, NaN where the task gives none."""
    ends: dict[str, pd.Series[float]] = {}
    for end in ("low", "high"):
        found = pd.Series(float("nan"), index=frame.index)
        for metric in frame["metric"].unique():
            if (column := f"{METRIC}{metric}_{end}") in frame:
                found = found.where(frame["metric"] != metric, frame[column])
        ends[f"score {end}"] = found
    return frame.assign(**ends)


def _texts(row: pd.Series[Any]) -> dict[str, str]:
    score = DASH if pd.isna(row["score"]) else f"{row['score']:.3g}"
    if pd.notna(row["score low"]):
        score += f" ({row['score low']:.3g} to {row['score high']:.3g})"
    return {
        "loss": DASH if pd.isna(row["loss"]) else f"{row['loss']:.3g}",
        "skill": _skill(row, spread=True),
        words(row["metric"]): score,
        "solved": DASH if row["judged"] == 0 else f"{row['solved']}/{row['judged']}",
        "steps to solve": DASH if pd.isna(row["steps to solve"]) else f"{row['steps to solve']:.0f}",
        "clipped": row["clipped"],
    }


def rounded(value: float) -> str:
    """Return a figure with two decimals, without the sign of a zero; a dash where there is none."""
    return DASH if pd.isna(value) else f"{value:.2f}".replace("-0.00", "0.00")


def _skill(row: pd.Series[Any], *, spread: bool) -> str:
    """Return the mean skill, with the range over seeds on demand, and how many seeds diverged."""
    if row["diverged"] == row["seeds"]:
        return "diverged"
    text = rounded(row["skill"])
    if spread and row["seeds"] - row["diverged"] > 1 and pd.notna(row["skill"]):
        text += f" ({rounded(row['skill low'])} to {rounded(row['skill high'])})"
    return text + (f", {row['diverged']} diverged" if row["diverged"] else "")
