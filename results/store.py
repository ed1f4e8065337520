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
import re
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from results import index
from results.files import DamagedError, StoreError, read_json, read_parquet, writable, write_json, write_parquet
from results.index import KEY
from results.record import FLOW, SPECTRA, Record

PARTS = ("curves", "evaluations", "flow", "spectra")
"""What lies beside the row of a case, one Parquet file each."""

NEEDED = ("curves", "evaluations")
"""The parts without which a case of a suite is not whole; the others came later."""

CURVES = ("step", "loss", "norm_before", "norm_after", "clipped")

MAGIC = b"PAR1"
"""What a Parquet file begins and ends with."""


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
            writable(self.folder / part)

    def finished(self) -> set[str]:
        """Return the keys of the cases that are done."""
        names = {path.stem for path in (self.folder / "rows").glob("*.json")}
        return {name for name in names - self.damaged.keys() if re.fullmatch(KEY, name)}

    def has(self, key: str) -> bool:
        """Return whether a case is done."""
        return key not in self.damaged and (self.folder / "rows" / f"{key}.json").exists()

    def sound(self, keys: Iterable[str]) -> set[str]:
        """Return those of the finished cases `keys` whose files are whole, and set the others aside."""
        index.rows(self.folder, self._set_aside)
        for key in sorted(set(keys) & self.finished()):
            for part in PARTS:
                path = self.folder / part / f"{key}.parquet"
                if not (_whole(path) if path.exists() else part not in NEEDED):
                    self._set_aside(key, DamagedError(path, "it is cut off" if path.exists() else "it is not there"))
                    break
        return set(keys) & self.finished()

    def claim(self, key: str) -> FileLock | None:
        """Return a lock on a case until it is released, or None where another run holds it.

        The system releases the lock of a process that is killed. `StoreError` where the folder takes no lock.
        """
        lock = FileLock(self.folder / "locks" / f"{key}.lock", timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            return None
        except (OSError, NotImplementedError) as error:
            message = f"cannot lock {lock.lock_file}: {error}"
            raise StoreError(message) from error
        return lock

    def release(self, lock: FileLock) -> None:
        """End a claim. Its file goes too: whoever holds it still finds the case done, or begins it anew."""
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
        frame = index.rows(self.folder, self._set_aside)
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
        if text.exists() and not self._path("curves", key).exists():
            try:
                return pd.read_csv(text, usecols=[*CURVES], dtype=float).astype({"step": int})[[*CURVES]]
            except (ValueError, OverflowError) as error:
                damage = DamagedError(text, error)
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
                found.append(read_json(path))
            except DamagedError:
                continue  # a run's log is about the run: its cases are in their rows
        return sorted(found, key=lambda run: str(run.get("started", "")))

    def trouble(self) -> list[str]:
        """Return a sentence for each case whose files were damaged and which has not been run again since."""
        before = {
            path.parent.name: path.read_text(encoding="utf-8", errors="replace").strip()
            for path in sorted((self.folder / "damaged").glob("*/reason.txt"))
        }
        told = before | self.damaged
        again = "the case was set aside, and its command runs it again"
        return [f"{reason}: {again}." for key, reason in told.items() if not self.has(key)]

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
        aside = self.folder / "damaged" / key
        try:
            aside.mkdir(parents=True, exist_ok=True)
            (aside / "reason.txt").write_text(f"{damage}\n", encoding="utf-8")
            for part in ("rows", *PARTS):
                for path in (self.folder / part).glob(f"{key}.*"):
                    path.replace(aside / f"{part}{path.suffix}")
        except OSError:
            return


@functools.cache
def _nothing(columns: tuple[str, ...]) -> pd.DataFrame:
    """Return a table without lines, the same one each time: making one takes as long as reading a file."""
    return pd.DataFrame(columns=list(columns))


def _whole(path: Path) -> bool:
    """Return whether a Parquet file begins and ends as one does."""
    with path.open("rb") as file:
        begins = file.read(len(MAGIC)) == MAGIC
        file.seek(0, 2)
        if file.tell() < 2 * len(MAGIC):
            return False
        file.seek(-len(MAGIC), 2)
        return begins and file.read() == MAGIC
