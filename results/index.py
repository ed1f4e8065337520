"""All rows of a folder as one table, with an index that spares reading again what was read before.

The index is derived from the files and never the truth: a row is taken from it only where its file has the inode, the
size and the time of change that it had when it was read. Whoever deletes it loses nothing but time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa

from results.files import DamagedError, StoreError, read_parquet, write_parquet
from results.rows import parsed

FILE = ".index.parquet"

FEWEST = 500
"""Rows from which on an index is kept; fewer are read as quickly."""

KEY = r"[\w-]{1,64}"
"""What a key may be made of: it is the name of files."""


STAMP = ["_inode", "_size", "_changed"]

Damage = Callable[[str, DamagedError], None]


def rows(folder: Path, damaged: Damage) -> pd.DataFrame:
    """Return all rows of a folder, sorted by key; `damaged` hears of each that cannot be read, which is left out."""
    stamps = _stamps(folder / "rows")
    held = _held(folder / FILE, stamps)
    lines = []
    for key in sorted(stamps.keys() - set(held["key"])):
        try:
            line = parsed(folder / "rows" / f"{key}.json", key)
        except DamagedError as damage:
            damaged(key, damage)
        except FileNotFoundError:
            continue  # another run set it aside a moment ago
        else:
            lines.append(line | dict(zip(STAMP, stamps[key], strict=True)))
    table = pd.concat([part for part in (held, pd.DataFrame(lines)) if len(part)] or [held], ignore_index=True)
    if lines and len(table) >= FEWEST:
        _keep(folder / FILE, table)
    return table.drop(columns=STAMP).sort_values("key", ignore_index=True)


def _stamps(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what tells a file from a later one of the same name, for each row's key."""
    found: dict[str, tuple[int, ...]] = {}
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name.removesuffix(".json")
                if name != entry.name and re.fullmatch(KEY, name):
                    stat = entry.stat(follow_symlinks=False)
                    found[name] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


def _held(path: Path, stamps: dict[str, tuple[int, ...]]) -> pd.DataFrame:
    """Return the rows of the index whose files have not changed since; none where there is no index to be used."""
    none = pd.DataFrame(columns=["key", *STAMP])
    if len(stamps) < FEWEST or not path.exists():
        return none
    try:
        known = read_parquet(path, ("key", *STAMP))
    except (StoreError, OSError):
        return none
    now = pd.DataFrame.from_dict(stamps, orient="index", columns=STAMP).reindex(known["key"])
    unchanged: pd.Series[bool] = (known[STAMP].reset_index(drop=True) == now.reset_index(drop=True)).all(axis="columns")
    return known.loc[unchanged]


def _keep(path: Path, table: pd.DataFrame) -> None:
    """Keep the index for the next reading, where the folder takes one and the rows fit a table of plain columns."""
    try:
        write_parquet(path, table)
    except (StoreError, pa.ArrowException, TypeError, ValueError):
        path.unlink(missing_ok=True)
