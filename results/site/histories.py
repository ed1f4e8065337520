"""The page of a history: history.html, and what lies beside it in history/."""

from __future__ import annotations

from pathlib import Path

from results import panels
from results.comparison import LEVEL
from results.files import StoreError
from results.history import MOVED, History, sentences
from results.history_report import PAGE as TEXT
from results.site import bundle, lines
from results.site.comparisons import HEADINGS
from results.site.lines import Column, Table

PAGE = "history.html"
FOLDER = "history"

WORDS = (
    "Result: the same or changed, to the last bit, from one set to the next that has the row in the same environment.",
    "A change of result is the code's, made between the two commits.",
    (
        "Step time moved: the times before and after differ by more than those of shuffled sets, on one machine, at a "
        f"level of {LEVEL:g} after Holm's correction for the number of rows; the place is right to a few sets."
    ),
)


def write(folder: Path, found: History, *, command: str) -> list[Path]:
    """Write the page beside history.md; return the paths, the page first. Raises `StoreError` where it cannot be."""
    made = [_table(found)]
    points = found.points
    data = lines.encoded(made) | {
        "beside": FOLDER,
        "opens": {},
        "keys": [],
        "shard": 1,
        "points": [f"{row['started']}, {row['commit']}" for row in points.to_dict("records")],
        "charts": {},
        "colours": {name: look.colour for name, look in panels.LOOKS.items()},
    }
    context = {
        "title": f"History of {len(points)} sets",
        "facts": [f"{points['started'].iloc[0]} to {points['started'].iloc[-1]}", f"{len(found.lines)} rows"],
        "sentences": sentences(found),
        "words": WORDS,
        "tables": made,
        "charts": [],
        "points": points,
        "beside": FOLDER,
        "text": TEXT,
        "command": command,
        "most": lines.MOST,
    }
    beside, path = folder / FOLDER, folder / PAGE
    try:
        bundle.cleared(beside)
        lines.save(beside, made)
        path.write_text(bundle.render("comparison.html.j2", context, data), encoding="utf-8")
    except OSError as error:
        message = f"cannot write to {folder}: {error.strerror or error}"
        raise StoreError(message) from error
    return [path, *sorted(beside.iterdir())]


def _table(found: History) -> Table:
    frame = found.lines.rename(columns=HEADINGS)
    frame["told"] = frame["speed"] == MOVED
    columns = (
        *lines.LABELLED,
        Column("skill", "skill", "fixed", hint="mean over seeds, the newest set that has the row"),
        Column("skills", "oldest to newest", "spark"),
        Column("bits", "result", hint="to the last bit, within one environment"),
        Column("result moved at", "result moved at"),
        Column("ms", "ms a step", "number", hint="inside the training runs"),
        Column("times", "oldest to newest", "spark"),
        Column("speed", "step time", best="told"),
        Column("times moved near", "step time moved near"),
        Column("new / old", "times as long", "number", best="told"),
        Column("sets", "sets", "number"),
    )
    note = "A line for each row; opened, it shows every set with its commit."
    filters = {name: [name] for name in ("setting", "cell", "clip", "framework", "bits", "speed")}
    series = {"skills": "skill", "times": "ms a step"}
    return Table("rows", "rows", "Rows", note, frame, columns, filters, "facts", series)
