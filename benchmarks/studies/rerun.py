"""Recorded cases, run again: found by the folder of their result set or by their key."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from farreach.benchmarks.matrix import registry, suite
from farreach.benchmarks.matrix.case import Case
from farreach.benchmarks.running.sweep import Failure
from farreach.results.report.reproduction import FAILED, Reproduction, held
from farreach.results.storage.result_set import Store
from farreach.results.storage.row_index import KEY
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

    store: Store
    rows: dict[Case, dict[str, Any]]


def find_rows(target: str, only: list[str]) -> Recorded:
    """Return the rows that a folder holds, narrowed by --only, or the one row that has a key.

    Raises `UsageError` where there are none, or none that a suite could have made; `StoreError` where they are damaged.
    """
    folder = _find_folder(target)
    store = Store(folder)
    rows = _read_rows(store)
    key = Path(target).name if folder != Path(target) else None
    chosen = [row for row in rows if key in {None, row["key"]}]
    if all(row["mode"] == OWN for row in chosen):
        message = f"{target} holds only runs of your own training loop, which only that loop can run again"
        raise registry.UsageError(message)
    cases = {Case.from_row(row): row for row in chosen if row["mode"] != OWN}
    narrowed = suite.narrow([*cases], only, folder.name)
    return Recorded(store, {case: cases[case] for case in narrowed})


def compare_rows(recorded: Recorded, again: Store, failed: list[Failure]) -> list[Reproduction]:
    """Compare each case that was run again into `again` with its recorded row; raise `StoreError` on damage."""
    reasons = {failure.case: failure.reason for failure in failed}
    rows = {row["key"]: row for row in _read_rows(again)} if again.finished() else {}
    verdicts = []
    for case, row in recorded.rows.items():
        new = rows.get(case.key())
        if new is None:
            reason = reasons.get(case, "it was not run")
            verdicts.append(Reproduction(row["key"], case.label(), FAILED, reason))
        else:
            verdicts.append(held(recorded.store, again, (row, new), case.label()))
    return verdicts


def _read_rows(store: Store) -> list[dict[str, Any]]:
    table = store.rows().astype(object)
    return [dict(zip(map(str, table), row, strict=True)) for row in table.itertuples(index=False, name=None)]


def _find_folder(target: str) -> Path:
    """Return the folder of the result set that a folder, a row's path without its ending, or a key names."""
    path = Path(target)
    if (path / "rows").is_dir():
        return path
    if re.fullmatch(KEY, path.name) and (path.parent / "rows" / f"{path.name}.json").exists():
        return path.parent
    if re.fullmatch(KEY, target):
        for place in SETS:
            for row in sorted((registry.ROOT / place).glob(f"*/rows/{target}.json")):
                return row.parent.parent
    message = f"{target} is neither a result set nor the key of a row in {' or '.join(SETS)}"
    raise registry.UsageError(message)
