"""The figures of training: rows with their labels and curves in, matplotlib figures out, drawn by seaborn.

A framework has one colour and marker everywhere, a clip one line style.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from farreach.results.analysis import selection
from farreach.results.analysis.rows import SEEDS
from farreach.results.analysis.selection import CELL, CLIP, LEARNER, SETTING
from farreach.results.figures import palette, style
from farreach.results.vocabulary import NONE

LOWEST = -0.3
"""Skill below this is drawn here, so that one bad run does not flatten the others."""

ROOM = 1.4
"""The factor by which a logarithmic axis of step times goes beyond them."""

ROW = 15.0
"""Positions of cell and clip that fit beside each other at full width."""


def draw_skill(table: pd.DataFrame) -> dict[str, Figure]:
    """Return for each task the skill at the end of training by cell and threshold.

    Small points are seeds; a large one with a bar is their mean and its standard error.
    """
    return {str(task): _draw_skill(part) for task, part in table.groupby("task", sort=False, observed=True)}


def draw_clip_fraction(table: pd.DataFrame) -> dict[str, Figure]:
    """Return for each task the share of steps that were clipped, by cell and threshold."""
    clipped = table[table["clip"] != NONE]
    return {str(task): _draw_clip_fraction(part) for task, part in clipped.groupby("task", sort=False, observed=True)}


def draw_modes(pairs: pd.DataFrame) -> dict[str, Figure]:
    """Return for each task the skill matched and native, joined, by cell and threshold; means over seeds."""
    return {str(task): _draw_modes(part) for task, part in pairs.groupby("task", sort=False, observed=True)}


def draw_step_time(table: pd.DataFrame, *, source: str) -> Figure:
    """Return the step time by cell and framework, one facet a setting, all of one kind of axis.

    Args:
        table: columns setting, cell label and learner with their facts, step ms, low ms, high ms.
        source: where the times come from, the figure's title.

    """
    with style.use_style():
        settings = list(dict.fromkeys(table[SETTING]))
        figure, axes = style.make_grid(len(settings))
        seen = palette.choose_looks(table)
        aside = style.spread_learners(seen)
        spans = table.groupby(SETTING, observed=True)["step ms"]
        wide = bool((spans.max() > 20 * spans.min()).any())
        for ax, setting in zip(axes, settings, strict=True):
            part = table[table[SETTING] == setting]
            cells = [*selection.list_cells(part)]
            for learner, group in part.groupby(LEARNER, observed=True, sort=False):
                look = seen[str(learner)]
                at = np.array([cells.index(str(cell)) for cell in group[CELL]]) + aside[str(learner)]
                middle = group["step ms"].to_numpy(float)
                below, above = middle - group["low ms"].to_numpy(float), group["high ms"].to_numpy(float) - middle
                bars = np.nan_to_num(np.maximum([below, above], 0))
                ax.plot(at, middle, color=look.colour, marker=look.marker, linestyle="", markersize=8)
                ax.errorbar(at, middle, bars, fmt="none", ecolor="0.15", elinewidth=1, capsize=3, zorder=4)
            ax.set_xticks(range(len(cells)), cells)
            ax.set_xlim(-0.6, len(cells) - 0.4)
            ax.grid(visible=False, axis="x")
            if wide:
                low, high = part[["step ms", "low ms"]].min().min(), part[["step ms", "high ms"]].max().max()
                ax.set_ylim(low / ROOM, high * ROOM)
                style.make_log_axis(ax)
            else:
                ax.set_ylim(0, 1.08 * part[["step ms", "high ms"]].max().max())
            ax.set(xlabel="cell", ylabel="step time (ms)")
            style.write_title(ax, setting, width=36)
        style.draw_legend(figure, style.mark_points(seen), heading=source)
    return figure


def _draw_skill(frame: pd.DataFrame) -> Figure:
    with style.use_style():
        seen = palette.choose_looks(frame)
        aside = style.spread_learners(seen)
        parts = [(str(setting), part) for setting, part in frame.groupby(SETTING, observed=True)]
        places = [style.make_threshold_axis(part) for _, part in parts]
        figure, axes = style.make_facets([place.weight for place in places], most=ROW)
        entries = style.mark_points(seen)
        for ax, (setting, part), place in zip(axes, parts, places, strict=True):
            points = _place_points(part, place, aside, part["skill"].clip(lower=LOWEST))
            ax.axhline(0, color="0.4", linewidth=1, linestyle="--")
            entries |= _draw_means(ax, points, seen)
            torn = points[points["y"].isna()].drop_duplicates(["x", "learner"])
            if len(torn):
                ax.scatter(
                    torn["x"],
                    [LOWEST] * len(torn),
                    color=[seen[one].colour for one in torn["learner"]],
                    marker="x",
                    s=45,
                    linewidths=2,
                    zorder=4,
                )
                entries["diverged"] = Line2D([], [], color="0.25", marker="x", linestyle="", markersize=7)
            place.label(ax)
            low = min(-0.08, float(points["y"].min()) - 0.08) if points["y"].notna().any() else -0.08
            ax.set_ylim(LOWEST - 0.08 if len(torn) else low, 1.05)
            ax.set_ylabel("skill (1 \N{MINUS SIGN} loss / floor)")
            style.write_title(ax, setting, width=int(6.5 * place.weight))
        entries["floor"] = Line2D([], [], color="0.4", linewidth=1, linestyle="--")
        style.draw_legend(figure, entries)
    return figure


def _draw_modes(frame: pd.DataFrame) -> Figure:
    with style.use_style():
        seen = palette.choose_looks(frame)
        aside = style.spread_learners(seen)
        parts = [(str(setting), part) for setting, part in frame.groupby(SETTING, observed=True)]
        places = [style.make_threshold_axis(part) for _, part in parts]
        figure, axes = style.make_facets([place.weight for place in places], most=ROW)
        for ax, (setting, part), place in zip(axes, parts, places, strict=True):
            points = _place_points(part, place, aside, part["skill"].clip(lower=LOWEST))
            points["native"] = part["skill native"].clip(lower=LOWEST)
            means = points.groupby(["learner", "x"])[["y", "native"]].mean().reset_index()
            ax.axhline(0, color="0.4", linewidth=1, linestyle="--")
            for learner, group in means.groupby("learner"):
                look = seen[str(learner)]
                drawn_as: dict[str, Any] = {"color": look.colour, "marker": look.marker, "linestyle": "", "zorder": 3}
                ax.vlines(group["x"], group["y"], group["native"], color=look.colour, linewidth=1.5, zorder=2)
                ax.plot(group["x"], group["y"], **drawn_as, markersize=9, markerfacecolor="white", markeredgewidth=1.5)
                ax.plot(group["x"], group["native"], **drawn_as, markersize=4.5)
            place.label(ax)
            low = means[["y", "native"]].min().min()
            ax.set_ylim(min(-0.08, low - 0.08) if pd.notna(low) else -0.08, 1.05)
            ax.set_ylabel("skill (1 \N{MINUS SIGN} loss / floor)")
            style.write_title(ax, setting, width=int(6.5 * place.weight))
        grey: dict[str, Any] = {"color": "0.25", "marker": "o", "linestyle": ""}
        entries = style.mark_points(seen) | {
            "matched": Line2D([], [], **grey, markerfacecolor="white", markeredgewidth=1.5, markersize=9),
            "native": Line2D([], [], **grey, markersize=4.5),
            "floor": Line2D([], [], color="0.4", linewidth=1, linestyle="--"),
        }
        style.draw_legend(figure, entries)
    return figure


def _draw_means(ax: Axes, points: pd.DataFrame, seen: dict[str, palette.Look]) -> dict[str, Line2D]:
    """Draw the first `SEEDS` seeds, and the mean of all with its standard error; return the legend's entry.

    A lone seed is drawn large, without a mean.
    """
    finite = points[np.isfinite(points["y"].to_numpy(float, na_value=np.nan))]
    several = finite.groupby("x")["y"].transform("count") > 1
    first = finite.groupby("x").cumcount() < SEEDS
    colours = {name: look.colour for name, look in seen.items()}
    markers = {name: look.marker for name, look in seen.items()}
    shared: dict[str, Any] = {"x": "x", "y": "y", "hue": "learner", "style": "learner", "palette": colours, "ax": ax}
    if len(finite):
        sns.scatterplot(
            finite[first],
            **shared,
            markers=markers,
            s=np.where(several[first], 16, 50),
            alpha=np.where(several[first], 0.6, 1.0),
            legend=False,
            linewidth=0.3,
            zorder=3,
        )
    places = len(points[[CELL, CLIP]].drop_duplicates()) * len(seen)
    size = 8.0 if places <= 40 else 5.5  # noqa: PLR2004
    for name, group in finite[several].groupby("learner"):
        look = seen[str(name)]
        spread = group.groupby("x")["y"].agg(["mean", "sem"])
        ax.errorbar(
            spread.index,
            spread["mean"],
            spread["sem"],
            color=look.colour,
            fmt=look.marker,
            markersize=size,
            markerfacecolor="white",
            markeredgewidth=size / 5,
            capsize=3,
            zorder=2.5,
        )
    if not several.any():
        return {}
    ring = Line2D([], [], color="0.25", marker="o", markerfacecolor="white", markeredgewidth=1.8, markersize=8)
    return {"mean ± standard error (small: seeds)": ring}


def _place_points(
    part: pd.DataFrame, place: style.ThresholdAxis, aside: dict[str, float], y: pd.Series[float]
) -> pd.DataFrame:
    """Return the rows with the place at which each is drawn: x, y and the learner's name."""
    placed = part[[CELL, CLIP, LEARNER]].assign(y=y, learner=part[LEARNER].astype(str))
    there = placed[[CELL, CLIP, LEARNER]].drop_duplicates()
    at = [place.at(cell, clip) + aside[learner] for cell, clip, learner in there.astype(str).itertuples(index=False)]
    return placed.merge(there.assign(x=at), how="left").set_index(placed.index)


def _draw_clip_fraction(frame: pd.DataFrame) -> Figure:
    with style.use_style():
        seen = palette.choose_looks(frame)
        aside = style.spread_learners(seen)
        parts = [(str(setting), part) for setting, part in frame.groupby(SETTING, observed=True)]
        places = [style.make_threshold_axis(part) for _, part in parts]
        figure, axes = style.make_facets([place.weight for place in places], most=ROW, height=2.6)
        entries = style.mark_points(seen)
        for ax, (setting, part), place in zip(axes, parts, places, strict=True):
            points = _place_points(part, place, aside, 100 * part["clip_fraction"])
            entries |= _draw_means(ax, points, seen)
            for (cell, clip), group in points.groupby([CELL, CLIP], observed=True):
                if group["y"].max() == 0:
                    ax.annotate("never\nclipped", (place.at(str(cell), str(clip)), 8), ha="center", fontsize=7)
            place.label(ax)
            ax.set_ylim(-5, 105)
            ax.set_ylabel("steps clipped (%)")
            style.write_title(ax, setting, width=int(6.5 * place.weight))
        style.draw_legend(figure, entries)
    return figure
