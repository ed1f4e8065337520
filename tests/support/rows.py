"""What lies in the row files of a run folder."""

from __future__ import annotations

import hashlib
from pathlib import Path


def hash_rows(out: Path) -> dict[str, str]:
    """Return the hash of each row's file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (out / "rows").glob("*.json")}
