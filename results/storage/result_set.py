"""Where records are kept: one folder, one row a case, written once and atomically.

    rows/KEY.json             the record, flat
    curves/KEY.parquet        per training step: step, loss, norm_before, norm_after, clipped; or .csv, by `farreach`
    evaluations/KEY.parquet   per evaluation: step, loss and the task's metrics
    flow/KEY.parquet          per training step probed, layer and time step: norms of dL/dh_t and dL/dc_t
    spectra/KEY.parquet       per training step probed, layer and gate: spectral radius, largest singular value
    runs/NAME.json            one file a run: its plan, failures and wall time by kind
    locks/KEY.lock            there while a run is at work on that case
    damaged/KEY/              files that could not be read, set aside with the reason

The row is written last: a case is finished when its row is there, and not before. No name repeats within a
folder or between machines but a case's own key, so result sets are merged by copying folders together.
"""

from __future__ import annotations

import functools
import io
import os
import re
import stat
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from farreach.results.record import FLOW, SPECTRA, Record
from farreach.results.storage import row_index, run_log
from farreach.results.storage.files import (
    ASIDE,
    LARGEST_CSV,
    DamagedError,
    StoreError,
    made,
    read_bytes,
    read_parquet,
    writable,
    write_json,
    write_parquet,
    write_text,
)
from farreach.results.storage.row_index import KEY
from farreach.results.storage.sanitising import line

PARTS = ("curves", "evaluations", "flow", "spectra")
"""What lies beside the row of a case, one Parquet file each."""

NEEDED = ("curves", "evaluations")
"""The parts without which a case of a suite is not whole; the others came later."""

CURVES = ("step", "loss", "norm_before", "norm_after", "clipped")

MAGIC = b"PAR1"
"""What a Parquet file begins and ends with."""

LARGEST_REASON = 2**12
"""Bytes that the reason may have for which a case was set aside."""


class Store:
    """A result set on disk.

    Attributes:
        folder: where it lies.
        damaged: what was found damaged while it was read: keys, and the reason in words.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: dict[str, str] = {}

    def create(self) -> None:
        """Make the folder and its parts; raise `StoreError` where they cannot be written."""
        for part in ("rows", *PARTS, "runs", "locks"):
            writable(made(self.folder / part))

    def finished(self) -> set[str]:
        """Return the keys of the cases that are done."""
        return {*row_index.listed(self.folder / "rows")} - self.damaged.keys()

    def has(self, key: str) -> bool:
        """Return whether a case is done."""
        return key not in self.damaged and (self.folder / "rows" / f"{key}.json").exists()

    def sound(self, keys: Iterable[str]) -> set[str]:
        """Return those of the finished cases `keys` whose files are whole, and set the others aside."""
        row_index.rows(self.folder, self._set_aside)
        for key in sorted(set(keys) & self.finished()):
            for part in PARTS:
                path = self.folder / part / f"{key}.parquet"
                there = os.path.lexists(path)
                if not (_whole(path) if there else part not in NEEDED):
                    self._set_aside(key, DamagedError(path, "it is cut off" if there else "it is not there"))
                    break
        return set(keys) & self.finished()

    def claim(self, key: str) -> FileLock | None:
        """Return a lock on a case until it is released, or None where another run holds it.

        The system releases the lock of a process that is killed. `StoreError` where the folder takes no lock: a file
        that stands for one would stay for ever where the process that was killed ran on another machine.
        """
        place = self.folder / "locks" / f"{key}.lock"
        lock = FileLock(place, timeout=0, thread_local=False, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            return None
        except (OSError, NotImplementedError) as error:
            message = f"cannot lock {lock.lock_file}: {error}"
            raise StoreError(message) from error
        return lock

    def release(self, lock: FileLock) -> None:
        """End a claim. Its file goes too, and first: later, it could be that of another run, which claimed meanwhile.

        Whoever opened it before finds, once it has the lock, that the file has no name any more, and opens the new one
        (filelock looks); whoever claims while this one still lets go finds the case done, since its row is there.
        """
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()

    def write(self, record: Record, parts: Mapping[str, pd.DataFrame]) -> bool:
        """Keep one finished case: the `PARTS` first, its row last; return whether it was new.

        A case that is there already is left as it is. Raises `StoreError` where the disk does not take it; then the
        case is not finished.
        """
        if self.has(record.key):
            return False
        for part in PARTS:
            write_parquet(self.folder / part / f"{record.key}.parquet", parts[part])
        write_json(self.folder / "rows" / f"{record.key}.json", record.row())
        return True

    def rows(self) -> pd.DataFrame:
        """Return all rows, one a case, sorted by key; damaged ones are set aside.

        Raises `StoreError` where there are none.
        """
        frame = row_index.rows(self.folder, self._set_aside)
        if len(frame) and self.damaged:
            frame = frame[~frame["key"].isin([*self.damaged])].reset_index(drop=True)
        if frame.empty:
            message = f"no results in {self.folder}"
            raise StoreError(message)
        return frame

    def curves(self, key: str) -> pd.DataFrame:
        """Return the per-step curves of one case, or of a run of the user's own, which are text.

        This and the next three raise `StoreError` where there is no such file, and `DamagedError` where it cannot be
        read: then the case is set aside.
        """
        text = self._path("curves", key).with_suffix(".csv")
        if os.path.lexists(text) and not os.path.lexists(self._path("curves", key)):
            try:
                content = io.BytesIO(read_bytes(text, LARGEST_CSV))
                return pd.read_csv(content, usecols=[*CURVES], dtype=float).astype({"step": int})[[*CURVES]]
            except (ValueError, OverflowError, DamagedError) as error:
                damage = error if isinstance(error, DamagedError) else DamagedError(text, error)
                self._set_aside(key, damage)
                raise damage from error
        return self._part("curves", key, CURVES)

    def evaluations(self, key: str) -> pd.DataFrame:
        """Return the evaluations of one case, empty where it diverged before the first."""
        return self._part("evaluations", key)

    def flow(self, key: str) -> pd.DataFrame:
        """Return the gradient through time of one case, empty where it was not looked at."""
        return self._looked(key, "flow", FLOW)

    def spectra(self, key: str) -> pd.DataFrame:
        """Return the spectra of the recurrent matrices of one case, empty where they were not looked at."""
        return self._looked(key, "spectra", SPECTRA)

    def log(self, run: dict[str, Any]) -> None:
        """Keep what one run planned, what failed, and where its wall time went."""
        started = re.sub(r"[^\dT]", "", str(run["started"])[:19])
        write_json(self.folder / "runs" / f"{started}-{uuid.uuid4().hex[:8]}.json", run)

    def runs(self) -> list[dict[str, Any]]:
        """Return what the runs logged, oldest first; an empty list where none did."""
        found = []
        for path in sorted((self.folder / "runs").glob("*.json")):
            try:
                found.append(run_log.read(path))
            except (DamagedError, FileNotFoundError):
                continue  # a run's log is about the run: its cases are in their rows
        return sorted(found, key=lambda run: str(run.get("started", "")))

    def trouble(self) -> list[str]:
        """Return a sentence for each case whose files were damaged and which has not been run again since."""
        told = {key: _reason(self.folder / ASIDE / key) for key in self._put_aside()} | self.damaged
        again = "the case was set aside, and its command runs it again"
        return [f"{reason}: {again}." for key, reason in told.items() if not self.has(key)]

    def _put_aside(self) -> list[str]:
        """Return the keys of the cases that were set aside; a folder of another name, or behind a link, is none."""
        place = self.folder / ASIDE
        if place.is_symlink() or not place.is_dir():
            return []
        with os.scandir(place) as entries:
            return sorted(
                one.name
                for one in entries
                if re.fullmatch(KEY, one.name)
                and one.is_dir(follow_symlinks=False)
                and os.path.lexists(place / one.name / "reason.txt")
            )

    def _path(self, part: str, key: str) -> Path:
        if not re.fullmatch(KEY, key):  # it would be a path of its own
            message = f"{key[:80]!r} is no key"
            raise StoreError(message)
        return self.folder / part / f"{key}.parquet"

    def _part(self, part: str, key: str, columns: tuple[str, ...] = ()) -> pd.DataFrame:
        path = self._path(part, key)
        try:
            return read_parquet(path, columns)
        except FileNotFoundError as error:
            message = f"{part}/{path.name} is not there"
            raise StoreError(message) from error
        except DamagedError as damage:
            self._set_aside(key, damage)
            raise

    def _looked(self, key: str, part: str, columns: tuple[str, ...]) -> pd.DataFrame:
        if not self._path(part, key).exists():
            return _nothing(columns)
        frame = self._part(part, key)
        return frame if set(columns) <= set(frame) else _nothing(columns)

    def _set_aside(self, key: str, damage: DamagedError) -> None:
        """Move the files of a case out of the way, its row first; in a folder that cannot be changed, leave it out."""
        self.damaged[key] = str(damage)
        try:
            made(self.folder / ASIDE)
            aside = made(self.folder / ASIDE / key)
            write_text(aside / "reason.txt", f"{damage}\n")
            for part in (one for one in ("rows", *PARTS) if not (self.folder / one).is_symlink()):
                for path in (self.folder / part).glob(f"{key}.*"):
                    path.replace(aside / f"{part}{path.suffix}")
        except (OSError, StoreError):
            return


@functools.cache
def _nothing(columns: tuple[str, ...]) -> pd.DataFrame:
    """Return a table without lines, the same one each time: making one takes as long as reading a file."""
    return pd.DataFrame(columns=list(columns))


def _reason(aside: Path) -> str:
    """Return why a case was set aside, as far as its folder says so in a line that can be shown."""
    try:
        text = read_bytes(aside / "reason.txt", LARGEST_REASON).decode("utf-8", errors="replace")
    except (OSError, DamagedError):
        text = ""
    return line(text, most=300) or f"{aside.name} is damaged, its reason cannot be read"


def _whole(path: Path) -> bool:
    """Return whether a Parquet file, and no link to one, begins and ends as one does."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return False
    with path.open("rb") as file:
        begins = file.read(len(MAGIC)) == MAGIC
        file.seek(0, 2)
        if file.tell() < 2 * len(MAGIC):
            return False
        file.seek(-len(MAGIC), 2)
        return begins and file.read() == MAGIC
