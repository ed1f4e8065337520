"""What every result set can be asked, whether it is a folder of a run or packed."""

from __future__ import annotations

import abc
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from farreach.results.storage import run_log
from farreach.results.storage.columns import KEY
from farreach.results.storage.files import DamagedError, StoreError
from farreach.results.storage.parquet import TEXT, unfold_texts
from farreach.results.storage.parts import COLUMNS

SERIES = ("timings", "check", "runs")
"""The parts of a set that are JSON files beside the cases: interleaved timings, their A/A check, logs of runs."""

OLD_TIMES = "speed.json"
"""Step times that older sets hold, timed one after the other: kept, and no longer read."""

LEDGER = "claims.json"
"""The published claims that a set was run for."""

SINGLE = (OLD_TIMES, "machine.json", "planted.json", LEDGER)
"""The JSON files of a set that are one each: step times of older sets (`OLD_TIMES`), limits, planted diagnoses, and
claims (`LEDGER`)."""

DOCUMENT = re.compile(r"[\w+][\w.+-]{0,200}\.json")
"""What the name of such a file is made of."""


class ResultSet(abc.ABC):
    """A result set on disk.

    Attributes:
        folder: where it lies.
        damaged: what was found damaged while it was read: keys, and the reason in words.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: dict[str, str] = {}

    @abc.abstractmethod
    def list_finished(self) -> set[str]:
        """Return the keys of the cases that are done."""

    @abc.abstractmethod
    def hash_rows(self) -> str:
        """Return a digest of the rows that were read last; who copies or merges sets changes it, and no time does."""

    @abc.abstractmethod
    def read_table(self) -> pa.Table:
        """Return all rows that can be read, one a case, sorted by key."""

    @abc.abstractmethod
    def read_part(self, part: str, key: str) -> pa.Table | None:
        """Return what lies beside the row of one case, as `parts` declares it; None where there is no such part.

        Raises `DamagedError` where it cannot be read: then the case is left out from now on.
        """

    @abc.abstractmethod
    def list_documents(self, part: str) -> list[Path]:
        """Return the JSON files of one of `SERIES`, sorted; or the one of `SINGLE`, where it is there.

        In a packed set they are names alone, and no files.
        """

    @abc.abstractmethod
    def read_document(self, path: Path) -> bytes:
        """Return the text of one of `list_documents`; raise `DamagedError` where it cannot be read."""

    @abc.abstractmethod
    def leave_out(self, path: Path, damage: DamagedError) -> str:
        """Leave out a document that is damaged; return what to say of it."""

    @abc.abstractmethod
    def list_trouble(self) -> list[str]:
        """Return a sentence for each case whose files were damaged and which has not been run again since."""

    def hash_whole_curves(self, key: str) -> str | None:
        """Return the digest of curves as they were before they were thinned; None where they are whole."""
        del key
        return None

    def rows(self) -> pd.DataFrame:
        """Return all rows, one a case, sorted by key, without damaged ones.

        Raises `StoreError` where there are none.
        """
        table = self.read_table()
        frame = make_frame(table) if len(table) else pd.DataFrame(columns=["key"])
        if len(frame) and self.damaged:
            frame = frame[~frame["key"].isin([*self.damaged])].reset_index(drop=True)
        if frame.empty:
            message = f"no results in {self.folder}"
            raise StoreError(message)
        return frame

    def curves(self, key: str) -> pd.DataFrame:
        """Return the per-step curves of one case.

        This and the next three raise `StoreError` where there is no such part, and `DamagedError` where it cannot be
        read: then the case is left out.
        """
        return self._frame("curves", key)

    def evaluations(self, key: str) -> pd.DataFrame:
        """Return the evaluations of one case, empty where it diverged before the first."""
        return self._frame("evaluations", key)

    def flow(self, key: str) -> pd.DataFrame:
        """Return the gradient through time of one case, empty where it was not looked at."""
        return self._frame("flow", key, optional=True)

    def spectra(self, key: str) -> pd.DataFrame:
        """Return the spectra of the recurrent matrices of one case, empty where they were not looked at."""
        return self._frame("spectra", key, optional=True)

    def runs(self) -> list[dict[str, Any]]:
        """Return what the runs logged, oldest first; an empty list where none did."""
        logs = []
        for path in self.list_documents("runs"):
            try:
                logs.append(run_log.parse_log(self.read_document(path), path))
            except (DamagedError, FileNotFoundError):
                continue  # a run's log is about the run: its cases are in their rows
        return sorted(logs, key=lambda run: str(run.get("started", "")))

    def _frame(self, part: str, key: str, *, optional: bool = False) -> pd.DataFrame:
        check_key(key)
        table = self.read_part(part, key)
        if table is None and not optional:
            message = f"{part}/{key}.parquet is not there"
            raise StoreError(message)
        if table is None or (optional and not len(table)):
            return pd.DataFrame(columns=list(COLUMNS[part]))
        frame: pd.DataFrame = unfold_texts(table).to_pandas()
        return frame


def check_key(key: str) -> None:
    """Raise `StoreError` where a text is no key: it would be a path of its own."""
    if not re.fullmatch(KEY, key):
        message = f"{key[:80]!r} is not a valid key"
        raise StoreError(message)


def make_frame(table: pa.Table) -> pd.DataFrame:
    """Return rows as pandas has them: texts as texts, a column without a value as one of None, sorted by key."""
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        known = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
        columns[name] = pa.nulls(len(column)) if column.null_count == len(column) else known
    frame: pd.DataFrame = pa.table(columns).to_pandas()
    return frame if frame["key"].is_monotonic_increasing else frame.sort_values("key", ignore_index=True)


def join_tables(tables: Iterable[pa.Table]) -> pa.Table:
    """Return tables as one, whose columns are those of any of them; one of keys alone where there is none."""
    whole = [table for table in tables if len(table)]
    empty = pa.schema([pa.field("key", TEXT)]).empty_table()
    return pa.concat_tables(whole, promote_options="permissive") if whole else empty
