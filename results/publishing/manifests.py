"""The manifest of a published set: what it holds, who made it how, and a digest of every kind of file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from farreach.results.analysis import run_times
from farreach.results.storage.files import read_json
from farreach.results.storage.result_set import PARTS, Store
from farreach.results.timing import aa_check, interleaved

FILE = "manifest.json"
SCHEMA = 1

KINDS = ("rows", *PARTS, "runs", interleaved.FOLDER, aa_check.FOLDER)
"""The folders whose files a set is; tables, figures and pages are made from them."""

SINGLE = ("speed.json", "machine.json", "planted.json")


def sets(published: Path) -> list[Path]:
    """Return the folders of a tree that are result sets, by name."""
    found = {path.parent for kind in ("rows", interleaved.FOLDER, aa_check.FOLDER) for path in published.rglob(kind)}
    return sorted(path for path in found if path.is_dir())


def manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a set as it stands. Raises `StoreError` where a file in it is damaged."""
    store = Store(folder)
    rows = store.rows() if (folder / "rows").is_dir() else pd.DataFrame()
    files = [path for kind in (interleaved.FOLDER, aa_check.FOLDER) for path in sorted((folder / kind).glob("*.json"))]
    given = [read_json(path) for path in files]
    facts = [dict(one["facts"]) for one in given]
    facts += rows.to_dict("records") if len(rows) else []
    failed = run_times.failures(store.runs())["case"].tolist()
    return {
        "schema": SCHEMA,
        "cases": len(rows),
        "diverged": int((rows["status"] == "diverged").sum()) if len(rows) else 0,
        "failed": failed,
        "timings": len(files),
        "frameworks": _versions(rows, given),
        "seeds": sorted({int(seed) for seed in rows["seed"]}) if len(rows) else [],
        **{name: _texts(one.get(name) for one in facts) for name in ("command", "commit", "processor", "python")},
        "first": min((str(one["started"]) for one in facts if one.get("started")), default=None),
        "last": max((str(one["started"]) for one in facts if one.get("started")), default=None),
        "files": {kind: _digest([*(folder / kind).iterdir()]) for kind in KINDS if (folder / kind).is_dir()}
        | {name: _digest([folder / name]) for name in SINGLE if (folder / name).exists()},
    }


def _versions(rows: pd.DataFrame, given: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the versions of each framework, of rows and of timed steps."""
    pairs = set(rows[["framework", "framework_version"]].itertuples(index=False, name=None)) if len(rows) else set()
    for one in given:
        pairs |= {
            (line["framework"], line["facts"].get("framework_version", ""))
            for line in one.get("contenders", [])
            if not line.get("loop")
        }
    return {
        name: _texts(version for other, version in pairs if other == name) for name in _texts(one for one, _ in pairs)
    }


def _texts(values: Iterable[Any]) -> list[str]:
    return sorted({str(value) for value in values if value})


def _digest(paths: list[Path]) -> dict[str, Any]:
    """Return how many files there are, and one digest of their names and contents."""
    kept = sorted(path for path in paths if path.is_file() and not path.name.startswith("."))
    lines = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in kept]
    return {"count": len(kept), "sha256": hashlib.sha256("".join(lines).encode()).hexdigest()}
