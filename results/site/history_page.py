"""The page of a history: history.html, and what lies beside it in history/."""

from __future__ import annotations

from pathlib import Path

from farreach.results.analysis.comparison import LEVEL
from farreach.results.analysis.history import MOVED, History
from farreach.results.report.history import SKILL_SPAN, write_findings, write_places
from farreach.results.site import short_page, tables
from farreach.results.site.short_page import Short
from farreach.results.site.tables import Column, Table

NAME = "history"
PAGE = f"{NAME}.html"

WORDS = (
    "Result: the same or changed, to the last bit, from one set to the next that has the row in the same environment.",
    "A change of result is the code's, made between the two commits.",
    (
        "Step time moved: the times before and after differ by more than those of shuffled sets, on one machine, at a "
        f"level of {LEVEL:g} after Holm's correction for the number of rows; the place is right to a few sets. "
        "Sets are taken as independent: a machine whose nights are alike by turns moves too."
    ),
)


def write(folder: Path, found: History, *, command: str) -> list[Path]:
    """Write the page beside history.md; return the paths, the page first. Raises `StoreError` where it cannot be."""
    points = found.points
    facts = [f"{points['started'].iloc[0]} to {points['started'].iloc[-1]}", f"{len(found.lines)} rows"]
    said, title = write_findings(found), f"History of {len(points)} sets"
    return short_page.write(folder, Short(NAME, title, facts, said, WORDS, [_make_table(found)], [], command, points))


def _make_table(found: History) -> Table:
    frame = write_places(found).assign(told=found.lines["speed"] == MOVED)
    columns = (
        *tables.LABELLED,
        Column("skill", "skill", "fixed", hint="of the newest set; mean over the seeds that every set has", rank=1),
        Column("skills", "oldest to newest", "spark", most=SKILL_SPAN, hint="on a scale from 0 to 1", rank=1),
        Column("bits", "result", hint="to the last bit, within one environment", rank=2),
        Column("result moved at", "result moved at", rank=1),
        Column("ms", "ms a step", "number", hint="inside the training runs"),
        Column("times", "oldest to newest", "spark", hint="on a scale from 0", rank=1),
        Column("speed", "step time", best="told", rank=2),
        Column("times moved near", "step time moved near", rank=3),
        Column("new / old", "times as long", "number", best="told"),
        Column("sets", "sets", "number"),
        Column("seeds", "shared seeds", "number"),
        Column("other seeds", "other seeds", "number", hint="that some sets have and others have not: left out"),
        Column("commits", "commits, oldest to newest", "long"),
    )
    note = "A line for each row; opened, it shows every set with its commit."
    filters = tables.LABEL_FILTERS | {name: [name] for name in ("bits", "speed")}
    series = {"skills": "skill", "times": "ms a step"}
    return Table("rows", "rows", "Rows", note, frame, columns, filters, "facts", series)
