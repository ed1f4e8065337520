"""What lies in the row files of a run folder, and one row by itself."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from farreach.results.storage.files import DamagedError
from farreach.results.storage.rows import parse_rows


def hash_rows(out: Path) -> dict[str, str]:
    """Return the hash of each row's file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (out / "rows").glob("*.json")}


def parse_row(text: bytes, path: Path, key: str) -> dict[str, Any]:
    """Return the row that a file holds; raise `DamagedError` where it is none."""
    table, faults = parse_rows([text], [key])
    if faults:
        raise DamagedError(path, faults[0])
    row: dict[str, Any] = table.to_pylist()[0]
    return row
