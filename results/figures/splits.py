"""The figure of updates in parts: how long what the clip left is, and how far it is turned."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from farreach.results.analysis.labels import format_parameters
from farreach.results.analysis.splits import LENGTH, TURNED
from farreach.results.figures import palette, style

MOST = 9
"""Tasks that the figure shows."""

LEAST, TWICE = 0.8, 2.2
"""What the axis of the norm spans at least: the threshold, and twice as much, which two parts can reach."""

SIDES = {"after": "o", "before": "X"}


def draw_splits(cases: pd.DataFrame) -> dict[str, Figure]:
    """Draw each case of `analysis.splits.measure_cases` under clip norm: norm over threshold against the cosine."""
    there = cases[cases[LENGTH].notna() & cases[TURNED].notna()] if LENGTH in cases else cases
    return {"": _draw(there)} if len(there) else {}


def _draw(cases: pd.DataFrame) -> Figure:
    parts = [*cases.groupby(["task", "parameters"], observed=True, sort=False)][:MOST]
    divided = sorted({(int(one), int(two)) for one, two in cases[["replicas", "microbatches"]].itertuples(index=False)})
    colours = {split: palette.COLOURS[at % len(palette.COLOURS)] for at, split in enumerate(divided)}
    with style.use_style():
        figure, axes = style.make_grid(len(parts))
        for ax, ((task, parameters), part) in zip(axes, parts, strict=True):
            for (one, two, side), group in part.groupby(["replicas", "microbatches", "clip_at"], observed=True):
                ax.scatter(
                    group[TURNED],
                    group[LENGTH],
                    color=colours[int(one), int(two)],
                    marker=SIDES.get(str(side), "s"),
                    s=32,
                    alpha=0.7,
                    linewidths=0.3,
                )
            ax.axhline(1, color="0.4", linewidth=1, linestyle="--")
            ax.set_yscale("log")
            low, high = ax.get_ylim()
            ax.set_ylim(min(low, LEAST), max(high, TWICE))
            style.make_log_axis(ax)
            ax.set_xlabel("cosine of the angle to the gradient")
            ax.set_ylabel("norm after the clip / threshold")
            style.write_title(ax, f"{task} {format_parameters(str(parameters))}", width=34)
        entries = {
            _name(*split): Line2D([], [], color=colour, marker="s", linestyle="", markersize=7)
            for split, colour in colours.items()
        }
        entries |= {
            f"clipped {side}": Line2D([], [], color="0.25", marker=marker, linestyle="", markersize=7)
            for side, marker in SIDES.items()
        }
        entries["the threshold"] = Line2D([], [], color="0.4", linewidth=1, linestyle="--")
        style.draw_legend(figure, entries)
    return figure


def _name(replicas: int, microbatches: int) -> str:
    counts = {"replicas": replicas, "microbatches": microbatches}
    said = [f"{count} {name}" for name, count in counts.items() if count > 1]
    return " of ".join(said)
