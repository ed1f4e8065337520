"""A packed set: a result set of any size as a few files, which nobody writes to any more.

    manifest.json         what the set holds, and the SHA-256 and the row count of each file
    rows.parquet          one line a case: its record, and how many lines each part has of it (`LINES`)
    curves.parquet        the parts of all cases, in the order of the rows, with the key of the case in each line
    evaluations.parquet
    flow.parquet
    spectra.parquet
    documents.json        the JSON files beside the cases, by name: timings, their check, run logs, ...
    series.parquet        their long lists of numbers: of which file, at which place in it

`farreach.results.publishing.packing` makes one of a run folder, and a run folder of one. Curves that were too long are
`thinned`: the manifest has the digest of the whole ones.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from farreach.results.storage import rows
from farreach.results.storage.files import (
    LARGEST_JSON,
    DamagedError,
    StoreError,
    hash_file,
    read_json,
)
from farreach.results.storage.interface import SINGLE, ResultSet, check_key, join_tables
from farreach.results.storage.packed_documents import DOCUMENTS, LARGEST_DOCUMENTS, NUMBERS, read_documents
from farreach.results.storage.parquet import (
    LARGEST_FILE,
    TEXT,
    GroupedFile,
    is_text,
    read_table,
    report_damage,
)
from farreach.results.storage.parts import COLUMNS, COUNTS, PARTS, arrange_part, declare_column, is_optional
from farreach.results.storage.sanitising import CONTROL, format_line

MANIFEST = "manifest.json"
ROWS = "rows.parquet"
FILES = (ROWS, *(f"{part}.parquet" for part in PARTS), DOCUMENTS, NUMBERS)
"""The files that a packed set can have beside its manifest."""

VERSION = 1
"""Of the packed form; raised when a reader of the one before would be wrong."""

LINES = "lines."
"""Prefix of the columns that say how many lines each part has of a case; None where the case has no such part."""

SHAPE = "columns"
"""The column that names, as a JSON list, the columns that the record of a case has."""

PLAIN_NAME = re.compile(rf"[^{CONTROL}]{{1,80}}")
"""What the name of a column is made of."""

THINNED = ("steps", "events")
"""Columns that thinned curves have besides: steps that a line stands for, and on how many of them the clip acted."""


def is_packed(folder: Path) -> bool:
    """Return whether a folder holds a packed set."""
    return any(os.path.lexists(folder / name) for name in (ROWS, DOCUMENTS))


class PackedSet(ResultSet):
    """A packed set; every file is checked against the manifest when it is opened.

    Raises `DamagedError` where a file is missing, is not the manifest's, or has other columns than it should.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.manifest = _read_manifest(folder)
        self._parts = {part: self._open_part(part) for part in PARTS if f"{part}.parquet" in self.manifest["files"]}
        self._table, self._lines, self.shapes = self._read_rows()
        self._places = {str(key): at for at, key in enumerate(self._table["key"].to_pylist())}

    def list_finished(self) -> set[str]:
        """Return the keys of the cases."""
        return {*self._places} - self.damaged.keys()

    def hash_rows(self) -> str:
        """Return the digest of the file of the rows."""
        return str(self.manifest["files"].get(ROWS, {}).get("sha256", ""))

    def read_table(self) -> pa.Table:
        """Return all rows."""
        return self._table

    def read_part(self, part: str, key: str) -> pa.Table | None:
        """Return what lies beside a row; what of it is damaged is left out."""
        check_key(key)
        at = self._places.get(key)
        if at is None or part not in self._parts or self._lines[part][0][at] < 0:
            return None
        counts, ends = self._lines[part]
        path = self.folder / f"{part}.parquet"
        try:
            table = self._parts[part].read_lines(int(ends[at] - counts[at]), int(ends[at]))
            with report_damage(path):
                _check_lines(table, key)
                return arrange_part(part, _drop_absent(part, table.drop_columns("key")))
        except DamagedError as damage:
            self.damaged[key] = str(damage)
            raise

    def hash_whole_curves(self, key: str) -> str | None:
        """Return the digest that the manifest has of curves which were thinned."""
        digest = self.manifest.get("thinned", {}).get(key)
        return None if digest is None else str(digest)

    def list_documents(self, part: str) -> list[Path]:
        """Return the names of the JSON files of a part."""
        names = [part] if part in SINGLE else [name for name in self._documents if name.startswith(f"{part}/")]
        return [self.folder / name for name in sorted(names) if name in self._documents]

    def read_document(self, path: Path) -> bytes:
        """Return the text of one of `list_documents`, made again from its numbers."""
        content = self._documents.get(path.relative_to(self.folder).as_posix())
        if content is None:
            raise FileNotFoundError(path)
        return json.dumps(content, allow_nan=False).encode()

    def leave_out(self, path: Path, damage: DamagedError) -> str:
        """Say that a document is left out: a packed set is not changed."""
        del path
        return f"{damage}: it is left out."

    def list_trouble(self) -> list[str]:
        """Return a sentence for each case that is left out."""
        return [f"{reason}: the case is left out." for reason in self.damaged.values()]

    @functools.cached_property
    def _documents(self) -> dict[str, Any]:
        return read_documents(self.folder) if DOCUMENTS in self.manifest["files"] else {}

    def _open_part(self, part: str) -> GroupedFile:
        file = GroupedFile(self.folder / f"{part}.parquet")
        _check_schema(file.path, file.schema, part)
        return file

    def _read_rows(self) -> tuple[pa.Table, dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]], list[str]]:
        path = self.folder / ROWS
        nothing = {part: (np.empty(0, np.int64), np.empty(0, np.int64)) for part in PARTS}
        if ROWS not in self.manifest["files"]:
            return join_tables([]), nothing, []
        table = read_table(path)
        missing = [
            name for name in ("key", SHAPE, *(f"{LINES}{part}" for part in PARTS)) if name not in table.column_names
        ]
        if missing:
            raise DamagedError(path, f"it has no column {missing[0]}")
        lines = {part: _count_lines(path, table, part) for part in PARTS}
        for part, (_, ends) in lines.items():
            have, want = len(self._parts[part]) if part in self._parts else 0, int(ends[-1]) if len(ends) else 0
            if have != want:
                raise DamagedError(self.folder / f"{part}.parquet", f"it has {have} lines, and the rows say {want}")
        with report_damage(path):
            shapes = table[SHAPE].cast(pa.string()).to_pylist()
        table = table.drop_columns([SHAPE, *(name for name in table.column_names if name.startswith(LINES))])
        table = rows.validate_rows(table, path)
        keys = table["key"].to_pylist()
        if any(first >= second for first, second in itertools.pairwise(keys)):
            raise DamagedError(path, "its keys are not in order, or one is there twice")
        for key in keys:
            check_key(key)
        return table, lines, shapes


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a packed set, every file of which is there and is the one that it names."""
    path = folder / MANIFEST
    try:
        manifest = read_json(path, largest=LARGEST_JSON)
    except FileNotFoundError as error:
        message = f"{folder} is packed, and has no {MANIFEST}: pack it again"
        raise StoreError(message) from error
    if manifest.get("packed") != VERSION:
        version = format_line(manifest.get("packed"), most=40)
        raise DamagedError(path, f"it is of version {version} of the packed form; this version reads {VERSION}")
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(isinstance(one, dict) for one in files.values()):
        raise DamagedError(path, "it names no files")
    unknown = [name for name in files if name not in FILES]
    if unknown:
        raise DamagedError(path, f"it names {format_line(unknown[0], most=60)}, which is no file of a packed set")
    missing = [name for name in FILES if os.path.lexists(folder / name) and name not in files]
    if missing:
        raise DamagedError(path, f"it does not name {missing[0]}, which lies beside it")
    thinned = manifest.get("thinned", {})
    if not isinstance(thinned, dict) or not all(isinstance(one, str) for one in thinned.values()):
        raise DamagedError(path, "its digests of thinned curves are no texts")
    for name, facts in files.items():
        _check_file(folder / name, facts)
    return manifest


def _check_file(path: Path, facts: dict[str, Any]) -> None:
    try:
        digest = hash_file(path, LARGEST_FILE if path.suffix == ".parquet" else LARGEST_DOCUMENTS)
        if digest != facts.get("sha256"):
            raise DamagedError(path, f"its SHA-256 is not the one in {MANIFEST}")
        if path.suffix == ".parquet":
            with report_damage(path), pq.ParquetFile(path) as file:
                count = file.metadata.num_rows
            if count != facts.get("rows"):
                declared = format_line(facts.get("rows"), most=40)
                raise DamagedError(path, f"it has {count} rows, and {MANIFEST} says {declared}")
    except FileNotFoundError as error:
        raise DamagedError(path, "it is not there") from error


def _check_schema(path: Path, schema: pa.Schema, part: str) -> None:
    """Raise `DamagedError` where a part has other columns than `parts` declares; floats may be of either size."""
    for field in schema:
        name = field.name
        declared = pa.field("key", TEXT) if name == "key" else declare_column(name)
        known = name in {"key", *COLUMNS[part]} or is_optional(part, name)
        known = known or (part == "evaluations" and name not in COUNTS)
        if not known or not PLAIN_NAME.fullmatch(name):
            raise DamagedError(path, f"it has a column {format_line(name, most=40)}, which is not known")
        if not _is_alike(field.type, declared.type):
            raise DamagedError(path, f"its column {format_line(name, most=40)} is of type {field.type}")
    missing = [name for name in ("key", *COLUMNS[part]) if name not in schema.names]
    if missing or len({*schema.names}) < len(schema.names):
        raise DamagedError(path, f"it has no column {missing[0]}" if missing else "it has a column twice")


def _is_alike(kind: pa.DataType, declared: pa.DataType) -> bool:
    checks = (pa.types.is_integer, pa.types.is_floating, is_text)
    return any(check(kind) and check(declared) for check in checks)


def _count_lines(path: Path, table: pa.Table, part: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many lines of a part each row has, -1 where it has no such part, and where they end."""
    name = f"{LINES}{part}"
    with report_damage(path):
        counts = table[name].cast(pa.int64()).fill_null(-1).to_numpy().astype(np.int64)
    if len(counts) and (counts.min() < -1 or counts.max() > 2**40):
        raise DamagedError(path, f"its {name} is no number of lines")
    return counts, np.cumsum(np.maximum(counts, 0))


def _check_lines(table: pa.Table, key: str) -> None:
    if len(table) and pc.unique(table["key"].cast(pa.string())).to_pylist() != [key]:
        message = f"it has lines of another case in place of those of {key}"
        raise ValueError(message)


def _drop_absent(part: str, table: pa.Table) -> pa.Table:
    """Leave out the columns without a value that a case does not have: another task's metrics, of thinned curves."""
    optional = [name for name in table.column_names if is_optional(part, name) or part == "evaluations"]
    required = {"step", "loss"} if part == "evaluations" else set()
    return table.drop_columns(
        [name for name in optional if name not in required and table[name].null_count == len(table)]
    )
