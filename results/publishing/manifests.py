"""The facts of a result set: what it holds, and who made it how, when and where."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from farreach.results.analysis import run_times
from farreach.results.storage.files import StoreError, parse_json
from farreach.results.storage.interface import ResultSet
from farreach.results.storage.sets import is_set
from farreach.results.timing import aa_check, interleaved

SCHEMA = 1
"""Version of the manifest."""


def list_published(published: Path) -> list[Path]:
    """Return the folders of a tree that are result sets, by name."""
    return sorted(path for path in published.rglob("*") if path.is_dir() and is_set(path))


def describe_set(store: ResultSet) -> dict[str, Any]:
    """Return the facts of a set. Raises `StoreError` where a file in it is damaged."""
    try:
        rows = store.rows()
    except StoreError:
        rows = pd.DataFrame()
    interleaved.read_groups(store)
    aa_check.read_test(store)
    paths = [path for part in (interleaved.FOLDER, aa_check.FOLDER) for path in store.list_documents(part)]
    timings = [parse_json(store.read_document(path), path) for path in paths]
    facts = [_read_facts(one) for one in timings]
    facts += [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]
    failed = run_times.list_failures(store.runs())["case"].tolist()
    return {
        "schema": SCHEMA,
        "cases": len(rows),
        "diverged": int((rows["status"] == "diverged").sum()) if len(rows) else 0,
        "failed": failed,
        "timings": len(timings),
        "frameworks": _list_versions(rows, timings),
        "seeds": sorted({int(seed) for seed in rows["seed"].dropna()}) if len(rows) else [],
        **{name: _list_texts(one.get(name) for one in facts) for name in ("command", "commit", "processor", "python")},
        "first": min((str(one["started"]) for one in facts if one.get("started")), default=None),
        "last": max((str(one["started"]) for one in facts if one.get("started")), default=None),
    }


def _list_versions(rows: pd.DataFrame, timings: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the versions of each framework, of rows and of timed steps."""
    pairs = set(rows[["framework", "framework_version"]].itertuples(index=False, name=None)) if len(rows) else set()
    for one in timings:
        pairs |= {
            (line["framework"], _read_facts(line).get("framework_version", ""))
            for line in one.get("contenders", [])
            if not line.get("loop")
        }
    names = _list_texts(name for name, _ in pairs)
    return {name: _list_texts(version for other, version in pairs if other == name) for name in names}


def _read_facts(content: dict[str, Any]) -> dict[str, Any]:
    facts = content.get("facts")
    return facts if isinstance(facts, dict) else {}


def _list_texts(values: Iterable[Any]) -> list[str]:
    return sorted({str(value) for value in values if value})
