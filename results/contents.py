"""Everything that a result folder holds, read once for all who tell of it: report, page and terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from results import cases, speed, stale
from results.answers import Answer, answers
from results.files import StoreError
from results.stale import Versions
from results.store import Store
from results.timing_contents import Timed

PAGE = "report.md"
"""What `results.report` writes into the folder."""


@dataclasses.dataclass(frozen=True)
class Results:
    """Everything that a result folder holds.

    Attributes:
        store: the folder.
        rows: its rows, none where no case has finished.
        runs: what the runs logged.
        timings: what speed.json holds, None where there is none.
        trouble: one sentence for each part that could not be read.

    """

    store: Store
    rows: pd.DataFrame
    runs: list[dict[str, Any]]
    timings: pd.DataFrame | None
    trouble: list[str]


def fresh(folder: Path) -> bool:
    """Return whether a folder's report is newer than the rows and timings that it tells of, and than this code."""
    page = folder / PAGE
    here = Path(__file__).parent
    written = [path for part in (here, here / "answers", here / "site") for path in part.glob("*.py")]
    looks = [path for part in ("templates", "static") for path in (here / "site" / part).iterdir()]
    sources = [folder / "rows", folder / speed.FILE, *written, *looks]
    # A folder's time is that of the last file that was moved into it.
    return page.exists() and page.stat().st_mtime >= max(path.stat().st_mtime for path in sources if path.exists())


def read(folder: Path, *, store: Store | None = None, now: Versions | None = None) -> Results:
    """Read what a result folder holds, whichever parts of it are there."""
    if not folder.is_dir():
        message = f"no such folder: {folder}"
        raise StoreError(message)
    store = store or Store(folder)
    try:
        rows = store.rows()
    except StoreError:  # there is none; the page says what there is instead
        rows = cases.empty()
    timings, trouble = None, []
    if now is not None:
        old = stale.stale(rows, now)
        trouble += stale.sentences(rows[old], now)
        rows = rows[~old] if old.any() else rows
    try:
        timings = speed.load(folder / speed.FILE) if (folder / speed.FILE).exists() else None
    except speed.SpeedError as error:
        trouble.append(f"{error}.")
    return Results(store, cases.labelled(rows), store.runs(), timings, [*trouble, *store.trouble()])


def answered(results: Results, timed: Timed) -> list[Answer]:
    """Return the five answers of a result folder."""
    return answers(results.rows, results.timings, timed.groups, timed.checked)


def title(results: Results) -> str:
    """Return what a report is called: by its suites, or by its folder where no case has finished."""
    suites = sorted(map(str, results.rows["suite"].unique()))
    return f"Results of {cases.joined(suites)}" if suites else f"Results in {results.store.folder.resolve().name}"


def spared(load: Callable[[str], pd.DataFrame], columns: tuple[str, ...]) -> Callable[[str], pd.DataFrame]:
    """Return a reader that gives an empty table where a file is damaged or missing: one case does not stop a report."""
    nothing = pd.DataFrame(columns=[*columns], dtype=float)  # one for all: making one takes as long as reading a file

    def read_or_empty(key: str) -> pd.DataFrame:
        try:
            return load(key)
        except StoreError:
            return nothing

    return read_or_empty
