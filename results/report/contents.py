"""Everything that a result folder holds, read once for all who tell of it: report, page and terminal."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from farreach.results.analysis import splits, staleness
from farreach.results.analysis.labels import join_words
from farreach.results.analysis.ledger import ClaimVerdict, judge_ledger
from farreach.results.analysis.rows import Rows, label_rows, limit_curves, make_empty
from farreach.results.analysis.staleness import Versions
from farreach.results.report.answers import Answer, answer_all
from farreach.results.report.findings import write_findings
from farreach.results.report.glances import Glance, glance_at_all
from farreach.results.report.staleness import write_stale
from farreach.results.report.timing_contents import TimingSet, read_timings
from farreach.results.storage.files import DamagedError, StoreError
from farreach.results.storage.interface import OLD_TIMES, ResultSet
from farreach.results.storage.parts import CURVES
from farreach.results.storage.sets import open_set

PAGE = "report.md"
"""What `farreach.results.report.result_set` writes into the folder."""


@dataclasses.dataclass(frozen=True)
class Results:
    """Everything that a result folder holds.

    Attributes:
        store: the folder.
        rows: its rows, labelled, none where no case has finished.
        runs: what the runs logged.
        trouble: one sentence for each part that could not be read.
        timed: the interleaved timings and their A/A test.
        verdicts: those on the published claims that the set was run for; none of other sets.

    """

    store: ResultSet
    rows: Rows
    runs: list[dict[str, Any]]
    trouble: list[str]
    timed: TimingSet
    verdicts: tuple[ClaimVerdict, ...] = ()

    @functools.cached_property
    def findings(self) -> list[str]:
        """What the rows show beside the answers."""
        return write_findings(self.rows, self.runs)

    @functools.cached_property
    def answers(self) -> list[Answer]:
        """The answers to the questions that the set can be asked: the five, of a set of timings alone the first."""
        found = answer_all(self.rows, self.timed.pairs if self.timed.groups else None)
        return found[:1] if self.timed.groups and not len(self.rows) else found

    @functools.cached_property
    def divided(self) -> pd.DataFrame:
        """What the clip left in each case whose updates were made in parts: its curves are read once."""
        return splits.measure_cases(limit_curves(self.rows), tolerate_damage(self.store.curves, CURVES))

    @functools.cached_property
    def glances(self) -> list[Glance]:
        """The same answers at a glance, one for each."""
        return glance_at_all(self.rows, self.timed.pairs, self.timed.groups)


def read_results(folder: Path, *, store: ResultSet | None = None, now: Versions | None = None) -> Results:
    """Read what a result folder holds, whichever parts of it are there."""
    store = store or open_set(folder)
    try:
        rows = store.rows()
    except StoreError:  # there is none; the page says what there is instead
        rows = make_empty()
    trouble = []
    if now is not None:
        old = staleness.find_stale(rows, now)
        trouble += [write_stale(one) for one in staleness.count_stale(rows[old], now)]
        rows = rows[~old] if old.any() else rows
    if store.list_documents(OLD_TIMES):
        trouble.append(f"{OLD_TIMES} is no longer read: its steps were timed one after the other, not in alternation.")
    verdicts: tuple[ClaimVerdict, ...] = ()
    try:
        verdicts = judge_ledger(store)
    except DamagedError as error:
        trouble.append(str(error))
    trouble += store.list_trouble()
    return Results(store, label_rows(rows), store.runs(), trouble, read_timings(store), verdicts)


def name_report(results: Results) -> str:
    """Return what a report is called: by its suites, or by its folder where no case has finished."""
    if results.verdicts:  # each claim is a suite of its own
        return "Results of the ledger of published claims"
    suites = sorted(map(str, results.rows.frame["suite"].unique()))
    return f"Results of {join_words(suites)}" if suites else f"Results in {results.store.folder.resolve().name}"


def tolerate_damage(load: Callable[[str], pd.DataFrame], columns: tuple[str, ...]) -> Callable[[str], pd.DataFrame]:
    """Return a reader that gives an empty table where a file is damaged or missing: one case does not stop a report."""
    nothing = pd.DataFrame(columns=[*columns], dtype=float)  # one for all: making one takes as long as reading a file

    def read_or_empty(key: str) -> pd.DataFrame:
        try:
            return load(key)
        except StoreError:
            return nothing

    return read_or_empty
