"""The history of many sets in words: the findings, history.md and history.csv."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.analysis.comparison import CHANGED, IDENTICAL
from farreach.results.analysis.history import FEWEST, MOVED, History
from farreach.results.analysis.selection import GROUP
from farreach.results.analysis.tables import format_skill, show_labels
from farreach.results.report.markdown import code, escape, table
from farreach.results.report.phrases import write_count, write_list
from farreach.results.storage.csv_files import write_csv
from farreach.results.storage.files import write_text
from farreach.results.storage.staging import replace_files

PAGE = "history.md"
TABLE = "history.csv"

BLOCKS = "▁▂▃▄▅▆▇█"
GAP = " "

SKILL_SPAN = 1.0
"""What the scale of a line of skills reaches: that of a perfect run."""


def write_findings(found: History) -> list[str]:
    """Say how many sets there are, what moved and where, and what cannot be told."""
    points, lines = found.points, write_places(found)
    first, last = points.iloc[0], points.iloc[-1]
    ends = " to ".join(f"{one['started']} (commit {one['commit']})" for one in (first, last))
    sentences = [f"{len(points)} sets from {ends}, {len(lines)} rows."]
    apart = lines[lines["other seeds"] > 0]
    if len(apart):
        sentences.append(
            f"Skills are of the seeds that every set with the row has: of {write_count(len(apart), 'row')} some sets "
            f"have further seeds, which are left out."
        )
    changed, moved = lines[lines["bits"] == CHANGED], lines[lines["speed"] == MOVED]
    for place, part in changed.groupby("result moved at", sort=False):
        skills = zip(part["skill before"], part["skill after"], strict=True)
        rows = [
            f"{name} (skill {format_skill(before)} to {format_skill(after)})"
            for name, (before, after) in zip(_list_names(part), skills, strict=True)
        ]
        sentences.append(f"Results changed, last at {place}: {write_list(rows)}.")
    if changed.empty:
        same = int((lines["bits"] == IDENTICAL).sum())
        compared = f"{same} of {len(lines)} rows could be compared bit for bit"
        sentences.append(f"No result changed within one environment; {compared}.")
    for place, part in moved.groupby("times moved near", sort=False):
        rows = [
            f"{name} ({ratio:.2f} times the time)"
            for name, ratio in zip(_list_names(part), part["new / old"], strict=True)
        ]
        sentences.append(f"Step times moved near {place}: {write_list(rows)}.")
    unknown = int((lines["speed"] == statistics.INCONCLUSIVE).sum())
    if unknown:
        rows_of = f"{unknown} of {len(lines)} rows"
        sentences.append(
            f"Whether step times moved cannot be told of {rows_of}: that takes {FEWEST} sets of one machine."
        )
    elif moved.empty:
        sentences.append("No step in the times was found.")
    return sentences


def write_places(found: History) -> pd.DataFrame:
    """Return the lines with commit and start of the set at which a row moved, in place of the set's number.

    ``commits`` are those of the sets that have the row, oldest first.
    """
    places = [f"{row['commit']} ({row['started']})" for row in found.points.to_dict("records")]
    moved = {
        name: [None if pd.isna(at) else places[int(at)] for at in found.lines[name]]
        for name in ("result moved at", "times moved near")
    }
    made = [*found.points["commit"]]
    moved["commits"] = [
        "; ".join(commit for commit, time in zip(made, times, strict=True) if not math.isnan(time))
        for times in found.lines["times"]
    ]
    return found.lines.assign(**{name: pd.Series(of, found.lines.index, dtype=object) for name, of in moved.items()})


def draw_blocks(values: Sequence[float], most: float = 0.0) -> str:
    """Return values as a line of blocks; a space where there is none.

    The scale runs from 0, or the least value below it, to the largest, or to `most`: a line that moves by a thousandth
    is level.
    """
    seen = [value for value in values if math.isfinite(value)]
    if not seen:
        return ""
    low, high = min(0.0, *seen), max(most, *seen)
    wide = (high - low) or math.inf  # nothing but zeros lies at the bottom
    return "".join(
        BLOCKS[min(len(BLOCKS) - 1, int((value - low) / wide * len(BLOCKS)))] if math.isfinite(value) else GAP
        for value in values
    )


def write_page(folder: Path, found: History, *, command: str) -> list[Path]:
    """Write history.md and history.csv and return their paths. Raises `StoreError` where that cannot be."""
    lines = write_places(found)
    shown = lines[[*GROUP, "sets", "seeds", "other seeds", "skill"]].copy()
    shown["skill, oldest first"] = [draw_blocks(values, SKILL_SPAN) for values in lines["skills"]]
    shown["result"] = lines["bits"].where(lines["bits"] != statistics.INCONCLUSIVE, "other environments")
    shown["result moved at"] = lines["result moved at"]
    shown["ms"] = lines["ms"]
    shown["ms, oldest first"] = lines["times"].map(draw_blocks)
    shown["step time"] = lines["speed"]
    shown[["times moved near", "new / old"]] = lines[["times moved near", "new / old"]]
    parts = [
        "# History\n",
        f"Made by {code(command)}.\n",
        "".join(f"- {escape(one)}\n" for one in write_findings(found)),
        f"## The sets\n\n{table(found.points)}",
        f"## The rows\n\n{table(show_labels(shown))}",
    ]
    with replace_files(folder, {}) as stage:
        write_text(stage / PAGE, "\n".join(parts))
        joined = {
            name: [" ".join(f"{one:.6g}" for one in values) for values in lines[name]] for name in ("skills", "times")
        }
        write_csv(stage / TABLE, show_labels(lines.assign(**joined)))
    return [folder / PAGE, folder / TABLE]


def _list_names(part: pd.DataFrame) -> list[str]:
    return [" ".join(map(str, row)) for row in part[GROUP].itertuples(index=False, name=None)]
