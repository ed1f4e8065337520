"""All rows of a folder as one table, with an index that spares reading again what was read before.

The index is derived from the files and never the truth: a row is taken from it only where its file has the inode, the
size and the time of change that it had when it was read. Whoever deletes it loses nothing but time.
"""

from __future__ import annotations

import functools
import operator
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from farreach.results.storage.aside import Aside, spread
from farreach.results.storage.files import DamagedError, StoreError, read_stamped, read_table, write_table
from farreach.results.storage.rows import LARGEST, TEXT, bulk, checked, table

FILE = ".index.parquet"

FEWEST = 500
"""Rows from which on an index is kept; fewer are read as quickly."""

AT_ONCE = 2_000
"""Rows that are held as Python has them, before they become a table; and the fewest for which another process pays."""

FEWEST_STAMPS = 20_000
"""Files whose stamps are worth another process."""

KEY = r"[\w-]{1,64}"
"""What a key may be made of: it is the name of files."""


STAMP = ["_inode", "_size", "_changed"]
Stamp = tuple[int, int, int]
"""What tells a file from a later one of the same name."""

WHOLE = {pa.int64()}
TYPES = WHOLE | {pa.float64(), pa.bool_(), pa.null(), TEXT}
"""What the index holds."""

Damage = Callable[[str, DamagedError], None]


def rows(folder: Path, damaged: Damage) -> pd.DataFrame:
    """Return all rows of a folder, sorted by key; `damaged` hears of each that cannot be read, which is left out."""
    keys = listed(folder / "rows")
    held = _held(folder, keys)
    known = set() if held is None else {*_texts(held["key"])}
    found, faults = _read(folder / "rows", [key for key in keys if key not in known])
    for key, fault in faults:
        damaged(key, fault)
    parts = [part for part in (held, found) if part is not None and len(part)]
    if not parts:
        return pd.DataFrame(columns=["key"])
    whole = pa.concat_tables(parts, promote_options="permissive")
    keeping = None
    if len(found) and len(whole) >= FEWEST:
        keeping = Aside(functools.partial(_keep, folder / FILE, whole), worth=len(whole) >= FEWEST_STAMPS)
    frame = _frame(whole.drop_columns(STAMP))
    if keeping:
        keeping.result()
    return frame


def _read(folder: Path, keys: list[str]) -> tuple[pa.Table, list[tuple[str, DamagedError]]]:
    """Return the rows of these keys that can be read, stamped, and what is wrong with the others.

    Every core reads its share.
    """
    tables, faults = zip(*spread(functools.partial(_share, folder), keys, AT_ONCE), strict=True)
    return pa.concat_tables(tables, promote_options="permissive"), [one for part in faults for one in part]


def _share(folder: Path, keys: list[str]) -> tuple[pa.Table, list[tuple[str, DamagedError]]]:
    tables: list[pa.Table] = []
    faults: list[tuple[str, DamagedError]] = []
    for start in range(0, max(1, len(keys)), AT_ONCE):
        texts: dict[str, bytes] = {}
        stamps: dict[str, Stamp] = {}
        for key in keys[start : start + AT_ONCE]:
            try:
                texts[key], stat = read_stamped(f"{folder}{os.sep}{key}.json", LARGEST)
                stamps[key] = _stamp(stat)
            except DamagedError as damage:
                faults.append((key, damage))
            except FileNotFoundError:
                continue  # another run set it aside a moment ago
        found = bulk([*texts.values()], [*texts])
        if found is None:
            lines = []
            for key, text in texts.items():
                try:
                    lines.append(checked(text, f"{folder}{os.sep}{key}.json", key))
                except DamagedError as damage:
                    faults.append((key, damage))
            found = table(lines)
        tables.append(_stamped(found, stamps))
    faults.sort(key=operator.itemgetter(0))
    return pa.concat_tables(tables, promote_options="permissive"), faults


def _stamped(found: pa.Table, stamps: dict[str, Stamp]) -> pa.Table:
    """Return rows with the stamps of their files."""
    if not len(found):
        return found
    each = np.array([stamps[key] for key in found["key"].to_pylist()], np.int64)
    for at, name in enumerate(STAMP):
        found = found.append_column(name, pa.array(each[:, at]))
    return found


def _stamp(stat: os.stat_result) -> Stamp:
    return stat.st_ino % 2**63, stat.st_size, stat.st_mtime_ns


def listed(folder: Path) -> list[str]:
    """Return the keys of the files in a folder of rows, sorted."""
    whole = re.compile(rf"({KEY})\.json").fullmatch
    return sorted(one.name[:-5] for one in os.scandir(folder) if whole(one.name)) if folder.is_dir() else []


def _stamps(folder: Path, keys: list[str]) -> NDArray[np.int64]:
    """Return the stamps of the rows' files, one a line; -1 where one is no longer there."""
    found: list[Stamp] = []
    for key in keys:
        try:
            found.append(_stamp(os.lstat(f"{folder}{os.sep}{key}.json")))
        except FileNotFoundError:
            found.append((-1, -1, -1))
    return np.array(found, np.int64).reshape(-1, len(STAMP))


def _held(folder: Path, keys: list[str]) -> pa.Table | None:
    """Return the rows of the index whose files have not changed since; None where there is no index to be used."""
    path = folder / FILE
    if len(keys) < FEWEST or not path.exists():
        return None
    try:
        known = read_table(path, ("key", *STAMP))
    except (StoreError, OSError):
        return None
    if not {field.type for field in known.schema} <= TYPES or {known.schema.field(one).type for one in STAMP} != WHOLE:
        return None  # an earlier version's
    stamps = np.concatenate(spread(functools.partial(_stamps, folder / "rows"), keys, FEWEST_STAMPS))
    at = pd.Index(keys, dtype=object).get_indexer(_texts(known["key"]))
    same = at >= 0
    for name, column in zip(STAMP, stamps.T, strict=True):
        same &= column[at] == known[name].to_numpy()
    return known if same.all() else known.filter(pa.array(same))


def _texts(column: pa.ChunkedArray) -> pd.Index[Any]:
    found: pd.Index[Any] = pd.Index(column.cast(pa.string()).to_numpy(zero_copy_only=False), dtype=object)
    return found


def _frame(whole: pa.Table) -> pd.DataFrame:
    """Return a table as pandas has it: texts as texts, a column without a value as one of None."""
    columns = {}
    for name, column in zip(whole.column_names, whole.columns, strict=True):
        known = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
        columns[name] = pa.nulls(len(column)) if column.null_count == len(column) else known
    frame: pd.DataFrame = pa.table(columns).to_pandas()
    return frame if frame["key"].is_monotonic_increasing else frame.sort_values("key", ignore_index=True)


def _keep(path: Path, whole: pa.Table) -> None:
    """Keep the index for the next reading, where the folder takes one."""
    try:
        write_table(path, whole)
    except (StoreError, pa.ArrowException, TypeError, ValueError):
        path.unlink(missing_ok=True)
