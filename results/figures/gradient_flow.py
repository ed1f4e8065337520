"""The figures of the gradient through time: profiles over the time steps, and heat maps over training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from farreach.results.analysis import observatory, reach
from farreach.results.analysis.labels import CELLS, ordered
from farreach.results.figures import palette, style

Load = Callable[[str], pd.DataFrame]
"""Maps a case's key to its flow; raises OSError where it cannot be read."""

CELL_COLOURS = {"rnn": palette.COLOURS[3], "lstm": palette.COLOURS[4], "gru": palette.COLOURS[9]}
LOWEST = 1e-12
"""Relative norms below this are drawn here: less is nothing for any use of it."""


def profiles(rows: pd.DataFrame, load: Load) -> dict[str, Figure]:
    """Return for each task the norm of dL/dh_t against the step, the cells on one plot, one facet a setting.

    Solid at the end of training, dotted before it; the geometric mean over seeds relative to the first scored step,
    with their range. The lstm's dL/dc_t at the end is dashed.
    """
    return {str(task): _profiles(parts) for task, parts in _by_task(rows, load)}


def heat_maps(rows: pd.DataFrame, load: Load) -> dict[str, Figure]:
    """Return for each task the logarithm of the norm over training step and time step, one facet a setting and cell."""
    return {str(task): _heat_maps(parts) for task, parts in _by_task(rows, load)}


Part = tuple[str, str, int, pd.DataFrame]
"""Setting, cell, steps before the scored group, and the flows of the seeds beneath each other (first layer)."""


def _by_task(rows: pd.DataFrame, load: Load) -> Iterator[tuple[str, list[Part]]]:
    """Yield each task's parts, one a setting and cell."""
    by_task: dict[str, list[Part]] = {}
    for task, setting, cell, group in observatory.choose_flows(rows):
        found = pd.concat([_flow(load, key) for key in group["key"]], ignore_index=True)
        if len(found):
            by_task.setdefault(task, []).append((setting, cell, int(group["steps_before"].iloc[0]), found))
    yield from by_task.items()


def _flow(load: Load, key: str) -> pd.DataFrame:
    try:
        found = load(key)
    except OSError:
        return pd.DataFrame()
    return found[found["layer"] == 0].assign(run=key) if len(found) else found


def _profiles(parts: list[Part]) -> Figure:
    with style.style():
        settings = list(dict.fromkeys(setting for setting, *_ in parts))
        figure, axes = style.grid(len(settings))
        entries: dict[str, Line2D] = {}
        for ax, setting in zip(axes, settings, strict=True):
            for _, cell, before, found in (part for part in parts if part[0] == setting):
                colour = CELL_COLOURS.get(cell.split(" ")[0], palette.GREY)
                entries[cell] = Line2D([], [], color=colour, linewidth=3)
                points = reach.at_points(sorted(set(found["step"])))
                _profile(ax, found[found["step"] == points["start"]], before, "h", color=colour, linestyle=":")
                _profile(ax, found[found["step"] == points["end"]], before, "h", color=colour, linestyle="-")
                if found["c"].notna().any():
                    _profile(ax, found[found["step"] == points["end"]], before, "c", color=colour, linestyle="--")
            ax.axhline(reach.LEFT, color="0.4", linewidth=1, linestyle="-.", zorder=1)
            style.log_axis(ax)
            ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            ax.set(xlabel="step before the scored ones", ylabel="norm of dL/dh$_t$, relative")
            style.title(ax, setting, width=34)
        kinds: dict[str, Any] = {
            "end of training": "-",
            "before training": ":",
            "end, dL/dc$_t$ (lstm)": "--",
            "1 %": "-.",
        }
        entries = {cell: entries[cell] for cell in ordered(entries, CELLS)}
        entries |= {name: Line2D([], [], color="0.3", linestyle=dash) for name, dash in kinds.items()}
        style.legend(figure, entries)
    return figure


def _profile(ax: Axes, found: pd.DataFrame, before: int, column: str, **look: Any) -> None:
    """Draw the geometric mean over runs, and their range, relative to each run's norm at the first scored step."""
    part = found[found["time"] <= before]
    wide = part.pivot_table(index="time", columns="run", values=column)
    relative = (wide / wide.loc[before]).clip(lower=LOWEST)
    x = relative.index.to_numpy(float) - before
    logs = np.log(relative.to_numpy(float))
    ax.plot(x, np.exp(logs.mean(axis=1)), linewidth=1.6, **look)
    if logs.shape[1] > 1 and look["linestyle"] == "-":
        ax.fill_between(
            x, np.exp(logs.min(axis=1)), np.exp(logs.max(axis=1)), color=look["color"], alpha=0.15, linewidth=0
        )


def _heat_maps(parts: list[Part]) -> Figure:
    with style.style():
        # One plain grid: a colour bar beside the nested ones of `panels.facets` leaves them no room.
        columns = 2 if len(parts) in {2, 4} else 3
        rows = -(-len(parts) // columns)
        figure = Figure(figsize=(style.WIDTH, 2.6 * rows + 0.2), layout="constrained")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for spare in axes[len(parts) :]:
            spare.remove()
        axes = axes[: len(parts)]
        grids = [_grid(found) for *_, found in parts]
        top = max(float(np.nanmax(values)) for *_, values in grids)
        low = max(min(float(np.nanmin(values)) for *_, values in grids), top - 8)
        mesh: QuadMesh | None = None
        for ax, (setting, cell, before, _), (steps, times, values) in zip(axes, parts, grids, strict=True):
            mesh = ax.pcolormesh(
                steps, times, values, cmap="cividis", vmin=low, vmax=top, shading="nearest", rasterized=True
            )
            ax.axhline(before - 0.5, color="white", linewidth=1, linestyle="--")
            ax.grid(visible=False)
            ax.set_ylabel("time step")
            style.step_axis(ax)
            style.title(ax, f"{cell} · {setting}", width=28)
        if mesh is not None:
            bar = figure.colorbar(mesh, ax=axes, shrink=0.8, pad=0.02, extend="min")
            bar.set_label("log$_{10}$ of the norm of dL/dh$_t$")
    return figure


def _grid(found: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return training steps, time steps and the mean over runs of log10 of the norm, [time, training step]."""
    floor = np.finfo(float).tiny
    logs = found.assign(log=np.log10(found["h"].astype(float).clip(lower=floor)))
    wide = logs.pivot_table(index="time", columns="step", values="log")
    return wide.columns.to_numpy(float), wide.index.to_numpy(float), wide.to_numpy(float)
