"""Pictures of paired timings: every ratio with its interval, one line a pair (forest plots)."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from farreach.results.figures import palette, style

NARROW = 1.8
"""Ratios that span less than this factor are marked at equal distances, not at round multiples."""

ROW = 0.3
"""Inches that a line of a forest plot takes."""


MOST = 12
"""Steps that a picture shows: of more, growth has pictures of its own and the table has every pair."""

KINDS = {"loop": "over a hand-written loop", "trainer": "over a trainer"}


def fits(table: pd.DataFrame) -> bool:
    """Return whether a table, as `forest` takes it, has pairs, and steps that one picture can show."""
    return 0 < len(table["setting"].unique()) <= MOST


def overheads(table: pd.DataFrame) -> Figure:
    """Return our step over what others write, `timings.overheads`: a row a step, hand-written loops beside trainers.

    Loops are within a few percent of us and trainers up to six times as slow, so each has an axis of its own: about 1,
    and logarithmic. Dashed is the bound that is wanted.
    """
    kinds = table["loop"].str.startswith("loop").map({True: "loop", False: "trainer"})
    settings, columns = list(dict.fromkeys(table["setting"])), [kind for kind in KINDS if (kinds == kind).any()]
    heights = [max(((table["setting"] == one) & (kinds == kind)).sum() for kind in columns) for one in settings]
    with style.style():
        size = (style.WIDTH, ROW * sum(heights) + 0.62 * len(settings) + 0.9)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(len(settings), len(columns), sharex="col", squeeze=False, height_ratios=heights)
        for across, kind in enumerate(columns):
            for ax, setting in zip(grid[:, across], settings, strict=True):
                part = table[(table["setting"] == setting) & (kinds == kind)].reset_index(drop=True)
                names = part["ours"] if kind == "loop" else part["loop"]
                _lines(ax, part, ratio="ours / loop", look="ours")
                ax.set_yticks(range(len(part)), [f"{a}: {b}" for a, b in zip(names, part["verdict"], strict=True)])
                for most in part["at most"].unique():
                    ax.axvline(most, color="0.15", linewidth=1, linestyle="--", zorder=1)
                if kind == "trainer":
                    _log(ax, LogLocator(subs=(1, 2, 3, 5)))
                if not across:
                    ax.set_title(setting, loc="left")
            grid[-1, across].set_xlabel(f"our step {KINDS[kind]}")
            if kind == "loop":
                grid[0, across].xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    return figure


def _lines(ax: Axes, part: pd.DataFrame, *, ratio: str, look: str) -> None:
    """Draw a line a pair: the ratio with its interval, in the colour of the framework that a column names."""
    for at, (_, row) in enumerate(part.iterrows()):
        one = palette.LOOKS[str(row[look]).split(" ", 1)[0]]
        ax.plot([row["low"], row["high"]], [at, at], color=one.colour, linewidth=2.5, solid_capstyle="butt")
        ax.plot(row[ratio], at, color=one.colour, marker=one.marker, markersize=6, markeredgecolor="white")
    ax.set_ylim(max(len(part), 1) - 0.4, -0.6)
    ax.axvline(1, color="0.4", linewidth=1, zorder=0)
    ax.grid(visible=False, axis="y")


def _log(ax: Axes, locator: Any) -> None:
    """Make x logarithmic, with plain numbers at the locator's ticks."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def forest(table: pd.DataFrame, *, ratio: str, names: tuple[str, str], heading: str) -> Figure:
    """Return a forest plot: a facet a step, a line a pair, the ratio with its 95 % interval, on a logarithmic axis.

    Args:
        table: columns setting (the step in words), the ratio, low, high, and the two names.
        ratio: the column that holds it.
        names: the columns of what stands above and below the fraction line, joined by "over".
        heading: what the axis shows.

    """
    settings = list(dict.fromkeys(table["setting"]))
    heights = [int((table["setting"] == setting).sum()) for setting in settings]
    narrow = table["high"].max() < NARROW * min(1, table["low"].min())
    with style.style():
        figure = Figure(figsize=(style.WIDTH, ROW * sum(heights) + 0.62 * len(settings) + 0.7), layout="constrained")
        axes = figure.subplots(len(settings), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for ax, setting in zip(axes, settings, strict=True):
            part = table[table["setting"] == setting].reset_index(drop=True)
            _lines(ax, part, ratio=ratio, look=names[0])
            labels = [f"{row[names[0]]} over {row[names[1]]}" for _, row in part.iterrows()]
            ax.set_yticks(range(len(part)), labels)
            _log(ax, MaxNLocator(6) if narrow else LogLocator(subs=(1, 1.5, 2, 3, 5)))
            ax.set_title(setting, loc="left")
        axes[-1].set_xlabel(heading)
    return figure
