"""Run folders made into packed sets; nothing is lost but what is asked to be. `unpacking` goes the other way."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from farreach.results.publishing.manifests import describe_set
from farreach.results.publishing.thinning import LONGEST, thin_curves
from farreach.results.record import use_names
from farreach.results.storage import rows
from farreach.results.storage.files import (
    StoreError,
    hash_file,
    make_folder,
    parse_json,
    read_json,
    require_writable,
    write_file,
    write_json,
)
from farreach.results.storage.interface import SERIES, SINGLE, ResultSet
from farreach.results.storage.packed_documents import write_documents
from farreach.results.storage.packed_set import FILES, LINES, MANIFEST, ROWS, SHAPE, VERSION, is_packed
from farreach.results.storage.parquet import (
    LARGEST_FILE,
    TEXT,
    fits_float32,
    narrow_floats,
    write_parquet,
    write_tables,
)
from farreach.results.storage.parts import PARTS, hash_curves
from farreach.results.storage.result_set import Store, list_keys
from farreach.results.storage.sets import is_run_folder, is_set
from farreach.results.storage.staging import replace_files

PACKED = re.compile("|".join(re.escape(name) for name in (MANIFEST, *FILES)))
"""The files of a packed set."""

GROUP = 2**16
"""Lines from which on a row group is full; the lines of a case are never parted."""


@dataclasses.dataclass(frozen=True)
class Packed:
    """What was packed or unpacked.

    Attributes:
        folder: where it was written.
        cases: how many.
        documents: how many JSON files beside the cases.
        files: how many files there are now.
        size: how many bytes they have.
        notes: sentences about what was left out.

    """

    folder: Path
    cases: int
    documents: int
    files: int
    size: int
    notes: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        """Say what was written, and what was left out."""
        what = f"{self.cases} cases and {self.documents} JSON files"
        return [f"wrote {self.folder}/: {what} in {self.files} files, {self.size / 1e6:.1f} MB", *self.notes]


def pack_set(folder: Path, out: Path, *, thin: bool = False) -> Packed:
    """Write a run folder as a packed set into another folder, in which an earlier packed set is replaced.

    Args:
        folder: the run folder.
        out: where the packed set goes.
        thin: keep of curves of more than `LONGEST` steps quantiles, the count of clipped steps, and a digest.

    Raises `StoreError` where there is nothing to pack, where a file is damaged, or where `out` takes it not.

    """
    if is_packed(folder):
        message = f"{folder} is packed already"
        raise StoreError(message)
    if not is_set(folder):
        message = f"no results in {folder}"
        raise StoreError(message)
    if is_run_folder(out):
        message = f"{out} holds the folder of a run: a packed set needs a folder of its own"
        raise StoreError(message)
    store = Store(folder)
    table, shapes = _read_cases(store)
    paths = list_documents(store)
    documents = {path.relative_to(folder).as_posix(): parse_json(store.read_document(path), path) for path in paths}
    facts = describe_set(store)
    require_writable(make_folder(out))
    keys = table["key"].to_pylist()
    with replace_files(out, {".": PACKED}) as stage:
        written = {part: _write_part(store, part, keys, stage, thin=thin) for part in PARTS}
        if keys:
            write_rows(stage, table, shapes, {part: lines for part, (lines, _) in written.items()})
        write_documents(documents, stage)
        thinned = written["curves"][1]
        files = write_manifest(stage, facts | ({"thinned": thinned} if thinned else {}))
    return describe_files(out, files, cases=len(keys), documents=len(documents), notes=_unused(store))


def write_rows(out: Path, table: pa.Table, shapes: list[str], lines: Mapping[str, list[int | None]]) -> None:
    """Write the rows of a packed set.

    Args:
        out: its folder.
        table: the rows, sorted by key.
        shapes: the columns of each row's file, as a JSON list.
        lines: how many lines each part has of each row.

    """
    columns = {SHAPE: pa.array(shapes, pa.string()).dictionary_encode()}
    columns |= {f"{LINES}{part}": pa.array(lines[part], pa.int64()) for part in PARTS}
    for name, column in columns.items():
        table = table.append_column(name, column)
    write_parquet(out / ROWS, narrow_floats(table))


def write_manifest(out: Path, facts: dict[str, Any]) -> list[str]:
    """Write the manifest of a packed set, whose other files are there; return the names of all of its files."""
    files: dict[str, dict[str, Any]] = {}
    for name in (one for one in FILES if (out / one).exists()):
        files[name] = {"sha256": hash_file(out / name, LARGEST_FILE)}
        if name.endswith(".parquet"):
            files[name]["rows"] = pq.read_metadata(out / name).num_rows
    write_json(out / MANIFEST, facts | {"packed": VERSION, "files": files})
    return [MANIFEST, *files]


def _read_cases(store: Store) -> tuple[pa.Table, list[str]]:
    """Return the rows, and the columns that each one's file has, as JSON lists."""
    table = store.read_table()
    if store.damaged:
        reason = next(iter(store.damaged.values()))
        message = f"{reason}: nothing was packed, and the case was set aside; pack again without it"
        raise StoreError(message)
    known = {*table.column_names}
    shapes = []
    for key in table["key"].to_pylist():
        content = read_json(store.folder / "rows" / f"{key}.json", largest=rows.LARGEST)
        shapes.append(json.dumps([name for name in use_names(content) if name in known]))
    return table, shapes


def _write_part(
    store: Store, part: str, keys: list[str], out: Path, *, thin: bool
) -> tuple[list[int | None], dict[str, str]]:
    """Write a part of all cases, in the order of their keys; no file where no case has any.

    Returns:
        How many lines each case has, None where it has no such part, and the digests of the curves that were thinned.

    """
    lines: list[int | None] = []
    thinned: dict[str, str] = {}
    types: dict[str, pa.DataType] = {}
    for key in keys:
        table = store.read_part(part, key)
        lines.append(None if table is None else len(table))
        if table is None:
            continue
        if thin and part == "curves" and len(table) > LONGEST:
            thinned[key] = hash_curves(table)
            table = thin_curves(table)
            lines[-1] = len(table)
        for field in table.schema:
            narrow = pa.types.is_floating(field.type) and fits_float32(table[field.name])
            kept = narrow and types.get(field.name) in {None, pa.float32()}
            types[field.name] = pa.float32() if kept else field.type
    if not types:
        return lines, thinned
    schema = pa.schema([pa.field("key", TEXT), *(pa.field(name, kind) for name, kind in types.items())])

    def read_cases() -> Iterator[pa.Table]:
        for key, count in zip(keys, lines, strict=True):
            if count:
                table = store.read_part(part, key)
                yield _conform(thin_curves(table) if key in thinned else table, key, schema)

    path = out / f"{part}.parquet"
    write_file(path, lambda place: write_tables(place, schema, _group(read_cases())))
    return lines, thinned


def _conform(table: pa.Table, key: str, schema: pa.Schema) -> pa.Table:
    """Return a part of one case with the columns of all; a column that it has not is null, a value it has not NaN."""
    keys = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(table)), pa.int32()), pa.array([key]))
    columns = [keys]
    for field in [*schema][1:]:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table[field.name]
        columns.append(
            pc.fill_null(column, float("nan")).cast(field.type) if pa.types.is_floating(field.type) else column
        )
    return pa.table(columns, schema=schema)


def _group(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables joined to row groups."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= GROUP:
            yield pa.concat_tables(waiting).unify_dictionaries()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).unify_dictionaries()


def _unused(store: ResultSet) -> tuple[str, ...]:
    """Say how many files beside the rows belong to no case."""
    keys = {*list_keys(store.folder / "rows")}
    others = [
        path for part in PARTS for path in (store.folder / part).glob("[!.]*") if path.name.split(".")[0] not in keys
    ]
    return (f"{len(others)} files of cases that are not finished were left out",) if others else ()


def list_documents(store: ResultSet) -> list[Path]:
    """Return the JSON files beside the cases of a result set."""
    return [path for part in (*SERIES, *SINGLE) for path in store.list_documents(part)]


def describe_files(folder: Path, names: list[str], *, cases: int, documents: int, notes: tuple[str, ...]) -> Packed:
    """Return what was written into a folder, with the size of its files."""
    size = sum((folder / name).stat().st_size for name in names)
    return Packed(folder, cases, documents, len(names), size, notes)
