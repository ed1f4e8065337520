"""The pictures of a comparison: each row's change with its interval, the largest first."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from farreach.results.analysis import statistics
from farreach.results.analysis.comparison import BETTER, SAME, WORSE
from farreach.results.analysis.selection import GROUP, SETTING
from farreach.results.figures.palette import COLOURS as PALETTE
from farreach.results.site.charts import GREY, LINE, TICKS, Chart, plain, text

LOOKS = {
    WORSE: (PALETTE[3], "triangle-down"),
    BETTER: (PALETTE[9], "triangle-up"),
    SAME: (GREY, "circle"),
    statistics.INCONCLUSIVE: (GREY, "circle-open"),
}
"""Colour and mark of each verdict: none of a framework's colours."""

WRAPPED = 32
"""Characters of a label's line: what a phone has room for."""

CLOSE = [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2]
"""Ratios that an axis marks where none is beyond the last."""

MOST = 40
"""Rows that a picture shows."""


def draw_ratios(speed: pd.DataFrame) -> Chart | None:
    """Return new / old of the step times, `Comparison.speed`; None where there is none."""
    if speed.empty:
        return None
    size = speed["new / old"].astype(float).map(np.log).abs()
    figure, note = _draw_changes(speed, "new / old", "speed", size, level=1.0)
    ticks = CLOSE if size.max() < np.log(CLOSE[-1]) else TICKS
    figure.update_xaxes(title="new / old", type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    caption = "Right of the line the new one is slower. Bars: 95 % intervals, where there are enough runs for one."
    return Chart("speed-changes", "Change of the step times", caption + note, plain(figure))


def draw_differences(quality: pd.DataFrame) -> Chart | None:
    """Return new - old of the skill, `Comparison.quality`, of rows that are not identical; None where all are."""
    kept = quality[quality["difference"].abs() > 0]
    kept = kept.assign(typical=kept["typical"].fillna(kept["difference"]))
    if kept.empty:
        return None
    figure, note = _draw_changes(kept, "typical", "quality", kept["typical"].abs(), level=0.0)
    figure.update_xaxes(title="new - old")
    caption = (
        "Right of the line the new one is better. The median difference with its 95 % interval, where there are enough "
        "seeds for one; else the difference of the means, without."
    )
    return Chart("skill-changes", "Change of the skill", caption + note, plain(figure))


def _draw_changes(
    frame: pd.DataFrame, value: str, verdict: str, size: pd.Series[float], *, level: float
) -> tuple[go.Figure, str]:
    """Return the rows of the largest change, one a line, and what is said of the others."""
    kept = frame.assign(size=size).sort_values("size", ascending=False, kind="stable").head(MOST).iloc[::-1]
    first, *rest = GROUP if SETTING in kept else ("step", "framework")
    named = [f"{row[first]}, {' '.join(str(row[name]) for name in rest)}" for row in kept.to_dict("records")]
    labels = [text(textwrap.fill(name, WRAPPED)) for name in named]
    figure = go.Figure()
    for kind, (colour, symbol) in LOOKS.items():
        chosen = (kept[verdict] == kind).to_numpy()
        if not chosen.any():
            continue
        part = kept[chosen]
        middle = part[value].astype(float)
        low, high = (part[end].astype(float) for end in ("low", "high"))
        figure.add_trace(
            go.Scatter(
                x=middle.tolist(),
                y=[label for label, one in zip(labels, chosen, strict=True) if one],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": (high - middle).fillna(0).tolist(),
                    "arrayminus": (middle - low).fillna(0).tolist(),
                    "width": 0,
                },
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 10},
                name=kind,
                hovertemplate="%{y}: %{x:.3g}<extra></extra>",
            )
        )
    figure.add_vline(x=level, line_width=1, line_color=GREY)
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=labels, automargin=True, showgrid=False)
    figure.update_yaxes(range=[-0.7, len(kept) - 0.3], tickfont_size=11)
    height = (LINE + 14) * len(kept) + 130
    place = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
    figure.update_layout(
        template="none", height=height, margin={"l": 10, "r": 10, "t": 60, "b": 60}, legend=place, showlegend=True
    )
    more = f" The {MOST} largest changes of {len(frame)}; the table has all." if len(frame) > MOST else ""
    return figure, more
