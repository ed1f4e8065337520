"""Pictures of timed steps: every ratio with its interval, one line per pair (forest plots)."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from farreach.results.analysis.labels import label_learner, label_side
from farreach.results.analysis.statistics import INCONCLUSIVE
from farreach.results.figures import palette, style
from farreach.results.timing.interleaved import get_kind

NARROW = 1.8
"""Ratios that span less than this factor are marked at equal distances, not at round multiples."""

ROW = 0.3
"""Inches that a line of a forest plot takes."""


MOST = 12
"""Steps that a picture shows: of more, growth has pictures of its own and the table has every pair."""

KINDS = {"loop": "over a hand-written loop", "trainer": "over a trainer"}


def fits(table: pd.DataFrame) -> bool:
    """Return whether a table, as `draw_ratios` takes it, has pairs, and steps that one picture can show."""
    return 0 < len(table["setting"].unique()) <= MOST


def draw_overheads(table: pd.DataFrame) -> Figure:
    """Return `interleaved.compare_overheads` as a picture: one row per step, hand-written loops beside trainers.

    Loops are within a few percent of us and trainers up to six times as slow, so each has an axis of its own: about 1,
    and logarithmic. Dashed is the bound that is wanted.
    """
    kinds = table["loop"].map(lambda loop: "loop" if get_kind(loop) == "loop" else "trainer")
    settings, columns = list(dict.fromkeys(table["setting"])), [kind for kind in KINDS if (kinds == kind).any()]
    heights = [max(((table["setting"] == one) & (kinds == kind)).sum() for kind in columns) for one in settings]
    with style.use_style():
        size = (style.WIDTH, ROW * sum(heights) + 0.62 * len(settings) + 0.9)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(settings), len(columns), sharex="col", squeeze=False, height_ratios=heights)
        for across, kind in enumerate(columns):
            for ax, setting in zip(grid[:, across], settings, strict=True):
                part = table[(table["setting"] == setting) & (kinds == kind)].reset_index(drop=True)
                names = [label_learner(row) if kind == "loop" else row["loop"] for row in part.to_dict("records")]
                _draw_lines(ax, part, ratio="ours / loop", framework="framework")
                ax.set_yticks(range(len(part)), [f"{a}: {b}" for a, b in zip(names, part["verdict"], strict=True)])
                for most in part["at most"].unique():
                    ax.axvline(most, color="0.15", linewidth=1, linestyle="--", zorder=1)
                if kind == "trainer":
                    _make_log_axis(ax, LogLocator(subs=(1, 2, 3, 5)))
                if not across:
                    ax.set_title(setting, loc="left")
            grid[-1, across].set_xlabel(f"our step {KINDS[kind]}")
            if kind == "loop":
                grid[0, across].xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    return figure


def _draw_lines(ax: Axes, part: pd.DataFrame, *, ratio: str, framework: str) -> None:
    """Draw one line per pair: the ratio with its interval, in the framework's colour; grey where it is inconclusive."""
    for at, (_, row) in enumerate(part.iterrows()):
        one = palette.LOOKS[str(row[framework])]
        colour = palette.GREY if row["verdict"] == INCONCLUSIVE else one.colour
        ax.plot([row["low"], row["high"]], [at, at], color=colour, linewidth=2.5, solid_capstyle="butt")
        ax.plot(row[ratio], at, color=colour, marker=one.marker, markersize=6, markeredgecolor="white")
    ax.set_ylim(max(len(part), 1) - 0.4, -0.6)
    ax.axvline(1, color="0.4", linewidth=1, zorder=0)
    ax.grid(visible=False, axis="y")


def _make_log_axis(ax: Axes, locator: Any) -> None:
    """Make x logarithmic, with plain numbers at the locator's ticks."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def draw_ratios(table: pd.DataFrame) -> Figure:
    """Return a forest plot: a facet per step, a line per pair, faster over slower, on a logarithmic axis.

    Args:
        table: columns of `ratios.RATIO` and setting, the step in words.

    """
    settings = list(dict.fromkeys(table["setting"]))
    heights = [int((table["setting"] == setting).sum()) for setting in settings]
    narrow = table["high"].max() < NARROW * min(1, table["low"].min())
    with style.use_style():
        figure = Figure(figsize=(style.WIDTH, ROW * sum(heights) + 0.62 * len(settings) + 0.7), layout="constrained")
        axes = figure.subplots(len(settings), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for ax, setting in zip(axes, settings, strict=True):
            part = table[table["setting"] == setting].reset_index(drop=True)
            _draw_lines(ax, part, ratio="times as fast", framework="faster framework")
            labels = [
                f"{label_side(row, 'faster')} over {label_side(row, 'slower')}" for row in part.to_dict("records")
            ]
            ax.set_yticks(range(len(part)), labels)
            _make_log_axis(ax, MaxNLocator(6) if narrow else LogLocator(subs=(1, 1.5, 2, 3, 5)))
            ax.set_title(setting, loc="left")
        axes[-1].set_xlabel("times as fast as the second named, median and 95 % interval; grey: inconclusive")
    return figure
