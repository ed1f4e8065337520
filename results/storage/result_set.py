"""The folder of a run, where records are kept: one row a case, written once and atomically.

    rows/KEY.json             the record, flat
    curves/KEY.parquet        per training step: step, loss, norm_before, norm_after, clipped; or .csv, by `farreach`
    evaluations/KEY.parquet   per evaluation: step, loss and the task's metrics
    flow/KEY.parquet          per training step probed, layer and time step: norms of dL/dh_t and dL/dc_t
    spectra/KEY.parquet       per training step probed, layer and gate: spectral radius, largest singular value
    runs/NAME.json            one file a run: its plan, failures and wall time by kind
    locks/KEY.lock            there while a run is at work on that case
    damaged/KEY/              files that could not be read, set aside with the reason

The row is written last: a case is finished when its row is there, and not before. No name repeats within a
folder or between machines but a case's own key, so result sets are merged by copying folders together. A set that is
no longer written to can be packed: `packed_set`.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import stat
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock, Timeout
from pyarrow import csv

from farreach.results.record import Record
from farreach.results.storage import rows
from farreach.results.storage.columns import KEY
from farreach.results.storage.files import (
    ASIDE,
    LARGEST_CSV,
    LARGEST_JSON,
    DamagedError,
    StoreError,
    make_folder,
    move_aside,
    read_bytes,
    require_writable,
    write_json,
    write_text,
)
from farreach.results.storage.interface import DOCUMENT, SINGLE, ResultSet, join_tables
from farreach.results.storage.parquet import read_table, report_damage, write_parquet
from farreach.results.storage.parts import COLUMNS as PART_COLUMNS
from farreach.results.storage.parts import NEEDED, PARTS, arrange_part, declare_column, make_part
from farreach.results.storage.sanitising import format_line

MAGIC = b"PAR1"
"""What a Parquet file begins and ends with."""

LARGEST_REASON = 2**12
"""Bytes that the reason may have for which a case was set aside."""


class Store(ResultSet):
    """A result set that is the folder of a run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._digest = ""

    def create(self) -> None:
        """Make the folder and its parts; raise `StoreError` where they cannot be written."""
        for part in ("rows", *PARTS, "runs", "locks"):
            require_writable(make_folder(self.folder / part))

    def list_finished(self) -> set[str]:
        """Return the keys of the cases that are done."""
        return {*list_keys(self.folder / "rows")} - self.damaged.keys()

    def has(self, key: str) -> bool:
        """Return whether a case is done."""
        return key not in self.damaged and (self.folder / "rows" / f"{key}.json").exists()

    def keep_whole(self, keys: Iterable[str]) -> set[str]:
        """Return those of the finished cases `keys` whose files are whole, and set the others aside."""
        self.read_table()
        for key in sorted(set(keys) & self.list_finished()):
            for part in PARTS:
                path = self.folder / part / f"{key}.parquet"
                there = os.path.lexists(path)
                if not (_is_whole(path) if there else part not in NEEDED):
                    self._set_case_aside(key, DamagedError(path, "it is cut off" if there else "it is not there"))
                    break
        return set(keys) & self.list_finished()

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
        with contextlib.suppress(OSError):  # on a disk that takes no more it stays, and is of no harm
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
            write_parquet(self.folder / part / f"{record.key}.parquet", make_part(part, parts[part]))
        write_json(self.folder / "rows" / f"{record.key}.json", record.to_row())
        return True

    def remove(self, keys: Iterable[str]) -> None:
        """Take finished cases out, their rows first, so that they are run again."""
        for key in keys:
            (self.folder / "rows" / f"{key}.json").unlink(missing_ok=True)
            for part in PARTS:
                (self.folder / part / f"{key}.parquet").unlink(missing_ok=True)

    def log(self, run: dict[str, Any]) -> None:
        """Keep what one run planned, what failed, and where its wall time went."""
        started = re.sub(r"[^\dT]", "", str(run["started"])[:19])
        write_json(self.folder / "runs" / f"{started}-{uuid.uuid4().hex[:8]}.json", run)

    def hash_rows(self) -> str:
        """Return a digest of the files of the rows that were read last."""
        return self._digest

    def read_table(self) -> pa.Table:
        """Return all rows that can be read; the files of a damaged one are set aside."""
        texts: dict[str, bytes] = {}
        for key in list_keys(self.folder / "rows"):
            try:
                texts[key] = read_bytes(self.folder / "rows" / f"{key}.json", rows.LARGEST)
            except DamagedError as damage:
                self._set_case_aside(key, damage)
            except FileNotFoundError:
                continue  # another run set it aside a moment ago
        self._digest = hashlib.sha256(b"".join(hashlib.sha256(text).digest() for text in texts.values())).hexdigest()
        if not texts:
            return join_tables([])
        keys = [*texts]
        table, faults = rows.parse_rows([*texts.values()], keys)
        for number, reason in faults.items():
            key = keys[number]
            self._set_case_aside(key, DamagedError(self.folder / "rows" / f"{key}.json", reason))
        return table.filter(pa.array([number not in faults for number in range(len(table))], pa.bool_()))

    def read_part(self, part: str, key: str) -> pa.Table | None:
        """Return what lies beside a row; curves and flow of a run of the user's own may be text."""
        path = self.folder / part / f"{key}.parquet"
        text = path.with_suffix(".csv")
        try:
            if os.path.lexists(path):
                with report_damage(path):
                    return arrange_part(part, read_table(path))
            return _read_text(part, text) if part in {"curves", "flow"} and os.path.lexists(text) else None
        except FileNotFoundError:
            return None
        except DamagedError as damage:
            self._set_case_aside(key, damage)
            raise

    def list_documents(self, part: str) -> list[Path]:
        """Return the JSON files of a part."""
        if part in SINGLE:
            return [self.folder / part] if os.path.lexists(self.folder / part) else []
        place = self.folder / part
        return sorted(path for path in place.glob("*.json") if DOCUMENT.fullmatch(path.name))

    def read_document(self, path: Path) -> bytes:
        """Return the text of one of `list_documents`."""
        return read_bytes(path, LARGEST_JSON)

    def leave_out(self, path: Path, damage: DamagedError) -> str:
        """Set a document aside, so that its command makes it again."""
        return move_aside(path, self.folder, damage)

    def list_trouble(self) -> list[str]:
        """Return a sentence for each case whose files were damaged and which has not been run again since."""
        reasons = {key: _read_reason(self.folder / ASIDE / key) for key in self._list_set_aside()} | self.damaged
        again = "the case was set aside, and its command runs it again"
        return [f"{reason}: {again}." for key, reason in reasons.items() if not self.has(key)]

    def _list_set_aside(self) -> list[str]:
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

    def _set_case_aside(self, key: str, damage: DamagedError) -> None:
        """Move the files of a case out of the way, its row first; in a folder that cannot be changed, leave it out."""
        self.damaged[key] = str(damage)
        try:
            make_folder(self.folder / ASIDE)
            aside = make_folder(self.folder / ASIDE / key)
            write_text(aside / "reason.txt", f"{damage}\n")
            for part in (one for one in ("rows", *PARTS) if not (self.folder / one).is_symlink()):
                for path in (self.folder / part).glob(f"{key}.*"):
                    path.replace(aside / f"{part}{path.suffix}")
        except (OSError, StoreError):
            return


def list_keys(folder: Path) -> list[str]:
    """Return the keys of the files in a folder of rows, sorted."""
    return sorted(path.stem for path in folder.glob("*.json") if re.fullmatch(KEY, path.stem))


def _read_text(part: str, path: Path) -> pa.Table:
    """Return a part that is text; every number is the one that was written, to the last bit.

    Steps whose update a loss scaler left out are none of the curves: nothing was trained by their gradients.
    """
    with report_damage(path):
        text = read_bytes(path, LARGEST_CSV)
        more = ["skipped"] if text.partition(b"\n")[0].rstrip().endswith(b",skipped") else []  # older files have none
        columns = PART_COLUMNS[part]
        types = {name: declare_column(name).type for name in columns} | dict.fromkeys(more, pa.int64())
        options = csv.ConvertOptions(column_types=types, include_columns=[*types], null_values=[])
        table = csv.read_csv(io.BytesIO(text), convert_options=options)
        return table.filter(pc.equal(table["skipped"], 0)).select([*columns]) if more else table


def _read_reason(aside: Path) -> str:
    """Return why a case was set aside, as far as its folder says so in a line that can be shown."""
    try:
        text = read_bytes(aside / "reason.txt", LARGEST_REASON).decode("utf-8", errors="replace")
    except (OSError, DamagedError):
        text = ""
    return format_line(text, most=300) or f"{aside.name} is damaged, its reason cannot be read"


def _is_whole(path: Path) -> bool:
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
