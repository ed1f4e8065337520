"""The figures of the gradient through time: profiles over the time steps, and heat maps over training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from farreach.results.analysis import reach
from farreach.results.analysis.selection import CELL, SETTING
from farreach.results.figures import palette, style
from farreach.results.record import INPUT

Load = Callable[[str], pd.DataFrame]

LOWEST = 1e-12
"""Relative norms below this are drawn here: less is nothing for any use of it."""


@dataclasses.dataclass(frozen=True)
class Part:
    """What one facet or line shows.

    Attributes:
        setting, label: what setting and cell are called.
        cell: the cell.
        rank: the place of the cell among all.
        before: steps before the scored group.
        flow: the flows of the seeds beneath each other, of the first layer.

    """

    setting: str
    label: str
    cell: str
    rank: int
    before: int
    flow: pd.DataFrame

    @property
    def ends(self) -> dict[str, pd.DataFrame]:
        """The flow at start, middle and end of training."""
        points = reach.find_points(sorted(set(self.flow["step"])))
        return {point: self.flow[self.flow["step"] == step] for point, step in points.items()}


Flows = dict[str, list[Part]]
"""For each task what is drawn of it, one a setting and cell."""


def draw_profiles(flows: Flows) -> dict[str, Figure]:
    """Return for each task the norm of dL/dh_t against the step, the cells on one plot, one facet a setting.

    Solid at the end of training, dotted before it; the geometric mean over seeds relative to the first scored step,
    with their range. The lstm's dL/dc_t at the end is dashed.
    """
    return {task: _draw_profiles(parts, "h", "c") for task, parts in flows.items()}


def draw_input_profiles(flows: Flows) -> dict[str, Figure]:
    """Return the same of dL/dx_t of the model's input, which every architecture has; of older flows nothing."""
    known = {task: [part for part in parts if INPUT in part.flow] for task, parts in flows.items()}
    known = {task: [part for part in parts if part.flow[INPUT].notna().any()] for task, parts in known.items()}
    return {task: _draw_profiles(parts, INPUT) for task, parts in known.items() if parts}


def draw_heat_maps(flows: Flows) -> dict[str, Figure]:
    """Return for each task the logarithm of the norm over training step and time step, one facet a setting and cell."""
    return {task: _draw_heat_maps(parts) for task, parts in flows.items()}


def read_flows(groups: Iterable[pd.DataFrame], load: Load) -> Flows:
    """Return what is drawn of each task.

    Args:
        groups: the rows of each setting and cell, as `observatory.choose_flows` gives them.
        load: maps a case's key to its flow; raises OSError where it cannot be read.

    """
    by_task: Flows = {}
    for group in groups:
        flow = pd.concat([_read_flow(load, key) for key in group["key"]], ignore_index=True)
        if len(flow):
            first = group.iloc[0]
            rank, before = int(group[CELL].cat.codes.iloc[0]), int(first["steps_before"])
            part = Part(str(first[SETTING]), str(first[CELL]), str(first["cell"]), rank, before, flow)
            by_task.setdefault(str(first["task"]), []).append(part)
    return by_task


def _read_flow(load: Load, key: str) -> pd.DataFrame:
    try:
        flow = load(key)
    except OSError:
        return pd.DataFrame()
    return flow[flow["layer"] == 0].assign(run=key) if len(flow) else flow


def _draw_profiles(parts: list[Part], column: str, beside: str | None = None) -> Figure:
    """Draw a column of the flows of a task, and dashed at the end of training another one, where it is known."""
    with style.use_style():
        settings = list(dict.fromkeys(part.setting for part in parts))
        figure, axes = style.make_grid(len(settings))
        entries = {
            part.label: Line2D([], [], color=palette.CELL_COLOURS.get(part.cell, palette.GREY), linewidth=3)
            for part in sorted(parts, key=lambda part: part.rank)
        }
        for ax, setting in zip(axes, settings, strict=True):
            for part in (part for part in parts if part.setting == setting):
                colour = palette.CELL_COLOURS.get(part.cell, palette.GREY)
                ends = part.ends
                _draw_profile(ax, ends["start"], part.before, column, color=colour, linestyle=":")
                _draw_profile(ax, ends["end"], part.before, column, color=colour, linestyle="-")
                if beside and part.flow[beside].notna().any():
                    _draw_profile(ax, ends["end"], part.before, beside, color=colour, linestyle="--")
            ax.axhline(reach.LEFT, color="0.4", linewidth=1, linestyle="-.", zorder=1)
            style.make_log_axis(ax)
            ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            ax.set(xlabel="step before the scored ones", ylabel=f"norm of dL/d{column}$_t$, relative")
            style.write_title(ax, setting, width=34)
        kinds: dict[str, Any] = {"end of training": "-", "before training": ":"}
        kinds |= ({f"end, dL/d{beside}$_t$ (lstm)": "--"} if beside else {}) | {"1 %": "-."}
        entries |= {name: Line2D([], [], color="0.3", linestyle=dash) for name, dash in kinds.items()}
        style.draw_legend(figure, entries)
    return figure


def _draw_profile(ax: Axes, flow: pd.DataFrame, before: int, column: str, **look: Any) -> None:
    """Draw the geometric mean over runs, and their range, relative to each run's norm at the first scored step."""
    part = flow[flow["time"] <= before]
    wide = part.pivot_table(index="time", columns="run", values=column)
    relative = (wide / wide.loc[before]).clip(lower=LOWEST)
    x = relative.index.to_numpy(float) - before
    logs = np.log(relative.to_numpy(float))
    ax.plot(x, np.exp(logs.mean(axis=1)), linewidth=1.6, **look)
    if logs.shape[1] > 1 and look["linestyle"] == "-":
        ax.fill_between(
            x, np.exp(logs.min(axis=1)), np.exp(logs.max(axis=1)), color=look["color"], alpha=0.15, linewidth=0
        )


def _draw_heat_maps(parts: list[Part]) -> Figure:
    with style.use_style():
        # One plain grid: a colour bar beside the nested ones of `panels.facets` leaves them no room.
        columns = 2 if len(parts) in {2, 4} else 3
        rows = -(-len(parts) // columns)
        figure = Figure(figsize=(style.WIDTH, 2.6 * rows + 0.2), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for spare in axes[len(parts) :]:
            spare.remove()
        axes = axes[: len(parts)]
        grids = [_make_grid(part.flow) for part in parts]
        top = max(float(np.nanmax(values)) for *_, values in grids)
        low = max(min(float(np.nanmin(values)) for *_, values in grids), top - 8)
        mesh: QuadMesh | None = None
        for ax, part, (steps, times, values) in zip(axes, parts, grids, strict=True):
            mesh = ax.pcolormesh(
                steps, times, values, cmap="cividis", vmin=low, vmax=top, shading="nearest", rasterized=True
            )
            ax.axhline(part.before - 0.5, color="white", linewidth=1, linestyle="--")
            ax.grid(visible=False)
            ax.set_ylabel("time step")
            style.make_step_axis(ax)
            style.write_title(ax, f"{part.label} · {part.setting}", width=28)
        if mesh is not None:
            bar = figure.colorbar(mesh, ax=axes, shrink=0.8, pad=0.02, extend="min")
            bar.set_label("log$_{10}$ of the norm of dL/dh$_t$")
    return figure


def _make_grid(flow: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return training steps, time steps and the mean over runs of log10 of the norm, [time, training step]."""
    floor = np.finfo(float).tiny
    logs = flow.assign(log=np.log10(flow["h"].astype(float).clip(lower=floor)))
    wide = logs.pivot_table(index="time", columns="step", values="log")
    return wide.columns.to_numpy(float), wide.index.to_numpy(float), wide.to_numpy(float)
