"""Pictures of paired timings: every ratio with its interval, one line a pair (a forest plot)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from results import palette, panels

NARROW = 1.8
"""Ratios that span less than this factor are marked at equal distances, not at round multiples."""

ROW = 0.3
"""Inches that a line of a forest plot takes."""


def forest(table: pd.DataFrame, *, ratio: str, names: tuple[str, str], heading: str, mark: str = "") -> Figure:
    """Return a forest plot: a facet a step, a line a pair, the ratio with its 95 % interval, on a logarithmic axis.

    Args:
        table: columns setting (the step in words), the ratio, low, high, and the two names.
        ratio: the column that holds it.
        names: the columns of what stands above and below the fraction line, joined by "over".
        heading: what the axis shows.
        mark: a column with a further bound to be drawn, or "".

    """
    settings = list(dict.fromkeys(table["setting"]))
    heights = [int((table["setting"] == setting).sum()) for setting in settings]
    narrow = table["high"].max() < NARROW * min(1, table["low"].min())
    with panels.style():
        figure = Figure(figsize=(panels.WIDTH, ROW * sum(heights) + 0.62 * len(settings) + 0.7), layout="constrained")
        axes = figure.subplots(len(settings), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for ax, setting in zip(axes, settings, strict=True):
            part = table[table["setting"] == setting].reset_index(drop=True)
            for at, row in part.iterrows():
                look = palette.LOOKS.get(str(row[names[0]]).split(" ", 1)[0], palette.SPARE[0])
                ax.plot([row["low"], row["high"]], [at, at], color=look.colour, linewidth=2.5, solid_capstyle="butt")
                ax.plot(row[ratio], at, color=look.colour, marker=look.marker, markersize=6, markeredgecolor="white")
                if mark:
                    ax.plot(row[mark], at, color="0.15", marker="|", markersize=11, markeredgewidth=1.5)
            labels = [f"{row[names[0]]} over {row[names[1]]}" for _, row in part.iterrows()]
            ax.set_yticks(range(len(part)), labels)
            ax.set_ylim(len(part) - 0.4, -0.6)
            ax.axvline(1, color="0.4", linewidth=1, zorder=0)
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(MaxNLocator(6) if narrow else LogLocator(subs=(1, 1.5, 2, 3, 5)))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.grid(visible=False, axis="y")
            ax.set_title(setting, loc="left")
        axes[-1].set_xlabel(heading)
    return figure
