"""What a run that carries on finds in its folder: rows that other code or other settings made."""

from __future__ import annotations

import dataclasses
from typing import Any

from farreach.benchmarks.matrix import registry
from farreach.benchmarks.running.digest import DEVICE, predict_digest
from farreach.benchmarks.running.sweep import Plan
from farreach.results.storage.result_set import Store


def find_moved(plan: Plan, store: Store) -> set[str]:
    """Return the keys of those rows of a plan that are done and whose digest is not the one they would have now.

    A row that has no digest counts among them: nobody knows what made it.
    """
    if not plan.done:
        return set()
    rows = store.rows()
    rows = rows[rows["key"].isin(plan.done)]
    known: dict[tuple[Any, ...], str] = {}
    moved = set()
    for line in rows.astype(object).to_dict("records"):
        row = {str(name): value for name, value in line.items()}
        case = plan.cases[row["key"]]
        like = (*case.lane, case.mode, case.path, row["kernel"], *(row[name] for name in DEVICE))
        if like not in known:
            known[like] = predict_digest(case, row)
        if row["digest"] != known[like]:
            moved.add(row["key"])
        made = row.get("plugins") if isinstance(row.get("plugins"), str) else None
        if made != registry.describe_plugins(case.task, case.framework):
            moved.add(row["key"])
    return moved


def drop_moved(plan: Plan, store: Store, moved: set[str]) -> Plan:
    """Remove these rows from a store, whose run makes them again, and return the plan without them."""
    store.remove(moved)
    return dataclasses.replace(plan, done=plan.done - moved)
