"""The figures of curves over training: losses and gradient norms; a framework has one colour, a clip one line style."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from farreach.results.analysis.selection import CELL, CLIP, LEARNER, SETTING
from farreach.results.figures import palette, style
from farreach.results.vocabulary import NONE

mpl.use("Agg")  # files only: no window, and none needed

Load = Callable[[str], pd.DataFrame]
"""Maps a case's key to its curves or evaluations; raises OSError where they are not there."""

BINS = 40
"""Points of a gradient-norm curve: the median over the steps (and seeds) of each bin."""


def draw_learning(table: pd.DataFrame, evaluations: Load) -> dict[str, Figure]:
    """Return for each task the evaluation loss against the step, mean over seeds, with the floor."""
    return _draw_curves(table, evaluations, _draw_evaluation_loss)


def draw_training_loss(table: pd.DataFrame, curves: Load) -> dict[str, Figure]:
    """Return for each task of the user's own runs the loss of the training batches."""
    return _draw_curves(table, curves, _draw_batch_loss)


def draw_gradient_norm(table: pd.DataFrame, curves: Load) -> dict[str, Figure]:
    """Return for each task the global gradient norm before the clip over training, with the thresholds."""
    return _draw_curves(table, curves, _draw_norms)


def _draw_curves(
    table: pd.DataFrame, load: Load, draw: Callable[[Axes, pd.DataFrame, dict[str, Any]], dict[str, Line2D]]
) -> dict[str, Figure]:
    """Return for each task one facet a setting and cell, each filled by `draw`, for the rows that have curves."""
    clips = style.choose_dashes(table)
    free = set(table.loc[table["clip"] == NONE, CLIP].astype(str))
    figures = {}
    for task, part in table.groupby("task", sort=False, observed=True):
        groups = part.groupby([SETTING, CELL], observed=True)
        facets = [(f"{cell} · {setting}", _read_curves(group, load)) for (setting, cell), group in groups]
        facets = [(title, curves) for title, curves in facets if len(curves)]
        if not facets:
            continue
        shown = pd.concat([curves for _, curves in facets])
        seen = palette.choose_looks(shown)
        used = {clip: dash for clip, dash in clips.items() if clip in set(shown[CLIP])}
        with style.use_style():
            figure, axes = style.make_grid(len(facets))
            entries = style.mark_lines(seen, used, free)
            for ax, (title, curves) in zip(axes, facets, strict=True):
                entries |= draw(ax, curves, used | {name: look.colour for name, look in seen.items()})
                style.make_step_axis(ax)
                style.write_title(ax, title, width=28)
            style.draw_legend(figure, entries)
        figures[str(task)] = figure
    return figures


FACTS = (CLIP, LEARNER, "clip", "threshold", "framework", "path", "floor", "unit", "status", "steps")
"""What a curve needs to know of its row."""


def _read_curves(group: pd.DataFrame, load: Load) -> pd.DataFrame:
    """Return the curves of some rows beneath each other, with what they are."""
    parts = []
    for row in group[["key", *(name for name in FACTS if name in group)]].to_dict("records"):
        try:
            curves = load(row["key"])
        except OSError:
            continue
        if curves.empty:
            continue
        facts = {str(name): str(row[name]) for name in (CLIP, LEARNER, "clip", "framework", "path")}
        facts |= {"run": row["key"], "unit": row.get("unit") or ""}
        numbers = {name: row.get(name) for name in ("floor", "threshold", "steps")}
        parts.append(curves.assign(**facts, **numbers, torn=row["status"] == "diverged"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _draw_evaluation_loss(ax: Axes, curves: pd.DataFrame, styles: dict[str, Any]) -> dict[str, Line2D]:
    floor = float(curves["floor"].iloc[0])
    means = _average_losses(curves[np.isfinite(curves["loss"])])
    _draw_lines(ax, means, styles, x="step", y="loss")
    ax.axhline(floor, color="0.8", linewidth=4, zorder=1)
    low, high = min([floor, *means["loss"]]), max([floor, *means["loss"]])
    ax.set_ylim(max(low / 1.15, 1e-6 * floor), min(high, 5 * floor) * 1.15)
    if low > 0 and floor / low > 4:  # noqa: PLR2004
        style.make_log_axis(ax)
    unit = str(curves["unit"].iloc[0])
    ax.set_ylabel(f"evaluation loss\n({unit})" if unit else "evaluation loss")
    return {"floor": Line2D([], [], color="0.8", linewidth=4)}


def _average_losses(finite: pd.DataFrame) -> pd.DataFrame:
    """Return the mean loss over the runs of a learner and clip at each step.

    A run that ended before the others of its line, because it was solved, keeps its last loss: else the mean would be
    that of the runs that had not.
    """
    parts = []
    for _, line in finite.groupby([LEARNER, CLIP], sort=False):
        wide = line.pivot_table(index="step", columns="run", values="loss")
        whole = sorted(set(line.loc[~line["torn"], "run"]))
        wide[whole] = wide[whole].ffill()
        facts = line[[LEARNER, CLIP]].iloc[0]
        parts.append(wide.mean(axis=1).rename("loss").reset_index().assign(**facts))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[LEARNER, CLIP, "step", "loss"])


def _draw_lines(ax: Axes, frame: pd.DataFrame, styles: dict[str, Any], *, x: str, y: str) -> None:
    """Draw one line a learner and clip, the first learner widest, so that lines that coincide all show."""
    if len(frame):
        learners = [name for name in styles if name in set(frame[LEARNER])]
        names: dict[str, Any] = {"x": x, "y": y, "hue": LEARNER, "size": LEARNER, "style": CLIP}
        widths = {name: 1.1 + 1.7 * at for at, name in enumerate(reversed(learners))}
        patterns = {clip: style.make_pattern(styles[clip]) for clip in frame[CLIP].unique()}
        looks: dict[str, Any] = {"palette": {name: styles[name] for name in learners}, "hue_order": learners}
        sns.lineplot(frame, **names, **looks, sizes=widths, dashes=patterns, estimator=None, legend=False, ax=ax)


def _take_medians(curves: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return the median of a column over each stretch of a run's steps, and over the runs of a learner and clip."""
    ends = curves.groupby("run", sort=False)["step"].transform("max")
    planned = curves["steps"].where(~curves["torn"]).fillna(ends)  # runs that were solved early share their stretches
    width = np.maximum(1, planned // BINS)  # a run that diverged early keeps its few steps apart
    binned = curves.assign(bin=(curves["step"] - 1) // width * width + (width + 1) / 2)
    return binned.groupby([LEARNER, CLIP, "bin"], sort=False)[column].median().reset_index()


def _draw_batch_loss(ax: Axes, curves: pd.DataFrame, styles: dict[str, Any]) -> dict[str, Line2D]:
    finite = curves[np.isfinite(curves["loss"])]
    _draw_lines(ax, _take_medians(finite, "loss"), styles, x="bin", y="loss")
    if len(finite) and finite["loss"].min() > 0:
        style.make_log_axis(ax)
    ax.set_ylabel("loss of the training batches")
    return {}


def _draw_norms(ax: Axes, curves: pd.DataFrame, styles: dict[str, Any]) -> dict[str, Line2D]:
    finite = curves[np.isfinite(curves["norm_before"]) & (curves["norm_before"] > 0)]
    _draw_lines(ax, _take_medians(finite, "norm_before"), styles, x="bin", y="norm_before")
    entries = {}
    lasts = finite[finite["torn"]].groupby([LEARNER, CLIP, "run"], sort=False).last().reset_index()
    for at, (learner, last) in enumerate(lasts.groupby(LEARNER, sort=False)):
        size = 90 / 2**at  # two frameworks that diverge at the same place both show
        ax.scatter(last["step"], last["norm_before"], color=styles[str(learner)], marker="x", s=size, zorder=4)
        entries["diverged"] = Line2D([], [], color="0.25", marker="x", linestyle="", markersize=7)
    norms = curves[curves["clip"] == "norm"]
    for clip, threshold in norms.groupby(CLIP)["threshold"].first().items():
        ax.axhline(threshold, color="0.35", linestyle=styles[str(clip)], linewidth=1, zorder=1)
        ax.annotate(
            f"{threshold:g}",
            (1, threshold),
            xycoords=("axes fraction", "data"),
            fontsize=7,
            color="0.35",
            xytext=(2, 0),
            textcoords="offset points",
            va="center",
        )
    style.make_log_axis(ax)
    ax.set_ylabel("global gradient norm (L2)\nbefore the clip")
    return entries
