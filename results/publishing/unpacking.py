"""Packed sets made into run folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from farreach.results.publishing.packing import Packed, describe_files, list_documents
from farreach.results.record import FORMER
from farreach.results.storage.files import (
    StoreError,
    make_folder,
    name_part,
    parse_json,
    report_unwritable,
    write_json,
    write_text,
)
from farreach.results.storage.packed_set import ROWS, SHAPE, PackedSet, is_packed
from farreach.results.storage.parquet import write_parquet
from farreach.results.storage.parts import CURVES, PARTS
from farreach.results.storage.result_set import Store
from farreach.results.storage.staging import remove_dead_parts
from farreach.results.vocabulary import OWN


def unpack_set(folder: Path, out: Path) -> Packed:
    """Write a packed set as a run folder; thinned curves, which are none of a run, are left out.

    Raises `StoreError` where it is no packed set, where a file is damaged, or where `out` is not empty.
    """
    if not is_packed(folder):
        message = f"{folder} is not packed"
        raise StoreError(message)
    packed = PackedSet(folder)
    if out.exists() and any(out.iterdir()):
        message = f"{out} is not empty: unpack into a new folder"
        raise StoreError(message)
    if out.is_symlink():
        message = f"{out} is a link, which is not followed: nothing is written there"
        raise StoreError(message)
    with report_unwritable(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        remove_dead_parts(out.parent)
        stage = out.with_name(name_part(out.name))
        try:
            thinned, documents = _write_run(packed, stage)
            stage.replace(out)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    note = f"{thinned} curves were thinned when the set was packed: they are left out"
    files = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    notes = (note,) if thinned else ()
    return describe_files(out, files, cases=len(packed.read_table()), documents=documents, notes=notes)


def _write_run(packed: PackedSet, out: Path) -> tuple[int, int]:
    """Write the folder of a run; return how many curves were left out, and how many JSON files there are."""
    store = Store(make_folder(out))
    store.create()
    thinned = 0
    for row, shape in zip(packed.read_table().to_pylist(), packed.shapes, strict=True):
        key = row["key"]
        for part in PARTS:
            table = packed.read_part(part, key)
            if table is None:
                continue
            if part == "curves" and packed.hash_whole_curves(key):
                thinned += 1
            elif part == "curves" and row["mode"] == OWN:
                _write_text_curves(out / part / f"{key}.csv", table)
            else:
                write_parquet(out / part / f"{key}.parquet", table)
        write_json(out / "rows" / f"{key}.json", {name: row[name] for name in _read_shape(shape, row, packed.folder)})
    documents = list_documents(packed)
    for path in documents:
        write_json(out / path.relative_to(packed.folder), parse_json(packed.read_document(path), path))
    return thinned, len(documents)


def _read_shape(text: str, row: dict[str, Any], folder: Path) -> list[str]:
    """Return the columns that a row's file has; all with a value where that is no list of its columns."""
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    names = [name for name in names if name not in FORMER] if isinstance(names, list) else None
    if names is None or not all(isinstance(name, str) and name in row for name in names):
        message = f"{folder}/{ROWS} is damaged: its column {SHAPE} does not name columns"
        raise StoreError(message)
    return names


def _write_text_curves(path: Path, table: pa.Table) -> None:
    """Write curves as `farreach` does: text, every number with all of its digits."""
    columns = [table[name].to_pylist() for name in CURVES]
    lines = [",".join(map(_write_number, values)) for values in zip(*columns, strict=True)]
    write_text(path, "".join(f"{one}\n" for one in (",".join(CURVES), *lines)))


def _write_number(value: float | None) -> str:
    return "nan" if value is None else repr(value)
