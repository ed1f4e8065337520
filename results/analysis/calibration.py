"""How often the diagnoses are right on planted cases: the confusion table, and the share with its interval."""

from __future__ import annotations

import dataclasses

import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.analysis.diagnosis import FOUND, LABELS, diagnose_rows
from farreach.results.storage.files import DamagedError, StoreError, parse_json
from farreach.results.storage.interface import ResultSet

PLANTED = "planted.json"
"""Beside the rows: the key of every planted case and the diagnosis that it should get."""

FACTS = ["task", "parameters", "cell", "activation", "initial", "radius", "clip", "optimizer", "learning_rate", "steps"]
FACTS += ["until", "seed"]
"""What tells one planted case from another."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What the rules said of planted cases.

    Attributes:
        confusion: one line per planted diagnosis, one column per diagnosis that was given, counts.
        wrong: the cases that got another diagnosis: `FACTS`, planted, given, and the reason for what was given.
        right: how many got theirs.
        cases: of how many.

    """

    confusion: pd.DataFrame
    wrong: pd.DataFrame
    right: int
    cases: int

    @property
    def interval(self) -> statistics.Interval:
        """The 95 % interval of the share that is right (Clopper and Pearson 1934)."""
        return statistics.bound_share(self.right, self.cases)


def calibrate(store: ResultSet) -> Calibration:
    """Compare the diagnoses of a store's rows with what was planted; cases that gave no row are left out."""
    paths = store.list_documents(PLANTED)
    if not paths:
        message = f"{store.folder} has no {PLANTED}: it is no calibration"
        raise StoreError(message)
    planted = parse_json(store.read_document(paths[0]), paths[0])
    unknown = [key for key, label in planted.items() if label not in FOUND]
    if unknown:
        raise DamagedError(store.folder / PLANTED, f"{unknown[0]} has no diagnosis that there is")
    rows = store.rows()
    rows = rows[rows["key"].isin(planted)].reset_index(drop=True)
    if rows.empty:
        raise DamagedError(store.folder / PLANTED, "it names no case of the set")
    found = diagnose_rows(rows)
    truth = pd.Categorical(rows["key"].map(planted), categories=LABELS)
    given = pd.Categorical(found["label"], categories=LABELS)
    confusion = pd.crosstab(truth, given, dropna=False).rename_axis(index="planted", columns=None)
    confusion = confusion.loc[confusion.sum(axis=1) > 0].rename(index=str, columns=str).reset_index()
    wrong = found["label"].to_numpy() != rows["key"].map(planted).to_numpy()
    facts = rows.loc[wrong, FACTS]
    errors = facts.assign(
        planted=rows["key"].map(planted)[wrong], given=found["label"][wrong], reason=found["reason"][wrong]
    )
    return Calibration(confusion, errors.reset_index(drop=True), int((~wrong).sum()), len(rows))
