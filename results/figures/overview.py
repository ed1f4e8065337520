"""The pictures of a whole set for a paper: the clip atlas and reach against length, drawn by seaborn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from farreach.results.analysis import overview
from farreach.results.analysis.selection import CELL, CLIP, LEARNER, SETTING, list_cells
from farreach.results.figures import palette, style

COLOURS = "cividis"
"""From none of the seeds, dark, to all of them, light; the same to people who see fewer colours."""


def draw_atlas(table: pd.DataFrame) -> dict[str, Figure]:
    """Return for each task its clip atlas: cell by threshold, a facet a setting; `table` is `tabulate_atlas`.

    Colour and first line: the share of the seeds that solved the task; second line: the share of the steps clipped.
    """
    tasks = table.groupby("task", sort=False, observed=True)
    return {str(task): _draw_atlas(overview.limit_lines(part)) for task, part in tasks}


def _draw_atlas(part: pd.DataFrame) -> Figure:
    with style.use_style():
        settings = list(dict.fromkeys(part[SETTING].astype(str)))
        clips = [clip for clip in part[CLIP].cat.categories if (part[CLIP] == clip).any()]
        cells = [len(part.loc[part[SETTING] == setting, CELL].unique()) for setting in settings]
        size = (max(4.0, 1.0 + 1.05 * len(clips)), 0.55 * sum(cells) + 0.5 * len(settings) + 0.8)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(settings), 1, sharex=True, squeeze=False, height_ratios=cells)[:, 0]
        for ax, setting in zip(axes, settings, strict=True):
            _draw_field(ax, part[part[SETTING] == setting], clips)
            style.write_title(ax, setting, width=int(14 * (size[0] - 1.5)), place="left")
        axes[-1].set_xlabel("clip threshold")
        bar = figure.colorbar(axes[0].collections[0], ax=list(axes), shrink=0.9, pad=0.02)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
        bar.set_label("seeds that solved it")
    return figure


def _draw_field(ax: Axes, part: pd.DataFrame, clips: list[str]) -> None:
    cells = [cell for cell in part[CELL].cat.categories if (part[CELL] == cell).any()]
    fields = part.assign(
        text=["\n".join(filter(None, overview.describe_field(row))) for row in part.to_dict("records")]
    )
    fields = fields.astype({CELL: str, CLIP: str})
    wide = fields.pivot_table(index=CELL, columns=CLIP, values="share").reindex(index=cells, columns=clips)
    texts = fields.pivot_table(index=CELL, columns=CLIP, values="text", aggfunc="first")
    texts = texts.reindex(index=cells, columns=clips).astype(object).fillna("")
    sns.heatmap(
        wide,
        annot=texts.to_numpy(),
        fmt="",
        vmin=0,
        vmax=1,
        cmap=COLOURS,
        cbar=False,
        linewidths=1,
        annot_kws={"size": 8},
        ax=ax,
    )
    ax.grid(visible=False)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(axis="y", rotation=0)
    ax.tick_params(axis="x", rotation=0)


def draw_reach(table: pd.DataFrame) -> dict[str, Figure]:
    """Return reach against length, a facet a task: colour is the framework, line and marker the cell.

    `table` is `tabulate_reach`; nothing is returned where it is empty.
    """
    if table.empty:
        return {}
    with style.use_style():
        tasks = list(dict.fromkeys(table["task"]))
        figure, axes = style.make_grid(len(tasks))
        seen = palette.choose_looks(table)
        for ax, task in zip(axes, tasks, strict=True):
            part = table[table["task"] == task]
            for (kind, _, learner), group in part.groupby(["cell", CELL, LEARNER], observed=True, sort=False):
                line = group.sort_values("length")
                bars = np.maximum([line["reach"] - line["low"], line["high"] - line["reach"]], 0)  # a mean is rounded
                ax.errorbar(
                    line["length"],
                    line["reach"],
                    np.nan_to_num(bars),
                    color=seen[str(learner)].colour,
                    linestyle=palette.CELL_DASHES.get(kind, "-."),
                    marker=palette.CELL_MARKERS.get(kind, "D"),
                    markersize=11 if kind == palette.RING else 6,
                    markerfacecolor="none" if kind == palette.RING else None,
                    capsize=3,
                )
            ax.set_xticks(sorted(set(part["length"])))
            ax.set(xlabel=str(part["name"].iloc[0]), ylabel="reach at the end", ylim=(-0.05, 1.08))
            ax.yaxis.set_major_formatter(PercentFormatter(1))
            style.write_title(ax, task, width=28)
        entries = {name: Line2D([], [], color=look.colour, linewidth=3) for name, look in seen.items()}
        for cell, kind in list_cells(table).items():
            dash, marker = palette.CELL_DASHES.get(kind, "-."), palette.CELL_MARKERS.get(kind, "D")
            inside: dict[str, Any] = {"markersize": 10, "markerfacecolor": "none"} if kind == palette.RING else {}
            entries[cell] = Line2D([], [], color="0.25", linestyle=dash, marker=marker, **inside)
        style.draw_legend(figure, entries)
    return {"": figure}
