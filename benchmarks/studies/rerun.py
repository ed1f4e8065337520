"""Recorded cases, run again: found by the folder of their result set or by their key."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from farreach.benchmarks.matrix import registry, suite
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.sweep import Failure
from farreach.results.analysis.outcomes import LIKE, Spread, measure_spreads
from farreach.results.report.reproduction import FAILED, Reproduction, compare_runs
from farreach.results.storage.columns import KEY
from farreach.results.storage.files import StoreError
from farreach.results.storage.interface import ResultSet
from farreach.results.storage.packed_set import is_packed
from farreach.results.storage.sets import open_set
from farreach.results.vocabulary import OWN

SETS = ("results/published", "results/runs")
"""Where a key alone is looked for."""


@dataclasses.dataclass(frozen=True)
class Recorded:
    """Rows of a result set and the cases that they are of.

    Attributes:
        store: the result set.
        rows: the row of each case.

    """

    store: ResultSet
    rows: dict[Case, dict[str, Any]]


def find_rows(target: str, only: list[str]) -> Recorded:
    """Return the rows that a folder holds, narrowed by --only, or the one row that has a key.

    Raises `UsageError` where there are none, or none that a suite could have made; `StoreError` where they are damaged.
    """
    store = _find_set(target)
    folder = store.folder
    rows = _read_rows(store)
    key = Path(target).name if folder != Path(target) else None
    chosen = [row for row in rows if key in {None, row["key"]}]
    if all(row["mode"] == OWN for row in chosen):
        message = f"{target} holds only runs of your own training loop, which only that loop can run again"
        raise registry.UsageError(message)
    cases = {Case.from_row(row): row for row in chosen if row["mode"] != OWN}
    narrowed = suite.narrow_cases([*cases], only, folder.name)
    return Recorded(store, {case: cases[case] for case in narrowed})


def compare_rows(recorded: Recorded, again: ResultSet, failed: list[Failure]) -> list[Reproduction]:
    """Compare each case that was run again into `again` with its recorded row; damage costs the case that it is in."""
    reasons = {failure.case: failure.reason for failure in failed}
    rows = {row["key"]: row for row in _read_rows(again)} if again.list_finished() else {}
    spreads = measure_spreads(recorded.store.rows())
    verdicts = []
    for case, row in recorded.rows.items():
        new = rows.get(case.key())
        if new is None:
            reason = reasons.get(case, "it was not run")
            verdicts.append(Reproduction(row["key"], case.label(), FAILED, reason))
        else:
            spread = spreads.get(tuple(row[name] for name in LIKE))
            verdicts.append(_compare_case(recorded.store, again, (row, new), label=case.label(), spread=spread))
    return verdicts


def _compare_case(
    recorded: ResultSet,
    again: ResultSet,
    rows: tuple[dict[str, Any], dict[str, Any]],
    *,
    label: str,
    spread: Spread | None,
) -> Reproduction:
    try:
        return compare_runs(recorded, again, rows, label, spread=spread)
    except StoreError as error:
        return Reproduction(rows[0]["key"], label, FAILED, str(error))


def _read_rows(store: ResultSet) -> list[dict[str, Any]]:
    table = store.rows().astype(object)
    return [dict(zip(map(str, table), row, strict=True)) for row in table.itertuples(index=False, name=None)]


def _find_set(target: str) -> ResultSet:
    """Return the result set that a folder, a folder and a key in it, or a key alone names."""
    path = Path(target)
    if _has_cases(path):
        return open_set(path)
    if re.fullmatch(KEY, path.name) and _has_case(path.parent, path.name):
        return open_set(path.parent)
    if re.fullmatch(KEY, target):
        for place in SETS:
            for folder in sorted((registry.HERE / place).glob("*")):
                if _has_case(folder, target):
                    return open_set(folder)
    message = f"{target} is neither a result set nor the key of a row in {' or '.join(SETS)}"
    raise registry.UsageError(message)


def _has_case(folder: Path, key: str) -> bool:
    return _has_cases(folder) and key in open_set(folder).list_finished()


def _has_cases(folder: Path) -> bool:
    return is_packed(folder) or (folder / "rows").is_dir()
