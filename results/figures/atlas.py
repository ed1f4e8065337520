"""The figures of an atlas: success against length, clip by learning rate, and profiles of cells that were tuned."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from farreach.results.analysis.overview import SETTINGS
from farreach.results.analysis.selection import CELL, CLIP, LEARNER, list_cells
from farreach.results.figures import palette, style
from farreach.results.figures.overview import COLOURS

MARKS = ["o", "s", "^", "D", "v", "P", "X"]
"""Of the ways to draw the first weights, in their order: the first is that of ``default``."""

TORN = "#ff6d3a"
"""The cross of a field in which a seed diverged: seen on the darkest and on the lightest colour."""

ASIDE = 0.035
"""How far apart, in powers of e, two lines are drawn at one length, so that their intervals both show."""


def draw_success(table: pd.DataFrame) -> dict[str, Figure]:
    """Return the share of the seeds that solved a task against length, a facet a task; `table` is `tabulate_success`.

    Colour is the cell, marker and line the way to draw the first weights; bars are 95 % intervals over seeds.
    """
    if table.empty:
        return {}
    with style.use_style():
        places = [*table.groupby(["task", "place", "name"], observed=True, sort=False)]
        figure, axes = style.make_grid(len(places))
        initials = sorted(set(table["initial"]), key=lambda name: (name != "default", name))
        for ax, ((task, place, name), part) in zip(axes, places, strict=True):
            _draw_success(ax, part, initials)
            ax.set_xlabel(str(name))
            style.write_title(ax, " ".join(filter(None, [str(task), str(place)])), width=28)
        entries = _mark_cells(table)
        if len(initials) > 1:
            looks = {one: _look(initials, one) for one in initials}
            entries |= {f"first weights {one}": Line2D([], [], color="0.25", **look) for one, look in looks.items()}
        style.draw_legend(figure, entries)
    return {"": figure}


def draw_rates(table: pd.DataFrame) -> dict[str, Figure]:
    """Return for each task clip by learning rate, a facet a setting and cell; `table` is `tabulate_rates`.

    Colour and number: how many of the seeds solved the task. A cross: some seed diverged.
    """
    return {str(task): _draw_rates(part) for task, part in table.groupby("task", sort=False, observed=True)}


def draw_profile(table: pd.DataFrame) -> dict[str, Figure]:
    """Return the performance profile of each cell, a facet a framework; `table` is `tabulate_profile`."""
    if table.empty:
        return {}
    with style.use_style():
        learners = list(dict.fromkeys(table[LEARNER].astype(str)))
        figure, axes = style.make_grid(len(learners))
        last = 1.1 * max(2.0, float(table["factor"].max()))
        for ax, learner in zip(axes, learners, strict=True):
            for _, line in table[table[LEARNER].astype(str) == learner].groupby(CELL, observed=True):
                kind = str(line["cell"].iloc[0])
                steps = pd.concat([line, line.tail(1).assign(factor=last)])
                ax.step(steps["factor"], steps["share"], where="post", color=_colour(kind), linewidth=1.8)
                if steps["low"].notna().all():
                    ends = steps["low"], steps["high"]
                    ax.fill_between(steps["factor"], *ends, step="post", color=_colour(kind), alpha=0.12, linewidth=0)
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(FixedLocator([one for one in (1, 1.5, 2, 3, 5, 7, 10, 20, 50) if one <= last]))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.set(xlim=(1, last), ylim=(-0.03, 1.05), xlabel="times the fewest steps of any cell")
            ax.set_ylabel("tasks solved by then")
            ax.yaxis.set_major_formatter(PercentFormatter(1))
            style.write_title(ax, learner, width=34)
        style.draw_legend(figure, _mark_cells(table))
    return {"": figure}


def _draw_success(ax: Axes, part: pd.DataFrame, initials: list[str]) -> None:
    lines = [*part.groupby([CELL, "initial"], observed=True, sort=True)]
    for at, ((_, initial), line) in enumerate(lines):
        sorted_line = line.sort_values("length")
        aside = np.exp(ASIDE * (at - (len(lines) - 1) / 2))
        bars = np.abs([sorted_line["share"] - sorted_line["low"], sorted_line["high"] - sorted_line["share"]])
        ax.errorbar(
            sorted_line["length"] * aside,
            sorted_line["share"],
            np.nan_to_num(bars),
            color=_colour(str(line["cell"].iloc[0])),
            capsize=2.5,
            elinewidth=0.8,
            markersize=6,
            **_look(initials, str(initial)),
        )
    positive = bool((part["length"] > 0).all())
    if positive:
        ax.set_xscale("log")
    lengths = sorted(set(part["length"]))
    ax.xaxis.set_major_locator(FixedLocator(lengths))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set(ylim=(-0.05, 1.05), ylabel="seeds that solved it")
    ax.yaxis.set_major_formatter(PercentFormatter(1))


def _draw_rates(whole: pd.DataFrame) -> Figure:
    with style.use_style():
        groups = [*whole.groupby(["place", CELL], observed=True, sort=False)][:SETTINGS]
        clips = [[str(clip) for clip in part[CLIP].cat.categories if (part[CLIP] == clip).any()] for _, part in groups]
        heights = [part["learning_rate"].nunique() for _, part in groups]
        size = (max(5.0, 1.6 + 0.72 * max(map(len, clips))), sum(0.42 * one + 1.0 for one in heights) + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
        for ax, ((place, cell), part), names in zip(axes, groups, clips, strict=True):
            _draw_field(ax, part, names)
            style.write_title(ax, f"{cell} · {place}", width=int(14 * (size[0] - 1.9)), place="left")
        bar = figure.colorbar(axes[0].collections[0], ax=list(axes), shrink=0.9, pad=0.02)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1))
        bar.set_label("seeds that solved it")
        if whole["diverged"].any():
            cross = Line2D([], [], color=TORN, marker="x", linestyle="", markersize=8, markeredgewidth=2)
            style.draw_legend(figure, {"some seed diverged": cross})
    return figure


def _draw_field(ax: Axes, part: pd.DataFrame, clips: list[str]) -> None:
    rates = sorted(set(part["learning_rate"]), reverse=True)
    fields = part.assign(text=[f"{one.solved}/{one.seeds}" for one in part.itertuples()]).astype({CLIP: str})
    wide = fields.pivot_table(index="learning_rate", columns=CLIP, values="share").reindex(index=rates, columns=clips)
    texts = fields.pivot_table(index="learning_rate", columns=CLIP, values="text", aggfunc="first")
    texts = texts.reindex(index=rates, columns=clips).astype(object).fillna("")
    look: dict[str, Any] = {"vmin": 0, "vmax": 1, "cmap": COLOURS, "cbar": False, "linewidths": 1, "ax": ax}
    sns.heatmap(wide, annot=texts.to_numpy(), fmt="", annot_kws={"size": 8}, **look)
    for line in fields[fields["diverged"] > 0].itertuples():
        at = clips.index(str(getattr(line, CLIP))) + 0.84, rates.index(line.learning_rate) + 0.26
        ax.plot(*at, color=TORN, marker="x", markersize=6, markeredgewidth=1.8, linestyle="")
    ax.grid(visible=False)
    ax.set(xlabel="clip", ylabel="learning rate")
    ax.set_yticks(np.arange(len(rates)) + 0.5, [f"{rate:g}" for rate in rates], rotation=0)
    ax.set_xticks(np.arange(len(clips)) + 0.5, [clip.replace(" ", "\n") for clip in clips], rotation=0)


def _colour(kind: str) -> str:
    return palette.CELL_COLOURS.get(kind, palette.GREY)


def _look(initials: list[str], initial: str) -> dict[str, Any]:
    at = initials.index(initial)
    dashes = [*itertools.islice(itertools.cycle(style.DASHES), len(initials))]
    return {"marker": MARKS[at % len(MARKS)], "linestyle": dashes[at]}


def _mark_cells(table: pd.DataFrame) -> dict[str, Line2D]:
    cells = list_cells(table.assign(activation=None))  # the label has it
    return {cell: Line2D([], [], color=_colour(kind), linewidth=3) for cell, kind in cells.items()}
