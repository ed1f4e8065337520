"""The page of a calibration: how often the diagnoses of planted cases are right."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from farreach.results.analysis.calibration import Calibration, calibrate
from farreach.results.analysis.labels import format_parameters
from farreach.results.report.diagnosis import write_reason
from farreach.results.report.markdown import table
from farreach.results.storage.csv_files import write_csv
from farreach.results.storage.files import write_text
from farreach.results.storage.result_set import Store

PAGE = "calibration.md"


def write_share_right(found: Calibration) -> str:
    """Say how often the rules were right."""
    right, low, high = (f"{100 * share:.1f} %" for share in (found.right / found.cases, *found.interval))
    share = f"{right}, 95 % interval {low} to {high}"
    return f"{found.right} of {found.cases} planted cases got the diagnosis that was planted ({share})."


def write_page(store: Store, command: str) -> tuple[Calibration, Path]:
    """Write calibration.md and confusion.csv beside the rows; return the calibration and the page's path."""
    found = calibrate(store)
    write_csv(store.folder / "confusion.csv", found.confusion)
    path = store.folder / PAGE
    write_text(
        path,
        f"# How often the diagnoses are right\n\nMade by `{command}`. {write_share_right(found)}\n\n"
        f"## What was planted (rows), what was diagnosed (columns)\n\n{table(found.confusion)}\n"
        f"## The cases that got another diagnosis\n\n{table(_list_wrong(found.wrong), empty='None.')}",
    )
    return found, path


def _list_wrong(wrong: pd.DataFrame) -> pd.DataFrame:
    """Return the cases that got another diagnosis, one line each: the case in words, both labels, the evidence."""
    cases = [
        f"{row['task']} {format_parameters(row['parameters'])} {row['cell']} {row['activation']}, {row['initial']} "
        f"radius {row['radius']:g}, {row['clip']}, {row['optimizer']} {row['learning_rate']:g}, {row['steps']} steps, "
        f"until {row['until']}, seed {row['seed']}"
        for row in wrong.to_dict("records")
    ]
    lines = {"case": cases, "planted": wrong["planted"], "given": wrong["given"]}
    return pd.DataFrame(lines | {"evidence": wrong["reason"].map(write_reason)})
