"""Where records are kept: one folder, one row a case, written once and atomically.

    rows/KEY.json             the record, flat
    curves/KEY.parquet        per training step: step, loss, norm_before, norm_after, clipped; or .csv, by `farreach`
    evaluations/KEY.parquet   per evaluation: step, loss and the task's metrics
    flow/KEY.parquet          per training step probed, layer and time step: norms of dL/dh_t and dL/dc_t
    spectra/KEY.parquet       per training step probed, layer and gate: spectral radius, largest singular value
    runs.jsonl                one line a run: its plan, failures and wall time by kind

The row is written last: a case is finished when its row is there, and not before.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from results.record import FLOW, SPECTRA, Record

PARTS = ("curves", "evaluations", "flow", "spectra")
"""What lies beside the row of a case, one Parquet file each."""


class StoreError(Exception):
    """A folder that cannot hold, or does not hold, a result set; the message is one line."""


class Store:
    """A result set on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self) -> None:
        """Make the folder and its parts; raise `StoreError` where they cannot be written."""
        for part in ("rows", *PARTS):
            writable(self.folder / part)
        writable(self.folder)

    def finished(self) -> set[str]:
        """Return the keys of the cases that are done."""
        return {path.stem for path in (self.folder / "rows").glob("*.json")}

    def write(self, record: Record, parts: Mapping[str, pd.DataFrame]) -> None:
        """Keep one finished case: the `PARTS` first, its row last, each file whole or not at all."""
        for part in PARTS:
            _atomically(self.folder / part / f"{record.key}.parquet", functools.partial(_parquet, parts[part]))
        write_json(self.folder / "rows" / f"{record.key}.json", record.row())

    def rows(self) -> pd.DataFrame:
        """Return all rows, one a case, sorted by key; raise `StoreError` where there are none."""
        paths = sorted((self.folder / "rows").glob("*.json"))
        if not paths:
            message = f"no results in {self.folder}"
            raise StoreError(message)
        return pd.DataFrame([_row(path) for path in paths])

    def curves(self, key: str) -> pd.DataFrame:
        """Return the per-step curves of one case, or of a run of the user's own, which are text."""
        path = self.folder / "curves" / f"{key}.parquet"
        text = path.with_suffix(".csv")
        if text.exists() and not path.exists():
            return pd.read_csv(text)
        return pd.read_parquet(path)

    def evaluations(self, key: str) -> pd.DataFrame:
        """Return the evaluations of one case."""
        return pd.read_parquet(self.folder / "evaluations" / f"{key}.parquet")

    def flow(self, key: str) -> pd.DataFrame:
        """Return the gradient through time of one case, empty where it was not looked at."""
        return self._looked(key, "flow", FLOW)

    def spectra(self, key: str) -> pd.DataFrame:
        """Return the spectra of the recurrent matrices of one case, empty where they were not looked at."""
        return self._looked(key, "spectra", SPECTRA)

    def _looked(self, key: str, part: str, columns: tuple[str, ...]) -> pd.DataFrame:
        path = self.folder / part / f"{key}.parquet"
        return pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=list(columns))

    def log(self, run: dict[str, Any]) -> None:
        """Add one run's line: what it planned, what failed, and where its wall time went."""
        with (self.folder / "runs.jsonl").open("a") as file:
            file.write(json.dumps(run, allow_nan=False) + "\n")

    def runs(self) -> list[dict[str, Any]]:
        """Return the runs' lines, oldest first; an empty list where none was logged."""
        path = self.folder / "runs.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [run for run in map(_parsed, lines) if run is not None]


def writable(folder: Path) -> None:
    """Make a folder and try it; raise `StoreError` where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"cannot write to {folder}: {error.strerror}"
        raise StoreError(message) from error


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all; its folder is made where it is missing."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    _atomically(path, lambda part: part.write_text(text))


COLUMNS = {field.name for field in dataclasses.fields(Record) if field.default is dataclasses.MISSING} - {"metrics"}
"""What every row has, of whichever version of the schema."""


def _row(path: Path) -> dict[str, Any]:
    """Read one row; raise `StoreError`, which names the file, where it is none."""
    try:
        row = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        message = f"{path.name} in {path.parent} is no row: {str(error).splitlines()[0]}"
        raise StoreError(message) from error
    missing = sorted(COLUMNS - set(row)) if isinstance(row, dict) else sorted(COLUMNS)
    if missing:
        message = f"{path.name} in {path.parent} is no row: it lacks {', '.join(missing[:3])}"
        raise StoreError(message)
    return dict(row)


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, compression="zstd", index=False)


def _parsed(line: str) -> dict[str, Any] | None:
    """Return one run's line, or None for one that was cut off while it was written."""
    try:
        run: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return run


def _atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there, so that no reader sees half of it."""
    part = path.with_name(f".{path.stem}.{os.getpid()}.part")  # not mkstemp, whose files only their owner may read
    try:
        write(part)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
