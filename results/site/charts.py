"""The interactive pictures: what the figures for papers show, in plotly; colours of text and grid are the page's."""

from __future__ import annotations

import dataclasses
import html
import json
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from farreach.results.analysis import overview
from farreach.results.analysis.labels import label_learner, label_side
from farreach.results.analysis.selection import CELL, CLIP, LEARNER, SETTING, sort_words
from farreach.results.analysis.statistics import INCONCLUSIVE
from farreach.results.figures import palette
from farreach.results.report.phrases import write_limit
from farreach.results.storage.sanitising import clean_text
from farreach.results.timing import ratios, scaling
from farreach.results.vocabulary import CELLS

SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down"}
SYMBOLS |= {"P": "cross", "X": "x", "<": "triangle-left", ">": "triangle-right", "h": "hexagon"}
"""Plotly's names of the markers."""

DASHES = {":": "dot", "-": "solid", "--": "dash", "-.": "dashdot"}
GREY = "#767676"
"""Legible on white and on black."""

TICKS = [tick * 10.0**power for power in range(-2, 4) for tick in (1, 1.5, 2, 3, 5, 7)]
"""Ratios that the axis of a forest plot marks."""

MARKS = [mark * 10.0**power for power in range(-3, 6) for mark in (1, 2, 5)]
"""Times that a logarithmic axis marks."""

LINE = 34
"""Pixels of one line of a picture."""


@dataclasses.dataclass(frozen=True)
class Chart:
    """A picture of the page.

    Attributes:
        name: its place in the page, and the name of its PNG and SVG in ``figures/``.
        title: its heading.
        caption: what it shows, which also stands for it where it cannot be seen.
        figure: data and layout as plotly's script takes them.
        columns: fields beside each other that need room of their own; 0 for a picture that fits any width.

    """

    name: str
    title: str
    caption: str
    figure: dict[str, Any]
    columns: int = 0


def draw_atlas(table: pd.DataFrame) -> list[Chart]:
    """Return the clip atlas of each task; `table` is `tabulate_atlas`."""
    caption = (
        "Colour, from dark to light, and first line: how many of the seeds solved it, in every framework that ran it. "
        "Second line: share of the steps clipped, mean over seeds and frameworks."
    )
    charts = []
    for task, whole in table.groupby("task", sort=False, observed=True):
        part = overview.limit_lines(whole)
        columns = len(part[CLIP].unique())
        charts.append(
            Chart(
                f"atlas-{task}",
                f"Clip atlas: {task}",
                caption + write_limit(whole, part),
                plain(_draw_atlas(part)),
                columns,
            )
        )
    return charts


def _draw_atlas(part: pd.DataFrame) -> go.Figure:
    settings = list(dict.fromkeys(part[SETTING].astype(str)))
    clips = [str(clip) for clip in part[CLIP].cat.categories if (part[CLIP] == clip).any()]
    groups = [part[part[SETTING] == setting] for setting in settings]
    cells = [
        [str(cell) for cell in group[CELL].cat.categories if (group[CELL] == cell).any()][::-1] for group in groups
    ]
    figure = make_facets(settings, [len(names) for names in cells], height=LINE + 10, legend=False)
    for row, (group, names) in enumerate(zip(groups, cells, strict=True), start=1):
        fields = {(str(line[CELL]), str(line[CLIP])): line for line in group.to_dict("records")}
        said = {
            place: "<br>".join(filter(None, map(text, overview.describe_field(line)))) for place, line in fields.items()
        }
        shares = {place: float(line["share"]) for place, line in fields.items()}
        figure.add_trace(
            go.Heatmap(
                z=[[shares.get((cell, clip)) for clip in clips] for cell in names],
                text=[[said.get((cell, clip), "") for clip in clips] for cell in names],
                texttemplate="%{text}",
                x=[text(clip) for clip in clips],
                y=[text(cell) for cell in names],
                zmin=0,
                zmax=1,
                colorscale="Cividis",
                xgap=2,
                ygap=2,
                showscale=False,
                hovertemplate="%{y}, %{x}: %{z:.0%}<extra></extra>",
            ),
            row=row,
            col=1,
        )
    figure.update_xaxes(type="category", showgrid=False, side="bottom")
    figure.update_yaxes(type="category", showgrid=False)
    figure.update_layout(margin_r=44)  # on a phone the last label is slanted and ends beyond its field
    return figure


def draw_forest(pairs: pd.DataFrame) -> Chart:
    """Return the timed ratios with their intervals; `pairs` is `speed_sentences.name_steps`."""
    whole, pairs = pairs, overview.limit_lines(pairs, "setting")
    note = write_limit(whole, pairs, "setting")
    settings = list(dict.fromkeys(pairs["setting"]))
    groups = [pairs[pairs["setting"] == setting] for setting in settings]
    figure = make_facets(settings, [len(group) for group in groups], height=LINE + 6)
    named: set[str] = set()
    for row, group in enumerate(groups, start=1):
        for _, line in group.iloc[::-1].iterrows():
            framework, known = str(line["faster framework"]), line["verdict"] == ratios.FASTER
            look = palette.LOOKS.get(framework, palette.SPARE[0])
            colour, symbol = (look.colour, SYMBOLS[look.marker]) if known else (GREY, f"{SYMBOLS[look.marker]}-open")
            name = text(framework) if known else INCONCLUSIVE
            ends = None
            if pd.notna(line["low"]):
                ends = {
                    "type": "data",
                    "symmetric": False,
                    "array": [line["high"] - line["times as fast"]],
                    "arrayminus": [line["times as fast"] - line["low"]],
                    "thickness": 2.5,
                    "width": 0,
                }
            figure.add_trace(
                go.Scatter(
                    x=[line["times as fast"]],
                    y=[text(f"{label_side(line, 'faster')} over\n{label_side(line, 'slower')}")],
                    error_x=ends,
                    mode="markers",
                    marker={"color": colour, "symbol": symbol, "size": 10},
                    name=name,
                    legendgroup=name,
                    showlegend=name not in named,
                    hovertemplate=f"%{{y}}: %{{x:.3g}} ({line['low']:.3g} to {line['high']:.3g})<extra></extra>",
                ),
                row=row,
                col=1,
            )
            named.add(name)
        figure.add_vline(x=1, line_width=1, line_color=GREY, row=row, col=1)
    figure.update_xaxes(type="log", tickvals=TICKS, ticktext=[f"{tick:g}" for tick in TICKS], showticklabels=True)
    figure.update_yaxes(type="category", showgrid=False)
    figure.update_xaxes(title="times as fast", row=len(settings), col=1)
    caption = (
        "How many times as fast a training step is in the first named as in the second, median ratio of the times with "
        "its 95 % interval; right of 1 the first named is faster. Colour and mark: the first named; grey: inconclusive."
    )
    return Chart("ratios", "How many times as fast", caption + note, plain(figure))


def draw_reach(table: pd.DataFrame) -> Chart:
    """Return reach against length; `table` is `tabulate_reach`."""
    tasks = list(dict.fromkeys(table["task"]))
    figure = make_facets(tasks, [6] * len(tasks), shared=False)
    seen = palette.choose_looks(table)
    for row, task in enumerate(tasks, start=1):
        part = table[table["task"] == task]
        for (kind, cell, learner), group in part.groupby(["cell", CELL, LEARNER], observed=True, sort=False):
            line = group.sort_values("length")
            name = text(f"{cell}, {learner}")
            colour, ring = seen[str(learner)].colour, kind == palette.RING
            figure.add_trace(
                go.Scatter(
                    x=line["length"].tolist(),
                    y=line["reach"].tolist(),
                    error_y={
                        "type": "data",
                        "symmetric": False,
                        "array": (line["high"] - line["reach"]).fillna(0).tolist(),
                        "arrayminus": (line["reach"] - line["low"]).fillna(0).tolist(),
                    },
                    mode="lines+markers",
                    line={"color": colour, "dash": DASHES[palette.CELL_DASHES.get(kind, "-.")]},
                    marker={
                        "symbol": SYMBOLS[palette.CELL_MARKERS.get(kind, "D")] + ("-open" if ring else ""),
                        "size": 15 if ring else 9,
                    },
                    name=name,
                    legendgroup=name,
                    showlegend=not any(trace.name == name for trace in figure.data),
                    hovertemplate=f"{name}: %{{y:.0%}} at %{{x}}<extra></extra>",
                ),
                row=row,
                col=1,
            )
        tried = sorted(set(part["length"]))
        figure.update_xaxes(title=text(str(part["name"].iloc[0])), tickvals=tried, row=row, col=1)
    figure.update_yaxes(tickformat=".0%", range=[-0.05, 1.08], title="reach")
    caption = (
        "Share of the steps before the scored ones over which the gradient keeps 1 % of its norm at the end of "
        "training: mean over seeds with their range, without a clip where that ran. Colour: framework; line and "
        "mark: cell."
    )
    return Chart("reach-length", "Reach against length", caption, plain(figure))


def draw_growth(table: pd.DataFrame) -> list[Chart]:
    """Return the step time against T, hidden units and batch; `table` is that of `scaling.list_points`."""
    found = scaling.list_points(table)
    found = found[found["cost"] == "step time"]
    found = found.assign(**{LEARNER: [label_learner(line) for line in found.to_dict("records")]})
    seen = palette.choose_looks(found)
    made = []
    for axis, part in found.groupby("axis", observed=True):
        cells = sort_words(part["cell"].astype(str), CELLS)
        figure = make_facets(cells, [6] * len(cells), shared=False)
        for row, cell in enumerate(cells, start=1):
            lines = part[part["cell"] == cell].groupby(["framework", "path"], observed=True)
            for (framework, path), line in lines:
                learner = label_learner({"framework": framework, "path": path})
                look, name = seen[learner], text(learner)
                exponent, low, high = scaling.fit_exponent(
                    line["value"].to_numpy(float), line["middle"].to_numpy(float)
                )
                symbol = SYMBOLS[look.marker]
                symbols = [f"{symbol}-open" if other else symbol for other in scaling.find_other_paths(line)]
                said = f"exponent {exponent:.2f} ({low:.2f} to {high:.2f})"
                figure.add_trace(
                    go.Scatter(
                        x=line["value"].tolist(),
                        y=(line["middle"] * 1e3).tolist(),
                        mode="lines+markers",
                        line={"color": look.colour},
                        marker={"symbol": symbols, "size": 9},
                        name=name,
                        legendgroup=name,
                        customdata=[text(ran) for ran in line["ran"]],
                        showlegend=not any(trace.name == name for trace in figure.data),
                        hovertemplate=f"{name}: %{{y:.3g}} ms at %{{x}} by %{{customdata}}; {said}<extra></extra>",
                    ),
                    row=row,
                    col=1,
                )
        along = scaling.NAMES.get(str(axis), str(axis))
        figure.update_xaxes(type="log", title=along, tickvals=sorted(set(part["value"])))
        figure.update_yaxes(type="log", title="ms a step", tickvals=MARKS, ticktext=[f"{mark:g}" for mark in MARKS])
        caption = (
            "Median time of a training step, both axes logarithmic; pointed at: the exponent of a power law. Hollow: "
            "by another path than most of the line."
        )
        made.append(Chart(f"growth-{axis}", f"Growth of the step time with {along}", caption, plain(figure)))
    return made


def make_facets(
    titles: list[str], lines: list[int], *, height: int = LINE, shared: bool = True, legend: bool = True
) -> go.Figure:
    """Return a column of facets with room for so many lines in each: one that fits a phone too."""
    gap, top = (58 if shared else 72), (70 if legend else 34)
    total = height * sum(lines) + gap * (len(titles) - 1) + top + 60
    figure = make_subplots(
        rows=len(titles),
        cols=1,
        shared_xaxes=shared,
        row_heights=lines,
        vertical_spacing=gap / (total - top - 60) if len(titles) > 1 else 0,
        subplot_titles=[text(title) for title in titles],
    )
    figure.update_annotations(x=0, xanchor="left", font_size=13)
    place = {"orientation": "h", "x": 0, "y": 1 + 28 / (total - top - 60), "yanchor": "bottom"}
    figure.update_layout(template="none", height=total, margin={"l": 10, "r": 10, "t": top, "b": 60}, legend=place)
    figure.update_yaxes(automargin=True)
    return figure


def plain(figure: go.Figure) -> dict[str, Any]:
    """Return data and layout as plotly's script takes them; the template is the page's own."""
    made: dict[str, Any] = json.loads(figure.to_json())
    return {"data": made["data"], "layout": {name: part for name, part in made["layout"].items() if name != "template"}}


def text(given: str) -> str:
    """Return text that plotly shows as it is: it takes tags in labels."""
    return html.escape(clean_text(given), quote=False).replace("\n", "<br>")
