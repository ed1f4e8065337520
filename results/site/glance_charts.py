"""The pictures beside the answers at a glance: success against length, and gaps of frameworks beside replicates."""

from __future__ import annotations

import math

import plotly.graph_objects as go

from farreach.results.analysis import agreement
from farreach.results.analysis.agreement import PairAgreement
from farreach.results.analysis.rows import Rows
from farreach.results.analysis.task_verdicts import DEFAULT, CellLengths, TaskLengths, find_lengths
from farreach.results.figures.palette import CELL_COLOURS, CELL_DASHES, CELL_MARKERS, COLOURS
from farreach.results.site.charts import DASHES, GREY, LINE, SYMBOLS, Chart, make_facets, plain, text

SIDE = 0.012
"""What two cells at one length are drawn apart by, as a share of the axis, so that neither hides the other."""


def draw_success(rows: Rows) -> Chart | None:
    """Return the share of seeds that solved each task against its length; None where no task ran at two lengths."""
    tasks = [one for one in find_lengths(rows.listed) if len(_list_lengths(one)) > 1]
    if not tasks:
        return None
    figure = make_facets([one.task for one in tasks], [5] * len(tasks), shared=False)
    named: set[str] = set()
    for row, task in enumerate(tasks, start=1):
        lengths = _list_lengths(task)
        step = SIDE * (lengths[-1] - lengths[0])
        for at, cell in enumerate(task.cells):
            name = cell.cell if cell.initial == DEFAULT else f"{cell.cell}, {cell.initial} weights"
            trace = _draw_cell(cell, text(name), shift=step * (at - (len(task.cells) - 1) / 2))
            trace.showlegend = name not in named
            named.add(name)
            figure.add_trace(trace, row=row, col=1)
        figure.update_xaxes(title=text(task.parameter), tickvals=lengths, row=row, col=1)
    figure.update_yaxes(tickformat=".0%", range=[-0.06, 1.09], title="seeds")
    caption = (
        "Share of the seeds that solved it, with its 95 % interval from five seeds on, and none where it is the best "
        "of several tried. Colour, line and mark: cell; cells at one length stand beside each other."
    )
    return Chart("success-length", "Seeds that solved it, against length", caption, plain(figure))


def draw_gaps(rows: Rows) -> Chart | None:
    """Return each seed's gap between two frameworks beside that of permuted replicates; None where there is none."""
    pairs = agreement.compare_pairs(agreement.measure_gaps(rows.ours)) if len(rows.ours) else []
    pairs = [one for one in pairs if any(all(map(math.isfinite, gaps)) for gaps in one.gaps)]
    if not pairs:
        return None
    figure = go.Figure()
    for side, (name, colour, symbol) in enumerate(
        (("frameworks", COLOURS[4], "circle"), ("permuted replicates of one framework", GREY, "diamond-open"))
    ):
        places = [(one, gaps[side]) for one in pairs for gaps in one.gaps if math.isfinite(gaps[side])]
        figure.add_trace(
            go.Scatter(
                x=[gap for _, gap in places],
                y=[_name_pair(one) for one, _ in places],
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 11, "opacity": 0.85},
                name=name,
                hovertemplate=f"{name}: %{{x:.3g}}<extra>%{{y}}</extra>",
            )
        )
    found = [one for one in pairs if one.power is not None]
    figure.add_trace(
        go.Scatter(
            x=[(one.power or 0) * one.median_replicates for one in found],
            y=[_name_pair(one) for one in found],
            mode="markers",
            marker={"color": COLOURS[3], "symbol": "line-ns-open", "size": 22, "line": {"width": 3}},
            name="would be found 95 % of the time",
            hovertemplate="median gap that would be found: %{x:.3g}<extra>%{y}</extra>",
            visible=bool(found),
        )
    )
    figure.update_xaxes(title="gap in skill, one mark a seed", rangemode="tozero")
    figure.update_yaxes(type="category", automargin=True, showgrid=False)
    figure.update_yaxes(range=[-0.6, len(pairs) - 0.4])
    place = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    figure.update_layout(
        template="none",
        height=150 + (LINE + 22) * len(pairs),
        margin={"l": 10, "r": 10, "t": 70, "b": 50},
        legend=place,
    )
    caption = (
        "Frameworks that agree lie where permuted replicates of one lie: there rounding alone sets two runs apart."
    )
    return Chart("gaps", "Gaps between frameworks, beside permuted replicates", caption, plain(figure))


def _draw_cell(cell: CellLengths, name: str, *, shift: float) -> go.Scatter:
    lines = cell.lengths
    shares = [one.count.solved / one.count.seeds for one in lines]
    ends = [one.interval for one in lines]
    return go.Scatter(
        x=[one.length + shift for one in lines],
        y=shares,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [0 if math.isnan(end.high) else end.high - share for end, share in zip(ends, shares, strict=True)],
            "arrayminus": [
                0 if math.isnan(end.low) else share - end.low for end, share in zip(ends, shares, strict=True)
            ],
        },
        mode="lines+markers",
        line={
            "color": CELL_COLOURS.get(cell.kind, GREY),
            "dash": DASHES[CELL_DASHES.get(cell.kind, "-.")] if cell.initial == DEFAULT else "dashdot",
        },
        marker={"symbol": SYMBOLS[CELL_MARKERS.get(cell.kind, "D")], "size": 10},
        name=name,
        legendgroup=name,
        customdata=[f"{one.count.solved} of {one.count.seeds} seeds at {one.length:g}" for one in lines],
        hovertemplate=f"{name}: %{{customdata}}<extra></extra>",
    )


def _list_lengths(task: TaskLengths) -> list[float]:
    return sorted({one.length for cell in task.cells for one in cell.lengths}) if task.parameter else []


def _name_pair(one: PairAgreement) -> str:
    return text(f"{one.first} and\n{one.second}")
