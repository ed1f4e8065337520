"""The history of many sets as text: history.md and history.csv."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from farreach.results.analysis import statistics
from farreach.results.analysis.history import History, sentences
from farreach.results.analysis.labels import GROUP
from farreach.results.report.markdown import code, escape, table
from farreach.results.storage.files import StoreError, write_csv, write_text

PAGE = "history.md"
TABLE = "history.csv"

BLOCKS = "▁▂▃▄▅▆▇█"
GAP = " "


def spark(values: Sequence[float]) -> str:
    """Return values as a line of blocks between their least and their largest; a space where there is none."""
    seen = [value for value in values if math.isfinite(value)]
    if not seen:
        return ""
    low, high = min(seen), max(seen)
    wide = (high - low) or math.inf  # a level line lies at the bottom
    return "".join(
        BLOCKS[min(len(BLOCKS) - 1, int((value - low) / wide * len(BLOCKS)))] if math.isfinite(value) else GAP
        for value in values
    )


def write(folder: Path, found: History, *, command: str) -> list[Path]:
    """Write history.md and history.csv and return their paths. Raises `StoreError` where that cannot be."""
    lines = found.lines
    shown = lines[[*GROUP, "sets", "skill"]].copy()
    shown["skill, oldest first"] = lines["skills"].map(spark)
    shown["result"] = lines["bits"].where(lines["bits"] != statistics.INCONCLUSIVE, "other environments")
    shown["result moved at"] = lines["result moved at"]
    shown["ms"] = lines["ms"]
    shown["ms, oldest first"] = lines["times"].map(spark)
    shown["step time"] = lines["speed"]
    shown[["times moved near", "new / old"]] = lines[["times moved near", "new / old"]]
    parts = [
        "# History\n",
        f"Made by {code(command)}.\n",
        "".join(f"- {escape(one)}\n" for one in sentences(found)),
        f"## The sets\n\n{table(found.points)}",
        f"## The rows\n\n{table(shown)}",
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / PAGE, "\n".join(parts))
        joined = {
            name: [" ".join(f"{one:.6g}" for one in values) for values in lines[name]] for name in ("skills", "times")
        }
        write_csv(folder / TABLE, lines.assign(**joined))
    except OSError as error:
        message = f"cannot write to {folder}: {error.strerror or error}"
        raise StoreError(message) from error
    return [folder / PAGE, folder / TABLE]


def _text(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)
