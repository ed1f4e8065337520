"""The figures of how cost grows: one for each axis, log-log, every framework on one plot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from farreach.results.analysis.labels import label_learner
from farreach.results.analysis.selection import find_extra, sort_words
from farreach.results.figures import palette, style
from farreach.results.timing import scaling
from farreach.results.vocabulary import CELLS

UNITS = {"step time": ("step time (ms)", 1e3), "peak memory": ("peak memory (MiB)", 2.0**-20)}
"""The label of each cost's axis, and what turns seconds or bytes into it."""

OTHER_PATH = "another path than most of its line"

FONT = 8
TEXT_HEIGHT = 0.17
"""Inches of one line of the exponents within a facet."""

FACET_HEIGHT = 0.62 * style.HEIGHT
"""Inches of a facet without its title and its axis' words."""

FLAT = 1.2
"""Every facet spans at least the square of this factor, so that noise about a constant does not fill it."""


def draw_growth(table: pd.DataFrame) -> dict[str, Figure]:
    """Return for each axis step time above peak memory, the cells side by side; `table` is that of `list_points`.

    Points are medians, hollow where they ran by another path than most of their line; dashed is the fitted power law,
    whose exponent stands in the facet with its 95 % interval.
    """
    points = scaling.list_points(table)
    points["learner"] = _label_learners(points)
    return {str(axis): _draw_axis(str(axis), part) for axis, part in points.groupby("axis", observed=True)}


def _label_learners(points: pd.DataFrame) -> list[str]:
    """Return the framework, with its path where it ran the same curve by several."""
    paths = find_extra(points, "framework", "path", ["axis", "cell", "framework"])
    pairs = zip(points["framework"].astype(str), paths, strict=True)
    return [label_learner({"framework": framework, "path": path}) for framework, path in pairs]


def _draw_axis(axis: str, part: pd.DataFrame) -> Figure:
    with style.use_style():
        cells, costs = (
            sort_words(part["cell"].astype(str), CELLS),
            [cost for cost in UNITS if (part["cost"] == cost).any()],
        )
        figure, axes = style.make_facets([1.0] * len(cells) * len(costs), most=len(cells))
        seen = palette.choose_looks(part)
        facets = [(cost, cell) for cost in costs for cell in cells]
        for ax, (cost, cell) in zip(axes, facets, strict=True):
            _draw_facet(ax, part[(part["cost"] == cost) & (part["cell"] == cell)], seen, UNITS[cost])
            ax.set_xlabel(scaling.NAMES.get(axis, axis))
            style.write_title(ax, f"{cell} · {cost}", width=36)
        entries = {
            name: Line2D([], [], color=look.colour, marker=look.marker, markersize=6) for name, look in seen.items()
        }
        entries["fitted power law"] = Line2D([], [], color="0.4", linestyle="--", linewidth=1)
        curves = part.groupby(["cell", "learner", "cost"], observed=True)
        if any(scaling.find_other_paths(curve).any() for _, curve in curves):
            entries[OTHER_PATH] = Line2D(
                [], [], color="0.4", marker="o", linestyle="", markerfacecolor="white", markersize=6
            )
        style.draw_legend(figure, entries)
    return figure


def _draw_facet(ax: Axes, part: pd.DataFrame, seen: dict[str, palette.Look], unit: tuple[str, float]) -> None:
    """Draw the curves of one cell and cost, their power laws, and the exponents in the room left above them."""
    label, factor = unit
    said: list[tuple[Line2D, str]] = []
    for learner, look in seen.items():
        curve = part[part["learner"] == learner]
        value, middle = curve["value"].to_numpy(float), curve["middle"].to_numpy(float) * factor
        exponent, low, high = scaling.fit_exponent(value, middle)
        ax.plot(value, middle, color=look.colour, marker=look.marker, markersize=5, linewidth=1.2, zorder=3)
        hollow = scaling.find_other_paths(curve)
        if hollow.any():
            given: dict[str, Any] = {"color": look.colour, "marker": look.marker, "linestyle": ""}
            ax.plot(value[hollow], middle[hollow], markersize=5, markerfacecolor="white", zorder=4, **given)
        if np.isfinite(low):
            ends = value[[0, -1]]
            line = scaling.predict_costs(value, middle, ends)
            ax.plot(ends, line, color=look.colour, linestyle="--", linewidth=1, alpha=0.7, zorder=2)
        if np.isfinite(exponent):
            text = _number(exponent) + (f" ({_number(low)} to {_number(high)})" if np.isfinite(low) else "")
            said.append((Line2D([], [], color=look.colour, marker=look.marker, markersize=4.5, linestyle=""), text))
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(sorted(set(part["value"]))))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:g}"))
    ax.tick_params(axis="x", labelsize=FONT)
    ax.set_ylabel(label)
    _make_log_axis(ax, len(said) + 1)
    if said:
        handles, texts = zip(*said, strict=True)
        ax.legend(
            handles,
            texts,
            title="exponent (95 % interval)",
            loc="upper left",
            fontsize=FONT,
            title_fontsize=FONT,
            alignment="left",
            frameon=True,  # white behind the text, so that no grid line runs through it
            framealpha=1,
            edgecolor="none",
            labelspacing=0.2,
            handlelength=1.0,
            handletextpad=0.4,
            borderpad=0.2,
        )


def _make_log_axis(ax: Axes, lines: int) -> None:
    """Make y logarithmic and raise its upper end, so that so many lines of text fit above all curves."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    share = min(0.6, lines * TEXT_HEIGHT / FACET_HEIGHT)
    low, high = low / FLAT, high * FLAT
    ax.set_ylim(low, high * (high / low) ** (share / (1 - share)))
    style.make_log_axis(ax)


def _number(value: float) -> str:
    """Return an exponent with two digits, a proper minus sign, and no minus before zero."""
    return f"{value:z.2f}".replace("-", "\N{MINUS SIGN}")
