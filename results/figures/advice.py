"""The figure of an advice: average skill and clip fraction against the threshold, over the norms that were observed."""

from __future__ import annotations

import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from farreach.results.analysis.threshold_advice import Recommendation, Thumb
from farreach.results.figures import palette, style

mpl.use("Agg")  # files only: no window, and none needed

ASIDE = 1.06
"""Factor by which neighbouring learning rates are moved apart on the axis of thresholds, so that none hides another."""


def draw(
    verdicts: list[Recommendation], thumbs: dict[float, Thumb], norms: pd.DataFrame, *, clip: str, named: float
) -> Figure:
    """Return the figure, one line a learning rate.

    Args:
        verdicts: one a learning rate.
        thumbs: the rule of thumb by learning rate; that of the named one is drawn.
        norms: one line a learning rate, as `farreach.results.analysis.gradient_norms.summarise_norms` gives it.
        clip: the kind of clip.
        named: the learning rate that was asked about, whose plateau is shaded.

    """
    with style.use_style():
        parts = [3.0, 1.6, 1.1] if clip == "norm" else [3.0, 1.6]  # a norm and any other threshold share no axis
        figure = Figure(figsize=(style.WIDTH * 0.85, 1.3 * sum(parts)), layout="constrained")
        places = figure.add_gridspec(len(parts), 1, height_ratios=parts)
        upper = figure.add_subplot(places[0])
        axes = [upper, *(figure.add_subplot(places[at], sharex=upper) for at in range(1, len(parts)))]
        grid = sorted({at for one in verdicts for at in one.tried})
        entries: dict[str, Line2D | Patch] = {}
        marks: dict[str, Line2D | Patch] = {}
        for place, one in enumerate(verdicts):
            look = palette.SPARE[place % len(palette.SPARE)]  # the frameworks keep their own colours
            factor = ASIDE ** (place - (len(verdicts) - 1) / 2)
            _draw_line(upper, one, look, factor, grid=grid, average=True)
            _draw_line(axes[1], one, look, factor, grid=grid, average=False)
            name = f"learning rate {one.learning_rate:g}" + (" (named)" if one.learning_rate == named else "")
            entries[name] = Line2D([], [], color=look.colour, marker=look.marker, markersize=6)
            for ax in axes[2:]:
                _draw_box(ax, norms[norms["learning_rate"] == one.learning_rate], look.colour, -place)
            if one.learning_rate == named:
                marks = _draw_marks(axes, one, _choose_thumb(thumbs.get(named), grid), factor)
        for ax in axes[:-1]:
            ax.tick_params(axis="x", labelbottom=False)
        _label_axis(axes[-1], grid, clip)
        upper.set_ylim(-0.04, 1.04)
        upper.set_ylabel("average skill\n(over training)")
        axes[1].set_ylim(-6, 106)
        axes[1].set_ylabel("steps clipped (%)")
        for ax in axes[2:]:
            ax.set_yticks([-place for place in range(len(verdicts))], [f"{one.learning_rate:g}" for one in verdicts])
            ax.set_ylim(-len(verdicts) + 0.4, 0.6)
            ax.set_ylabel("norms\nwithout clip")
            ax.grid(visible=False, axis="y")
        entries |= marks
        figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=2)
    return figure


def _draw_line(
    ax: Axes, one: Recommendation, look: palette.Look, factor: float, *, grid: list[float], average: bool
) -> None:
    """Draw one learning rate: its mean and the range of its seeds at each threshold, and no clipping at the right."""
    lines = one.lines
    at = np.where(lines["threshold"].isna(), _place_free(grid), lines["threshold"]) * factor
    values = lines["average skill"].to_numpy(float) if average else 100 * lines["clip fraction"].to_numpy(float)
    clipped = lines["threshold"].notna().to_numpy()
    ax.plot(at[clipped], values[clipped], color=look.colour, marker=look.marker, markersize=5, linewidth=1.4)
    if not average:
        return
    ax.plot(at[~clipped], values[~clipped], color=look.colour, marker=look.marker, markersize=6, linestyle="")
    bars = np.maximum([values - lines["least"].to_numpy(float), lines["most"].to_numpy(float) - values], 0)
    ax.errorbar(at, values, bars, fmt="none", ecolor=look.colour, elinewidth=1, capsize=2.5, alpha=0.8)


def _draw_marks(axes: list[Axes], one: Recommendation, thumb: Thumb | None, factor: float) -> dict[str, Line2D | Patch]:
    """Shade the plateau, ring the recommended threshold, draw the rule of thumb; return the legend's entries."""
    entries: dict[str, Line2D | Patch] = {}
    if one.plateau:
        for ax in axes:
            ax.axvspan(one.plateau[0] / 1.2, one.plateau[-1] * 1.2, color="0.9", zorder=0)
        entries["plateau at the named rate"] = Patch(color="0.9")
    if one.recommended is not None:
        ring: dict[str, Any] = {
            "marker": "o",
            "markersize": 14,
            "markerfacecolor": "none",
            "markeredgecolor": "0.1",
            "linestyle": "",
        }
        axes[0].plot([one.recommended * factor], [one.get_line(one.recommended)["average skill"]], **ring)
        entries["recommended"] = Line2D([], [], **(ring | {"markersize": 9}))
    if thumb is not None:
        for ax in axes:
            for end in thumb.ends:
                ax.axvline(end, color="0.35", linestyle="--", linewidth=1, zorder=1)
        entries["rule of thumb: 0.5 to 10 \N{MULTIPLICATION SIGN} average"] = Line2D(
            [], [], color="0.35", linestyle="--", linewidth=1
        )
    return entries


def _choose_thumb(thumb: Thumb | None, grid: list[float]) -> Thumb | None:
    """Return the rule of thumb where an end of it lies on the axis: after an explosion it may be far beyond."""
    if thumb is None or not grid:
        return None
    return thumb if any(grid[0] / 2 < end < 2 * _place_free(grid) for end in thumb.ends) else None


def _draw_box(ax: Axes, found: pd.DataFrame, colour: str, height: float) -> None:
    """Draw the distribution of the norms of one learning rate as a box that lies."""
    if found.empty or not found["steps"].iloc[0]:
        return
    line = found.iloc[0]
    ax.plot([line["1 %"], line["99 %"]], [height, height], color=colour, linewidth=1)
    ax.plot(
        [line["10 %"], line["90 %"]], [height, height], color=colour, linewidth=8, alpha=0.45, solid_capstyle="butt"
    )
    ax.plot([line["50 %"]], [height], color=colour, marker="|", markersize=12, markeredgewidth=2)
    ax.plot([line["average"]], [height], color=colour, marker="D", markersize=5)


def _place_free(grid: list[float]) -> float:
    """Return where no clipping stands on the axis: one half decade beyond the largest threshold, or two."""
    return grid[-1] * 10 ** (2 / 3) if grid else 1.0


def _label_axis(ax: Axes, grid: list[float], clip: str) -> None:
    """Label x with the thresholds that were tried, and with no clipping beyond the largest."""
    ax.set_xscale("log")
    free = _place_free(grid)
    names = {at: f"{at:g}" for at in grid} | {free: "none"}
    ax.xaxis.set_major_locator(FixedLocator([*names]))
    ax.xaxis.set_minor_locator(NullLocator())

    def name(value: float, _position: int | None = None) -> str:
        return next((text for at, text in names.items() if math.isclose(at, value, rel_tol=1e-6)), "")

    ax.xaxis.set_major_formatter(FuncFormatter(name))
    ax.set_xlim((grid[0] if grid else free) / 2, free * 2)
    ax.set_xlabel(f"clip threshold ({style.describe_kind(clip)})")
