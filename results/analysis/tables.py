"""Rows in, tables out: every function takes the rows of a result set and returns a DataFrame.

Tables of numbers have one line for a setting, cell, clip and learner: its labels (`GROUP`), its facts (`LINE`), then
the figures. `show_labels` makes of one what people read; `tabulate_wide` and `tabulate_summary` hold text, the
frameworks side by side. Means and ranges are over seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from farreach.results.analysis.labels import (
    DASH,
    HEADINGS,
    describe_clipping,
    format_metric,
    format_parameters,
)
from farreach.results.analysis.rows import Rows, cache_on_rows
from farreach.results.analysis.selection import CELL, CLIP, GROUP, LEARNER, LINE, SETTING, find_metrics, restore_order
from farreach.results.record import METRIC
from farreach.results.vocabulary import OWN

HEAD = [SETTING, "task", "parameters", CELL, CLIP, "optimizer", "learning_rate", LEARNER]
"""What opens every table of numbers where people read it."""

TIME = "time to solve"
"""The column of times to solve, as text, which a set with timed steps has."""

Columns = dict[str, tuple[str, str]]
"""Name of a column, and the rows' column that it sums up, with how: ``("skill", "mean")``."""


@cache_on_rows
def tabulate_accuracy(rows: Rows) -> pd.DataFrame:
    """Return what each framework reached, with the clip fraction beside every threshold.

    Figures: seeds; diverged (how many of them); loss, skill and score (mean over the seeds that did not diverge),
    skill low and high, score low and high (range over seeds), metric (what the score is); solved and judged (how many
    seeds solved it, of how many that have a criterion); steps to solve (median over the seeds that solved it); clip
    fraction (mean, 0 to 1) and clipped (the same in words).
    """
    table = _summarise_lines(
        _count_seeds_once(rows.as_drawn.frame),
        {
            "seeds": ("unit", "nunique"),
            "diverged": ("torn", "sum"),
            "loss": ("loss", "mean"),
            "skill": ("skill", "mean"),
            "skill low": ("skill", "min"),
            "skill high": ("skill", "max"),
            "metric": ("metric", "first"),
            "score": ("score", "mean"),
            "score low": ("score", "min"),
            "score high": ("score", "max"),
            "solved": ("solved", "sum"),
            "judged": ("judged", "sum"),
            "steps to solve": ("steps_to_solve", "median"),
            "clip fraction": ("clip_fraction", "mean"),
        },
    )
    return table.assign(clipped=_describe_clips(table))


@cache_on_rows
def tabulate_gradients(rows: Rows) -> pd.DataFrame:
    """Return the gradient norms before the clip, and what the clip did.

    Figures: norm median (median over seeds of the median over steps), norm max, clip fraction (mean share of steps),
    clipped (in words), clipped elements (mean share of elements), diverged and seeds (counts), diverged at (first
    step of the first seed to diverge).
    """
    table = _summarise_lines(
        _count_seeds_once(rows.as_drawn.frame),
        {
            "norm median": ("norm_before_median", "median"),
            "norm max": ("norm_before_max", "max"),
            "clip fraction": ("clip_fraction", "mean"),
            "clipped elements": ("clipped_elements", "mean"),
            "diverged": ("torn", "sum"),
            "seeds": ("unit", "nunique"),
            "diverged at": ("diverged_at", "min"),
        },
    )
    table.insert(table.columns.get_loc("clipped elements"), "clipped", _describe_clips(table))  # type: ignore[arg-type]
    return table


def tabulate_divergence(rows: Rows) -> pd.DataFrame:
    """Return `tabulate_gradients` beside skill, for each setting and cell in which some seed diverged.

    The clips that kept the same case from diverging stand beside the one that did not.
    """
    lines = tabulate_gradients(rows).assign(skill=tabulate_accuracy(rows)["skill"])
    torn = lines.groupby([SETTING, CELL], observed=True)["diverged"].transform("sum") > 0
    facts = [name for name in LINE if name in lines]
    figures = ["diverged", "seeds", "diverged at", "skill", "clipped", "norm median", "norm max"]
    return lines.loc[torn, [*GROUP, *facts, *figures]].reset_index(drop=True)


def tabulate_metrics(rows: Rows) -> pd.DataFrame:
    """Return every metric that the tasks report at the end of training, mean over seeds."""
    frame = rows.as_drawn.frame
    means: Columns = {format_metric(name[len(METRIC) :]): (name, "mean") for name in find_metrics(frame)}
    table = _summarise_lines(frame, {"clip fraction": ("clip_fraction", "mean")} | means)
    place: Any = table.columns.get_loc("clip fraction")
    table.insert(place, "clipped", _describe_clips(table))
    return table.drop(columns="clip fraction")


def tabulate_step_times(rows: Rows) -> pd.DataFrame:
    """Return the step times in ms that the training runs themselves saw: median and range over cases.

    They say how long the sweep took, not which framework is faster: several workers may have run
    beside each other, and a permuted replicate counts like any other case.
    """
    facts = ["task", "device", "cell", "activation", "framework"]
    frame = rows.frame[[SETTING, CELL, LEARNER, *facts, "path", "step_seconds", "seconds_compile", "jobs"]]
    groups = frame.groupby([SETTING, CELL, LEARNER], observed=True)
    lines = [
        {SETTING: setting, CELL: cell, LEARNER: learner}
        | {name: group[name].iloc[0] for name in facts}
        | {
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
    figures = ["path", "step ms", "low ms", "high ms", "compile s", "cases", "jobs"]
    table = pd.DataFrame(lines, columns=[SETTING, CELL, LEARNER, *facts, *figures])
    return restore_order(table, rows.frame)


def tabulate_machines(rows: Rows) -> pd.DataFrame:
    """Return the distinct environments of the rows: versions, paths, processor, threads, commit."""
    names = [
        *("framework", "framework_version", "path", "kernel", "precision", "dtype", "device", "device_name", "threads"),
        *("jobs", "processor", "cores", *(["cores_granted"] if rows.frame["cores_granted"].notna().any() else [])),
        *("platform", "python", "numpy", "variables", "schema", "commit"),
    ]
    counts = rows.frame.reindex(columns=names).groupby(names, observed=True, dropna=False, sort=False).size()
    known = counts.rename("cases").reset_index().astype(object)
    groups = known.where(known.notna(), DASH).groupby(names, observed=True)["cases"]
    return groups.sum().reset_index()[[*names, "cases"]].astype({"cases": int})


def show_labels(table: pd.DataFrame, *, facts: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return a table as people read it: labels under their headings, instead of the facts that they tell.

    Args:
        table: a table with columns of `GROUP` and of `LINE`.
        facts: the columns of `LINE` that are shown beside the labels, ahead of the figures.

    """
    if not {*GROUP} & {*table}:
        return table
    head = [name for name in HEAD if name in table and (name in GROUP or name in facts)]
    told = {*GROUP, *HEAD, *LINE, *(f"{name} {side}" for name in ("framework", "path") for side in ("a", "b"))}
    rest = [name for name in table if name not in told or (name in facts and name not in HEAD)]
    return show_parameters(table[[*head, *rest]]).rename(columns=HEADINGS)


def show_parameters(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the tasks' parameters as people read them, where it has them."""
    return table.assign(parameters=table["parameters"].map(format_parameters)) if "parameters" in table else table


def tabulate_wide(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield for each setting of `tabulate_accuracy` its lines as text, the frameworks side by side: cell, clip, theirs.

    A column ``time``, if the table has one, is text already and stands beside the steps to solve.
    """
    for setting, part in table.groupby(SETTING, observed=True):
        lines = []
        columns: dict[str, list[str]] = {str(learner): [] for learner in part[LEARNER].unique()}
        for (cell, clip), group in part.groupby([CELL, CLIP], observed=True):
            line = {"cell": cell, "clip": clip}
            for _, row in group.iterrows():
                texts = {f"{row[LEARNER]} {name}": text for name, text in _format_line(row).items()}
                columns[str(row[LEARNER])] += [name for name in texts if name not in columns[str(row[LEARNER])]]
                line |= texts
            lines.append(line)
        ranked = [name for names in columns.values() for name in names]
        yield str(setting), pd.DataFrame(lines).fillna(DASH)[["cell", "clip", *ranked]]


def tabulate_summary(rows: Rows) -> pd.DataFrame:
    """Return the one compact table for a terminal: skill and solved seeds of each framework, and what was clipped."""
    lines = []
    table = tabulate_accuracy(rows)
    for (setting, cell, clip), group in table.groupby([SETTING, CELL, CLIP], observed=True):
        line = {"setting": str(setting), "cell": cell, "clip": clip}
        for _, row in group.iterrows():
            solved = "" if row["judged"] == 0 else f", {row['solved']}/{row['judged']}"
            line[row[LEARNER]] = _format_skill(row, spread=False) + solved
        fractions, kind = group["clip fraction"], str(group["clip"].iloc[0])
        low, high = (describe_clipping(kind, value) for value in (fractions.min(), fractions.max()))
        lines.append(line | {"clipped": low if low == high else f"{low} to {high}"})
    learners = list(table[LEARNER].unique())
    return pd.DataFrame(lines, columns=["setting", "cell", "clip", *learners, "clipped"]).fillna(DASH)


def format_skill(value: float) -> str:
    """Return a figure with two decimals, without the sign of a zero; a dash where there is none."""
    return DASH if pd.isna(value) else f"{value:.2f}".replace("-0.00", "0.00")


def list_facts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `GROUP` and `LINE` of each line of a table: one line a setting, cell, clip and learner, in their order.

    The path is None where the seeds of a line ran by several.
    """
    facts = [name for name in LINE if name in frame]
    lines = frame.loc[~frame.duplicated(GROUP), [*GROUP, *facts]].reset_index(drop=True)
    for name in GROUP:
        lines[name] = lines[name].cat.remove_unused_categories() if len(lines) else lines[name]
    if "path" in facts:
        paths = frame.drop_duplicates([*GROUP, "path"]).groupby(GROUP, observed=True).size().to_numpy()
        lines["path"] = lines["path"].astype(object).where(paths == 1, None)
    return lines


def _summarise_lines(frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return one line a group of the rows, in the groups' order: `list_facts`, then `columns`, a mean or the like."""
    figures = frame.groupby(GROUP, observed=True).agg(**columns).reset_index(drop=True)
    for name in {"solved", "judged", "diverged", "seeds"} & set(columns):
        figures[name] = figures[name].astype(int)
    return pd.concat([list_facts(frame), figures], axis="columns")


def _describe_clips(table: pd.DataFrame) -> list[str]:
    return [
        describe_clipping(str(kind), share) for kind, share in zip(table["clip"], table["clip fraction"], strict=True)
    ]


def _count_seeds_once(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows so that a line counts a seed once, which several versions of a framework may have run.

    Added are unit (what is counted: the seed, and of the user's own runs each), torn (diverged) and judged (has a
    criterion). A seed has solved its task where all rows of it did, and diverged where one did.
    """
    own = frame["mode"] == OWN
    unit = frame["seed"].astype(object).where(~own, frame["key"])
    frame = frame.assign(unit=unit, torn=frame["status"] == "diverged", judged=frame["solved"].notna())
    again = frame.duplicated([*GROUP, "unit"])
    if not again.any():
        return frame
    groups = frame.groupby([*GROUP, "unit"], observed=True)
    frame = frame.assign(solved=groups["solved"].transform("min"), torn=groups["torn"].transform("max"))
    return frame.assign(
        solved=frame["solved"].mask(again), torn=frame["torn"] & ~again, judged=frame["judged"] & ~again
    )


def _format_line(row: pd.Series[Any]) -> dict[str, str]:
    score = DASH if pd.isna(row["score"]) else f"{row['score']:.3g}"
    if row["seeds"] - row["diverged"] > 1 and pd.notna(row["score"]):
        score += f" ({row['score low']:.3g} to {row['score high']:.3g})"
    return {
        "loss": DASH if pd.isna(row["loss"]) else f"{row['loss']:.3g}",
        "skill": _format_skill(row, spread=True),
        format_metric(row["metric"]): score,
        "solved": DASH if row["judged"] == 0 else f"{row['solved']}/{row['judged']}",
        "steps to solve": DASH if pd.isna(row["steps to solve"]) else f"{row['steps to solve']:.0f}",
        **({TIME: row[TIME]} if TIME in row else {}),
        "clipped": row["clipped"],
    }


def _format_skill(row: pd.Series[Any], *, spread: bool) -> str:
    """Return the mean skill, with the range over seeds on demand, and how many seeds diverged."""
    if row["diverged"] == row["seeds"]:
        return "diverged"
    text = format_skill(row["skill"])
    if spread and row["seeds"] - row["diverged"] > 1 and pd.notna(row["skill"]):
        text += f" ({format_skill(row['skill low'])} to {format_skill(row['skill high'])})"
    return text + (f", {row['diverged']} diverged" if row["diverged"] else "")
