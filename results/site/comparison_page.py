"""The page of a comparison of two result sets: comparison.html, and what lies beside it in comparison/."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from farreach.results.analysis import comparison
from farreach.results.analysis.comparison import Comparison
from farreach.results.analysis.selection import SETTING
from farreach.results.report.comparison import write_findings
from farreach.results.site import comparison_charts, short_page, tables
from farreach.results.site.short_page import Short
from farreach.results.site.tables import Column, Table

NAME = "comparison"
PAGE = f"{NAME}.html"

WORDS = (
    (
        "Over all pairs: one case and seed in both sets, judged together by flipping the signs of each start (setting, "
        f"cell and seed); told at a level of {comparison.WHOLE_LEVEL:g} and beyond {comparison.MARGIN:g} of mean skill."
    ),
    f"Same, better, worse: told at a level of {comparison.LEVEL:g} after Holm's correction for the number of rows.",
    (
        f"Cannot tell: too few runs or seeds, or an interval too wide. Quality takes {comparison.SEEDS} shared seeds, "
        f"speed {comparison.RUNS} runs a side, or both versions side by side (compare --live)."
    ),
    "Quality is that of the seeds that both sets have; a row is the same only where neither has further seeds.",
    "Bits: identical or changed where both sides ran one seed in one environment; there nothing but the code differs.",
)


def write(folder: Path, found: Comparison, *, title: str, command: str) -> list[Path]:
    """Write the page beside comparison.md; return the paths, the page first. Raises `StoreError` where it cannot be."""
    made = [
        one
        for one in (_make_quality(found.quality), _make_speed(found.speed), _make_whole(found.whole))
        if len(one.frame)
    ]
    drawn = [comparison_charts.draw_ratios(found.speed), comparison_charts.draw_differences(found.quality)]
    charts = [one for one in drawn if one is not None]
    said = write_findings(found) or ["The two sets have no row in common."]
    return short_page.write(folder, Short(NAME, f"Compared: {title}", [], said, WORDS, made, charts, command))


def _list_filters(frame: pd.DataFrame, *verdicts: str) -> dict[str, list[str]]:
    labels = tables.LABEL_FILTERS if SETTING in frame else {name: [name] for name in ("step", "framework")}
    return labels | {name: [name] for name in verdicts}


def _make_whole(frame: pd.DataFrame) -> Table:
    told = frame.assign(told=frame["skill"].isin([comparison.BETTER, comparison.WORSE]))
    columns = (
        Column("pairs of", "pairs of"),
        Column("skill", "verdict", best="told", rank=1),
        Column("skill old", "skill, old", "fixed"),
        Column("skill new", "skill, new", "fixed"),
        Column("difference", "new - old", "number", best="told", hint="of the mean skills"),
        Column("typical", "typical", "number", "low", "high", hint="median difference with its 95 % interval"),
        Column("solved old", "solved, old", "number"),
        Column("solved new", "solved, new", "number"),
        Column("pairs", "pairs", "number"),
        Column("starts", "starts", "number", hint="setting, cell and seed: what counts once"),
    )
    note = "Mean skill over the pairs of one case and seed. Bold: told from no difference."
    return Table("whole", "whole", "Together", note, told, columns, {"verdict": ["skill"]}, "facts")


def _make_quality(frame: pd.DataFrame) -> Table:
    frame = frame.copy()
    frame["told"] = frame["quality"].isin([comparison.BETTER, comparison.WORSE])
    columns = (
        *tables.LABELLED,
        Column("quality", "verdict", best="told", rank=1),
        Column("bits", "bits", hint="one seed in one environment: the same to the last bit, or changed"),
        Column("skill old", "skill, old", "fixed"),
        Column("skill new", "skill, new", "fixed"),
        Column("difference", "new - old", "number", best="told", hint="of the mean skills"),
        Column("typical", "typical", "number", "low", "high", hint="median difference with its 95 % interval"),
        Column("seeds", "shared seeds", "number"),
        Column("old alone", "old alone", "number", hint="seeds that the old set alone has: not compared"),
        Column("skill old alone", "their skill", "fixed"),
        Column("new alone", "new alone", "number", hint="seeds that the new set alone has: not compared"),
        Column("skill new alone", "their skill", "fixed"),
    )
    note = "Mean skill over the seeds that both sets have. Bold: told from no difference."
    return Table(
        "quality", "quality", "Quality", note, frame, columns, _list_filters(frame, "quality", "bits"), "facts"
    )


def _make_speed(frame: pd.DataFrame) -> Table:
    frame = frame.copy()
    frame["told"] = frame["speed"].isin([comparison.BETTER, comparison.WORSE])
    columns = (
        *(tables.LABELLED if SETTING in frame else (Column("step", "step"), Column("framework", "framework"))),
        Column("speed", "verdict", best="told", rank=1),
        Column("ms old", "ms, old", "number"),
        Column("ms new", "ms, new", "number"),
        Column(
            "new / old", "new / old", "number", "low", "high", best="told", hint="above 1 the new one is slower", rank=2
        ),
        Column("runs old", "runs, old", "number"),
        Column("runs new", "runs, new", "number"),
    )
    note = "Time of a training step, the median of each run. Bold: told from no difference."
    return Table("speed", "speed", "Speed", note, frame, columns, _list_filters(frame, "speed"), "facts")
