"""The page of an advice: advice.html, and what lies beside it in advice/."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from farreach.results.analysis.labels import join_words
from farreach.results.figures.palette import COLOURS
from farreach.results.report.advice import Advice, tabulate_tried, write_findings
from farreach.results.site import short_page
from farreach.results.site.charts import SYMBOLS, Chart, plain
from farreach.results.site.short_page import Short
from farreach.results.site.tables import Column, Table

NAME = "advice"
PAGE = f"{NAME}.html"

WORDS = (
    "Average skill: over the evaluations of the training, so that it rises when a task is learned better, and sooner.",
    "Recommended: the middle of the thresholds that as many seeds solve as the best, with as good an average skill.",
    "It is a choice among thresholds; whether a clip does better than none is said apart, from five seeds on.",
)
LOOKS = ((COLOURS[3], "o"), (COLOURS[4], "s"), (COLOURS[9], "^"), (COLOURS[5], "D"))
"""Colour and mark of each learning rate: none of a framework's colours."""


def write(folder: Path, found: Advice) -> list[Path]:
    """Write the page beside advice.md; return the paths, the page first. Raises `StoreError` where it cannot be."""
    commits = join_words(sorted({str(commit) for commit in found.rows["commit"]}))
    machines = sorted({f"{row['processor']}, {row['cores']} cores" for row in found.rows.to_dict("records")})
    facts = [f"{len(found.rows)} cases", found.setting, *machines, f"commit {commits}"]
    commands = sorted({str(command) for command in found.rows["command"]})
    short = Short(
        name=NAME,
        title="Which clip threshold?",
        facts=facts,
        sentences=write_findings(found),
        words=WORDS,
        tables=[_make_table(found)],
        charts=[_draw(found)],
        command=commands[0] if commands else "python -m benchmarks advise",
    )
    return short_page.write(folder, short)


def _make_table(found: Advice) -> Table:
    tried = tabulate_tried(found)
    columns = (
        Column("learning rate", "learning rate", rank=0),
        Column("clip", "clip", best="recommended", rank=0),
        Column("solved", "solved", rank=0),
        Column("steps", "steps to solve", rank=1),
        Column("average skill", "average skill", best="recommended", rank=1),
        Column("verdict", "verdict", rank=1),
        Column("skill", "skill at the end", rank=2),
        Column("clipped", "clipped", rank=2, hint="share of the steps on which the clip changed the gradient"),
    )
    filters = {"learning rate": ["learning rate"]}
    note = "Means over seeds; in brackets their range. Bold: recommended."
    return Table("tried", "tried", "What was tried", note, tried, columns, filters, "facts")


def _draw(found: Advice) -> Chart:
    """Return the average skill against the threshold, a line for each learning rate; no clip stands at the right."""
    thresholds = sorted({float(at) for one in found.verdicts for at in one.lines["threshold"].dropna()})
    names = [f"{at:g}" for at in thresholds]
    figure = go.Figure()
    for at, one in enumerate(found.verdicts):
        colour, mark = LOOKS[at % len(LOOKS)]
        lines = one.lines.assign(place=[_name(value) for value in one.lines["threshold"]])
        chosen = [value == one.recommended for value in lines["threshold"]]
        figure.add_trace(
            go.Scatter(
                x=lines["place"].tolist(),
                y=lines["average skill"].tolist(),
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": (lines["most"] - lines["average skill"]).tolist(),
                    "arrayminus": (lines["average skill"] - lines["least"]).tolist(),
                },
                mode="lines+markers",
                line={"color": colour},
                marker={"symbol": SYMBOLS[mark], "size": [16 if here else 9 for here in chosen]},
                name=f"learning rate {one.learning_rate:g}",
                customdata=[
                    f"{line['solved']} of {line['judged']} seeds solved it" for line in lines.to_dict("records")
                ],
                hovertemplate="%{x}: average skill %{y:.2f}, %{customdata}<extra></extra>",
            )
        )
    order = [*names, _name(math.nan)]
    figure.update_xaxes(title=f"clip {found.clip}", type="category", categoryorder="array", categoryarray=order)
    figure.update_yaxes(title="average skill", automargin=True)
    place = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    figure.update_layout(template="none", height=380, margin={"l": 10, "r": 10, "t": 60, "b": 50}, legend=place)
    caption = "Mean and range over seeds. The large mark of a line is the recommended threshold."
    return Chart("average-skill", "Average skill against the threshold", caption, plain(figure))


def _name(threshold: float) -> str:
    return "none" if pd.isna(threshold) else f"{threshold:g}"
