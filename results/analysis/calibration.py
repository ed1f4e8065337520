"""How often the diagnoses are right on planted cases: the confusion table, and the share with its interval."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd

from farreach.results.analysis import statistics
from farreach.results.analysis.diagnosis import LABELS, diagnoses
from farreach.results.report.markdown import table
from farreach.results.storage.files import DamagedError, read_json, write_csv, write_text
from farreach.results.storage.result_set import Store

PLANTED = "planted.json"
"""Beside the rows: the key of every planted case and the diagnosis that it should get."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What the rules said of planted cases.

    Attributes:
        confusion: one line a planted diagnosis, one column a diagnosis that was given, counts.
        wrong: the cases that got another diagnosis: case, planted, given, evidence.
        right: how many got theirs.
        cases: of how many.

    """

    confusion: pd.DataFrame
    wrong: pd.DataFrame
    right: int
    cases: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share that is right (Wilson 1927)."""
        return statistics.share(self.right, self.cases)

    def sentence(self) -> str:
        """Say how often the rules were right."""
        low, high = self.interval
        right, lowest, highest = (f"{100 * share:.1f} %" for share in (self.right / self.cases, low, high))
        share = f"{right}, 95 % interval {lowest} to {highest}"
        return f"{self.right} of {self.cases} planted cases got the diagnosis that was planted ({share})."


def calibrated(store: Store) -> Calibration:
    """Hold the diagnoses of a store's rows against what was planted; cases that gave no row are left out."""
    planted = read_json(store.folder / PLANTED)
    unknown = [key for key, label in planted.items() if label not in LABELS]
    if unknown:
        raise DamagedError(store.folder / PLANTED, f"{unknown[0]} has no diagnosis that there is")
    rows = store.rows()
    rows = rows[rows["key"].isin(planted)].reset_index(drop=True)
    found = diagnoses(rows)
    truth = pd.Categorical(rows["key"].map(planted), categories=LABELS)
    given = pd.Categorical(found["label"], categories=LABELS)
    confusion = pd.crosstab(truth, given, dropna=False).rename_axis(index="planted", columns=None)
    confusion = confusion.loc[confusion.sum(axis=1) > 0].rename(index=str, columns=str).reset_index()
    wrong = found["label"].to_numpy() != rows["key"].map(planted).to_numpy()
    case = [
        f"{row['task']} {row['cell']} {row['activation']} radius {row['radius']:g}, {row['clip']}, "
        f"{row['optimizer']} {row['learning_rate']:g}, seed {row['seed']}"
        for _, row in rows[wrong].iterrows()
    ]
    errors = pd.DataFrame(
        {
            "case": case,
            "planted": rows["key"].map(planted)[wrong],
            "given": found["label"][wrong],
            "evidence": found["sentence"][wrong],
        }
    )
    return Calibration(confusion, errors.reset_index(drop=True), int((~wrong).sum()), len(rows))


def write(store: Store, command: str) -> tuple[Calibration, Path]:
    """Write calibration.md and confusion.csv beside the rows; return the calibration and the page's path."""
    found = calibrated(store)
    write_csv(store.folder / "confusion.csv", found.confusion)
    path = store.folder / "calibration.md"
    write_text(
        path,
        f"# How often the diagnoses are right\n\nMade by `{command}`. {found.sentence()}\n\n"
        f"## What was planted (rows), what was diagnosed (columns)\n\n{table(found.confusion)}\n"
        f"## The cases that got another diagnosis\n\n{table(found.wrong, empty='None.')}",
    )
    return found, path
